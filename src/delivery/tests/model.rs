//! The lanes against a far end that fails in every way, with the agent ended in the middle: whatever
//! happens, each event ends delivered or as a dead letter, and what was taken twice is on record.

use fastrand::Rng;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use super::far_end::{FarEnd, event, number};
use super::*;
use crate::body::ArrayWriter;
use crate::store::dead_letters::Filter;
use crate::store::editor::Editor;
use crate::store::receipts;

/// Trials, each with a seed of its own. `METERD_SEED` tries one of them alone.
const SEEDS: u64 = 1200;

/// Requests under way at one time.
const IN_FLIGHT_MAX: u32 = 4;

/// The longest step of the clock while nothing happens.
const STEP_MAX: Duration = Duration::from_secs(20);

/// No trial needs so many steps.
const STEPS_MAX: u32 = 60_000;

/// One trial.
struct Trial {
    random: Rng,
    far_end: FarEnd,
    on_unknown: OnUnknown,
    place: TempDir,
    meters: [Arc<Meter>; 2],
    /// Batches that are still to come, each with its meter and events.
    to_come: Vec<(usize, Vec<u64>)>,
    events: u64,
    /// How often the agent is still to end at any moment.
    crashes: u32,
    steps: u32,
}

impl Trial {
    fn new(seed: u64) -> Result<Self, Box<dyn std::error::Error>> {
        let mut random = Rng::with_seed(seed);
        let (mut to_come, mut events) = (Vec::new(), 0);
        for _ in 0..random.usize(1..12) {
            let count = random.u64(1..7);
            to_come.push((random.usize(..2), (events..events + count).collect()));
            events += count;
        }
        let faults = random.u32(..30);
        let mut far_end = FarEnd::new(Rng::with_seed(random.u64(..)), faults);
        far_end.wrong = (0..events).filter(|_| random.u8(..20) == 0).collect();
        let memory = std::path::Path::new("/dev/shm");
        let place =
            if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? };
        let on_unknown = if random.bool() { OnUnknown::Resend } else { OnUnknown::Hold };
        let crashes = random.u32(..3);
        let meters = ["one", "two"].map(|name| Arc::new(Meter::new(name, name.to_owned())));
        Ok(Self { random, far_end, on_unknown, place, meters, to_come, events, crashes, steps: 0 })
    }

    fn settings(&self) -> Settings {
        let settings = settings();
        let tenant = tenant::Settings { requests_in_flight_max: IN_FLIGHT_MAX, ..settings.tenant };
        Settings { tenant, on_unknown: self.on_unknown, ..settings }
    }

    fn of_store(&self) -> store::Settings {
        store::Settings {
            directory: self.place.path().to_owned(),
            bytes_max: 1 << 30,
            receipts_keep: Duration::from_secs(3600),
        }
    }

    fn add_batch(&mut self, store: &mut Store) -> TestResult {
        let Some((meter, events)) = self.to_come.pop() else { return Ok(()) };
        let mut writer = ArrayWriter::new(1);
        writer.begin();
        for number in &events {
            writer.begin_event().extend_from_slice(event(*number).as_bytes());
            writer.end_event()?;
        }
        let body = writer.finish()?;
        let meter = &self.meters[meter];
        let group = PackedGroup::of_body(meter, body.bytes, body.events, body.payload_bytes);
        store.commit(&Work { groups: &[group], settlements: &[], now: Timestamp::now() })?;
        meter.backlog.notify_one();
        Ok(())
    }

    /// One run of the agent, to its end or to a crash. True: nothing is left.
    async fn live(&mut self, store: &mut Store) -> TestResult<bool> {
        let (connection, mut exchanges) = Connection::scripted();
        let (postings, committed) = crossbeam_channel::unbounded();
        let (_phase, phase) = tokio::sync::watch::channel(Phase::Run);
        let mut tasks = JoinSet::new();
        let tenant = connection.start(&self.settings().tenant, &mut tasks);
        let (reader, looker) = (Reader::open(self.place.path())?, Reader::open(self.place.path())?);
        let misfit = |_: &Meter, _: &Arc<_>, _: &[u8], _| Ok(None);
        let vitals = &Arc::default();
        let (postings, phase) = (&postings, &phase);
        let parts = Parts { tenant: &tenant, reader, postings, phase, misfit, vitals };
        let _lanes = Lanes::start(&self.settings(), &self.meters, parts)?;
        let (mut step, mut quiet) = (Duration::from_millis(1), 0);
        while !(self.to_come.is_empty() && store.is_drained()?) {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Err("the trial has no end".into());
            }
            if self.crashes > 0 && self.random.u8(..60) == 0 {
                self.crashes -= 1;
                return Ok(false);
            }
            let mut happened = self.random.bool() && !self.to_come.is_empty();
            if happened {
                self.add_batch(store)?;
            }
            while self.random.u8(..4) > 0
                && let Ok(Posting { settlement, committed }) = committed.try_recv()
            {
                let settlements = &[&settlement];
                store.commit(&Work { groups: &[], settlements, now: Timestamp::now() })?;
                let _ = committed.send(());
                happened = true;
            }
            if self.random.bool() {
                happened |= !self.far_end.under_way.is_empty();
                self.far_end.answer_one();
            }
            tokio::select! {
                biased;
                Some(exchange) = exchanges.recv() => {
                    // What may be under way after a crash is told from the rest by its age.
                    let oldest = looker.batches(Some(&exchange.url), false, 0, IN_FLIGHT_MAX)?;
                    let is_old = oldest.iter().any(|batch| batch.track_id == exchange.track_id);
                    assert!(is_old, "{} is not among the oldest", exchange.track_id);
                    self.far_end.take_in(exchange);
                    assert!(self.far_end.under_way.len() <= IN_FLIGHT_MAX as usize);
                    happened = true;
                }
                () = sleep(step) => {}
            }
            (step, quiet) = if happened {
                (Duration::from_millis(1), 0)
            } else {
                ((step * 2).min(STEP_MAX), quiet + 1)
            };
            if quiet > 20 {
                self.decide()?;
                quiet = 0;
            }
        }
        Ok(true)
    }

    /// What a person does who knows what Mediation has.
    fn decide(&self) -> TestResult {
        if self.on_unknown == OnUnknown::Resend {
            return Ok(());
        }
        let mut editor = Editor::open(self.place.path())?;
        let reader = Reader::open(self.place.path())?;
        for batch in reader.batches(None, true, 0, 1000)?.iter().filter(|batch| batch.undecided) {
            let names = [batch.track_id.clone()];
            let known = self.far_end.known.get(&batch.track_id);
            let objections = if known.is_some_and(|events| self.far_end.knows_all(events)) {
                editor.confirm(&names, Timestamp::now())?
            } else {
                editor.resend(&names)?
            };
            assert_eq!(objections, []);
        }
        Ok(())
    }

    fn run(&mut self) -> TestResult {
        let mut store = Store::open(&self.of_store(), "agent")?;
        loop {
            store.begin_run(IN_FLIGHT_MAX, Duration::from_secs(900), Timestamp::now())?;
            let runtime = runtime()?;
            let is_done = runtime.block_on(self.live(&mut store))?;
            // All that was under way goes with it.
            drop(runtime);
            self.far_end.hang_up();
            if is_done {
                break;
            }
            drop(store);
            store = Store::open(&self.of_store(), "agent")?;
        }
        self.judge()
    }

    /// Whether all is as it has to be in the end.
    fn judge(&self) -> TestResult {
        let mut reader = Reader::open(self.place.path())?;
        let equation = reader.status(Timestamp::now(), None)?.equation;
        assert!(equation.holds && equation.stored == 0, "{equation:?}");
        let taken = |event: &u64| self.far_end.taken.get(event).copied().unwrap_or(0);
        let mut seen = vec![0; usize::try_from(self.events)?];
        let mut doubles = 0;
        for letter in reader.dead_letters(&Filter::default(), 0, 10_000)? {
            let event = number(&letter.event).ok_or("another event")?;
            seen[usize::try_from(event)?] += 1;
            assert!(taken(&event) <= letter.outcome_unknown_attempts, "{event} is no dead letter");
        }
        for receipt in reader.receipts(&receipts::Filter::default(), 0..i64::MAX, 10_000)? {
            let events = &self.far_end.known[&receipt.track_id];
            assert_eq!(events.len(), receipt.events as usize, "{}", receipt.track_id);
            for event in events {
                seen[usize::try_from(*event)?] += 1;
                assert!(taken(event) > 0, "{event} was never taken");
                let doubled = taken(event) - 1;
                assert!(doubled <= receipt.outcome_unknown_attempts, "{event} is there twice");
                doubles += doubled;
            }
        }
        assert!(seen.iter().all(|times| *times == 1), "an event is lost or doubled: {seen:?}");
        // Who has everything decided has nothing twice.
        assert!(doubles == 0 || self.on_unknown == OnUnknown::Resend, "{doubles} were sent again");
        Ok(())
    }
}

/// On a clock that moves when nothing else can happen.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_time().start_paused(true).build()
}

#[test]
fn every_event_ends_once_whatever_the_far_end_does() -> TestResult {
    let wanted = std::env::var("METERD_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = wanted.map_or(0..SEEDS, |seed| seed..seed + 1);
    let (mut requests, mut repeats) = (0, 0);
    for seed in seeds {
        let mut trial = Trial::new(seed)?;
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trial.run()));
        let failed = match tried {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("see above".to_owned()),
        };
        assert!(failed.is_none(), "METERD_SEED={seed}: {failed:?}");
        requests += trial.far_end.requests;
        repeats += trial.far_end.taken.values().map(|times| u64::from(times - 1)).sum::<u64>();
    }
    // Trials in which nothing goes wrong would show nothing.
    assert!(wanted.is_some() || (requests > SEEDS * 5 && repeats > 0), "{requests} {repeats}");
    Ok(())
}
