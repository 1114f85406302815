//! A span of time in four bytes.

use std::time::Duration;

/// Exact to the millisecond up to twelve days, to the second above, and 101 years at the most. Periods compare as their
/// bits do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Period(
    /// Milliseconds below [`MILLIS_END`]; from there on whole seconds, counted from where the milliseconds end.
    u32,
);

/// 2^30, taken down to a whole second.
const MILLIS_END: u32 = 1_073_741_000;

impl Period {
    pub(super) fn from_bits(bits: u32) -> Period {
        Period(bits)
    }

    pub(super) fn to_bits(self) -> u32 {
        self.0
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Period {
        let millis = duration.as_millis();
        Period(match u32::try_from(millis) {
            Ok(millis) if millis < MILLIS_END => millis,
            _ => {
                let seconds = duration.as_secs() - u64::from(MILLIS_END / 1000);
                u32::try_from(seconds)
                    .map_or(u32::MAX, |seconds| seconds.saturating_add(MILLIS_END))
            }
        })
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Duration {
        match period.0.checked_sub(MILLIS_END) {
            None => Duration::from_millis(u64::from(period.0)),
            Some(seconds) => Duration::from_secs(u64::from(seconds) + u64::from(MILLIS_END / 1000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_periods_are_exact_and_long_ones_to_the_second() {
        fn check(millis: u64, expected: u64) {
            let period = Period::from(Duration::from_millis(millis));
            let back = Duration::from(Period::from_bits(period.to_bits()));
            assert_eq!(back, Duration::from_millis(expected), "{millis}");
        }
        let end = u64::from(MILLIS_END);
        for exact in [0, 1, 999, 86_400_000, end - 1, end, end + 1000, 1000 << 31] {
            check(exact, exact);
        }
        check(end + 999, end);
        check(end + 1999, end + 1000);
        check(u64::MAX, end + u64::from(u32::MAX - MILLIS_END) * 1000);
    }

    #[test]
    fn periods_compare_as_their_lengths() {
        let end = u64::from(MILLIS_END);
        let lengths = [0, 1, 1000, end - 1, end, end + 1000, 1 << 40, u64::MAX];
        for (shorter, longer) in lengths.iter().zip(&lengths[1..]) {
            let bits = |millis: &u64| Period::from(Duration::from_millis(*millis)).to_bits();
            assert!(bits(shorter) < bits(longer), "{shorter} {longer}");
        }
    }
}
