//! Asking the origin whether a stored answer still holds, and renewing it (RFC 9111 §4.3, §3.2).

use super::conditional::{last_modified_is_strong, remove_conditions, validators};
use super::entity_tag::Strength;
use super::hop_by_hop;
use super::syntax::decimal;
use crate::http::{Fields, ResponseHead};

/// What an answer to HEAD does to the stored answer to GET (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// Same representation: renew it by [`freshen`].
    Freshen,
    /// Another one by now: the stored answer is stale.
    Invalidate,
    /// The answer says nothing about it.
    None,
}

/// RFC 9111 §4.3.1: makes a backend request ask for an answer only if it differs from the stored one.
/// The client's own conditions and range go. Says whether the stored answer has a validator to ask by.
pub fn add_validators(request: &mut Fields, stored: &ResponseHead) -> bool {
    remove_conditions(request);
    request.remove("range");
    let validators = validators(stored);
    // Sent as received: the origin made them and reads them back.
    if validators.etag.is_some()
        && let Some(etag) = stored.fields.get("etag")
    {
        request.append("If-None-Match", etag);
    }
    if validators.last_modified.is_some()
        && let Some(last_modified) = stored.fields.get("last-modified")
    {
        request.append("If-Modified-Since", last_modified);
    }
    !validators.is_empty()
}

/// RFC 9111 §4.3.4: whether a 304 speaks of the stored answer whose validators were sent.
///
/// A 304 with an ETag speaks of the answer with that tag, one with a Last-Modified alone of the one with
/// that date. One without either can only speak of the one answer that it was asked about: origins must send
/// their tag with a 304 (RFC 9110 §15.4.5), but many do not. When this says no, ask again without
/// conditions.
pub fn selects(stored: &ResponseHead, not_modified: &ResponseHead) -> bool {
    let (ours, theirs) = (validators(stored), validators(not_modified));
    if not_modified.fields.contains("etag") {
        return match (ours.etag, theirs.etag) {
            (Some(ours), Some(theirs)) if theirs.strength == Strength::Strong => {
                ours.strong_eq(&theirs)
            }
            (Some(ours), Some(theirs)) => ours.weak_eq(&theirs),
            _ => false,
        };
    }
    if not_modified.fields.contains("last-modified") {
        return theirs.last_modified.is_some() && ours.last_modified == theirs.last_modified;
    }
    true
}

/// RFC 9111 §3.2: the stored head with the fields of a newer head of the same representation.
///
/// Every field of the newer head replaces all stored lines of its name, but Content-Length, fields of
/// one hop, and for a stored part Content-Range, on which the stored bytes depend. Age and Date tell of
/// one message only, so the stored ones go even where the newer head has none.
pub fn freshen(stored: &ResponseHead, newer: &ResponseHead) -> ResponseHead {
    let mut update = newer.fields.clone();
    hop_by_hop::strip(&mut update);
    update.retain(|field| {
        !(field.name.eq_ignore_ascii_case("content-length")
            || stored.status == 206 && field.name.eq_ignore_ascii_case("content-range"))
    });
    let mut fields = stored.fields.clone();
    fields.retain(|field| {
        !(field.name.eq_ignore_ascii_case("age")
            || field.name.eq_ignore_ascii_case("date")
            || update.contains(field.name))
    });
    fields.extend_from(&update);
    ResponseHead {
        status: stored.status,
        reason: stored.reason.clone(),
        version: stored.version,
        fields: fields.into_compact(),
    }
}

/// RFC 9111 §4.3.5: a 200 to HEAD renews the stored answer when its validators and its Content-Length, as
/// far as it has them, are those stored. So must be its coding: what is stored cannot be read by another.
pub fn head_effect(stored: &ResponseHead, answer: &ResponseHead) -> HeadEffect {
    if answer.status != 200 || stored.status != 200 {
        return HeadEffect::None;
    }
    let (ours, theirs) = (validators(stored), validators(answer));
    let same_etag = match (ours.etag, theirs.etag) {
        (Some(ours), Some(theirs)) => ours == theirs,
        (None, Some(_)) => false,
        (_, None) => !answer.fields.contains("etag"),
    };
    let same_date = match theirs.last_modified {
        Some(date) => ours.last_modified == Some(date),
        None => !answer.fields.contains("last-modified"),
    };
    let length = |head: &ResponseHead| head.fields.get("content-length").and_then(decimal);
    let same_length = match (length(stored), length(answer)) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    };
    let coding = |head: &ResponseHead| head.fields.get_joined("content-encoding");
    let same_coding = coding(answer).is_none_or(|theirs| coding(stored) == Some(theirs));
    if same_etag && same_date && same_length && same_coding {
        HeadEffect::Freshen
    } else {
        HeadEffect::Invalidate
    }
}

/// Whether an answer has a validator that tells every change (RFC 9110 §8.8.1): parts of two answers
/// may be put together only by such a one (RFC 9111 §3.4). An ETag that cannot be read may tell more changes than
/// Last-Modified does.
pub fn has_strong_validator(stored: &ResponseHead) -> bool {
    match validators(stored).etag {
        Some(tag) => tag.strength == Strength::Strong,
        None => !stored.fields.contains("etag") && last_modified_is_strong(stored),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Lines<'a> = &'a [(&'a str, &'a str)];

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SAME_DATE: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:50:37 GMT";

    fn head(status: u16, lines: Lines<'_>) -> ResponseHead {
        let mut head = ResponseHead::new(status);
        head.fields = fields(lines);
        head
    }

    fn fields(lines: Lines<'_>) -> Fields {
        lines.iter().copied().collect()
    }

    #[test]
    fn the_backend_is_asked_with_our_validators_only() {
        fn check(request: Lines<'_>, stored: Lines<'_>, expected: Lines<'_>, asked: bool) {
            let mut request = fields(request);
            assert_eq!(add_validators(&mut request, &head(200, stored)), asked);
            assert_eq!(request, fields(expected), "{stored:?}");
        }
        let client: Lines<'_> = &[
            ("Host", "a"),
            ("If-None-Match", "\"x\""),
            ("If-Match", "\"x\""),
            ("If-Modified-Since", LATER),
            ("If-Unmodified-Since", LATER),
            ("If-Range", LATER),
            ("Range", "bytes=0-"),
        ];
        check(client, &[], &[("Host", "a")], false);
        check(
            client,
            &[("etag", "a"), ("last-modified", "?")],
            &[("Host", "a")],
            false,
        );
        check(
            client,
            &[("etag", "W/\"a\""), ("last-modified", SAME_DATE)],
            &[
                ("Host", "a"),
                ("If-None-Match", "W/\"a\""),
                ("If-Modified-Since", SAME_DATE),
            ],
            true,
        );
        check(
            &[],
            &[("last-modified", DATE)],
            &[("If-Modified-Since", DATE)],
            true,
        );
    }

    #[test]
    fn a_304_selects_the_answer_that_has_its_validator() {
        fn check(stored: Lines<'_>, not_modified: Lines<'_>, expected: bool) {
            let found = selects(&head(200, stored), &head(304, not_modified));
            assert_eq!(found, expected, "{stored:?} {not_modified:?}");
        }
        let strong = ("etag", "\"a\"");
        let weak = ("etag", "W/\"a\"");
        let dated = ("last-modified", DATE);
        check(&[strong], &[strong], true);
        check(&[strong], &[("etag", "\"b\"")], false);
        check(&[strong, dated], &[("etag", "\"b\""), dated], false);
        check(&[weak], &[strong], false);
        check(&[strong], &[weak], true);
        check(&[weak], &[weak], true);
        check(&[weak], &[("etag", "W/\"b\"")], false);
        check(&[strong], &[("etag", "a")], false);
        check(&[dated], &[strong], false);
        check(&[dated], &[("last-modified", SAME_DATE)], true);
        check(&[strong, dated], &[dated], true);
        check(&[strong, dated], &[("last-modified", LATER)], false);
        check(&[dated], &[("last-modified", "?")], false);
        check(&[strong], &[dated], false);
        check(&[dated], &[], true);
        check(&[], &[], true);
        check(&[strong], &[], true);
    }

    #[test]
    fn a_newer_head_replaces_fields_whole() {
        let stored = head(
            200,
            &[
                ("Date", DATE),
                ("Age", "100"),
                ("Content-Length", "10"),
                ("Content-Type", "text/plain"),
                ("Set-Cookie", "a=1"),
                ("X-Kept", "k"),
                ("set-cookie", "b=2"),
                ("ETag", "\"a\""),
            ],
        );
        let newer = head(
            304,
            &[
                ("date", LATER),
                ("content-length", "0"),
                ("Content-Type", "text/html"),
                ("Set-Cookie", "c=3"),
                ("Set-Cookie", "d=4"),
                ("Cache-Control", "max-age=5"),
                ("Connection", "x-hop"),
                ("X-Hop", "1"),
                ("Transfer-Encoding", "chunked"),
            ],
        );
        let renewed = freshen(&stored, &newer);
        assert_eq!(renewed.status, 200);
        assert_eq!(
            renewed.fields,
            fields(&[
                ("Content-Length", "10"),
                ("X-Kept", "k"),
                ("ETag", "\"a\""),
                ("date", LATER),
                ("Content-Type", "text/html"),
                ("Set-Cookie", "c=3"),
                ("Set-Cookie", "d=4"),
                ("Cache-Control", "max-age=5"),
            ])
        );
    }

    #[test]
    fn age_and_date_of_an_older_message_are_not_kept() {
        let stored = head(200, &[("Date", DATE), ("Age", "100"), ("x", "y")]);
        assert_eq!(
            freshen(&stored, &head(304, &[])).fields,
            fields(&[("x", "y")])
        );
    }

    #[test]
    fn a_stored_part_keeps_its_place() {
        let newer = head(304, &[("content-range", "bytes 5-9/10")]);
        let part = head(206, &[("content-range", "bytes 0-4/10")]);
        assert_eq!(freshen(&part, &newer).fields, part.fields);
    }

    #[test]
    fn an_answer_to_head_renews_or_invalidates() {
        fn check(stored: Lines<'_>, status: u16, answer: Lines<'_>, expected: HeadEffect) {
            let found = head_effect(&head(200, stored), &head(status, answer));
            assert_eq!(found, expected, "{stored:?} {answer:?}");
        }
        use HeadEffect::{Freshen, Invalidate, None};
        let stored: Lines<'_> = &[
            ("etag", "\"a\""),
            ("last-modified", DATE),
            ("content-length", "3"),
        ];
        check(stored, 200, &[], Freshen);
        check(stored, 200, stored, Freshen);
        check(
            stored,
            200,
            &[("etag", "\"a\""), ("content-length", "4")],
            Invalidate,
        );
        check(stored, 200, &[("etag", "\"b\"")], Invalidate);
        check(stored, 200, &[("etag", "W/\"a\"")], Invalidate);
        check(stored, 200, &[("etag", "a")], Invalidate);
        check(stored, 200, &[("last-modified", LATER)], Invalidate);
        let coded = ("content-encoding", "gzip");
        check(stored, 200, &[coded], Invalidate);
        check(&[coded], 200, &[coded], Freshen);
        check(&[coded], 200, &[], Freshen);
        check(&[], 200, &[("etag", "\"a\"")], Invalidate);
        check(stored, 404, &[("etag", "\"b\"")], None);
        check(stored, 304, &[("etag", "\"b\"")], None);
    }

    #[test]
    fn strong_validators_tell_every_change() {
        fn check(lines: Lines<'_>, expected: bool) {
            assert_eq!(
                has_strong_validator(&head(200, lines)),
                expected,
                "{lines:?}"
            );
        }
        check(&[("etag", "\"a\"")], true);
        check(
            &[
                ("etag", "W/\"a\""),
                ("last-modified", DATE),
                ("date", LATER),
            ],
            false,
        );
        check(&[("last-modified", DATE), ("date", LATER)], true);
        check(&[("last-modified", DATE), ("date", DATE)], false);
        let dated = [("last-modified", DATE), ("date", LATER), ("etag", "a")];
        check(&dated, false);
        check(&[], false);
    }
}
