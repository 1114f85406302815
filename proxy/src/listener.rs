//! Listeners: sockets that accept clients, with or without TLS, up to a number of connections.
//!
//! Sockets are bound before anything starts, so that a busy port is an error message and not a process that
//! half runs. The accept loop is ours because pingora's has no bound on connections, none on unfinished TLS
//! handshakes but a minute each, and does not tell a port that the kernel chose; streams and TLS are pingora's.
//! How sockets pass to the next process is in [`handover`].

pub mod handover;
mod plain;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{ListenAddress, ListenConfig, TlsVersion};
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, Stream};
use rustls::ServerConfig;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;

use crate::metrics::{Counter, Metrics, SessionClose};
use crate::tls::{CertificateStore, session};
use crate::workers::Workers;
use handover::Inherited;
use plain::Plain;

/// After a failed accept (out of file descriptors, mostly): how long others get to free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}")]
    Bind {
        address: ListenAddress,
        #[source]
        source: io::Error,
    },
    #[error("listener {address} speaks TLS, and [tls] has no certificates")]
    NoCertificates { address: ListenAddress },
}

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ListenAddress,
    protocols: Protocols,
    tls: Option<Tls>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A client's socket that no runtime watches yet: that is for the thread that is going to serve it.
enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(UnixStream),
}

#[derive(Clone)]
struct Tls {
    acceptor: Arc<Acceptor>,
    handshake_timeout: Duration,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    Http1,
    /// HTTP/2 as well: by ALPN, or by prior knowledge in plain text.
    Http1AndHttp2,
}

/// What the TLS listeners have in common.
#[derive(Clone, Debug)]
pub struct TlsListening {
    pub certificates: Option<Arc<CertificateStore>>,
    pub min_version: TlsVersion,
    pub handshake_timeout: Duration,
}

impl Listener {
    /// Binds a listener, or takes its socket from those inherited.
    ///
    /// # Errors
    /// [`ListenError`] when the address is in use or not ours, or certificates are missing.
    pub fn bind(
        config: &ListenConfig,
        tls: &TlsListening,
        inherited: &mut Inherited,
    ) -> Result<Listener, ListenError> {
        let protocols = match config.http2 {
            true => Protocols::Http1AndHttp2,
            false => Protocols::Http1,
        };
        let tls = match (config.tls, &tls.certificates) {
            (false, _) => None,
            (true, Some(certificates)) => Some(Tls {
                acceptor: Arc::new(acceptor(
                    Arc::clone(certificates),
                    tls.min_version,
                    protocols,
                )),
                handshake_timeout: tls.handshake_timeout,
            }),
            (true, None) => {
                return Err(ListenError::NoCertificates {
                    address: config.address.clone(),
                });
            }
        };
        let socket =
            Socket::open(&config.address, inherited).map_err(|source| ListenError::Bind {
                address: config.address.clone(),
                source,
            })?;
        let address = match &socket {
            Socket::Tcp(listener) => match listener.local_addr() {
                Ok(bound) => ListenAddress::Tcp(bound),
                Err(_) => config.address.clone(),
            },
            Socket::Unix(_) => config.address.clone(),
        };
        Ok(Listener {
            socket,
            address,
            protocols,
            tls,
        })
    }

    /// Where it listens, the port chosen.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// A second handle of the socket, for the next process.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        use std::os::fd::AsFd;
        match &self.socket {
            Socket::Tcp(listener) => listener.as_fd().try_clone_to_owned(),
            Socket::Unix(listener) => listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Accepts until `shutdown` turns true, and serves each connection on one of the workers. A connection is
    /// accepted only when one of `places` is free; further ones wait in the kernel's queue.
    pub(crate) async fn run<F>(
        self,
        workers: Arc<Workers>,
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
            let (place, socket) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    metrics.count(Counter::SessionsFailed);
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            metrics.count(Counter::SessionsAccepted);
            let (tls, serve, protocols) = (self.tls.clone(), serve.clone(), self.protocols);
            let metrics = Arc::clone(&metrics);
            workers.spawn(async move {
                match socket.into_stream(tls).await {
                    Ok(stream) => serve(stream, protocols).await,
                    Err(close) => metrics.session_closed(close),
                }
                drop(place);
            });
        }
    }

    async fn accept(
        &self,
        places: &Arc<Semaphore>,
    ) -> io::Result<(OwnedSemaphorePermit, Accepted)> {
        let place = Arc::clone(places)
            .acquire_owned()
            .await
            .expect("this semaphore is never closed");
        let accepted = match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Small writes are whole answers: nothing is gained by waiting for more.
                stream.set_nodelay(true)?;
                Accepted::Tcp(stream.into_std()?, peer)
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Accepted::Unix(stream.into_std()?)
            }
        };
        Ok((place, accepted))
    }
}

impl Accepted {
    /// Has the runtime of the calling task watch the socket, and shakes hands over TLS where the listener has it.
    ///
    /// # Errors
    /// How the connection ended when the client and we did not come together.
    async fn into_stream(self, tls: Option<Tls>) -> Result<Stream, SessionClose> {
        match self {
            Accepted::Tcp(stream, peer) => {
                let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
                let _ = digest.peer_addr.set(Some(peer.into()));
                let stream = tokio::net::TcpStream::from_std(stream).map_err(unwatched)?;
                match tls {
                    None => Ok(Box::new(Plain::new(stream, digest))),
                    Some(tls) => secure(tls, with_digest(L4Stream::from(stream), digest)).await,
                }
            }
            Accepted::Unix(stream) => {
                let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
                let stream = tokio::net::UnixStream::from_std(stream).map_err(unwatched)?;
                match tls {
                    None => Ok(Box::new(Plain::new(stream, digest))),
                    Some(tls) => secure(tls, with_digest(L4Stream::from(stream), digest)).await,
                }
            }
        }
    }
}

fn unwatched(error: io::Error) -> SessionClose {
    tracing::warn!(%error, "cannot serve a connection");
    SessionClose::WriteError
}

impl Socket {
    fn open(address: &ListenAddress, inherited: &mut Inherited) -> io::Result<Socket> {
        let taken = inherited.take(&address.to_string());
        match address {
            ListenAddress::Tcp(address) => {
                let listener = match taken {
                    Some(socket) => std::net::TcpListener::from(socket),
                    None => std::net::TcpListener::bind(address)?,
                };
                listener.set_nonblocking(true)?;
                Ok(Socket::Tcp(TcpListener::from_std(listener)?))
            }
            ListenAddress::Unix(path) => {
                let listener = match taken {
                    Some(socket) => std::os::unix::net::UnixListener::from(socket),
                    None => bind_unix(path)?,
                };
                listener.set_nonblocking(true)?;
                Ok(Socket::Unix(UnixListener::from_std(listener)?))
            }
        }
    }
}

/// Binds a Unix socket; one that a dead process left behind is removed first.
fn bind_unix(path: &PathBuf) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixListener;
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket =
                std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
            if !is_socket || UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        bound => bound,
    }
}

fn with_digest(mut stream: L4Stream, digest: SocketDigest) -> L4Stream {
    stream.set_socket_digest(digest);
    stream
}

async fn secure(tls: Tls, stream: L4Stream) -> Result<Stream, SessionClose> {
    match timeout(tls.handshake_timeout, tls.acceptor.tls_handshake(stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        // Scanners, and clients with other ideas of trust: nothing that an operator could mend.
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            Err(SessionClose::Junk)
        }
        Err(_) => {
            tracing::debug!("TLS handshake took too long");
            Err(SessionClose::Timeout)
        }
    }
}

/// What makes TLS of a listener's streams, with a certificate from `certificates` in each handshake.
pub(crate) fn acceptor(
    certificates: Arc<CertificateStore>,
    min_version: TlsVersion,
    protocols: Protocols,
) -> Acceptor {
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
    config.alpn_protocols = match protocols {
        Protocols::Http1AndHttp2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Protocols::Http1 => vec![b"http/1.1".to_vec()],
    };
    session::resume(&mut config);
    Acceptor::from_server_config(Arc::new(config))
}
