//! The front door as a whole: built from settings, bound, run, reloaded, drained.
//!
//! Composition only. Order matters at both ends: everything that can be wrong is found before a port opens,
//! and listeners close before connections are asked to end.

use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use config::{Config, ListenAddress};
use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::access_log::{self, AccessLog, AccessLogError};
use crate::acl::Peer;
use crate::backend::{BackendPool, PoolError, SystemResolver};
use crate::bans::BanList;
use crate::downstream::{
    ConnectionInfo, DownstreamSettings, End, Exchange, Handler, Refusal, RefusedRequest, Served,
    Traffic, serve_connection, serve_http1,
};
use crate::explain::{self, BadQuestion, Form};
use crate::front::{Exchangeable, Front};
use crate::housekeeping;
use crate::http::Version;
use crate::http1::{Malformed, Refused};
use crate::listener::handover::Inherited;
use crate::listener::{ListenError, Listener, Protocols, TlsListening};
use crate::metrics::{Counter, Exporter, Metrics, Outcome, SessionClose};
use crate::object::Transit;
use crate::ops::{Explainer, OpsServer, OpsSettings, Phase, Readiness};
use crate::policy::builtin::Builtin;
use crate::request;
use crate::settings;
use crate::store::Store;
use crate::time::Timestamp;
use crate::tls::{CertificateErrors, CertificateFiles, CertificateStore};
use crate::workers::Workers;

/// How long threads get to drop what still runs when the drain deadline has passed.
const WORKERS_PATIENCE: Duration = Duration::from_secs(1);

/// Why the front door does not start, or does not take new settings.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("backend settings cannot be used")]
    Backend(#[from] PoolError),
    #[error("certificates cannot be used")]
    Certificates(#[from] CertificateErrors),
    #[error(transparent)]
    AccessLog(#[from] AccessLogError),
    #[error("cannot start threads")]
    Threads(#[source] std::io::Error),
    #[error("cannot serve metrics on {address}")]
    Metrics {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// A front door whose ports are open and which serves nobody yet.
pub struct Server {
    listeners: Vec<Listener>,
    ops: Option<OpsServer>,
    workers: Workers,
    control: Control,
    shutdown: watch::Sender<bool>,
    places: Arc<Semaphore>,
    places_max: u32,
}

/// What can be done to a running front door.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    front: Arc<Front>,
    certificates: Option<Arc<CertificateStore>>,
    downstream: arc_swap::ArcSwap<DownstreamSettings>,
    readiness: Arc<Readiness>,
    current: Mutex<Current>,
}

/// The settings in use and the pool they made.
struct Current {
    config: Config,
    pool_running: watch::Sender<bool>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("front", &self.0.front)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Builds everything and binds every port that the process before has not handed over.
    ///
    /// # Errors
    /// [`ServerError`]; then nothing runs and no port is open.
    pub async fn bind(config: Config, mut inherited: Inherited) -> Result<Server, ServerError> {
        let metrics = Arc::new(Metrics::new());
        let certificates = match config.tls.certificates.is_empty() {
            true => None,
            false => Some(Arc::new(CertificateStore::load(&certificate_files(
                &config,
            ))?)),
        };
        let store = Arc::new(Store::new(settings::store(&config), Arc::clone(&metrics)));
        let bans = Arc::new(BanList::new(config.purge.bans_max));
        let pool = pool(&config)?;
        let transit = Transit::new(0).with_bytes_max(config.cache.memory.bytes());
        let access_log = Arc::new(AccessLog::open(
            &settings::access_log(&config),
            Arc::clone(&metrics),
        )?);
        let front = Front::new(
            store,
            bans,
            metrics,
            exchangeable(&config, pool, access_log, &transit),
        );
        let ops = match config.metrics.enabled {
            true => Some(open_ops(config.metrics.address, &mut inherited).await?),
            false => None,
        };
        let tls = TlsListening {
            certificates: certificates.clone(),
            min_version: config.tls.min_version,
            handshake_timeout: config.timeouts.tls_handshake,
        };
        let listeners = config
            .listen
            .iter()
            .map(|listen| Listener::bind(listen, &tls, &mut inherited))
            .collect::<Result<Vec<_>, _>>()?;
        let workers = Workers::start(config.server.threads).map_err(ServerError::Threads)?;
        front.note_workers(workers.count());
        let places_max =
            u32::try_from(config.limits.connections_max.get()).unwrap_or(u32::MAX >> 3);
        let readiness = Arc::new(Readiness::new(Arc::clone(&front) as _));
        let control = Control(Arc::new(Inner {
            front,
            certificates,
            downstream: arc_swap::ArcSwap::new(settings::downstream(&config)),
            readiness,
            current: Mutex::new(Current {
                config,
                pool_running: watch::Sender::new(false),
            }),
        }));
        Ok(Server {
            listeners,
            ops,
            workers,
            control,
            shutdown: watch::Sender::new(false),
            places: Arc::new(Semaphore::new(places_max as usize)),
            places_max,
        })
    }

    /// Where it listens, the ports chosen; in the order of the settings.
    pub fn addresses(&self) -> impl Iterator<Item = &ListenAddress> {
        self.listeners.iter().map(Listener::address)
    }

    /// All sockets once more, by name, to hand to the next process.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn sockets(&self) -> std::io::Result<Vec<(String, OwnedFd)>> {
        let mut sockets = Vec::new();
        for listener in &self.listeners {
            sockets.push((listener.address().to_string(), listener.duplicate()?));
        }
        if let Some(ops) = &self.ops {
            sockets.push((metrics_socket(ops.local_addr()?), ops.duplicate()?));
        }
        Ok(sockets)
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().and_then(|ops| ops.local_addr().ok())
    }

    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `stop` resolves; then closes the listeners and gives what is under way until the drain
    /// deadline.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Server {
            listeners,
            ops,
            workers,
            control,
            shutdown,
            places,
            places_max,
        } = self;
        let inner = &control.0;
        let mut background = JoinSet::new();
        control.start_pool();
        let lurker_interval = inner.current.lock().config.purge.lurker_interval;
        background.spawn(housekeeping::run(
            Arc::clone(&inner.front),
            lurker_interval,
            shutdown.subscribe(),
        ));
        let (ops_stop, ops_stopped) = tokio::sync::oneshot::channel::<()>();
        if let Some(ops) = ops {
            let front = &inner.front;
            let exporter = Exporter::new(
                Arc::clone(&front.metrics),
                Arc::clone(&front.bans),
                Arc::clone(front) as _,
                Arc::clone(front) as _,
            );
            let readiness = Arc::clone(&inner.readiness);
            let stopped = ops_stopped.map(|_| ());
            let ops = ops.explaining(Arc::new(control.clone()));
            background
                .spawn(async move { ops.serve(Arc::new(exporter), readiness, stopped).await });
        }
        let workers = Arc::new(workers);
        let mut accepting = JoinSet::new();
        for listener in listeners {
            let control = control.clone();
            let signal = shutdown.subscribe();
            let serve =
                move |stream, protocols| serve(control.clone(), stream, protocols, signal.clone());
            let (places, metrics) = (Arc::clone(&places), Arc::clone(&inner.front.metrics));
            let workers = Arc::clone(&workers);
            accepting.spawn(listener.run(workers, places, metrics, shutdown.subscribe(), serve));
        }
        inner.readiness.set_phase(Phase::Accepting);
        stop.await;
        inner.readiness.set_phase(Phase::Draining);
        shutdown.send_replace(true);
        accepting.join_all().await;
        let patience = inner.current.lock().config.server.drain_timeout;
        // Every connection holds a place until it ends.
        if timeout(patience, places.acquire_many(places_max))
            .await
            .is_err()
        {
            let left = places_max as usize - places.available_permits();
            tracing::warn!(
                connections = left,
                "drain deadline passed, cutting connections"
            );
        }
        if let Some(workers) = Arc::into_inner(workers) {
            workers.stop(WORKERS_PATIENCE).await;
        }
        let _ = ops_stop.send(());
        inner.current.lock().pool_running.send_replace(true);
        inner.front.access_log().close(Duration::from_secs(1));
        let _ = timeout(Duration::from_secs(2), background.join_all()).await;
    }
}

impl Control {
    pub fn front(&self) -> &Arc<Front> {
        &self.0.front
    }

    /// Takes new settings for connections, requests and fetches that begin from now on, and reads
    /// certificates again. What only a restart can change is named in a warning and stays as it was.
    ///
    /// # Errors
    /// [`ServerError`]; then everything stays as it was.
    pub fn reload(&self, config: Config) -> Result<(), ServerError> {
        let inner = &self.0;
        let mut current = inner.current.lock();
        let before = inner.front.current();
        let same_backends = config.backend == current.config.backend
            && config.limits.backend_header_bytes_max
                == current.config.limits.backend_header_bytes_max;
        let pool = match same_backends {
            true => Arc::clone(&before.backends),
            // Counters go on: dashboards must not see them fall.
            false => Arc::new(
                before
                    .backends
                    .successor(settings::pool(&config), Arc::new(SystemResolver))?,
            ),
        };
        let access_log = match config.log == current.config.log {
            true => Arc::clone(&before.access_log),
            false => {
                let metrics = Arc::clone(&inner.front.metrics);
                Arc::new(AccessLog::open(&settings::access_log(&config), metrics)?)
            }
        };
        if let Some(certificates) = &inner.certificates
            && let Err(error) = certificates.replace(&certificate_files(&config))
        {
            inner
                .front
                .metrics
                .count(Counter::CertificateReloadFailures);
            return Err(error.into());
        }
        for (setting, changed) in [
            ("listen", config.listen != current.config.listen),
            ("metrics", config.metrics != current.config.metrics),
            (
                "cache.memory",
                config.cache.memory != current.config.cache.memory,
            ),
            (
                "cache.variants_max",
                config.cache.variants_max != current.config.cache.variants_max,
            ),
            (
                "purge.bans_max",
                config.purge.bans_max != current.config.purge.bans_max,
            ),
            (
                "purge.lurker_interval",
                config.purge.lurker_interval != current.config.purge.lurker_interval,
            ),
            (
                "limits.connections_max",
                config.limits.connections_max != current.config.limits.connections_max,
            ),
            ("server", config.server != current.config.server),
            (
                "tls.min_version",
                config.tls.min_version != current.config.tls.min_version,
            ),
            (
                "tls.certificates",
                inner.certificates.is_none() && !config.tls.certificates.is_empty(),
            ),
            (
                "timeouts.tls_handshake",
                config.timeouts.tls_handshake != current.config.timeouts.tls_handshake,
            ),
        ] {
            if changed {
                tracing::warn!(setting, "changed, and takes effect only after a restart");
            }
        }
        access_log.reopen();
        let transit = before.settings.transit.clone();
        let new_pool = !Arc::ptr_eq(&pool, &before.backends);
        inner
            .front
            .exchange(exchangeable(&config, pool, access_log, &transit));
        inner.downstream.store(settings::downstream(&config));
        current.config = config;
        drop(current);
        if new_pool {
            self.start_pool();
        }
        Ok(())
    }

    /// Runs the look-ups and probes of the pool in use, in place of those of the pool before.
    fn start_pool(&self) {
        let (running, stop) = watch::channel(false);
        let before = std::mem::replace(&mut self.0.current.lock().pool_running, running);
        before.send_replace(true);
        let pool = self.0.front.backends();
        tokio::spawn(async move { pool.run(stop).await });
    }
}

impl Explainer for Control {
    fn explain(&self, head: &[u8], form: Form) -> Result<String, BadQuestion> {
        let limits = self.0.downstream.load().head;
        explain::answer(&self.0.front, &limits, head, form)
    }
}

/// Binds the operator's port, or takes it from the process before.
async fn open_ops(
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Result<OpsServer, ServerError> {
    let settings = OpsSettings::new(address);
    let opened = match inherited.take(&metrics_socket(address)) {
        Some(socket) => OpsServer::from_listener(socket.into(), settings),
        None => OpsServer::bind(settings).await,
    };
    opened.map_err(|source| ServerError::Metrics { address, source })
}

/// The name of the operator's port in a hand-over.
fn metrics_socket(address: SocketAddr) -> String {
    format!("metrics={address}")
}

fn pool(config: &Config) -> Result<Arc<BackendPool>, PoolError> {
    Ok(Arc::new(BackendPool::new(
        settings::pool(config),
        Arc::new(SystemResolver),
    )?))
}

fn exchangeable(
    config: &Config,
    backends: Arc<BackendPool>,
    access_log: Arc<AccessLog>,
    transit: &Transit,
) -> Exchangeable {
    Exchangeable {
        settings: Arc::new(settings::front(config, transit)),
        policy: Arc::new(Builtin::new(settings::cache(config))),
        backends,
        access_log,
    }
}

fn certificate_files(config: &Config) -> Vec<CertificateFiles> {
    let pairs = config.tls.certificates.iter();
    pairs
        .map(|pair| CertificateFiles::new(&pair.certificate, &pair.key))
        .collect()
}

/// One client's connection, from its first byte to its last.
async fn serve(
    control: Control,
    stream: Stream,
    protocols: Protocols,
    shutdown: watch::Receiver<bool>,
) {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let info = ConnectionInfo::of(
        &stream,
        NEXT_ID.fetch_add(1, Ordering::Relaxed),
        Timestamp::now(),
    );
    let settings = control.0.downstream.load_full();
    let metrics = Arc::clone(&control.0.front.metrics);
    let handler = Arc::new(FrontDoor(Arc::clone(&control.0.front)));
    let serving = async {
        match (protocols, &info.tls) {
            (Protocols::Http1, None) => {
                let input = bytes::BytesMut::new();
                serve_http1(stream, input, info, settings, handler, shutdown).await
            }
            // With TLS, ALPN has chosen among what the listener offers.
            _ => serve_connection(stream, info, settings, handler, shutdown).await,
        }
    };
    // A connection that panicked is closed too, and has to be counted so.
    let end = AssertUnwindSafe(serving).catch_unwind().await;
    let end = end.unwrap_or_else(|_| {
        metrics.count(Counter::Panics);
        tracing::error!("a connection ended in a panic");
        End::Panicked
    });
    metrics.session_closed(session_close(end));
}

/// Varnish's word for the end of a connection.
fn session_close(end: End) -> SessionClose {
    match end {
        End::ByClient => SessionClose::Remote,
        End::ByRequest => SessionClose::Request,
        End::Http10 => SessionClose::Http10,
        End::ByReply => SessionClose::Response,
        End::Refused(Refusal::HeadTimeout) => SessionClose::Timeout,
        End::Refused(Refusal::Head(refused)) => match refused {
            Refused::RequestLine => SessionClose::Junk,
            Refused::TargetTooLong(_)
            | Refused::Malformed(Malformed::HeadTooLarge(_) | Malformed::TooManyFields(_)) => {
                SessionClose::Overflow
            }
            _ => SessionClose::BadRequest,
        },
        End::Http2Violated => SessionClose::Junk,
        End::RequestBody => SessionClose::RequestBody,
        End::Idle => SessionClose::Idle,
        End::EndOfBody => SessionClose::EndOfBody,
        End::ReplyFailed | End::Panicked => SessionClose::WriteError,
        End::Upgraded => SessionClose::Pipe,
    }
}

impl FrontDoor {
    /// A request that never became one has nothing to tell but who sent it and what is wrong with it.
    fn log_refused(
        &self,
        info: &ConnectionInfo,
        status: u16,
        why: &str,
        traffic: Traffic,
        duration: Duration,
    ) {
        let log = self.0.access_log();
        if !log.is_on() {
            return;
        }
        log.record(&access_log::Record {
            time: Timestamp::now(),
            client: Peer::of(&info.client).unwrap_or(Peer::Unix),
            method: "",
            target: "",
            host: "",
            version: Version::Http11,
            status,
            body_bytes: traffic.response_body,
            duration,
            outcome: Outcome::Refused,
            cache_detail: why,
            backend: "",
            referer: b"",
            user_agent: b"",
            xid: 0,
        });
    }
}

/// Answers requests with the front door's machines.
struct FrontDoor(Arc<Front>);

impl Handler for FrontDoor {
    async fn handle(&self, exchange: Exchange) -> Served {
        request::serve(&self.0, exchange).await
    }

    fn refused(&self, info: &ConnectionInfo, request: RefusedRequest) {
        let RefusedRequest {
            refusal,
            traffic,
            duration,
        } = request;
        let metrics = &self.0.metrics;
        metrics.observe(Outcome::Refused, duration);
        self.0.count_traffic(traffic);
        let status = refusal.status();
        match status {
            400 => metrics.count(Counter::ClientRequestsBad),
            // It was understood, and Varnish counts it so.
            417 => {
                metrics.count(Counter::ClientRequests);
                metrics.count(Counter::ClientRequestsExpectation);
            }
            431 => metrics.count(Counter::HeadersOverflowed),
            _ => {}
        }
        tracing::debug!(client = %info.client, status, %refusal, "request refused");
        self.log_refused(info, status, &refusal.to_string(), traffic, duration);
    }

    fn skipped(&self, bytes: u64) {
        self.0.metrics.add(Counter::RequestBodyBytes, bytes);
    }

    fn panicked(&self, info: &ConnectionInfo) {
        self.0.metrics.count(Counter::Panics);
        tracing::error!(client = %info.client, "a request ended in a panic");
    }
}
