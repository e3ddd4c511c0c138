//! Authority: a certificate authority of one start of a cluster on one machine, and the certificates of its processes. Its
//! key is never written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::tls::name_of;

/// An authority.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    pub fn new() -> io::Result<Authority> {
        let mut params = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Authority { params, key: KeyPair::generate().map_err(io::Error::other)? })
    }

    /// Writes its certificate as `ca.pem`, and those of `processes` as `process-N.pem` with `process-N.key`, which nobody else
    /// may read.
    pub fn write(&self, folder: &Path, processes: usize) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        let own = self.params.self_signed(&self.key).map_err(io::Error::other)?;
        fs::write(folder.join("ca.pem"), own.pem())?;
        for process in 0..processes {
            self.process(folder, process)?;
        }
        Ok(())
    }

    fn process(&self, folder: &Path, process: usize) -> io::Result<()> {
        let issuer = Issuer::from_params(&self.params, &self.key);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let params = CertificateParams::new(vec![name_of(process)]).map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &issuer).map_err(io::Error::other)?;
        fs::write(folder.join(format!("process-{process}.pem")), certificate.pem())?;
        let path = folder.join(format!("process-{process}.key"));
        // One that stands there may have other rights.
        let _ = fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(key.serialize_pem().as_bytes())
    }
}
