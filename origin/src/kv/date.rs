//! Points in time and their HTTP form (RFC 9110 §5.6.7).

use std::fmt;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const WEEKDAYS_LONG: [&str; 7] = [
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A point in time, as PostgreSQL keeps it: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// Microseconds since the epoch, negative before it.
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Whole seconds since the epoch, negative before it.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self {
            micros: seconds * MICROS_PER_SECOND,
        }
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// The second that this point lies in, counted from the epoch. HTTP compares these.
    pub const fn second(self) -> i64 {
        self.micros.div_euclid(MICROS_PER_SECOND)
    }

    /// Reads an HTTP date in any of the three forms of RFC 9110 §5.6.7.
    ///
    /// The calendar is checked (no 30 February), the weekday's name must be one but
    /// need not fit the date. `now` gives the century of the two-digit form.
    /// `None` for anything else.
    pub fn parse_http_date(text: &str, now: Timestamp) -> Option<Self> {
        parse_imf_fixdate(text)
            .or_else(|| parse_rfc850(text, now))
            .or_else(|| parse_asctime(text))
    }

    /// Reads only the preferred form, `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn parse_imf_fixdate(text: &str) -> Option<Self> {
        parse_imf_fixdate(text)
    }
}

/// The preferred HTTP form: `Sun, 06 Nov 1994 08:49:37 GMT`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.second();
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let time = seconds.rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        write!(
            f,
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            WEEKDAYS[days.rem_euclid(7) as usize],
            MONTHS[month as usize - 1],
            time / 3600,
            time / 60 % 60,
            time % 60,
        )
    }
}

fn parse_imf_fixdate(text: &str) -> Option<Timestamp> {
    // Sun, 06 Nov 1994 08:49:37 GMT
    let bytes = text.as_bytes();
    if bytes.len() != 29 || !text.is_ascii() || &bytes[3..5] != b", " || &bytes[25..] != b" GMT" {
        return None;
    }
    if bytes[7] != b' ' || bytes[11] != b' ' || bytes[16] != b' ' {
        return None;
    }
    position(&WEEKDAYS, &text[..3])?;
    let day = digits(&text[5..7])?;
    let month = position(&MONTHS, &text[8..11])? + 1;
    let year = digits(&text[12..16])?;
    assemble(year, month, day, parse_time(&text[17..25])?)
}

fn parse_rfc850(text: &str, now: Timestamp) -> Option<Timestamp> {
    // Sunday, 06-Nov-94 08:49:37 GMT
    let (weekday, rest) = text.split_once(", ")?;
    position(&WEEKDAYS_LONG, weekday)?;
    let bytes = rest.as_bytes();
    if bytes.len() != 22 || !rest.is_ascii() || &bytes[18..] != b" GMT" {
        return None;
    }
    if bytes[2] != b'-' || bytes[6] != b'-' || bytes[9] != b' ' {
        return None;
    }
    let day = digits(&rest[..2])?;
    let month = position(&MONTHS, &rest[3..6])? + 1;
    let (year_now, _, _) = civil_from_days(now.second().div_euclid(SECONDS_PER_DAY));
    let mut year = year_now - year_now.rem_euclid(100) + digits(&rest[7..9])?;
    // More than 50 years ahead means the past century (RFC 9110 §5.6.7).
    if year > year_now + 50 {
        year -= 100;
    }
    assemble(year, month, day, parse_time(&rest[10..18])?)
}

fn parse_asctime(text: &str) -> Option<Timestamp> {
    // Sun Nov  6 08:49:37 1994
    let bytes = text.as_bytes();
    if bytes.len() != 24 || !text.is_ascii() || bytes[3] != b' ' || bytes[7] != b' ' {
        return None;
    }
    if bytes[10] != b' ' || bytes[19] != b' ' {
        return None;
    }
    position(&WEEKDAYS, &text[..3])?;
    let month = position(&MONTHS, &text[4..7])? + 1;
    let day = digits(text[8..10].strip_prefix(' ').unwrap_or(&text[8..10]))?;
    assemble(digits(&text[20..])?, month, day, parse_time(&text[11..19])?)
}

/// Seconds within the day; a leap second counts as the second before it.
fn parse_time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 8 || bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        digits(&text[..2])?,
        digits(&text[3..5])?,
        digits(&text[6..])?,
    );
    (hour < 24 && minute < 60 && second <= 60).then(|| hour * 3600 + minute * 60 + second.min(59))
}

fn digits(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn position(names: &[&str], name: &str) -> Option<i64> {
    names
        .iter()
        .position(|candidate| *candidate == name)
        .map(|index| index as i64)
}

fn assemble(year: i64, month: i64, day: i64, time: i64) -> Option<Timestamp> {
    // PostgreSQL's calendar has no year 0.
    if year < 1 || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(Timestamp::from_seconds(
        days_from_civil(year, month, day) * SECONDS_PER_DAY + time,
    ))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to a date of the Gregorian calendar. Years are counted
/// from March, so that the leap day comes last in its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
        - 719_468
}

/// The inverse of [`days_from_civil`]: year, month from 1, day from 1.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = (months_since_march + 2) % 12 + 1;
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20.
    const NOW: Timestamp = Timestamp::from_seconds(1_795_132_800);

    #[track_caller]
    fn check(text: &str, seconds: Option<i64>) {
        assert_eq!(
            Timestamp::parse_http_date(text, NOW),
            seconds.map(Timestamp::from_seconds),
            "{text}"
        );
    }

    #[test]
    fn three_forms_are_read() {
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777));
        check("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777));
        check("Sun Nov  6 08:49:37 1994", Some(784_111_777));
        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Wed, 31 Dec 1969 23:59:59 GMT", Some(-1));
        check("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000));
        check("Fri, 31 Dec 9999 23:59:60 GMT", Some(253_402_300_799));
        check("Friday, 01-Jan-77 00:00:00 GMT", Some(220_924_800));
        check("Wednesday, 01-Jan-76 00:00:00 GMT", Some(3_345_062_400));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "bogus",
            "Tue, 04 Jun 2013 03:01:31 000",
            "Tue, 04 Jun 2013 03:01:31 UTC",
            "Tue, 04 Jun 2013 03:01:31 gmt",
            "tue, 04 Jun 2013 03:01:31 GMT",
            "Xyz, 04 Jun 2013 03:01:31 GMT",
            "Tue, 30 Feb 2013 03:01:31 GMT",
            "Tue, 29 Feb 2023 03:01:31 GMT",
            "Tue, 00 Jun 2013 03:01:31 GMT",
            "Tue, 04 Jun 2013 24:01:31 GMT",
            "Tue, 04 Jun 2013 03:60:31 GMT",
            "Tue, +4 Jun 2013 03:01:31 GMT",
            "Tue, 04 Jun 0000 03:01:31 GMT",
            "2013-06-04T03:01:31Z",
            "1370314891",
            "Tue, 04 Jun 2013 03:01:31 GMT ",
            "Tüe, 04 Jun 2013 03:01:31 GMT",
            "Sunday, 06-Nov-9é 08:49:37 GMT",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut seconds = -62_135_596_800;
        while seconds < 253_402_300_800 {
            let date = Timestamp::from_seconds(seconds);
            assert_eq!(
                Timestamp::parse_http_date(&date.to_string(), NOW),
                Some(date)
            );
            seconds += 86_400 * 13 + 3_607;
        }
    }

    #[test]
    fn a_fraction_belongs_to_its_second() {
        assert_eq!(Timestamp::from_micros(1_999_999).second(), 1);
        assert_eq!(Timestamp::from_micros(-1).second(), -1);
        assert_eq!(
            Timestamp::from_micros(784_111_777_999_999).to_string(),
            "Sun, 06 Nov 1994 08:49:37 GMT"
        );
    }
}
