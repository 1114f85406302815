//! What nobody waits for: testing stored objects against bans, and dropping those past every use.
//!
//! One task, one walk over the store at a time, yielding between batches so that requests on the same
//! thread do not wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bans::Verdict;
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
    let mut next_reap = Instant::now() + REAP_INTERVAL;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = shutdown.wait_for(|begun| *begun) => return,
        }
        let reap = Instant::now() >= next_reap;
        if reap {
            next_reap = Instant::now() + REAP_INTERVAL;
        }
        if reap || front.bans.lurk().is_some() {
            let metrics = Arc::clone(&front.metrics);
            let front = Arc::clone(&front);
            // A walk over a million objects takes long enough to be in the way of a thread's requests.
            let walk = tokio::task::spawn_blocking(move || walk(&front, reap));
            if let Err(failed) = walk.await {
                metrics.count(Counter::Panics);
                tracing::error!(error = %failed, "housekeeping walk failed");
            }
        }
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
            gone.push((Arc::clone(key), Arc::clone(object), Gone::Dead));
        } else if let Some(lurk) = &mut lurk {
            match lurk.test(object.ban_mark(), &BanObject(object), now) {
                Verdict::Banned => gone.push((Arc::clone(key), Arc::clone(object), Gone::Banned)),
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
}
