//! Latency by outcome.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Upper bounds in seconds. A hit from memory takes 50 µs to 1 ms as a client sees it, a fetch from 1 ms to
/// seconds, and 60 s is the usual patience for a backend's first byte; so two to three steps per decade over all of it.
pub const DURATION_BOUNDS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

/// One more than the bounds: the last bucket has none.
pub(super) const BUCKETS: usize = DURATION_BOUNDS.len() + 1;

const BOUNDS_NANOS: [u64; DURATION_BOUNDS.len()] = {
    let mut nanos = [0; DURATION_BOUNDS.len()];
    let mut index = 0;
    while index < nanos.len() {
        // The half makes the cast round: 0.000_05 × 10^9 may lie just below 50,000.
        nanos[index] = (DURATION_BOUNDS[index] * 1e9 + 0.5) as u64;
        index += 1;
    }
    nanos
};

macro_rules! outcomes {
    ($( #[doc = $doc:literal] $variant:ident $label:literal )+) => {
        /// How a request was answered, as metrics and the access log name it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Outcome {
            $( #[doc = $doc] $variant, )+
        }

        impl Outcome {
            pub const ALL: &[Outcome] = &[$( Outcome::$variant, )+];

            /// The label's value: lower case, words joined by `_`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $( Outcome::$variant => $label, )+
                }
            }
        }
    };
}

outcomes! {
    /// From a fresh object.
    Hit "hit"
    /// From a stale object: in grace, while revalidating, or because of an error.
    Stale "stale"
    /// From an object that was fetched for it, by this request or another.
    Miss "miss"
    /// From a private fetch, because a marker said that the answer is not to be stored.
    HitForMiss "hit_for_miss"
    /// From a backend, without the cache.
    Pass "pass"
    /// By handing over the connection.
    Pipe "pipe"
    /// By a response of the front door's own, as its policy asked.
    Synth "synth"
    /// By a response of the front door's own, because no backend gave one.
    Error "error"
    /// A purge or a ban.
    Purge "purge"
    /// Refused before any policy saw it: malformed, too large or too slow.
    Refused "refused"
}

pub(super) const OUTCOMES: usize = Outcome::ALL.len();

/// The cells of one outcome in one shard. Buckets are not cumulative here.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) buckets: [AtomicU64; BUCKETS],
    pub(super) sum_nanos: AtomicU64,
}

/// One outcome summed over the shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reading {
    pub(super) buckets: [u64; BUCKETS],
    pub(super) sum_nanos: u64,
}

impl Reading {
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// The bucket of a duration, and the duration in nanoseconds. Bounds are inclusive, as Prometheus has them.
#[inline]
pub(super) fn bucket(duration: Duration) -> (usize, u64) {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    (BOUNDS_NANOS.partition_point(|bound| *bound < nanos), nanos)
}
