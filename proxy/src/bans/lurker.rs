//! One round of the lurker: test what needs no request, then drop the bans that are done.
//!
//! The store iterates its objects; this only judges them. A ban that asks nothing of a request is done once every
//! object has been tested against it; any other once every object's mark has passed it. Fills that were under
//! way when the round began may enter the store behind the iteration, so their marks bound what may go.

use std::sync::Arc;

use super::BanSubject;
use super::list::{BanList, Cause, Entry, Mark, Snapshot, Verdict, bump};
use crate::time::Timestamp;

/// What a lurker's test says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LurkVerdict {
    /// A ban matches: remove the object.
    Banned,
    /// The object may take this mark (as in [`Verdict::Clear`]).
    Clear(Mark),
}

/// A round under way. Give each object in the store to [`Lurk::test`], then call [`Lurk::finish`];
/// a round that is dropped has changed nothing but counters.
#[derive(Debug)]
#[must_use = "bans leave the list only when a round is finished"]
pub struct Lurk {
    list: Arc<BanList>,
    snapshot: Arc<Snapshot>,
    /// The oldest mark held by a fill when the round began.
    oldest_held: Option<Mark>,
    /// The oldest mark among the objects tested.
    oldest: Mark,
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
            oldest: snapshot.newest,
            snapshot,
            oldest_held,
        })
    }
}

impl Lurk {
    /// Tests one object against the bans that need no request. Costs nothing for objects whose mark is the newest.
    pub fn test(&mut self, from: Mark, object: &dyn BanSubject, now: Timestamp) -> LurkVerdict {
        if from >= self.snapshot.newest {
            return LurkVerdict::Clear(from);
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
                LurkVerdict::Banned
            }
            Verdict::Clear(mark) => {
                self.oldest = self.oldest.min(mark);
                LurkVerdict::Clear(mark)
            }
        }
    }

    /// Ends the round and drops the bans that are done; gives their number.
    ///
    /// Only for a round in which **every** object that was in the store when it began has been tested, and every
    /// one found banned removed: bans that some object still needs would be lost otherwise.
    pub fn finish(self) -> usize {
        let Lurk {
            list,
            snapshot,
            oldest_held,
            oldest,
        } = self;
        let tested_by_all = oldest_held.unwrap_or(snapshot.newest).min(snapshot.newest);
        let passed_by_all = oldest.min(tested_by_all);
        list.retire(|entry: &Entry| {
            let bound = match entry.ban.needs_request() {
                true => passed_by_all,
                false => tested_by_all,
            };
            entry.mark <= bound
        })
    }
}
