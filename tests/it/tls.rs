//! Real TLS: who is trusted, who is not, and what a client shows of itself.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::agent::Input;
use crate::harness::authority::Authority;
use crate::harness::config::{STDIN, file};
use crate::harness::raw_server::read_request;
use crate::harness::{Agent, Config, Folder, Result, lines, number};

/// An authority, and a server whose certificate it signed for 127.0.0.1.
struct TlsServer {
    address: SocketAddr,
    authority: Authority,
    /// Requests that came through the handshake.
    requests: Arc<AtomicUsize>,
}

impl TlsServer {
    fn start(name: &str, asks_for_client: bool) -> Result<Self> {
        let authority = Authority::new()?;
        let (chain, key) = authority.sign(name)?.der();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if asks_for_client {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(authority.roots()?, provider)
                    .build()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let tls = Arc::new(builder.with_single_cert(chain, key)?);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        std::thread::Builder::new().spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                // A handshake that fails is what some tests want.
                let _ = attend(stream, &tls, &counted);
            }
        })?;
        Ok(Self { address, authority, requests })
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    fn write_authority(&self, folder: &Folder) -> Result<PathBuf> {
        self.authority.write(&folder.directory("tls")?)
    }
}

fn attend(stream: TcpStream, tls: &Arc<ServerConfig>, requests: &AtomicUsize) -> Result {
    let stream = StreamOwned::new(ServerConnection::new(Arc::clone(tls))?, stream);
    let mut reader = BufReader::new(stream);
    while read_request(&mut reader)?.is_some() {
        requests.fetch_add(1, Ordering::AcqRel);
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}";
        reader.get_mut().write_all(answer.as_bytes())?;
    }
    Ok(())
}

fn config(server: &TlsServer, mediation: String) -> Config {
    Config {
        mediation,
        auth: "bearer_token = \"abc\"".to_owned(),
        ..Config::new(&server.url(), STDIN)
    }
}

#[test]
fn events_go_to_a_server_that_a_configured_authority_vouches_for() -> Result {
    let folder = Folder::new()?;
    let server = TlsServer::start("127.0.0.1", false)?;
    let authority = server.write_authority(&folder)?;
    let config = config(&server, format!("ca_file = \"{}\"", authority.display()));
    folder.run_to_end(&config, lines(0..10).as_bytes())?;
    assert_eq!(number(&folder.status()?, "/equation/delivered")?, 10);
    assert_eq!(server.requests(), 1);
    Ok(())
}

/// Events wait in the store, nothing was sent, and the reason says why.
fn check_not_sent(folder: &Folder, config: &Config, server: &TlsServer, reason: &str) -> Result {
    folder.configure(config)?;
    let mut agent = folder.start_with_pipe()?;
    agent.write(lines(0..10).as_bytes())?;
    let found = folder.wait_state("retrying")?;
    assert!(found.contains(reason), "{found}");
    agent.stop()?;
    assert_eq!(number(&folder.status()?, "/equation/stored")?, 10);
    assert_eq!(server.requests(), 0);
    Ok(())
}

#[test]
fn nothing_is_sent_to_a_server_that_nobody_vouches_for() -> Result {
    let folder = Folder::new()?;
    let server = TlsServer::start("127.0.0.1", false)?;
    check_not_sent(&folder, &config(&server, String::new()), &server, "cannot connect")
}

#[test]
fn nothing_is_sent_to_a_server_with_another_name() -> Result {
    let folder = Folder::new()?;
    let server = TlsServer::start("other.example", false)?;
    let authority = server.write_authority(&folder)?;
    let config = config(&server, format!("ca_file = \"{}\"", authority.display()));
    check_not_sent(&folder, &config, &server, "not valid for")
}

/// A server that is trusted because of `variable`, whose value `prepare` makes; then once more after
/// a reload, when what it made was replaced as systems do.
fn check_environment(
    variable: &str,
    prepare: impl Fn(&TlsServer, &Folder) -> Result<PathBuf>,
) -> Result {
    let (folder, elsewhere) = (Folder::new()?, Folder::new()?);
    let server = TlsServer::start("127.0.0.1", false)?;
    let authorities = prepare(&server, &elsewhere)?;
    let environment = [(variable, authorities.to_str().ok_or("no name")?)];
    folder.configure(&config(&server, String::new()))?;
    let (settings, input) = (folder.config(), Input::Pipe);
    let mut agent = Agent::spawn_with(&settings, folder.as_ref(), input, &environment)?;
    agent.wait_ready()?;
    agent.write(lines(0..10).as_bytes())?;
    folder.wait_counted("delivered", 10)?;
    prepare(&server, &elsewhere)?;
    agent.signal(Signal::HUP)?;
    agent.wait_logged("configuration reloaded")?;
    agent.write(lines(10..20).as_bytes())?;
    folder.wait_counted("delivered", 20)?;
    agent.stop()
}

#[test]
fn authorities_that_the_environment_names_are_found_and_may_be_replaced() -> Result {
    check_environment("SSL_CERT_FILE", |server, elsewhere| {
        let (new, file) = (server.authority.write(elsewhere.as_ref())?, elsewhere.path("bundle"));
        std::fs::rename(new, &file)?;
        Ok(file)
    })?;
    check_environment("SSL_CERT_DIR", |server, elsewhere| {
        let file = server.authority.write(&elsewhere.directory("shared")?)?;
        let (directory, link) = (elsewhere.directory("certs")?, elsewhere.path("certs/ca.0"));
        if !link.exists() {
            symlink(file, link)?;
        }
        Ok(directory)
    })
}

#[test]
fn the_systems_authorities_are_found() -> Result {
    const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
    if !rustix::process::geteuid().is_root() || !Path::new(BUNDLE).exists() {
        writeln!(std::io::stderr(), "SKIPPED: the system's authorities need root and {BUNDLE}")?;
        return Ok(());
    }
    let (folder, elsewhere) = (Folder::new()?, Folder::new()?);
    let server = TlsServer::start("127.0.0.1", false)?;
    let authority = server.authority.write(elsewhere.as_ref())?;
    let path = folder.path("usage.jsonl");
    std::fs::write(&path, lines(0..10))?;
    let config = config(&server, String::new());
    folder.configure(&Config { sources: file(&path), ..config })?;
    let mount = format!("mount --bind {} {BUNDLE}", authority.display());
    let mut agent = Agent::spawn_after(&mount, &folder.config(), folder.as_ref())?;
    agent.wait_ready()?;
    folder.wait_counted("delivered", 10)?;
    agent.stop()
}

#[test]
fn a_client_certificate_is_shown_when_it_is_configured() -> Result {
    let folder = Folder::new()?;
    let server = TlsServer::start("127.0.0.1", true)?;
    let authority = server.write_authority(&folder)?;
    let files = server.authority.sign("client")?.write(&folder.directory("tls")?, "client")?;
    let mediation = format!(
        "ca_file = \"{}\"\nclient_cert_file = \"{}\"\nclient_key_file = \"{}\"",
        authority.display(),
        files.cert_file.display(),
        files.key_file.display()
    );
    folder.run_to_end(&config(&server, mediation), lines(0..10).as_bytes())?;
    assert_eq!(number(&folder.status()?, "/equation/delivered")?, 10);
    Ok(())
}
