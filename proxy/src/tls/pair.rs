//! One certificate chain with its key, from two PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::time::Timestamp;

/// No chain or key comes near this; whatever does is another file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where one certificate and its key are. Both may be the same file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the server's certificate first, then those between it and the root.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// A certificate in use, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    pub certificate: PathBuf,
    /// The DNS names it is chosen by, lower case, wildcards as `*.example.com`.
    pub names: Vec<String>,
    /// When it expires.
    pub not_after: Timestamp,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("no certificate is configured")]
    None,
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is larger than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge { path: PathBuf },
    /// The text of the file is left out of the reason: it may be a key's.
    #[error("{} is not valid PEM: {reason}", path.display())]
    Pem { path: PathBuf, reason: &'static str },
    #[error("no certificate in {}", path.display())]
    NoCertificate { path: PathBuf },
    #[error("no private key in {} (PKCS#8, PKCS#1 or SEC1, not encrypted)", path.display())]
    NoKey { path: PathBuf },
    #[error("the private key in {} cannot be used: {source}", path.display())]
    Key {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("the certificate in {} cannot be used: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("the key in {} does not belong to the first certificate in {}", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
}

/// A chain, its key, and the names it serves.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) info: CertificateInfo,
}

impl Pair {
    pub(super) fn read(files: &CertificateFiles) -> Result<Pair, CertificateError> {
        let chain = chain(&files.certificate)?;
        let key = key(&files.key)?;
        let info = info(&files.certificate, &chain[0])?;
        // The provider that pingora installs; keys of another would not fit its handshakes.
        let provider = ring::default_provider();
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|source| CertificateError::Key {
            path: files.key.clone(),
            source,
        })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(CertificateError::Mismatch {
                    certificate: files.certificate.clone(),
                    key: files.key.clone(),
                });
            }
            Err(error) => {
                return Err(CertificateError::Certificate {
                    path: files.certificate.clone(),
                    reason: error.to_string(),
                });
            }
        }
        Ok(Pair {
            key: Arc::new(certified),
            info,
        })
    }
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = contents(path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(CertificateError::NoCertificate { path: path.into() }),
        Ok(chain) => Ok(chain),
        Err(error) => Err(pem_error(path, &error)),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
    match PrivateKeyDer::from_pem_slice(&contents(path)?) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => Err(CertificateError::NoKey { path: path.into() }),
        Err(error) => Err(pem_error(path, &error)),
    }
}

fn pem_error(path: &Path, error: &pem::Error) -> CertificateError {
    CertificateError::Pem {
        path: path.into(),
        reason: match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no end",
            pem::Error::IllegalSectionStart { .. } => "a section begins in a malformed line",
            pem::Error::Base64Decode(_) => "a section is not base64",
            pem::Error::SectionTooLarge => "a section is too large",
            _ => "it cannot be read",
        },
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|source| CertificateError::Read {
            path: path.into(),
            source,
        })?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(CertificateError::TooLarge { path: path.into() });
    }
    Ok(text)
}

/// Names from the subject's alternative names; from its common name only where there are none (RFC 6125 §6.4.4).
fn info(path: &Path, certificate: &[u8]) -> Result<CertificateInfo, CertificateError> {
    let unusable = |reason: String| CertificateError::Certificate {
        path: path.into(),
        reason,
    };
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| unusable(error.to_string()))?;
    let alternative = parsed
        .subject_alternative_name()
        .map_err(|error| unusable(error.to_string()))?;
    let mut names: Vec<String> = Vec::new();
    if let Some(alternative) = alternative {
        let dns = alternative.value.general_names.iter();
        names.extend(dns.filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(normal(name)),
            _ => None,
        }));
    } else {
        let common = parsed.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok().map(normal)));
    }
    let not_after = parsed.validity().not_after.timestamp();
    Ok(CertificateInfo {
        certificate: path.into(),
        names,
        not_after: Timestamp::from_secs(u64::try_from(not_after).unwrap_or(0)),
    })
}

/// A name as names are compared: lower case, without the root's dot.
pub(super) fn normal(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}
