//! Listeners: sockets that accept clients, with or without TLS, up to a number of connections.
//!
//! Sockets are bound before anything starts, so that a busy port is an error message and not a process that
//! half runs. pingora's `Fds` carries them into its endpoints and, in an upgrade, into the next process.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{ListenAddress, ListenConfig, TlsVersion};
use pingora_core::listeners::tls::Acceptor;
use pingora_core::listeners::{ListenerEndpoint, ServerAddress};
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::server::{Fds, ListenFds};
use rustls::ServerConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::metrics::{Counter, Metrics};
use crate::tls::CertificateStore;

/// After a failed accept (out of file descriptors, mostly): how long others get to free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}")]
    Bind {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot listen on {address}")]
    Endpoint {
        address: String,
        #[source]
        source: Box<pingora_core::Error>,
    },
    #[error("listener {address} speaks TLS, and there are no certificates")]
    NoCertificates { address: String },
    #[error("cannot take over listeners at {path}")]
    TakeOver {
        path: String,
        #[source]
        source: nix::Error,
    },
}

/// A socket that clients connect to.
pub struct Listener {
    endpoint: ListenerEndpoint,
    address: Address,
    protocols: Protocols,
    tls: Option<Arc<Acceptor>>,
    tls_handshake_timeout: Duration,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Http1,
    /// HTTP/2 as well: by ALPN, or by prior knowledge in plain text.
    Http1AndHttp2,
}

/// Where a listener listens, the port chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Sockets taken over from the process before, and those to hand to the next.
pub fn take_over(path: &Path) -> Result<ListenFds, ListenError> {
    let mut sockets = Fds::new();
    sockets.get_from_sock(&path.display().to_string()[..]).map_err(|source| ListenError::TakeOver {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Arc::new(parking_lot::Mutex::new(sockets)))
}

impl Listener {
    /// Binds one listener, or finds it among `sockets`, where it is also noted for the next process.
    ///
    /// # Errors
    /// [`ListenError`] when the address is in use or not ours, or certificates are missing.
    pub async fn bind(
        config: &ListenConfig,
        certificates: Option<&Arc<CertificateStore>>,
        min_version: TlsVersion,
        tls_handshake_timeout: Duration,
        sockets: &ListenFds,
    ) -> Result<Listener, ListenError> {
        let name = config.address.to_string();
        let tls = match (config.tls, certificates) {
            (false, _) => None,
            (true, None) => return Err(ListenError::NoCertificates { address: name }),
            (true, Some(certificates)) => {
                Some(Arc::new(acceptor(Arc::clone(certificates), min_version, config.http2)))
            }
        };
        let (address, server_address) = match &config.address {
            ListenAddress::Tcp(address) => {
                let bound = bind_tcp(*address, sockets)?;
                (Address::Tcp(bound), ServerAddress::Tcp(bound.to_string(), None))
            }
            ListenAddress::Unix(path) => {
                (Address::Unix(path.clone()), ServerAddress::Uds(path.display().to_string(), None))
            }
        };
        let mut builder = ListenerEndpoint::builder();
        builder.listen_addr(server_address);
        let endpoint = builder
            .listen(Some(Arc::clone(sockets)))
            .await
            .map_err(|source| ListenError::Endpoint { address: name, source })?;
        let protocols = match config.http2 {
            true => Protocols::Http1AndHttp2,
            false => Protocols::Http1,
        };
        Ok(Listener { endpoint, address, protocols, tls, tls_handshake_timeout })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Accepts until `shutdown` turns true, and serves each connection in a task of its own. A connection is
    /// accepted only when one of `places` is free; further ones wait in the kernel's queue.
    pub async fn run<F>(
        self,
        places: Arc<Semaphore>,
        metrics: Arc<Metrics>,
        mut shutdown: watch::Receiver<bool>,
        serve: impl Fn(Stream, Protocols) -> F + Clone + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                accepted = self.accept(&places) => accepted,
                _ = shutdown.wait_for(|begun| *begun) => return,
            };
            let (place, stream) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    metrics.count(Counter::SessionsFailed);
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            metrics.count(Counter::SessionsAccepted);
            let (tls, serve) = (self.tls.clone(), serve.clone());
            let (patience, protocols) = (self.tls_handshake_timeout, self.protocols);
            tokio::spawn(async move {
                let stream: Stream = match tls {
                    None => Box::new(stream),
                    Some(tls) => match timeout(patience, tls.tls_handshake(stream)).await {
                        Ok(Ok(stream)) => Box::new(stream),
                        // Scanners and clients with other ideas of trust: nothing an operator can mend.
                        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
                        Err(_) => return tracing::debug!("TLS handshake took too long"),
                    },
                };
                serve(stream, protocols).await;
                drop(place);
            });
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> pingora_core::Result<(OwnedSemaphorePermit, L4Stream)> {
        let place = Arc::clone(places).acquire_owned().await.expect("this semaphore is never closed");
        Ok((place, self.endpoint.accept().await?))
    }
}

/// Binds, or finds the socket that was taken over; notes it for the next process.
fn bind_tcp(address: SocketAddr, sockets: &ListenFds) -> Result<SocketAddr, ListenError> {
    let mut sockets = sockets.lock();
    if sockets.get(&address.to_string()).is_some() {
        return Ok(address);
    }
    let refuse = |source| ListenError::Bind { address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    sockets.add(bound.to_string(), listener.into_raw_fd());
    Ok(bound)
}

fn acceptor(certificates: Arc<CertificateStore>, min_version: TlsVersion, http2: bool) -> Acceptor {
    let versions: &[&rustls::SupportedProtocolVersion] = match min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("the provider has cipher suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = match http2 {
        true => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        false => vec![b"http/1.1".to_vec()],
    };
    Acceptor::from_server_config(Arc::new(config))
}
