//! Conditional requests answered from a stored answer (RFC 9111 §4.3.2, RFC 9110 §13).

use super::date::parse_http_date;
use super::entity_tag::{EntityTag, Strength, entity_tags};
use super::syntax::only;
use crate::http::{Fields, Lines, Method, RequestHead, ResponseHead};
use crate::time::Timestamp;

/// The fields that make a request conditional (RFC 9110 §13.1).
pub const CONDITIONS: [&str; 5] = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
];

/// What the conditions of a request come to, held against a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Answer as if there were none.
    Proceed,
    /// Answer 304.
    NotModified,
    /// If-Match or If-Unmodified-Since that the stored answer does not meet. A newer representation
    /// might: a cache answers no 412 of its own, the origin decides (RFC 9111 §4.3.2).
    Undecided,
}

/// What tells one state of a resource from another (RFC 9110 §8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validators<'a> {
    /// A well-formed ETag that occurs once.
    pub etag: Option<EntityTag<'a>>,
    /// A well-formed Last-Modified that occurs once.
    pub last_modified: Option<Timestamp>,
}

impl Validators<'_> {
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

pub fn validators(response: &ResponseHead) -> Validators<'_> {
    Validators {
        etag: etag(response),
        last_modified: last_modified(response),
    }
}

fn etag(response: &ResponseHead) -> Option<EntityTag<'_>> {
    etag_line(response).map(|(_, etag)| etag)
}

/// The tag as it stands in its line, and taken apart.
fn etag_line(response: &ResponseHead) -> Option<(&[u8], EntityTag<'_>)> {
    let line = only(&response.fields, "etag")?;
    Some((line, EntityTag::parse(line)?))
}

fn last_modified(response: &ResponseHead) -> Option<Timestamp> {
    only(&response.fields, "last-modified").and_then(parse_http_date)
}

/// RFC 9110 §8.8.2.2: a Last-Modified is strong when Date is at least a second later, for then the
/// resource was not changed again within the second that it names.
pub fn last_modified_is_strong(response: &ResponseHead) -> bool {
    let date = response.fields.get("date").and_then(parse_http_date);
    match (last_modified(response), date) {
        (Some(last_modified), Some(date)) => date > last_modified,
        _ => false,
    }
}

/// Evaluates a GET's or HEAD's conditions in the order of RFC 9110 §13.2.2. If-Range is not among them:
/// it belongs to [`super::range`].
///
/// Other methods, and stored answers that are not 2xx, have none (RFC 9110 §13.2.1). Fields that are
/// malformed, or repeated where they may not be, are ignored.
pub fn evaluate(request: &RequestHead, stored: &ResponseHead) -> Precondition {
    if !matches!(request.method, Method::Get | Method::Head) || !(200..300).contains(&stored.status)
    {
        return Precondition::Proceed;
    }
    let fields = &request.fields;
    match fields.get_only("if-match") {
        Lines::None => {
            if let Some(since) = only(fields, "if-unmodified-since").and_then(parse_http_date) {
                match last_modified(stored) {
                    Some(changed) if changed <= since => {}
                    _ => return Precondition::Undecided,
                }
            }
        }
        given => {
            let matches = |line: &[u8]| matches_any(line, stored, |tag, ours| tag.strong_eq(ours));
            if !any_line(fields, "if-match", given, matches) {
                return Precondition::Undecided;
            }
        }
    }
    match fields.get_only("if-none-match") {
        Lines::None => {}
        given => {
            let matches = |line: &[u8]| matches_any(line, stored, |tag, ours| tag.weak_eq(ours));
            return match any_line(fields, "if-none-match", given, matches) {
                true => Precondition::NotModified,
                false => Precondition::Proceed,
            };
        }
    }
    let Some(since) = only(fields, "if-modified-since").and_then(parse_http_date) else {
        return Precondition::Proceed;
    };
    // RFC 9111 §4.3.2: Date stands in for a Last-Modified that is absent. A stored answer has a Date,
    // the time of receipt where the origin sent none.
    let changed = match stored.fields.contains("last-modified") {
        true => last_modified(stored),
        false => stored.fields.get("date").and_then(parse_http_date),
    };
    match changed {
        Some(changed) if changed <= since => Precondition::NotModified,
        _ => Precondition::Proceed,
    }
}

/// Whether a field of a 200 is left out of the 304 that stands for it (RFC 9110 §15.4.5): it describes content that is not
/// sent. Last-Modified stays, since it may be the only validator; fields about the message stay as well.
pub fn is_for_content(name: &[u8]) -> bool {
    // By length first: few other names have one of these.
    let known: &[&[u8]] = match name.len() {
        7 => &[b"trailer"],
        11 => &[b"repr-digest"],
        12 => &[b"content-type"],
        13 => &[b"content-range"],
        14 => &[b"content-length", b"content-digest"],
        16 => &[b"content-encoding", b"content-language"],
        17 => &[b"transfer-encoding"],
        _ => return false,
    };
    known.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Takes every condition off a request that goes to the backend for an object of many: the answer to
/// one client's condition is no answer for the others. Says whether there was one.
pub fn remove_conditions(fields: &mut Fields) -> bool {
    let before = fields.len();
    fields.retain(|field| !is_condition(field.name));
    fields.len() != before
}

fn is_condition(name: &str) -> bool {
    // All five begin alike, and few other names do.
    name.len() > 3
        && name.as_bytes()[..3].eq_ignore_ascii_case(b"if-")
        && CONDITIONS
            .iter()
            .any(|condition| condition.eq_ignore_ascii_case(name))
}

/// Whether a line of tags matches, or of several any. `*` stands for any representation where it is the only line, and
/// there is one.
fn any_line(
    fields: &Fields,
    name: &str,
    given: Lines<'_>,
    matches: impl Fn(&[u8]) -> bool,
) -> bool {
    match given {
        Lines::None => false,
        Lines::One(line) => line == b"*" || matches(line),
        Lines::Several => fields.get_all(name).any(matches),
    }
}

/// RFC 9110 §13.1.1 and §13.1.2: whether one of the tags is that of the stored answer.
fn matches_any(
    line: &[u8],
    stored: &ResponseHead,
    equal: impl Fn(&EntityTag<'_>, &EntityTag<'_>) -> bool,
) -> bool {
    let Some((ours, etag)) = etag_line(stored) else {
        return false;
    };
    // Most clients send back the very line that they were sent.
    match line == ours {
        true => equal(&etag, &etag),
        false => entity_tags(line).any(|tag| equal(&tag, &etag)),
    }
}

/// Whether an If-Range validator holds (RFC 9110 §13.1.5): a strong tag, or a date equal to a strong
/// Last-Modified.
pub(super) fn if_range_holds(condition: &[u8], stored: &ResponseHead) -> bool {
    let validators = validators(stored);
    if let Some(tag) = EntityTag::parse(condition) {
        return tag.strength == Strength::Strong
            && validators.etag.is_some_and(|etag| tag.strong_eq(&etag));
    }
    match parse_http_date(condition) {
        Some(date) => validators.last_modified == Some(date) && last_modified_is_strong(stored),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Scheme, Version};

    type Lines<'a> = &'a [(&'a str, &'a str)];

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn head(status: u16, lines: Lines<'_>) -> ResponseHead {
        let mut head = ResponseHead::new(status);
        head.fields = lines.iter().copied().collect();
        head
    }

    fn request(method: Method, lines: Lines<'_>) -> RequestHead {
        RequestHead {
            method,
            target: "/".to_owned(),
            authority: "example.org".to_owned(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields: lines.iter().copied().collect(),
        }
    }

    fn check(lines: Lines<'_>, stored: Lines<'_>, expected: Precondition) {
        for method in [Method::Get, Method::Head] {
            let found = evaluate(&request(method, lines), &head(200, stored));
            assert_eq!(found, expected, "{lines:?} {stored:?}");
        }
    }

    use Precondition::{NotModified, Proceed, Undecided};

    #[test]
    fn if_none_match_compares_weakly_over_lists() {
        let strong: Lines<'_> = &[("etag", "\"a\"")];
        let weak: Lines<'_> = &[("etag", "W/\"a\"")];
        check(&[], strong, Proceed);
        for stored in [strong, weak] {
            check(&[("if-none-match", "\"a\"")], stored, NotModified);
            check(&[("if-none-match", "W/\"a\"")], stored, NotModified);
            check(
                &[("if-none-match", "\"b\", W/\"a\", \"c\"")],
                stored,
                NotModified,
            );
            check(
                &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
                stored,
                NotModified,
            );
            check(&[("if-none-match", "*")], stored, NotModified);
            check(&[("if-none-match", "\"b\"")], stored, Proceed);
            check(&[("if-none-match", "a")], stored, Proceed);
            check(&[("if-none-match", "\"A\"")], stored, Proceed);
            check(&[("if-none-match", "\"b\", *")], stored, Proceed);
            check(&[("if-none-match", "")], stored, Proceed);
        }
        check(&[("if-none-match", "*")], &[], NotModified);
        check(&[("if-none-match", "\"a\"")], &[], Proceed);
        check(&[("if-none-match", "\"a\"")], &[("etag", "a")], Proceed);
        check(
            &[("if-none-match", "\"a\"")],
            &[("etag", "\"a\""), ("etag", "\"a\"")],
            Proceed,
        );
    }

    #[test]
    fn if_none_match_comes_before_if_modified_since() {
        let stored: Lines<'_> = &[("etag", "\"a\""), ("last-modified", DATE)];
        check(
            &[("if-none-match", "\"b\""), ("if-modified-since", LATER)],
            stored,
            Proceed,
        );
        check(
            &[("if-none-match", "\"a\""), ("if-modified-since", EARLIER)],
            stored,
            NotModified,
        );
    }

    #[test]
    fn if_modified_since_compares_with_last_modified_or_else_date() {
        let dated: Lines<'_> = &[("date", DATE)];
        let modified: Lines<'_> = &[("date", LATER), ("last-modified", DATE)];
        for stored in [dated, modified] {
            check(&[("if-modified-since", EARLIER)], stored, Proceed);
            check(&[("if-modified-since", DATE)], stored, NotModified);
            check(&[("if-modified-since", LATER)], stored, NotModified);
            check(
                &[("if-modified-since", "sunday, 06-nov-94 08:49:37 gmt")],
                stored,
                NotModified,
            );
            check(&[("if-modified-since", "yesterday")], stored, Proceed);
            check(
                &[("if-modified-since", DATE), ("if-modified-since", DATE)],
                stored,
                Proceed,
            );
        }
        check(&[("if-modified-since", LATER)], &[], Proceed);
        check(
            &[("if-modified-since", LATER)],
            &[("date", DATE), ("last-modified", "?")],
            Proceed,
        );
    }

    #[test]
    fn if_match_is_answered_only_where_it_holds() {
        let stored: Lines<'_> = &[("etag", "\"a\""), ("last-modified", DATE)];
        check(&[("if-match", "\"a\"")], stored, Proceed);
        check(&[("if-match", "\"b\", \"a\"")], stored, Proceed);
        check(&[("if-match", "*")], stored, Proceed);
        check(&[("if-match", "W/\"a\"")], stored, Undecided);
        check(&[("if-match", "\"b\"")], stored, Undecided);
        check(&[("if-match", "")], stored, Undecided);
        check(&[("if-match", DATE)], stored, Undecided);
        check(&[("if-match", "\"a\"")], &[("etag", "W/\"a\"")], Undecided);
        check(
            &[("if-match", "\"a\""), ("if-none-match", "\"a\"")],
            stored,
            NotModified,
        );
        check(
            &[("if-match", "\"b\""), ("if-none-match", "\"a\"")],
            stored,
            Undecided,
        );
        check(
            &[("if-match", "\"a\""), ("if-unmodified-since", EARLIER)],
            stored,
            Proceed,
        );
    }

    #[test]
    fn if_unmodified_since_is_answered_only_where_it_holds() {
        let stored: Lines<'_> = &[("last-modified", DATE), ("date", LATER)];
        check(&[("if-unmodified-since", DATE)], stored, Proceed);
        check(&[("if-unmodified-since", LATER)], stored, Proceed);
        check(&[("if-unmodified-since", EARLIER)], stored, Undecided);
        check(
            &[("if-unmodified-since", LATER)],
            &[("date", DATE)],
            Undecided,
        );
        check(&[("if-unmodified-since", "?")], stored, Proceed);
        check(
            &[("if-unmodified-since", DATE), ("if-modified-since", DATE)],
            stored,
            NotModified,
        );
    }

    #[test]
    fn other_methods_and_statuses_have_no_conditions() {
        fn check(method: Method, status: u16, expected: Precondition) {
            let request = request(method, &[("if-none-match", "\"a\"")]);
            assert_eq!(
                evaluate(&request, &head(status, &[("etag", "\"a\"")])),
                expected
            );
        }
        check(Method::Get, 200, NotModified);
        check(Method::Get, 204, NotModified);
        check(Method::Get, 301, Proceed);
        check(Method::Get, 404, Proceed);
        check(Method::Post, 200, Proceed);
        check(Method::Put, 200, Proceed);
    }

    #[test]
    fn a_304_has_what_the_200_says_about_itself() {
        let stored = head(
            200,
            &[
                ("Cache-Control", "max-age=1"),
                ("Content-Location", "/a"),
                ("Content-Type", "text/plain"),
                ("Content-Length", "3"),
                ("Content-Encoding", "gzip"),
                ("Date", DATE),
                ("ETag", "\"a\""),
                ("Expires", LATER),
                ("Last-Modified", EARLIER),
                ("Vary", "a"),
                ("Access-Control-Allow-Origin", "*"),
            ],
        );
        let fields = stored.fields.filtered(|name| !is_for_content(name));
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        assert_eq!(
            names,
            [
                "Cache-Control",
                "Content-Location",
                "Date",
                "ETag",
                "Expires",
                "Last-Modified",
                "Vary",
                "Access-Control-Allow-Origin"
            ]
        );
    }

    #[test]
    fn conditions_are_removed_whole() {
        let mut fields: Fields = CONDITIONS.into_iter().map(|name| (name, "*")).collect();
        fields.append("If", "x");
        fields.append("If-Else", "x");
        assert!(remove_conditions(&mut fields));
        assert!(!remove_conditions(&mut fields));
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn last_modified_is_strong_a_second_before_date() {
        fn check(lines: Lines<'_>, expected: bool) {
            assert_eq!(
                last_modified_is_strong(&head(200, lines)),
                expected,
                "{lines:?}"
            );
        }
        check(&[("last-modified", EARLIER), ("date", DATE)], true);
        check(&[("last-modified", DATE), ("date", DATE)], false);
        check(&[("last-modified", LATER), ("date", DATE)], false);
        check(&[("last-modified", DATE)], false);
        check(&[("date", DATE)], false);
    }
}
