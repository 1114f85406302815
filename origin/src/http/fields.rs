//! What a request's target and fields say, checked.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};

use super::problem::Problem;
use super::reply::TEXT;
use crate::kv::{BucketName, Expiry, Key, TTL_SECONDS_MAX, decode_name};

/// `Lacquer-TTL`: seconds that the written value is to live.
const LACQUER_TTL: HeaderName = HeaderName::from_static("lacquer-ttl");
/// Longest Content-Type and Content-Encoding that is stored.
const STORED_FIELD_BYTES_MAX: usize = 1_024;
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Refuses what hyper lets pass although a cache in front may read it differently: a message to
/// no host or to two (RFC 9112 §3.2), and a body in a transfer coding that nobody takes off here
/// (§6.1), which would be stored as it is.
pub(super) fn message(version: Version, fields: &HeaderMap) -> Result<(), Problem> {
    let close = |problem: Problem| problem.with(header::CONNECTION, CLOSE);
    let hosts = fields.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && version == Version::HTTP_11) {
        return Err(close(Problem::bad_request("A request names one Host.")));
    }
    let mut codings = fields.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    let is_plain = codings.next().is_none_or(is_chunked) && codings.next().is_none();
    if !is_plain {
        return Err(close(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "The only transfer coding of a request is chunked.",
        )));
    }
    Ok(())
}

pub(super) fn bucket(encoded: &str) -> Result<BucketName, Problem> {
    Ok(BucketName::new(decode_name(encoded)?)?)
}

pub(super) fn names(bucket_encoded: &str, key_encoded: &str) -> Result<(BucketName, Key), Problem> {
    Ok((
        bucket(bucket_encoded)?,
        Key::new(decode_name(key_encoded)?)?,
    ))
}

/// The media type without parameters, in lower case; `None` where there is none.
pub(super) fn media_type(fields: &HeaderMap) -> Option<String> {
    let value = fields.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase(),
    )
}

/// The Content-Type to store: text when the request does not say, or says what every `curl -d` says.
pub(super) fn content_type(fields: &HeaderMap) -> Result<String, Problem> {
    let mut lines = fields.get_all(header::CONTENT_TYPE).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(Problem::bad_request("There is more than one Content-Type."));
    }
    let value = match line {
        None => return Ok(TEXT.to_owned()),
        Some(value) => stored_text(value, "Content-Type")?,
    };
    let form = media_type(fields)
        .is_some_and(|media| media.is_empty() || media == "application/x-www-form-urlencoded");
    Ok(if form { TEXT.to_owned() } else { value })
}

/// The Content-Encoding to store; `None` for none and for `identity`.
pub(super) fn content_encoding(fields: &HeaderMap) -> Result<Option<String>, Problem> {
    let lines: Result<Vec<String>, Problem> = fields
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .map(|line| stored_text(line, "Content-Encoding"))
        .collect();
    let value = lines?.join(", ");
    if value.len() > STORED_FIELD_BYTES_MAX {
        return Err(Problem::bad_request("The Content-Encoding is too long."));
    }
    Ok((!value.is_empty() && !value.eq_ignore_ascii_case("identity")).then_some(value))
}

fn stored_text(value: &HeaderValue, name: &str) -> Result<String, Problem> {
    match value.to_str() {
        Ok(text) if text.len() <= STORED_FIELD_BYTES_MAX => Ok(text.trim().to_owned()),
        Ok(_) => Err(Problem::bad_request(format!("The {name} is too long."))),
        Err(_) => Err(Problem::bad_request(format!(
            "The {name} holds more than visible ASCII."
        ))),
    }
}

/// The lifetime of a write: `Lacquer-TTL`, or what its bucket says.
pub(super) fn expiry(
    fields: &HeaderMap,
    default_ttl_seconds: Option<i64>,
) -> Result<Expiry, Problem> {
    match ttl_seconds(fields)? {
        Some(seconds) => Ok(Expiry::Seconds(seconds)),
        None => Ok(default_ttl_seconds.map_or(Expiry::Never, Expiry::Seconds)),
    }
}

/// The value of `Lacquer-TTL`.
pub(super) fn ttl_seconds(fields: &HeaderMap) -> Result<Option<i64>, Problem> {
    let mut lines = fields.get_all(LACQUER_TTL).iter();
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let digits = line
        .to_str()
        .ok()
        .map(str::trim)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let seconds = digits.and_then(|digits| digits.parse().ok());
    match seconds {
        Some(seconds) if (1..=TTL_SECONDS_MAX).contains(&seconds) && lines.next().is_none() => {
            Ok(Some(seconds))
        }
        _ => Err(Problem::bad_request(format!(
            "Lacquer-TTL is a number of seconds from 1 to {TTL_SECONDS_MAX}."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        fields
    }

    #[test]
    fn a_type_that_says_nothing_is_text() {
        for (value, expected) in [
            (None, TEXT),
            (Some(""), TEXT),
            (Some("application/x-www-form-urlencoded"), TEXT),
            (
                Some("Application/X-WWW-Form-Urlencoded; charset=utf-8"),
                TEXT,
            ),
            (Some("application/json"), "application/json"),
            (Some("text/html; charset=big5"), "text/html; charset=big5"),
        ] {
            let lines: Vec<_> = value
                .map(|value| ("content-type", value))
                .into_iter()
                .collect();
            assert_eq!(
                content_type(&fields(&lines)).unwrap(),
                expected,
                "{value:?}"
            );
        }
        assert!(
            content_type(&fields(&[("content-type", "a/b"), ("content-type", "a/b")])).is_err()
        );
    }

    #[test]
    fn a_lifetime_is_a_number_of_seconds() {
        for (value, expected) in [
            ("1", Some(1)),
            ("3155760000", Some(TTL_SECONDS_MAX)),
            ("0", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("", None),
            ("3155760001", None),
            ("99999999999999999999", None),
            ("ten", None),
        ] {
            let read = ttl_seconds(&fields(&[("lacquer-ttl", value)]))
                .ok()
                .flatten();
            assert_eq!(read, expected, "{value}");
        }
        assert_eq!(ttl_seconds(&HeaderMap::new()).unwrap(), None);
        assert_eq!(expiry(&HeaderMap::new(), None).unwrap(), Expiry::Never);
        assert_eq!(
            expiry(&HeaderMap::new(), Some(7)).unwrap(),
            Expiry::Seconds(7)
        );
    }

    #[test]
    fn identity_is_no_encoding() {
        assert_eq!(
            content_encoding(&fields(&[("content-encoding", "identity")])).unwrap(),
            None
        );
        assert_eq!(
            content_encoding(&fields(&[("content-encoding", "gzip")])).unwrap(),
            Some("gzip".to_owned())
        );
        assert_eq!(content_encoding(&HeaderMap::new()).unwrap(), None);
    }
}
