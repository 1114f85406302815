//! One round of the lurker: test what needs no request, then drop the bans that are done.
//!
//! The store iterates its objects; this only judges them. A ban that asks nothing of a request is done once every
//! object has been tested against it; any other once every object's mark has passed it. Fills that were under
//! way when the round began may enter the store behind the iteration, so their marks bound what may go. An object
//! that a round missed, or that a request still holds when it has left the store, is below the floor that
//! the round leaves, and counts as banned.

use std::sync::Arc;

use super::BanSubject;
use super::list::{BanList, bump};
use super::snapshot::{Cause, Mark, Snapshot, Verdict};
use crate::time::Timestamp;

/// A round under way. Give each object in the store to [`Lurk::test`], then call [`Lurk::finish`];
/// a round that is dropped has changed nothing but counters.
#[derive(Debug)]
#[must_use = "bans leave the list only when a round is finished"]
pub struct Lurk {
    list: Arc<BanList>,
    snapshot: Arc<Snapshot>,
    /// The oldest mark held by a fill when the round began.
    oldest_held: Option<Mark>,
    /// What all objects tested have passed.
    passed: u64,
    passed_without_request: u64,
}

impl BanList {
    /// Begins a round over the bans listed now; `None` when there are none.
    pub fn lurk(self: &Arc<Self>) -> Option<Lurk> {
        let (snapshot, oldest_held) = self.begin_lurk();
        if snapshot.is_empty() {
            return None;
        }
        Some(Lurk {
            list: Arc::clone(self),
            passed: snapshot.newest,
            passed_without_request: snapshot.newest,
            snapshot,
            oldest_held,
        })
    }
}

impl Lurk {
    /// Tests one object against the bans that need no request; costs next to nothing where its mark is the newest.
    ///
    /// [`Verdict::Banned`]: remove the object. [`Verdict::Clear`]: the object has to take that mark before the
    /// round is finished, or it counts as banned afterwards.
    pub fn test(&mut self, from: Mark, object: &dyn BanSubject, now: Timestamp) -> Verdict {
        if from.passed() >= self.snapshot.newest {
            return Verdict::Clear(from);
        }
        let walk = self.snapshot.walk(from, object, None, now);
        let counts = &self.list.counts;
        bump(&counts.lurker_tested, walk.bans);
        bump(&counts.lurker_tests_tested, walk.tests);
        match walk.verdict {
            Verdict::Banned => {
                match walk.cause {
                    Cause::Tested => bump(&counts.lurker_killed, 1),
                    Cause::Cutoff => bump(&counts.lurker_killed_cutoff, 1),
                }
                Verdict::Banned
            }
            Verdict::Clear(mark) => {
                let without_request = mark.passed_without_request();
                self.passed = self.passed.min(mark.passed());
                self.passed_without_request = self.passed_without_request.min(without_request);
                Verdict::Clear(mark)
            }
        }
    }

    /// Ends the round and drops the bans that are done; gives their number.
    ///
    /// For a round in which every object has been tested, those found banned removed, and the others given their
    /// new marks: an object left out counts as banned once a ban it was not tested against is gone.
    pub fn finish(self) -> usize {
        let held = self.oldest_held.map_or(u64::MAX, Mark::passed);
        let floor = self.passed.min(held);
        let floor_without_request = self.passed_without_request.min(held);
        self.list.retire(floor, floor_without_request)
    }
}
