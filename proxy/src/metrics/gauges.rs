//! What is read at scrape time because it is a state: asked from whoever owns it.

/// The store's and the runtime's state.
pub trait Gauges: Send + Sync {
    /// Called once per scrape, off the request path; may walk a few structures, and must not block.
    fn read(&self) -> GaugeReadings;
}

/// The values of [`Gauges`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GaugeReadings {
    /// Objects in the store, markers included.
    pub objects: u64,
    /// Cache keys that have at least one object (variants of one URL share a key).
    pub keys: u64,
    /// Bytes that stored objects hold: heads, bodies and their bookkeeping.
    pub objects_bytes: u64,
    /// Bytes that the index over them holds.
    pub index_bytes: u64,
    /// Bytes of bodies that are held only until they have been sent on: passes and too large objects.
    pub transit_bytes: u64,
    /// The bound on objects and index together, from the configuration.
    pub cache_bytes_max: u64,
    /// Threads that run requests and fetches.
    pub threads: u64,
}

/// The backends' counters.
pub trait BackendStats: Send + Sync {
    /// One sample per server of each backend; no two with the same names. Called once per scrape and
    /// per readiness check.
    fn backends(&self) -> Vec<BackendSample>;

    /// Sums over every server since the start, those included that a reload has taken out. Called once per
    /// scrape.
    fn totals(&self) -> BackendTotals;
}

/// What all servers of all backends have counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendTotals {
    /// Connections opened.
    pub connected: u64,
    /// Connections that failed to open.
    pub failures: u64,
    /// Connections put back for another request.
    pub recycled: u64,
    /// Connections used again.
    pub reused: u64,
    /// Requests sent.
    pub requests: u64,
    /// Requests sent again.
    pub retried: u64,
    /// Fetches not attempted because a server was sick.
    pub unhealthy: u64,
    /// Fetches not attempted because a server had its limit of connections in use.
    pub busy: u64,
}

/// Whether a server is to be used, as far as is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not probed, or not yet: used.
    #[default]
    Unknown,
    Healthy,
    /// Probes failed: not used.
    Sick,
}

/// One server of one backend: counters since the start and the present state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackendSample {
    /// The backend's configured name.
    pub backend: String,
    /// The server's address, `127.0.0.1:8081` or a socket's path.
    pub server: String,
    pub health: Health,
    /// The last 64 probes, newest in the lowest bit, 1 for a good one. `None` where nothing is probed.
    pub probes: Option<u64>,
    /// Connections in use now.
    pub connections: u64,
    /// Requests sent.
    pub requests: u64,
    /// Fetches not attempted because it was sick.
    pub unhealthy: u64,
    /// Fetches not attempted because it had its limit of connections in use.
    pub busy: u64,
    /// Connections that failed to open, for whatever reason; the next six say which.
    pub failures: u64,
    pub failures_eacces: u64,
    pub failures_eaddrnotavail: u64,
    pub failures_econnrefused: u64,
    pub failures_enetunreach: u64,
    pub failures_etimedout: u64,
    pub failures_other: u64,
    pub request_head_bytes: u64,
    pub request_body_bytes: u64,
    pub response_head_bytes: u64,
    pub response_body_bytes: u64,
    /// Bytes of request heads that opened a pipe.
    pub pipe_head_bytes: u64,
    /// Bytes piped from the backend.
    pub pipe_bytes_in: u64,
    /// Bytes piped to the backend.
    pub pipe_bytes_out: u64,
}
