//! Pieces of field syntax that several rules read: quoted lists, delta-seconds, single-valued fields.

use std::time::Duration;

pub(super) use crate::http::is_token;

use crate::http::{Fields, Lines};

/// The largest number of seconds that is told apart: RFC 9111 §1.2.2 has greater ones count as this.
pub(super) const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// One member of a comma-separated list, without surrounding white space; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member<'a> {
    Sound(&'a [u8]),
    /// A piece at or after a quote that never ends. Where this member ends cannot be known, so a
    /// reader takes from it only what makes the answer safer.
    Broken(&'a [u8]),
}

/// The members of one field line (RFC 9110 §5.6.1); commas inside quoted strings do not divide.
pub(super) fn members(line: &[u8]) -> Members<'_> {
    Members {
        rest: line,
        broken: false,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Members<'a> {
    rest: &'a [u8],
    broken: bool,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        while !self.rest.is_empty() {
            let end = if self.broken {
                None
            } else {
                member_end(self.rest)
            };
            let end = end.unwrap_or_else(|| {
                self.broken = true;
                memchr::memchr(b',', self.rest).unwrap_or(self.rest.len())
            });
            let member = self.rest[..end].trim_ascii();
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !member.is_empty() {
                return Some(if self.broken {
                    Member::Broken(member)
                } else {
                    Member::Sound(member)
                });
            }
        }
        None
    }
}

/// Where the first member ends; `None` when a quoted string in it does not.
fn member_end(list: &[u8]) -> Option<usize> {
    let mut position = 0;
    while position < list.len() {
        match list[position] {
            b',' => return Some(position),
            b'"' => position += quoted_len(&list[position..])?,
            _ => position += 1,
        }
    }
    Some(position)
}

/// Length of the quoted string (RFC 9110 §5.6.4) at the start of `text`, both quotes counted.
pub(super) fn quoted_len(text: &[u8]) -> Option<usize> {
    let mut position = 1;
    while let Some(byte) = text.get(position) {
        match byte {
            b'"' => return Some(position + 1),
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
    None
}

/// RFC 9111 §1.2.2 `delta-seconds`: digits only; more than 2^31 counts as 2^31.
pub(super) fn delta_seconds(text: &[u8]) -> Option<Duration> {
    let seconds = decimal(text)?;
    Some(Duration::from_secs(seconds.min(DELTA_SECONDS_MAX)))
}

/// A number of one or more digits; one that does not fit counts as the largest that does.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then(|| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(byte - b'0'))
        })
    })
}

/// RFC 9110 §5.6.2 `tchar`.
pub(super) fn is_token_byte(byte: u8) -> bool {
    is_token(&[byte])
}

/// The value of a field that may occur only once; `None` where it is absent or repeated.
pub(super) fn only<'a>(fields: &'a Fields, name: &'a str) -> Option<&'a [u8]> {
    match fields.get_only(name) {
        Lines::One(value) => Some(value),
        Lines::None | Lines::Several => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_divide_at_commas_outside_quotes() {
        fn check(line: &str, sound: &[&str], broken: &[&str]) {
            let (mut found_sound, mut found_broken) = (Vec::new(), Vec::new());
            for member in members(line.as_bytes()) {
                match member {
                    Member::Sound(text) => found_sound.push(String::from_utf8_lossy(text)),
                    Member::Broken(text) => found_broken.push(String::from_utf8_lossy(text)),
                }
            }
            assert_eq!(found_sound, sound, "{line}");
            assert_eq!(found_broken, broken, "{line}");
        }
        check("", &[], &[]);
        check(" , ,", &[], &[]);
        check("a", &["a"], &[]);
        check("a, b ,\tc", &["a", "b", "c"], &[]);
        check(r#"a="x, y", b"#, &[r#"a="x, y""#, "b"], &[]);
        check(r#"a="x\", y", b"#, &[r#"a="x\", y""#, "b"], &[]);
        check(r#"a, b="x, c"#, &["a"], &[r#"b="x"#, "c"]);
        check(r#"b="x\"#, &[], &[r#"b="x\"#]);
    }

    #[test]
    fn delta_seconds_are_digits_and_saturate() {
        fn check(text: &str, expected: Option<u64>) {
            assert_eq!(
                delta_seconds(text.as_bytes()),
                expected.map(Duration::from_secs),
                "{text}"
            );
        }
        check("0", Some(0));
        check("0060", Some(60));
        check("2147483647", Some(2_147_483_647));
        check("2147483648", Some(2_147_483_648));
        check("2147483649", Some(2_147_483_648));
        check("99999999999999999999999999", Some(2_147_483_648));
        for text in ["", "-1", "+1", "1.5", "1 ", "a", "0x1"] {
            check(text, None);
        }
    }
}
