//! What the server says of itself.

use std::sync::Arc;

use axum::response::Response;

use super::App;
use super::problem::Problem;
use super::reply::{TEXT, reply};

/// Alive. Says nothing of PostgreSQL, so that a restart of that does not take the origin out.
pub(super) fn status() -> Response {
    reply(TEXT, "ok")
}

/// 200 while PostgreSQL answers.
pub(super) async fn ready(app: &Arc<App>) -> Result<Response, Problem> {
    app.store.ping().await?;
    Ok(reply(TEXT, "ready"))
}
