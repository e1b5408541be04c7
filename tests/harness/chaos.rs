//! A far end that misbehaves as a test says, and keeps books of all that it did.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::books::{Books, Entry};
use super::raw_server::{Request, read_request};
use super::{Result, pause};

/// What a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// A reset before any of it is read.
    ResetUnread,
    /// A reset after all of it was read.
    Reset,
    /// The end of the connection in the middle of the answer's headers.
    HalfHead,
    /// Bytes that are not HTTP.
    Rubbish,
    /// Nothing for as long as the client waits.
    Silence,
    /// An answer.
    Answer(Answer),
}

/// An answer with a status that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Mediation's code; empty: none.
    pub(crate) code: &'static str,
    pub(crate) retry_after_seconds: Option<u64>,
    /// Whether the connection ends in the middle of its body.
    pub(crate) is_half: bool,
    /// How long it takes.
    pub(crate) after: Duration,
}

impl Act {
    /// The answer with this status and nothing else.
    pub(crate) const fn status(status: u16) -> Self {
        Self::code(status, "")
    }

    /// The answer with this status and code.
    pub(crate) const fn code(status: u16, code: &'static str) -> Self {
        Self::Answer(Answer {
            status,
            code,
            retry_after_seconds: None,
            is_half: false,
            after: Duration::ZERO,
        })
    }

    /// A success after so long.
    pub(crate) const fn success_after(after: Duration) -> Self {
        Self::Answer(Answer {
            status: 200,
            code: "",
            retry_after_seconds: None,
            is_half: false,
            after,
        })
    }
}

/// A request that is to get something.
#[derive(Debug)]
pub(crate) struct Coming<'c> {
    /// The last part of its path: the meter's global id.
    pub(crate) meter: &'c str,
    /// How many events it carries.
    pub(crate) events: usize,
    /// Whether it carries what was accepted before.
    pub(crate) is_known: bool,
    /// Requests under way, this one included.
    pub(crate) under_way: usize,
}

/// Decides about a request: asked before it is read, with nothing, for a reset then or nothing;
/// and after that.
type Decide = dyn FnMut(Option<&Coming<'_>>) -> Option<Act> + Send;

struct Server {
    decide: Mutex<Box<Decide>>,
    books: Mutex<Books>,
    accepted: Mutex<HashSet<String>>,
    random: Mutex<fastrand::Rng>,
    under_way: AtomicUsize,
}

/// A server that lives as long as the test's process.
pub(crate) struct Chaos {
    address: SocketAddr,
    server: Arc<Server>,
}

impl Chaos {
    /// One that does what `decide` says; where it says nothing, all is well. `seed` decides whether
    /// a request without an answer is accepted.
    pub(crate) fn start(
        seed: u64,
        decide: impl FnMut(Option<&Coming<'_>>) -> Option<Act> + Send + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = Arc::new(Server {
            decide: Mutex::new(Box::new(decide)),
            books: Mutex::default(),
            accepted: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            under_way: AtomicUsize::new(0),
        });
        let attending = Arc::clone(&server);
        std::thread::Builder::new().name("chaos".to_owned()).spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                let server = Arc::clone(&attending);
                // A client that goes away ends its thread, nothing else.
                let _ = std::thread::Builder::new()
                    .spawn(move || server.attend(&stream).unwrap_or_default());
            }
        })?;
        Ok(Self { address, server })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it did until now.
    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.server.books)
    }
}

impl Server {
    fn attend(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        // The first byte of a request says that there is one; nothing of it is taken.
        while stream.peek(&mut [0])? > 0 {
            let began = Instant::now();
            if lock(&self.decide)(None) == Some(Act::ResetUnread) {
                lock(&self.books).unread.push(began);
                return reset(stream);
            }
            let goes_on = match read_request(&mut reader) {
                Ok(Some(request)) => self.answer(&mut reader, &request, began),
                Ok(None) => Ok(false),
                Err(error) => Err(error),
            };
            if !goes_on? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers `request` in its way; whether the connection goes on.
    fn answer(
        &self,
        reader: &mut BufReader<&TcpStream>,
        request: &Request,
        began: Instant,
    ) -> std::io::Result<bool> {
        let mut stream = *reader.get_ref();
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        if path == "/oauth/token" {
            let ended = Instant::now();
            lock(&self.books).tokens.push((began, ended));
            let token = r#"{"access_token":"t","expires_in":2}"#;
            stream.write_all(complete("200 OK", "", token).as_bytes())?;
            return Ok(true);
        }
        let meter = path.rsplit('/').next().unwrap_or_default();
        let track_id = request.header("zuora-track-id").unwrap_or_default();
        let events = event_numbers(&request.payload().unwrap_or_default());
        let coming = Coming {
            meter,
            events: events.len(),
            is_known: lock(&self.accepted).contains(track_id),
            under_way: self.under_way.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let act = lock(&self.decide)(Some(&coming)).unwrap_or(Act::status(200));
        if let Act::Answer(answer) = act {
            pause(answer.after);
        }
        // Before the client can see anything of it: what it begins then is after this one.
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        let accepted = match Meaning::of(act) {
            Meaning::Taken => !coming.is_known,
            Meaning::Refused | Meaning::Cut => false,
            Meaning::Unknown => lock(&self.random).bool(),
        };
        if accepted {
            lock(&self.accepted).insert(track_id.to_owned());
        }
        let mut hasher = DefaultHasher::new();
        request.body.hash(&mut hasher);
        lock(&self.books).entries.push(Entry {
            meter: meter.to_owned(),
            track_id: track_id.to_owned(),
            body: hasher.finish(),
            events,
            began,
            ended: Instant::now(),
            act,
            accepted,
        });
        play(act, reader, stream)
    }
}

fn play(
    act: Act,
    reader: &mut BufReader<&TcpStream>,
    mut stream: &TcpStream,
) -> std::io::Result<bool> {
    match act {
        Act::ResetUnread | Act::Reset => {
            reset(stream)?;
            return Ok(false);
        }
        Act::HalfHead => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le")?,
        Act::Rubbish => stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n\x00\xff\x13\r\n\r\n")?,
        Act::Silence => {
            reader.read_to_end(&mut Vec::new())?;
        }
        Act::Answer(answer) => {
            let text = answer.text();
            let sent = if answer.is_half { &text[..text.len() - 5] } else { &text };
            stream.write_all(sent.as_bytes())?;
            if !answer.is_half {
                return Ok(true);
            }
        }
    }
    // It may be gone already.
    let _ = stream.shutdown(Shutdown::Both);
    Ok(false)
}

/// What an act says about the events to somebody who sees all that can be seen of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    Taken,
    Refused,
    /// Refused for what is in it.
    Cut,
    Unknown,
}

impl Meaning {
    pub(crate) fn of(act: Act) -> Self {
        let Act::Answer(Answer { status, code, .. }) = act else { return Self::Unknown };
        match (status, code) {
            (200..=299, "") | (400 | 409, "70001204") => Self::Taken,
            (400, "" | "70000000" | "70001200" | "70001201") | (413, _) => Self::Cut,
            _ => Self::Refused,
        }
    }
}

impl Answer {
    fn text(&self) -> String {
        let Self { status, code, retry_after_seconds, .. } = self;
        let headers =
            retry_after_seconds.map_or_else(String::new, |wait| format!("Retry-After: {wait}\r\n"));
        let location =
            if (300..400).contains(status) { "Location: http://127.0.0.1:9/\r\n" } else { "" };
        let body = match (status, *code) {
            (200..=299, "") => r#"{"success":true}"#.to_owned(),
            (_, "") => r#"{"message":"no"}"#.to_owned(),
            _ => format!(r#"{{"success":false,"errors":[{{"code":"{code}","message":"no"}}]}}"#),
        };
        complete(&format!("{status} As Said"), &format!("{headers}{location}"), &body)
    }
}

fn complete(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) -> std::io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?)
}

/// The numbers of the events in a body.
fn event_numbers(payload: &[u8]) -> Vec<u64> {
    const BEFORE: &[u8] = br#""EventId":"event-"#;
    const DIGITS: usize = 8;
    memchr::memmem::find_iter(payload, BEFORE)
        .filter_map(|at| payload.get(at + BEFORE.len()..at + BEFORE.len() + DIGITS))
        .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .collect()
}

fn lock<T: ?Sized>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
