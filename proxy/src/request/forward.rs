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

/// Fields by which a client could make a backend answer for another host, path or method than the one the
/// object is stored under. Frameworks read them although they are in no cache key.
const REWRITES: [&str; 9] = [
    "Forwarded",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Host",
    "X-HTTP-Method-Override",
    "X-Method-Override",
    "X-Original-URL",
    "X-Rewrite-URL",
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
