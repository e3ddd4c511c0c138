//! TLS: why a broker's certificate is refused. The library says only that it is; whoever is to mend it needs to know more.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::plan::kafka::Cluster;

/// How long a broker may take for each step.
const WAIT: Duration = Duration::from_secs(2);

/// What is wrong with the certificate that the first broker shows; none where nothing is, or nobody can tell.
pub(super) fn refusal(cluster: &Cluster, folder: &Path) -> Option<String> {
    let ca = folder.join(cluster.security.ca.as_ref()?);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&ca).ok()? {
        // What is no certificate signs nothing.
        let _ = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
    }
    if roots.is_empty() {
        return Some(format!("{} holds no certificate", ca.display()));
    }
    let broker = cluster.brokers.split(',').next()?.trim();
    let (host, _) = broker.rsplit_once(':')?;
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut stream = TcpStream::connect_timeout(&broker.to_socket_addrs().ok()?.next()?, WAIT).ok()?;
    stream.set_read_timeout(Some(WAIT)).and_then(|()| stream.set_write_timeout(Some(WAIT))).ok()?;
    connection.complete_io(&mut stream).err().map(|error| error.to_string())
}
