//! HTTP dates (RFC 9110 §5.6.7): read in three forms, written in one.

use crate::time::Timestamp;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAYS_LONG: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SECONDS_A_DAY: u64 = 86_400;
/// Days from 0000-03-01 to 1970-01-01: years that begin in March have their leap day at the end.
const MARCH_DAYS_TO_EPOCH: u64 = 719_468;
/// 9999-12-31T23:59:59Z, the last second that four digits of a year can write.
const LAST_SECOND: u64 = 253_402_300_799;

/// Reads an HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994` (RFC 9110 §5.6.7), names in any case, no other zone, nothing around it.
///
/// A two-digit year means 1970 to 2069: no such year lies more than 50 years ahead, which is what the
/// section asks, and the choice needs no clock. The day's name has to be one but need not be right. A
/// moment before 1970 is read as 1970: all that a rule asks of it is that it is past.
pub fn parse_http_date(text: &[u8]) -> Option<Timestamp> {
    match memchr::memchr(b',', text) {
        Some(3) => imf_fixdate(text),
        Some(comma) => rfc850_date(&text[..comma], &text[comma + 1..]),
        None => asctime_date(text),
    }
}

/// Writes a moment as IMF-fixdate (RFC 9110 §5.6.7), its milliseconds dropped. Years end at 9999.
pub fn format_http_date(moment: Timestamp) -> [u8; 29] {
    let seconds = moment.as_secs().min(LAST_SECOND);
    let (days, second) = (seconds / SECONDS_A_DAY, seconds % SECONDS_A_DAY);
    let (year, month, day) = civil(days);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // 1970-01-01 was a Thursday, the fourth name.
    text[..3].copy_from_slice(DAYS[((days + 3) % 7) as usize].as_bytes());
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize].as_bytes());
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second / 3600);
    two_digits(&mut text[20..22], second / 60 % 60);
    two_digits(&mut text[23..25], second % 60);
    text
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &[u8]) -> Option<Timestamp> {
    if text.len() != 29 || text[4] != b' ' || text[7] != b' ' || text[11] != b' ' {
        return None;
    }
    position(&DAYS, &text[..3])?;
    timestamp(
        number(&text[12..16])?,
        month(&text[8..11])?,
        number(&text[5..7])?,
        time_gmt(&text[16..])?,
    )
}

/// `Sunday` and ` 06-Nov-94 08:49:37 GMT`
fn rfc850_date(day_name: &[u8], text: &[u8]) -> Option<Timestamp> {
    position(&DAYS_LONG, day_name)?;
    if text.len() != 23 || text[0] != b' ' || text[3] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = match number(&text[8..10])? {
        year @ 70.. => 1900 + year,
        year => 2000 + year,
    };
    timestamp(
        year,
        month(&text[4..7])?,
        number(&text[1..3])?,
        time_gmt(&text[10..])?,
    )
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime_date(text: &[u8]) -> Option<Timestamp> {
    if text.len() != 24 || text[3] != b' ' || text[7] != b' ' || text[19] != b' ' {
        return None;
    }
    position(&DAYS, &text[..3])?;
    let day = match text[8] {
        b' ' => number(&text[9..10])?,
        _ => number(&text[8..10])?,
    };
    timestamp(
        number(&text[20..])?,
        month(&text[4..7])?,
        day,
        time(&text[10..19])?,
    )
}

/// ` 08:49:37 GMT` to seconds of the day.
fn time_gmt(text: &[u8]) -> Option<u64> {
    let (time_of_day, zone) = text.split_at_checked(9)?;
    zone.eq_ignore_ascii_case(b" GMT").then_some(())?;
    time(time_of_day)
}

/// ` 08:49:37` to seconds of the day. A leap second is the start of the next minute.
fn time(text: &[u8]) -> Option<u64> {
    if text.len() != 9 || text[0] != b' ' || text[3] != b':' || text[6] != b':' {
        return None;
    }
    let (hour, minute, second) = (
        number(&text[1..3])?,
        number(&text[4..6])?,
        number(&text[7..9])?,
    );
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn month(name: &[u8]) -> Option<u64> {
    let name: [u8; 3] = name.try_into().ok()?;
    Some(match &name.map(|byte| byte.to_ascii_lowercase()) {
        b"jan" => 1,
        b"feb" => 2,
        b"mar" => 3,
        b"apr" => 4,
        b"may" => 5,
        b"jun" => 6,
        b"jul" => 7,
        b"aug" => 8,
        b"sep" => 9,
        b"oct" => 10,
        b"nov" => 11,
        b"dec" => 12,
        _ => return None,
    })
}

fn position(names: &[&str], name: &[u8]) -> Option<usize> {
    names
        .iter()
        .position(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

fn number(digits: &[u8]) -> Option<u64> {
    super::syntax::decimal(digits)
}

fn timestamp(year: u64, month: u64, day: u64, second_of_day: u64) -> Option<Timestamp> {
    if day == 0 || day > days_in_month(year, month) {
        return None;
    }
    // Counted from March, the months before it belong to the year before.
    let (march_year, march_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = march_year * 365 + march_year / 4 - march_year / 100
        + march_year / 400
        + (march_month * 153 + 2) / 5
        + (day - 1);
    match days.checked_sub(MARCH_DAYS_TO_EPOCH) {
        Some(days) => Some(Timestamp::from_secs(days * SECONDS_A_DAY + second_of_day)),
        None => Some(Timestamp::EPOCH),
    }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a day counted from 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + MARCH_DAYS_TO_EPOCH;
    // 146,097 days are 400 years; the corrections take out the leap days before the division by 365.
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let year = era * 400 + year_of_era;
    if march_month < 10 {
        (year, march_month + 3, day)
    } else {
        (year + 1, march_month - 9, day)
    }
}

fn two_digits(place: &mut [u8], number: u64) {
    place[0] = b'0' + (number / 10 % 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_are_read_in_any_case() {
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(
                parse_http_date(text.as_bytes()),
                expected.map(Timestamp::from_secs),
                "{text}"
            );
        }
        let example = Some(784_111_777);
        check("Sun, 06 Nov 1994 08:49:37 GMT", example);
        check("sun, 06 NOV 1994 08:49:37 gmt", example);
        check("Sunday, 06-Nov-94 08:49:37 GMT", example);
        check("SUNDAY, 06-nov-94 08:49:37 GMT", example);
        check("Sun Nov  6 08:49:37 1994", example);
        check("Sun Nov 06 08:49:37 1994", example);
        check("Mon, 06 Nov 1994 08:49:37 GMT", example);

        check("Thu, 01 Jan 1970 00:00:00 GMT", Some(0));
        check("Thu, 01 Jan 1970 00:00:60 GMT", Some(60));
        check("Mon, 01 Jan 0001 00:00:00 GMT", Some(0));
        check("Tue, 29 Feb 2000 00:00:00 GMT", Some(951_782_400));
        check("Wed, 01 Mar 2000 00:00:00 GMT", Some(951_868_800));
        check("Fri, 31 Dec 9999 23:59:59 GMT", Some(LAST_SECOND));
        check("Thursday, 01-Jan-70 00:00:00 GMT", Some(0));
        check("Tuesday, 01-Jan-69 00:00:00 GMT", Some(3_124_224_000));

        for malformed in [
            "",
            "0",
            "-1",
            ",",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            " Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Thu, 31 Nov 1994 08:49:37 GMT",
            "Thu, 29 Feb 1900 08:49:37 GMT",
            "Thu, 29 Feb 2023 08:49:37 GMT",
            "Sun, 06 Nox 1994 08:49:37 GMT",
            "Xyz, 06 Nov 1994 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06 Nov 94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov   08:49:37 1994",
        ] {
            check(malformed, None);
        }
    }

    #[test]
    fn dates_are_written_as_imf_fixdate() {
        fn check(seconds: u64, expected: &str) {
            let text = format_http_date(Timestamp::from_secs(seconds));
            assert_eq!(std::str::from_utf8(&text), Ok(expected));
        }
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT");
        check(4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT");
        check(u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn a_written_date_is_read_back() {
        // Steps of about 1.3 days reach every day of week, month and leap year up to 9999.
        for seconds in (0..=LAST_SECOND).step_by(109_367) {
            let text = format_http_date(Timestamp::from_secs(seconds));
            assert_eq!(
                parse_http_date(&text),
                Some(Timestamp::from_secs(seconds)),
                "{}",
                String::from_utf8_lossy(&text)
            );
        }
    }
}
