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
mod index_key;
mod inspect;
mod variants;

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::http::Fields;
use crate::metrics::{Counter, Metrics};
use crate::object::{Kind, Object, Outcome};
use crate::rules::cache_status::ForwardReason;
use crate::rules::key::PrimaryKey;
use crate::rules::part::Asked;
use crate::time::Timestamp;

pub use flight::{Boarding, Landing, Lead, Seat};
pub use variants::Variants;

use index_key::IndexKey;

/// A cache key in canonical form ([`crate::rules::key`]), as the store keeps it.
pub type Key = Arc<[u8]>;

/// Weights are counted in units of this many bytes: moka's weights are 32 bits wide, and a URL with many
/// variants may pass 4 GiB.
const WEIGHT_UNIT: u64 = 16;

/// What an entry costs in moka beyond its objects and a long key. By the blocks that it has there: 16 for its place in
/// the table, 16 to 32 for the table, 64 with the key, 32 for the value, 64, 48 and 32 for the order of eviction, 8 to
/// 16 for the frequencies.
pub(crate) const ENTRY_OVERHEAD: u64 = 294;

/// One in so many bytes that the allocator holds is in nobody's hands: the heads of its pages, and blocks that are free
/// between others. Measured (`tests/memory.rs`): with this, what is resident differs from the weights by 2 % with objects
/// of 1 KiB, and by 1 % with many sizes while the store evicts.
const ALLOCATOR_SHARE: u64 = 40;

const SHARDS: usize = 256;

/// Fences of a shard.
const FENCES: usize = 256;

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
    /// A change makes a new value, so that what moka weighs, replaces and evicts is always what it was given.
    index: moka::sync::Cache<IndexKey, Variants, foldhash::fast::RandomState>,
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    settings: StoreSettings,
    metrics: Arc<Metrics>,
    /// Objects in the store, marks included. Raised before an entry goes into moka and lowered when moka says
    /// that it left, for whatever reason: every entry is counted once in and once out, however insertions,
    /// removals and evictions of its key overlap.
    objects: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Shard {
    /// Raised by each invalidation of a key that has its place here. A neighbour's invalidation costs a fill that
    /// could have been stored, never the reverse; so there are many places.
    fences: [u64; FENCES],
    flights: HashMap<FlightKey, flight::Flight, foldhash::fast::RandomState>,
}

/// Where a key's fence and flights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    shard: usize,
    fence: usize,
}

impl Shard {
    fn new() -> Shard {
        Shard {
            fences: [0; FENCES],
            flights: HashMap::default(),
        }
    }
}

/// What coalesces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct FlightKey {
    url: Key,
    /// The values of the varying fields, as far as earlier answers named them.
    variant: Option<Box<[u8]>>,
    /// The part that is fetched; `None`: all of it.
    asked: Option<Asked>,
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
    /// What it renews has given way to something newer.
    Superseded,
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
            .weigher(|key: &IndexKey, variants: &Variants| {
                let bytes = key.heap_bytes() as u64 + ENTRY_OVERHEAD + variants.weight();
                let bytes = bytes + bytes / ALLOCATOR_SHARE;
                u32::try_from(bytes.div_ceil(WEIGHT_UNIT)).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |_, variants: Variants, cause| {
                let objects = variants.len() as u64;
                left.fetch_sub(objects, Ordering::Relaxed);
                if cause == moka::notification::RemovalCause::Size {
                    counted.add(Counter::ObjectsEvicted, objects);
                }
            })
            .build_with_hasher(hasher.clone());
        let shards = (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect();
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
        self.index.get(key)?.into_selected(request)
    }

    /// Joins the fetch under way for this key and variant, or begins one. `seen` is what the caller's
    /// look-up found: when something else has come since, nothing is begun. With `asked`, the fetch is for
    /// that part alone, unless the whole is on its way already.
    pub fn board(
        self: &Arc<Store>,
        key: &[u8],
        request: &Fields,
        seen: Option<&Arc<Object>>,
        asked: Option<Asked>,
    ) -> Boarding {
        let place = self.place(key);
        let mut shard = self.shards[place.shard].lock();
        let stored = self.index.get(key);
        if let Some(now) = stored.as_ref().and_then(|stored| stored.select(request))
            && seen.is_none_or(|seen| !Arc::ptr_eq(seen, now))
        {
            return Boarding::Changed;
        }
        let mut flight_key = FlightKey {
            url: Key::from(key),
            variant: stored.and_then(|stored| stored.expected_variant(request)),
            asked: None,
        };
        if let Some(flight) = shard.flights.get(&flight_key) {
            return Boarding::Follow(flight.seat());
        }
        if asked.is_some() {
            flight_key.asked = asked;
            if let Some(flight) = shard.flights.get(&flight_key) {
                return Boarding::Follow(flight.seat());
            }
        }
        let fence = Fence(shard.fences[place.fence]);
        let (lead, flight) = Lead::take_off(Arc::clone(self), flight_key.clone(), fence);
        shard.flights.insert(flight_key, flight);
        Boarding::Lead(lead)
    }

    /// The fence as it stands: for a fetch that nobody joins.
    pub fn fence(&self, key: &[u8]) -> Fence {
        let place = self.place(key);
        Fence(self.shards[place.shard].lock().fences[place.fence])
    }

    /// The fence that a fetch which began at `began` finds if nothing but `invalidated` was invalidated since.
    pub fn fence_after(&self, began: Fence, key: &[u8], invalidated: &[PrimaryKey]) -> Fence {
        let here = self.place(key);
        let shared = invalidated
            .iter()
            .filter(|other| self.place(other.as_bytes()) == here);
        Fence(began.0 + shared.count() as u64)
    }

    /// Stores an object in place of the one with the same variant, unless its fetch began before an
    /// invalidation.
    pub fn insert(&self, key: &Key, object: Arc<Object>, fence: Fence, now: Timestamp) -> Stored {
        self.insert_where(key, object, fence, now, |_| true)
    }

    /// The same in place of `stored`, which it renews, if that is stored still: for a renewal that no flight keeps
    /// apart from other fetches.
    pub fn renew(
        &self,
        key: &Key,
        stored: &Arc<Object>,
        object: Arc<Object>,
        fence: Fence,
        now: Timestamp,
    ) -> Stored {
        self.insert_where(key, object, fence, now, |here| here.contains(stored))
    }

    fn insert_where(
        &self,
        key: &Key,
        object: Arc<Object>,
        fence: Fence,
        now: Timestamp,
        fits: impl FnOnce(&Variants) -> bool,
    ) -> Stored {
        let place = self.place(key);
        let shard = self.shards[place.shard].lock();
        if shard.fences[place.fence] != fence.0 {
            drop(shard);
            // A mark stands for an answer that was not to be stored anyhow, and is counted as that.
            if object.kind == Kind::Response {
                self.metrics.count(Counter::Fences);
                self.metrics.count(Counter::NotStoredFenced);
            }
            return Stored::Fenced;
        }
        let before = self.index.get(&**key).unwrap_or_default();
        if !fits(&before) {
            return Stored::Superseded;
        }
        let existed = !before.is_empty();
        let (after, left) = before.with(object, self.settings.variants_max, now);
        self.metrics.add(Counter::ObjectsExpired, left.dead as u64);
        self.metrics
            .add(Counter::ObjectsEvicted, left.crowded as u64);
        if !after.is_empty() {
            self.put(key, after);
        } else if existed {
            self.drop_entry(key);
        }
        drop(shard);
        Stored::Yes
    }

    /// Weighs an entry anew after one of its objects has grown to its full size, unless that was foreseen: each change
    /// of an entry leaves a second copy of its key in moka.
    pub fn reweigh(&self, key: &Key, object: &Arc<Object>) {
        if object.body.settle() == Outcome::AsExpected {
            return;
        }
        let _shard = self.shard(key);
        if let Some(variants) = self.index.get(&**key)
            && variants.contains(object)
        {
            self.put(key, variants.reweighed(object));
        }
    }

    /// Why [`Store::get`] gives nothing (RFC 9211 §2.2).
    pub fn lacks(&self, key: &[u8], request: &Fields) -> ForwardReason {
        let Some(variants) = self.index.get(key) else {
            return ForwardReason::UriMiss;
        };
        if variants.parts_for(request).next().is_some() {
            return ForwardReason::Partial;
        }
        match variants.iter().any(|object| object.kind == Kind::Response) {
            true => ForwardReason::VaryMiss,
            false => ForwardReason::UriMiss,
        }
    }

    /// The newest part of what a request for the whole would get.
    pub fn part(&self, key: &[u8], request: &Fields) -> Option<Arc<Object>> {
        let variants = self.index.get(key)?;
        variants.parts_for(request).next().cloned()
    }

    /// All parts of what a request for the whole would get, the newest first.
    pub fn parts(&self, key: &[u8], request: &Fields) -> Vec<Arc<Object>> {
        let found = self.index.get(key);
        let parts = found
            .iter()
            .flat_map(|variants| variants.parts_for(request));
        parts.map(Arc::clone).collect()
    }

    /// Puts a part that is now complete together with those that it fits (RFC 9111 §3.4), and weighs it anew.
    /// Makes nothing larger than `bytes_max`, and nothing at all of what an invalidation has come for since: one by
    /// tags expires objects one by one, and could miss what is made of them meanwhile.
    pub fn combine(
        &self,
        key: &Key,
        object: &Arc<Object>,
        fence: Fence,
        bytes_max: u64,
        now: Timestamp,
    ) {
        let shard = self.shard(key);
        if shard.fences[self.place(key).fence] != fence.0 {
            drop(shard);
            return self.reweigh(key, object);
        }
        let Some(before) = self.index.get(&**key) else {
            return;
        };
        if !before.contains(object) {
            return;
        }
        let mut variants = before.reweighed(object);
        let mut newest = Arc::clone(object);
        // Each turn leaves one part less, so there is an end.
        while newest.part().is_some() {
            let fitting = variants.parts_like(&newest).find_map(|other| {
                let both = newest.combined_with(other, bytes_max)?;
                Some((Arc::clone(other), Arc::new(both)))
            });
            let Some((other, both)) = fitting else { break };
            let rest = variants.without(&other).without(&newest);
            variants = rest
                .with(Arc::clone(&both), self.settings.variants_max, now)
                .0;
            newest = both;
        }
        self.put(key, variants);
    }

    /// Removes one object, if it is still the one that is stored: its fetch failed, a ban hit it, or it is
    /// past every use.
    pub fn remove(&self, key: &[u8], object: &Arc<Object>) -> bool {
        let _shard = self.shard(key);
        let Some(before) = self.index.get(key) else {
            return false;
        };
        if !before.contains(object) {
            return false;
        }
        let after = before.without(object);
        if after.is_empty() {
            self.drop_entry(key);
        } else {
            self.put(key, after);
        }
        true
    }

    /// Invalidates every variant of a URL and fences the fetches under way. Gives the number of objects
    /// that were there. When this returns, no later look-up finds any of them fresh, and no later request
    /// joins a fetch that began earlier.
    pub fn invalidate(&self, key: &[u8], removal: Removal) -> usize {
        let place = self.place(key);
        let mut shard = self.shards[place.shard].lock();
        shard.fences[place.fence] += 1;
        shard.flights.retain(|flying, _| *flying.url != *key);
        let Some(variants) = self.index.get(key) else {
            return 0;
        };
        let found = variants.len();
        match removal {
            Removal::Hard => self.drop_entry(key),
            Removal::Soft(now) => variants.iter().for_each(|object| object.expire(now)),
        }
        found
    }

    /// Calls `visit` for every stored object. Sees objects that stay for the whole call; others maybe.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], &Arc<Object>)) {
        for (key, variants) in &self.index {
            variants
                .iter()
                .for_each(|object| visit(key.as_bytes(), object));
        }
    }

    /// Fences every fetch under way, for an invalidation that names no keys. When this returns, no later request
    /// joins a fetch that began earlier, and nothing such a fetch brings is stored.
    pub fn fence_all(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.fences.iter_mut().for_each(|fence| *fence += 1);
            shard.flights.clear();
        }
    }

    /// Drops everything, for tests and for a full purge.
    pub fn clear(&self) {
        self.fence_all();
        self.index.invalidate_all();
        // Each round has a bound of its own.
        let mut left = u64::MAX;
        while self.len() < left {
            left = self.len();
            self.index.run_pending_tasks();
        }
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

    /// Takes an entry out. moka would let go of its objects with later writes; here that is now.
    fn drop_entry(&self, key: &[u8]) {
        self.index.invalidate(key);
        self.index.run_pending_tasks();
    }

    fn put(&self, key: &[u8], variants: Variants) {
        self.objects
            .fetch_add(variants.len() as u64, Ordering::Relaxed);
        self.index.insert(IndexKey::from(key), variants);
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        self.shards[self.place(key).shard].lock()
    }

    fn place(&self, key: &[u8]) -> Place {
        let hash = self.hasher.hash_one(key) as usize;
        Place {
            shard: hash % SHARDS,
            fence: hash / SHARDS % FENCES,
        }
    }
}

#[cfg(test)]
mod tests;
