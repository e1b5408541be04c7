//! TLS of listeners: who is let in, certificates that change, peers that do not speak it.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::harness::authority::{Authority, Files, Identity};
use crate::harness::client::{Post, post};
use crate::harness::config::{HTTP, STDIN, TCP};
use crate::harness::{Agent, Config, Folder, Result, Sim, event, lines, until};

type Secured = StreamOwned<ClientConnection, TcpStream>;

fn connect(
    address: SocketAddr,
    authority: &Authority,
    identity: Option<&Identity>,
) -> Result<Secured> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authority.roots()?);
    let config = match identity.map(Identity::der) {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::from(address.ip());
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    connection.complete_io(&mut stream)?;
    Ok(StreamOwned::new(connection, stream))
}

/// A server's files, and the lines of a source that name them.
fn files(folder: &Folder, authority: &Authority) -> Result<(Files, String)> {
    let directory = folder.directory("tls")?;
    let files = authority.sign("127.0.0.1")?.write(&directory, "server")?;
    let (cert, key) = (files.cert_file.display(), files.key_file.display());
    let keys = format!("cert_file = \"{cert}\"\nkey_file = \"{key}\"\n");
    Ok((files, keys))
}

fn start(folder: &Folder, sim: &Sim, source: String) -> Result<(Agent, SocketAddr)> {
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    let address = agent.tcp_address()?;
    Ok((agent, address))
}

#[test]
fn lines_over_tls_are_acknowledged_and_the_end_is_said() -> Result {
    const EVENTS: u64 = 5000;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let authority = Authority::new()?;
    let (_, keys) = files(&folder, &authority)?;
    let (mut agent, address) = start(&folder, &sim, format!("{TCP}{keys}ack = true\n"))?;
    let mut stream = connect(address, &authority, None)?;
    for start in (0..EVENTS).step_by(1000) {
        stream.write_all(lines(start..start + 1000).as_bytes())?;
    }
    stream.conn.send_close_notify();
    stream.flush()?;
    let mut told = String::new();
    // Fails when the connection is cut instead of closed.
    BufReader::new(&mut stream).read_to_string(&mut told)?;
    assert_eq!(told.lines().last(), Some(format!("{{\"durable\":{EVENTS}}}").as_str()));
    sim.wait_events(EVENTS)?;
    // Who does not speak TLS is not listened to, and neither is who trusts somebody else.
    let mut plain = TcpStream::connect(address)?;
    plain.write_all(lines(0..10).as_bytes())?;
    assert!(connect(address, &Authority::new()?, None).is_err());
    agent.stop()?;
    sim.check_exactly_once(EVENTS)
}

#[test]
fn a_stop_reads_what_has_come_over_tls() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let authority = Authority::new()?;
    let (_, keys) = files(&folder, &authority)?;
    let (mut agent, address) = start(&folder, &sim, format!("{TCP}{keys}"))?;
    let mut stream = connect(address, &authority, None)?;
    stream.write_all(lines(0..1).as_bytes())?;
    sim.wait_events(1)?;
    // Stopped, the agent finds all of it in the kernel's buffer together with the signal.
    agent.signal(Signal::STOP)?;
    stream.write_all(lines(1..300).as_bytes())?;
    agent.signal(Signal::TERM)?;
    agent.signal(Signal::CONT)?;
    agent.wait_success()?;
    assert_eq!(folder.counted("read")?, 300);
    assert_eq!(folder.counted("dead_lettered")?, 0);
    Ok(())
}

#[test]
fn only_who_shows_a_certificate_is_let_in_where_one_is_asked_for() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let (_, keys) = files(&folder, &authority)?;
    let ca_file = authority.write(&folder.directory("tls")?)?;
    let keys = format!("{keys}client_ca_file = \"{}\"\n", ca_file.display());
    let (mut agent, address) = start(&folder, &sim, format!("{TCP}{keys}"))?;
    let stranger = other.sign("client")?;
    for identity in [None, Some(&stranger)] {
        // TLS 1.3 tells the client after its handshake.
        if let Ok(mut stream) = connect(address, &authority, identity) {
            let _ = stream.write_all(lines(0..10).as_bytes());
            assert!(stream.read(&mut [0]).is_err());
        }
    }
    let mut stream = connect(address, &authority, Some(&authority.sign("client")?))?;
    stream.write_all(lines(0..10).as_bytes())?;
    sim.wait_events(10)?;
    agent.stop()?;
    assert_eq!(folder.counted("read")?, 10);
    sim.check_exactly_once(10)
}

/// What is logged of a reload in which something is wrong.
const REFUSED: &str = "configuration refused, the one before stays in force";

#[test]
fn certificates_and_tokens_are_read_again_when_they_are_good() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let (first, second) = (Authority::new()?, Authority::new()?);
    let (paths, keys) = files(&folder, &first)?;
    let (mut agent, address) = start(&folder, &sim, format!("{TCP}{keys}"))?;
    let mut before = connect(address, &first, None)?;
    second.sign("127.0.0.1")?.write(&folder.directory("tls")?, "server")?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged("certificates read again")?;
    let mut after = connect(address, &second, None)?;
    assert!(connect(address, &first, None).is_err());
    before.write_all(lines(0..10).as_bytes())?;
    after.write_all(lines(10..20).as_bytes())?;
    sim.wait_events(20)?;
    std::fs::write(&paths.cert_file, "nothing")?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged(REFUSED)?;
    connect(address, &second, None)?.write_all(lines(20..30).as_bytes())?;
    sim.wait_events(30)?;
    agent.stop()?;
    sim.check_exactly_once(30)?;

    let folder = Folder::new()?;
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, "old\n")?;
    let source = format!("{HTTP}token_file = \"{}\"\n", tokens.display());
    let (mut agent, address) = start(&folder, &sim, source)?;
    let body = event(30);
    let send = |token: &str| -> Result<u16> {
        let headers = format!("authorization: Bearer {token}\r\n");
        let request = Post { address, path: "/usage/bulk/g1", headers, body: body.as_bytes() };
        Ok(request.send()?.status)
    };
    assert_eq!((send("old")?, send("new")?), (200, 401));
    std::fs::write(&tokens, "new\n")?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged("tokens read again")?;
    assert_eq!((send("old")?, send("new")?), (401, 200));
    std::fs::write(&tokens, "")?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged(REFUSED)?;
    assert_eq!(send("new")?, 200);
    agent.stop()
}

#[test]
fn a_sidecar_sends_over_tls_with_a_certificate_and_a_token() -> Result {
    let sim = Sim::start()?;
    let authority = Authority::new()?;
    let far = Folder::new()?;
    let (_, keys) = files(&far, &authority)?;
    let ca_file = authority.write(&far.directory("tls")?)?;
    let tokens = far.path("tokens");
    std::fs::write(&tokens, "between-us\n")?;
    let source = format!(
        "{HTTP}{keys}client_ca_file = \"{}\"\ntoken_file = \"{}\"\n",
        ca_file.display(),
        tokens.display()
    );
    let (mut aggregator, address) = start(&far, &sim, source)?;
    let near = Folder::new()?;
    let client = authority.sign("client")?.write(&near.directory("tls")?, "client")?;
    let path = |path: &Path| path.display().to_string();
    let config = Config {
        mediation: format!(
            "ca_file = \"{}\"\nclient_cert_file = \"{}\"\nclient_key_file = \"{}\"",
            path(&ca_file),
            path(&client.cert_file),
            path(&client.key_file)
        ),
        auth: format!("bearer_token_file = \"{}\"", path(&tokens)),
        ..Config::new(&format!("https://{address}"), STDIN)
    };
    near.run_to_end(&config, lines(0..1000).as_bytes())?;
    sim.wait_events(1000)?;
    // Plain HTTP is not understood there.
    assert!(post(address, event(1).as_bytes()).is_err());
    far.wait_counted("delivered", 1000)?;
    aggregator.stop()?;
    sim.check_exactly_once(1000)
}

#[test]
fn two_thousand_connections_of_which_half_are_hostile_cost_the_others_nothing() -> Result {
    const CONNECTIONS: u64 = 2000;
    const EVENTS_EACH: u64 = 5;
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let authority = Authority::new()?;
    let (_, keys) = files(&folder, &authority)?;
    let source = format!(
        "{TCP}connections_max = 3000\nidle_timeout = \"60s\"\n\
         [sources.tls]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"127.0.0.1:0\"\n\
         connections_max = 3000\n{keys}"
    );
    allow_many_files()?;
    folder.configure(&Config::new(&sim.url(), source))?;
    let mut agent = folder.start()?;
    let (plain, secured) = (agent.listening("net")?, agent.listening("tls")?);
    let before = agent.resident_bytes()?;
    let mut held = Vec::new();
    let endless = vec![b'x'; 100_000];
    for number in 0..CONNECTIONS / 2 {
        let address = if number % 5 == 4 { secured } else { plain };
        let mut stream = TcpStream::connect(address)?;
        match number % 5 {
            0 => {}
            1 => stream.write_all(b"{\"CustomerId\":")?,
            2 => {
                // An endless line: as much of it as goes without waiting.
                stream.set_nonblocking(true)?;
                let _ = stream.write(&endless);
            }
            3 => stream.write_all(b"\0\0\0\n\n\n")?,
            // The first bytes of a handshake.
            _ => stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])?,
        }
        held.push(stream);
    }
    let good = CONNECTIONS / 2 * EVENTS_EACH;
    let mut senders = Vec::new();
    for number in 0..CONNECTIONS / 2 {
        let events = lines(number * EVENTS_EACH..(number + 1) * EVENTS_EACH);
        let mut stream = TcpStream::connect(plain)?;
        stream.write_all(events.as_bytes())?;
        senders.push(stream);
    }
    sim.wait_events(good)?;
    let grown = agent.resident_bytes()?.saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    drop((held, senders));
    until("the half lines to be dead letters", || {
        // 200 half lines, 200 endless ones, 200 of zeros.
        Ok((folder.counted("dead_lettered")? == 600).then_some(()))
    })?;
    agent.stop()?;
    sim.check_exactly_once(good)
}

/// As many open files as the system lets this process have, and the agent that it starts.
fn allow_many_files() -> Result {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}
