//! Heads between HTTP/2's form and ours (RFC 9113 §8).

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;

use super::super::error::ClientError;
use super::super::settings::DownstreamSettings;
use crate::http::{
    Field, Fields, Method, RequestHead, ResponseHead, Scheme, Version, reason_phrase,
};
use crate::http1::{
    Expectation, Malformed, Refused, Target, is_authority, is_disguised_framing, parse_length,
};

/// Reads a request head. `h2` has checked that the pseudo-header fields are there, once and first, and that
/// connection-specific fields are not.
///
/// The scheme is that of the connection whatever `:scheme` says: a front end that ends TLS passes on its
/// client's.
pub(super) fn read(
    parts: &Parts,
    settings: &DownstreamSettings,
    scheme: Scheme,
) -> Result<(RequestHead, Expectation), Refused> {
    let limits = &settings.head;
    let method = Method::parse(parts.method.as_str().as_bytes()).ok_or(Refused::RequestLine)?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > limits.target_bytes_max {
        return Err(Refused::TargetTooLong(limits.target_bytes_max));
    }
    let named = parts.uri.authority().map(|authority| authority.as_str());
    let target = match method {
        Method::Connect if path.is_empty() && !is_extended_connect(parts) => String::new(),
        Method::Connect => return Err(Refused::Target),
        _ if path.starts_with('/') || path == "*" => {
            Target::parse(path.as_bytes(), &method, scheme)?.to_path(String::new())
        }
        _ => return Err(Refused::Target),
    };
    if parts.headers.len() > limits.fields_max {
        return Err(Malformed::TooManyFields(limits.fields_max).into());
    }
    let authority = authority(named, &parts.headers)?;
    let fields = fields(&parts.headers, authority)?;
    let expectation = match fields.get("expect") {
        None => Expectation::Nothing,
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Expectation::Continue,
        Some(_) => return Err(Refused::Expectation),
    };
    let head = RequestHead {
        method,
        target,
        authority: authority.to_owned(),
        scheme,
        version: Version::Http2,
        fields,
    };
    Ok((head, expectation))
}

/// RFC 8441, which we do not offer.
fn is_extended_connect(parts: &Parts) -> bool {
    parts.extensions.get::<h2::ext::Protocol>().is_some()
}

/// RFC 9113 §8.3.1: `:authority`, with which Host has to agree, or else Host.
fn authority<'a>(named: Option<&'a str>, headers: &'a HeaderMap) -> Result<&'a str, Refused> {
    let mut hosts = headers.get_all(http::header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refused::HostRepeated);
    }
    let host = host
        .map(|host| host.to_str().map_err(|_| Refused::HostInvalid))
        .transpose()?;
    let authority = match (named, host) {
        (Some(named), Some(host)) if !named.eq_ignore_ascii_case(host) => {
            return Err(Refused::HostInvalid);
        }
        (Some(named), _) => named,
        (None, Some(host)) => host,
        (None, None) => return Err(Refused::HostMissing),
    };
    if !is_authority(authority.as_bytes()) {
        return Err(Refused::HostInvalid);
    }
    Ok(authority)
}

fn fields(headers: &HeaderMap, authority: &str) -> Result<Fields, Refused> {
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let mut fields = Fields::with_capacity(headers.len() + 1, bytes + authority.len() + 8);
    fields.append("host", authority);
    for name in headers.keys() {
        let mut values = headers.get_all(name).iter();
        match name.as_str() {
            "host" => {}
            // RFC 9113 §8.2.3: crumbs become one line for whoever speaks HTTP/1.
            "cookie" => {
                let crumbs: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
                append(&mut fields, name, &crumbs.join(&b"; "[..]))?;
            }
            "content-length" => {
                let length = values.next().map_or(&b""[..], HeaderValue::as_bytes);
                if values.next().is_some() || parse_length(length).is_none() {
                    return Err(Malformed::ContentLength.into());
                }
                append(&mut fields, name, length)?;
            }
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" => {
                return Err(Malformed::FieldName.into());
            }
            // Behind us it would frame a message of HTTP/1.
            disguised if is_disguised_framing(disguised.as_bytes()) => {
                return Err(Malformed::FieldName.into());
            }
            _ => {
                for value in values {
                    append(&mut fields, name, value.as_bytes())?;
                }
            }
        }
    }
    Ok(fields)
}

/// RFC 9113 §8.2.1: a value neither starts nor ends with white space.
fn append(fields: &mut Fields, name: &HeaderName, value: &[u8]) -> Result<(), Refused> {
    let is_padded = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_padded(value.first()) || is_padded(value.last()) {
        return Err(Malformed::FieldValue.into());
    }
    fields
        .try_append(name.as_str().as_bytes(), value)
        .map_err(|_| Malformed::FieldValue.into())
}

/// Trailers of a request, within the same bounds as HTTP/1's.
pub(super) fn read_trailers(
    headers: &HeaderMap,
    settings: &DownstreamSettings,
) -> Result<Fields, crate::http1::BadBody> {
    use crate::http1::{BadBody, has_forbidden_trailer};
    let limits = &settings.head;
    if headers.len() > limits.fields_max {
        return Err(BadBody::Trailers(Malformed::TooManyFields(
            limits.fields_max,
        )));
    }
    let mut trailers = Fields::new();
    for (name, value) in headers {
        append(&mut trailers, name, value.as_bytes())
            .map_err(|_| BadBody::Trailers(Malformed::FieldValue))?;
    }
    if has_forbidden_trailer(&trailers) {
        return Err(BadBody::ForbiddenTrailer);
    }
    Ok(trailers)
}

/// What becomes of the length that a list itself states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatedLength {
    Kept,
    Replaced(Option<u64>),
}

/// A response head for `h2`, and its size as HTTP/1 would write it.
///
/// # Errors
/// [`ClientError::ReplyMismatch`] where HTTP/2 has no way to say it.
pub(super) fn write(
    head: &ResponseHead,
    extra: &Fields,
    length: StatedLength,
) -> Result<(http::Response<()>, u64), ClientError> {
    let status = http::StatusCode::from_u16(head.status).map_err(|_| ClientError::ReplyMismatch)?;
    let mut headers = HeaderMap::with_capacity(head.fields.len() + extra.len() + 2);
    let mut size = size_of_start(head.status);
    for field in head.fields.iter().chain(extra.iter()) {
        let is_length = field.name.eq_ignore_ascii_case("content-length");
        if is_of_http1(field.name) || (is_length && length != StatedLength::Kept) {
            continue;
        }
        size += insert(&mut headers, field)?;
    }
    if let StatedLength::Replaced(Some(length)) = length {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        let digits = length.checked_ilog10().unwrap_or(0) + 1;
        size += b"content-length: \r\n".len() as u64 + u64::from(digits);
    }
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok((response, size))
}

/// Bytes of a status line and the blank line that ends a head, as HTTP/1 would write them.
pub(super) fn size_of_start(status: u16) -> u64 {
    (b"HTTP/1.1 200 \r\n\r\n".len() + reason_phrase(status).len()) as u64
}

/// Trailers for `h2`.
pub(super) fn write_trailers(trailers: &Fields) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::with_capacity(trailers.len());
    for field in trailers.iter().filter(|field| !is_of_http1(field.name)) {
        insert(&mut headers, field)?;
    }
    Ok(headers)
}

fn insert(headers: &mut HeaderMap, field: Field<'_>) -> Result<u64, ClientError> {
    let name = HeaderName::from_bytes(field.name.as_bytes());
    let value = HeaderValue::from_bytes(field.value);
    let (Ok(name), Ok(value)) = (name, value) else {
        return Err(ClientError::ReplyMismatch);
    };
    headers
        .try_append(name, value)
        .map_err(|_| ClientError::ReplyMismatch)?;
    Ok((field.name.len() + field.value.len() + 4) as u64)
}

/// RFC 9113 §8.2.2.
fn is_of_http1(name: &str) -> bool {
    const CONNECTION: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    CONNECTION
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}
