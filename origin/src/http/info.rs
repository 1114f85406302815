//! What the server says of itself.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::App;
use super::problem::Problem;

/// Alive. Says nothing of PostgreSQL, so that a restart of that does not take the origin out.
pub(super) fn status() -> Response {
    text("ok")
}

/// 200 while PostgreSQL answers.
pub(super) async fn ready(app: &Arc<App>) -> Result<Response, Problem> {
    app.store.ping().await?;
    Ok(text("ready"))
}

fn text(text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let fields = response.headers_mut();
    fields.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
