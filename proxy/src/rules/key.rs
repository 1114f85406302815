//! The primary cache key: scheme, host and port, path and query (RFC 9111 §2).
//!
//! The host's case and a default port mean nothing and are taken out (RFC 9110 §4.2.3). Path and query
//! stay as received: were two of them one key that the backend tells apart, one client could choose what
//! another gets. The method is no part of it, since only answers to GET are stored, and they serve HEAD.

use std::borrow::{Borrow, Cow};
use std::fmt;

use smallvec::SmallVec;

use super::syntax::decimal;
use crate::http::Scheme;

/// A key as bytes: scheme, length of the authority, authority, target. No two requests that differ in
/// one of them share it, whatever bytes they hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrimaryKey(SmallVec<[u8; INLINE_BYTES]>);

/// Keys up to this length are no allocation.
const INLINE_BYTES: usize = 96;

impl PrimaryKey {
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

impl Borrow<[u8]> for PrimaryKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrimaryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, rest) = self.0.split_at(5);
        let authority_len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (authority, target) = rest.split_at(authority_len);
        let scheme = if head[0] == 0 { "http" } else { "https" };
        write!(
            f,
            "{scheme}://{}{}",
            authority.escape_ascii(),
            target.escape_ascii()
        )
    }
}

/// The key of a request or of an invalidated URI. Allocates only past 91 bytes of authority and target,
/// or where the authority is not in its canonical form.
pub fn primary_key(scheme: Scheme, authority: &str, target: &str) -> PrimaryKey {
    let authority = canonical_authority(scheme, authority);
    let [a, b, c, d] = (authority.len() as u32).to_le_bytes();
    let start = [scheme as u8, a, b, c, d];
    let length = start.len() + authority.len() + target.len();
    let mut inline = [0; INLINE_BYTES];
    if let Some(room) = inline.get_mut(..length) {
        let (first, rest) = room.split_at_mut(start.len());
        let (second, third) = rest.split_at_mut(authority.len());
        first.copy_from_slice(&start);
        second.copy_from_slice(authority.as_bytes());
        third.copy_from_slice(target.as_bytes());
        return PrimaryKey(SmallVec::from_buf_and_len(inline, length));
    }
    let mut key = SmallVec::with_capacity(length);
    key.extend_from_slice(&start);
    key.extend_from_slice(authority.as_bytes());
    key.extend_from_slice(target.as_bytes());
    PrimaryKey(key)
}

/// Host in lower case, the port only where it is not the scheme's own. Borrowed when nothing changes.
pub fn canonical_authority(scheme: Scheme, authority: &str) -> Cow<'_, str> {
    // Of a bare IPv6 address this splits off its last group and the bracket, which is no number. Ports are short: a loop
    // costs less here than a call that is made for long texts.
    let (host, port) = match authority.bytes().rposition(|byte| byte == b':') {
        Some(colon) => (&authority[..colon], &authority[colon + 1..]),
        None => (authority, ""),
    };
    let canonical = match decimal(port.as_bytes()) {
        Some(number) if number == u64::from(scheme.default_port()) => host,
        // Leading zeros are taken out by writing the number anew.
        Some(number) if port.starts_with('0') => {
            return Cow::Owned(format!("{}:{number}", host.to_ascii_lowercase()));
        }
        None if port.is_empty() => host,
        _ => authority,
    };
    // Without a way out in the middle, so that many bytes are looked at in one step.
    let has_upper = canonical
        .bytes()
        .fold(false, |found, byte| found | byte.is_ascii_uppercase());
    match has_upper {
        true => Cow::Owned(canonical.to_ascii_lowercase()),
        false => Cow::Borrowed(canonical),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_have_one_form() {
        fn check(scheme: Scheme, authority: &str, expected: &str) {
            assert_eq!(canonical_authority(scheme, authority), expected);
        }
        check(Scheme::Http, "Example.ORG", "example.org");
        check(Scheme::Http, "example.org:80", "example.org");
        check(Scheme::Http, "example.org:0080", "example.org");
        check(Scheme::Http, "example.org:", "example.org");
        check(Scheme::Http, "example.org:443", "example.org:443");
        check(Scheme::Https, "EXAMPLE.org:443", "example.org");
        check(Scheme::Https, "example.org:80", "example.org:80");
        check(Scheme::Https, "A:08080", "a:8080");
        check(Scheme::Http, "[::1]", "[::1]");
        check(Scheme::Http, "[::1]:80", "[::1]");
        check(Scheme::Http, "[FE80::80]:81", "[fe80::80]:81");
        check(Scheme::Http, "a:b", "a:b");
        check(Scheme::Http, "", "");
    }

    #[test]
    fn keys_differ_where_requests_differ() {
        use Scheme::{Http, Https};
        let differing = [
            (Http, "a", "/b"),
            (Https, "a", "/b"),
            (Http, "a/", "b"),
            (Http, "a/b", ""),
            (Http, "", "a/b"),
            (Http, "a", "/B"),
            (Http, "a", "/b?"),
            (Http, "a", "/%62"),
            (Http, "a", "//b"),
            (Http, "a", "/./b"),
            (Http, "a.", "/b"),
            (Http, "a:81", "/b"),
        ];
        for (index, one) in differing.iter().enumerate() {
            for (other_index, other) in differing.iter().enumerate() {
                let same =
                    primary_key(one.0, one.1, one.2) == primary_key(other.0, other.1, other.2);
                assert_eq!(same, index == other_index, "{one:?} {other:?}");
            }
        }
        assert_eq!(
            primary_key(Http, "A:80", "/b"),
            primary_key(Http, "a", "/b")
        );
    }

    #[test]
    fn a_key_is_readable_when_debugged() {
        let key = primary_key(Scheme::Https, "Example.org", "/a?b=c");
        assert_eq!(format!("{key:?}"), "https://example.org/a?b=c");
    }
}
