//! A network that loses, resets, slows down and swallows what it is given, and names that are not
//! found: nothing is lost, nobody waits beyond the time-outs.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
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
}

const UNNAMED: [(&str, Unnamed); 3] = [
    ("no server of names", Unnamed::Unserved),
    ("no answer about names", Unnamed::Unanswered),
    ("no such name", Unnamed::Unknown),
];

/// A server of names on port 53 of the network of this thread, that knows none.
struct NameServer {
    is_over: Arc<AtomicBool>,
}

impl NameServer {
    fn start() -> Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 53)))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let is_over = Arc::new(AtomicBool::new(false));
        let watched = Arc::clone(&is_over);
        std::thread::Builder::new().spawn(move || {
            let mut message = [0; 512];
            while !watched.load(Ordering::Acquire) {
                let Ok((length, from)) = socket.recv_from(&mut message) else { continue };
                // An answer, with the question in it: no such name.
                message[2] |= 0x80;
                message[3] = 0x83;
                let _ = socket.send_to(&message[..length], from);
            }
        })?;
        Ok(Self { is_over })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
    }
}

/// Files that the agent sees in place of those of the system.
struct Names {
    folder: Folder,
}

impl Names {
    const FILES: [(&str, &str); 3] = [
        ("hosts", "127.0.0.1 localhost\n"),
        ("resolv.conf", "nameserver 127.0.0.1\n"),
        ("nsswitch.conf", "hosts: files dns\n"),
    ];

    fn new() -> Result<Self> {
        let folder = Folder::new()?;
        for (name, text) in Self::FILES {
            std::fs::write(folder.path(name), text)?;
        }
        Ok(Self { folder })
    }

    /// What a shell does so that they are seen.
    fn mounts(&self) -> String {
        let is_there = |name: &&str| Path::new("/etc").join(name).exists();
        let names = Self::FILES.map(|(name, _)| name).into_iter().filter(is_there);
        let mount =
            |name| format!("mount --bind '{}' /etc/{name}\n", self.folder.path(name).display());
        names.map(mount).collect()
    }

    /// From now on this machine has the name.
    fn know(&self, name: &str) -> Result {
        Ok(std::fs::write(self.folder.path("hosts"), format!("127.0.0.1 localhost {name}\n"))?)
    }
}

const NAME: &str = "far.test";

fn unnamed(network: &Network, how: Unnamed) -> Result<Account> {
    network.inside(|| {
        let sim = Sim::start()?;
        let gate = TlsGate::start(&sim, NAME)?;
        let _server = (how == Unnamed::Unknown).then(NameServer::start).transpose()?;
        if how == Unnamed::Unanswered {
            network.filter("udp dport 53 drop\n")?;
        }
        let names = Names::new()?;
        let mut case = Case::new(&gate.url(NAME), &gate.mediation())?;
        case.first = Some(names.mounts());
        let account = case.endure(&sim, || Ok(()), || names.know(NAME))?;
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
