//! Which stored variant a request selects (RFC 9111 §4.1).
//!
//! A response names the request fields that it was chosen by; their names are a [`VarySpec`], their values
//! in one request a [`VaryKey`]. Requests whose fields mean the same by their syntax get the same key;
//! what the syntax does not settle stays different.

mod normalise;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use super::syntax::is_token;
use crate::http::Fields;

/// More names than this in Vary count as `*`: no honest answer needs them, and each costs every look-up.
const NAMES_MAX: usize = 32;

/// What Vary says, over all its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// Absent or empty: the answer fits every request.
    None,
    /// `*` anywhere, a member that is no field name, or too many: the answer fits no other request.
    Star,
    Fields(VarySpec),
}

impl Vary {
    pub fn of(response: &Fields) -> Vary {
        let mut names: SmallVec<[&[u8]; 8]> = SmallVec::new();
        for member in response.list("vary") {
            if member == b"*" || !is_token(member) || names.len() == NAMES_MAX {
                return Vary::Star;
            }
            names.push(member);
        }
        let mut names: SmallVec<[String; 8]> = names
            .iter()
            .map(|name| String::from_utf8_lossy(name).to_ascii_lowercase())
            .filter(|name| !is_answered_here(name))
            .collect();
        if names.is_empty() {
            return Vary::None;
        }
        names.sort_unstable();
        names.dedup();
        Vary::Fields(VarySpec(names.join(",").into()))
    }
}

/// These never reach the origin in a fetch whose answer is stored, so no stored answer can have varied on them:
/// the cache answers them from what it stores (RFC 9111 §4.3.2, RFC 9110 §14.2). If-Match and
/// If-Unmodified-Since do reach it.
fn is_answered_here(name: &str) -> bool {
    ["if-modified-since", "if-none-match", "if-range", "range"].contains(&name)
}

/// The names of the selecting fields. Cheap to copy, compare and hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VarySpec(
    /// Lower case, sorted, each once, divided by commas, which no name holds.
    Arc<str>,
);

impl VarySpec {
    /// The names in lower case, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split(',')
    }

    /// The normalised values of the selecting fields in a request. Its size is bounded by that of the
    /// request's fields; no heap is touched up to 128 bytes.
    pub fn key_of(&self, request: &Fields) -> VaryKey {
        let mut key = VaryBytes::new();
        for name in self.names() {
            let mut lines = request.get_all(name).peekable();
            if lines.peek().is_none() {
                key.push(ABSENT);
                continue;
            }
            key.push(PRESENT);
            let length_at = key.len();
            key.extend_from_slice(&[0; 4]);
            normalise::append(&mut key, name, lines);
            let length = (key.len() - length_at - 4) as u32;
            key[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        }
        VaryKey(key)
    }

    /// Bytes beyond the struct itself, shared by its copies.
    pub fn heap_bytes(&self) -> usize {
        self.0.len() + 2 * size_of::<usize>()
    }
}

impl fmt::Debug for VarySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const ABSENT: u8 = 0;
/// Four bytes of length and the value follow, so no value can pass for the next field's.
const PRESENT: u8 = 1;

type VaryBytes = SmallVec<[u8; 128]>;

/// The values that select a variant. To be compared only with keys of the same [`VarySpec`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaryKey(VaryBytes);

impl VaryKey {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes beyond the struct itself.
    pub fn heap_bytes(&self) -> usize {
        if self.0.spilled() {
            self.0.capacity()
        } else {
            0
        }
    }
}

impl Borrow<[u8]> for VaryKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for VaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// What a stored answer was chosen by: the selecting fields and the values they had in the request that caused it.
#[derive(Clone, PartialEq, Eq)]
pub struct Variant {
    spec: VarySpec,
    /// A [`VaryKey`] without room to spare; cheap to copy.
    key: Arc<[u8]>,
}

impl Variant {
    /// Of the answer to a request with these fields.
    pub fn new(spec: VarySpec, request: &Fields) -> Variant {
        let key = Arc::from(spec.key_of(request).as_bytes());
        Variant { spec, key }
    }

    pub fn spec(&self) -> &VarySpec {
        &self.spec
    }

    /// To be compared only with keys of the same [`VarySpec`].
    pub fn key(&self) -> &Arc<[u8]> {
        &self.key
    }

    /// Whether a request with these fields selects the same.
    pub fn is_of(&self, request: &Fields) -> bool {
        self.spec.key_of(request).as_bytes() == &*self.key
    }

    /// Bytes beyond the struct itself.
    pub fn heap_bytes(&self) -> usize {
        self.spec.heap_bytes() + self.key.len() + 2 * size_of::<usize>()
    }
}

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}={}", self.spec, self.key.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        lines.iter().copied().collect()
    }

    fn spec(names: &str) -> VarySpec {
        match Vary::of(&fields(&[("vary", names)])) {
            Vary::Fields(spec) => spec,
            other => panic!("{names}: {other:?}"),
        }
    }

    #[test]
    fn names_are_sorted_lower_case_and_once() {
        fn check(lines: &[(&str, &str)], expected: Vary) {
            assert_eq!(Vary::of(&fields(lines)), expected, "{lines:?}");
        }
        check(&[], Vary::None);
        check(&[("vary", ""), ("vary", " , ")], Vary::None);
        check(&[("vary", "Range, if-none-match")], Vary::None);
        check(
            &[("vary", "If-Range, A")],
            Vary::Fields(VarySpec("a".into())),
        );
        check(&[("vary", "*")], Vary::Star);
        check(&[("vary", "a, *")], Vary::Star);
        check(
            &[("vary", "a"), ("Vary", "b"), ("vary", "*, c")],
            Vary::Star,
        );
        check(&[("vary", "a b")], Vary::Star);
        check(&[("vary", "\"a\"")], Vary::Star);
        check(
            &[("vary", "B, a,,b"), ("vary", "A")],
            Vary::Fields(VarySpec("a,b".into())),
        );
        let many: Vec<_> = (0..=NAMES_MAX).map(|index| format!("x{index}")).collect();
        check(&[("vary", &many.join(","))], Vary::Star);
        assert_eq!(spec(&many[1..].join(",")).names().count(), NAMES_MAX);
    }

    #[test]
    fn absent_and_empty_differ_and_values_stay_with_their_field() {
        let spec = spec("a, b");
        let requests = [
            fields(&[]),
            fields(&[("a", "")]),
            fields(&[("b", "")]),
            fields(&[("a", ""), ("b", "")]),
            fields(&[("a", "x")]),
            fields(&[("b", "x")]),
            fields(&[("a", "x"), ("b", "y")]),
            fields(&[("a", "y"), ("b", "x")]),
            fields(&[("a", "xy"), ("b", "")]),
            fields(&[("a", "X"), ("b", "y")]),
        ];
        for (index, one) in requests.iter().enumerate() {
            for (other_index, other) in requests.iter().enumerate() {
                let same = spec.key_of(one) == spec.key_of(other);
                assert_eq!(same, index == other_index, "{one:?} {other:?}");
            }
        }
        let shuffled = fields(&[("B", "y"), ("c", "z"), ("A", "x")]);
        assert_eq!(spec.key_of(&shuffled), spec.key_of(&requests[6]));
    }
}
