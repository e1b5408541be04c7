//! One HTTP exchange: the only home of the HTTP client.
//!
//! Tells apart what never left, what was answered, and what left without a readable answer. An
//! answer is read to a bound, and no redirect is followed. Answers of the meter APIs are decompressed,
//! those of ingestion are not asked for compressed.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName,
    HeaderValue, RETRY_AFTER,
};
use reqwest::{Certificate, Client, Identity, Proxy, redirect, retry};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::outcome::Answer;
use super::{Settings, gzip};

/// How many bytes of an answer's body are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How many bytes of an answer of the meter APIs are accepted: an export, or a page of entries.
const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How long an idle connection is kept: less than the minute after which load balancers close it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key file cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate, key or proxy is not one.
    #[error("{what}: {source}")]
    Refused {
        /// What was looked at.
        what: String,
        /// What the client said.
        source: reqwest::Error,
    },
    /// An id that cannot be a header value.
    #[error("{0} holds characters that no header may hold")]
    Header(&'static str),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent: name look-up, connecting or TLS failed.
    NotSent(String),
    /// The request, or some of it, left.
    Unanswered(String),
}

/// How something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
}

/// What a body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A JSON document.
    Json,
    /// A JSON document, compressed.
    GzippedJson,
    /// A form, with its type.
    Form(String),
}

/// A request to the meter APIs.
#[derive(Debug, Clone)]
pub struct Request {
    /// How it is asked for.
    pub method: Method,
    /// Where.
    pub url: String,
    /// With what.
    pub body: Option<(Content, Bytes)>,
    /// Under which name.
    pub track_id: String,
}

/// Exchanges requests for answers.
#[derive(Debug)]
pub struct Transport {
    far_end: FarEnd,
    headers: HeaderMap,
    /// A hash over everything that it was made of, files included.
    made_of: [u8; 32],
}

/// Who answers.
#[derive(Debug)]
enum FarEnd {
    Http(Client),
    /// A test: on its clock no time goes by while a socket waits.
    #[cfg(test)]
    Scripted(tokio::sync::mpsc::UnboundedSender<Exchange>),
}

/// A request that a test answers.
#[cfg(test)]
#[derive(Debug)]
pub struct Exchange {
    /// Where it was sent.
    pub url: String,
    /// Under which name.
    pub track_id: String,
    /// With what.
    pub body: Bytes,
    /// Takes the answer.
    pub reply: tokio::sync::oneshot::Sender<Result<Answer, Failure>>,
}

impl Transport {
    /// A client after `settings`; `has_tls` is false when every URL is plain.
    pub fn new(settings: &Settings, has_tls: bool) -> Result<Self, Error> {
        // Fails when a provider is there already, and that is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut client = Client::builder()
            .http1_only()
            .redirect(redirect::Policy::none())
            // Repeats are the lane's business: it counts and records them.
            .retry(retry::never())
            .connect_timeout(settings.connect_timeout)
            .timeout(settings.request_timeout)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("meterd/", env!("CARGO_PKG_VERSION")));
        if !has_tls {
            // Everything stays on this machine: nothing is to be verified, so the system's roots need
            // not be there, and no proxy of the environment may get to see it.
            client = client.tls_certs_only([]).no_proxy();
        }
        let headers = headers(settings)?;
        let Settings { connect_timeout, request_timeout, proxy, .. } = settings;
        let plain =
            format!("{connect_timeout:?} {request_timeout:?} {proxy:?} {has_tls} {headers:?}");
        let mut made_of = Sha256::new_with_prefix(plain);
        if let Some(path) = &settings.ca_file {
            let bundle = read(path)?;
            made_of.update(&bundle);
            let roots = Certificate::from_pem_bundle(&bundle);
            client = client.tls_certs_merge(roots.map_err(|source| refused(path, source))?);
        }
        if let Some((chain, key)) = &settings.client_identity {
            let mut pem = read(chain)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            made_of.update(&pem);
            client =
                client.identity(Identity::from_pem(&pem).map_err(|source| refused(key, source))?);
        }
        if let Some(proxy) = &settings.proxy {
            let refused = |source| Error::Refused { what: "mediation.proxy".into(), source };
            client = client.proxy(Proxy::all(proxy).map_err(refused)?);
        }
        let client = client
            .build()
            .map_err(|source| Error::Refused { what: "the HTTP client".into(), source })?;
        Ok(Self { far_end: FarEnd::Http(client), headers, made_of: made_of.finalize().into() })
    }

    /// Whether both were made of the same settings and files.
    pub fn is_made_as(&self, other: &Self) -> bool {
        self.made_of == other.made_of
    }

    /// One whose requests a test answers.
    #[cfg(test)]
    pub fn scripted() -> (Self, tokio::sync::mpsc::UnboundedReceiver<Exchange>) {
        let (requests, exchanges) = tokio::sync::mpsc::unbounded_channel();
        let (far_end, headers) = (FarEnd::Scripted(requests), HeaderMap::new());
        (Self { far_end, headers, made_of: [0; 32] }, exchanges)
    }

    /// Posts a gzipped body of events.
    pub async fn post_events(
        &self,
        url: &str,
        body: Bytes,
        track_id: &str,
        token: Option<&SecretString>,
    ) -> Result<Answer, Failure> {
        let mut headers = self.named(track_id, token)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        self.post(url, headers, body).await
    }

    /// Asks the meter APIs. The answer is whole and not compressed any more, or there is none.
    pub async fn exchange(
        &self,
        request: &Request,
        token: Option<&SecretString>,
    ) -> Result<Answer, Failure> {
        let mut headers = self.named(&request.track_id, token)?;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        let (content, body) = request.body.clone().unwrap_or((Content::Json, Bytes::new()));
        // The pages ask for a type with every request, with or without a body.
        let content_type = match &content {
            Content::Json | Content::GzippedJson => HeaderValue::from_static("application/json"),
            Content::Form(form) => {
                HeaderValue::from_str(form).map_err(|error| Failure::NotSent(error.to_string()))?
            }
        };
        headers.insert(CONTENT_TYPE, content_type);
        if content == Content::GzippedJson {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        match &self.far_end {
            FarEnd::Http(client) => {
                let request = match request.method {
                    Method::Get => client.get(&request.url),
                    Method::Post => client.post(&request.url).body(body),
                };
                document(request.headers(headers)).await
            }
            #[cfg(test)]
            FarEnd::Scripted(_) => Err(Failure::NotSent("a test answers events only".to_owned())),
        }
    }

    /// The headers of every request that carries a token.
    fn named(&self, track_id: &str, token: Option<&SecretString>) -> Result<HeaderMap, Failure> {
        let mut headers = self.headers.clone();
        let track_id = HeaderValue::from_str(track_id);
        headers.insert(
            HeaderName::from_static("zuora-track-id"),
            track_id.map_err(|error| Failure::NotSent(error.to_string()))?,
        );
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
            let mut value = value.map_err(|_| {
                Failure::NotSent("the token holds characters that no header may hold".into())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// Asks for a token by client credentials.
    pub async fn post_form(&self, url: &str, form: String) -> Result<Answer, Failure> {
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.post(url, HeaderMap::from_iter([(CONTENT_TYPE, kind)]), form.into()).await
    }

    async fn post(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, Failure> {
        match &self.far_end {
            FarEnd::Http(client) => answer(client.post(url).headers(headers).body(body)).await,
            #[cfg(test)]
            FarEnd::Scripted(requests) => {
                let (reply, answer) = tokio::sync::oneshot::channel();
                // A test that has ended answers nothing more.
                let track_id = headers.get("zuora-track-id").and_then(|it| it.to_str().ok());
                let (url, track_id) = (url.to_owned(), track_id.unwrap_or_default().to_owned());
                let _ = requests.send(Exchange { url, track_id, body, reply });
                answer.await.unwrap_or_else(|gone| Err(Failure::Unanswered(gone.to_string())))
            }
        }
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| failure(&error))?;
    let mut answer = head(&response);
    // The status was read; a body that breaks off only says less.
    while let Ok(Some(piece)) = response.chunk().await {
        let room = ANSWER_BYTES_MAX - answer.body.len();
        answer.body.extend_from_slice(piece.get(..room).unwrap_or(&piece));
        if piece.len() >= room {
            break;
        }
    }
    Ok(answer)
}

/// An answer whose body counts: all of it, or none.
async fn document(request: reqwest::RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(|error| failure(&error))?;
    let mut answer = head(&response);
    let too_large = || Failure::Unanswered(format!("more than {DOCUMENT_BYTES_MAX} bytes came"));
    while let Some(piece) = response.chunk().await.map_err(|error| failure(&error))? {
        answer.body.extend_from_slice(&piece);
        if answer.body.len() > DOCUMENT_BYTES_MAX {
            return Err(too_large());
        }
    }
    let encoding = response.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if encoding.is_some_and(|encoding| encoding.eq_ignore_ascii_case(b"gzip")) {
        let body = std::mem::take(&mut answer.body);
        // Decompressing is not for the runtime's threads.
        let unpacked =
            tokio::task::spawn_blocking(move || gzip::unpacked(&body, DOCUMENT_BYTES_MAX));
        let unpacked = unpacked.await.map_err(|error| Failure::Unanswered(error.to_string()))?;
        answer.body = unpacked.map_err(|error| Failure::Unanswered(format!("gzip: {error}")))?;
    }
    Ok(answer)
}

/// What the headers say.
fn head(response: &reqwest::Response) -> Answer {
    let text = |name: HeaderName| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    Answer {
        status: response.status().as_u16(),
        retry_after: text(RETRY_AFTER),
        rate_limit_remaining: text(HeaderName::from_static("ratelimit-remaining")),
        rate_limit_reset: text(HeaderName::from_static("ratelimit-reset")),
        date: text(DATE),
        body: Vec::new(),
    }
}

fn failure(error: &reqwest::Error) -> Failure {
    if error.is_connect() || error.is_builder() {
        Failure::NotSent(describe(error))
    } else {
        Failure::Unanswered(describe(error))
    }
}

/// The whole chain of an error, without the URL.
fn describe(error: &reqwest::Error) -> String {
    let mut text = match error {
        _ if error.is_timeout() => "timed out".to_owned(),
        _ if error.is_connect() => "cannot connect".to_owned(),
        _ => "broke off".to_owned(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn headers(settings: &Settings) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let named = [
        ("zuora-entity-ids", &settings.entity_ids, "mediation.entity_ids"),
        ("zuora-org-ids", &settings.org_ids, "mediation.org_ids"),
    ];
    for (name, value, key) in named.into_iter().filter(|(_, value, _)| !value.is_empty()) {
        let value = HeaderValue::from_str(value).map_err(|_| Error::Header(key))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(headers)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::Unreadable { path: path.to_owned(), source })
}

fn refused(path: &Path, source: reqwest::Error) -> Error {
    Error::Refused { what: path.display().to_string(), source }
}
