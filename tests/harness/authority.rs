//! An authority, and certificates that it signs for 127.0.0.1 and for clients.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::Result;

/// Signs what tests need.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

/// A certificate and its key in files.
pub(crate) struct Files {
    pub(crate) cert_file: PathBuf,
    pub(crate) key_file: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Ok(Self(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?))
    }

    /// A certificate for `name`.
    pub(crate) fn sign(&self, name: &str) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec![name.to_owned()])?.signed_by(&key, &self.0)?;
        Ok(Identity { certificate, key })
    }

    /// Its own certificate in a file of `directory`.
    pub(crate) fn write(&self, directory: &Path) -> Result<PathBuf> {
        let path = directory.join("ca.pem");
        std::fs::write(&path, self.0.pem())?;
        Ok(path)
    }

    /// What its clients trust.
    pub(crate) fn roots(&self) -> Result<Arc<RootCertStore>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        Ok(Arc::new(roots))
    }
}

impl Identity {
    /// In files of `directory` that begin with `name`.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> Result<Files> {
        let cert_file = directory.join(format!("{name}.pem"));
        let key_file = directory.join(format!("{name}.key"));
        std::fs::write(&cert_file, self.certificate.pem())?;
        std::fs::write(&key_file, self.key.serialize_pem())?;
        Ok(Files { cert_file, key_file })
    }

    pub(crate) fn der(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        (vec![self.certificate.der().clone()], PrivateKeyDer::from(key))
    }
}
