//! Requests that an origin may refuse for something that is in no cache key.
//!
//! An error is stored under its URL and given to everybody. Where one client's fields have caused it, that client
//! has switched the URL off for all ("cache-poisoned denial of service"): a head longer than the origin takes, a
//! byte that it does not parse, a description of content that is not there. RFC 9111 §3 lets a cache store errors
//! and never makes it; from such requests it does not, so the next ordinary one settles what the URL answers.

use crate::http::RequestHead;

/// Servers in use refuse heads from 4 KiB on (a gateway's default buffer), most from 8 KiB. What the front door
/// and the next hop add has to fit below.
const HEAD_BYTES: usize = 3 * 1024;
/// Usual limits are 100 and 64 lines, and we add some.
const FIELDS: usize = 48;
/// `: ` and the end of a line.
const BYTES_PER_LINE: usize = 4;

/// Whether the head of a GET, rather than its target, may be what an origin's error is about: it is long, holds
/// bytes beyond ASCII (RFC 9110 §5.5 calls them opaque), or speaks of content that a GET has not.
pub fn is_likely(request: &RequestHead) -> bool {
    let mut bytes = request.target.len();
    for field in request.fields.iter() {
        bytes += field.name.len() + field.value.len() + BYTES_PER_LINE;
        if bytes > HEAD_BYTES || !field.value.is_ascii() || speaks_of_content(field.name) {
            return true;
        }
    }
    request.fields.len() > FIELDS
}

/// Content-Length is judged apart: where it counts, the request has content.
fn speaks_of_content(name: &str) -> bool {
    let begins = |begin: &str| {
        name.get(..begin.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(begin))
    };
    let is_length = name.eq_ignore_ascii_case("content-length");
    (begins("content-") && !is_length) || name.eq_ignore_ascii_case("expect")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Fields, Method, Scheme, Version};

    fn check<const N: usize>(lines: &[(&str, &[u8; N])], expected: bool) {
        let mut fields: Fields = [("Host", "example.org"), ("Accept", "*/*")]
            .into_iter()
            .collect();
        for (name, value) in lines {
            fields.append(name, value);
        }
        let request = RequestHead {
            method: Method::Get,
            target: "/".to_owned(),
            authority: "example.org".to_owned(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields,
        };
        assert_eq!(is_likely(&request), expected, "{request:?}");
    }

    #[test]
    fn ordinary_heads_are_not_at_fault() {
        check::<0>(&[], false);
        check(&[("Cookie", &[b'c'; 2500])], false);
        check(&[("Content-Length", b"0"), ("X", b"\t")], false);
        check(&[("x", b"1"); 40], false);
    }

    #[test]
    fn long_strange_and_contradictory_heads_are() {
        check(&[("Cookie", &[b'c'; 3100])], true);
        check(&[("x", &[b'c'; 700]); 5], true);
        check(&[("x", b"1"); 47], true);
        check(&[("x", b"\xff")], true);
        check(&[("Content-Type", b"a/b")], true);
        check(&[("content-encoding", b"x")], true);
        check(&[("Expect", b"100-continue")], true);
    }
}
