//! The conditional fields of a request (RFC 9110 §13.1).

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderName, header};

use super::problem::Problem;
use crate::kv::{Conditions, TagList, Timestamp};

/// Takes If-Match's place on a read where that is absent: caches use If-Match up on their way.
const X_IF_MATCH: HeaderName = HeaderName::from_static("x-if-match");

/// What a client is told whose date cannot be read; clients of old compare the text.
const BAD_DATE: &str = "Error in If-Unmodified-Since format. Use RFC 1123 date format.";

/// Conditions of a GET or HEAD. A date that does not parse is ignored (RFC 9110 §13.1.3, §13.1.4).
pub(super) fn of_read(fields: &HeaderMap) -> Conditions {
    Conditions {
        if_match: tags(fields, header::IF_MATCH).or_else(|| tags(fields, X_IF_MATCH)),
        if_unmodified_since: date(fields, header::IF_UNMODIFIED_SINCE).unwrap_or(None),
        if_none_match: tags(fields, header::IF_NONE_MATCH),
        if_modified_since: date(fields, header::IF_MODIFIED_SINCE).unwrap_or(None),
    }
}

/// Conditions of a DELETE or PATCH. If-Modified-Since is for reads (RFC 9110 §13.1.3).
pub(super) fn of_change(fields: &HeaderMap) -> Conditions {
    Conditions {
        if_match: tags(fields, header::IF_MATCH),
        if_unmodified_since: date(fields, header::IF_UNMODIFIED_SINCE).unwrap_or(None),
        if_none_match: tags(fields, header::IF_NONE_MATCH),
        if_modified_since: None,
    }
}

/// Conditions of a PUT or POST, where the date of If-Unmodified-Since also becomes the value's
/// and therefore has to be one.
pub(super) fn of_put(fields: &HeaderMap) -> Result<Conditions, Problem> {
    let if_unmodified_since = date(fields, header::IF_UNMODIFIED_SINCE).map_err(|_| bad_date())?;
    Ok(Conditions {
        if_unmodified_since,
        ..of_change(fields)
    })
}

/// A date in a batch, under the same rule.
pub(super) fn parse_date(text: &str) -> Result<Timestamp, Problem> {
    Timestamp::parse_http_date(text, now()).ok_or_else(bad_date)
}

fn bad_date() -> Problem {
    Problem::bad_request(BAD_DATE)
}

fn tags(fields: &HeaderMap, name: HeaderName) -> Option<TagList> {
    let mut lines = fields.get_all(name).iter().peekable();
    lines.peek()?;
    let lines: Vec<_> = lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .collect();
    Some(TagList::parse(&lines.join(",")))
}

struct NoDate;

fn date(fields: &HeaderMap, name: HeaderName) -> Result<Option<Timestamp>, NoDate> {
    let mut lines = fields.get_all(name).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let date = line
        .to_str()
        .ok()
        .and_then(|text| Timestamp::parse_http_date(text.trim(), now()));
    match date {
        Some(date) if lines.next().is_none() => Ok(Some(date)),
        _ => Err(NoDate),
    }
}

/// Only says which century a two-digit year lies in.
fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX / 1_000_000))
}
