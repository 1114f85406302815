//! The list at one moment: immutable, shared by readers, copied in part by writers.

use std::sync::Arc;

use super::expression::{Ban, Matched};
use super::{BanSubject, RequestSubject};
use crate::time::Timestamp;

/// The place of an object in the list: two ban numbers in one word, so that one atomic holds it.
///
/// The object is clear of every ban up to the first number, and up to the second of what could be tested without
/// a request. The second is ahead where a lurker has tested the object and a ban on requests waits for a look-up.
/// Of two marks the greater one is to be kept. Should a look-up and a lurker's round race, this may forget the second
/// number; at worst the object is fetched again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u64);

/// Bits for how far the second number is ahead; the other 40 last for 34 years at 1,000 bans a second.
const AHEAD_BITS: u32 = 24;
const AHEAD_MAX: u64 = (1 << AHEAD_BITS) - 1;

impl Mark {
    /// For keeping a mark in an atomic; [`Mark::from_u64`] is its inverse.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    pub const fn from_u64(word: u64) -> Mark {
        Mark(word)
    }

    /// Clear of everything up to ban `number`.
    pub(super) fn all(number: u64) -> Mark {
        Mark::new(number, number)
    }

    /// The second number saturates where it is too far ahead: then some bans are tested again.
    pub(super) fn new(all: u64, without_request: u64) -> Mark {
        let ahead = without_request.saturating_sub(all).min(AHEAD_MAX);
        Mark(all << AHEAD_BITS | ahead)
    }

    /// Every ban up to this number is passed.
    pub(super) fn passed(self) -> u64 {
        self.0 >> AHEAD_BITS
    }

    /// Whatever asks no request is passed up to this number.
    pub(super) fn passed_without_request(self) -> u64 {
        self.passed() + (self.0 & AHEAD_MAX)
    }
}

/// What the list says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A ban matches: the object is not to be served and should go.
    Banned,
    /// No ban matches. The object should take this mark, so that the next test starts there. Marks only
    /// grow: keep the greater of this and what the object has (`fetch_max`).
    Clear(Mark),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: u64,
    pub(super) needs_request: bool,
    pub(super) added: Timestamp,
    pub(super) ban: Ban,
}

/// Entries per chunk: adding copies one chunk and the list of chunks, so near the square root of a long list.
const CHUNK_ENTRIES: usize = 64;

type Chunk = Vec<Arc<Entry>>;

/// The list at one moment, oldest ban first. Chunks are never empty.
///
/// **Invariant:** a ban that has left the list is at or below its floor. An object whose mark is below a floor may
/// have missed such a ban, so it counts as banned: who drops bans early loses content, and serves nothing banned.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) newest: u64,
    /// Floor of the bans that ask a request, for [`Mark::passed`].
    floor: u64,
    /// Floor of the others, for [`Mark::passed_without_request`].
    floor_without_request: u64,
    chunks: Vec<Arc<Chunk>>,
    len: usize,
}

/// The outcome of testing one object, with what it cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    pub(super) verdict: Verdict,
    pub(super) cause: Cause,
    /// The number of the ban that matched.
    pub(super) matched: Option<u64>,
    pub(super) bans: u64,
    pub(super) tests: u64,
}

/// Why an object counts as banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A ban matched.
    Tested,
    /// Its mark is below a floor.
    Cutoff,
}

impl Snapshot {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Oldest first.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The number of the ban that is about to be pushed.
    pub(super) fn take_number(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// The list with raised floors, and without the bans at or below them.
    pub(super) fn without(&self, floor: u64, floor_without_request: u64) -> Snapshot {
        let mut next = Snapshot {
            newest: self.newest,
            floor: self.floor.max(floor),
            floor_without_request: self.floor_without_request.max(floor_without_request),
            ..Snapshot::default()
        };
        let kept = self.entries().filter(|entry| !next.is_below_floor(entry));
        for entry in kept.cloned().collect::<Vec<_>>() {
            next.push(entry);
        }
        next
    }

    pub(super) fn is_below_floor(&self, entry: &Entry) -> bool {
        entry.number
            <= match entry.needs_request {
                true => self.floor,
                false => self.floor_without_request,
            }
    }

    /// Drops the oldest ban, whoever may still need it.
    pub(super) fn cut_off_oldest(&mut self) -> Option<Arc<Entry>> {
        let oldest = Arc::clone(self.entries().next()?);
        self.remove(oldest.number);
        match oldest.needs_request {
            true => self.floor = oldest.number,
            false => self.floor_without_request = oldest.number,
        }
        Some(oldest)
    }

    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        self.len += 1;
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK_ENTRIES => Arc::make_mut(chunk).push(entry),
            _ => self.chunks.push(Arc::new(vec![entry])),
        }
    }

    /// Removes the ban with this number; 0 when it is not there, else 1. Leaves the floors: only for a ban whose
    /// objects another one covers.
    pub(super) fn remove(&mut self, number: u64) -> usize {
        let at = self.chunk_after(number - 1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return 0;
        };
        let Ok(place) = chunk.binary_search_by_key(&number, |entry| entry.number) else {
            return 0;
        };
        Arc::make_mut(chunk).remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        self.len -= 1;
        1
    }

    /// The first chunk that holds a ban after `number`.
    fn chunk_after(&self, number: u64) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_none_or(|entry| entry.number <= number))
    }

    fn after(&self, number: u64) -> impl Iterator<Item = &Entry> {
        let chunks = &self.chunks[self.chunk_after(number)..];
        let entries = chunks.iter().flat_map(|chunk| chunk.iter());
        entries
            .map(|entry| &**entry)
            .skip_while(move |entry| entry.number <= number)
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
            matched: None,
            bans: 0,
            tests: 0,
        };
        let tested = from.passed_without_request();
        if from.passed() < self.floor || tested < self.floor_without_request {
            return walk;
        }
        walk.cause = Cause::Tested;
        // An object filled after this snapshot was taken may be ahead of it.
        let mut passed = self.newest.max(from.passed());
        for entry in self.after(from.passed()) {
            if entry.number <= tested && (request.is_none() || !entry.needs_request) {
                if entry.needs_request {
                    passed = passed.min(entry.number - 1);
                }
                continue;
            }
            let outcome = entry.ban.test(object, request, now);
            walk.bans += 1;
            walk.tests += outcome.tests;
            match outcome.matched {
                Matched::Yes => {
                    walk.matched = Some(entry.number);
                    return walk;
                }
                Matched::No => {}
                Matched::NeedsRequest => passed = passed.min(entry.number - 1),
            }
        }
        walk.verdict = Verdict::Clear(Mark::new(passed, self.newest.max(tested)));
        walk
    }
}
