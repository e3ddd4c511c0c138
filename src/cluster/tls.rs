//! Tls: who this process is, and how it knows the others: TLS 1.3 alone, certificates on both sides, of one authority.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{ClusterError, ClusterFile};

/// The name in a process's certificate.
#[must_use]
pub fn name_of(process: usize) -> String {
    format!("process-{process}.quell")
}

/// Both sides of a handshake.
#[derive(Clone)]
pub struct Identity {
    /// As who is called.
    pub server: Arc<ServerConfig>,
    /// As who calls.
    pub client: Arc<ClientConfig>,
}

const CURE: &str = "the cluster's file names the authority, and a process's certificate and key, as PEM";

fn wrong(path: &Path, why: impl std::fmt::Display) -> ClusterError {
    ClusterError::Identity { what: format!("{}: {why}", path.display()), cure: CURE }
}

impl Identity {
    /// Reads what the file names for a process, and checks that it fits together.
    pub fn load(file: &ClusterFile, process: usize) -> Result<Identity, ClusterError> {
        let (certificate, key) = file.identity(process);
        let chain = |path: &Path| -> Result<Vec<CertificateDer<'static>>, ClusterError> {
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let read: Vec<_> = read.map_err(|error| wrong(path, error))?;
            if read.is_empty() { Err(wrong(path, "there is no certificate in it")) } else { Ok(read) }
        };
        let mut roots = RootCertStore::empty();
        for root in chain(&file.ca)? {
            roots.add(root).map_err(|error| wrong(&file.ca, error))?;
        }
        let own = chain(&certificate)?;
        if !is_of(&own[0], process) {
            return Err(wrong(&certificate, format!("it is not for the name {}", name_of(process))));
        }
        private(&key)?;
        let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| wrong(&key, error))?;
        Identity::of(Arc::new(roots), own, key).map_err(|why| wrong(&certificate, why))
    }

    fn of(
        roots: Arc<RootCertStore>,
        own: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Identity, String> {
        let told = |error: tokio_rustls::rustls::Error| error.to_string();
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(told)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(own.clone(), key.clone_key())
            .map_err(told)?;
        // A connection lasts as long as the cluster: none is ever resumed.
        server.send_tls13_tickets = 0;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(told)?
            .with_root_certificates(roots)
            .with_client_auth_cert(own, key)
            .map_err(told)?;
        Ok(Identity { server: Arc::new(server), client: Arc::new(client) })
    }
}

/// A key is not for everybody to read; a group may have it, as mounted secrets have.
fn private(key: &Path) -> Result<(), ClusterError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(key).map_err(|error| wrong(key, error))?.permissions().mode();
    let everybody = mode & 0o007;
    if everybody == 0 {
        return Ok(());
    }
    let what = format!("{}: everybody may read the key (mode {:o})", key.display(), mode & 0o777);
    Err(ClusterError::Identity { what, cure: "chmod 600 it" })
}

/// Whether a certificate is that of a process.
#[must_use]
pub fn is_of(certificate: &CertificateDer<'_>, process: usize) -> bool {
    let Ok(name) = server_name(process) else { return false };
    ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

/// The name that a process must show.
pub fn server_name(process: usize) -> Result<ServerName<'static>, ClusterError> {
    ServerName::try_from(name_of(process)).map_err(|error| ClusterError::Identity {
        what: format!("{}: {error}", name_of(process)),
        cure: "an index is a number",
    })
}
