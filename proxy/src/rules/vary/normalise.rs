//! One form for field values that mean the same (RFC 9111 §4.1): white space and empty members of lists,
//! lines that were split, and for the Accept family order, case, and how a weight is written.

use std::ops::Range;

use smallvec::SmallVec;

use super::VaryBytes;
use crate::rules::syntax::{Member, is_token, is_token_byte, members, quoted_len};

/// Between members and between lines: a byte that no field value holds.
const DIVIDER: u8 = b'\n';
/// Before a member that does not follow the syntax of its field and is kept as it came.
const VERBATIM: u8 = 1;
/// A weight of 1, in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// How far values of a field may be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// A single value in which commas or white space may mean something. Lines stay as they are.
    Single,
    /// A list, or a field that we do not know: white space around commas means nothing (RFC 9110 §5.6.1).
    List,
    /// RFC 9110 §12.5.1: media ranges with parameters, whose values may depend on case.
    Accept,
    /// RFC 9110 §12.5.2 to §12.5.4: ranges without parameters, in any case.
    AcceptOther,
}

impl Syntax {
    fn of(lower_case_name: &str) -> Syntax {
        match lower_case_name {
            "accept" => Syntax::Accept,
            "accept-charset" | "accept-encoding" | "accept-language" => Syntax::AcceptOther,
            "authorization"
            | "cookie"
            | "from"
            | "host"
            | "if-modified-since"
            | "if-range"
            | "if-unmodified-since"
            | "origin"
            | "referer"
            | "user-agent" => Syntax::Single,
            _ => Syntax::List,
        }
    }
}

/// Appends the one form of a field's value, given by its lines.
pub(super) fn append<'a>(
    key: &mut VaryBytes,
    lower_case_name: &str,
    lines: impl Iterator<Item = &'a [u8]>,
) {
    let syntax = Syntax::of(lower_case_name);
    match syntax {
        Syntax::Single => divide(key, lines, |key, line| {
            key.extend_from_slice(line.trim_ascii());
        }),
        Syntax::List => divide(key, lines.flat_map(members), |key, member| {
            key.extend_from_slice(text_of(member));
        }),
        Syntax::Accept | Syntax::AcceptOther => sorted(key, syntax, lines.flat_map(members)),
    }
}

fn divide<T>(
    key: &mut VaryBytes,
    pieces: impl Iterator<Item = T>,
    mut append_piece: impl FnMut(&mut VaryBytes, T),
) {
    for (index, piece) in pieces.enumerate() {
        if index > 0 {
            key.push(DIVIDER);
        }
        append_piece(key, piece);
    }
}

/// Order says nothing in the Accept family: preference is told by weights.
fn sorted<'a>(key: &mut VaryBytes, syntax: Syntax, list: impl Iterator<Item = Member<'a>>) {
    let mut scratch = VaryBytes::new();
    let mut places: SmallVec<[Range<usize>; 16]> = SmallVec::new();
    for member in list {
        let start = scratch.len();
        let sound = match member {
            Member::Sound(text) => append_preference(&mut scratch, syntax, text),
            Member::Broken(_) => None,
        };
        if sound.is_none() {
            scratch.truncate(start);
            scratch.push(VERBATIM);
            scratch.extend_from_slice(text_of(member));
        }
        places.push(start..scratch.len());
    }
    places.sort_unstable_by(|one, other| scratch[one.clone()].cmp(&scratch[other.clone()]));
    places.dedup_by(|one, other| scratch[one.clone()] == scratch[other.clone()]);
    divide(key, places.into_iter(), |key, place| {
        key.extend_from_slice(&scratch[place]);
    });
}

/// One range with its parameters and weight (RFC 9110 §12.4.2); `None` when it breaks the syntax, and
/// then part of it may have been written.
fn append_preference(out: &mut VaryBytes, syntax: Syntax, text: &[u8]) -> Option<()> {
    let (range, mut rest) = split_parameter(text)?;
    // Case may be taken away only where the syntax says what it is.
    if range.is_empty()
        || !range
            .iter()
            .all(|byte| *byte == b'/' || is_token_byte(*byte))
    {
        return None;
    }
    out.extend(range.iter().map(u8::to_ascii_lowercase));
    let mut weight = WEIGHT_MAX;
    let mut weighted = false;
    while let Some(text) = rest {
        let (parameter, after) = split_parameter(text)?;
        rest = after;
        if parameter.is_empty() {
            continue;
        }
        let equals = memchr::memchr(b'=', parameter);
        let (name, value) = match equals {
            Some(equals) => (&parameter[..equals], Some(&parameter[equals + 1..])),
            None => (parameter, None),
        };
        if name.eq_ignore_ascii_case(b"q") && !weighted {
            weight = thousandths(value?)?;
            weighted = true;
            continue;
        }
        if syntax == Syntax::AcceptOther || !is_token(name) || !value.is_none_or(is_parameter_value)
        {
            return None;
        }
        // A parameter after the weight means something else than one before it (RFC 7231 §5.3.2).
        out.extend_from_slice(if weighted { b";;" } else { b";" });
        out.extend(name.iter().map(u8::to_ascii_lowercase));
        if let Some(value) = value {
            out.push(b'=');
            out.extend_from_slice(value);
        }
    }
    if weight != WEIGHT_MAX {
        out.extend_from_slice(b";q=");
        for place in [100, 10, 1] {
            out.push(b'0' + (weight / place % 10) as u8);
        }
    }
    Some(())
}

/// RFC 9110 §5.6.6: a token or one quoted string.
fn is_parameter_value(text: &[u8]) -> bool {
    is_token(text) || (text.starts_with(b"\"") && quoted_len(text) == Some(text.len()))
}

/// The text up to the first semicolon outside quotes, trimmed, and what follows that semicolon.
fn split_parameter(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut position = 0;
    while position < text.len() {
        match text[position] {
            b';' => return Some((text[..position].trim_ascii(), Some(&text[position + 1..]))),
            b'"' => position += quoted_len(&text[position..])?,
            _ => position += 1,
        }
    }
    Some((text.trim_ascii(), None))
}

/// RFC 9110 §12.4.2 `qvalue`: 0 to 1 with at most three decimals.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => WEIGHT_MAX,
        _ => return None,
    };
    for (digit, place) in decimals.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        weight += u16::from(digit - b'0') * place;
    }
    (weight <= WEIGHT_MAX).then_some(weight)
}

fn text_of(member: Member<'_>) -> &[u8] {
    match member {
        Member::Sound(text) | Member::Broken(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, lines: &[&str]) -> String {
        let mut key = VaryBytes::new();
        append(&mut key, name, lines.iter().map(|line| line.as_bytes()));
        String::from_utf8_lossy(&key).into_owned()
    }

    /// All of `same` have one form, and none of `others` shares it.
    fn check(name: &str, same: &[&[&str]], others: &[&[&str]]) {
        let expected = form(name, same[0]);
        for lines in same {
            assert_eq!(form(name, lines), expected, "{name}: {lines:?}");
        }
        for lines in others {
            assert_ne!(form(name, lines), expected, "{name}: {lines:?}");
        }
    }

    #[test]
    fn lists_lose_white_space_and_line_breaks_only() {
        check(
            "foo",
            &[
                &["1, 2"],
                &["1,2"],
                &["1 ,\t2"],
                &["1", "2"],
                &["1,,2", ""],
                &[" 1", " 2 "],
            ],
            &[
                &["2, 1"],
                &["1 2"],
                &["12"],
                &["1"],
                &["1, 2, 2"],
                &["\"1, 2\""],
            ],
        );
        check(
            "foo",
            &[&["\"a,b\""]],
            &[&["\"a, b\""], &["\"a", "b\""], &["\"a"]],
        );
        check("foo", &[&["a"]], &[&["A"]]);
    }

    #[test]
    fn single_values_stay_as_they_are() {
        check(
            "cookie",
            &[&["a=1, 2"]],
            &[&["a=1,2"], &["a=1", "2"], &["a=1, 2,"]],
        );
        check("user-agent", &[&["x (y, z)"]], &[&["x (y,z)"]]);
    }

    #[test]
    fn accept_family_ignores_order_case_and_the_writing_of_weights() {
        check(
            "accept-encoding",
            &[
                &["gzip, br;q=0.5"],
                &["br; q=0.5, gzip"],
                &["BR;Q=0.50,GZIP;q=1"],
                &["br ;q=0.500", "gzip;q=1.000"],
                &["gzip,,br;q=0.5,gzip;"],
            ],
            &[
                &["gzip, br"],
                &["gzip;q=0.5, br"],
                &["gzip, br;q=0.501"],
                &["gzip, br;q=0"],
                &["gzip"],
                &["gzip, br;q=1.5"],
                &["gzip, br;q=.5"],
                &["gzip, br;q=0.5000"],
                &["gzip, br;x=1;q=0.5"],
            ],
        );
        check(
            "accept-language",
            &[&["en, de"], &["de, EN"], &["de", "en"]],
            &[&["en"], &["en-gb, de"], &["en;q=0.9, de"]],
        );
        check(
            "accept",
            &[
                &["text/html;level=1;q=0.4, */*"],
                &["*/*, TEXT/html; LEVEL=1; q=0.40"],
            ],
            &[
                &["text/html;level=2;q=0.4, */*"],
                &["text/html;q=0.4;level=1, */*"],
                &["text/html;q=0.4, */*"],
                &["text/html;level=1, */*;q=0.4"],
            ],
        );
        check(
            "accept",
            &[&["a/b;c=\"x;q=0.1, y\""]],
            &[&["a/b;c=\"x;q=0.1,y\""], &["a/b;c=\"X;q=0.1, y\""]],
        );
    }

    #[test]
    fn members_that_break_the_syntax_stay_apart_from_those_that_do_not() {
        check(
            "accept-encoding",
            &[&["gzip;q=x"]],
            &[&["GZIP;q=x"], &["gzip"], &["gzip;q=0"]],
        );
        check("accept", &[&["a b"]], &[&["A b"], &["a"], &["b"]]);
        check(
            "accept",
            &[&["a;b=\"c"]],
            &[&["a;b=\"C"], &["a;b=\"c\""], &["a"]],
        );
        check(
            "accept",
            &[&["a;q=0.1;q=0.2"]],
            &[&["a;q=0.1"], &["a;q=0.2"], &["a;q=0.2;q=0.1"]],
        );
    }

    #[test]
    fn weights_have_at_most_three_decimals() {
        fn check(text: &str, expected: Option<u16>) {
            assert_eq!(thousandths(text.as_bytes()), expected, "{text}");
        }
        check("0", Some(0));
        check("0.", Some(0));
        check("0.1", Some(100));
        check("0.123", Some(123));
        check("1", Some(1000));
        check("1.000", Some(1000));
        for malformed in [
            "", "1.001", "2", "0.1234", ".5", "-0", "0,5", "00", "0.a", "1.5",
        ] {
            check(malformed, None);
        }
    }

    #[test]
    fn random_values_have_a_form_that_splitting_does_not_change() {
        use rand::prelude::*;
        let mut random = rand::rngs::StdRng::seed_from_u64(9111);
        let alphabet = b"aA;,=\"\\q01. *";
        for _ in 0..20_000 {
            let length = random.random_range(0..24);
            let value: Vec<u8> = (0..length)
                .map(|_| {
                    *alphabet
                        .choose(&mut random)
                        .expect("the alphabet has letters")
                })
                .collect();
            for name in ["accept", "accept-encoding", "foo", "cookie"] {
                let text = String::from_utf8(value.clone()).expect("the alphabet is ASCII");
                let whole = form(name, &[&text]);
                assert_eq!(form(name, &[&format!(" {text}\t")]), whole);
                assert!(whole.len() <= 2 * text.len() + 2, "{name}: {text}");
                // A comma where no quote is open divides lines just as well.
                if name != "cookie"
                    && !text.contains('"')
                    && let Some((one, other)) = text.split_once(',')
                {
                    assert_eq!(form(name, &[one, other]), whole, "{name}: {text}");
                }
            }
        }
    }
}
