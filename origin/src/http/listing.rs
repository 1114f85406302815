//! Lists of keys and of buckets.

use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::App;
use super::accept::choose;
use super::problem::Problem;
use super::reply::{self, JSON, reply};
use crate::kv::{BucketName, KEY_CHARS_MAX, encode_segment};
use crate::store::Page;

const TEXT: &str = "text/plain";
const NDJSON: &str = "application/x-ndjson";

/// Keys in a page that does not say, and at most.
const LIMIT_DEFAULT: u32 = 1_000;
const LIMIT_MAX: u32 = 10_000;

/// The keys of a bucket, in the order of their bytes.
pub(super) async fn keys(
    app: &Arc<App>,
    bucket: BucketName,
    parts: &Parts,
) -> Result<Response, Problem> {
    let Some(media_type) = choose(&parts.headers, &[JSON, TEXT, NDJSON]) else {
        return Err(Problem::new(
            StatusCode::NOT_ACCEPTABLE,
            format!("A list of keys is to be had as {JSON}, {TEXT} or {NDJSON}."),
        )
        .with(header::VARY, HeaderValue::from_static("Accept")));
    };
    let page = parse_page(parts.uri.query().unwrap_or_default())?;
    let Some(listing) = app.store.list(&bucket, &page).await? else {
        return Err(Problem::new(
            StatusCode::NOT_FOUND,
            "There is no such bucket.",
        ));
    };
    let body = match media_type {
        TEXT => lines(listing.keys.iter().cloned()),
        NDJSON => lines(listing.keys.iter().map(|key| json!(key).to_string())),
        _ => json!(listing.keys).to_string(),
    };
    let content_type = if media_type == TEXT {
        reply::TEXT
    } else {
        media_type
    };
    let mut response = reply(content_type, body);
    let fields = response.headers_mut();
    fields.insert(header::VARY, HeaderValue::from_static("Accept"));
    if let (true, Some(last)) = (listing.more, listing.keys.last())
        && let Ok(link) = HeaderValue::try_from(next_link(&bucket, &page, last))
    {
        fields.insert(header::LINK, link);
    }
    Ok(response)
}

/// Buckets, with their number of keys and bytes.
pub(super) async fn buckets(app: &Arc<App>) -> Result<Response, Problem> {
    let buckets = app.store.usage().await?;
    let list: Vec<_> = buckets
        .into_iter()
        .map(
            |bucket| json!({ "bucket": bucket.bucket, "keys": bucket.keys, "bytes": bucket.bytes }),
        )
        .collect();
    Ok(reply(JSON, json!(list).to_string()))
}

fn lines(keys: impl Iterator<Item = String>) -> String {
    keys.map(|key| key + "\n").collect()
}

/// The same list behind the last key (RFC 8288).
fn next_link(bucket: &BucketName, page: &Page, last: &str) -> String {
    let mut link = format!(
        "</kv/{}?after={}",
        encode_segment(bucket.as_str()),
        encode_segment(last)
    );
    if !page.prefix.is_empty() {
        link += &format!("&prefix={}", encode_segment(&page.prefix));
    }
    link + &format!("&limit={}>; rel=\"next\"", page.limit)
}

/// Reads `prefix`, `after` and `limit`; other parameters are not ours.
fn parse_page(query: &str) -> Result<Page, Problem> {
    let (mut prefix, mut after, mut limit) = (None, None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let place = match name {
            "prefix" => &mut prefix,
            "after" => &mut after,
            "limit" => &mut limit,
            _ => continue,
        };
        if place.replace(decode(value)?).is_some() {
            return Err(Problem::bad_request(format!(
                "The parameter {name} is given twice."
            )));
        }
    }
    let limit = match limit {
        None => LIMIT_DEFAULT,
        // Whoever asks for more is told where it goes on.
        Some(text) => match text.parse::<u64>() {
            Ok(limit) if limit > 0 => limit.min(LIMIT_MAX.into()) as u32,
            _ => return Err(Problem::bad_request("The limit is a number from 1.")),
        },
    };
    Ok(Page {
        prefix: prefix.unwrap_or_default(),
        after: after.unwrap_or_default(),
        limit,
    })
}

/// Decodes a value as forms encode it.
fn decode(value: &str) -> Result<String, Problem> {
    let spaced = value.replace('+', " ");
    let text = percent_decode_str(&spaced)
        .decode_utf8()
        .map_err(|_| Problem::bad_request("A parameter is not UTF-8."))?
        .into_owned();
    if text.chars().count() > KEY_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(Problem::bad_request(
            "A parameter is too long or holds a control character.",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<(&str, &str, u32)>) {
        let expected = expected.map(|(prefix, after, limit)| Page {
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
        });
        assert_eq!(parse_page(query).ok(), expected, "{query}");
    }

    #[test]
    fn pages_are_read_from_the_query() {
        check("", Some(("", "", LIMIT_DEFAULT)));
        check(
            "prefix=a%2Fb&after=a%2Fb+c&limit=5",
            Some(("a/b", "a/b c", 5)),
        );
        check("limit=99999999", Some(("", "", LIMIT_MAX)));
        check("prefix=%E8%AE%93&other=1", Some(("讓", "", LIMIT_DEFAULT)));
        check("limit=0", None);
        check("limit=-1", None);
        check("limit=x", None);
        check("limit=1&limit=2", None);
        check("prefix=%FF", None);
        check("prefix=%00", None);
    }

    #[test]
    fn the_link_leads_on() {
        let bucket = BucketName::new("b c").unwrap();
        let page = Page {
            prefix: "a&".to_owned(),
            after: String::new(),
            limit: 2,
        };
        let link = next_link(&bucket, &page, "a&b>\"");
        assert_eq!(
            link,
            "</kv/b%20c?after=a%26b%3E%22&prefix=a%26&limit=2>; rel=\"next\""
        );
        check(
            "after=a%26b%3E%22&prefix=a%26&limit=2",
            Some(("a&", "a&b>\"", 2)),
        );
    }
}
