//! The front door's shared state: what every request and every fetch has at hand.
//!
//! Nothing here decides or waits. Settings, policy and backends can be exchanged while requests run
//! (a reload); the store, bans and counters live as long as the process.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};

use crate::access_log::AccessLog;
use crate::backend::{BackendPool, ServerStatus};
use crate::bans::{Ban, BanList, BanSubject, BanSyntaxError, InvalidTag, RequestSubject, Verdict};
use crate::downstream::Traffic;
use crate::explain::Recent;
use crate::fetch::{Driven, FetchTask};
use crate::http::{Fields, Method, Reason, RequestHead, ResponseHead, Scheme};
use crate::metrics::{
    BackendSample, BackendStats, BackendTotals, Counter, GaugeReadings, Gauges, Health, Metrics,
};
use crate::object::{Object, Transit};
use crate::policy::{Policy, Synth};
use crate::rules::key::{PrimaryKey, primary_key};
use crate::rules::storability::NotStored;
use crate::store::{ENTRY_OVERHEAD, Removal, Store};
use crate::time::Timestamp;

/// What the machines themselves need to know; policies have their own settings.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// Larger answers stream through and are not kept.
    pub object_bytes_max: u64,
    /// The window of bodies that are not kept, and the account of what they hold.
    pub transit: Transit,
    /// How long requests fetch side by side after an answer turned out too large to keep.
    pub hit_for_miss: Duration,
    /// Most ranges answered in one response.
    pub ranges_max: usize,
    /// How long an upgraded connection may be quiet.
    pub pipe_idle: Duration,
    /// Most fetches at once. They outlive the requests that cause them, so no limit on clients bounds them.
    pub fetches_max: usize,
}

/// What may be exchanged by a reload, all at once.
#[derive(Debug)]
pub struct Exchangeable {
    pub settings: Arc<FrontSettings>,
    pub policy: Arc<dyn Policy>,
    pub backends: Arc<BackendPool>,
    pub access_log: Arc<AccessLog>,
}

#[derive(Debug)]
pub struct Front {
    pub store: Arc<Store>,
    pub bans: Arc<BanList>,
    pub metrics: Arc<Metrics>,
    /// Why answers were not stored, for `lacquer explain`.
    pub recent: Recent,
    current: ArcSwap<Exchangeable>,
    /// Some answer varies on X-Forwarded-For or its kin, or a ban asks for them: few services do, and the others'
    /// hits need not format them.
    chooses_by_forwarded: AtomicBool,
    /// Another process serves new clients, and may have taken writes that this one's store knows nothing of.
    has_successor: AtomicBool,
    fetches: Arc<AtomicUsize>,
    /// Threads that serve clients.
    workers: AtomicUsize,
}

/// The number of a new transaction: no two of the process have the same. Each thread takes a thousand at a time, so that
/// cores need not ask each other for each.
pub fn next_xid() -> u64 {
    const BLOCK: u64 = 1000;
    static NEXT_BLOCK: AtomicU64 = AtomicU64::new(1);
    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let next = match NEXT.get() {
        used_up if used_up % BLOCK == 0 => NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed),
        next => next,
    };
    NEXT.set(next + 1);
    next
}

/// A fetch among those under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    fetches: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl UnderWay {
    pub(crate) fn among(fetches: &Arc<AtomicUsize>, metrics: &Arc<Metrics>) -> UnderWay {
        UnderWay {
            fetches: Arc::clone(fetches),
            metrics: Arc::clone(metrics),
        }
    }

    /// It has panicked, which dropped its body and its flight, and told those who wait.
    pub(crate) fn panicked(&self) {
        self.metrics.count(Counter::Panics);
        tracing::error!("a fetch ended in a panic");
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.fetches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Front {
    pub fn new(
        store: Arc<Store>,
        bans: Arc<BanList>,
        metrics: Arc<Metrics>,
        current: Exchangeable,
    ) -> Arc<Front> {
        Arc::new(Front {
            store,
            bans,
            metrics,
            recent: Recent::default(),
            current: ArcSwap::from_pointee(current),
            chooses_by_forwarded: AtomicBool::new(false),
            has_successor: AtomicBool::new(false),
            fetches: Arc::default(),
            workers: AtomicUsize::new(0),
        })
    }

    /// Takes note of how many threads serve clients.
    pub fn note_workers(&self, count: usize) {
        self.workers.store(count, Ordering::Relaxed);
    }

    /// Takes new settings for requests and fetches that begin from now on.
    pub fn exchange(&self, new: Exchangeable) {
        self.current.store(Arc::new(new));
    }

    /// What is in force now, without a count that all cores would share. A thread has few of these at a time, so it is not
    /// kept while something waits.
    pub fn current(&self) -> Guard<Arc<Exchangeable>> {
        self.current.load()
    }

    /// The same for whoever waits, or outlives the next reload.
    pub fn current_full(&self) -> Arc<Exchangeable> {
        self.current.load_full()
    }

    pub fn policy(&self) -> Arc<dyn Policy> {
        Arc::clone(&self.current.load().policy)
    }

    pub fn settings(&self) -> Arc<FrontSettings> {
        Arc::clone(&self.current.load().settings)
    }

    pub fn backends(&self) -> Arc<BackendPool> {
        Arc::clone(&self.current.load().backends)
    }

    pub fn access_log(&self) -> Arc<AccessLog> {
        Arc::clone(&self.current.load().access_log)
    }

    /// From here on nothing stored is delivered: another process has taken the listeners over.
    pub fn hand_over(&self) {
        self.has_successor.store(true, Ordering::Relaxed);
    }

    pub fn has_successor(&self) -> bool {
        self.has_successor.load(Ordering::Relaxed)
    }

    /// Whether stored answers may be chosen by the fields that tell of the client.
    pub fn chooses_by_forwarded(&self) -> bool {
        self.chooses_by_forwarded.load(Ordering::Relaxed)
    }

    /// Takes note of a name that answers vary on, or that stands in a ban.
    pub fn note_choice_by(&self, text: &str) {
        const BEGIN: &[u8] = b"x-forwarded-";
        let mut places = text.as_bytes().windows(BEGIN.len());
        if places.any(|place| place.eq_ignore_ascii_case(BEGIN)) {
            self.chooses_by_forwarded.store(true, Ordering::Relaxed);
        }
    }

    /// What the store holds for a request, unless a ban or a surrogate-key purge has hit it since.
    pub fn look_up(
        &self,
        key: &[u8],
        request: &RequestHead,
        now: Timestamp,
    ) -> Option<Arc<Object>> {
        let object = self.find(key, &request.fields)?;
        // RFC 9110 §14.2: Range is for GET alone.
        if object.part().is_some() && request.method != Method::Get {
            return None;
        }
        if self.passes_bans(&object, request, now) {
            return Some(object);
        }
        // What else is stored for this URL is tested when a request selects it.
        self.store.remove(key, &object);
        None
    }

    /// The variant of this request; failing that, for If-Match, the one of requests without it: it may be the
    /// very state that is asked for.
    fn find(&self, key: &[u8], fields: &Fields) -> Option<Arc<Object>> {
        self.store.get(key, fields).or_else(|| {
            fields.contains("If-Match").then(|| {
                let mut without = fields.clone();
                without.remove("If-Match");
                self.store.get(key, &without)
            })?
        })
    }

    /// Tests an object against the bans that came since it was last tested.
    pub fn passes_bans(&self, object: &Object, request: &RequestHead, now: Timestamp) -> bool {
        if object.ban_mark() == self.bans.newest() {
            return true;
        }
        match self.bans.test(
            object.ban_mark(),
            &BanObject(object),
            Some(&BanRequest(request)),
            now,
        ) {
            Verdict::Clear(mark) => {
                object.set_ban_mark(mark);
                true
            }
            Verdict::Banned => false,
        }
    }

    /// Ends what is stored for a URL after a write. The same path is served over http and https from one
    /// backend, so both keys go; they are given back.
    pub fn invalidate_url(&self, authority: &str, target: &str) -> [PrimaryKey; 2] {
        [Scheme::Http, Scheme::Https].map(|scheme| {
            let key = primary_key(scheme, authority, target);
            self.store.invalidate(key.as_bytes(), Removal::Hard);
            key
        })
    }

    /// An answer of our own, made by the policy.
    pub fn synthetic(
        &self,
        policy: &dyn Policy,
        synth: &Synth,
        xid: u64,
        request: &RequestHead,
    ) -> Object {
        let mut head = ResponseHead::new(synth.status);
        if !synth.reason.is_empty() {
            head.reason = Reason::of(synth.status, &synth.reason);
        }
        let mut body = Vec::new();
        policy.synth(synth, request, xid, &mut head, &mut body);
        Object::synthetic(head, body, Timestamp::now(), xid)
    }

    /// Invalidates every object with this surrogate key.
    pub fn purge_tag(&self, tag: &str) -> Result<(), InvalidTag> {
        self.bans.add(Ban::tag(tag)?, Timestamp::now());
        self.metrics.count(Counter::InvalidationsSurrogateKey);
        Ok(())
    }

    /// Ends the freshness of every object with one of these surrogate keys. Gives their number. Looks at all of them: not
    /// for a thread that serves others meanwhile.
    pub fn expire_tags(&self, tags: &[Box<str>], now: Timestamp) -> usize {
        let purges = tags.len() as u64;
        self.metrics.add(Counter::InvalidationsSurrogateKey, purges);
        // What is being fetched has its tags yet to come, and may be older than the purge.
        self.store.fence_all();
        let mut expired = 0;
        self.store.for_each(|_, object| {
            if object.tags().iter().any(|own| tags.contains(own)) {
                object.expire(now);
                expired += 1;
            }
        });
        expired
    }

    /// Invalidates every object that a ban expression matches.
    pub fn ban(&self, expression: &str) -> Result<(), BanSyntaxError> {
        let ban = Ban::parse(expression)?;
        self.note_choice_by(expression);
        self.bans.add(ban, Timestamp::now());
        self.metrics.count(Counter::InvalidationsBan);
        Ok(())
    }

    /// Counts what a client and we have sent each other.
    pub fn count_traffic(&self, traffic: Traffic) {
        let metrics = &self.metrics;
        metrics.add(Counter::RequestHeadBytes, traffic.request_head);
        metrics.add(Counter::RequestBodyBytes, traffic.request_body);
        metrics.add(Counter::ResponseHeadBytes, traffic.response_head);
        metrics.add(Counter::ResponseBodyBytes, traffic.response_body);
    }

    /// Counts an answer that could have been stored and was not.
    pub fn count_not_stored(&self, because: NotStored) {
        self.metrics.count(Counter::UncacheableResponses);
        self.metrics.count(match because {
            NotStored::NoStore | NotStored::RequestNoStore | NotStored::NotUnderstood => {
                Counter::NotStoredNoStore
            }
            NotStored::Private => Counter::NotStoredPrivate,
            NotStored::Authorization => Counter::NotStoredAuthorization,
            NotStored::VaryStar => Counter::NotStoredVaryStar,
            NotStored::SetCookie => Counter::NotStoredSetCookie,
            NotStored::Status | NotStored::Condition | NotStored::RequestFault => {
                Counter::NotStoredStatus
            }
            NotStored::NoFreshness | NotStored::NoValidator => Counter::NotStoredNoFreshness,
            NotStored::Partial => Counter::NotStoredPartial,
            NotStored::TooLarge => Counter::NotStoredTooLarge,
            NotStored::Method | NotStored::RequestContent => Counter::NotStoredPolicy,
        });
    }

    /// Starts a fetch in a task of its own.
    pub fn spawn(self: &Arc<Front>, fetch: FetchTask) {
        self.begin(fetch).let_go();
    }

    /// Starts a fetch, to be driven by whoever waits for it. While as many as may be are under way, it fails at once, as
    /// it does when the backends are busy.
    pub fn begin(self: &Arc<Front>, fetch: FetchTask) -> Driven {
        let before = self.fetches.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay::among(&self.fetches, &self.metrics);
        let fetch = Box::new(fetch);
        if before >= fetch.current.settings.fetches_max {
            fetch.refuse();
            return Driven::over();
        }
        Driven::new(fetch.run(), under_way)
    }
}

impl Gauges for Front {
    fn read(&self) -> GaugeReadings {
        // moka's numbers lag behind what is stored until its pending work is done.
        self.store.run_pending_tasks();
        let keys = self.store.len();
        let index_bytes = keys * ENTRY_OVERHEAD;
        GaugeReadings {
            objects: self.store.objects(),
            keys,
            objects_bytes: self.store.weight_bytes().saturating_sub(index_bytes),
            index_bytes,
            transit_bytes: self.settings().transit.held_bytes(),
            cache_bytes_max: self.store.memory_bytes(),
            threads: self.workers.load(Ordering::Relaxed) as u64,
        }
    }
}

impl BackendStats for Front {
    fn backends(&self) -> Vec<BackendSample> {
        let pool = self.backends();
        let mut samples: Vec<BackendSample> = Vec::new();
        for server in pool.servers() {
            // A server that is listed twice, to get twice its share, is one server with one set of counters.
            let before = samples
                .iter_mut()
                .find(|sample| sample.server == server.name);
            match before {
                Some(sample) => sample.connections += server.connections as u64,
                None => samples.push(sample(pool.name(), &server)),
            }
        }
        samples
    }

    fn totals(&self) -> BackendTotals {
        let totals = self.backends().totals();
        BackendTotals {
            connected: totals.connected,
            failures: totals.fail,
            recycled: totals.recycled,
            reused: totals.reused,
            requests: totals.req,
            retried: totals.retried,
            unhealthy: totals.unhealthy,
            busy: totals.busy,
        }
    }
}

fn sample(backend: &str, server: &ServerStatus<'_>) -> BackendSample {
    let counters = &server.counters;
    BackendSample {
        backend: backend.to_owned(),
        server: server.name.to_owned(),
        health: match (server.is_probed, server.is_up) {
            (false, _) => Health::Unknown,
            (true, true) => Health::Healthy,
            (true, false) => Health::Sick,
        },
        probes: server.is_probed.then_some(server.happy),
        connections: server.connections as u64,
        requests: counters.req,
        unhealthy: counters.unhealthy,
        busy: counters.busy,
        failures: counters.fail,
        failures_eacces: counters.fail_eacces,
        failures_eaddrnotavail: counters.fail_eaddrnotavail,
        failures_econnrefused: counters.fail_econnrefused,
        failures_enetunreach: counters.fail_enetunreach,
        failures_etimedout: counters.fail_etimedout,
        failures_other: counters.fail_other,
        request_head_bytes: counters.bereq_hdrbytes,
        request_body_bytes: counters.bereq_bodybytes,
        response_head_bytes: counters.beresp_hdrbytes,
        response_body_bytes: counters.beresp_bodybytes,
        pipe_head_bytes: counters.pipe_hdrbytes,
        pipe_bytes_in: counters.pipe_in,
        pipe_bytes_out: counters.pipe_out,
    }
}

/// An object as bans see it, at one moment.
#[derive(Debug)]
pub struct BanObject<'a>(pub &'a Object);

impl BanSubject for BanObject<'_> {
    fn status(&self) -> u16 {
        self.0.head.status
    }

    fn fields(&self) -> &Fields {
        &self.0.head.fields
    }

    fn ttl_millis(&self, now: Timestamp) -> i64 {
        signed_millis(self.0.ttl()).saturating_sub(signed_millis(self.0.age(now)))
    }

    fn age_millis(&self, now: Timestamp) -> i64 {
        signed_millis(self.0.age(now))
    }

    fn grace_millis(&self, _now: Timestamp) -> i64 {
        signed_millis(self.0.times().grace)
    }

    fn keep_millis(&self, _now: Timestamp) -> i64 {
        signed_millis(self.0.times().keep)
    }

    fn has_tag(&self, tag: &str) -> bool {
        self.0.tags().iter().any(|own| **own == *tag)
    }
}

/// A request as bans see it.
pub(crate) struct BanRequest<'a>(pub(crate) &'a RequestHead);

impl RequestSubject for BanRequest<'_> {
    fn url(&self) -> &str {
        &self.0.target
    }

    fn fields(&self) -> &Fields {
        &self.0.fields
    }
}

fn signed_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
