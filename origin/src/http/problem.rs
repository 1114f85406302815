//! Errors as clients see them: problem details (RFC 9457), or plain text.
//!
//! The one place where errors become answers. What a client reads is written here or in
//! the errors of `kv`; what PostgreSQL says goes to the log.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::json;

use super::accept::prefers_text;
use crate::kv::{NameError, PatchError, Written};
use crate::store::StoreError;

/// Seconds after which a client may try again. PostgreSQL starts in about as many.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            fields: Vec::new(),
        }
    }

    pub(super) fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The server failed to answer this request.",
        )
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such key.")
    }

    pub(super) fn too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("The limit is {bytes_max} bytes."),
        )
    }

    /// 412; with what is stored, where that is known.
    pub(super) fn precondition_failed(current: Option<Written>) -> Self {
        let mut problem = Self::new(
            StatusCode::PRECONDITION_FAILED,
            "A condition of the request is not met.",
        );
        if let Some(current) = current {
            problem = problem
                .with(header::ETAG, current.revision.to_string())
                .with(header::LAST_MODIFIED, current.modified_at.to_string());
        }
        problem
    }

    /// Adds a field to the answer; one that cannot be a field's value is left out.
    pub(super) fn with(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.fields.push((name, value));
        }
        self
    }

    /// The answer, in the form that the request prefers.
    pub(super) fn respond(self, request: &HeaderMap) -> Response {
        let (media_type, body) = if prefers_text(request) {
            ("text/plain; charset=utf-8", self.detail.into_owned())
        } else {
            let title = self.status.canonical_reason().unwrap_or("Error");
            let problem = json!({
                "type": "about:blank",
                "title": title,
                "status": self.status.as_u16(),
                "detail": self.detail,
            });
            ("application/problem+json", problem.to_string())
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.extend(self.fields);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let unavailable = |detail: &'static str| {
            Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .with(header::RETRY_AFTER, RETRY_AFTER)
        };
        match error {
            StoreError::Unavailable | StoreError::Connect(_) => {
                unavailable("The database does not answer. Nothing was changed.")
            }
            StoreError::Busy => {
                unavailable("Too many requests wait for the database. Nothing was changed.")
            }
            StoreError::OutcomeUnknown => unavailable(
                "The database was lost while it carried out the write. It may have been carried out: read before you repeat it.",
            ),
            StoreError::NoSuchBucket => {
                Self::new(StatusCode::NOT_FOUND, "There is no such bucket.")
            }
            StoreError::Refused => Self::internal(),
            error => {
                tracing::error!(error = &error as &dyn std::error::Error, "the store failed");
                Self::internal()
            }
        }
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::bad_request(match error {
            NameError::Empty => "A bucket or key is empty.".into(),
            NameError::TooLong { chars_max } => {
                format!("A bucket or key has more than {chars_max} characters.")
            }
            NameError::Control => "A bucket or key holds a control character.".into(),
            NameError::Escape => {
                "A % in the path starts no escape of two hexadecimal digits.".into()
            }
            NameError::NotUtf8 => "A bucket or key is not UTF-8.".into(),
        })
    }
}

impl From<PatchError> for Problem {
    fn from(error: PatchError) -> Self {
        let status = match &error {
            PatchError::Document { .. } | PatchError::Range { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            PatchError::Stored { .. } | PatchError::Conflict { .. } => StatusCode::CONFLICT,
            PatchError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Self::new(status, error.to_string())
    }
}
