//! A network that loses, resets, slows down and swallows what it is given, and names that are not
//! found: nothing is lost, nobody waits beyond the time-outs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::network::Network;
use crate::harness::{Error, Folder, Result, Sim};
use crate::scorecard::Scored;
use crate::tls_gate::TlsGate;
use crate::trouble::{Account, Case};

/// What the network does to packets to and from a port, as rules of nftables.
const TROUBLES: [(&str, &[&str]); 6] = [
    ("black hole", &["drop"]),
    // A connection is made, and nothing comes through it.
    ("half-open", &["tcp flags & syn == 0 drop"]),
    ("reset", &["reject with tcp reset"]),
    ("reset now and then", &["numgen random mod 100 < 15 reject with tcp reset"]),
    ("30 % loss", &["numgen random mod 100 < 30 drop"]),
    ("slow", &["limit rate over 2 kbytes/second burst 1 kbytes drop"]),
];

/// Tries each case of `cases` at one time with the others.
pub(crate) fn at_once<C: Sync>(
    cases: &[(&str, C)],
    tried: impl Fn(&C) -> Result<Account> + Sync,
) -> Result<Account> {
    let accounts = std::thread::scope(|scope| {
        let tries: Vec<_> =
            cases.iter().map(|(name, case)| (name, scope.spawn(|| tried(case)))).collect();
        let results = tries.into_iter().map(|(name, tried)| {
            let tried = tried.join().map_err(|_| Error::from("a panic")).flatten();
            tried.map_err(|error| Error::from(format!("{name}: {error}")))
        });
        results.collect::<Result<Vec<Account>>>()
    })?;
    Ok(accounts.into_iter().fold(Account::default(), Account::worst))
}

fn through(network: &Network, verdicts: &[&str]) -> Result<Account> {
    network.inside(|| {
        let sim = Sim::with_faults(&["slow=300ms"])?;
        let url = sim.url();
        let port = url.rsplit(':').next().ok_or("no port")?.to_owned();
        let rules = verdicts.iter().flat_map(|verdict| {
            ["dport", "sport"].map(|end| format!("tcp {end} {port} {verdict}\n"))
        });
        let rules: String = rules.collect();
        // Connections are there, and requests under way on them.
        let begun = || sim.wait_requests(2).and_then(|()| network.filter(&rules));
        Case::new(&url, "")?.endure(&sim, begun, || network.filter(""))
    })
}

#[test]
fn a_network_in_trouble_loses_nothing_and_keeps_nobody_waiting() -> Result {
    let scored = Scored::begin("N1", "network")?;
    if let Err(error) = Network::new() {
        scored.skipped(&error);
        return Ok(());
    }
    let account = at_once(&TROUBLES, |verdicts| through(&Network::new()?, verdicts))?;
    scored.shown(&format!("{} troubles: {}", TROUBLES.len(), account.figure()))
}

/// How a name is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    /// Nobody listens where the server should be.
    Unserved,
    /// The server does not answer.
    Unanswered,
    /// The server says that there is no such name.
    Unknown,
    /// Nothing says yet who the server is: the link to that leads to nothing.
    Unconfigured,
}

const UNNAMED: [(&str, Unnamed); 4] = [
    ("no server of names", Unnamed::Unserved),
    ("no answer about names", Unnamed::Unanswered),
    ("no such name", Unnamed::Unknown),
    ("no word on who knows names", Unnamed::Unconfigured),
];

/// A server of names on port 53 of the network of this thread, that knows none, or that every name is this
/// machine's.
struct NameServer {
    is_knowing: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

/// Not the one that is asked when none is configured.
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);

/// What a name server says to `question`: this machine's address, no such kind of address, or no such name.
fn answer_to(question: &[u8], is_known: bool) -> Vec<u8> {
    const HEADER_BYTES: usize = 12;
    let name = question.get(HEADER_BYTES..).unwrap_or_default();
    let name_bytes = name.iter().position(|byte| *byte == 0).unwrap_or_default();
    // Behind the name, its kind and class.
    let end = HEADER_BYTES + name_bytes + 5;
    let is_address = question.get(end - 3) == Some(&1);
    let mut answer = question.get(..end).unwrap_or_default().to_vec();
    answer[2..4].copy_from_slice(&[0x81, if is_known { 0x80 } else { 0x83 }]);
    answer[6..HEADER_BYTES].copy_from_slice(&[0, u8::from(is_known && is_address), 0, 0, 0, 0]);
    if is_known && is_address {
        // The name of the question; kind, class and seconds that it holds; the address.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    answer
}

impl NameServer {
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((NAME_SERVER, 53)))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (is_knowing, is_over) = (Arc::default(), Arc::default());
        let server = Self { is_knowing: Arc::clone(&is_knowing), is_over: Arc::clone(&is_over) };
        std::thread::Builder::new().spawn(move || {
            let mut message = [0; 512];
            while !is_over.load(Ordering::Acquire) {
                let Ok((length, from)) = socket.recv_from(&mut message) else { continue };
                let is_known = is_knowing.load(Ordering::Acquire);
                let _ = socket.send_to(&answer_to(&message[..length], is_known), from);
            }
        })?;
        Ok(server)
    }

    /// From now on every name is this machine's.
    fn know(&self) {
        self.is_knowing.store(true, Ordering::Release);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// What the agent sees in place of the system's `/etc`.
struct Names {
    folder: Folder,
}

impl Names {
    fn new() -> Result<Self> {
        let names = Self { folder: Folder::new()? };
        let etc = names.folder.directory("etc")?;
        let copied = Command::new("cp").args(["-a", "/etc/."]).arg(&etc).status()?;
        assert!(copied.success(), "cp");
        std::fs::write(etc.join("nsswitch.conf"), "hosts: files dns\n")?;
        std::fs::write(etc.join("hosts"), HOSTS)?;
        let resolver = etc.join("resolv.conf");
        std::fs::remove_file(&resolver).or_else(is_not_there)?;
        symlink(names.folder.path("run/resolve/resolv.conf"), resolver)?;
        Ok(names)
    }

    /// What a shell does so that they are seen.
    fn mounts(&self) -> String {
        format!("mount --bind '{}' /etc", self.folder.path("etc").display())
    }

    /// From now on it is said who knows names.
    fn configure(&self) -> Result {
        let directory = self.folder.directory("run")?.join("resolve");
        std::fs::create_dir(&directory)?;
        Ok(std::fs::write(directory.join("resolv.conf"), format!("nameserver {NAME_SERVER}\n"))?)
    }

    /// From now on this machine has the name.
    fn know(&self, name: &str) -> Result {
        Ok(std::fs::write(self.folder.path("etc/hosts"), format!("{HOSTS}127.0.0.1 {name}\n"))?)
    }
}

const HOSTS: &str = "127.0.0.1 localhost\n";

fn is_not_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

const NAME: &str = "far.test";

fn unnamed(network: &Network, how: Unnamed) -> Result<Account> {
    network.inside(|| {
        let sim = Sim::start()?;
        let gate = TlsGate::start(&sim, NAME)?;
        let server = match how {
            Unnamed::Unknown | Unnamed::Unconfigured => Some(NameServer::start()?),
            Unnamed::Unserved | Unnamed::Unanswered => None,
        };
        if how == Unnamed::Unanswered {
            network.filter("udp dport 53 drop\n")?;
        }
        let names = Names::new()?;
        match &server {
            Some(server) if how == Unnamed::Unconfigured => server.know(),
            _ => names.configure()?,
        }
        let mut case = Case::new(&gate.url(NAME), &gate.mediation())?;
        case.first = Some(names.mounts());
        let ended = || match how {
            Unnamed::Unserved | Unnamed::Unanswered => names.know(NAME),
            Unnamed::Unconfigured => names.configure(),
            Unnamed::Unknown => {
                server.iter().for_each(NameServer::know);
                Ok(())
            }
        };
        let account = case.endure(&sim, || Ok(()), ended)?;
        gate.check_nothing_in_clear()?;
        Ok(account)
    })
}

#[test]
fn names_that_are_not_found_lose_nothing_and_keep_nobody_waiting() -> Result {
    let scored = Scored::begin("N1", "names")?;
    if let Err(error) = Network::new() {
        scored.skipped(&error);
        return Ok(());
    }
    let account = at_once(&UNNAMED, |how| unnamed(&Network::new()?, *how))?;
    scored.shown(&format!("{} troubles: {}", UNNAMED.len(), account.figure()))
}
