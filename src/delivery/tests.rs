//! The lanes on a clock that only the test moves, with a far end of its own: no sockets.

mod far_end;
mod model;

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance};

use super::lanes::{Lanes, Parts};
use super::*;
use crate::clock::Timestamp;
use crate::group::PackedGroup;
use crate::settlement::{LaneState, Posting, Settlement};
use crate::store::reader::Reader;
use crate::store::{self, Store, Work};
use crate::tenant::Credentials;
use crate::tenant::outcome::Answer;
use crate::tenant::transport::Exchange;

type TestResult<T = ()> = Result<T, Box<dyn std::error::Error>>;

const HOLD_INTERVAL: Duration = Duration::from_secs(60);

/// How long, in real time, something may take that needs no time on the test's clock.
const PATIENCE: Duration = Duration::from_secs(30);

const HELD: &str = "held";
const WELL: &str = "well";

fn settings() -> Settings {
    let tenant = tenant::Settings {
        base_url: None,
        credentials: Credentials::None,
        entity_ids: String::new(),
        org_ids: String::new(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(125),
        ca_file: None,
        client_identity: None,
        proxy: None,
        requests_per_minute: 50_000,
        requests_in_flight_max: 8,
        backoff_base: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        retry_after_max: Duration::from_secs(900),
    };
    Settings { tenant, hold_interval: HOLD_INTERVAL, on_unknown: OnUnknown::Resend }
}

/// The committer, the far end and the clock of a test.
struct Scene {
    store: Store,
    committed: crossbeam_channel::Receiver<Posting>,
    exchanges: UnboundedReceiver<Exchange>,
    meters: [Arc<Meter>; 2],
    /// Whether the far end refuses the first meter.
    is_held: bool,
    /// Requests and deliveries by meter.
    tries: HashMap<String, u64>,
    delivered: HashMap<String, u64>,
    /// Every state that the first meter's lane told.
    states: Vec<LaneState>,
}

impl Scene {
    fn commit(&mut self, groups: &[PackedGroup], settlements: &[&Settlement]) -> TestResult {
        Ok(self.store.commit(&Work { groups, settlements, now: Timestamp::now() })?)
    }

    fn add_batch(&mut self, number: usize) -> TestResult {
        let meter = Arc::clone(&self.meters[number]);
        self.commit(&[PackedGroup::of_body(&meter, Bytes::from_static(b"body"), 1, 10)], &[])?;
        meter.backlog.notify_one();
        Ok(())
    }

    /// Does what the committer and the far end do with what is there.
    fn play(&mut self) -> TestResult {
        while let Ok(Posting { settlement, committed }) = self.committed.try_recv() {
            self.commit(&[], &[&settlement])?;
            match &settlement {
                Settlement::Delivered { meter, .. } => {
                    *self.delivered.entry(meter.to_string()).or_default() += 1;
                }
                Settlement::Lane { meter, state, .. } if **meter == *HELD => {
                    self.states.push(*state);
                }
                _ => {}
            }
            let _ = committed.send(());
        }
        while let Ok(Exchange { url, reply, .. }) = self.exchanges.try_recv() {
            let status = if url == HELD && self.is_held { 403 } else { 200 };
            *self.tries.entry(url).or_default() += 1;
            let _ = reply.send(Ok(Answer { status, ..Answer::default() }));
        }
        Ok(())
    }

    /// Goes on until `is_there`, with the clock standing still: a runtime that is never idle does
    /// not move it.
    async fn until(&mut self, what: &str, is_there: impl Fn(&Self) -> bool) -> TestResult {
        let (began, at) = (std::time::Instant::now(), Instant::now());
        while !is_there(self) {
            if began.elapsed() > PATIENCE {
                return Err(format!("{what} does not come by itself").into());
            }
            self.play()?;
            tokio::task::yield_now().await;
        }
        assert_eq!(at.elapsed(), Duration::ZERO, "{what}");
        Ok(())
    }

    fn delivered(&self, meter: &str) -> u64 {
        self.delivered.get(meter).copied().unwrap_or(0)
    }
}

#[tokio::test(start_paused = true)]
async fn a_meter_that_is_held_for_an_hour_delays_no_other_and_delivers_all_of_it_then() -> TestResult
{
    const HELD_BATCHES: u64 = 20;
    const STEP: Duration = Duration::from_secs(30);
    let directory = tempfile::tempdir()?;
    let of_store = store::Settings {
        directory: directory.path().join("state"),
        bytes_max: 1 << 30,
        receipts_keep: Duration::from_secs(3600),
    };
    let (connection, exchanges) = Connection::scripted();
    let (postings, committed) = crossbeam_channel::unbounded();
    let mut scene = Scene {
        store: Store::open(&of_store, "agent")?,
        committed,
        exchanges,
        meters: [HELD, WELL].map(|name| Arc::new(Meter::new(name, name.to_owned()))),
        is_held: true,
        tries: HashMap::new(),
        delivered: HashMap::new(),
        states: Vec::new(),
    };
    for _ in 0..HELD_BATCHES {
        scene.add_batch(0)?;
    }
    let (_phase, phase) = tokio::sync::watch::channel(Phase::Run);
    let reader = Reader::open(&of_store.directory)?;
    let mut far_end = JoinSet::new();
    let tenant = connection.start(&settings().tenant, &mut far_end);
    let parts = Parts {
        tenant: &tenant,
        reader,
        postings: &postings,
        phase: &phase,
        misfit: |_, _, _, _| Ok(None),
        vitals: &Arc::default(),
    };
    let _lanes = Lanes::start(&settings(), &scene.meters, parts)?;
    scene.until("the hold", |scene| scene.states.last() == Some(&LaneState::Held)).await?;

    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3600) {
        advance(STEP).await;
        for _ in 0..5 {
            scene.add_batch(1)?;
            let wanted = scene.delivered(WELL) + 1;
            scene.until("a delivery", |scene| scene.delivered(WELL) == wanted).await?;
        }
    }
    assert_eq!((scene.delivered(WELL), scene.tries[WELL]), (600, 600));
    assert_eq!(scene.delivered(HELD), 0);
    assert_eq!(scene.states, [LaneState::Running, LaneState::Held]);
    // One a minute, and those that were under way together at first.
    assert!((50..=68).contains(&scene.tries[HELD]), "{}", scene.tries[HELD]);

    scene.is_held = false;
    advance(HOLD_INTERVAL).await;
    scene.until("all that was held", |scene| scene.delivered(HELD) == HELD_BATCHES).await?;
    assert_eq!(scene.states, [LaneState::Running, LaneState::Held, LaneState::Running]);
    Ok(())
}
