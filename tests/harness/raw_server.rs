//! A server of bare sockets: keeps every request as it came, and answers as a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::Result;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST /path HTTP/1.1`.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
    /// The body as it came.
    pub(crate) body: Vec<u8>,
    /// When its last byte was read.
    pub(crate) at: Instant,
}

impl Request {
    /// The only value of a header; none when it is not there or there twice.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        if values.next().is_some() { None } else { Some(value) }
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let head = format!("{}\r\n{}\r\n", self.line, headers.collect::<String>());
        [head.as_bytes(), &self.body].concat()
    }

    /// The body without its gzip.
    pub(crate) fn payload(&self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        flate2::read::GzDecoder::new(self.body.as_slice()).read_to_end(&mut payload)?;
        Ok(payload)
    }
}

/// What a request gets.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes; the connection stays open.
    Bytes(Vec<u8>),
    /// These bytes, then the connection is closed.
    BytesThenClose(Vec<u8>),
    /// Nothing, for as long as the client waits.
    Silence,
}

impl Reply {
    /// A complete answer with further header lines, each with its line end.
    pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
        Self::Bytes(format!("{head}{body}").into_bytes())
    }

    /// What Mediation says to a good request.
    pub(crate) fn success() -> Self {
        Self::answer("200 OK", "content-type: application/json\r\n", r#"{"success":true}"#)
    }
}

type Requests = Arc<Mutex<Vec<Request>>>;

/// Decides by the number of requests before, and the request.
type Script = Arc<dyn Fn(usize, &Request) -> Reply + Send + Sync>;

/// A server that lives as long as the test's process.
pub(crate) struct RawServer {
    address: SocketAddr,
    requests: Requests,
}

impl RawServer {
    pub(crate) fn start(
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let requests = Requests::default();
        let (kept, script): (Requests, Script) = (Arc::clone(&requests), Arc::new(script));
        std::thread::Builder::new().name("raw-server".to_owned()).spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                // A client that goes away ends its thread, nothing else.
                let _ = std::thread::Builder::new()
                    .spawn(move || attend(&stream, &kept, &script).unwrap_or_default());
            }
        })?;
        Ok(Self { address, requests })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests until now.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn attend(stream: &TcpStream, kept: &Requests, script: &Script) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let number = {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(request.clone());
            kept.len() - 1
        };
        let mut out = stream;
        match script(number, &request) {
            Reply::Bytes(bytes) => out.write_all(&bytes)?,
            Reply::BytesThenClose(bytes) => {
                out.write_all(&bytes)?;
                return stream.shutdown(Shutdown::Both);
            }
            Reply::Silence => {
                // Until the client closes.
                reader.read_to_end(&mut Vec::new())?;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The next request of a connection; none when it has ended. Bodies have a length.
pub(crate) fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let is_length = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("content-length");
    let length = headers.iter().find(is_length).and_then(|(_, value)| value.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { line: line.trim_end().to_owned(), headers, body, at: Instant::now() }))
}
