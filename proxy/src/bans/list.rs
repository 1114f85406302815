//! The list of bans: who was tested against what.
//!
//! Bans are numbered; an object's [`Mark`] tells up to which of them it is known to be clear. Readers see
//! immutable snapshots: the usual look-up compares two numbers, all others walk the bans behind the object's
//! mark, and nobody waits. Writers take turns at one lock and replace the snapshot; entries lie in chunks so that
//! adding copies a few hundred pointers, not the list.
//!
//! Two locks, `writer` and `held`; neither is taken under the other.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::expression::Ban;
use super::snapshot::{Entry, Mark, Snapshot, Verdict};
use super::{BanSubject, RequestSubject};
use crate::time::Timestamp;

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

/// All bans that some object may not have been tested against, and the numbers that objects compare with.
#[derive(Debug)]
pub struct BanList {
    /// The newest mark, as [`Mark::as_u64`]. Stored after the snapshot: who sees the number sees the ban.
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
    /// The number of the listed ban of each text, to find duplicates without a walk.
    by_text: HashMap<Box<str>, u64>,
}

/// The mark of a fill under way: take it before the backend is asked, and keep it until the object is in the
/// store. While it lives, bans after its mark stay listed; otherwise they might leave behind its back, and
/// the object count as banned.
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
        let number = next.take_number();
        let mut duplicates = 0;
        if let Some(older) = writer.by_text.insert(ban.text().into(), number) {
            duplicates += next.remove(older);
        }
        next.push(Arc::new(Entry {
            number,
            needs_request: ban.needs_request(),
            added: now,
            ban,
        }));
        let mut cut_off = 0;
        while next.len() > self.bans_max.get() {
            let oldest = next.cut_off_oldest();
            writer.forget(&oldest.expect("a list above its bound is not empty"));
            cut_off += 1;
        }
        self.snapshot.store(Arc::new(next));
        let mark = Mark::all(number);
        self.newest.store(mark.as_u64(), Ordering::Release);
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
        Mark::from_u64(self.newest.load(Ordering::Acquire))
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

    /// The text of the ban for which an object with mark `from` counts as banned; `None` where none does. Counts
    /// nothing and moves no mark.
    pub fn find(
        &self,
        from: Mark,
        object: &dyn BanSubject,
        request: &dyn RequestSubject,
        now: Timestamp,
    ) -> Option<String> {
        let snapshot = self.snapshot.load();
        let walk = snapshot.walk(from, object, Some(request), now);
        if walk.verdict != Verdict::Banned {
            return None;
        }
        let found = walk.matched.and_then(|number| {
            let mut entries = snapshot.entries();
            entries.find(|entry| entry.number == number)
        });
        Some(match found {
            Some(entry) => entry.ban.text().to_owned(),
            None => "an older one that a full list has dropped".to_owned(),
        })
    }

    /// All bans, newest first.
    pub fn listed(&self) -> Vec<ListedBan> {
        let snapshot = self.snapshot.load();
        let newest_first = snapshot.entries().rev();
        newest_first
            .map(|entry| ListedBan {
                mark: Mark::all(entry.number),
                added: entry.added,
                needs_request: entry.needs_request,
                needs_object: entry.ban.needs_object(),
                text: entry.ban.text().to_owned(),
            })
            .collect()
    }

    pub fn counters(&self) -> BanCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let snapshot = self.snapshot.load();
        let count = |wanted: fn(&Ban) -> bool| {
            let entries = snapshot.entries();
            entries.filter(|entry| wanted(&entry.ban)).count() as u64
        };
        let counts = &self.counts;
        BanCounters {
            bans: snapshot.len() as u64,
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

    /// Drops the bans up to `floor` that ask a request, and up to `floor_without_request` the others. Objects whose
    /// marks are below count as banned from now on. Gives how many went.
    pub(super) fn retire(&self, floor: u64, floor_without_request: u64) -> usize {
        let mut writer = self.writer.lock();
        let current = self.snapshot.load_full();
        let next = current.without(floor, floor_without_request);
        let retired = current.len() - next.len();
        if retired > 0 {
            for entry in current.entries() {
                if next.is_below_floor(entry) {
                    writer.forget(entry);
                }
            }
            self.snapshot.store(Arc::new(next));
            bump(&self.counts.deleted, retired as u64);
        }
        retired
    }
}

impl Writer {
    fn forget(&mut self, entry: &Entry) {
        if self.by_text.get(entry.ban.text()) == Some(&entry.number) {
            self.by_text.remove(entry.ban.text());
        }
    }
}

pub(super) fn bump(counter: &AtomicU64, by: u64) {
    if by > 0 {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
