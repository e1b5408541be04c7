//! Sockets that a service manager has opened before the agent runs.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use crate::harness::client::post;
use crate::harness::{Agent, Config, Folder, Result, Sim, event, lines};

const SOURCES: &str = "\
    [sources.net]\ntype = \"tcp\"\nmeter = \"m\"\nlisten = \"systemd\"\n\
    [sources.local]\ntype = \"unix\"\nmeter = \"m\"\npath = \"systemd:sock\"\n";

#[test]
fn listeners_are_taken_by_their_names_and_outlive_the_agent() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), SOURCES))?;
    let net = TcpListener::bind("127.0.0.1:0")?;
    let path = folder.path("s");
    let local = UnixListener::bind(&path)?;
    let address = net.local_addr()?;
    for round in 0..3 {
        // What comes while no agent runs waits.
        let first = round * 200;
        TcpStream::connect(address)?.write_all(lines(first..first + 100).as_bytes())?;
        UnixStream::connect(&path)?.write_all(lines(first + 100..first + 200).as_bytes())?;
        let sockets: [OwnedFd; 2] = [local.try_clone()?.into(), net.try_clone()?.into()];
        let mut agent = Agent::activated(&folder.config(), folder.as_ref(), sockets, "sock:net")?;
        sim.wait_events(first + 200)?;
        agent.stop()?;
        // The socket file is the service manager's.
        assert!(path.exists());
    }
    sim.check_exactly_once(600)
}

#[test]
fn datagrams_and_requests_come_over_inherited_sockets_as_well() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    let sources = "[sources.web]\ntype = \"http\"\nlisten = \"systemd\"\n\
         [sources.local]\ntype = \"unix\"\nsocket = \"datagram\"\nmeter = \"m\"\npath = \"systemd\"\n";
    folder.configure(&Config::new(&sim.url(), sources))?;
    let web = TcpListener::bind("127.0.0.1:0")?;
    let path = folder.path("s");
    let local = UnixDatagram::bind(&path)?;
    let address = web.local_addr()?;
    UnixDatagram::unbound()?.send_to(event(0).as_bytes(), &path)?;
    let sockets = [web.into(), local.into()];
    let mut agent = Agent::activated(&folder.config(), folder.as_ref(), sockets, "web:local")?;
    assert_eq!(post(address, event(1).as_bytes())?.status, 200);
    sim.wait_events(2)?;
    agent.stop()?;
    sim.check_exactly_once(2)
}

#[test]
fn a_socket_that_is_not_there_or_of_another_kind_is_told_and_one_too_many_is_said() -> Result {
    let folder = Folder::new()?;
    let sim = Sim::start()?;
    folder.configure(&Config::new(&sim.url(), SOURCES))?;
    let output = folder.command(&["run"])?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = "cannot listen on systemd:net: there is no socket of that name";
    assert!(!output.status.success() && said.contains("systemd:"), "{said}");
    assert!(said.contains(expected) || said.contains(&expected.replace("net", "sock")), "{said}");

    let tcp = || TcpListener::bind("127.0.0.1:0");
    let sockets = [tcp()?.into(), tcp()?.into()];
    let mut agent = Agent::activated(&folder.config(), folder.as_ref(), sockets, "sock:net")?;
    assert_eq!(agent.wait()?.code(), Some(78));
    assert!(agent.log()?.contains("is not a valid unix stream socket"), "{}", agent.log()?);

    let source = SOURCES.split("[sources.local]").next().unwrap_or_default();
    folder.configure(&Config::new(&sim.url(), source))?;
    let (net, other) = (tcp()?, tcp()?);
    let address = net.local_addr()?;
    let sockets = [net.into(), other.into()];
    let mut agent = Agent::activated(&folder.config(), folder.as_ref(), sockets, "net:other")?;
    let record = agent.wait_logged("a socket of the service manager is for no source")?;
    assert_eq!(crate::harness::text(&record, "/name")?, "other");
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(lines(0..1).as_bytes())?;
    sim.wait_events(1)?;
    agent.stop()?;
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    Ok(())
}
