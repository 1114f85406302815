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

/// Faults of a client, less one for each second since: a connection may last for days.
#[derive(Debug)]
pub(super) struct Faults {
    count: usize,
    forgiven: Instant,
}

impl Faults {
    pub(super) fn new() -> Faults {
        Faults {
            count: 0,
            forgiven: Instant::now(),
        }
    }

    /// Counts one; gives how many there are.
    pub(super) fn add(&mut self) -> usize {
        let seconds = self.forgiven.elapsed().as_secs();
        if seconds > 0 {
            let forgiven = usize::try_from(seconds).unwrap_or(usize::MAX);
            self.count = self.count.saturating_sub(forgiven);
            self.forgiven = Instant::now();
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_forgiven_each_second() {
        let mut faults = Faults::new();
        assert_eq!([(); 3].map(|()| faults.add()), [1, 2, 3]);
        tokio::time::advance(Duration::from_millis(900)).await;
        assert_eq!(faults.add(), 4);
        tokio::time::advance(Duration::from_millis(1200)).await;
        assert_eq!(faults.add(), 3);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(faults.add(), 1);
    }

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
