//! The exposition: everything at one moment, as Prometheus reads it.

use std::fmt;
use std::sync::Arc;

use prometheus::proto::{Bucket, Histogram, Metric, MetricType};

use super::counter::FAMILIES;
use super::histogram::{DURATION_BOUNDS, Outcome};
use super::page::{Page, pairs};
use super::{BackendSample, BackendStats, BackendTotals, Counter, Gauges, Health, Metrics};
use crate::bans::BanList;

/// Reads every source and writes the text format 0.0.4.
pub struct Exporter {
    metrics: Arc<Metrics>,
    bans: Arc<BanList>,
    gauges: Arc<dyn Gauges>,
    backends: Arc<dyn BackendStats>,
}

impl Exporter {
    /// The Content-Type of what [`Exporter::render`] gives.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    pub fn new(
        metrics: Arc<Metrics>,
        bans: Arc<BanList>,
        gauges: Arc<dyn Gauges>,
        backends: Arc<dyn BackendStats>,
    ) -> Exporter {
        Exporter {
            metrics,
            bans,
            gauges,
            backends,
        }
    }

    /// All families in order of their names.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        self.put_counters(&mut page);
        self.put_durations(&mut page);
        self.put_bans(&mut page);
        self.put_gauges(&mut page);
        self.put_backends(&mut page);
        page.counter(
            "varnish_main_uptime",
            "Seconds since the front door started.",
            self.metrics.started.elapsed().as_secs(),
        );
        page.gauge("varnish_up", "1: this page could be made.", 1);
        page.put(
            "lacquer_build_info",
            "1, with the version that runs as a label.",
            MetricType::GAUGE,
            &[("version", env!("CARGO_PKG_VERSION"))],
            1,
        );
        page.encode()
    }

    fn put_counters(&self, page: &mut Page) {
        for family in FAMILIES.iter().filter(|family| !family.name.is_empty()) {
            for series in family.series {
                let value = self.metrics.get(series.counter);
                let labels = series.label.as_slice();
                page.put(family.name, family.help, MetricType::COUNTER, labels, value);
            }
        }
        page.counter(
            "varnish_main_sessions_total",
            "Client connections accepted.",
            self.metrics.get(Counter::SessionsAccepted),
        );
        // Ends before begins: a pipe that both begins and ends in between is not counted below zero.
        let ended = self.metrics.get(Counter::PipesEnded);
        let begun = self.metrics.get(Counter::Pipes);
        page.gauge(
            "varnish_main_n_pipe",
            "Pipes open now.",
            begun.saturating_sub(ended),
        );
        let closed = self.metrics.get(Counter::SessionsClosed);
        let accepted = self.metrics.get(Counter::SessionsAccepted);
        page.gauge(
            "lacquer_client_connections",
            "Client connections open now.",
            accepted.saturating_sub(closed),
        );
    }

    fn put_durations(&self, page: &mut Page) {
        for outcome in Outcome::ALL {
            let reading = self.metrics.shards.histogram(*outcome);
            let mut cumulative = 0;
            let buckets = DURATION_BOUNDS.iter().zip(reading.buckets);
            let buckets = buckets.map(|(bound, count)| {
                cumulative += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(*bound);
                bucket.set_cumulative_count(cumulative);
                bucket
            });
            let mut histogram = Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(reading.count());
            histogram.set_sample_sum(reading.sum_nanos as f64 / 1e9);
            let mut metric = Metric::from_label(pairs(&[("outcome", outcome.as_str())]));
            metric.set_histogram(histogram);
            page.push(
                "lacquer_request_duration_seconds",
                "Seconds from a request's head read to its response's last byte written, by outcome; requests that got no response are not in it.",
                MetricType::HISTOGRAM,
                metric,
            );
        }
    }

    fn put_bans(&self, page: &mut Page) {
        let bans = self.bans.counters();
        for (name, help, value) in [
            ("varnish_main_bans", "Bans listed.", bans.bans),
            (
                "varnish_main_bans_obj",
                "Bans listed that ask the object.",
                bans.bans_obj,
            ),
            (
                "varnish_main_bans_req",
                "Bans listed that ask the request.",
                bans.bans_req,
            ),
        ] {
            page.gauge(name, help, value);
        }
        for (name, help, value) in [
            ("varnish_main_bans_added", "Bans added.", bans.bans_added),
            (
                "varnish_main_bans_deleted",
                "Bans that left the list.",
                bans.bans_deleted,
            ),
            (
                "varnish_main_bans_dups",
                "Bans made superfluous by newer equal ones.",
                bans.bans_dups,
            ),
            (
                "varnish_main_bans_tested",
                "Bans tested against objects at look-up.",
                bans.bans_tested,
            ),
            (
                "varnish_main_bans_tests_tested",
                "Conditions of bans tested against objects at look-up.",
                bans.bans_tests_tested,
            ),
            (
                "varnish_main_bans_obj_killed",
                "Look-ups that found their object banned.",
                bans.bans_obj_killed,
            ),
            (
                "varnish_main_bans_lurker_tested",
                "Bans tested against objects by the lurker.",
                bans.bans_lurker_tested,
            ),
            (
                "varnish_main_bans_lurker_tests_tested",
                "Conditions of bans tested against objects by the lurker.",
                bans.bans_lurker_tests_tested,
            ),
            (
                "varnish_main_bans_lurker_obj_killed",
                "Objects that the lurker found banned.",
                bans.bans_lurker_obj_killed,
            ),
            (
                "varnish_main_bans_lurker_obj_killed_cutoff",
                "Objects that the lurker found older than a ban dropped from a full list.",
                bans.bans_lurker_obj_killed_cutoff,
            ),
        ] {
            page.counter(name, help, value);
        }
    }

    fn put_gauges(&self, page: &mut Page) {
        let gauges = self.gauges.read();
        page.gauge(
            "varnish_main_n_object",
            "Objects in the store, markers included.",
            gauges.objects,
        );
        page.gauge(
            "varnish_main_n_objecthead",
            "Cache keys that have an object.",
            gauges.keys,
        );
        page.gauge(
            "varnish_main_threads",
            "Threads that run requests and fetches.",
            gauges.threads,
        );
        // Both parts count against the bound.
        let held = gauges.objects_bytes.saturating_add(gauges.index_bytes);
        let free = gauges.cache_bytes_max.saturating_sub(held);
        let store = &[("type", "s0")];
        page.put(
            "varnish_sma_g_bytes",
            "Bytes that the store holds, its index included.",
            MetricType::GAUGE,
            store,
            held,
        );
        page.put(
            "varnish_sma_g_space",
            "Bytes that the store may still take.",
            MetricType::GAUGE,
            store,
            free,
        );
        for (kind, bytes) in [
            ("objects", gauges.objects_bytes),
            ("index", gauges.index_bytes),
            ("transit", gauges.transit_bytes),
        ] {
            page.put(
                "lacquer_memory_bytes",
                "Bytes held, by what for.",
                MetricType::GAUGE,
                &[("kind", kind)],
                bytes,
            );
        }
        if let Some(bytes) = resident_bytes() {
            page.gauge(
                "process_resident_memory_bytes",
                "Resident memory of the process.",
                bytes,
            );
        }
    }

    fn put_backends(&self, page: &mut Page) {
        let backends = self.backends.backends();
        page.gauge(
            "varnish_main_n_backend",
            "Servers of all backends.",
            backends.len() as u64,
        );
        for (name, help, value) in backend_totals(&self.backends.totals()) {
            page.counter(name, help, value);
        }
        for sample in &backends {
            let labels = &[
                ("backend", sample.backend.as_str()),
                ("server", sample.server.as_str()),
            ];
            for (name, help, value) in backend_counters(sample) {
                page.put(name, help, MetricType::COUNTER, labels, value);
            }
            page.put(
                "varnish_backend_conn",
                "Connections in use now.",
                MetricType::GAUGE,
                labels,
                sample.connections,
            );
            page.put(
                "varnish_backend_up",
                "1 unless the last probes failed.",
                MetricType::GAUGE,
                labels,
                u64::from(sample.health != Health::Sick),
            );
            if let Some(probes) = sample.probes {
                page.put(
                    "varnish_backend_happy",
                    "The last 64 probes as bits, newest lowest, 1 for a good one.",
                    MetricType::GAUGE,
                    labels,
                    probes,
                );
            }
        }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

fn backend_totals(totals: &BackendTotals) -> [(&'static str, &'static str, u64); 8] {
    [
        (
            "varnish_main_backend_conn",
            "Connections to backends opened.",
            totals.connected,
        ),
        (
            "varnish_main_backend_fail",
            "Connections to backends that failed to open.",
            totals.failures,
        ),
        (
            "varnish_main_backend_recycle",
            "Connections to backends put back for reuse.",
            totals.recycled,
        ),
        (
            "varnish_main_backend_reuse",
            "Connections to backends that were used again.",
            totals.reused,
        ),
        (
            "varnish_main_backend_req",
            "Requests sent to backends.",
            totals.requests,
        ),
        (
            "varnish_main_backend_retry",
            "Requests sent again, over a fresh connection or to another server.",
            totals.retried,
        ),
        (
            "varnish_main_backend_unhealthy",
            "Fetches not attempted because the backend is known sick.",
            totals.unhealthy,
        ),
        (
            "varnish_main_backend_busy",
            "Fetches not attempted at a server that had its limit of connections in use.",
            totals.busy,
        ),
    ]
}

fn backend_counters(sample: &BackendSample) -> [(&'static str, &'static str, u64); 17] {
    [
        (
            "varnish_backend_req",
            "Requests sent to the backend.",
            sample.requests,
        ),
        (
            "varnish_backend_unhealthy",
            "Fetches not attempted because the backend is known sick.",
            sample.unhealthy,
        ),
        (
            "varnish_backend_busy",
            "Fetches not attempted because the backend had its limit of connections in use.",
            sample.busy,
        ),
        (
            "varnish_backend_fail",
            "Connections that failed to open.",
            sample.failures,
        ),
        (
            "varnish_backend_fail_eacces",
            "Connections that failed to open for want of permission.",
            sample.failures_eacces,
        ),
        (
            "varnish_backend_fail_eaddrnotavail",
            "Connections that failed to open because no local address was free.",
            sample.failures_eaddrnotavail,
        ),
        (
            "varnish_backend_fail_econnrefused",
            "Connections that were refused.",
            sample.failures_econnrefused,
        ),
        (
            "varnish_backend_fail_enetunreach",
            "Connections that failed to open because the network is not reachable.",
            sample.failures_enetunreach,
        ),
        (
            "varnish_backend_fail_etimedout",
            "Connections that failed to open in time.",
            sample.failures_etimedout,
        ),
        (
            "varnish_backend_fail_other",
            "Connections that failed to open for another reason.",
            sample.failures_other,
        ),
        (
            "varnish_backend_bereq_hdrbytes",
            "Bytes of request heads sent, those that opened a pipe included.",
            sample.request_head_bytes,
        ),
        (
            "varnish_backend_bereq_bodybytes",
            "Bytes of request bodies sent.",
            sample.request_body_bytes,
        ),
        (
            "varnish_backend_beresp_hdrbytes",
            "Bytes of response heads received.",
            sample.response_head_bytes,
        ),
        (
            "varnish_backend_beresp_bodybytes",
            "Bytes of response bodies received.",
            sample.response_body_bytes,
        ),
        (
            "varnish_backend_pipe_hdrbytes",
            "Bytes of request heads that opened a pipe.",
            sample.pipe_head_bytes,
        ),
        (
            "varnish_backend_pipe_in",
            "Bytes piped from the backend.",
            sample.pipe_bytes_in,
        ),
        (
            "varnish_backend_pipe_out",
            "Bytes piped to the backend.",
            sample.pipe_bytes_out,
        ),
    ]
}

/// Linux only; elsewhere the family is absent.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
