//! PATCH of a JSON value.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::body;
use super::problem::Problem;
use super::value::{current, stored, write_and_purge, written};
use super::{App, conditions, fields};
use crate::kv::{
    BucketName, Conditions, Entry, EntryData, Expiry, Key, Outcome, PatchFormat, RevisionList,
    TagList, Value, Verdict, Write, WriteAction, WriteConditions, apply_patch, judge_change,
};

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const FORMATS: &str = "application/merge-patch+json, application/json-patch+json, application/vnd.lacquer.increment+json";
/// Patches above this size, or of values above it, are computed off the threads that serve connections.
const INLINE_BYTES: usize = 64 << 10;
/// Attempts at a patch that other programs keep overtaking.
const ATTEMPTS_MAX: usize = 50;
/// Locks that patches share by hash of their key.
const LOCKS: usize = 256;

/// Lets the patches of one key pass one by one. Only a courtesy, which spares them most of
/// the attempts: what keeps them apart is the revision that each names.
#[derive(Debug)]
pub(super) struct PatchLocks {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

impl PatchLocks {
    pub(super) fn new() -> Self {
        Self {
            locks: (0..LOCKS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    fn of(&self, bucket: &BucketName, key: &Key) -> &Mutex<()> {
        &self.locks[(self.hasher.hash_one((bucket, key)) % LOCKS as u64) as usize]
    }
}

pub(super) async fn patch(
    app: &Arc<App>,
    (bucket, key): (BucketName, Key),
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let format = format_of(&parts.headers)?;
    let conditions = conditions::of_change(&parts.headers);
    let ttl_seconds = fields::ttl_seconds(&parts.headers)?;
    app.store.admit(&bucket).await?;
    let patch = body::read(app, &parts.headers, body).await?;
    let _turn = timeout(
        app.settings.timeout,
        app.patch_locks.of(&bucket, &key).lock(),
    )
    .await
    .map_err(|_| Problem::from(crate::store::StoreError::Busy))?;
    for _ in 0..ATTEMPTS_MAX {
        let Some((entry, data)) = read_whole(app, &bucket, &key, &conditions).await? else {
            continue;
        };
        if judge_change(&conditions, &current(&entry.meta)) == Verdict::Failed {
            return Err(Problem::precondition_failed(Some(written(&entry.meta))));
        }
        if entry.meta.content_encoding.is_some() {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "The stored value is encoded and cannot be patched.",
            ));
        }
        let patched = Bytes::from(compute(app, format, data, patch.clone()).await?);
        let patched = app.held.hold(patched.len()).await?.bind(patched);
        let policy = app.store.policy(&bucket);
        let write = Write {
            bucket: bucket.clone(),
            key: key.clone(),
            action: WriteAction::Put {
                value: Value {
                    data: patched.clone(),
                    content_type: entry.meta.content_type.clone(),
                    content_encoding: None,
                },
                expiry: ttl_seconds
                    .map_or(Expiry::Keep(policy.default_ttl_seconds), Expiry::Seconds),
                dated: None,
                timestamps: policy.timestamps,
            },
            // The conditions hold for this revision, so it has to be the one that is replaced.
            conditions: WriteConditions {
                if_match: Some(RevisionList::Of(vec![entry.meta.revision])),
                ..WriteConditions::default()
            },
        };
        if let Outcome::Updated(written) = write_and_purge(app, write, parts.uri.path()).await? {
            let mut response = stored(written);
            if let Ok(media_type) = HeaderValue::try_from(entry.meta.content_type) {
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, media_type);
            }
            *response.body_mut() = Body::from(patched);
            return Ok(response);
        }
    }
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "The value changes faster than it can be patched.",
    )
    .with(header::RETRY_AFTER, HeaderValue::from_static("1")))
}

fn format_of(fields: &HeaderMap) -> Result<PatchFormat, Problem> {
    match fields::media_type(fields).as_deref() {
        Some("application/merge-patch+json") => Ok(PatchFormat::Merge),
        Some("application/json-patch+json") => Ok(PatchFormat::Operations),
        Some("application/vnd.lacquer.increment+json") => Ok(PatchFormat::Increment),
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The Content-Type of a patch is one of {FORMATS}."),
        )
        .with(ACCEPT_PATCH, HeaderValue::from_static(FORMATS))),
    }
}

/// The entry with all its bytes; `None`: it changed between two reads.
async fn read_whole(
    app: &App,
    bucket: &BucketName,
    key: &Key,
    conditions: &Conditions,
) -> Result<Option<(Entry, Bytes)>, Problem> {
    let Some(entry) = app.store.read(bucket, key).await? else {
        return Err(match conditions.if_match {
            Some(TagList::Any) => Problem::precondition_failed(None),
            _ => Problem::no_such_key(),
        });
    };
    if let EntryData::Here(data) = &entry.data {
        let data = data.clone();
        return Ok(Some((entry, data)));
    }
    let bytes = entry.meta.data_bytes;
    let held = app.held.hold(bytes as usize).await?;
    let data = app
        .store
        .read_part(bucket, key, entry.meta.revision, 0, bytes)
        .await?;
    Ok(data.map(|data| (entry, held.bind(data))))
}

async fn compute(
    app: &App,
    format: PatchFormat,
    stored: Bytes,
    patch: Bytes,
) -> Result<Vec<u8>, Problem> {
    let bytes_max = app.settings.value_bytes_max;
    if stored.len() + patch.len() <= INLINE_BYTES {
        return Ok(apply_patch(format, &stored, &patch, bytes_max)?);
    }
    let computing =
        tokio::task::spawn_blocking(move || apply_patch(format, &stored, &patch, bytes_max));
    match computing.await {
        Ok(patched) => Ok(patched?),
        Err(_) => Err(Problem::internal()),
    }
}
