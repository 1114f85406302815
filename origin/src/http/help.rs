//! The API on one page.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

const PAGE: &str = include_str!("help.txt");

/// The page, with any status.
pub(super) fn page(status: StatusCode) -> Response {
    let mut response = Response::new(Body::from(PAGE));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
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
