//! `POST /explain`: a request's head comes in as `message/http`, an explanation goes out.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use super::server::{answer, text};
use crate::explain::{BadQuestion, Form};

/// Largest question: more than any request's head that a listener takes by default.
const QUESTION_BYTES_MAX: usize = 128 * 1024;

/// RFC 9112 §10.1. No page in a browser may send it to another origin without asking first.
const QUESTION_TYPE: &str = "message/http";

/// Who knows what would happen to a request.
pub trait Explainer: fmt::Debug + Send + Sync + 'static {
    /// `head` is a request's head, from the request line to the empty line.
    ///
    /// # Errors
    /// [`BadQuestion`] where it is none.
    fn explain(&self, head: &[u8], form: Form) -> Result<String, BadQuestion>;
}

/// Answers one question. The time it may take is that of its connection.
pub(super) async fn respond(
    explainer: Option<&Arc<dyn Explainer>>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let Some(explainer) = explainer else {
        return text(StatusCode::NOT_FOUND, "nothing is explained here");
    };
    if !is(request.headers(), header::CONTENT_TYPE, QUESTION_TYPE) {
        let message = "a question is a request's head with Content-Type: message/http";
        return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    }
    let form = match is(request.headers(), header::ACCEPT, "application/json") {
        true => Form::Json,
        false => Form::Text,
    };
    let question = Limited::new(request.into_body(), QUESTION_BYTES_MAX);
    let Ok(question) = question.collect().await else {
        let message = format!("a question has at most {QUESTION_BYTES_MAX} bytes");
        return text(StatusCode::PAYLOAD_TOO_LARGE, &message);
    };
    match explainer.explain(&question.to_bytes(), form) {
        Ok(explanation) => {
            let content_type = match form {
                Form::Text => "text/plain; charset=utf-8",
                Form::Json => "application/json",
            };
            answer(StatusCode::OK, content_type, explanation)
        }
        Err(bad) => text(StatusCode::BAD_REQUEST, &bad.to_string()),
    }
}

/// Whether a field names this media type, parameters aside.
fn is(fields: &HeaderMap, name: header::HeaderName, media_type: &str) -> bool {
    let value = fields.get(name).and_then(|value| value.to_str().ok());
    let named = value.and_then(|value| value.split(';').next());
    named.is_some_and(|named| named.trim().eq_ignore_ascii_case(media_type))
}
