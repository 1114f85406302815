//! Moments as dates in UTC.

use crate::time::Timestamp;

/// A moment taken apart, proleptic Gregorian, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: u64,
    /// 1 to 12.
    pub(super) month: u64,
    /// 1 to 31.
    pub(super) day: u64,
    pub(super) hour: u64,
    pub(super) minute: u64,
    pub(super) second: u64,
    pub(super) millisecond: u64,
}

const DAYS_PER_400_YEARS: u64 = 146_097;
const DAYS_PER_100_YEARS: u64 = 36_524;
const DAYS_PER_4_YEARS: u64 = 1_461;
/// From 0000-03-01 to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

impl From<Timestamp> for Date {
    /// Years are counted from March, so that the day a leap year adds comes last.
    fn from(time: Timestamp) -> Date {
        let seconds = time.as_secs();
        let days = seconds / 86_400 + EPOCH_DAYS;
        let in_era = days % DAYS_PER_400_YEARS;
        // Of the 400 years' last day, each division counts one year too many; `min` takes it back.
        let centuries = (in_era / DAYS_PER_100_YEARS).min(3);
        let in_century = in_era - centuries * DAYS_PER_100_YEARS;
        let fours = in_century / DAYS_PER_4_YEARS;
        let in_four = in_century - fours * DAYS_PER_4_YEARS;
        let years = (in_four / 365).min(3);
        let day_of_year = in_four - years * 365;
        // March to July and August to December each take 153 days, January and February the rest.
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let year_from_march = days / DAYS_PER_400_YEARS * 400 + centuries * 100 + fours * 4 + years;
        let (month, year) = match month_from_march {
            0..=9 => (month_from_march + 3, year_from_march),
            _ => (month_from_march - 9, year_from_march + 1),
        };
        Date {
            year,
            month,
            day,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            millisecond: time.as_millis() % 1000,
        }
    }
}

impl Date {
    /// English, three letters, as logs have it.
    pub(super) fn month_name(&self) -> &'static str {
        const NAMES: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        NAMES[self.month as usize - 1]
    }
}
