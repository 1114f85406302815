//! Opening connections, or taking idle ones: pingora's connector, and its errors made ours.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::upstreams::peer::Peer;
use pingora_core::{BError, Error, ErrorType};

use super::endpoint::Endpoint;
use super::error::{BackendError, ConnectFailure};
use super::idle::IdleConnections;
use super::server::Server;
use super::settings::{PoolError, PoolSettings};
use super::trust::trust_file;
use super::wire::Timer;

/// The connections of one pool.
pub(super) struct Connector {
    transport: TransportConnector,
    idle: Arc<IdleConnections>,
    idle_timeout: Duration,
    idle_connections_max: usize,
}

/// An open connection that nobody else uses.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) timer: Timer,
    pub(super) endpoint: Endpoint,
    pub(super) origin: Origin,
}

/// Where a connection comes from. Over a kept one a request may fail through no fault of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Fresh,
    Kept,
}

/// Which connections will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Any,
    Fresh,
}

impl Connector {
    pub(super) fn new(settings: &PoolSettings) -> Result<Connector, PoolError> {
        let speaks_tls = settings.servers.iter().any(|server| server.tls.is_some());
        // Its own pool stays empty.
        let mut options = ConnectorOptions::new(1);
        // Reading the system's store takes longer than all the rest; who needs none is given an empty one.
        options.ca_file = Some(match (speaks_tls, &settings.ca_file) {
            (false, None) => "/dev/null".to_owned(),
            (_, asked) => {
                let path = trust_file(asked.as_deref())?;
                match path.to_str() {
                    Some(path) => path.to_owned(),
                    None => {
                        return Err(PoolError::TrustFile {
                            path,
                            reason: "its path is not UTF-8".to_owned(),
                        });
                    }
                }
            }
        });
        Ok(Connector {
            transport: TransportConnector::new(Some(options)),
            idle: IdleConnections::new(settings.idle_connections_max),
            idle_timeout: settings.idle_timeout,
            idle_connections_max: settings.idle_connections_max,
        })
    }

    /// A connection to `server`, at one of its addresses, within `timeout`.
    ///
    /// # Errors
    /// [`BackendError::Connect`] with the failure of the last address tried.
    pub(super) async fn connect(
        &self,
        server: &Server,
        want: Want,
        timeout: Duration,
    ) -> Result<Connection, BackendError> {
        let started = Instant::now();
        let mut failed = (ConnectFailure::Unresolved, None);
        let endpoints = server.endpoints(timeout).await;
        let count = endpoints.len();
        for (tried, endpoint) in endpoints.into_iter().enumerate() {
            if want == Want::Any
                && let Some((stream, timer)) = self.idle.take(endpoint.reuse_hash(), started)
            {
                return Ok(Connection {
                    stream,
                    timer,
                    endpoint,
                    origin: Origin::Kept,
                });
            }
            // An address that swallows packets must leave time for the others.
            let left = timeout.saturating_sub(started.elapsed());
            let share = left / u32::try_from(count - tried).unwrap_or(u32::MAX);
            // Boxed: it takes 8 KiB, which every fetch would carry, and few open a connection.
            let opening = Box::pin(self.transport.new_stream(&endpoint));
            match tokio::time::timeout(share, opening).await {
                Ok(Ok(stream)) => {
                    endpoint.release();
                    return Ok(Connection {
                        stream,
                        timer: Timer::default(),
                        endpoint,
                        origin: Origin::Fresh,
                    });
                }
                Ok(Err(error)) => {
                    endpoint.hold_down();
                    failed = classify(error);
                }
                Err(_) => {
                    endpoint.hold_down();
                    failed = (ConnectFailure::TimedOut, None);
                }
            }
        }
        let (failure, source) = failed;
        Err(BackendError::Connect {
            server: server.name.to_string(),
            failure,
            source,
        })
    }

    /// Keeps a connection over which an exchange ended cleanly, if there is room.
    /// No longer than `idle_max`, where the server set a limit.
    pub(super) fn keep(
        &self,
        stream: Stream,
        timer: Timer,
        endpoint: &Endpoint,
        idle_max: Option<Duration>,
    ) {
        if self.keeps() {
            let idle_timeout = idle_max.map_or(self.idle_timeout, |max| max.min(self.idle_timeout));
            self.idle
                .put(endpoint.reuse_hash(), stream, timer, idle_timeout);
        }
    }

    /// Whether connections are used more than once at all.
    pub(super) fn keeps(&self) -> bool {
        self.idle_connections_max > 0
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("idle_timeout", &self.idle_timeout)
            .field("idle_connections_max", &self.idle_connections_max)
            .finish_non_exhaustive()
    }
}

/// pingora's error as a class, with the kernel's reason where there is one.
fn classify(error: BError) -> (ConnectFailure, Option<io::Error>) {
    let by_type = match error.etype() {
        ErrorType::ConnectRefused => ConnectFailure::Refused,
        ErrorType::ConnectTimedout => ConnectFailure::TimedOut,
        ErrorType::ConnectNoRoute => ConnectFailure::Unreachable,
        ErrorType::BindError => ConnectFailure::AddressNotAvailable,
        ErrorType::TLSHandshakeFailure
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError => ConnectFailure::Tls,
        _ => ConnectFailure::Other,
    };
    match io_cause(&error) {
        Some(cause) => {
            let by_cause = match cause.kind() {
                io::ErrorKind::PermissionDenied => ConnectFailure::Denied,
                io::ErrorKind::AddrNotAvailable => ConnectFailure::AddressNotAvailable,
                io::ErrorKind::ConnectionRefused => ConnectFailure::Refused,
                io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                    ConnectFailure::Unreachable
                }
                io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
                _ => by_type,
            };
            (by_cause, Some(copy(cause)))
        }
        None => (by_type, Some(io::Error::other(error.to_string()))),
    }
}

/// The `io::Error` at the bottom of pingora's chain, which it keeps partly in `cause`, partly in `source`.
fn io_cause(error: &Error) -> Option<&io::Error> {
    let mut cause: &(dyn std::error::Error + 'static) = error.root_cause();
    loop {
        match cause.downcast_ref::<io::Error>() {
            Some(found) => return Some(found),
            None => cause = cause.source()?,
        }
    }
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
