//! The API over HTTP: from requests to operations, from outcomes to answers.
//!
//! Owns routes, fields, bodies and media types. HTTP types end here. Refuses to know SQL.
//! axum lends its message types; its router is not used, because it decodes a path before
//! a handler can see that `%2F` is not `/` and `%ZZ` is nothing.
//!
//! Start reading at [`answer`].

mod accept;
mod body;
mod caching;
mod conditions;
mod fields;
mod help;
mod info;
mod listing;
mod multi;
mod multipart;
mod patch;
mod problem;
mod reply;
mod route;
mod value;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::FutureExt;

use crate::Settings;
use crate::metrics::Metrics;
use crate::purge::Purger;
use crate::store::Store;

use body::HeldBytes;
use patch::PatchLocks;
use problem::Problem;
use route::Route;

/// Everything that a request may need.
#[derive(Debug)]
pub struct App {
    pub(crate) store: Store,
    pub(crate) purger: Purger,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    held: HeldBytes,
    patch_locks: PatchLocks,
}

impl App {
    /// Puts the parts together.
    pub fn new(store: Store, purger: Purger, metrics: Arc<Metrics>, settings: Settings) -> Self {
        Self {
            held: HeldBytes::new(settings.body_bytes_held_max, settings.timeout),
            patch_locks: PatchLocks::new(),
            store,
            purger,
            metrics,
            settings,
        }
    }
}

/// Answers a request, whatever it is. A panic answers this one request with 500.
pub async fn answer(app: &Arc<App>, request: axum::http::Request<Body>) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let route = Route::parse(parts.uri.path());
    let answered = survive(&app.metrics, dispatch(app, &route, &parts, body)).await;
    let mut response = answered.unwrap_or_else(|problem| problem.respond(&parts.headers));
    if parts.method == Method::HEAD {
        leave_out_body(&mut response);
    }
    let status = response.status();
    app.metrics
        .requests
        .with_label_values(&[method_label(&parts.method), status.as_str()])
        .inc();
    app.metrics
        .duration
        .with_label_values(&[route.kind(&parts.method)])
        .observe(started.elapsed().as_secs_f64());
    response
}

/// Makes a panic a problem like any other, which says nothing of it.
async fn survive(
    metrics: &Metrics,
    work: impl Future<Output = Result<Response, Problem>>,
) -> Result<Response, Problem> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            metrics.panics.inc();
            Err(Problem::internal())
        })
}

async fn dispatch(
    app: &Arc<App>,
    route: &Route<'_>,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    fields::message(parts.version, &parts.headers)?;
    let method = &parts.method;
    match route {
        Route::Value { bucket, key } => {
            let names = || fields::names(bucket, key);
            match *method {
                Method::GET | Method::HEAD => value::get(app, names()?, parts).await,
                Method::PUT | Method::POST => value::put(app, names()?, parts, body).await,
                Method::DELETE => value::delete(app, names()?, parts).await,
                Method::PATCH => patch::patch(app, names()?, parts, body).await,
                _ => Ok(help::not_allowed("GET, HEAD, PUT, POST, DELETE, PATCH")),
            }
        }
        Route::Multi { bucket } => {
            let bucket = || fields::bucket(bucket);
            match *method {
                Method::POST => multi::read(app, bucket()?, parts, body).await,
                Method::PUT => multi::write(app, bucket()?, parts, body).await,
                Method::DELETE => multi::delete(app, bucket()?, parts, body).await,
                _ => Ok(help::not_allowed("POST, PUT, DELETE")),
            }
        }
        Route::Unknown => Ok(help::not_found()),
        _ if !matches!(*method, Method::GET | Method::HEAD) => Ok(help::not_allowed("GET, HEAD")),
        Route::Bucket { bucket } => listing::keys(app, fields::bucket(bucket)?, parts).await,
        Route::Buckets => listing::buckets(app).await,
        Route::Status => Ok(info::status()),
        Route::Ready => info::ready(app).await,
        Route::Help => Ok(help::page(StatusCode::OK)),
    }
}

/// Turns the answer to a GET into that to a HEAD: its length stays, its bytes go.
fn leave_out_body(response: &mut Response) {
    use http_body::Body as _;
    let length = response.body().size_hint().exact();
    if let Some(length) = length
        && response.status() != StatusCode::NOT_MODIFIED
    {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// Methods are chosen by clients, labels by us.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_ends_one_request_and_is_counted() {
        let metrics = Metrics::new();
        let answered = survive(&metrics, async { panic!("a secret") }).await;
        let response = answered.unwrap_err().respond(&HeaderMap::new());
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(
            !String::from_utf8_lossy(&body).contains("secret"),
            "{body:?}"
        );
        assert_eq!(metrics.panics.get(), 1);
        let answered = survive(&metrics, async { Ok(info::status()) }).await;
        assert_eq!(answered.unwrap().status(), StatusCode::OK);
        assert_eq!(metrics.panics.get(), 1);
    }
}
