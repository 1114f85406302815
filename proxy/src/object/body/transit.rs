//! The account of what bodies hold while they grow, and the bounds on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a body in transit may hold when all of them together hold too much: enough for a client to be sent
/// something while more is read.
pub(super) const SMALL_WINDOW_BYTES: u64 = 16 * 1024;

/// What all bodies that grow share: a body is weighed by the store only once it is whole, so what they hold
/// until then is counted here.
#[derive(Clone, Debug)]
pub struct Transit {
    /// Most unread bytes that one body in transit holds.
    pub window: u64,
    pub(super) held: Arc<AtomicU64>,
    /// Bytes of unfinished bodies that are kept, overhead included, and what is unread of those that were
    /// kept until they grew too large.
    pub(super) kept: Arc<AtomicU64>,
    bytes_max: u64,
}

impl Transit {
    pub fn new(window: u64) -> Transit {
        Transit {
            window,
            held: Arc::default(),
            kept: Arc::default(),
            bytes_max: u64::MAX,
        }
    }

    /// The same account with another window.
    #[must_use]
    pub fn with_window(&self, window: u64) -> Transit {
        Transit {
            window,
            ..self.clone()
        }
    }

    /// The same account with a bound on what unfinished bodies that are kept hold together: one that would
    /// pass it goes on in transit. What bodies in transit hold together is bounded by it as well, but for a
    /// small window of each: nobody is turned away, all are sent more slowly.
    #[must_use]
    pub fn with_bytes_max(&self, bytes_max: u64) -> Transit {
        Transit {
            bytes_max,
            ..self.clone()
        }
    }

    /// Most unread bytes that one body in transit holds now.
    pub(super) fn window_now(&self) -> u64 {
        match self.held_bytes() > self.bytes_max {
            true => self.window.min(SMALL_WINDOW_BYTES),
            false => self.window,
        }
    }

    /// Bytes that all unfinished bodies that are kept hold now, overhead included.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether a body of this length could be kept if it were here now.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        bytes <= self.bytes_max.saturating_sub(self.kept_bytes())
    }

    /// Makes room for bytes to keep; `false` when there is none.
    pub(super) fn keep(&self, bytes: u64) -> bool {
        let fits = |kept: u64| {
            kept.checked_add(bytes)
                .filter(|kept| *kept <= self.bytes_max)
        };
        self.kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
    }

    /// Bytes that all bodies in transit hold now.
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}
