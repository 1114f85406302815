//! The verdict over a server's recent probes. No I/O: [`super::probe`] asks, this remembers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::settings::ProbeSettings;

/// A server's health as probes left it. Written by one probe task, read by every request.
#[derive(Debug)]
pub(super) struct Health {
    /// `None` where nobody probes: always up.
    window: Option<Window>,
    /// Bit 0 is the latest probe, a set bit went well.
    happy: AtomicU64,
    up: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    mask: u64,
    threshold: u32,
}

impl Window {
    fn verdict(self, happy: u64) -> bool {
        (happy & self.mask).count_ones() >= self.threshold
    }
}

/// How one probe changed the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transition {
    StillUp,
    StillDown,
    WentUp,
    WentDown,
}

impl Health {
    /// Health before the first probe: the last `initial` probes are taken to have gone well.
    pub(super) fn new(probe: Option<&ProbeSettings>) -> Health {
        let Some(probe) = probe else {
            return Health {
                window: None,
                happy: AtomicU64::new(0),
                up: AtomicBool::new(true),
            };
        };
        let window = Window {
            mask: low_bits(probe.window),
            threshold: probe.threshold,
        };
        let happy = low_bits(probe.initial.min(probe.threshold));
        Health {
            window: Some(window),
            happy: AtomicU64::new(happy),
            up: AtomicBool::new(window.verdict(happy)),
        }
    }

    /// Takes in one probe. Only one task may call it at a time.
    pub(super) fn record(&self, went_well: bool) -> Transition {
        let Some(window) = self.window else {
            return Transition::StillUp;
        };
        let happy = (self.happy.load(Ordering::Relaxed) << 1) | u64::from(went_well);
        let up = window.verdict(happy);
        self.happy.store(happy, Ordering::Relaxed);
        match (self.up.swap(up, Ordering::Relaxed), up) {
            (true, true) => Transition::StillUp,
            (false, false) => Transition::StillDown,
            (false, true) => Transition::WentUp,
            (true, false) => Transition::WentDown,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn happy(&self) -> u64 {
        self.happy.load(Ordering::Relaxed)
    }

    pub(super) fn is_probed(&self) -> bool {
        self.window.is_some()
    }
}

fn low_bits(count: u32) -> u64 {
    match count {
        0 => 0,
        1..=63 => (1 << count) - 1,
        _ => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(window: u32, threshold: u32, initial: u32) -> ProbeSettings {
        ProbeSettings {
            window,
            threshold,
            initial,
            ..ProbeSettings::default()
        }
    }

    #[test]
    fn verdict_follows_the_window() {
        // `+` is a good probe, `-` a bad one; upper case answers the verdict after each.
        fn check(probe: ProbeSettings, before: bool, probes: &str, expected: &str) {
            let health = Health::new(Some(&probe));
            assert_eq!(health.is_up(), before, "before the first of {probes}");
            let seen: String = probes
                .chars()
                .map(|probe| {
                    health.record(probe == '+');
                    if health.is_up() { 'U' } else { 'D' }
                })
                .collect();
            assert_eq!(seen, expected, "{probes} with {probe:?}");
        }
        // The first probe decides when one is missing.
        check(settings(8, 3, 2), false, "+", "U");
        check(settings(8, 3, 2), false, "-++", "DUU");
        // Down once fewer than the threshold are left in the window.
        check(settings(4, 3, 3), true, "+--+++", "UUDDDU");
        check(settings(1, 1, 0), false, "+-+", "UDU");
        // Initial never counts beyond the threshold: one bad probe in a full window is enough here.
        check(settings(2, 2, 64), true, "-", "D");
        check(settings(64, 64, 0), false, "+", "D");
        check(settings(3, 0, 0), true, "---", "UUU");
    }

    #[test]
    fn happy_keeps_sixty_four_probes() {
        let health = Health::new(Some(&settings(8, 3, 2)));
        assert_eq!(health.happy(), 0b11);
        assert_eq!(health.record(true), Transition::WentUp);
        assert_eq!(health.record(false), Transition::StillUp);
        assert_eq!(health.happy(), 0b1110);
        for _ in 0..64 {
            health.record(true);
        }
        assert_eq!(health.happy(), u64::MAX);
        for _ in 0..5 {
            health.record(false);
        }
        assert!(health.is_up());
        assert_eq!(health.record(false), Transition::WentDown);
        assert_eq!(health.record(false), Transition::StillDown);
    }

    #[test]
    fn unprobed_server_is_up_and_stays_so() {
        let health = Health::new(None);
        assert!(health.is_up() && !health.is_probed());
        assert_eq!(health.record(false), Transition::StillUp);
        assert!(health.is_up());
        assert_eq!(health.happy(), 0);
    }
}
