//! The simulator in this process, and what its books have to say.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use meterd::simulator::{Fault, Handle, Settings, Simulator, Stats};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::{Result, event_id, fail, number, text, until};

/// The global id of the meter in every configuration.
const METER: &str = "g1";

/// How many ids a failure names.
const NAMED_MAX: usize = 5;

/// What came more than once.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Repeated {
    /// Accepted requests beyond the first one of each batch.
    pub(crate) requests: u64,
    /// Events in them.
    pub(crate) events: u64,
}

/// A simulator that serves until it is dropped.
pub(crate) struct Sim {
    handle: Handle,
    address: SocketAddr,
    until: CancellationToken,
    runtime: Option<Runtime>,
}

impl Sim {
    /// One that never fails.
    pub(crate) fn start() -> Result<Self> {
        Self::with_settings(Settings::default())
    }

    /// One with these faults.
    pub(crate) fn with_faults(faults: &[&str]) -> Result<Self> {
        Self::with_settings(Settings { faults: parse(faults)?, ..Settings::default() })
    }

    /// One on the address of `port`, on which nothing listened so far.
    pub(crate) fn on(port: ReservedPort) -> Result<Self> {
        let listen = port.address;
        drop(port);
        Self::with_settings(Settings { listen, ..Settings::default() })
    }

    pub(crate) fn with_settings(settings: Settings) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let simulator = runtime.block_on(Simulator::bind(settings))?;
        let (handle, address) = (simulator.handle(), simulator.address());
        let until = CancellationToken::new();
        runtime.spawn(simulator.serve(until.clone()));
        Ok(Self { handle, address, until, runtime: Some(runtime) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.handle.stats()
    }

    /// The latest requests to the meter APIs with their answers, as documents.
    pub(crate) fn exchanges(&self) -> Vec<serde_json::Value> {
        let exchanges = self.handle.exchanges();
        exchanges.iter().filter_map(|exchange| serde_json::to_value(exchange).ok()).collect()
    }

    /// Takes these faults in place of those in force.
    pub(crate) fn replace_faults(&self, faults: &[&str]) -> Result {
        self.handle.replace_faults(parse(faults)?);
        Ok(())
    }

    /// How often each event id was accepted.
    pub(crate) fn events(&self) -> HashMap<String, u64> {
        self.events_of(METER)
    }

    /// The same of the meter with this global id.
    pub(crate) fn events_of(&self, meter: &str) -> HashMap<String, u64> {
        self.handle.event_counts(meter)
    }

    /// Whether this event was accepted.
    pub(crate) fn has_event(&self, number: u64) -> bool {
        self.events().contains_key(&event_id(number))
    }

    /// Waits until so many different events were accepted.
    pub(crate) fn wait_events(&self, count: u64) -> Result {
        let waited = until(&format!("{count} events"), || {
            Ok((self.stats().distinct_ids >= count).then_some(()))
        });
        waited.map_err(|error| format!("{error}, there are {}", self.stats().distinct_ids).into())
    }

    /// Waits until so many requests came.
    pub(crate) fn wait_requests(&self, count: u64) -> Result {
        until(&format!("{count} requests"), || Ok((self.stats().requests >= count).then_some(())))
    }

    /// Fails unless exactly the events `0..count` are there, each at least once.
    pub(crate) fn check_complete(&self, count: u64) -> Result {
        let there = self.events();
        let wanted: HashSet<String> = (0..count).map(event_id).collect();
        let mut missing: Vec<&String> =
            wanted.iter().filter(|id| !there.contains_key(*id)).collect();
        missing.sort();
        missing.truncate(NAMED_MAX);
        let foreign: Vec<&String> =
            there.keys().filter(|id| !wanted.contains(*id)).take(NAMED_MAX).collect();
        if missing.is_empty() && foreign.is_empty() && self.stats().without_id == 0 {
            return Ok(());
        }
        fail(format!(
            "{} of {count} events: missing {missing:?}, never written {foreign:?}",
            there.len()
        ))
    }

    /// Fails unless each batch that came more than once was byte for byte the same, and, if it was accepted
    /// more than once, says in its receipt that the outcome of an attempt was not known.
    pub(crate) fn check_repeats(&self, receipts: &[Value]) -> Result<Repeated> {
        let stats = self.stats();
        let mut by_track = HashMap::new();
        for receipt in receipts {
            by_track.insert(text(receipt, "/track_id")?, receipt);
        }
        let mut repeated = Repeated::default();
        for repeat in &stats.repeats {
            let receipt = by_track.get(repeat.track_id.as_str());
            let receipt = receipt.ok_or_else(|| format!("no receipt of {}", repeat.track_id))?;
            let unknown = number(receipt, "/outcome_unknown_attempts")?;
            let again = repeat.accepted.saturating_sub(1);
            if repeat.bodies != 1 || (again > 0 && unknown < 1) {
                return fail(format!("{repeat:?} is not on record: {receipt}"));
            }
            repeated.requests += again;
            repeated.events += again * number(receipt, "/events")?.cast_unsigned();
        }
        Ok(repeated)
    }

    /// Fails unless exactly the events `0..count` are there, each once.
    pub(crate) fn check_exactly_once(&self, count: u64) -> Result {
        self.check_complete(count)?;
        let twice: Vec<String> =
            self.events().into_iter().filter(|(_, times)| *times > 1).map(|(id, _)| id).collect();
        if twice.is_empty() {
            return Ok(());
        }
        fail(format!("{} events twice, such as {:?}", twice.len(), twice.first()))
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.until.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

fn parse(faults: &[&str]) -> Result<Vec<Fault>> {
    Ok(faults.iter().map(|text| text.parse()).collect::<std::result::Result<_, _>>()?)
}

/// A port that refuses connections and that nobody else gets.
pub(crate) struct ReservedPort {
    address: SocketAddr,
    // Bound and never listening.
    _socket: TcpSocket,
}

impl ReservedPort {
    pub(crate) fn new() -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        Ok(Self { address: socket.local_addr()?, _socket: socket })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
