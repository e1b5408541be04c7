//! The whole thing at work with no configuration: a simulator that fails now and then, an
//! application that writes a rotated log and a TCP stream, and an agent between them.
//!
//! At the end the simulator's own count by event id is held against what was generated.

mod application;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::agent::{self, Request, Source};
use crate::breaker;
use crate::delivery;
use crate::meter::Meter;
use crate::simulator::{self, Fault, Simulator, Stats};
use crate::store::tallies::Status;
use crate::tenant::{self, Credentials};
use crate::{admin, control, pack, source, store};
use application::Application;

/// The meter's name, and its global id at the simulator.
const METER: &str = "api-calls";

/// Who gets a token.
const CLIENT: (&str, &str) = ("demo-client", "demo-secret");

/// What goes wrong on the way, so that the demo shows what happens then.
const FAULTS: [&str; 3] = ["status=429,retry-after=1x1", "status=503x2", "reset-afterx2"];

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// What the demo is to do.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Lines to generate, good and bad.
    pub events: u64,
    /// Give up after so long.
    pub time_max: Duration,
}

/// How far the demo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Lines written so far.
    pub generated: u64,
    /// Events with a receipt.
    pub delivered: u64,
    /// Lines in the dead letters.
    pub dead_lettered: u64,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Good events that the application wrote.
    pub generated_good: u64,
    /// Lines that are no events of the meter.
    pub generated_bad: u64,
    /// What the store says.
    pub status: Status,
    /// What the simulator saw.
    pub stats: Stats,
    /// From the first line to the last receipt.
    pub elapsed: Duration,
}

impl Outcome {
    /// Whether every line is where it should be: each good event at the simulator, each bad line
    /// a dead letter, nothing left over.
    pub fn adds_up(&self) -> bool {
        let sum = &self.status.equation;
        let is = |count: i64, expected: u64| u64::try_from(count) == Ok(expected);
        sum.holds
            && is(sum.read, self.generated_good + self.generated_bad)
            && is(sum.delivered, self.generated_good)
            && is(sum.dead_lettered, self.generated_bad)
            && self.stats.distinct_ids == self.generated_good
            && self.stats.repeats_altered == 0
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The simulator.
    #[error(transparent)]
    Simulator(#[from] simulator::Error),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] agent::Error),
    /// The application could not write.
    #[error("write events: {0}")]
    Application(#[from] std::io::Error),
    /// The agent ended before it was ready.
    #[error("the agent ended before it was ready")]
    NotReady,
    /// A fault of the demo's own is not one.
    #[error(transparent)]
    Fault(#[from] simulator::faults::Error),
}

/// Runs the demo in `directory`, which is empty. A request to stop ends it early.
pub async fn run(
    settings: Settings,
    directory: &Path,
    requests: mpsc::Receiver<Request>,
    mut tell: impl FnMut(Progress),
) -> Result<Outcome, Error> {
    let simulator = Simulator::bind(simulator_settings()?).await?;
    let (address, handle) = (simulator.address(), simulator.handle());
    let end_of_simulator = CancellationToken::new();
    let serving = tokio::spawn(simulator.serve(end_of_simulator.clone()));

    let agent_settings = agent_settings(directory, &format!("http://{address}"));
    let meter = agent_settings.meters.first().cloned().ok_or(Error::NotReady)?;
    let (tell_ready, ready) = oneshot::channel();
    let (stop_agent, agent_stops) = mpsc::channel(2);
    let agent =
        tokio::spawn(agent::run(agent_settings, <_>::default(), agent_stops, None, move |ready| {
            // The demo waits for it, or has ended.
            let address = ready.listening.first().and_then(|(_, address)| address.parse().ok());
            let _ = tell_ready.send(address);
        }));
    let listening = ready.await.ok().flatten();
    let Some(listening) = listening else {
        agent.await.map_err(|_| Error::NotReady)??;
        return Err(Error::NotReady);
    };
    let begin = Instant::now();
    let application = Application::start(directory, listening, settings.events)?;
    let waited = wait(settings, &application, &meter, requests, &mut tell).await;
    let elapsed = begin.elapsed();
    // Nobody listens when the agent has ended by itself, and then it says why.
    let _ = stop_agent.send(Request::Stop).await;
    let report = agent.await.map_err(|_| Error::NotReady)??;
    end_of_simulator.cancel();
    let _ = serving.await;
    waited?;
    let (generated_good, generated_bad) = application.finish()?;
    let stats = handle.stats();
    Ok(Outcome { generated_good, generated_bad, status: report.status, stats, elapsed })
}

/// Until everything has arrived, the time is up, or somebody asks to stop.
async fn wait(
    settings: Settings,
    application: &Application,
    meter: &Meter,
    mut requests: mpsc::Receiver<Request>,
    tell: &mut impl FnMut(Progress),
) -> Result<(), Error> {
    let until = Instant::now() + settings.time_max;
    loop {
        let progress = Progress {
            generated: application.generated(),
            delivered: meter.counters.events_delivered.value(),
            dead_lettered: meter.counters.events_dead_lettered(),
        };
        tell(progress);
        let arrived = progress.delivered + progress.dead_lettered;
        if application.has_failed() || arrived >= settings.events || Instant::now() >= until {
            return Ok(());
        }
        tokio::select! {
            () = sleep(PROGRESS_INTERVAL) => {}
            Some(Request::Stop) = requests.recv() => return Ok(()),
        }
    }
}

fn simulator_settings() -> Result<simulator::Settings, Error> {
    let faults: Result<Vec<Fault>, _> = FAULTS.iter().map(|fault| fault.parse()).collect();
    let (client, secret) = CLIENT;
    Ok(simulator::Settings {
        faults: faults?,
        credentials: Some((client.to_owned(), secret.to_owned())),
        ..simulator::Settings::default()
    })
}

fn agent_settings(directory: &Path, base_url: &str) -> agent::Settings {
    let upload_url = format!("{base_url}/meters/streaming/ingestion/{METER}");
    let event_id_field = Some("EventId".into());
    let meter = Arc::new(Meter { event_id_field, ..Meter::new(METER, upload_url) });
    let source = |name: &str, settings| Source {
        name: name.into(),
        destination: Arc::clone(&meter).into(),
        mapping: None,
        settings,
        breaker: Some(breaker::Settings::default()),
    };
    let file = source::file::Settings {
        paths: vec![directory.join("usage.jsonl*").display().to_string()],
        exclude: Vec::new(),
        read_from: source::file::ReadFrom::Beginning,
        line_bytes_max: 256 * 1024,
        poll_interval: Duration::from_secs(1),
        open_files_max: 64,
        ignore_older: None,
        remove_after: None,
    };
    let tcp = source::tcp::Settings {
        listen: source::listen::Place::Address(([127, 0, 0, 1], 0).into()),
        admission: source::listen::Admission::of_all(100),
        tls: None,
        connection: source::connection::Settings {
            idle_timeout: Duration::from_secs(60),
            first_byte_timeout: Duration::from_secs(60),
            line_bytes_max: 256 * 1024,
            ack: false,
        },
    };
    agent::Settings {
        reconcile: control::reconcile::Settings::default(),
        admin: admin::Settings { listen: None, token: None, lag_max: Duration::from_secs(900) },
        name: "demo".into(),
        shutdown_grace: Duration::from_secs(10),
        intake_bytes_max: 16 << 20,
        store: store::Settings {
            directory: directory.join("state"),
            bytes_max: 10 << 30,
            receipts_keep: Duration::from_secs(86_400),
        },
        pack: pack::Settings {
            linger_max: Duration::from_secs(1),
            compression_level: 2,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
        },
        delivery: delivery_settings(base_url),
        meters: vec![Arc::clone(&meter)],
        sources: vec![
            source("log", source::Settings::File(file)),
            source("net", source::Settings::Tcp(tcp)),
        ],
        sandbox: agent::sandbox::Settings::default(),
    }
}

fn delivery_settings(base_url: &str) -> delivery::Settings {
    let (client, secret) = CLIENT;
    let tenant = tenant::Settings {
        base_url: Some(base_url.to_owned()),
        credentials: Credentials::Client {
            token_url: format!("{base_url}/oauth/token"),
            id: client.to_owned(),
            secret: secret.into(),
        },
        entity_ids: String::new(),
        org_ids: String::new(),
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        ca_file: None,
        client_identity: None,
        proxy: None,
        requests_per_minute: 50_000,
        requests_in_flight_max: 8,
        backoff_base: Duration::from_millis(200),
        backoff_max: Duration::from_secs(5),
        retry_after_max: Duration::from_secs(60),
    };
    delivery::Settings {
        tenant,
        hold_interval: Duration::from_secs(5),
        on_unknown: delivery::OnUnknown::Resend,
    }
}
