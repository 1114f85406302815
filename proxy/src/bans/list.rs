//! The list of bans: who was tested against what.
//!
//! Bans are numbered; an object's [`Mark`] is the number of the newest ban it is known to be clear of. Readers see
//! immutable snapshots: the usual look-up compares two numbers, all others walk the bans behind the object's
//! mark, and nobody waits. Writers take turns at one lock and replace the snapshot; entries lie in chunks so that
//! adding copies a few hundred pointers, not the list.
//!
//! Lock order: `writer`, then `held`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::expression::{Ban, Matched};
use super::{BanSubject, RequestSubject};
use crate::time::Timestamp;

/// The place of an object in the list: it is clear of every ban up to this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u64);

impl Mark {
    /// For keeping a mark in an atomic; [`Mark::from_u64`] is its inverse.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub const fn from_u64(number: u64) -> Mark {
        Mark(number)
    }

    fn before(self) -> Mark {
        Mark(self.0.saturating_sub(1))
    }
}

/// What the list says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A ban matches: the object is not to be served and should go.
    Banned,
    /// No ban matches. The object may take this mark, so that the next test starts there. Marks only
    /// grow: keep the greater of this and what the object has (`fetch_max`).
    Clear(Mark),
}

/// What [`BanList::add`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// The new ban's number.
    pub mark: Mark,
    /// Older equal bans that it made superfluous: 0 or 1.
    pub duplicates: usize,
    /// Oldest bans dropped because the list was full: objects not yet tested against them count as banned.
    pub cut_off: usize,
}

/// One ban as people read it; `Display` gives a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedBan {
    pub mark: Mark,
    pub added: Timestamp,
    pub needs_request: bool,
    pub needs_object: bool,
    pub text: String,
}

impl fmt::Display for ListedBan {
    /// Seconds since the epoch, `R` and `O` for what it asks (request, object), and the expression.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.added.as_millis() % 1000;
        let request = if self.needs_request { 'R' } else { '-' };
        let object = if self.needs_object { 'O' } else { '-' };
        let seconds = self.added.as_secs();
        write!(f, "{seconds}.{millis:03} {request}{object} {}", self.text)
    }
}

/// The list's counters and gauges at one moment; names as in Varnish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BanCounters {
    /// Bans listed now.
    pub bans: u64,
    /// Of these, bans that ask the object.
    pub bans_obj: u64,
    /// Of these, bans that ask the request.
    pub bans_req: u64,
    pub bans_added: u64,
    /// Bans that left the list: done, superfluous, or cut off.
    pub bans_deleted: u64,
    pub bans_dups: u64,
    /// Bans tested at look-up.
    pub bans_tested: u64,
    /// Conditions within them.
    pub bans_tests_tested: u64,
    /// Look-ups that found their object banned.
    pub bans_obj_killed: u64,
    /// Bans tested by the lurker.
    pub bans_lurker_tested: u64,
    pub bans_lurker_tests_tested: u64,
    pub bans_lurker_obj_killed: u64,
    /// Objects that the lurker found older than a ban that was cut off.
    pub bans_lurker_obj_killed_cutoff: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    added: AtomicU64,
    deleted: AtomicU64,
    duplicates: AtomicU64,
    tested: AtomicU64,
    tests_tested: AtomicU64,
    killed: AtomicU64,
    pub(super) lurker_tested: AtomicU64,
    pub(super) lurker_tests_tested: AtomicU64,
    pub(super) lurker_killed: AtomicU64,
    pub(super) lurker_killed_cutoff: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) mark: Mark,
    added: Timestamp,
    pub(super) ban: Ban,
}

/// Entries per chunk: adding copies one chunk and the list of chunks, so near the square root of a long list.
const CHUNK_ENTRIES: usize = 64;

type Chunk = Vec<Arc<Entry>>;

/// The list at one moment, oldest ban first. Chunks are never empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) newest: Mark,
    /// Objects below this mark count as banned: a ban they were not tested against was dropped.
    cutoff: Mark,
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

/// The outcome of testing one object, with what it cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) verdict: Verdict,
    pub(super) cause: Cause,
    pub(super) bans: u64,
    pub(super) tests: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Tested,
    Cutoff,
}

/// All bans that some object may not have been tested against, and the numbers that objects compare with.
#[derive(Debug)]
pub struct BanList {
    /// Always the mark of a snapshot that is already in `snapshot`, or of an older one.
    newest: AtomicU64,
    snapshot: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    /// Marks of fills under way, with how many hold each.
    held: Mutex<BTreeMap<Mark, usize>>,
    bans_max: NonZeroUsize,
    pub(super) counts: Counts,
}

/// What only writers need.
#[derive(Debug, Default)]
struct Writer {
    /// The listed ban of each text, to find duplicates without a walk.
    by_text: HashMap<Box<str>, Mark>,
}

/// The mark of a fill under way. While it lives, no ban after its mark leaves the list unless the object
/// would count as banned: take it before the backend is asked, and keep it until the object is in the store.
#[derive(Debug)]
pub struct HeldMark {
    list: Arc<BanList>,
    mark: Mark,
}

impl HeldMark {
    /// The mark that the object takes.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}

impl Drop for HeldMark {
    fn drop(&mut self) {
        let mut held = self.list.held.lock();
        if let Some(holders) = held.get_mut(&self.mark) {
            *holders -= 1;
            if *holders == 0 {
                held.remove(&self.mark);
            }
        }
    }
}

impl BanList {
    /// An empty list that keeps at most `bans_max` bans.
    pub fn new(bans_max: NonZeroUsize) -> BanList {
        BanList {
            newest: AtomicU64::new(0),
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            writer: Mutex::default(),
            held: Mutex::default(),
            bans_max,
            counts: Counts::default(),
        }
    }

    /// Adds a ban. Once this returns, every test of an object with an older mark looks at it.
    ///
    /// Never refuses: an older equal ban goes, since the new one covers its objects; from a full list the oldest
    /// ban goes, and the objects not yet tested against it count as banned. So memory is bounded and
    /// no invalidation is lost; what may be lost is cached content.
    pub fn add(&self, ban: Ban, now: Timestamp) -> Added {
        let mut writer = self.writer.lock();
        let mut next = Snapshot::clone(&self.snapshot.load());
        let mark = Mark(next.newest.0 + 1);
        next.newest = mark;
        let mut duplicates = 0;
        if let Some(older) = writer.by_text.insert(ban.text().into(), mark) {
            duplicates += next.remove(older);
        }
        next.push(Arc::new(Entry {
            mark,
            added: now,
            ban,
        }));
        let mut cut_off = 0;
        while next.len > self.bans_max.get() {
            let oldest = next.first().expect("a list above its bound is not empty");
            next.cutoff = oldest.mark;
            next.remove(oldest.mark);
            writer.forget(&oldest);
            cut_off += 1;
        }
        self.snapshot.store(Arc::new(next));
        self.newest.store(mark.0, Ordering::Release);
        drop(writer);
        bump(&self.counts.added, 1);
        bump(&self.counts.duplicates, duplicates as u64);
        bump(&self.counts.deleted, (duplicates + cut_off) as u64);
        Added {
            mark,
            duplicates,
            cut_off,
        }
    }

    /// The newest ban's number. An object that is going into the store takes its mark from [`BanList::hold`].
    pub fn newest(&self) -> Mark {
        Mark(self.newest.load(Ordering::Acquire))
    }

    /// The newest mark, held for a fill that begins now.
    pub fn hold(self: &Arc<Self>) -> HeldMark {
        let mut held = self.held.lock();
        // Read under the lock: a lurker that starts later sees this mark.
        let mark = self.newest();
        *held.entry(mark).or_default() += 1;
        drop(held);
        HeldMark {
            list: Arc::clone(self),
            mark,
        }
    }

    /// Tests an object with mark `from` against the bans after it. Without a request the bans that ask one stay
    /// untested, and the mark given back ends before the first of them.
    ///
    /// One atomic load when `from` is the newest mark; otherwise a walk without locks.
    #[inline]
    pub fn test(
        &self,
        from: Mark,
        object: &dyn BanSubject,
        request: Option<&dyn RequestSubject>,
        now: Timestamp,
    ) -> Verdict {
        if self.newest() == from {
            return Verdict::Clear(from);
        }
        self.test_listed(from, object, request, now)
    }

    fn test_listed(
        &self,
        from: Mark,
        object: &dyn BanSubject,
        request: Option<&dyn RequestSubject>,
        now: Timestamp,
    ) -> Verdict {
        let walk = self.snapshot.load().walk(from, object, request, now);
        bump(&self.counts.tested, walk.bans);
        bump(&self.counts.tests_tested, walk.tests);
        if walk.verdict == Verdict::Banned {
            bump(&self.counts.killed, 1);
        }
        walk.verdict
    }

    /// All bans, newest first.
    pub fn listed(&self) -> Vec<ListedBan> {
        let snapshot = self.snapshot.load();
        let entries = snapshot.chunks.iter().rev();
        entries
            .flat_map(|chunk| chunk.iter().rev())
            .map(|entry| ListedBan {
                mark: entry.mark,
                added: entry.added,
                needs_request: entry.ban.needs_request(),
                needs_object: entry.ban.needs_object(),
                text: entry.ban.text().to_owned(),
            })
            .collect()
    }

    pub fn counters(&self) -> BanCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let snapshot = self.snapshot.load();
        let count = |wanted: fn(&Ban) -> bool| {
            let entries = snapshot.chunks.iter().flat_map(|chunk| chunk.iter());
            entries.filter(|entry| wanted(&entry.ban)).count() as u64
        };
        let counts = &self.counts;
        BanCounters {
            bans: snapshot.len as u64,
            bans_obj: count(Ban::needs_object),
            bans_req: count(Ban::needs_request),
            bans_added: read(&counts.added),
            bans_deleted: read(&counts.deleted),
            bans_dups: read(&counts.duplicates),
            bans_tested: read(&counts.tested),
            bans_tests_tested: read(&counts.tests_tested),
            bans_obj_killed: read(&counts.killed),
            bans_lurker_tested: read(&counts.lurker_tested),
            bans_lurker_tests_tested: read(&counts.lurker_tests_tested),
            bans_lurker_obj_killed: read(&counts.lurker_killed),
            bans_lurker_obj_killed_cutoff: read(&counts.lurker_killed_cutoff),
        }
    }

    /// The list as it is, and the oldest mark that a fill holds.
    pub(super) fn begin_lurk(&self) -> (Arc<Snapshot>, Option<Mark>) {
        // Snapshot first: a fill that begins between the two has a mark at or after it.
        let snapshot = self.snapshot.load_full();
        let oldest_held = self.held.lock().keys().next().copied();
        (snapshot, oldest_held)
    }

    /// Drops the bans that `done` says are done. Gives how many went.
    pub(super) fn retire(&self, done: impl Fn(&Entry) -> bool) -> usize {
        let mut writer = self.writer.lock();
        let current = self.snapshot.load_full();
        let mut next = Snapshot {
            newest: current.newest,
            cutoff: current.cutoff,
            ..Snapshot::default()
        };
        for entry in current.chunks.iter().flat_map(|chunk| chunk.iter()) {
            if done(entry) {
                writer.forget(entry);
            } else {
                next.push(Arc::clone(entry));
            }
        }
        let retired = current.len - next.len;
        if retired > 0 {
            self.snapshot.store(Arc::new(next));
            bump(&self.counts.deleted, retired as u64);
        }
        retired
    }
}

impl Writer {
    fn forget(&mut self, entry: &Entry) {
        if self.by_text.get(entry.ban.text()) == Some(&entry.mark) {
            self.by_text.remove(entry.ban.text());
        }
    }
}

impl Snapshot {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn first(&self) -> Option<Arc<Entry>> {
        self.chunks.first()?.first().cloned()
    }

    fn push(&mut self, entry: Arc<Entry>) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_ENTRIES => Arc::make_mut(chunk).push(entry),
            _ => self.chunks.push(Arc::new(vec![entry])),
        }
    }

    /// Removes the ban with this number; 0 when it is not there, else 1.
    fn remove(&mut self, mark: Mark) -> usize {
        let at = self.chunk_after(mark.before());
        let Some(chunk) = self.chunks.get_mut(at) else {
            return 0;
        };
        let Ok(place) = chunk.binary_search_by_key(&mark, |entry| entry.mark) else {
            return 0;
        };
        Arc::make_mut(chunk).remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        1
    }

    /// The first chunk that holds a ban after `mark`.
    fn chunk_after(&self, mark: Mark) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_none_or(|entry| entry.mark <= mark))
    }

    fn after(&self, mark: Mark) -> impl Iterator<Item = &Entry> {
        let chunks = &self.chunks[self.chunk_after(mark)..];
        let entries = chunks.iter().flat_map(|chunk| chunk.iter());
        entries
            .map(|entry| &**entry)
            .skip_while(move |entry| entry.mark <= mark)
    }

    pub(super) fn walk(
        &self,
        from: Mark,
        object: &dyn BanSubject,
        request: Option<&dyn RequestSubject>,
        now: Timestamp,
    ) -> Walk {
        let mut walk = Walk {
            verdict: Verdict::Banned,
            cause: Cause::Cutoff,
            bans: 0,
            tests: 0,
        };
        if from < self.cutoff {
            return walk;
        }
        walk.cause = Cause::Tested;
        // An object filled after this snapshot was taken may be ahead of it.
        let mut clear_of = self.newest.max(from);
        for entry in self.after(from) {
            let tested = entry.ban.test(object, request, now);
            walk.bans += 1;
            walk.tests += tested.tests;
            match tested.matched {
                Matched::Yes => return walk,
                Matched::No => {}
                Matched::NeedsRequest => clear_of = clear_of.min(entry.mark.before()),
            }
        }
        walk.verdict = Verdict::Clear(clear_of);
        walk
    }
}

pub(super) fn bump(counter: &AtomicU64, by: u64) {
    if by > 0 {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
