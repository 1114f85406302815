//! Fields that end at this hop, fields allowed in trailers, and Via (RFC 9110 §7.6, §6.5).

use smallvec::SmallVec;

use super::syntax::is_token;
use crate::http::{Fields, Version};

/// Fields that never go past one hop, listed in Connection or not: RFC 9110 §7.6.1, RFC 9111 §3.1 for
/// the authentication of proxies, RFC 7540 §3.2.1; and `Proxy`, a name that gateways turn into a setting.
/// Proxy-Status is not one of them: it is made to be passed on (RFC 9209).
const HOP_BY_HOP: [&str; 14] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "proxy-features",
    "proxy-instruction",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that a sender must not list in Connection, since every recipient needs them. Listed all the
/// same, they stay: taking them out would change where a message goes or ends, who may reuse it and for how long, or
/// leave a client waiting for a 100 that nobody was asked for.
const NOT_FOR_CONNECTION: [&str; 8] = [
    "age",
    "cache-control",
    "content-length",
    "date",
    "expect",
    "expires",
    "host",
    "vary",
];

/// Fields that decide framing, routing, authentication or caching, or say what the content is: too late
/// once the content has gone by (RFC 9110 §6.5.1).
const NOT_IN_TRAILERS: [&str; 36] = [
    "accept-ranges",
    "age",
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expect",
    "expires",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// Takes out of a request or a response what is meant for this hop only: the fields that Connection lists,
/// Connection itself, and those known to end here (RFC 9110 §7.6.1).
///
/// Framing and upgrades have to be settled before: their fields are gone afterwards.
pub fn strip(fields: &mut Fields) {
    strip_listed(fields);
    strip_known(fields);
}

/// Takes out the fields known to end here, whatever Connection lists.
pub fn strip_known(fields: &mut Fields) {
    // Most messages have none.
    if fields.iter_bytes().any(|(name, _)| is_known(name)) {
        fields.retain(|field| !is_hop_by_hop(field.name));
    }
}

/// Takes out the fields that Connection lists, but for those known to end here: what a sender calls its own
/// affair must not choose what others get.
pub fn strip_listed(fields: &mut Fields) {
    let lists_names = |value: &[u8]| {
        !value.eq_ignore_ascii_case(b"keep-alive") && !value.eq_ignore_ascii_case(b"close")
    };
    if !fields.get_all("connection").any(lists_names) {
        return;
    }
    // The names are copied, since the list they stand in is changed; most messages list one or none.
    let mut listed: SmallVec<[SmallVec<[u8; 24]>; 4]> = SmallVec::new();
    for option in fields.list("connection") {
        let known = |names: &[&str]| {
            names
                .iter()
                .any(|name| name.as_bytes().eq_ignore_ascii_case(option))
        };
        if is_token(option)
            && !known(&HOP_BY_HOP)
            && !known(&NOT_FOR_CONNECTION)
            && !option.eq_ignore_ascii_case(b"close")
        {
            listed.push(option.into());
        }
    }
    if listed.is_empty() {
        return;
    }
    fields.retain(|field| {
        !listed
            .iter()
            .any(|option| field.name.as_bytes().eq_ignore_ascii_case(option))
    });
}

pub fn is_hop_by_hop(name: &str) -> bool {
    is_known(name.as_bytes())
}

fn is_known(name: &[u8]) -> bool {
    // The lengths of the names above: few other names have one of them.
    matches!(name.len(), 2 | 5 | 7 | 10 | 14 | 16..=19 | 25)
        && HOP_BY_HOP
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a field may come after the content (RFC 9110 §6.5.1).
pub fn is_allowed_in_trailers(name: &str) -> bool {
    !contains(&NOT_IN_TRAILERS, name) && !is_hop_by_hop(name)
}

/// Leaves in a trailer section what may be passed on; the rest is dropped, never merged into the head.
pub fn strip_trailers(trailers: &mut Fields) {
    strip(trailers);
    trailers.retain(|field| is_allowed_in_trailers(field.name));
}

/// RFC 9110 §7.6.3: writes our own member of Via, which goes behind those that the message came through. `received`
/// is the version that it came in.
pub fn write_via(out: &mut Vec<u8>, received: Version, pseudonym: &str) {
    out.extend_from_slice(received.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(pseudonym.as_bytes());
}

fn contains(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn every_field_of_one_hop_is_known() {
        for name in HOP_BY_HOP {
            assert!(is_hop_by_hop(name), "{name}");
            assert!(is_hop_by_hop(&name.to_ascii_uppercase()), "{name}");
            assert!(!is_hop_by_hop(&name[1..]), "{name} without its beginning");
        }
    }

    #[test]
    fn fields_of_one_hop_are_stripped() {
        fn check(lines: Lines<'_>, expected: Lines<'_>) {
            let mut fields: Fields = lines.iter().copied().collect();
            strip(&mut fields);
            assert_eq!(fields, expected.iter().copied().collect(), "{lines:?}");
        }
        check(&[], &[]);
        check(&[("Host", "a"), ("X", "1")], &[("Host", "a"), ("X", "1")]);
        check(
            &[("Connection", "close"), ("Close", "x")],
            &[("Close", "x")],
        );
        check(
            &[
                ("Connection", "X, y"),
                ("connection", "Z"),
                ("x", "1"),
                ("x", "2"),
                ("Y", "3"),
                ("z", "4"),
                ("w", "5"),
            ],
            &[("w", "5")],
        );
        check(
            &[
                ("Keep-Alive", "1"),
                ("Proxy-Connection", "1"),
                ("Proxy-Authorization", "1"),
                ("TE", "trailers"),
                ("Proxy-Authenticate", "1"),
                ("Trailer", "x"),
                ("Transfer-Encoding", "chunked"),
                ("Upgrade", "x"),
                ("Proxy", "1"),
                ("HTTP2-Settings", "1"),
                ("Proxy-Status", "1"),
            ],
            &[("Proxy-Status", "1")],
        );
        let ages = [("Date", "a"), ("Age", "1"), ("Expires", "0")];
        let listed = ("Connection", "date, AGE, Expires");
        check(&[listed, ages[0], ages[1], ages[2]], &ages);
        // Names that every recipient needs cannot be talked away.
        check(
            &[
                (
                    "Connection",
                    "Host, content-length, Cache-Control, vary, Expect, cookie",
                ),
                ("Host", "a"),
                ("Content-Length", "1"),
                ("Cache-Control", "private"),
                ("Vary", "b"),
                ("Expect", "100-continue"),
                ("Cookie", "c"),
            ],
            &[
                ("Host", "a"),
                ("Content-Length", "1"),
                ("Cache-Control", "private"),
                ("Vary", "b"),
                ("Expect", "100-continue"),
            ],
        );
        check(&[("Connection", "a b, \"x\", "), ("x", "1")], &[("x", "1")]);
    }

    #[test]
    fn trailers_keep_only_what_may_come_late() {
        let mut trailers: Fields = [
            ("Server-Timing", "a"),
            ("Content-Digest", "b"),
            ("Set-Cookie", "c"),
            ("Content-Length", "4"),
            ("Transfer-Encoding", "chunked"),
            ("Authorization", "d"),
            ("Cache-Control", "no-store"),
            ("Connection", "x"),
            ("X", "1"),
            ("grpc-status", "0"),
        ]
        .into_iter()
        .collect();
        strip_trailers(&mut trailers);
        let expected: Fields = [
            ("Server-Timing", "a"),
            ("Content-Digest", "b"),
            ("grpc-status", "0"),
        ]
        .into_iter()
        .collect();
        assert_eq!(trailers, expected);
    }

    #[test]
    fn via_tells_every_hop_in_order() {
        let mut fields: Fields = [("Via", "1.0 first")].into_iter().collect();
        fields.append_with("Via", |out| write_via(out, Version::Http11, "lacquer"));
        fields.append_with("Via", |out| write_via(out, Version::Http2, "other"));
        assert_eq!(
            fields.get_joined("via").as_deref(),
            Some(&b"1.0 first, 1.1 lacquer, 2 other"[..])
        );
    }
}
