//! The store: where objects are found, how requests share fetches, and what an invalidation undoes.
//!
//! moka owns the memory: one entry per URL, weighed with all its variants, evicted by TinyLFU. Freshness
//! is not moka's business (see [`crate::object`]). Beside it, a table of shards holds what must be decided
//! one at a time per key: which fetch is under way ([`flight`]) and the fence that keeps a fetch that began
//! before an invalidation from being stored after it.
//!
//! - **Invariant:** every change of an entry, every boarding of a flight and every invalidation of a key
//!   happens under the lock of that key's shard; look-ups take no lock.
//! - **Invariant:** the lock of a shard is never held over an await, and no other lock is taken under it but
//!   moka's own.

mod flight;
mod variants;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::http::Fields;
use crate::metrics::{Counter, Metrics};
use crate::object::Object;
use crate::time::Timestamp;

pub use flight::{Boarding, Landing, Lead, Seat};
pub use variants::Variants;

/// A cache key in canonical form ([`crate::rules::key`]), as the store keeps it.
pub type Key = Arc<[u8]>;

/// Weights are counted in units of this many bytes: moka's weights are 32 bits wide, and a URL with many
/// variants may pass 4 GiB.
const WEIGHT_UNIT: u64 = 16;

/// What an entry costs in moka beyond what the weigher is given: measured with 1,000,000 entries.
pub(crate) const ENTRY_OVERHEAD: u64 = 250;

const SHARDS: usize = 256;

#[derive(Clone, Copy, Debug)]
pub struct StoreSettings {
    /// Most bytes held by objects, overhead included.
    pub memory_bytes: u64,
    /// Most variants of one URL; the oldest is dropped for a new one.
    pub variants_max: usize,
}

/// All objects that requests can find.
#[derive(Debug)]
pub struct Store {
    index: moka::sync::Cache<Key, Arc<Entry>, foldhash::fast::RandomState>,
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    settings: StoreSettings,
    metrics: Arc<Metrics>,
    /// Objects in the store, marks included.
    objects: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Shard {
    /// Raised by each invalidation of a key in this shard. A neighbour's invalidation costs a fill that
    /// could have been stored, never the reverse.
    fence: u64,
    flights: HashMap<FlightKey, flight::Flight>,
}

/// What coalesces: the URL, and the values of the varying fields as far as earlier answers named them.
type FlightKey = (Key, Option<crate::rules::vary::VaryKey>);

/// One URL's objects.
#[derive(Debug)]
struct Entry {
    variants: arc_swap::ArcSwap<Variants>,
    weight: AtomicU64,
}

/// The fence's position when a fetch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence(u64);

/// Whether an object was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Yes,
    /// An invalidation came after the fetch began.
    Fenced,
}

/// How an invalidation treats what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Gone at once.
    Hard,
    /// No longer fresh, but usable within grace and for conditional refetches.
    Soft(Timestamp),
}

impl Store {
    pub fn new(settings: StoreSettings, metrics: Arc<Metrics>) -> Store {
        let objects = Arc::new(AtomicU64::new(0));
        let (left, counted) = (Arc::clone(&objects), Arc::clone(&metrics));
        let hasher = foldhash::fast::RandomState::default();
        let index = moka::sync::Cache::builder()
            .max_capacity(settings.memory_bytes / WEIGHT_UNIT)
            .weigher(|key: &Key, entry: &Arc<Entry>| {
                let bytes =
                    key.len() as u64 + ENTRY_OVERHEAD + entry.weight.load(Ordering::Relaxed);
                u32::try_from(bytes.div_ceil(WEIGHT_UNIT)).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_, entry: Arc<Entry>, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    let evicted = entry.variants.load().len() as u64;
                    left.fetch_sub(evicted, Ordering::Relaxed);
                    counted.add(Counter::ObjectsEvicted, evicted);
                }
            })
            .build_with_hasher(hasher.clone());
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Store {
            index,
            shards,
            hasher,
            settings,
            metrics,
            objects,
        }
    }

    /// The object that answers a request with these fields: the newest of those whose varying fields agree
    /// (RFC 9111 §4.1). It may be stale, or a mark.
    pub fn get(&self, key: &[u8], request: &Fields) -> Option<Arc<Object>> {
        self.index
            .get(key)?
            .variants
            .load()
            .select(request)
            .cloned()
    }

    /// The values of the fields that stored answers vary on, for coalescing what will be the same object.
    fn expected_variant(
        &self,
        key: &[u8],
        request: &Fields,
    ) -> Option<crate::rules::vary::VaryKey> {
        self.index
            .get(key)?
            .variants
            .load()
            .expected_variant(request)
    }

    /// Joins the fetch under way for this key and variant, or begins one. `seen` is what the caller's
    /// look-up found: when something else has come since, nothing is begun.
    pub fn board(
        self: &Arc<Store>,
        key: &[u8],
        request: &Fields,
        seen: Option<&Arc<Object>>,
    ) -> Boarding {
        let flight_key = (Key::from(key), self.expected_variant(key, request));
        let mut shard = self.shard(key);
        if let Some(now) = self.get(key, request)
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, &now))
        {
            return Boarding::Changed;
        }
        if let Some(flight) = shard.flights.get(&flight_key) {
            return Boarding::Follow(flight.seat());
        }
        let fence = Fence(shard.fence);
        let (lead, flight) = Lead::take_off(Arc::clone(self), flight_key.clone(), fence);
        let seat = flight.seat();
        shard.flights.insert(flight_key, flight);
        Boarding::Lead(lead, seat)
    }

    /// The fence as it stands: for a fetch that nobody joins.
    pub fn fence(&self, key: &[u8]) -> Fence {
        Fence(self.shard(key).fence)
    }

    /// Stores an object in place of the one with the same variant, unless its fetch began before an
    /// invalidation.
    pub fn insert(&self, key: &Key, object: Arc<Object>, fence: Fence, now: Timestamp) -> Stored {
        let shard = self.shard(key);
        if shard.fence != fence.0 {
            drop(shard);
            self.metrics.count(Counter::Fences);
            self.metrics.count(Counter::NotStoredFenced);
            return Stored::Fenced;
        }
        let entry = self.index.get(key);
        let before = entry.as_ref().map(|entry| entry.variants.load_full());
        let change = before.as_deref().cloned().unwrap_or_default();
        let (after, dead) = change.with(object, self.settings.variants_max, now);
        let entry = entry.unwrap_or_else(|| Arc::new(Entry::default()));
        self.metrics.add(Counter::ObjectsExpired, dead as u64);
        self.put(
            key,
            &entry,
            before.map_or(0, |variants| variants.len()),
            after,
        );
        drop(shard);
        Stored::Yes
    }

    /// Weighs an entry anew after one of its objects has grown to its full size.
    pub fn reweigh(&self, key: &Key, object: &Arc<Object>) {
        let _shard = self.shard(key);
        if let Some(entry) = self.index.get(key) {
            let variants = entry.variants.load_full();
            if variants.contains(object) {
                self.put(key, &entry, variants.len(), (*variants).clone());
            }
        }
    }

    /// Removes one object, if it is still the one that is stored: its fetch failed, a ban hit it, or it is
    /// past every use.
    pub fn remove(&self, key: &[u8], object: &Arc<Object>) -> bool {
        let _shard = self.shard(key);
        let Some(entry) = self.index.get(key) else {
            return false;
        };
        let variants = entry.variants.load_full();
        if !variants.contains(object) {
            return false;
        }
        let after = variants.without(object);
        if after.is_empty() {
            self.drop_entry(key, &entry);
        } else {
            self.put(&Key::from(key), &entry, variants.len(), after);
        }
        true
    }

    /// Invalidates every variant of a URL and fences the fetches under way. Gives the number of objects
    /// that were there. When this returns, no later look-up finds any of them fresh, and no later request
    /// joins a fetch that began earlier.
    pub fn invalidate(&self, key: &[u8], removal: Removal) -> usize {
        let mut shard = self.shard(key);
        shard.fence += 1;
        shard.flights.retain(|(flying, _), _| **flying != *key);
        let Some(entry) = self.index.get(key) else {
            return 0;
        };
        let variants = entry.variants.load_full();
        let found = variants.len();
        match removal {
            Removal::Hard => self.drop_entry(key, &entry),
            Removal::Soft(now) => variants.iter().for_each(|object| object.expire(now)),
        }
        self.metrics.add(Counter::ObjectsPurged, found as u64);
        found
    }

    /// Calls `visit` for every stored object. Sees objects that stay for the whole call; others maybe.
    pub fn for_each(&self, mut visit: impl FnMut(&Key, &Arc<Object>)) {
        for (key, entry) in &self.index {
            entry
                .variants
                .load()
                .iter()
                .for_each(|object| visit(&key, object));
        }
    }

    /// Drops everything, for tests and for a full purge.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.fence += 1;
            shard.flights.clear();
        }
        self.index.invalidate_all();
        self.index.run_pending_tasks();
        self.objects.store(0, Ordering::Relaxed);
    }

    /// Bytes held by objects, as moka counts them.
    pub fn weight_bytes(&self) -> u64 {
        self.index.weighted_size() * WEIGHT_UNIT
    }

    pub fn memory_bytes(&self) -> u64 {
        self.settings.memory_bytes
    }

    /// Number of URLs.
    pub fn len(&self) -> u64 {
        self.index.entry_count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Objects in the store, marks included.
    pub fn objects(&self) -> u64 {
        self.objects.load(Ordering::Relaxed)
    }

    /// Lets moka do its pending evictions now rather than with the next writes.
    pub fn run_pending_tasks(&self) {
        self.index.run_pending_tasks();
    }

    /// Takes an entry out. moka lets go of it only with later writes; its objects go now.
    fn drop_entry(&self, key: &[u8], entry: &Entry) {
        self.index.invalidate(key);
        let gone = entry.variants.swap(Arc::default()).len() as u64;
        self.objects.fetch_sub(gone, Ordering::Relaxed);
    }

    fn put(&self, key: &Key, entry: &Arc<Entry>, before: usize, after: Variants) {
        let now = after.len() as u64;
        self.objects.fetch_add(now, Ordering::Relaxed);
        self.objects.fetch_sub(before as u64, Ordering::Relaxed);
        entry.weight.store(after.weight(), Ordering::Relaxed);
        entry.variants.store(Arc::new(after));
        self.index.insert(Arc::clone(key), Arc::clone(entry));
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(key);
        self.shards[hash as usize % SHARDS].lock()
    }
}

impl Default for Entry {
    fn default() -> Entry {
        Entry {
            variants: arc_swap::ArcSwap::from_pointee(Variants::default()),
            weight: AtomicU64::new(0),
        }
    }
}

#[cfg(test)]
mod tests;
