//! Counters per thread.
//!
//! Each living thread owns a slot number, and in every [`Metrics`](super::Metrics) the shard of that number: it alone
//! writes there, so counting is a plain load and store on a line that no other core writes. Threads beyond the
//! slots share one shard and add atomically. Readers sum all shards; a sum may miss what is counted meanwhile, and
//! never goes back.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::counter::{COUNTERS, Counter};
use super::histogram::{Cells, OUTCOMES, Outcome, Reading, bucket};

/// Threads that can own a slot at once: workers are as many as cores, and blocking threads mostly sleep.
const OWNED_SLOTS: usize = 128;
/// Slots in all: the last is shared by the threads that own none.
pub(crate) const SLOTS: usize = OWNED_SLOTS + 1;
const SHARED_SLOT: usize = OWNED_SLOTS;

struct SlotPool {
    free: BTreeSet<usize>,
    next: usize,
}

static POOL: Mutex<SlotPool> = Mutex::new(SlotPool {
    free: BTreeSet::new(),
    next: 0,
});

/// A slot number owned by one thread, given back when the thread ends. The pool's lock hands the memory over
/// as well: the next owner sees all that this one has written.
struct OwnedSlot(usize);

impl OwnedSlot {
    fn take() -> OwnedSlot {
        let mut pool = POOL.lock();
        if let Some(slot) = pool.free.pop_first() {
            return OwnedSlot(slot);
        }
        if pool.next == OWNED_SLOTS {
            return OwnedSlot(SHARED_SLOT);
        }
        pool.next += 1;
        OwnedSlot(pool.next - 1)
    }
}

impl Drop for OwnedSlot {
    fn drop(&mut self) {
        if self.0 != SHARED_SLOT {
            POOL.lock().free.insert(self.0);
        }
    }
}

thread_local! {
    static SLOT: OwnedSlot = OwnedSlot::take();
}

/// The calling thread's slot below [`SLOTS`]; the last one is shared. A thread that is ending shares too.
#[inline]
pub(crate) fn thread_slot() -> usize {
    SLOT.try_with(|slot| slot.0).unwrap_or(SHARED_SLOT)
}

/// The cells of one thread. Aligned to two lines, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    counters: [AtomicU64; COUNTERS],
    histograms: [Cells; OUTCOMES],
}

#[derive(Debug)]
pub(super) struct Shards {
    shards: [OnceLock<Box<Shard>>; SLOTS],
}

/// The calling thread's shard, for one or several events.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mine<'a> {
    shard: &'a Shard,
    writers: Writers,
}

#[derive(Clone, Copy, Debug)]
enum Writers {
    ThisThread,
    Several,
}

impl Shards {
    pub(super) fn new() -> Shards {
        Shards {
            shards: [const { OnceLock::new() }; SLOTS],
        }
    }

    #[inline]
    pub(super) fn mine(&self) -> Mine<'_> {
        let slot = thread_slot();
        Mine {
            shard: self.shards[slot].get_or_init(|| {
                Box::new(Shard {
                    counters: std::array::from_fn(|_| AtomicU64::new(0)),
                    histograms: std::array::from_fn(|_| Cells::default()),
                })
            }),
            writers: match slot {
                SHARED_SLOT => Writers::Several,
                _ => Writers::ThisThread,
            },
        }
    }

    fn in_use(&self) -> impl Iterator<Item = &Shard> {
        self.shards
            .iter()
            .filter_map(OnceLock::get)
            .map(|shard| &**shard)
    }

    pub(super) fn sum(&self, counter: Counter) -> u64 {
        self.in_use()
            .map(|shard| shard.counters[counter.index()].load(Ordering::Relaxed))
            .fold(0, u64::wrapping_add)
    }

    pub(super) fn histogram(&self, outcome: Outcome) -> Reading {
        let mut reading = Reading::default();
        for shard in self.in_use() {
            let cells = &shard.histograms[outcome as usize];
            for (sum, bucket) in reading.buckets.iter_mut().zip(&cells.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            let nanos = cells.sum_nanos.load(Ordering::Relaxed);
            reading.sum_nanos = reading.sum_nanos.saturating_add(nanos);
        }
        reading
    }
}

impl Mine<'_> {
    #[inline]
    pub(super) fn add(self, counter: Counter, by: u64) {
        self.add_to(&self.shard.counters[counter.index()], by);
    }

    #[inline]
    pub(super) fn observe(self, outcome: Outcome, duration: Duration) {
        let cells = &self.shard.histograms[outcome as usize];
        let (bucket, nanos) = bucket(duration);
        self.add_to(&cells.buckets[bucket], 1);
        self.add_to(&cells.sum_nanos, nanos);
    }

    #[inline]
    fn add_to(self, cell: &AtomicU64, by: u64) {
        match self.writers {
            Writers::ThisThread => {
                let value = cell.load(Ordering::Relaxed).wrapping_add(by);
                cell.store(value, Ordering::Relaxed);
            }
            Writers::Several => {
                cell.fetch_add(by, Ordering::Relaxed);
            }
        }
    }
}
