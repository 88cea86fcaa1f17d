//! TLS to ZooKeeper, with certificates on both sides.
//!
//! | file (PEM) | what is in it | what it is for |
//! |---|---|---|
//! | `ca` | certificates of authorities, and lists of what they have revoked | the server must show a certificate of one of them, for the host that we connected to |
//! | `cert` | our certificate, and those between it and the authority | the server asks for it |
//! | `key` | the key of our certificate | shows that it is ours |
//!
//! The files are read again for every new session, so that renewed certificates need no restart: a connection
//! within a session that breaks is made again with the old ones, and should the server refuse those, the
//! session ends and the next one has the new ones.
//!
//! The cryptography is that of `aws-lc-rs`, which the ZooKeeper client brings; decision 18 has the reasons.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use zookeeper_client as zk;

use crate::Error;

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Who vouches for the servers.
    pub ca: PathBuf,
    /// Who we are.
    pub cert: PathBuf,
    /// The proof.
    pub key: PathBuf,
}

/// The contents of the files, checked.
pub(super) struct Loaded {
    /// For the client.
    pub(super) options: zk::TlsOptions,
    /// The same, to find out what is wrong with a connection.
    pub(super) config: Arc<ClientConfig>,
}

impl Tls {
    /// Whether the files can be used: [`Error::InvalidOptions`] names the one that can't. What the server
    /// thinks of them is not known by that.
    pub fn check(&self) -> Result<(), Error> {
        self.load().map(drop)
    }

    pub(super) fn load(&self) -> Result<Loaded, Error> {
        // One provider for the whole process. An error says that there is one already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (ca, cert, key) = (text(&self.ca)?, text(&self.cert)?, text(&self.key)?);
        let config = self.config(&ca, &cert, &key)?;
        let options = zk::TlsOptions::new().with_pem_ca(&ca);
        let options = options.map_err(|error| unusable(&self.ca, &error))?;
        let options = options.with_pem_identity(&cert, &key);
        Ok(Loaded {
            options: options.map_err(|error| unusable(&self.cert, &error))?,
            config: Arc::new(config),
        })
    }

    fn config(&self, ca: &str, cert: &str, key: &str) -> Result<ClientConfig, Error> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&self.ca, ca)? {
            roots
                .add(root)
                .map_err(|error| unusable(&self.ca, &error))?;
        }
        let crls: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_slice_iter(ca.as_bytes()).collect();
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots))
            .with_crls(crls.map_err(|error| unusable(&self.ca, &error))?)
            .build()
            .map_err(|error| unusable(&self.ca, &error))?;
        let chain = certificates(&self.cert, cert)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unusable(&self.key, &error))?;
        ClientConfig::builder()
            .with_webpki_verifier(verifier)
            .with_client_auth_cert(chain, key)
            .map_err(|error| {
                let (cert, key) = (self.cert.display(), self.key.display());
                invalid(format!(
                    "the certificate in {cert} and the key in {key} can't be used: {error}"
                ))
            })
    }
}

/// Checks that a host has a name that a certificate can be for. The client takes that for granted.
pub(super) fn check_host(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host)
        .map(|name| name.to_owned())
        .map_err(|_| invalid(format!("`{host}` is not the name of a host")))
}

fn certificates(file: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|error| unusable(file, &error))?;
    if certificates.is_empty() {
        return Err(unusable(file, &"there is no certificate in it"));
    }
    Ok(certificates)
}

fn text(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> Error {
    invalid(format!("can't use {}: {error}", file.display()))
}

fn invalid(reason: String) -> Error {
    Error::InvalidOptions { reason }
}
