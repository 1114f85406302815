//! What nobody waits for: testing stored objects against bans, and dropping those past every use.
//!
//! One task, one walk over the store at a time, yielding between batches so that requests on the same
//! thread do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bans::{Mark, Verdict};
use crate::front::{BanObject, Front};
use crate::metrics::Counter;
use crate::object::Object;
use crate::store::Key;
use crate::time::Timestamp;

/// How often dead objects are looked for: they cost memory that eviction would also find, so seldom.
const REAP_INTERVAL: Duration = Duration::from_secs(10);

/// Walks until `shutdown`. Bans are looked at every `lurker_interval`.
pub async fn run(
    front: Arc<Front>,
    lurker_interval: Duration,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut ticks = interval(lurker_interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds = Rounds {
        next_reap: Instant::now() + REAP_INTERVAL,
        walked_for: None,
    };
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = shutdown.wait_for(|begun| *begun) => return,
        }
        let listed = front.bans.lurk().map(|_| front.bans.newest());
        if let Some(reap) = rounds.due(listed, Instant::now()) {
            let metrics = Arc::clone(&front.metrics);
            let front = Arc::clone(&front);
            // A walk over a million objects takes long enough to be in the way of a thread's requests.
            let walk = tokio::task::spawn_blocking(move || walk(&front, reap == Reap::Yes));
            if let Err(failed) = walk.await {
                metrics.count(Counter::Panics);
                tracing::error!(error = %failed, "housekeeping walk failed");
            }
        }
    }
}

/// Whether a walk also takes out what is past every use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reap {
    Yes,
    No,
}

/// When to walk.
#[derive(Debug)]
struct Rounds {
    next_reap: Instant,
    /// The newest ban when the last walk began.
    walked_for: Option<Mark>,
}

impl Rounds {
    /// Whether a walk is due, `listed` being the newest of the bans if there are any. A ban gets one walk at
    /// once. What that leaves listed waits for look-ups or for fetches, so further walks only come with those
    /// that reap: else one ban on requests would keep a processor walking for as long as it is listed.
    fn due(&mut self, listed: Option<Mark>, now: Instant) -> Option<Reap> {
        let reap = now >= self.next_reap;
        if reap {
            self.next_reap = now + REAP_INTERVAL;
        } else if listed.is_none() || listed == self.walked_for {
            return None;
        }
        self.walked_for = listed;
        Some(if reap { Reap::Yes } else { Reap::No })
    }
}

/// Why an object is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    Dead,
    Banned,
}

/// One walk over everything stored.
fn walk(front: &Arc<Front>, reap: bool) {
    let now = Timestamp::now();
    let mut lurk = front.bans.lurk();
    let mut gone: Vec<(Key, Arc<Object>, Gone)> = Vec::new();
    let mut dead = 0;
    front.store.for_each(|key, object| {
        if reap && object.is_dead(now) {
            gone.push((Key::from(key), Arc::clone(object), Gone::Dead));
        } else if let Some(lurk) = &mut lurk {
            match lurk.test(object.ban_mark(), &BanObject(object), now) {
                Verdict::Banned => gone.push((Key::from(key), Arc::clone(object), Gone::Banned)),
                Verdict::Clear(mark) => object.set_ban_mark(mark),
            }
        }
    });
    for (key, object, why) in gone {
        // Somebody else may have taken it out meanwhile, and counted it.
        if front.store.remove(&key, &object) && why == Gone::Dead {
            dead += 1;
        }
    }
    front.metrics.add(Counter::ObjectsExpired, dead);
    if let Some(lurk) = lurk {
        lurk.finish();
    }
    front.store.run_pending_tasks();
    if reap {
        give_freed_memory_back();
    }
}

/// Lets the allocator return what has been free for a while to the system. mimalloc does that a second after a large
/// piece became free, but only when it next handles one: in a process that has become idle, never. Its own call for it
/// cannot be made from here, so a large piece, which is not touched, is taken and freed.
pub fn give_freed_memory_back() {
    const LARGE_BYTES: usize = 4 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_BYTES)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ban_that_stays_listed_is_walked_for_once_until_the_next_reaping() {
        let start = Instant::now();
        let mut rounds = Rounds {
            next_reap: start + REAP_INTERVAL,
            walked_for: None,
        };
        let (first, second) = (Some(Mark::from_u64(1)), Some(Mark::from_u64(2)));
        let mut check = |listed, seconds, expected| {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(rounds.due(listed, now), expected, "after {seconds} s");
        };
        check(None, 0, None);
        check(first, 1, Some(Reap::No));
        check(first, 2, None);
        check(second, 3, Some(Reap::No));
        check(second, 4, None);
        check(second, 10, Some(Reap::Yes));
        check(second, 11, None);
        check(None, 12, None);
        check(None, 20, Some(Reap::Yes));
    }
}
