//! The pool: which server gets a request, and what happens when it fails.

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::balance::{Candidates, Chooser};
use super::connect::{Connector, Origin, Want};
use super::counters::{CounterValues, Ledger};
use super::error::BackendError;
use super::exchange::{BackendRequest, Failed, Stage, exchange};
use super::lookup::keep_looking_up;
use super::probe::{Probe, keep_probing};
use super::resolve::Resolve;
use super::response::BackendResponse;
use super::server::{Lease, Server};
use super::settings::{Balance, PoolError, PoolSettings};
use super::upload::{Repeatable, RequestBody, Upload};
use crate::http::RequestHead;
use crate::http1::HeadLimits;

/// A named group of servers that answer the same requests.
///
/// Names are looked up and probes run only while [`BackendPool::run`] does.
pub struct BackendPool {
    settings: PoolSettings,
    servers: Vec<Arc<Server>>,
    chooser: Chooser,
    connector: Arc<Connector>,
    resolver: Arc<dyn Resolve>,
    limits: HeadLimits,
    ledger: Ledger,
}

/// One server as metrics show it.
#[derive(Clone, Copy, Debug)]
pub struct ServerStatus<'a> {
    pub name: &'a str,
    /// The verdict over the latest probes; always true without probes.
    pub is_up: bool,
    pub is_probed: bool,
    /// The last 64 probes: bit 0 is the latest, a set bit went well. Zero without probes.
    pub happy: u64,
    /// Connections in use; idle ones do not count.
    pub connections: usize,
    pub counters: CounterValues,
}

impl BackendPool {
    /// Nothing is connected or looked up yet; a name that does not resolve is no error.
    ///
    /// # Errors
    /// [`PoolError`] for settings that contradict themselves, and for trust files that cannot be read.
    pub fn new(
        settings: PoolSettings,
        resolver: Arc<dyn Resolve>,
    ) -> Result<BackendPool, PoolError> {
        BackendPool::build(settings, resolver, Ledger::default())
    }

    /// A pool to be used in place of this one, whose counters it takes over.
    ///
    /// # Errors
    /// As [`BackendPool::new`].
    pub fn successor(
        &self,
        settings: PoolSettings,
        resolver: Arc<dyn Resolve>,
    ) -> Result<BackendPool, PoolError> {
        BackendPool::build(settings, resolver, self.ledger.clone())
    }

    fn build(
        settings: PoolSettings,
        resolver: Arc<dyn Resolve>,
        ledger: Ledger,
    ) -> Result<BackendPool, PoolError> {
        settings.check()?;
        let servers = settings
            .servers
            .iter()
            .map(|server| {
                let counters = ledger.counters(&server.name);
                Ok(Arc::new(Server::new(server, &settings, counters)?))
            })
            .collect::<Result<Vec<_>, PoolError>>()?;
        let names = settings.servers.iter().map(|server| server.name.as_str());
        Ok(BackendPool {
            chooser: Chooser::new(settings.balance, names),
            connector: Arc::new(Connector::new(&settings)?),
            limits: HeadLimits {
                head_bytes_max: settings.head_bytes_max,
                fields_max: settings.fields_max,
                ..HeadLimits::default()
            },
            servers,
            settings,
            resolver,
            ledger,
        })
    }

    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Whether [`BackendRequest::key`] has a say in which server a request gets.
    pub fn chooses_by_key(&self) -> bool {
        self.servers.len() > 1 && self.settings.balance == Balance::ConsistentHash
    }

    /// At least one server is healthy.
    pub fn is_healthy(&self) -> bool {
        self.servers.iter().any(|server| server.health.is_up())
    }

    /// Every server in the order of the settings.
    pub fn servers(&self) -> impl ExactSizeIterator<Item = ServerStatus<'_>> {
        self.servers.iter().map(|server| ServerStatus {
            name: &server.name,
            is_up: server.health.is_up(),
            is_probed: server.health.is_probed(),
            happy: server.health.happy(),
            connections: server.connections(),
            counters: server.counters.read(),
        })
    }

    /// Sums over all servers, and over those of the pools before that are no longer here.
    pub fn totals(&self) -> CounterValues {
        self.ledger.totals()
    }

    /// Looks up names and probes servers until `shutdown` turns true. Dropping the future stops both.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for server in &self.servers {
            if let Some((host, port)) = &server.lookup {
                tasks.spawn(keep_looking_up(
                    Arc::clone(server),
                    Arc::clone(&self.resolver),
                    host.clone(),
                    *port,
                    self.settings.dns_interval,
                ));
            }
            if let Some(settings) = &self.settings.probe {
                let probe = Probe::new(settings, &server.host, self.limits);
                tasks.spawn(keep_probing(
                    probe,
                    Arc::clone(server),
                    Arc::clone(&self.connector),
                ));
            }
        }
        // A sender that is gone means that the process is going.
        let _ = shutdown.wait_for(|ending| *ending).await;
        tasks.shutdown().await;
    }

    /// Sends a request and reads the head of its final response. The body is sent meanwhile; what is left
    /// of it after an early success goes out while the response body is read.
    ///
    /// A request goes to another server when nothing of it was sent, or when it may be repeated
    /// (RFC 9110 §9.2.2) and its body can be; and to the same one when a kept connection turned out dead.
    ///
    /// # Errors
    /// [`BackendError`]; of several attempts the last one's.
    pub async fn send(
        &self,
        mut request: BackendRequest<'_>,
        body: RequestBody,
    ) -> Result<BackendResponse, BackendError> {
        let repeatable = match may_be_repeated(request.head) && request.upgrade.is_none() {
            true => Repeatable::Yes,
            false => Repeatable::No,
        };
        let mut repeated = false;
        let mut upload = Upload::new(body, &request.head.method, repeatable);
        let mut tried: SmallVec<[usize; 4]> = SmallVec::new();
        let mut last_error = None;
        loop {
            let (place, lease) = match self.choose(&request, &tried) {
                Ok(chosen) => chosen,
                // Why the first servers failed says more than that none is left.
                Err(error) => return Err(last_error.unwrap_or(error)),
            };
            if !tried.is_empty() {
                lease.server.counters.retried.add(1);
            }
            let (failed, returned) = match self.attempt(&mut request, upload, lease).await {
                Ok(mut response) => {
                    response.repeated |= repeated;
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            repeated |= failed.stage != Stage::Unsent;
            upload = returned;
            tried.push(place);
            let may_go_on = match failed.stage {
                Stage::Unsent => true,
                Stage::Unanswered | Stage::Silent => upload.can_repeat(),
                Stage::Final => false,
            };
            if !may_go_on || tried.len() > self.settings.retries_max as usize {
                return Err(failed.error);
            }
            last_error = Some(failed.error);
        }
    }

    /// One server; over a second connection when the first was kept from earlier and had died since.
    async fn attempt(
        &self,
        request: &mut BackendRequest<'_>,
        mut upload: Upload,
        mut lease: Lease,
    ) -> Result<BackendResponse, (Failed, Upload)> {
        let timeouts = request.timeouts.unwrap_or(self.settings.timeouts);
        let mut want = Want::Any;
        let mut repeated = false;
        loop {
            let server = Arc::clone(&lease.server);
            let opening = self.connector.connect(&server, want, timeouts.connect);
            let connection = match opening.await {
                Ok(connection) => connection,
                Err(error) => {
                    if let BackendError::Connect { failure, .. } = &error {
                        server.counters.connect_failed(*failure);
                    }
                    let stage = Stage::Unsent;
                    return Err((Failed { error, stage }, upload));
                }
            };
            let origin = connection.origin;
            match origin {
                Origin::Fresh => server.counters.connected.add(1),
                Origin::Kept => server.counters.reused.add(1),
            }
            let exchanged = exchange(
                connection,
                lease,
                &self.connector,
                &self.limits,
                timeouts,
                request,
                upload,
            );
            match exchanged.await {
                Ok(mut response) => {
                    response.repeated = repeated;
                    return Ok(response);
                }
                Err((failed, returned, returned_lease)) => {
                    let died = origin == Origin::Kept && failed.stage == Stage::Unanswered;
                    if !(died && returned.can_repeat()) {
                        return Err((failed, returned));
                    }
                    server.counters.retried.add(1);
                    upload = returned;
                    lease = returned_lease;
                    want = Want::Fresh;
                    repeated = true;
                }
            }
        }
    }

    fn choose(
        &self,
        request: &BackendRequest<'_>,
        tried: &[usize],
    ) -> Result<(usize, Lease), BackendError> {
        let mut candidates: Candidates = self
            .servers
            .iter()
            .enumerate()
            .filter(|(place, server)| server.health.is_up() && !tried.contains(place))
            .map(|(place, _)| place)
            .collect();
        let key = request.key.unwrap_or(request.head.target.as_bytes());
        let connections = |place: usize| self.servers[place].connections();
        if candidates.is_empty() {
            // One fetch is not attempted, so one server counts it: whose turn it would have been.
            let all: Candidates = (0..self.servers.len()).collect();
            if tried.is_empty()
                && let Some(place) = self.chooser.choose(&all, key, connections)
            {
                self.servers[place].counters.unhealthy.add(1);
            }
            return Err(BackendError::Unhealthy {
                pool: self.settings.name.clone(),
            });
        }
        while let Some(place) = self.chooser.choose(&candidates, key, connections) {
            match self.servers[place].lease() {
                Some(lease) => return Ok((place, lease)),
                None => {
                    self.servers[place].counters.busy.add(1);
                    candidates.retain(|candidate| *candidate != place);
                }
            }
        }
        Err(BackendError::Busy {
            pool: self.settings.name.clone(),
        })
    }
}

/// RFC 9110 §9.2.2: repeating changes nothing more, but for a write with a condition, which fails the second time
/// because of the first: 412 would tell a client that its write was not done.
fn may_be_repeated(head: &RequestHead) -> bool {
    let is_conditional = || {
        ["If-Match", "If-None-Match", "If-Unmodified-Since"]
            .iter()
            .any(|name| head.fields.contains(name))
    };
    head.method.is_safe() || (head.method.is_idempotent() && !is_conditional())
}

impl fmt::Debug for BackendPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendPool")
            .field("settings", &self.settings)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}
