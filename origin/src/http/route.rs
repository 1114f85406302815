//! Which resource a path names. Names stay encoded here.

use axum::http::Method;

/// A resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `/kv/{bucket}/{key}`; the key is the rest of the path, slashes included.
    Value { bucket: &'a str, key: &'a str },
    /// `/kv/{bucket}`.
    Bucket { bucket: &'a str },
    /// `/kv`.
    Buckets,
    /// `/multi/{bucket}`.
    Multi { bucket: &'a str },
    /// `/status`.
    Status,
    /// `/ready`.
    Ready,
    /// `/help`.
    Help,
    /// Anything else.
    Unknown,
}

impl<'a> Route<'a> {
    pub(super) fn parse(path: &'a str) -> Self {
        if let Some(rest) = path.strip_prefix("/kv/") {
            return match rest.split_once('/') {
                Some((bucket, key)) => Self::Value { bucket, key },
                None if rest.is_empty() => Self::Unknown,
                None => Self::Bucket { bucket: rest },
            };
        }
        if let Some(bucket) = path.strip_prefix("/multi/") {
            return if bucket.is_empty() || bucket.contains('/') {
                Self::Unknown
            } else {
                Self::Multi { bucket }
            };
        }
        match path {
            "/kv" => Self::Buckets,
            "/status" | "/status/" => Self::Status,
            "/ready" => Self::Ready,
            "/help" => Self::Help,
            _ => Self::Unknown,
        }
    }

    /// The label of a request to this resource in the metrics.
    pub(super) fn kind(&self, method: &Method) -> &'static str {
        match self {
            Self::Value { .. } if matches!(*method, Method::GET | Method::HEAD) => "read",
            Self::Value { .. } if *method == Method::PATCH => "patch",
            Self::Value { .. } => "write",
            Self::Multi { .. } => "multi",
            Self::Bucket { .. } | Self::Buckets => "list",
            Self::Status | Self::Ready | Self::Help | Self::Unknown => "other",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: Route<'_>) {
        assert_eq!(Route::parse(path), expected, "{path}");
    }

    #[test]
    fn paths_name_resources() {
        check(
            "/kv/b/k",
            Route::Value {
                bucket: "b",
                key: "k",
            },
        );
        check(
            "/kv/b/a/b/c",
            Route::Value {
                bucket: "b",
                key: "a/b/c",
            },
        );
        check(
            "/kv/b%2Fc/a%2Fb",
            Route::Value {
                bucket: "b%2Fc",
                key: "a%2Fb",
            },
        );
        check(
            "/kv/b/",
            Route::Value {
                bucket: "b",
                key: "",
            },
        );
        check(
            "/kv//k",
            Route::Value {
                bucket: "",
                key: "k",
            },
        );
        check("/kv/b", Route::Bucket { bucket: "b" });
        check("/kv", Route::Buckets);
        check("/kv/", Route::Unknown);
        check("/multi/b", Route::Multi { bucket: "b" });
        check("/multi/", Route::Unknown);
        check("/multi/b/k", Route::Unknown);
        check("/status", Route::Status);
        check("/ready", Route::Ready);
        check("/help", Route::Help);
        check("/", Route::Unknown);
        check("/KV/b/k", Route::Unknown);
        check("/kvs", Route::Unknown);
        check("*", Route::Unknown);
    }
}
