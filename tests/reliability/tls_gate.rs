//! TLS before a far end, which can be at fault, and hears everything that a client says.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::harness::authority::{Authority, Identity};
use crate::harness::raw_server::read_request;
use crate::harness::{Folder, Result, Sim, fail};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Expired,
    NotYetValid,
    WrongHost,
    SelfSigned,
    UnknownAuthority,
    /// A certificate that is for clients only.
    ForClients,
    /// The server speaks nothing newer than this version, by its two bytes.
    OldVersion([u8; 2]),
    /// The connection ends behind the client's first words.
    CutAtOnce,
    /// The connection ends in the middle of the server's first words.
    CutInTheMiddle,
    /// An HTTP server without TLS.
    PlainText,
    /// Bytes that mean nothing.
    Rubbish,
    /// Nothing at all.
    Silence,
}

struct Server {
    fault: Mutex<Fault>,
    authority: Authority,
    /// For whom its good certificate is.
    name: String,
    behind: String,
    /// What came over each connection.
    heard: Mutex<Vec<Vec<u8>>>,
}

/// A gate that lives as long as the test's process.
pub(crate) struct TlsGate {
    address: SocketAddr,
    server: Arc<Server>,
    folder: Folder,
}

impl TlsGate {
    /// One without a fault before `sim`, with a certificate for `name`.
    pub(crate) fn start(sim: &Sim, name: &str) -> Result<Self> {
        let (authority, folder) = (Authority::new()?, Folder::new()?);
        authority.write(folder.as_ref())?;
        let server = Arc::new(Server {
            fault: Mutex::new(Fault::None),
            authority,
            name: name.to_owned(),
            behind: sim.url().trim_start_matches("http://").to_owned(),
            heard: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let attending = Arc::clone(&server);
        std::thread::Builder::new().name("tls-gate".to_owned()).spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                let server = Arc::clone(&attending);
                // A handshake that fails is what is wanted.
                let _ = std::thread::Builder::new()
                    .spawn(move || server.attend(stream).unwrap_or_default());
            }
        })?;
        Ok(Self { address, server, folder })
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("https://{name}:{}", self.address.port())
    }

    /// What `[mediation]` needs to trust it.
    pub(crate) fn mediation(&self) -> String {
        format!("ca_file = \"{}\"", self.folder.path("ca.pem").display())
    }

    /// Has this fault from the next connection on.
    pub(crate) fn set(&self, fault: Fault) {
        *lock(&self.server.fault) = fault;
    }

    /// Fails unless connections came, and all that came over them was TLS.
    pub(crate) fn check_nothing_in_clear(&self) -> Result {
        let heard = lock(&self.server.heard);
        let clear = heard.iter().find(|bytes| !is_tls(bytes));
        match clear {
            None if heard.is_empty() => fail("nobody came"),
            None => Ok(()),
            Some(bytes) => fail(format!("in clear text: {:?}", String::from_utf8_lossy(bytes))),
        }
    }
}

/// Whether these are records of TLS, the last of which may be cut off.
fn is_tls(mut bytes: &[u8]) -> bool {
    while let [kind, major, _minor, rest @ ..] = bytes {
        let [high, low, rest @ ..] = rest else { return (20..=23).contains(kind) };
        if !(20..=23).contains(kind) || *major != 3 {
            return false;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        bytes = rest.get(length..).unwrap_or_default();
    }
    true
}

/// A connection of which everything that comes is kept.
struct Heard {
    stream: TcpStream,
    server: Arc<Server>,
    number: usize,
}

impl Read for Heard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let mut heard = lock(&self.server.heard);
        if let (Some(kept), Some(came)) = (heard.get_mut(self.number), buffer.get(..count)) {
            kept.extend_from_slice(came);
        }
        Ok(count)
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Server {
    fn attend(self: Arc<Self>, stream: TcpStream) -> Result {
        let number = {
            let mut heard = lock(&self.heard);
            heard.push(Vec::new());
            heard.len() - 1
        };
        let fault = *lock(&self.fault);
        let mut heard = Heard { stream, server: Arc::clone(&self), number };
        let said: &[u8] = match fault {
            Fault::CutAtOnce => b"",
            Fault::Silence => return drain(&mut heard),
            Fault::PlainText => b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            Fault::Rubbish => b"\x7f\x01rubbish\xff\xfe and more of it\r\n",
            Fault::OldVersion(version) => return old_version(&mut heard, version),
            Fault::CutInTheMiddle => return self.half(&mut heard),
            _ => return self.converse(heard, fault),
        };
        let _ = heard.read(&mut [0; 4096])?;
        heard.write_all(said)?;
        heard.stream.shutdown(Shutdown::Write)?;
        drain(&mut heard)
    }

    /// Does the handshake, and passes requests and answers on.
    fn converse(&self, heard: Heard, fault: Fault) -> Result {
        let mut client = BufReader::new(StreamOwned::new(self.connection(fault)?, heard));
        let mut behind = BufReader::new(TcpStream::connect(&self.behind)?);
        while let Some(request) = read_request(&mut client)? {
            behind.get_mut().write_all(&request.bytes())?;
            // An answer has the same form.
            let Some(answer) = read_request(&mut behind)? else { break };
            client.get_mut().write_all(&answer.bytes())?;
        }
        Ok(())
    }

    /// Begins a handshake, and ends in the middle of its first words.
    fn half(&self, heard: &mut Heard) -> Result {
        let mut connection = self.connection(Fault::None)?;
        connection.read_tls(heard)?;
        connection.process_new_packets()?;
        let mut words = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut words)?;
        }
        heard.write_all(&words[..words.len() / 2])?;
        heard.stream.shutdown(Shutdown::Write)?;
        drain(heard)
    }

    fn connection(&self, fault: Fault) -> Result<ServerConnection> {
        let (chain, key) = self.identity(fault)?.der();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        Ok(ServerConnection::new(Arc::new(config))?)
    }

    fn identity(&self, fault: Fault) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let name = if fault == Fault::WrongHost { "other.example" } else { &self.name };
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        match fault {
            Fault::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Fault::NotYetValid => params.not_before = date_time_ymd(3000, 1, 1),
            Fault::ForClients => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }
            _ => {}
        }
        let certificate = match fault {
            Fault::SelfSigned => params.self_signed(&key)?,
            Fault::UnknownAuthority => params.signed_by(&key, &Authority::new()?.0)?,
            _ => params.signed_by(&key, &self.authority.0)?,
        };
        Ok(Identity { certificate, key })
    }
}

/// Answers as a server that speaks nothing newer: a session of `version`, with a cipher of its time.
fn old_version(heard: &mut Heard, version: [u8; 2]) -> Result {
    let _ = heard.read(&mut [0; 4096])?;
    let [major, minor] = version;
    // Kind, length of the record, then of the message: version, random, no session, cipher, no
    // compression.
    let mut hello = vec![22, major, minor, 0, 42, 2, 0, 0, 38, major, minor];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    heard.write_all(&hello)?;
    drain(heard)
}

/// Hears what else there is.
fn drain(heard: &mut Heard) -> Result {
    let mut rest = [0; 4096];
    while heard.read(&mut rest)? > 0 {}
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
