//! Counters, histograms and gauges, and their Prometheus text form.
//!
//! The state machines call [`Metrics::count`], [`Metrics::add`], [`Metrics::observe`] and
//! [`Metrics::session_closed`]; each touches only memory of the calling thread. What is a state rather than an event
//! (objects, bytes, backends) is asked for at scrape time through [`Gauges`] and [`BackendStats`]. An
//! [`Exporter`] sums it all up and writes it.
//!
//! There are two families of names. `varnish_…` are the names of Varnish's Prometheus exporter, so that dashboards made for it
//! work; `lacquer_…` are ours. Labels are enums, apart from the names and addresses of configured backends; paths,
//! keys and client addresses never are.
//!
//! **Invariant:** a Varnish name is exported only where its value is true here. No zero stands for a thing that
//! does not exist. Those left out, and why:
//!
#![doc = include_str!("metrics/left_out.md")]

mod counter;
mod exporter;
mod gauges;
mod histogram;
mod page;
mod session;
mod shard;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests;

use std::time::{Duration, Instant};

pub use counter::Counter;
pub use exporter::Exporter;
pub use gauges::{BackendSample, BackendStats, BackendTotals, GaugeReadings, Gauges, Health};
pub use histogram::{DURATION_BOUNDS, Outcome};
pub use session::SessionClose;
pub(crate) use shard::{SLOTS, thread_slot};

use shard::Shards;

/// Everything that is counted. One per front door, passed down in an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    shards: Shards,
    started: Instant,
}

impl Metrics {
    /// All counters at zero; uptime counts from here.
    pub fn new() -> Metrics {
        Metrics {
            shards: Shards::new(),
            started: Instant::now(),
        }
    }

    /// Counts one event.
    #[inline]
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Adds to a counter: bytes, or several events at once.
    #[inline]
    pub fn add(&self, counter: Counter, by: u64) {
        self.shards.mine().add(counter, by);
    }

    /// Records how long a request took, from its head read to its response's last byte written.
    #[inline]
    pub fn observe(&self, outcome: Outcome, duration: Duration) {
        self.shards.mine().observe(outcome, duration);
    }

    /// Counts the end of a client connection under its reason and as closed, with or without error.
    pub fn session_closed(&self, reason: SessionClose) {
        let mine = self.shards.mine();
        mine.add(reason.counter(), 1);
        mine.add(Counter::SessionsClosed, 1);
        if reason.is_error() {
            mine.add(Counter::SessionsClosedWithError, 1);
        }
    }

    /// The sum over all threads.
    pub fn get(&self, counter: Counter) -> u64 {
        self.shards.sum(counter)
    }

    /// How many requests of one outcome have been observed.
    pub fn observed(&self, outcome: Outcome) -> u64 {
        self.shards.histogram(outcome).count()
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}
