//! Byte ranges of a value (RFC 9110 §14).

/// Most ranges that one request is served; a request for more gets the whole value,
/// as RFC 9110 §14.2 allows, so that a short request cannot cause a huge answer.
pub const RANGES_MAX: usize = 16;

/// A part of a value: first and last byte, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Position of the first byte.
    pub first: u64,
    /// Position of the last byte, at least `first`.
    pub last: u64,
}

impl ByteRange {
    /// Number of bytes, at least 1.
    pub fn bytes(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a Range field selects of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The field is not for us, malformed or unreasonable: ignore it.
    Whole,
    /// These parts, in the order asked for; at least one.
    Parts(Vec<ByteRange>),
    /// Well-formed, and no part of it lies within the value: 416.
    Unsatisfiable,
}

/// Applies a Range field's value to a value of `length` bytes (RFC 9110 §14.1.2).
pub fn select_ranges(field: &str, length: u64) -> Selection {
    let Some((unit, set)) = field.split_once('=') else {
        return Selection::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    let mut parts = Vec::new();
    let mut asked = 0;
    for spec in set.split(',').map(|spec| spec.trim_matches([' ', '\t'])) {
        // A list may hold empty elements (RFC 9110 §5.6.1.2).
        if spec.is_empty() {
            continue;
        }
        asked += 1;
        match select_one(spec, length) {
            Some(Some(part)) => parts.push(part),
            Some(None) => {}
            None => return Selection::Whole,
        }
        if asked > RANGES_MAX {
            return Selection::Whole;
        }
    }
    if asked == 0 {
        return Selection::Whole;
    }
    if parts.is_empty() {
        return Selection::Unsatisfiable;
    }
    // Several parts that overlap, or that add up to more than the value, are an attack or a mistake.
    if parts.len() > 1 {
        let mut sorted = parts.clone();
        sorted.sort_by_key(|part| part.first);
        if sorted.windows(2).any(|pair| pair[1].first <= pair[0].last) {
            return Selection::Whole;
        }
    }
    Selection::Parts(parts)
}

/// `None`: malformed. `Some(None)`: well-formed, outside the value.
fn select_one(spec: &str, length: u64) -> Option<Option<ByteRange>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = position(last)?;
        if suffix == 0 || length == 0 {
            return Some(None);
        }
        return Some(Some(ByteRange {
            first: length - suffix.min(length),
            last: length - 1,
        }));
    }
    let first = position(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        position(last)?
    };
    if last < first {
        return None;
    }
    if first >= length {
        return Some(None);
    }
    Some(Some(ByteRange {
        first,
        last: last.min(length - 1),
    }))
}

/// Digits only; a number beyond 64 bits is as far away as the largest.
fn position(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &str, length: u64, expected: Selection) {
        assert_eq!(
            select_ranges(field, length),
            expected,
            "{field} of {length}"
        );
    }

    fn parts(ranges: &[(u64, u64)]) -> Selection {
        Selection::Parts(
            ranges
                .iter()
                .map(|&(first, last)| ByteRange { first, last })
                .collect(),
        )
    }

    #[test]
    fn ranges_select_parts() {
        check("bytes=0-0", 10, parts(&[(0, 0)]));
        check("bytes=0-", 10, parts(&[(0, 9)]));
        check("bytes=3-5", 10, parts(&[(3, 5)]));
        check("bytes=3-500", 10, parts(&[(3, 9)]));
        check("bytes=-3", 10, parts(&[(7, 9)]));
        check("bytes=-30", 10, parts(&[(0, 9)]));
        check("Bytes=0-1", 10, parts(&[(0, 1)]));
        check("bytes=0-1,4-5", 10, parts(&[(0, 1), (4, 5)]));
        check("bytes=4-5 , ,0-1", 10, parts(&[(4, 5), (0, 1)]));
        check("bytes=0-1,90-", 10, parts(&[(0, 1)]));
        check("bytes=0-99999999999999999999999", 10, parts(&[(0, 9)]));
    }

    #[test]
    fn nothing_within_the_value_is_unsatisfiable() {
        check("bytes=10-", 10, Selection::Unsatisfiable);
        check("bytes=10-20,-0", 10, Selection::Unsatisfiable);
        check("bytes=-0", 10, Selection::Unsatisfiable);
        check("bytes=0-", 0, Selection::Unsatisfiable);
        check("bytes=-5", 0, Selection::Unsatisfiable);
        check(
            "bytes=99999999999999999999999-",
            10,
            Selection::Unsatisfiable,
        );
    }

    #[test]
    fn malformed_or_unreasonable_fields_are_ignored() {
        for field in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=x",
            "bytes=5-3",
            "bytes=--1",
            "bytes=1-2-3",
            "lines=0-1",
            "bytes=0x1-2",
            "bytes=+1-2",
        ] {
            check(field, 10, Selection::Whole);
        }
        check("bytes=0-5,3-8", 10, Selection::Whole);
        check("bytes=0-,0-,0-", 10, Selection::Whole);
        let many = format!(
            "bytes={}",
            (0..=RANGES_MAX)
                .map(|n| format!("{}-{}", 2 * n, 2 * n))
                .collect::<Vec<_>>()
                .join(",")
        );
        check(&many, 1000, Selection::Whole);
    }
}
