//! Builds the channels between the stages and starts them, the last one first.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::supervisor::{Role, Supervisor};
use super::{Error, Ready, Run, Settings, Source, holds, service};
use crate::admin::{self, View};
use crate::breaker::Breaker;
use crate::chunk::SourceTag;
use crate::clock::Timestamp;
use crate::committer::{self, Inputs};
use crate::control::{Client, contract};
use crate::delivery::{self, Phase};
use crate::intake::{Intake, Outlet, intake};
use crate::pack;
use crate::settlement::{LaneState, Posting, Settlement};
use crate::source::listen::Inherited;
use crate::source::{self, Context};
use crate::stop::{Stop, Stopper};
use crate::store::Store;
use crate::store::reader::Reader;
use crate::telemetry::Vitals;
use crate::tenant::{self, Tenant};

/// Groups that wait for a worker, beside those that are being packed. More would only hold room
/// in the intake.
const GROUPS_WAITING_PER_WORKER: usize = 1;

/// Opens and starts everything. On an error nothing is left running but threads whose input has
/// closed.
pub(super) fn start(settings: &Settings, inherited: Inherited) -> Result<Run, Error> {
    let system = |what| move |source| Error::System { what, source };
    let stopper = Stopper::new().map_err(system("stop signal"))?;
    let admin = admin::bind(&settings.admin)?;
    let mut store = Store::open(&settings.store, &settings.name)?;
    let prepared = prepare(settings, &store, inherited)?;
    let connection = delivery::connect(&settings.delivery, &settings.meters)?;
    let rate_waits = Arc::clone(&connection.rate_waits);
    // From here on requests can be under way: a start that fails before is no run.
    let tenant::Settings { requests_in_flight_max, retry_after_max, .. } = settings.delivery.tenant;
    let unsettled = store.begin_run(requests_in_flight_max, retry_after_max, Timestamp::now())?;
    if unsettled > 0 {
        tracing::warn!(batches = unsettled, "the run before was cut off: these may be sent twice");
    }
    let strangers = strangers(settings, &store)?;
    let reader = Reader::open(&settings.store.directory)?;
    contract::take_kept(&reader, &settings.meters)?;

    let (mut supervisor, vitals) = (Supervisor::default(), Arc::new(Vitals::default()));
    let (abandon, died) = (CancellationToken::new(), CancellationToken::new());
    let (tell_phase, phase) = watch::channel(Phase::Run);
    // At most two for each request in flight.
    let (postings, committer_postings) = crossbeam_channel::unbounded();
    let mut far_end = JoinSet::new();
    let tenant = connection.start(&settings.delivery.tenant, &mut far_end);
    let parts = delivery::Parts {
        tenant: &tenant,
        reader,
        postings: &postings,
        phase: &phase,
        misfit: pack::stored::misfit,
    };
    let lanes = delivery::start(&settings.delivery, &settings.meters, parts)?;
    for stranger in strangers {
        let (committed, _) = oneshot::channel();
        // The committer is not running yet, so its input is open.
        let _ = postings.send(Posting { settlement: stranger, committed });
    }
    let (intake, outlet) = intake(settings.intake_bytes_max, Handle::current());
    // Bounded by the intake: a group's share is given back after its commit.
    let (packed, committer_packed) = crossbeam_channel::unbounded();
    let (tell_groups_done, groups_done) = oneshot::channel();
    let inputs = Inputs {
        packed: committer_packed,
        postings: committer_postings,
        drain: stopper.signal().drain,
        has_streams: prepared.iter().any(source::Prepared::is_stream),
        abandon: abandon.clone(),
        groups_done: tell_groups_done,
        died: died.clone(),
        vitals: Arc::clone(&vitals),
    };
    supervisor.thread("committer", Role::Stage, move || committer::run(&mut store, inputs))?;
    start_packing(&settings.pack, outlet, &packed, &vitals, &mut supervisor)?;
    drop(packed);
    let sources = make_known(settings, &postings, &stopper.signal(), &mut supervisor);
    let common =
        Common { agent: &settings.name, intake: &intake, stop: &stopper.signal(), vitals: &vitals };
    let mut ready = start_sources(sources, prepared, &common, &mut supervisor)?;
    let onlookers_until = CancellationToken::new();
    keep_schemas(settings, tenant, &postings, &onlookers_until, &mut supervisor);
    if let Some(listener) = admin {
        ready.admin = Some(listener.address);
        let view = View {
            meters: settings.meters.clone(),
            sources: ready.sources.clone(),
            vitals: Arc::clone(&vitals),
            rate_waits,
            lag_bytes: source::file::lag_bytes,
            directory: settings.store.directory.clone(),
            bytes_max: settings.store.bytes_max,
            lag_max: settings.admin.lag_max,
        };
        let until = onlookers_until.clone();
        supervisor.task("admin", Role::Stage, admin::serve(listener, view, until));
    }
    service::start(vitals, settings.store.directory.clone(), &onlookers_until, &mut supervisor);
    Ok(Run {
        ready,
        onlookers_until,
        supervisor,
        lanes,
        far_end,
        stopper,
        intake: Some(intake),
        groups_done: Some(groups_done),
        postings: Some(postings),
        phase: tell_phase,
        abandon,
        grace: settings.shutdown_grace,
        stopping_since: None,
        tell_died: died,
        died: None,
    })
}

/// Fetches the schemas of those meters that have them from their exports, for as long as lanes may
/// have to wait for one.
fn keep_schemas(
    settings: &Settings,
    tenant: Tenant,
    postings: &crossbeam_channel::Sender<Posting>,
    until: &CancellationToken,
    supervisor: &mut Supervisor,
) {
    let meters: Vec<_> =
        settings.meters.iter().filter(|meter| meter.schema.refresh().is_some()).cloned().collect();
    if meters.is_empty() {
        return;
    }
    let of_tenant = &settings.delivery.tenant;
    // Each failure is told and waited for by who keeps the schemas.
    let client = Client::of(tenant, of_tenant, Duration::ZERO);
    let timing = contract::Timing {
        backoff_base: of_tenant.backoff_base,
        backoff_max: of_tenant.backoff_max,
    };
    let keep = contract::keep(client, meters, postings.clone(), timing, until.clone());
    supervisor.task("schemas", Role::Stage, keep);
}

/// Meters that are not configured any more and of which events wait: somebody has to know.
fn strangers(settings: &Settings, store: &Store) -> Result<Vec<Settlement>, Error> {
    let mut waiting = store.waiting_meters()?;
    waiting.retain(|name| settings.meters.iter().all(|meter| *meter.name != **name));
    let held = waiting.into_iter().map(|meter| {
        tracing::error!(meter, "events of a meter wait that is not configured any more");
        Settlement::Lane {
            meter: meter.into(),
            state: LaneState::Held,
            reason: "the meter is not configured any more".into(),
            at: Timestamp::now(),
        }
    });
    Ok(held.collect())
}

fn start_packing(
    settings: &pack::Settings,
    outlet: Outlet,
    packed: &crossbeam_channel::Sender<crate::group::PackedGroup>,
    vitals: &Vitals,
    supervisor: &mut Supervisor,
) -> Result<(), Error> {
    let workers = settings.workers.max(1);
    let (groups, waiting) = crossbeam_channel::bounded(workers * GROUPS_WAITING_PER_WORKER);
    for number in 0..workers {
        let (waiting, packed, level) =
            (waiting.clone(), packed.clone(), settings.compression_level);
        let name = format!("pack-{number}");
        let pulse = vitals.stage(&name);
        supervisor
            .thread(&name, Role::Stage, move || pack::run(level, &waiting, &packed, &pulse))?;
    }
    let linger_max = settings.linger_max;
    supervisor.thread("batcher", Role::Stage, move || {
        pack::batcher::run(&outlet, linger_max, &groups);
        Ok::<(), Error>(())
    })
}

/// What can fail of a source before anything runs.
type Prepared = Vec<source::Prepared>;

fn prepare(
    settings: &Settings,
    store: &Store,
    mut inherited: Inherited,
) -> Result<Prepared, Error> {
    let directory = settings.store.directory.as_path();
    let mut prepare = |source: &Source| {
        let cursors = store.cursors(&source.name)?;
        let failed = |reason| Error::Source { name: Arc::clone(&source.name), reason };
        source::prepare(&source.settings, cursors, directory, &mut inherited).map_err(failed)
    };
    let prepared = settings.sources.iter().map(&mut prepare).collect();
    for name in inherited.left() {
        tracing::warn!(name, "a socket of the service manager is for no source");
    }
    prepared
}

/// The sources as everything else sees them; their states are on record from here on.
fn make_known(
    settings: &Settings,
    postings: &crossbeam_channel::Sender<Posting>,
    stop: &Stop,
    supervisor: &mut Supervisor,
) -> Vec<Arc<SourceTag>> {
    let make_known = |source: &Source| {
        let tag = SourceTag::new(Arc::clone(&source.name), Arc::clone(&source.meter));
        let breaker = source.breaker.map(Breaker::new).unwrap_or_default();
        let mapping = source.mapping.clone();
        let tag = Arc::new(SourceTag { mapping, breaker, ..tag });
        holds::start(&tag, postings, &stop.drain, supervisor);
        tag
    };
    settings.sources.iter().map(make_known).collect()
}

/// What all sources get.
struct Common<'a> {
    agent: &'a Arc<str>,
    intake: &'a Intake,
    stop: &'a Stop,
    vitals: &'a Arc<Vitals>,
}

fn start_sources(
    sources: Vec<Arc<SourceTag>>,
    prepared: Prepared,
    common: &Common<'_>,
    supervisor: &mut Supervisor,
) -> Result<Ready, Error> {
    let mut ready = Ready::default();
    for (tag, prepared) in sources.into_iter().zip(prepared) {
        let context = Context {
            agent: Arc::clone(common.agent),
            tag: Arc::clone(&tag),
            intake: common.intake.clone(),
            stop: common.stop.clone(),
            vitals: Arc::clone(common.vitals),
        };
        ready.listening.extend(prepared.address().map(|at| (Arc::clone(&tag.name), at)));
        let name = format!("source/{}", tag.name);
        ready.sources.push(tag);
        let role = if prepared.ends() { Role::EndingSource } else { Role::EndlessSource };
        match prepared.into_running(context) {
            source::Running::Blocking(work) => supervisor.thread(&name, role, work)?,
            source::Running::Async(work) => supervisor.task(&name, role, work),
        }
    }
    Ok(ready)
}
