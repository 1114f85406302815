//! Readers as they are in the wild: each takes something in good part that the RFC does not, and each something else.
//!
//! They never doubt. What they cannot understand they skip, as the parsers did that the reports are about.

use crate::reading::{Doubt, Fields, Framing, Head, Reader};

/// Which of two contradicting statements about a body's length counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefers {
    Length,
    Coding,
}

/// Which of several equal statements counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    First,
    Last,
}

/// What ends a line besides CRLF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnd {
    Lf,
    LfOrCr,
}

/// What a line that begins with white space is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    /// More of the value before.
    Joined,
    /// A field like others, or nothing.
    Separate,
}

/// Which names mean Content-Length and Transfer-Encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// As they are, without white space and control characters around them.
    Trimmed,
    /// Also with underscores, as gateways to CGI and its heirs pass them on.
    AnyHyphen,
}

/// What becomes of the content of GET, HEAD, OPTIONS, DELETE and TRACE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StrangeBodies {
    Read,
    /// It is taken for the next request ("CL.0").
    NotExpected,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lenient {
    #[expect(dead_code, reason = "shown by Debug when a test fails")]
    pub(crate) name: &'static str,
    pub(crate) prefers: Prefers,
    pub(crate) counts: Counts,
    pub(crate) line_end: LineEnd,
    pub(crate) fold: Fold,
    pub(crate) names: Names,
    pub(crate) strange_bodies: StrangeBodies,
    /// Bits of a chunk size or a length before it wraps.
    pub(crate) size_bits: u32,
}

const SLOPPY: Lenient = Lenient {
    name: "prefers lengths",
    prefers: Prefers::Length,
    counts: Counts::First,
    line_end: LineEnd::Lf,
    fold: Fold::Joined,
    names: Names::Trimmed,
    strange_bodies: StrangeBodies::Read,
    size_bits: 64,
};

/// All of them.
pub(crate) const READERS: [Lenient; 7] = [
    SLOPPY,
    Lenient {
        name: "prefers codings",
        prefers: Prefers::Coding,
        ..SLOPPY
    },
    Lenient {
        name: "takes the last length",
        counts: Counts::Last,
        fold: Fold::Separate,
        ..SLOPPY
    },
    Lenient {
        name: "ends lines at CR",
        prefers: Prefers::Coding,
        counts: Counts::Last,
        line_end: LineEnd::LfOrCr,
        ..SLOPPY
    },
    Lenient {
        name: "takes underscores for hyphens",
        prefers: Prefers::Coding,
        names: Names::AnyHyphen,
        ..SLOPPY
    },
    Lenient {
        name: "counts to 32 bits",
        prefers: Prefers::Coding,
        fold: Fold::Separate,
        size_bits: 32,
        ..SLOPPY
    },
    Lenient {
        name: "expects no body of GET",
        strange_bodies: StrangeBodies::NotExpected,
        ..SLOPPY
    },
];

impl Reader for Lenient {
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, Doubt> {
        let mut at = 0;
        // Whatever is no request is skipped line by line.
        let (method, target) = loop {
            let Some((line, next)) = self.line(bytes, at) else {
                return Ok(None);
            };
            at = next;
            if let Some(found) = request_line(line) {
                break found;
            }
        };
        let Some((fields, end)) = self.fields(bytes, at) else {
            return Ok(None);
        };
        let host = find(&fields, "host", Counts::First)
            .map(|host| String::from_utf8_lossy(host).into_owned())
            .unwrap_or_default();
        let framing = self.framing(&method, &fields);
        Ok(Some(Head {
            method,
            target,
            host,
            fields,
            framing,
            bytes: end,
        }))
    }

    fn chunks(&self, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Doubt> {
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let Some((line, next)) = self.line(bytes, at) else {
                return Ok(None);
            };
            let size = usize::try_from(self.number(line, 16)).unwrap_or(usize::MAX);
            if size == 0 {
                at = next;
                break;
            }
            let Some(data) = next.checked_add(size).and_then(|end| bytes.get(next..end)) else {
                return Ok(None);
            };
            body.extend(data);
            // Up to two bytes, whatever they are, if they may end a line.
            at = next + size;
            let end = bytes[at..].iter().take(2);
            at += end.take_while(|byte| b"\r\n".contains(byte)).count();
        }
        Ok(self.fields(bytes, at).map(|(_, end)| (body, end)))
    }

    fn sees_strange_bodies(&self) -> bool {
        self.strange_bodies == StrangeBodies::Read
    }
}

impl Lenient {
    fn line<'a>(&self, bytes: &'a [u8], at: usize) -> Option<(&'a [u8], usize)> {
        let rest = &bytes[at..];
        let end = rest.iter().position(|byte| match self.line_end {
            LineEnd::Lf => *byte == b'\n',
            LineEnd::LfOrCr => b"\r\n".contains(byte),
        })?;
        let next = match &rest[end..] {
            [b'\r', b'\n', ..] => end + 2,
            [b'\r'] => return None,
            _ => end + 1,
        };
        Some((rest[..end].trim_ascii_end(), at + next))
    }

    fn fields(&self, bytes: &[u8], mut at: usize) -> Option<(Fields, usize)> {
        let mut fields = Fields::new();
        loop {
            let (line, next) = self.line(bytes, at)?;
            at = next;
            if line.is_empty() {
                return Some((fields, at));
            }
            if matches!(line, [b' ' | b'\t', ..])
                && let (Fold::Joined, Some((_, value))) = (self.fold, fields.last_mut())
            {
                value.extend(line);
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let (name, value) = line.split_at(colon.unwrap_or(line.len()));
            let is_noise = |byte: &u8| byte.is_ascii_whitespace() || byte.is_ascii_control();
            let name: Vec<u8> = name
                .iter()
                .filter(|byte| !is_noise(byte))
                .map(|byte| match (byte, self.names) {
                    (b'_', Names::AnyHyphen) => b'-',
                    _ => *byte,
                })
                .collect();
            let value: Vec<u8> = value
                .iter()
                .skip(1)
                .take_while(|byte| **byte != 0)
                .copied()
                .collect();
            let name = String::from_utf8_lossy(&name).into_owned();
            fields.push((name, value.trim_ascii().to_vec()));
        }
    }

    fn framing(&self, method: &str, fields: &[(String, Vec<u8>)]) -> Framing {
        let strange = ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE"].contains(&method);
        if strange && self.strange_bodies == StrangeBodies::NotExpected {
            return Framing::Empty;
        }
        let is_chunked = fields.iter().any(|(name, value)| {
            let value = String::from_utf8_lossy(value).to_ascii_lowercase();
            name.eq_ignore_ascii_case("transfer-encoding") && value.contains("chunked")
        });
        let length = find(fields, "content-length", self.counts).map(|value| {
            let mut members = value.split(|byte| *byte == b',');
            let member = match self.counts {
                Counts::First => members.next(),
                Counts::Last => members.next_back(),
            };
            self.number(member.unwrap_or_default(), 10)
        });
        match (is_chunked, length, self.prefers) {
            (true, None, _) | (true, Some(_), Prefers::Coding) => Framing::Chunked,
            (_, Some(length), _) => Framing::Length(length),
            (false, None, _) => Framing::Empty,
        }
    }

    /// Reads a number as some `strtol` might: white space, a sign, `0x`, underscores, and no look at what follows.
    fn number(&self, text: &[u8], mut radix: u32) -> u64 {
        let mut text = text.trim_ascii();
        while let [b'+' | b'"', rest @ ..] = text {
            text = rest;
        }
        if let [b'0', b'x' | b'X', rest @ ..] = text {
            (text, radix) = (rest, 16);
        }
        let digits = text
            .iter()
            .filter(|byte| **byte != b'_')
            .map_while(|byte| char::from(*byte).to_digit(radix));
        let number = digits.fold(0_u128, |number, digit| {
            (number * u128::from(radix) + u128::from(digit)) & u128::from(u64::MAX)
        });
        (number & ((1 << self.size_bits) - 1)) as u64
    }
}

/// Two words or more, of which the first could be a method.
fn request_line(line: &[u8]) -> Option<(String, String)> {
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    let (method, target) = (words.next()?, words.next()?);
    let is_method = method.iter().all(u8::is_ascii_alphabetic);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (is_method && (target.starts_with(b"/") || target == b"*"))
        .then(|| (text(method), text(target)))
}

fn find<'a>(fields: &'a [(String, Vec<u8>)], name: &str, counts: Counts) -> Option<&'a [u8]> {
    let mut named = fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice());
    match counts {
        Counts::First => named.next(),
        Counts::Last => named.next_back(),
    }
}
