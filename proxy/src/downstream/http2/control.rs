//! Frames that cost us work and a client nothing, counted.

use std::time::Duration;

use tokio::time::Instant;

/// What the limit is for.
const STRETCH: Duration = Duration::from_secs(10);

/// PING, SETTINGS, PRIORITY, GOAWAY and unknown frames, DATA without any, streams beyond what is allowed at once, and
/// header blocks of streams that were reset.
/// Other frames grow in number with the work that a client is here for.
#[derive(Debug)]
pub(super) struct Control {
    max: u32,
    /// Since when, and how many.
    since: Instant,
    count: u32,
}

impl Control {
    /// `max` is for ten seconds.
    pub(super) fn new(max: u32) -> Control {
        Control {
            max,
            since: Instant::now(),
            count: 0,
        }
    }

    /// Counts one; says whether there are too many.
    pub(super) fn add(&mut self) -> bool {
        let now = Instant::now();
        if now.duration_since(self.since) >= STRETCH {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count > self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_for_ten_seconds() {
        let mut control = Control::new(3);
        assert_eq!([(); 3].map(|()| control.add()), [false; 3]);
        tokio::time::advance(STRETCH).await;
        assert_eq!([(); 3].map(|()| control.add()), [false; 3]);
        tokio::time::advance(STRETCH / 2).await;
        assert!(control.add());
    }
}
