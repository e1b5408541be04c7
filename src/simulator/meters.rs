//! The meters of the simulated tenant: what each is, where it stands, and what became of its
//! events.
//!
//! A meter that exists has a small pipeline behind ingestion; events for any other global id are
//! only counted. What the references leave open is decided by [`assumptions`], each of which can be
//! decided the other way, and by [`WhenStopped`]. A second run while one runs is refused with code
//! 70002121, a unique key that was used before with 70002131; STOPPING has the number 14.

pub(super) mod assumptions;
pub(super) mod dedupe;
pub(super) mod definition;
mod graph;
mod late;
pub(super) mod pipeline;
pub(super) mod session;
pub(super) mod trail;

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;

use super::api::reply::Refused;
use crate::clock::Timestamp;
use assumptions::{Assumptions, Question};
use definition::Definition;
use pipeline::Pipeline;
use session::{Session, State};
use trail::Trail;

/// A meter that is there from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterSettings {
    /// The id that the meter APIs take.
    pub id: u64,
    /// The id that ingestion takes.
    pub global_id: String,
    /// The exported meter; none: a streaming meter with a deduplicator over `EventId`.
    pub definition: Option<String>,
}

impl MeterSettings {
    /// Reads `ID=GLOBAL_ID`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = || "expected ID=GLOBAL_ID, such as 97=8a8a".to_owned();
        let (id, global_id) = text.split_once('=').ok_or_else(expected)?;
        let id = id.parse().map_err(|_| expected())?;
        let is_plain = global_id.chars().all(|letter| letter.is_ascii_graphic() && letter != '/');
        if global_id.is_empty() || !is_plain {
            return Err(expected());
        }
        Ok(Self { id, global_id: global_id.to_owned(), definition: None })
    }
}

/// What becomes of events for a meter that does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStopped {
    /// They are accepted, and processed by the next run.
    #[default]
    Keep,
    /// They are refused: 400, code 70002122.
    Refuse,
}

/// All meters, files and sessions.
#[derive(Debug)]
pub(super) struct Meters {
    by_id: BTreeMap<u64, Meter>,
    /// Events of uploaded files, by the file's id.
    files: BTreeMap<u64, Vec<Box<RawValue>>>,
    when_stopped: WhenStopped,
    assumptions: Assumptions,
    sessions: u64,
    requests: u64,
}

/// One meter.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) id: u64,
    pub(super) global_id: String,
    pub(super) definition: Definition,
    pub(super) state: State,
    pub(super) trail: Trail,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pipeline: Pipeline,
    assumptions: Assumptions,
    session: Option<Session>,
    unique_keys: HashSet<String>,
    /// Events that came while it did not run.
    pending: Vec<Box<RawValue>>,
}

/// How a run is asked for.
#[derive(Debug, Default)]
pub(super) struct RunRequest {
    pub(super) unique_key: Option<String>,
    /// Ids of uploaded files.
    pub(super) files: Vec<String>,
    /// Whether it reads an event store.
    pub(super) is_event_store: bool,
}

impl Meters {
    /// The meters of the settings, each of which runs.
    pub(super) fn new(
        settings: &[MeterSettings],
        when_stopped: WhenStopped,
        assumptions: Assumptions,
        now: Timestamp,
    ) -> Result<Self, String> {
        let mut meters = Self {
            by_id: BTreeMap::new(),
            files: BTreeMap::new(),
            when_stopped,
            assumptions,
            sessions: 0,
            requests: 0,
        };
        for meter in settings {
            let text = meter.definition.as_deref().unwrap_or(definition::DEFAULT);
            let definition = Definition::read(text)
                .map_err(|error| format!("the definition of meter {}: {error}", meter.id))?;
            let session = meters.next_session(false, now);
            let mut made =
                Meter::new(meter.id, meter.global_id.clone(), definition, assumptions, now);
            (made.session, made.state) = (Some(session), State::Running);
            meters.by_id.insert(meter.id, made);
        }
        Ok(meters)
    }

    /// The meter with this id and version.
    pub(super) fn find(&mut self, id: &str, version: Option<&str>) -> Result<&mut Meter, Refused> {
        let no_meter = || Refused::not_found("70002103", format!("Meter {id} does not exist."));
        let number = id.parse().map_err(|_| no_meter())?;
        let meter = self.by_id.get_mut(&number).ok_or_else(no_meter)?;
        if let Some(version) = version
            && !meter.definition.versions.iter().any(|there| there == version)
        {
            let message = format!("Version {version} of meter {id} does not exist.");
            return Err(Refused::not_found("70002104", message));
        }
        Ok(meter)
    }

    /// Starts a run.
    pub(super) fn run(
        &mut self,
        (id, version): (&str, &str),
        request: RunRequest,
        now: Timestamp,
    ) -> Result<(&Meter, Session), Refused> {
        let mut events = Vec::new();
        for file in &request.files {
            events.extend(self.file(file)?.to_vec());
        }
        let assumptions = self.assumptions;
        let meter = self.find(id, Some(version))?;
        if let Some(key) = &request.unique_key
            && meter.unique_keys.contains(key)
        {
            return Err(Refused::bad("70002131", format!("Duplicate uniqueKey: {key}")));
        }
        let may_run_again = assumptions.differ(Question::RunWhileRunning);
        if (meter.state.takes_events() || meter.state == State::Stopping) && !may_run_again {
            return Err(Refused::bad("70002121", "The meter version is already running."));
        }
        let session = self.next_session(false, now);
        let meter = self.find(id, Some(version))?;
        meter.unique_keys.extend(request.unique_key);
        let ends = !request.files.is_empty() || request.is_event_store;
        meter.session = Some(session.clone());
        meter.begin(State::Initializing { ends });
        events.append(&mut meter.pending);
        meter.process(&session, &events, now);
        Ok((meter, session))
    }

    /// Tests a version; the answer also says whether all events came through.
    pub(super) fn debug(
        &mut self,
        (id, version): (&str, &str),
        mut events: Vec<Box<RawValue>>,
        files: &[String],
        now: Timestamp,
    ) -> Result<(&Meter, Session), Refused> {
        for file in files {
            events.extend(self.file(file)?.to_vec());
        }
        self.find(id, Some(version))?;
        let session = self.next_session(true, now);
        let meter = self.find(id, Some(version))?;
        let mut pipeline = Pipeline::new(&meter.definition, meter.assumptions);
        let errors = pipeline.process(&mut meter.trail, &session, &events, now);
        let is_busy = meter.state.takes_events() || meter.state == State::Stopping;
        if !is_busy || meter.assumptions.differ(Question::TestOfRunning) {
            meter.begin(State::Testing { passes: errors == 0 });
        }
        Ok((meter, session))
    }

    /// Takes events that ingestion accepted; events for global ids of no meter are nobody's.
    pub(super) fn ingest(&mut self, global_id: &str, payload: &[u8], now: Timestamp) {
        let Some(meter) = self.by_global_id(global_id) else { return };
        let events = events_of_json(payload);
        match meter.session.clone().filter(|_| meter.state.takes_events()) {
            Some(session) => meter.process(&session, &events, now),
            None => meter.pending.extend(events),
        }
    }

    /// Whether there is a meter with this global id.
    pub(super) fn knows(&self, global_id: &str) -> bool {
        self.by_id.values().any(|meter| meter.global_id == global_id)
    }

    /// Whether events for this global id are refused, because its meter does not run.
    pub(super) fn refuses(&mut self, global_id: &str) -> bool {
        self.when_stopped == WhenStopped::Refuse
            && self.by_global_id(global_id).is_some_and(|meter| !meter.state.takes_events())
    }

    /// Takes a definition: for the meter with this global id, or for a new one.
    pub(super) fn import(
        &mut self,
        definition: Definition,
        global_id: Option<String>,
        now: Timestamp,
    ) -> &Meter {
        let next = self.by_id.keys().next_back().map_or(1, |last| last + 1);
        let global_id =
            global_id.unwrap_or_else(|| format!("{:032x}", 0x8a8a_u128 << 112 | u128::from(next)));
        let assumptions = self.assumptions;
        let known = self.by_global_id(&global_id).map(|meter| meter.id);
        let id = known.unwrap_or(next);
        let meter = self
            .by_id
            .entry(id)
            .or_insert_with(|| Meter::new(id, global_id, Definition::default(), assumptions, now));
        let pipeline = Pipeline::new(&definition, assumptions);
        let old = std::mem::replace(&mut meter.pipeline, pipeline);
        if assumptions.differ(Question::ImportRemembers) {
            meter.pipeline.remember(old);
        }
        if assumptions.differ(Question::ImportOfRunning) && meter.state.takes_events() {
            meter.state = State::Paused;
        }
        (meter.definition, meter.updated_at) = (definition, now);
        meter
    }

    /// Keeps the events of a file, and gives its id.
    pub(super) fn upload(&mut self, events: Vec<Box<RawValue>>) -> u64 {
        let id = self.files.keys().next_back().map_or(1, |last| last + 1);
        self.files.insert(id, events);
        id
    }

    /// A number for a request of a summary.
    pub(super) fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    fn file(&self, id: &str) -> Result<&[Box<RawValue>], Refused> {
        let file = id.parse().ok().and_then(|id: u64| self.files.get(&id));
        file.map(Vec::as_slice)
            .ok_or_else(|| Refused::bad("70002201", format!("File {id} does not exist.")))
    }

    fn by_global_id(&mut self, global_id: &str) -> Option<&mut Meter> {
        self.by_id.values_mut().find(|meter| meter.global_id == global_id)
    }

    fn next_session(&mut self, is_debug: bool, now: Timestamp) -> Session {
        self.sessions += 1;
        Session { number: self.sessions, is_debug, started_at: now }
    }
}

impl Meter {
    fn new(
        id: u64,
        global_id: String,
        definition: Definition,
        assumptions: Assumptions,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            global_id,
            pipeline: Pipeline::new(&definition, assumptions),
            definition,
            state: State::NeverRun,
            trail: Trail::new(assumptions),
            assumptions,
            created_at: now,
            updated_at: now,
            session: None,
            unique_keys: HashSet::new(),
            pending: Vec::new(),
        }
    }

    /// Comes to `state`, or to what that passes to.
    fn begin(&mut self, state: State) {
        self.state = state;
        while self.assumptions.differ(Question::PassingStates) && self.state.next() != self.state {
            self.state = self.state.next();
        }
    }

    fn process(&mut self, session: &Session, events: &[Box<RawValue>], now: Timestamp) {
        self.pipeline.process(&mut self.trail, session, events, now);
    }

    /// Asks it to stop.
    pub(super) fn stop(&mut self, is_forced: bool) -> Result<(), Refused> {
        match self.state {
            State::Stopping => Err(Refused::bad("70003043", "A stop of the meter is in progress.")),
            state if !state.takes_events() => {
                Err(Refused::bad("70002122", "The meter version is not running."))
            }
            _ => {
                self.begin(if is_forced { State::Paused } else { State::Stopping });
                Ok(())
            }
        }
    }
}

/// The events of an array, or the one event.
pub(super) fn events_of_json(payload: &[u8]) -> Vec<Box<RawValue>> {
    serde_json::from_slice::<Vec<Box<RawValue>>>(payload)
        .or_else(|_| serde_json::from_slice::<Box<RawValue>>(payload).map(|event| vec![event]))
        .unwrap_or_default()
}
