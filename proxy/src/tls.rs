//! Certificates for client connections: several, chosen by the name the client asks for, replaced while running.
//!
//! A [`CertificateStore`] is what rustls asks in each handshake (RFC 6066 §3, SNI): first the certificates that hold the
//! exact name, then those with a wildcard for its last labels, then the first certificate of all. Handshakes read
//! a table that is never changed, only replaced as a whole; a reload that fails changes nothing.
//!
//! The rest of TLS is not here: versions and ALPN are the listener's ([`crate::listener`]), handshakes pingora's.

mod pair;
pub(crate) mod session;
mod table;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use pair::{CertificateError, CertificateFiles, CertificateInfo};

use pair::Pair;
use table::Table;

/// Every file that was bad, not only the first.
#[derive(Debug, thiserror::Error)]
#[error("{}", list(.0))]
pub struct CertificateErrors(pub Vec<CertificateError>);

fn list(errors: &[CertificateError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// The certificates in use.
pub struct CertificateStore {
    table: ArcSwap<Table>,
    /// What the table was read from. Held during a reload, so that reloads take turns.
    files: Mutex<Vec<CertificateFiles>>,
}

impl CertificateStore {
    /// Reads the pairs of files; the first pair is the default. Where several hold the same name, the first that
    /// suits the client's signature algorithms is used: an ECDSA pair before an RSA pair serves both.
    ///
    /// # Errors
    /// [`CertificateErrors`] names each bad file with its reason; an empty list is an error too.
    pub fn load(files: &[CertificateFiles]) -> Result<CertificateStore, CertificateErrors> {
        let table = read(files)?;
        Ok(CertificateStore {
            table: ArcSwap::from_pointee(table),
            files: Mutex::new(files.to_vec()),
        })
    }

    /// Reads the same files again. Handshakes that begin from now on use what was read.
    ///
    /// # Errors
    /// [`CertificateErrors`] when any file is bad; all certificates stay as they were.
    pub fn reload(&self) -> Result<(), CertificateErrors> {
        let files = self.files.lock();
        self.table.store(Arc::new(read(&files)?));
        Ok(())
    }

    /// Like [`CertificateStore::reload`] from other files, which later reloads read again.
    ///
    /// # Errors
    /// [`CertificateErrors`] when any file is bad; certificates and files stay as they were.
    pub fn replace(&self, files: &[CertificateFiles]) -> Result<(), CertificateErrors> {
        let mut current = self.files.lock();
        self.table.store(Arc::new(read(files)?));
        *current = files.to_vec();
        Ok(())
    }

    /// The certificates in use, the default first.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.table.load().infos().cloned().collect()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let schemes = client_hello.signature_schemes();
        Some(table.choose(client_hello.server_name(), schemes))
    }
}

impl fmt::Debug for CertificateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificates = self.certificates();
        f.debug_struct("CertificateStore")
            .field("certificates", &certificates)
            .finish_non_exhaustive()
    }
}

fn read(files: &[CertificateFiles]) -> Result<Table, CertificateErrors> {
    let mut pairs = Vec::new();
    let mut errors = Vec::new();
    for files in files {
        match Pair::read(files) {
            Ok(pair) => pairs.push(pair),
            Err(error) => errors.push(error),
        }
    }
    if files.is_empty() {
        errors.push(CertificateError::None);
    }
    if !errors.is_empty() {
        return Err(CertificateErrors(errors));
    }
    Ok(Table::new(pairs).expect("there is a pair: none at all is an error"))
}

impl CertificateFiles {
    /// A pair of paths.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> CertificateFiles {
        CertificateFiles {
            certificate: certificate.into(),
            key: key.into(),
        }
    }
}
