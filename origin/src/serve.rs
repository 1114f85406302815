//! The server: accepts connections, answers on them, and ends in order.
//!
//! HTTP/1.1 and 1.0. TLS, HTTP/2 and everything else that faces the world is the front
//! door's. Each connection is a task; a slow one costs itself.

mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::Settings;
use crate::http::{App, answer};
use crate::metrics::Metrics;
use crate::purge::Purger;
use crate::store::{Store, StoreError};

use stream::PatientStream;

/// Most fields in a request's head, and most bytes. A key of 1,024 characters may take
/// 12 KiB in a target.
const FIELDS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Pause after accept fails, which is mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How serving came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request that ran was answered.
    Completely,
    /// The time for it was over; some connections were cut.
    Cut,
}

/// Why the origin does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// PostgreSQL cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The origin, connected to PostgreSQL and ready to serve.
#[derive(Clone, Debug)]
pub struct Origin {
    app: Arc<App>,
}

impl Origin {
    /// Connects, migrates, and starts the work in the background.
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        let metrics = Arc::new(Metrics::new());
        let store = Store::open(&settings, &metrics).await?;
        let purger = Purger::start(&settings, &metrics);
        Ok(Self {
            app: Arc::new(App::new(store, purger, metrics, settings)),
        })
    }

    /// Serves until `shutdown` is ready, then lets running requests end and purges that wait be
    /// sent within `drain_timeout`.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let slots = Arc::new(Semaphore::new(self.app.settings.connections_max));
        let (stop, stopping) = watch::channel(false);
        // Each connection holds a sender; when all are gone, so are the connections.
        let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                accepted = accept(&listener, &slots) => accepted,
            };
            let (socket, slot) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (app, stopping, alive) = (self.app.clone(), stopping.clone(), alive.clone());
            tokio::spawn(async move {
                app.metrics.connections.inc();
                let connected = Connected(app);
                serve_connection(&connected.0, socket, stopping).await;
                drop((connected, slot, alive));
            });
        }
        drop(listener);
        drop(alive);
        stop.send_replace(true);
        let deadline = Instant::now() + self.app.settings.drain_timeout;
        let drained = match timeout_at(deadline, all_gone.recv()).await {
            Ok(_) => Drained::Completely,
            Err(_) => Drained::Cut,
        };
        // Else caches would keep what was changed by the last requests.
        if timeout_at(deadline, self.app.purger.sent()).await.is_err() {
            tracing::warn!("the time to end was over; purges were left");
        }
        drained
    }

    /// Serves `/metrics`, and nothing else, for as long as it is polled.
    pub async fn serve_metrics(&self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(64));
        loop {
            let Ok((socket, slot)) = accept(&listener, &slots).await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let app = self.app.clone();
            tokio::spawn(async move {
                let stream = PatientStream::new(socket, app.settings.client_timeout);
                let service = service_fn(|request: Request<Incoming>| {
                    let response = metrics_answer(&app, request.uri().path());
                    async move { Ok::<_, Infallible>(response) }
                });
                let served = connection_builder(&app.settings)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a metrics connection failed");
                }
                drop(slot);
            });
        }
    }
}

/// Opens the store and serves on `listener`, and metrics where the settings say, until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<Drained, ServeError> {
    let metrics_listener = match settings.metrics_listen {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|source| ServeError::Listen { address, source })?)
        }
        None => None,
    };
    let mut shutdown = std::pin::pin!(shutdown);
    // A migration that another program hangs in may keep this waiting for ever.
    let origin = tokio::select! {
        biased;
        () = &mut shutdown => return Ok(Drained::Completely),
        opened = Origin::open(settings) => opened?,
    };
    let metrics = metrics_listener.map(|listener| {
        let origin = origin.clone();
        tokio::spawn(async move { origin.serve_metrics(listener).await })
    });
    let drained = origin.serve(listener, shutdown).await;
    if let Some(metrics) = metrics {
        metrics.abort();
    }
    Ok(drained)
}

/// Counts the connection out, also when its task panics.
struct Connected(Arc<App>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let slot = slots
        .clone()
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (socket, _) = listener.accept().await?;
    socket.set_nodelay(true)?;
    Ok((socket, slot))
}

fn connection_builder(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.client_timeout)
        .max_headers(FIELDS_MAX)
        .max_header_size(HEAD_BYTES_MAX);
    // Not pipeline_flush: with it, an answer stays in the buffer while a refused body is unread.
    builder
}

async fn serve_connection(app: &Arc<App>, socket: TcpStream, mut stopping: watch::Receiver<bool>) {
    let stream = PatientStream::new(socket, app.settings.client_timeout);
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(app, request.map(Body::new)).await)
    });
    let connection =
        connection_builder(&app.settings).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection failed");
    }
}

/// Ready when the server is told to stop, or is gone.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The value that comes with it is a lock, which must not be kept.
    drop(stopping.wait_for(|stopping| *stopping).await);
}

fn metrics_answer(app: &App, path: &str) -> Response {
    let mut response = Response::new(Body::empty());
    if path == "/metrics" {
        *response.body_mut() = Body::from(app.metrics.render());
        let media_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, media_type);
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}
