//! Stands in for Mediation's ingestion endpoint: an application that posts there changes its base
//! URL and nothing else, and another meterd is such an application.
//!
//! Promises: 200 says that every event of the request is durable; anything else below 500 says that
//! none of it is kept, and 400 names each bad event. A request is one commit: a crash leaves all of
//! it or nothing. Full buffers are answered with Retry-After instead of silence. Connections, heads,
//! bodies, their decompression and their time are bounded.

mod answer;
mod body;
mod repeats;
mod service;
pub mod split;
mod tokens;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::meter::Meter;
use crate::source::listen::tls::{self, Tls};
use crate::source::listen::{self, Admission, Inherited, Listener, Place, Socket};
use crate::source::{Context, stream};
use crate::store;
use repeats::Repeats;
use service::Service;
use tokens::Tokens;

/// The head of a request, its line and all headers.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// The settings of an HTTP source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen.
    pub listen: Place,
    /// Who is let in.
    pub admission: Admission,
    /// What clients see of us, and show of themselves; none: plain HTTP.
    pub tls: Option<tls::Settings>,
    /// Bearer tokens, one a line; none: whoever reaches the port is let in.
    pub token_file: Option<PathBuf>,
    /// The meters that it takes events for.
    pub meters: Meters,
    /// A body, before and after decompression.
    pub body_bytes_max: usize,
    /// How long a body may take to come.
    pub body_timeout: Duration,
    /// How long a connection may be without a request, and the head of one may take.
    pub idle_timeout: Duration,
    /// The longest event, in bytes.
    pub line_bytes_max: usize,
    /// How long the events of a request wait for company.
    pub linger_max: Duration,
    /// How long a request is remembered by its key.
    pub retry_window: Duration,
    /// Whether a track id names one request, so that a second one with it is a repeat.
    pub unique_track_ids: bool,
}

/// Meters that are the same when requests name them by the same names and URLs.
#[derive(Debug, Clone)]
pub struct Meters(pub Vec<Arc<Meter>>);

impl PartialEq for Meters {
    fn eq(&self, other: &Self) -> bool {
        let names = |meters: &Self| -> Vec<(Arc<str>, String)> {
            let name = |meter: &Arc<Meter>| (Arc::clone(&meter.name), meter.upload_url.clone());
            meters.0.iter().map(name).collect()
        };
        names(self) == names(other)
    }
}

impl Eq for Meters {}

/// Why requests cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The listener.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// The file of tokens.
    #[error(transparent)]
    Tokens(#[from] tokens::Error),
    /// What was committed before cannot be looked up.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What can fail before anything runs has not.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    tls: Option<Arc<Tls>>,
    tokens: Option<Arc<Tokens>>,
    repeats: Repeats,
}

impl Bound {
    /// Where it listens.
    pub fn address(&self) -> Option<String> {
        self.listener.address()
    }
}

/// Listens at the configured place; connections queue in the kernel until [`run`].
///
/// What was committed before is in the store in the directory `store`.
pub fn bind(settings: &Settings, store: &Path, inherited: &mut Inherited) -> Result<Bound, Error> {
    let tokens = settings.token_file.as_deref().map(Tokens::read).transpose()?.map(Arc::new);
    let tls = settings.tls.as_ref().map(Tls::new).transpose().map_err(listen::Error::from)?;
    let shows_itself = settings.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    let authenticates = shows_itself || tokens.is_some();
    let listener = Listener::bind(&settings.listen, &settings.admission, authenticates, inherited)?;
    let repeats = Repeats::new(store)?;
    Ok(Bound { listener, tls: tls.map(Arc::new), tokens, repeats })
}

/// Looks at the files that are read again on request.
pub(super) fn check(settings: &Settings) -> Result<(), Error> {
    listen::check(settings.tls.as_ref())?;
    settings.token_file.as_deref().map(Tokens::read).transpose()?;
    Ok(())
}

/// Takes requests until the agent stops, and ends when each has its answer.
pub async fn run(bound: Bound, settings: Settings, context: Context) -> Result<(), Error> {
    let Bound { listener, tls, tokens, repeats } = bound;
    let label = listener.address().unwrap_or_default();
    let origin = stream::origin(&context, &label);
    let streams = service::streams(&settings.meters.0, &context, origin, &label);
    let admission = settings.admission.clone();
    let service =
        Arc::new(Service::new(settings, context.clone(), tokens.clone(), repeats, streams));
    let attend = move |socket, _| attend(socket, Arc::clone(&service));
    tokio::select! {
        served = listen::serve(listener, &admission, tls.as_ref(), &context, attend) => Ok(served?),
        // Without these arms certificates and tokens would stay as they were at the start.
        never = tls::follow(tls.as_ref(), &context.stop) => match never {},
        never = tokens::follow(tokens.as_ref(), &context.stop) => match never {},
    }
}

async fn attend(socket: Socket, service: Arc<Service>) {
    let stop = service.stop().clone();
    let idle_timeout = service.idle_timeout();
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // Between requests it counts as well: an idle connection ends, too.
        .header_read_timeout(idle_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(socket), answer));
    // How a connection ends is the client's business; a request that was handed over is not
    // forgotten with it.
    tokio::select! {
        _ = connection.as_mut() => return,
        // Without this arm idle connections would hold up a stop.
        () = stop.drain.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    // Half a request may come for as long as its time-out: a stop whose time is over waits for none.
    let _ = stop.abandon.run_until_cancelled(connection).await;
}
