//! An HTTP client of a bare socket, which sends exactly what a test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::Result;

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }
}

/// A request that is not sent yet.
#[derive(Debug, Clone)]
pub(crate) struct Post<'p> {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'p str,
    /// Further header lines, each with its line end.
    pub(crate) headers: String,
    pub(crate) body: &'p [u8],
}

impl Post<'_> {
    /// The request as it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { address, path, headers, body } = self;
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
             content-length: {length}\r\n{headers}\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    /// Sends it over a connection of its own and reads the answer.
    pub(crate) fn send(&self) -> Result<HttpAnswer> {
        let mut stream = TcpStream::connect(self.address)?;
        // A server that answers early may close before all of the body is sent.
        let sent = stream.write_all(&self.bytes());
        let answer = read_answer(&mut stream);
        if answer.is_err() {
            sent?;
        }
        answer
    }
}

/// Posts JSON to the meter of the tests.
pub(crate) fn post(address: SocketAddr, body: &[u8]) -> Result<HttpAnswer> {
    let headers = "content-type: application/json\r\n".to_owned();
    Post { address, path: "/usage/bulk/g1", headers, body }.send()
}

/// Reads the answer on a connection that the far end closes.
pub(crate) fn read_answer(stream: &mut (impl Read + SetTimeout)) -> Result<HttpAnswer> {
    stream.set_timeout(Duration::from_secs(60))?;
    let mut bytes = Vec::new();
    let mut reader = BufReader::new(stream);
    if let Err(error) = reader.read_to_end(&mut bytes)
        && bytes.is_empty()
    {
        return Err(error.into());
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("no head")?;
    answer(&bytes[..end], bytes[end + 4..].to_vec())
}

/// Reads the answer on a connection that the far end may leave open, by its length.
pub(crate) fn read_sized_answer(stream: &TcpStream) -> Result<HttpAnswer> {
    stream.set_timeout(Duration::from_secs(60))?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Err("the connection closed within the head".into());
        }
    }
    let mut answer = answer(&head, Vec::new())?;
    answer.body = vec![0; answer.header("content-length").ok_or("no length")?.parse()?];
    reader.read_exact(&mut answer.body)?;
    Ok(answer)
}

fn answer(head: &[u8], body: Vec<u8>) -> Result<HttpAnswer> {
    let head = String::from_utf8_lossy(head).into_owned();
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("no status")?;
    Ok(HttpAnswer { status, head, body })
}

/// A stream whose reads can be bounded in time.
pub(crate) trait SetTimeout {
    fn set_timeout(&self, timeout: Duration) -> std::io::Result<()>;
}

impl SetTimeout for TcpStream {
    fn set_timeout(&self, timeout: Duration) -> std::io::Result<()> {
        self.set_read_timeout(Some(timeout))
    }
}
