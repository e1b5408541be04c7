//! Another configuration for a running agent: all of it or nothing.
//!
//! What can fail comes first and changes nothing: the configuration is read, compared with the one
//! that holds, new sockets are bound, certificates and tokens looked at. What comes behind cannot fail,
//! and each part obeys it at once; a source that is replaced gives way when all that it has handed
//! over is committed. Only the reading is away from the runtime's threads.

use std::error::Error as _;
use std::sync::Arc;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::plan::{self, Plan, plan};
use super::run::Run;
use super::sources::Successor;
use super::{Load, Settings, Wanted, service};
use crate::control::contract;
use crate::delivery;
use crate::pack::batcher;
use crate::settlement::{Posting, Settlement};
use crate::source;
use crate::source::listen::Inherited;
use crate::store::reader::Reader;
use crate::tenant::Connection;

/// Where reloads stand.
pub(super) struct Reloading {
    load: Option<Load>,
    /// Sockets that are open; none while a reload is under way, which has them.
    inherited: Option<Inherited>,
    under_way: Option<JoinHandle<Prepared>>,
    /// Somebody asked while one was under way.
    is_asked_again: bool,
    /// Systemd was told that a reload has begun, and not that it has ended.
    is_open: bool,
    /// Requests that each lane may have under way, as the store knows.
    in_flight_noted: u32,
}

/// What a reload came to before anything has changed.
pub(super) struct Prepared {
    inherited: Inherited,
    change: Result<Change, Vec<String>>,
}

/// Everything that a reload needs, with nothing left that can fail.
struct Change {
    plan: Plan,
    connection: Connection,
    successors: Vec<Successor>,
    warnings: Vec<String>,
    adopt: Box<dyn FnOnce() + Send>,
}

impl Reloading {
    /// None under way. `in_flight_noted` is what the store was told with the begin of the run.
    pub(super) fn new(load: Option<Load>, inherited: Inherited, in_flight_noted: u32) -> Self {
        Self {
            load,
            inherited: Some(inherited),
            under_way: None,
            is_asked_again: false,
            is_open: false,
            in_flight_noted,
        }
    }

    /// Waits for what a reload came to; for ever while none is under way.
    pub(super) async fn prepared(&mut self) -> Prepared {
        match &mut self.under_way {
            Some(under_way) => {
                let prepared = under_way.await;
                self.under_way = None;
                prepared.unwrap_or_else(|error| Prepared {
                    inherited: Inherited::default(),
                    change: Err(vec![format!("reading it has failed: {error}")]),
                })
            }
            None => std::future::pending().await,
        }
    }

    /// No reload comes any more, and sockets are closed with their sources.
    pub(super) fn stop(&mut self) {
        (self.load, self.inherited) = (None, None);
        if let Some(under_way) = self.under_way.take() {
            under_way.abort();
        }
    }
}

impl Run {
    /// Begins to read the configuration again, or has that done once more behind the one under way.
    pub(super) fn reload(&mut self) {
        let (Some(load), Some(postings)) = (&self.reloading.load, &self.postings) else {
            tracing::warn!("there is no configuration to read again");
            self.sources.look_again();
            return;
        };
        let Some(inherited) = self.reloading.inherited.take() else {
            self.reloading.is_asked_again = true;
            return;
        };
        tracing::info!("reading the configuration again");
        service::tell_reloading();
        self.reloading.is_open = true;
        let prepared = prepare(
            Arc::clone(load),
            self.settings.clone(),
            inherited,
            postings.clone(),
            self.reloading.in_flight_noted,
        );
        self.reloading.under_way = Some(tokio::spawn(prepared));
    }

    /// Has the new configuration hold, or says why it does not.
    pub(super) fn take_over(&mut self, prepared: Prepared) {
        self.reloading.inherited = Some(prepared.inherited);
        match prepared.change {
            Ok(change) => self.apply(change),
            Err(problems) => {
                for problem in &problems {
                    tracing::error!(
                        problem,
                        "configuration refused, the one before stays in force"
                    );
                }
                self.refused.send_replace(problems);
            }
        }
        self.end_reload();
        if std::mem::take(&mut self.reloading.is_asked_again) {
            self.reload();
        }
    }

    /// Nothing here can fail.
    fn apply(&mut self, change: Change) {
        let Change { plan, connection, successors, warnings, adopt } = change;
        adopt();
        for warning in warnings {
            tracing::warn!("configuration: {warning}");
        }
        let Plan { settings, editions, sources, meters } = plan;
        let before = std::mem::replace(&mut self.settings, settings);
        let settings = &self.settings;
        for (meter, edition) in editions {
            meter.schema.succeed(edition);
        }
        let (of_tenant, known) = (&settings.delivery.tenant, &before.delivery.tenant);
        self.tenant.renew(known, of_tenant, connection, &mut self.far_end);
        let in_flight = settings.delivery.tenant.requests_in_flight_max;
        self.reloading.in_flight_noted = self.reloading.in_flight_noted.max(in_flight);
        // Before a source of another kind begins.
        let has_streams = successors.iter().any(|successor| successor.prepared.is_stream());
        self.live.set_terms(settings, has_streams);
        self.sources.raise_intake(settings.intake_bytes_max);
        self.live.batching.send_replace(batcher::Settings::of(&settings.pack, &settings.meters));
        self.lanes.renew(&settings.delivery, &settings.meters);
        for (name, change) in &sources {
            if *change == plan::Change::Removed {
                self.sources.remove(name, &mut self.supervisor);
            }
        }
        for successor in successors {
            self.sources.put(successor, &mut self.supervisor);
        }
        self.sources.look_again();
        if let Some(inherited) = &mut self.reloading.inherited {
            retain(inherited, settings);
        }
        self.refused.send_replace(Vec::new());
        self.keep_schemas();
        self.keep_reconciling();
        self.live.set_view(&self.settings, self.sources.tags());
        let count = |of: &plan::Changes, which| of.values().filter(|is| **is == which).count();
        tracing::info!(
            sources_added = count(&sources, plan::Change::Added),
            sources_changed = count(&sources, plan::Change::Changed),
            sources_removed = count(&sources, plan::Change::Removed),
            meters_added = count(&meters, plan::Change::Added),
            meters_changed = count(&meters, plan::Change::Changed),
            meters_removed = count(&meters, plan::Change::Removed),
            "configuration reloaded"
        );
    }

    /// Ends a reload once every source is in its place.
    pub(super) fn end_reload(&mut self) {
        if self.sources.are_changing() || self.reloading.under_way.is_some() {
            return;
        }
        // Not before: what came from sources that are gone was for these meters.
        self.lanes.retain(&self.settings.meters);
        self.live.set_view(&self.settings, self.sources.tags());
        if std::mem::take(&mut self.reloading.is_open) {
            service::tell_ready();
        }
    }
}

/// Reads what is wanted, prepares it, and has on record what must be before it holds.
async fn prepare(
    load: Load,
    before: Settings,
    mut inherited: Inherited,
    postings: Sender<Posting>,
    in_flight_noted: u32,
) -> Prepared {
    let read = tokio::task::spawn_blocking(move || {
        let change = read(&load, &before, &mut inherited);
        if change.is_err() {
            // What was bound for nothing.
            retain(&mut inherited, &before);
        }
        Prepared { inherited, change }
    });
    let Prepared { inherited, change } = match read.await {
        Ok(prepared) => prepared,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends.
        Err(_) => return std::future::pending().await,
    };
    let change = match change {
        Ok(change) if in_flight_of(&change) > in_flight_noted => {
            let (committed, wait) = oneshot::channel();
            let settlement = Settlement::Window(in_flight_of(&change));
            let _ = postings.send(Posting { settlement, committed });
            // An error: the committer has died, and the agent ends.
            wait.await.map(|()| change).map_err(|_| vec!["the store takes nothing".to_owned()])
        }
        change => change,
    };
    Prepared { inherited, change }
}

fn in_flight_of(change: &Change) -> u32 {
    change.plan.settings.delivery.tenant.requests_in_flight_max
}

fn read(load: &Load, before: &Settings, inherited: &mut Inherited) -> Result<Change, Vec<String>> {
    let Wanted { settings, warnings, adopt } = load()?;
    if settings.meters.iter().any(|meter| meter.is_exported()) {
        let kept = Reader::open(&before.store.directory)
            .and_then(|reader| contract::take_kept(&reader, &settings.meters));
        kept.map_err(|error| vec![format!("the schemas that are kept: {error}")])?;
    }
    let words = |fixed: Vec<plan::Fixed>| -> Vec<String> {
        fixed.iter().map(ToString::to_string).collect()
    };
    let plan = plan(before, settings).map_err(words)?;
    let mut problems = Vec::new();
    let connection = delivery::connect(&plan.settings.delivery, &plan.settings.meters);
    let connection = connection.map_err(|error| problems.push(format!("mediation: {error}")));
    let mut successors = Vec::new();
    for source in &plan.settings.sources {
        let settings = &source.settings;
        let prepared = if plan.sources.contains_key(&source.name) {
            let directory = plan.settings.store.directory.as_path();
            source::prepare(settings, Vec::new(), directory, inherited).map(Some)
        } else {
            // What it reads again when it is asked to must be as good as new.
            source::check(settings).map(|()| None)
        };
        match prepared {
            Ok(Some(prepared)) => successors.push(Successor { source: source.clone(), prepared }),
            Ok(None) => {}
            Err(error) => problems.push(format!("sources.{}: {}", source.name, chain(&error))),
        }
    }
    match connection {
        Ok(connection) if problems.is_empty() => {
            Ok(Change { plan, connection, successors, warnings, adopt })
        }
        _ => Err(problems),
    }
}

/// Closes sockets that no source of `settings` listens on.
fn retain(inherited: &mut Inherited, settings: &Settings) {
    let places = settings.sources.iter().filter_map(|source| source.settings.place());
    let places: Vec<String> = places.collect();
    inherited.retain(|place| places.iter().any(|meant| meant == place));
}

/// An error with its causes.
fn chain(error: &source::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
