//! Builds the channels between the stages and starts them, the last one first.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::reconciling::Reconciling;
use super::reload::Reloading;
use super::run::{Live, Run};
use super::schemas;
use super::sources::{Sources, Successor, Supplies};
use super::supervisor::{Role, Supervisor};
use super::{Error, Load, Ready, Settings, Source, replaying, service};
use crate::admin::{self, View};
use crate::clock::Timestamp;
use crate::committer::{self, Inputs, Terms};
use crate::control::contract;
use crate::delivery::lane::stranger;
use crate::delivery::lanes::{Lanes, Parts};
use crate::delivery::{self, Phase};
use crate::intake::{Outlet, intake};
use crate::pack::{self, batcher};
use crate::settlement::{Posting, Settlement};
use crate::source;
use crate::source::listen::Inherited;
use crate::store::reader::Reader;
use crate::store::{self, Store};
use crate::telemetry::{Spent, Vitals};
use crate::tenant;

/// Groups that wait for a worker, beside those that are being packed. More would only hold room
/// in the intake.
const GROUPS_WAITING_PER_WORKER: usize = 1;

/// Opens and starts everything. On an error nothing is left running but threads whose input has
/// closed.
pub(super) fn start(
    settings: Settings,
    mut inherited: Inherited,
    load: Option<Load>,
) -> Result<(Run, Ready), Error> {
    let admin = admin::bind(&settings.admin)?;
    let mut store = Store::open(&settings.store, &settings.name)?;
    let prepared = prepare(&settings, &store, &mut inherited)?;
    let connection = delivery::connect(&settings.delivery, &settings.meters)?;
    let rate_waits = Arc::clone(&connection.rate_waits);
    let strangers = begin_run(&settings, &mut store)?;
    let reader = Reader::open(&settings.store.directory)?.with_fresh(store.fresh());
    contract::take_kept(&reader, &settings.meters)?;

    let (mut supervisor, vitals) = (Supervisor::default(), Arc::new(Vitals::default()));
    let (abandon, died) = (CancellationToken::new(), CancellationToken::new());
    let drain = CancellationToken::new();
    let (tell_phase, phase) = watch::channel(Phase::Run);
    // At most two for each request in flight.
    let (postings, committer_postings) = crossbeam_channel::unbounded();
    let mut far_end = JoinSet::new();
    let tenant = connection.start(&settings.delivery.tenant, &mut far_end);
    let parts = Parts {
        tenant: &tenant,
        reader,
        postings: &postings,
        phase: &phase,
        misfit: pack::stored::misfit,
        vitals: &vitals,
    };
    let lanes = Lanes::start(&settings.delivery, &settings.meters, parts)?;
    for stranger in strangers {
        let (committed, _) = oneshot::channel();
        // The committer is not running yet, so its input is open.
        let _ = postings.send(Posting { settlement: stranger, committed });
    }
    let (intake, outlet) = intake(settings.intake_bytes_max, Handle::current());
    // Bounded by the intake: a group's share is given back after its commit.
    let (packed, committer_packed) = crossbeam_channel::unbounded();
    let (tell_groups_done, groups_done) = oneshot::channel();
    let has_streams = prepared.iter().any(source::Prepared::is_stream);
    let terms = watch::Sender::new(Terms { limits: settings.store.limits(), has_streams });
    let inputs = Inputs {
        packed: committer_packed,
        postings: committer_postings,
        drain: drain.clone(),
        terms: terms.subscribe(),
        abandon: abandon.clone(),
        groups_done: tell_groups_done,
        died: died.clone(),
        vitals: Arc::clone(&vitals),
    };
    supervisor.thread("committer", Role::Stage, move || committer::run(&mut store, inputs))?;
    let batching = watch::Sender::new(batcher::Settings::of(&settings.pack, &settings.meters));
    let cut = (outlet, batching.subscribe());
    start_packing(&settings.pack, cut, &packed, &vitals, &mut supervisor)?;
    drop(packed);
    let directory = &settings.store.directory;
    let supplies = Supplies { intake, postings: postings.clone() };
    let mut sources = Sources::new(&settings.name, directory.clone(), &vitals, supplies);
    for (source, prepared) in settings.sources.iter().cloned().zip(prepared) {
        sources.begin(Successor { source, prepared }, &mut supervisor)?;
    }
    let view = watch::Sender::new(view(&settings, &sources, &vitals, rate_waits));
    let onlookers_until = CancellationToken::new();
    let ready = Ready {
        admin: admin.as_ref().map(|listener| listener.address),
        listening: sources.addresses(),
        sources: sources.tags(),
    };
    if let Some(listener) = admin {
        let serving = admin::serve(listener, view.subscribe(), onlookers_until.clone());
        supervisor.task("admin", Role::Stage, serving);
    }
    supervisor.task("look", Role::Stage, look(directory.clone(), onlookers_until.clone()));
    let refused = watch::Sender::new(Vec::new());
    let seen = (directory.clone(), refused.subscribe());
    service::start(vitals, seen, &onlookers_until, &mut supervisor);
    let mut run = Run {
        live: Live { batching, terms, view },
        sources,
        reloading: Reloading::new(load, inherited, settings.delivery.tenant.requests_in_flight_max),
        refused,
        onlookers_until,
        supervisor,
        lanes,
        far_end,
        tenant,
        schemas: schemas::Keeping::default(),
        reconciling: Reconciling::default(),
        drain,
        groups_done: Some(groups_done),
        postings: Some(postings),
        phase: tell_phase,
        abandon,
        stopping_since: None,
        tell_died: died,
        died: None,
        settings,
    };
    run.keep_schemas();
    run.keep_reconciling();
    Ok((run, ready))
}

/// Looks once whether all that waits is found by its index, and then waits for `until`. An error: it is
/// not, and nobody would ever hear of the rest.
async fn look(directory: PathBuf, until: CancellationToken) -> Result<(), store::Error> {
    let looked = tokio::task::spawn_blocking(move || Reader::open(&directory)?.look());
    tokio::select! {
        // Without this arm an end would wait for a look that nobody needs any more.
        () = until.cancelled() => return Ok(()),
        looked = looked => match looked {
            Ok(Err(error)) if error.is_damage() => return Err(error),
            Ok(Err(error)) => tracing::warn!(%error, "failed to look through the store"),
            // An error: the runtime ends.
            Ok(Ok(())) | Err(_) => {}
        }
    }
    until.cancelled().await;
    Ok(())
}

/// Notes that a run begins: from here on requests can be under way, and a start that fails before is
/// none. Gives what is to be told of meters that are not configured any more.
fn begin_run(settings: &Settings, store: &mut Store) -> Result<Vec<Settlement>, Error> {
    let tenant::Settings { requests_in_flight_max, retry_after_max, .. } = settings.delivery.tenant;
    let unsettled = store.begin_run(requests_in_flight_max, retry_after_max, Timestamp::now())?;
    if unsettled > 0 {
        tracing::warn!(batches = unsettled, "the run before was cut off: these may be sent twice");
    }
    strangers(settings, store)
}

fn view(
    settings: &Settings,
    sources: &Sources,
    vitals: &Arc<Vitals>,
    rate_waits: Arc<Spent>,
) -> View {
    View {
        agent: Arc::clone(&settings.name),
        meters: settings.meters.clone(),
        sources: sources.tags(),
        vitals: Arc::clone(vitals),
        rate_waits,
        lag_bytes: source::file::lag_bytes,
        directory: settings.store.directory.clone(),
        bytes_max: settings.store.bytes_max,
        lag_max: settings.admin.lag_max,
        token: settings.admin.token.clone(),
        replay: replaying::of(settings),
    }
}

/// Meters that are not configured any more and of which events wait: somebody has to know.
fn strangers(settings: &Settings, store: &Store) -> Result<Vec<Settlement>, Error> {
    let mut waiting = store.waiting_meters()?;
    waiting.retain(|name| settings.meters.iter().all(|meter| *meter.name != **name));
    Ok(waiting.iter().map(|meter| stranger(meter)).collect())
}

fn start_packing(
    settings: &pack::Settings,
    (outlet, batching): (Outlet, watch::Receiver<batcher::Settings>),
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
    let pulse = vitals.stage("batcher");
    supervisor.thread("batcher", Role::Stage, move || {
        batcher::run(&outlet, batching, &groups, &pulse);
        Ok::<(), Error>(())
    })
}

/// What can fail of a source before anything runs.
type Prepared = Vec<source::Prepared>;

fn prepare(
    settings: &Settings,
    store: &Store,
    inherited: &mut Inherited,
) -> Result<Prepared, Error> {
    let directory = settings.store.directory.as_path();
    let mut prepare = |source: &Source| {
        let cursors = store.cursors(&source.name)?;
        let failed = |reason| Error::Source { name: Arc::clone(&source.name), reason };
        source::prepare(&source.settings, cursors, directory, inherited).map_err(failed)
    };
    let prepared = settings.sources.iter().map(&mut prepare).collect();
    for name in inherited.left() {
        tracing::warn!(name, "a socket of the service manager is for no source");
    }
    prepared
}
