//! What the origin counts, under names that begin with `lacquer_origin_`.

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder,
};

/// Seconds; from a read of a warm page to a client's patience.
const DURATION_BUCKETS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0,
];
/// Reads or writes that shared a statement.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// Every family of the origin.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by method and status.
    pub requests: IntCounterVec,
    /// Seconds from a request's head to its answer's head, by kind of request.
    pub duration: HistogramVec,
    /// Panics, each of which ended one request or one round of a background task.
    pub panics: IntCounter,
    /// Connections that clients have open.
    pub connections: IntGauge,
    /// Reads that shared a statement.
    pub read_batch: Histogram,
    /// Writes that shared a commit.
    pub write_batch: Histogram,
    /// Connections to PostgreSQL that were lost.
    pub connections_lost: IntCounter,
    /// Expired entries removed from disk.
    pub expired: IntCounter,
    /// Purges by result: ok, failed, dropped.
    pub purges: IntCounterVec,
    /// Purges that wait to be sent.
    pub purges_waiting: Gauge,
}

impl Metrics {
    /// Makes all families and registers them in a registry of their own.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            register(
                &registry,
                IntCounter::new(name, help).expect("the name is a constant"),
            )
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(
                &registry,
                IntCounterVec::new(Opts::new(name, help), labels).expect("the name is a constant"),
            )
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(
                &registry,
                Histogram::with_opts(options).expect("the name is a constant"),
            )
        };
        let duration = HistogramOpts::new(
            "lacquer_origin_request_duration_seconds",
            "Seconds from a request's head to its answer's head, by kind of request.",
        )
        .buckets(DURATION_BUCKETS.to_vec());
        let purges = counters(
            "lacquer_origin_purge_total",
            "Purges by result: ok, failed, dropped.",
            &["result"],
        );
        for result in ["ok", "failed", "dropped"] {
            purges.with_label_values(&[result]);
        }
        Self {
            requests: counters(
                "lacquer_origin_requests_total",
                "Requests answered, by method and status.",
                &["method", "status"],
            ),
            duration: register(
                &registry,
                HistogramVec::new(duration, &["kind"]).expect("the name is a constant"),
            ),
            panics: counter(
                "lacquer_origin_panics_total",
                "Panics, each of which ended one request or one round of a background task.",
            ),
            connections: register(
                &registry,
                IntGauge::new(
                    "lacquer_origin_connections",
                    "Connections that clients have open.",
                )
                .expect("the name is a constant"),
            ),
            read_batch: histogram(
                "lacquer_origin_read_batch_size",
                "Reads that shared a statement.",
                BATCH_BUCKETS,
            ),
            write_batch: histogram(
                "lacquer_origin_write_batch_size",
                "Writes that shared a commit.",
                BATCH_BUCKETS,
            ),
            connections_lost: counter(
                "lacquer_origin_postgres_connections_lost_total",
                "Connections to PostgreSQL that were lost.",
            ),
            expired: counter(
                "lacquer_origin_expired_total",
                "Expired entries removed from disk.",
            ),
            purges,
            purges_waiting: register(
                &registry,
                Gauge::new(
                    "lacquer_origin_purge_waiting",
                    "Purges that wait to be sent.",
                )
                .expect("the name is a constant"),
            ),
            registry,
        }
    }

    /// Prometheus text, version 0.0.4.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail, and every family has a name");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> C {
    registry
        .register(Box::new(collector.clone()))
        .expect("each family is registered once");
    collector
}
