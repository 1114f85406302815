//! The API on one page.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::reply::{TEXT, reply};

const PAGE: &str = include_str!("help.txt");

/// The page, with any status.
pub(super) fn page(status: StatusCode) -> Response {
    let mut response = reply(TEXT, PAGE);
    *response.status_mut() = status;
    response
}

pub(super) fn not_found() -> Response {
    page(StatusCode::NOT_FOUND)
}

/// 405, with the methods that the resource has (RFC 9110 §15.5.6).
pub(super) fn not_allowed(methods: &'static str) -> Response {
    let mut response = page(StatusCode::METHOD_NOT_ALLOWED);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
