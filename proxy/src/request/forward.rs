//! The fields of a request that change on the way to a backend.

use crate::downstream::ConnectionInfo;
use crate::http::{Fields, RequestHead};

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
/// the object is stored under. Frameworks read them although they are in no cache key.
const REWRITES: [&str; 21] = [
    "Forwarded",
    "Front-End-Https",
    "X-Forwarded-Host",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-SSL",
    "X-Forwarded-URI",
    "X-Host",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-Host",
    "X-Original-URI",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-URL-Scheme",
];

/// Takes out what must not reach a backend in a fetch whose answer others may get.
pub(super) fn make_shareable(fields: &mut Fields) {
    fields.retain(|field| {
        !CLIENT_OWN
            .iter()
            .chain(&REWRITES)
            .any(|name| name.eq_ignore_ascii_case(field.name))
    });
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
        let client = client.ip().to_canonical().to_string();
        let value = match head.fields.get_joined("X-Forwarded-For") {
            Some(mut chain) => {
                chain.extend_from_slice(b", ");
                chain.extend_from_slice(client.as_bytes());
                chain
            }
            None => client.into_bytes(),
        };
        head.fields.set("X-Forwarded-For", value);
    }
    head.fields.set("X-Forwarded-Proto", head.scheme.as_str());
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn shared_fetches_carry_neither_conditions_nor_rewrites() {
        let mut fields: Fields = [
            ("Host", "a"),
            ("if-none-match", "\"1\""),
            ("RANGE", "bytes=0-1"),
            ("X-Forwarded-Host", "evil"),
            ("Accept", "*/*"),
        ]
        .into_iter()
        .collect();
        make_shareable(&mut fields);
        assert_eq!(
            fields.iter().map(|field| field.name).collect::<Vec<_>>(),
            ["Host", "Accept"]
        );
    }
}
