//! Which certificates are trusted to sign a server's. pingora's connector loads them and ends the process
//! when it cannot; so each file is read here first, and a bad one is an error of the configuration.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject, SectionKind};

use super::settings::PoolError;

/// Where distributions keep the bundle of authorities: Debian, Fedora, SUSE, Alpine and BSD.
const SYSTEM_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// The file for a pool that speaks TLS: the one asked for, or the system's.
///
/// # Errors
/// [`PoolError`] when it is missing, is not PEM, or holds no certificate or something else.
pub(super) fn trust_file(asked: Option<&Path>) -> Result<PathBuf, PoolError> {
    let path = match asked {
        Some(path) => path.to_owned(),
        None => std::env::var_os("SSL_CERT_FILE")
            .map(PathBuf::from)
            .into_iter()
            .chain(SYSTEM_FILES.map(PathBuf::from))
            .find(|path| path.is_file())
            .ok_or(PoolError::NoTrustStore)?,
    };
    match check(&path) {
        Ok(()) => Ok(path),
        Err(reason) => Err(PoolError::TrustFile { path, reason }),
    }
}

/// Accepts what pingora's loader accepts.
fn check(path: &Path) -> Result<(), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut store = RootCertStore::empty();
    for item in <(SectionKind, Vec<u8>)>::pem_reader_iter(file) {
        match item {
            Ok((SectionKind::Certificate, der)) => store
                .add(CertificateDer::from(der))
                .map_err(|error| error.to_string())?,
            Ok(_) => return Err("it holds something else than certificates".to_owned()),
            Err(pem::Error::NoItemsFound) => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    match store.is_empty() {
        true => Err("it holds no certificate".to_owned()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_files_are_refused() {
        fn check(content: &str, expected: &str) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let path = folder.path().join("ca.pem");
            std::fs::write(&path, content).expect("a writable folder");
            let error = trust_file(Some(&path)).expect_err(content);
            assert!(error.to_string().contains(expected), "{error}");
        }
        check("", "no certificate");
        check("not PEM at all", "no certificate");
        check(
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "something else",
        );
        check(
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
            "BadEncoding",
        );
        check("-----BEGIN CERTIFICATE-----\nMAA=\n", "cannot use");
        assert!(trust_file(Some(Path::new("/nonexistent/ca.pem"))).is_err());
    }
}
