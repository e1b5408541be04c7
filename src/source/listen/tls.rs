//! TLS of listeners: rustls, versions 1.2 and 1.3, certificates that are read again on request.
//!
//! Promises: a certificate that cannot be read leaves the one before in force; a connection keeps
//! what it began with; half a handshake is cut off.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::stop::Stop;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Nothing before 1.2.
const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// The files of a listener's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The certificate and what signed it, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// Who has to have signed the certificates of peers; none: peers need none.
    pub client_ca_file: Option<PathBuf>,
}

/// The files are no good.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not there, not readable, or not PEM.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A certificate that is none, or a key of another one.
    #[error("the certificate in {} cannot be used", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Authorities that nobody can be checked against.
    #[error("the authorities in {} cannot be used", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: VerifierBuilderError,
    },
}

/// Makes TLS connections of plain ones.
#[derive(Debug)]
pub struct Tls {
    settings: Settings,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        let config = RwLock::new(Arc::new(config(settings)?));
        Ok(Self { settings: settings.clone(), config })
    }

    /// Reads the files again, for connections to come. What is wrong is logged and changes nothing.
    fn reload(&self) {
        match config(&self.settings) {
            Ok(config) => {
                let mut current = self.config.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(config);
                tracing::info!(certificate = %self.settings.cert_file.display(), "certificates read again");
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the certificates stay as they were");
            }
        }
    }

    /// The handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await?
    }
}

/// Has the files read again whenever sources are asked to; never ends.
pub(in crate::source) async fn follow(tls: Option<&Arc<Tls>>, stop: &Stop) -> Infallible {
    match tls.cloned() {
        Some(tls) => super::follow(stop, move || tls.reload()).await,
        None => std::future::pending().await,
    }
}

fn config(settings: &Settings) -> Result<ServerConfig, Error> {
    let Settings { cert_file, key_file, client_ca_file } = settings;
    let refused = |source| Error::Refused { path: cert_file.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&VERSIONS)
        .map_err(refused)?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let failed = |source| Error::Authorities { path: path.clone(), source };
            builder.with_client_cert_verifier(verifier.build().map_err(failed)?)
        }
    };
    let unreadable = |source| Error::Unreadable { path: key_file.clone(), source };
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(unreadable)?;
    let mut config = builder.with_single_cert(certificates(cert_file)?, key).map_err(refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |source| Error::Unreadable { path: path.to_owned(), source };
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}
