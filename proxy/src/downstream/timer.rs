//! One timer for all the waits of a connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Waits happen one after the other, mostly end at once, and mostly each ends later than the one before would
/// have. So the runtime's timer is armed only when something really waits, left where it is while the deadline
/// moves back, and moved when it goes off too early. A timeout for each call costs three times as much.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When the present wait began; `None` before it did.
    since: Option<Instant>,
}

/// Stands in for durations that no clock can hold.
const FAR: Duration = Duration::from_secs(86_400 * 365);

impl Timer {
    /// The next [`Timer::poll_elapsed`] begins another wait.
    pub(super) fn restart(&mut self) {
        self.since = None;
    }

    /// The next [`Timer::poll_elapsed`] goes on with a wait that began at `since`, where that is known.
    pub(super) fn restart_at(&mut self, since: Option<Instant>) {
        self.since = since;
    }

    /// Ready once `limit` has passed since the first call after [`Timer::restart`].
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        let deadline = *self.since.get_or_insert_with(Instant::now) + limit.min(FAR);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
