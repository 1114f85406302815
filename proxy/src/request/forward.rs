//! The fields of a request that change on the way to a backend.

use std::net::IpAddr;

use crate::downstream::ConnectionInfo;
use crate::http::RequestHead;
use crate::rules::key::canonical_authority;

/// Fields that make an answer fit one client's copy or one client's wish. A shared fetch goes without: the
/// cache answers them itself, from what it stores. If-Match and If-Unmodified-Since are not among them: only the
/// origin can say that they hold, and its answer, if it is a good one, is as good for others.
const CLIENT_OWN: [&str; 5] = [
    "If-None-Match",
    "If-Modified-Since",
    "If-Range",
    "Range",
    "X-If-Match",
];

/// Fields by which a client could make a backend answer for another scheme, host, path or method than the one
/// the object is stored under, or send a file of its choice. Frameworks read them although they are in no cache key.
const REWRITES: [&str; 37] = [
    "Base-URL",
    "Forwarded",
    "Front-End-Https",
    "X-Accel-Mapping",
    "X-Envoy-Original-Host",
    "X-Envoy-Original-Path",
    "X-Forwarded-Host",
    "X-Forwarded-Method",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-SSL",
    "X-Forwarded-URI",
    "X-Host",
    "X-HTTP-DestinationURL",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Invoke-Path",
    "X-Invoke-Query",
    "X-Method-Override",
    "X-Middleware-Rewrite",
    "X-Middleware-Subrequest",
    "X-Now-Route-Matches",
    "X-Original-Host",
    "X-Original-Method",
    "X-Original-URI",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Scheme",
    "X-Script-Name",
    "X-Sendfile-Type",
    "X-Url-Rewrite",
    "X-URL-Scheme",
];

/// Beginnings of names that choose an answer in their usual spelling. Spelled with `_`, no Vary names them, and a
/// backend behind CGI or WSGI still reads them as if they were spelled with `-`.
const CHOOSING: [&str; 5] = ["accept-", "if-", "sec-", "user-agent", "x-forwarded-"];

/// A set that holds the withheld names, and so few others that those looked for among them are rare.
const WITHHELD: u128 = {
    let mut set = 0;
    let mut place = 0;
    while place < CLIENT_OWN.len() + REWRITES.len() {
        let name = match place < CLIENT_OWN.len() {
            true => CLIENT_OWN[place],
            false => REWRITES[place - CLIENT_OWN.len()],
        };
        set |= mark(name.as_bytes());
        place += 1;
    }
    set
};

/// The bit of a name in a set of names: by its ends, whatever their case, and its length. With these factors none of the
/// names that browsers send, or that are added here, shares its bit with a withheld one.
const fn mark(name: &[u8]) -> u128 {
    let (Some(first), Some(last)) = (name.first(), name.last()) else {
        return 0;
    };
    let (first, last) = ((*first | 0x20) as usize, (*last | 0x20) as usize);
    1 << ((9 * first + 32 * last + 3 * name.len()) % 128)
}

/// Takes out what must not reach a backend in a fetch whose answer others may get, and gives Host the one
/// spelling that the key has: `A:80` and `a` are one key, and a backend could answer them apart.
pub(super) fn make_shareable(head: &mut RequestHead) {
    let host = canonical_authority(head.scheme, &head.authority).into_owned();
    if host != head.authority {
        head.fields.set("Host", &host);
        head.authority = host;
    }
    // Most requests have nothing to withhold.
    if !head.fields.iter_bytes().all(|(name, _)| is_shareable(name)) {
        head.fields
            .retain(|field| is_shareable(field.name.as_bytes()));
    }
}

/// Whether a request that goes on as the client sent it asks for what a shared fetch asks for, so that what comes may
/// say something of what is stored: it has nothing that would be withheld there, and names the host alike. A pass
/// takes nothing out of what the client sent.
pub(crate) fn speaks_for_all(head: &RequestHead) -> bool {
    canonical_authority(head.scheme, &head.authority) == head.authority
        && head.fields.iter_bytes().all(|(name, _)| is_shareable(name))
}

/// Whether a field goes to the backend in a fetch whose answer others may get.
pub(crate) fn is_shareable(name: &[u8]) -> bool {
    let has_underscore = memchr::memchr(b'_', name).is_some();
    if mark(name) & WITHHELD == 0 && !has_underscore {
        return true;
    }
    let mut withheld = CLIENT_OWN
        .iter()
        .chain(&REWRITES)
        .map(|known| known.as_bytes());
    if !has_underscore {
        return !withheld.any(|known| known.eq_ignore_ascii_case(name));
    }
    // CGI's variables know no difference between the two characters (RFC 3875 §4.1.18).
    let hyphenated: Vec<u8> = name
        .iter()
        .map(|byte| match byte {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        })
        .collect();
    !withheld.any(|known| known.eq_ignore_ascii_case(&hyphenated))
        && !CHOOSING
            .iter()
            .any(|begin| hyphenated.starts_with(begin.as_bytes()))
}

/// The protocols among those offered that a backend may be asked to switch to (RFC 9110 §7.8). Other versions of
/// HTTP, and TLS, are not: behind such a switch every further request would reach the backend unseen by the
/// policy. `None` where no other is offered.
pub(super) fn upgrades(offered: &str) -> Option<Box<str>> {
    let allowed: Vec<&str> = offered
        .split(',')
        .map(str::trim_ascii)
        .filter(|protocol| {
            let name = protocol.split('/').next().unwrap_or_default().trim_ascii();
            !name.is_empty()
                && !["h2", "h2c", "h3", "http", "tls"]
                    .iter()
                    .any(|ours| ours.eq_ignore_ascii_case(name))
        })
        .collect();
    (!allowed.is_empty()).then(|| allowed.join(", ").into())
}

/// Says for whom the request is made. X-Forwarded-For grows by the client's address; X-Forwarded-Proto is
/// what the connection is, whatever the client claims.
pub(super) fn add_forwarded(head: &mut RequestHead, connection: &ConnectionInfo) {
    if let Some(client) = connection.client.as_inet() {
        let client = client.ip().to_canonical();
        match head.fields.get_joined("X-Forwarded-For") {
            Some(mut chain) => {
                chain.extend_from_slice(b", ");
                write_address(&mut chain, client);
                head.fields.set("X-Forwarded-For", chain);
            }
            None => head
                .fields
                .append_with("X-Forwarded-For", |out| write_address(out, client)),
        }
    }
    head.fields.set("X-Forwarded-Proto", head.scheme.as_str());
}

/// As `Display` writes it, which takes as long as parsing a short head.
fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => out.extend_from_slice(address.to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, Scheme, Version};

    #[test]
    fn addresses_are_written_as_they_are_displayed() {
        let check = |address: &str| {
            let mut out = Vec::new();
            write_address(&mut out, address.parse().expect("an address"));
            assert_eq!(out, address.as_bytes());
        };
        check("0.0.0.0");
        check("127.10.200.255");
        check("2001:db8::1");
    }

    #[test]
    fn backends_are_not_asked_to_speak_another_http() {
        let check = |offered: &str, expected: Option<&str>| {
            assert_eq!(upgrades(offered).as_deref(), expected, "{offered}");
        };
        check("websocket", Some("websocket"));
        check("h2c", None);
        check("H2C , websocket,IRC/6.9", Some("websocket, IRC/6.9"));
        check("HTTP/2.0, TLS/1.0, http", None);
        check("h2c/1, h2, h3,", None);
        check("httpx", Some("httpx"));
        check("", None);
    }

    fn shared(authority: &str, lines: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead {
            method: Method::Get,
            target: "/".to_owned(),
            authority: authority.to_owned(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields: lines.iter().copied().collect(),
        };
        make_shareable(&mut head);
        head
    }

    #[test]
    fn shared_fetches_carry_neither_conditions_nor_rewrites() {
        let head = shared(
            "a",
            &[
                ("Host", "a"),
                ("if-none-match", "\"1\""),
                ("RANGE", "bytes=0-1"),
                ("X-Forwarded-Host", "evil"),
                ("x_forwarded_host", "evil"),
                ("X_HTTP-Method_Override", "PUT"),
                ("If_Match", "x"),
                ("ACCEPT_LANGUAGE", "de"),
                ("api_key", "1"),
                ("Accept", "*/*"),
            ],
        );
        let left: Vec<_> = head.fields.iter().map(|field| field.name).collect();
        assert_eq!(left, ["Host", "api_key", "Accept"]);
    }

    #[test]
    fn only_what_a_shared_fetch_would_send_speaks_for_all() {
        let check = |authority: &str, name: &str, expected: bool| {
            let mut head = shared("a", &[("Accept", "*/*"), (name, "x")]);
            head.authority = authority.to_owned();
            head.fields.append(name, "x");
            assert_eq!(speaks_for_all(&head), expected, "{authority} {name}");
        };
        check("a", "Cookie", true);
        check("a", "X-Forwarded-For", true);
        check("A", "Cookie", false);
        check("a:80", "Cookie", false);
        for name in REWRITES.into_iter().chain(CLIENT_OWN) {
            check("a", name, false);
            check("a", &name.replace('-', "_"), false);
        }
    }

    #[test]
    fn shared_fetches_name_the_host_as_the_key_does() {
        let check = |authority: &str, expected: &str| {
            let head = shared(authority, &[("Host", authority), ("Accept", "*/*")]);
            assert_eq!(head.authority, expected);
            let lines: Vec<_> = head.fields.get_all("host").collect();
            assert_eq!(lines, [expected.as_bytes()]);
        };
        check("a", "a");
        check("Example.ORG:80", "example.org");
        check("a:0081", "a:81");
    }
}
