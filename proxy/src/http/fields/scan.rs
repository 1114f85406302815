//! Names and values in bytes that came from outside, eight bytes a step.

use std::ops::Range;

use super::InvalidField;

/// Where the parts of a field line are, counted from its beginning.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) name_len: usize,
    pub(super) value: Range<usize>,
    /// With CRLF.
    pub(super) len: usize,
    /// Written as we write lines: one space before the value, none behind it.
    pub(super) is_plain: bool,
}

impl Parts {
    /// Reads the first of `lines`: a name, a colon, a value with or without white space around it, CRLF.
    pub(super) fn read(lines: &[u8]) -> Result<Parts, InvalidField> {
        let name_len = token_len(lines);
        if name_len == 0 || lines.get(name_len) != Some(&b':') {
            return Err(InvalidField::Name);
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let behind = &lines[name_len + 1..];
        let leading = behind.iter().take_while(|byte| is_space(byte)).count();
        let value_start = name_len + 1 + leading;
        let line_end = value_start + value_len(&lines[value_start..]);
        if !lines[line_end..].starts_with(b"\r\n") {
            // Names are ASCII by now.
            let name = String::from_utf8_lossy(&lines[..name_len]);
            return Err(InvalidField::Value(name.into()));
        }
        let value = &lines[value_start..line_end];
        let trailing = value.iter().rev().take_while(|byte| is_space(byte)).count();
        Ok(Parts {
            name_len,
            value: value_start..line_end - trailing,
            len: line_end + 2,
            is_plain: lines[name_len + 1] == b' ' && leading == 1 && trailing == 0,
        })
    }
}

/// The first of `lines` with its end.
pub(super) fn first_line(lines: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', lines).map_or(lines.len(), |line_feed| line_feed + 1);
    &lines[..end]
}

/// Without optional white space (RFC 9110 §5.6.3: space and tab, nothing else) at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// RFC 9110 §5.6.2 `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

const TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// A table of the ASCII letters, digits and these marks.
pub(crate) const fn alphanumeric_or(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
}

fn token_len(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        start += letters_and_hyphens(&bytes[start..]);
        match bytes.get(start) {
            Some(byte) if TOKEN[usize::from(*byte)] => start += 1,
            _ => return start,
        }
    }
}

/// RFC 9110 §5.5: visible characters, space, tab and obs-text; no CR, LF, NUL or other controls.
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    value_len(bytes) == bytes.len()
}

/// How many bytes a field value may have here: up to the first control character but tab.
fn value_len(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        start += non_controls(&bytes[start..]);
        match bytes.get(start) {
            Some(b'\t') => start += 1,
            _ => return start,
        }
    }
}

/// One in each byte of a word.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
const TOP_BITS: u64 = EACH << 7;

/// How many bytes there are before the first control character.
fn non_controls(bytes: &[u8]) -> usize {
    let controls = |word: u64| {
        // Below 0x20 or equal to 0x7f the subtraction sets a top bit that was not there. What it borrows may set those of
        // bytes further up as well.
        let delete = word ^ (EACH * 0x7f);
        let below = word.wrapping_sub(EACH * 0x20) & !word;
        let equal = delete.wrapping_sub(EACH) & !delete;
        (below | equal) & TOP_BITS
    };
    leading(bytes, controls, |byte| byte.is_ascii_control())
}

/// How many bytes there are before the first that is neither letter nor hyphen: most names hold nothing else.
fn letters_and_hyphens(bytes: &[u8]) -> usize {
    let others = |word: u64| {
        // Seven bits and a small sum: nothing is carried from byte to byte.
        let low = (word | (EACH * 0x20)) & !TOP_BITS;
        let from_a = low + EACH * (0x80 - 0x61);
        let behind_z = low + EACH * (0x80 - 0x7b);
        let differs_from_hyphen = ((word ^ (EACH * 0x2d)) & !TOP_BITS) + EACH * 0x7f;
        (word | (!from_a | behind_z) & differs_from_hyphen) & TOP_BITS
    };
    leading(bytes, others, |byte| {
        !byte.is_ascii_alphabetic() && byte != b'-'
    })
}

/// How many bytes there are before the first of the others, eight a step. `others_in` sets the top bit of the lowest of
/// them in a word, and of none below it.
#[inline(always)]
fn leading(bytes: &[u8], others_in: impl Fn(u64) -> u64, is_other: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks();
    let mut start = 0;
    for word in words {
        let others = others_in(u64::from_le_bytes(*word));
        if others != 0 {
            return start + others.trailing_zeros() as usize / 8;
        }
        start += size_of::<u64>();
    }
    let in_rest = rest.iter().position(|byte| is_other(*byte));
    start + in_rest.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_does_not_belong_is_found_wherever_it_stands() {
        fn check(len: fn(&[u8]) -> usize, belongs: fn(u8) -> bool, before: u8, behind: u8) {
            for byte in 0..=u8::MAX {
                for length in 0..20 {
                    for place in 0..length {
                        let mut text = vec![before; length];
                        text[place] = byte;
                        // What a borrow or a carry could reach.
                        text[place + 1..].fill(behind);
                        let expected = if belongs(byte) { length } else { place };
                        assert_eq!(len(&text), expected, "{text:?}");
                    }
                }
            }
        }
        let in_value = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
        for (before, behind) in [(b'\xff', b' '), (b' ', b'\x80'), (b'\t', b'~')] {
            check(value_len, in_value, before, behind);
        }
        for (before, behind) in [(b'z', b'A'), (b'-', b'a'), (b'_', b'Z'), (b'0', b'-')] {
            check(token_len, |byte| TOKEN[usize::from(byte)], before, behind);
        }
    }
}
