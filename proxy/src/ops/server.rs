//! A small HTTP/1 server for four paths.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Explainer, Readiness, explainer};
use crate::metrics::Exporter;

/// Largest request head read, in bytes: scrapers send a few hundred.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// After a failed `accept` (no file descriptors, mostly) trying at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where and how the operator's port is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsSettings {
    /// The one address to listen on.
    pub listen: SocketAddr,
    /// Connections served at once; more wait to be accepted.
    pub connections_max: usize,
    /// How long a request's head may take to arrive; also how long a connection may idle.
    pub head_timeout: Duration,
    /// How long one connection may live in all: what bounds clients that read slowly.
    pub connection_timeout: Duration,
}

impl OpsSettings {
    /// The usual bounds for `listen`.
    pub fn new(listen: SocketAddr) -> OpsSettings {
        OpsSettings {
            listen,
            connections_max: 32,
            head_timeout: Duration::from_secs(15),
            connection_timeout: Duration::from_secs(300),
        }
    }
}

/// The operator's port, open and not yet served.
#[derive(Debug)]
pub struct OpsServer {
    listener: TcpListener,
    settings: OpsSettings,
    explainer: Option<Arc<dyn Explainer>>,
}

/// What the paths read.
#[derive(Clone, Debug)]
struct Sources {
    exporter: Arc<Exporter>,
    readiness: Arc<Readiness>,
    explainer: Option<Arc<dyn Explainer>>,
}

impl OpsServer {
    /// Opens the port. Runs inside a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(settings: OpsSettings) -> io::Result<OpsServer> {
        let listener = TcpListener::bind(settings.listen).await?;
        Ok(OpsServer {
            listener,
            settings,
            explainer: None,
        })
    }

    /// Serves on a port that is already open: one handed over by the process that this one replaces.
    ///
    /// # Errors
    /// When the listener cannot be used asynchronously.
    pub fn from_listener(
        listener: std::net::TcpListener,
        settings: OpsSettings,
    ) -> io::Result<OpsServer> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        Ok(OpsServer {
            listener,
            settings,
            explainer: None,
        })
    }

    /// Serves `/explain` too.
    #[must_use]
    pub fn explaining(mut self, explainer: Arc<dyn Explainer>) -> OpsServer {
        self.explainer = Some(explainer);
        self
    }

    /// The address in use, with the port the kernel chose where 0 was asked for.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// A second handle of the socket, for the process that replaces this one.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Serves until `shutdown` resolves; then closes the port, lets answers under way finish for at most
    /// a second, and returns. Dropping the future ends all at once.
    pub async fn serve(
        self,
        exporter: Arc<Exporter>,
        readiness: Arc<Readiness>,
        shutdown: impl Future<Output = ()>,
    ) {
        let OpsServer {
            listener,
            settings,
            explainer,
        } = self;
        let sources = Sources {
            exporter,
            readiness,
            explainer,
        };
        let free = Arc::new(Semaphore::new(settings.connections_max.max(1)));
        let (closing, _) = tokio::sync::watch::channel(());
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = async {
                let slot = Arc::clone(&free).acquire_owned().await;
                let slot = slot.expect("the semaphore is never closed");
                (slot, listener.accept().await)
            };
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                (slot, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let closed = closing.subscribe();
                        let connection = connection(stream, sources.clone(), settings.clone(), closed);
                        connections.spawn(async move {
                            connection.await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "operator's port cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        drop(closing);
        let finished = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(1), finished).await;
    }
}

/// Serves one connection until it ends, its time is over, or `closed` has lost its sender.
async fn connection(
    stream: TcpStream,
    sources: Sources,
    settings: OpsSettings,
    mut closed: tokio::sync::watch::Receiver<()>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let sources = sources.clone();
        async move {
            let response = match (request.uri().path(), request.method()) {
                ("/explain", &Method::POST) => {
                    explainer::respond(sources.explainer.as_ref(), request).await
                }
                _ => respond(&request, &sources),
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            result = connection.as_mut() => result,
            _ = closed.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match tokio::time::timeout(settings.connection_timeout, served).await {
        Ok(Ok(())) | Err(_) => {}
        // Clients that break off are no concern of the operator's.
        Ok(Err(error)) => tracing::debug!(%error, "connection to the operator's port failed"),
    }
}

fn respond<B>(request: &Request<B>, sources: &Sources) -> Response<Full<Bytes>> {
    let page = match request.uri().path() {
        "/metrics" => Page::Metrics,
        "/healthz" => Page::Health,
        "/readyz" => Page::Ready,
        "/explain" => return not_allowed("only POST: lacquer explain URL asks", "POST"),
        _ => {
            return text(
                StatusCode::NOT_FOUND,
                "no such page: /metrics, /healthz, /readyz, /explain",
            );
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return not_allowed("only GET and HEAD", "GET, HEAD");
    }
    match page {
        Page::Metrics => answer(
            StatusCode::OK,
            Exporter::CONTENT_TYPE,
            sources.exporter.render(),
        ),
        Page::Health => text(StatusCode::OK, "alive"),
        Page::Ready => match sources.readiness.not_ready() {
            None => text(StatusCode::OK, "ready"),
            Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
        },
    }
}

enum Page {
    Metrics,
    Health,
    Ready,
}

fn not_allowed(line: &str, allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, line);
    let allow = header::HeaderValue::from_static(allow);
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

pub(super) fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// hyper leaves the body out where the request was HEAD.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: String,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let content_type = header::HeaderValue::from_static(content_type);
    headers.insert(header::CONTENT_TYPE, content_type);
    let no_store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}
