//! One value: GET, HEAD, PUT, POST, DELETE.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use super::body;
use super::caching::within_expiry;
use super::problem::Problem;
use super::{App, conditions, fields, multipart};
use crate::kv::{
    BucketName, ByteRange, Current, Entry, EntryData, Key, Meta, Outcome, Selection, Tag, TagList,
    Timestamps, Value, Verdict, Write, WriteAction, Written, encode_segment, judge_read,
    select_ranges,
};
use crate::store::{BucketPolicy, StoreError};

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const VARY_IF_MATCH: HeaderValue = HeaderValue::from_static("If-Match");

/// Reads of a large value that is being overwritten, before giving up.
const READS_MAX: usize = 5;

pub(super) async fn get(
    app: &Arc<App>,
    (bucket, key): (BucketName, Key),
    parts: &Parts,
) -> Result<Response, Problem> {
    let conditions = conditions::of_read(&parts.headers);
    for _ in 0..READS_MAX {
        let Some(entry) = app.store.read(&bucket, &key).await? else {
            let problem = match judge_read(&conditions, None) {
                Verdict::Failed => Problem::precondition_failed(None),
                Verdict::Proceed | Verdict::NotModified => Problem::no_such_key(),
            };
            return Err(problem.with(header::VARY, VARY_IF_MATCH));
        };
        let verdict = judge_read(&conditions, Some(&current(&entry.meta)));
        let policy = app.store.policy(&bucket);
        match verdict {
            Verdict::Failed => {
                return Err(Problem::precondition_failed(Some(written(&entry.meta)))
                    .with(header::VARY, VARY_IF_MATCH));
            }
            Verdict::NotModified => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                describe(response.headers_mut(), &bucket, &entry.meta, &policy);
                return Ok(response);
            }
            Verdict::Proceed => {}
        }
        let selection = match parts.method {
            // Range is defined for GET alone (RFC 9110 §14.2).
            Method::GET if range_applies(&parts.headers, &entry.meta) => {
                select(&parts.headers, &entry.meta)
            }
            _ => Selection::Whole,
        };
        if parts.method == Method::HEAD {
            return Ok(head(&bucket, &entry.meta, &policy));
        }
        if let Some(response) = deliver(app, &bucket, &key, entry, &policy, selection).await? {
            return Ok(response);
        }
    }
    Err(Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "The value changes faster than it can be read.",
    )
    .with(header::RETRY_AFTER, HeaderValue::from_static("1")))
}

/// Sends an entry or the selected parts. `None`: its revision went while its bytes were being read.
async fn deliver(
    app: &App,
    bucket: &BucketName,
    key: &Key,
    entry: Entry,
    policy: &BucketPolicy,
    selection: Selection,
) -> Result<Option<Response>, Problem> {
    let Entry { meta, data } = entry;
    let length = meta.data_bytes;
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), bucket, &meta, policy);
    match selection {
        Selection::Unsatisfiable => {
            return Err(Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "The value has no such part.",
            )
            .with(header::CONTENT_RANGE, format!("bytes */{length}"))
            .with(header::VARY, VARY_IF_MATCH));
        }
        Selection::Whole => {
            let whole = ByteRange {
                first: 0,
                last: length.saturating_sub(1),
            };
            let Some(data) = bytes_of(app, bucket, key, &meta, data, whole).await? else {
                return Ok(None);
            };
            *response.body_mut() = Body::from(data);
        }
        Selection::Parts(parts) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            match parts[..] {
                [part] => {
                    let Some(data) = bytes_of(app, bucket, key, &meta, data, part).await? else {
                        return Ok(None);
                    };
                    let range = format!("bytes {}-{}/{length}", part.first, part.last);
                    insert(response.headers_mut(), header::CONTENT_RANGE, range);
                    *response.body_mut() = Body::from(data);
                }
                _ => {
                    let whole = ByteRange {
                        first: 0,
                        last: length.saturating_sub(1),
                    };
                    let Some(data) = bytes_of(app, bucket, key, &meta, data, whole).await? else {
                        return Ok(None);
                    };
                    let multipart = multipart::assemble(&meta.content_type, &data, &parts);
                    let held = app.held.hold(multipart.body.len()).await?;
                    insert(
                        response.headers_mut(),
                        header::CONTENT_TYPE,
                        multipart.content_type,
                    );
                    *response.body_mut() = Body::from(held.bind(Bytes::from(multipart.body)));
                }
            }
        }
    }
    Ok(Some(response))
}

/// A part of one revision's value, read apart where the shared read left it out.
async fn bytes_of(
    app: &App,
    bucket: &BucketName,
    key: &Key,
    meta: &Meta,
    data: EntryData,
    part: ByteRange,
) -> Result<Option<Bytes>, Problem> {
    match data {
        EntryData::Here(data) if data.is_empty() => Ok(Some(data)),
        EntryData::Here(data) => Ok(Some(data.slice(part.first as usize..=part.last as usize))),
        EntryData::Apart => {
            let held = app.held.hold(part.bytes() as usize).await?;
            let data = app
                .store
                .read_part(bucket, key, meta.revision, part.first, part.bytes())
                .await?;
            Ok(data.map(|data| held.bind(data)))
        }
    }
}

/// Whether Range is to be looked at: If-Range has to name this revision (RFC 9110 §13.1.5).
/// A date never does, because here a value may change and keep its date.
fn range_applies(fields: &HeaderMap, meta: &Meta) -> bool {
    let Some(value) = fields.get(header::IF_RANGE) else {
        return true;
    };
    match value.to_str().map(TagList::parse) {
        Ok(TagList::Tags(tags)) => {
            matches!(&tags[..], [Tag::Strong(tag)] if format!("\"{tag}\"") == meta.revision.to_string())
        }
        _ => false,
    }
}

fn select(fields: &HeaderMap, meta: &Meta) -> Selection {
    let mut lines = fields.get_all(header::RANGE).iter();
    match (
        lines.next().and_then(|line| line.to_str().ok()),
        lines.next(),
    ) {
        (Some(field), None) => select_ranges(field, meta.data_bytes),
        _ => Selection::Whole,
    }
}

fn head(bucket: &BucketName, meta: &Meta, policy: &BucketPolicy) -> Response {
    let mut response = Response::new(Body::empty());
    describe(response.headers_mut(), bucket, meta, policy);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(meta.data_bytes));
    response
}

/// The fields of a value that do not depend on how it is sent.
fn describe(fields: &mut HeaderMap, bucket: &BucketName, meta: &Meta, policy: &BucketPolicy) {
    fields.reserve(12);
    insert(fields, header::ETAG, meta.revision.to_string());
    insert(fields, header::LAST_MODIFIED, meta.modified_at.to_string());
    insert(fields, header::CONTENT_TYPE, meta.content_type.as_str());
    if let Some(encoding) = &meta.content_encoding {
        insert(fields, header::CONTENT_ENCODING, encoding.as_str());
    }
    fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    fields.insert(header::VARY, VARY_IF_MATCH);
    match meta.expires_in {
        None => {
            insert(fields, header::CACHE_CONTROL, &*policy.cache_control);
            insert(fields, CDN_CACHE_CONTROL, &*policy.cdn_cache_control);
        }
        Some(left) => {
            insert(
                fields,
                header::CACHE_CONTROL,
                within_expiry(&policy.cache_control, left.as_secs()),
            );
            insert(
                fields,
                CDN_CACHE_CONTROL,
                within_expiry(&policy.cdn_cache_control, left.as_secs()),
            );
        }
    }
    insert(fields, SURROGATE_KEY, encode_segment(bucket.as_str()));
}

/// What cannot be a field's value is left out; values come checked, so this is for rows
/// that another program wrote.
fn insert(fields: &mut HeaderMap, name: HeaderName, value: impl TryInto<HeaderValue>) {
    if let Ok(value) = value.try_into() {
        fields.insert(name, value);
    }
}

pub(super) fn current(meta: &Meta) -> Current {
    Current {
        revision: meta.revision,
        modified_at: meta.modified_at,
        dating: meta.dating,
    }
}

pub(super) fn written(meta: &Meta) -> Written {
    Written {
        revision: meta.revision,
        modified_at: meta.modified_at,
    }
}

pub(super) async fn put(
    app: &Arc<App>,
    (bucket, key): (BucketName, Key),
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let fields = &parts.headers;
    let conditions = conditions::of_put(fields)?;
    if fields.contains_key(header::CONTENT_RANGE) {
        // To store a part as the whole would destroy the value (RFC 9110 §14.5).
        return Err(Problem::bad_request("A part of a value cannot be written."));
    }
    let content_type = fields::content_type(fields)?;
    let content_encoding = fields::content_encoding(fields)?;
    app.store.admit(&bucket).await?;
    let policy = app.store.policy(&bucket);
    let expiry = fields::expiry(fields, policy.default_ttl_seconds)?;
    let data = body::read(app, fields, body).await?;
    let dated = match policy.timestamps {
        Timestamps::Client => conditions.if_unmodified_since,
        Timestamps::Server => None,
    };
    let write = Write {
        action: WriteAction::Put {
            value: Value {
                data,
                content_type,
                content_encoding,
            },
            expiry,
            dated,
            timestamps: policy.timestamps,
        },
        conditions: conditions.for_write(),
        bucket,
        key,
    };
    match write_and_purge(app, write, parts.uri.path()).await? {
        Outcome::Inserted(written) | Outcome::Updated(written) => Ok(stored(written)),
        Outcome::Rejected(current) => Err(Problem::precondition_failed(current)),
        Outcome::Deleted | Outcome::Missing => Err(Problem::internal()),
    }
}

pub(super) async fn delete(
    app: &Arc<App>,
    (bucket, key): (BucketName, Key),
    parts: &Parts,
) -> Result<Response, Problem> {
    let write = Write {
        bucket,
        key,
        action: WriteAction::Delete,
        conditions: conditions::of_change(&parts.headers).for_write(),
    };
    match write_and_purge(app, write, parts.uri.path()).await? {
        Outcome::Deleted => Ok(Response::new(Body::empty())),
        Outcome::Missing => Err(Problem::no_such_key()),
        Outcome::Rejected(current) => Err(Problem::precondition_failed(current)),
        Outcome::Inserted(_) | Outcome::Updated(_) => Err(Problem::internal()),
    }
}

/// Carries a write out and tells the caches when something may have changed under them. They
/// are told also when the client has left meanwhile.
pub(super) async fn write_and_purge(
    app: &Arc<App>,
    write: Write,
    path: &str,
) -> Result<Outcome, Problem> {
    if app.purger.is_idle() {
        return Ok(app.store.write(write).await?);
    }
    let (app, path) = (app.clone(), path.to_owned());
    let writing = tokio::spawn(async move {
        let (bucket, key) = (write.bucket.clone(), write.key.clone());
        let outcome = app.store.write(write).await;
        if matches!(
            outcome,
            Ok(Outcome::Updated(_) | Outcome::Deleted) | Err(StoreError::OutcomeUnknown)
        ) {
            purge(&app, &path, &bucket, &key);
        }
        outcome
    });
    match writing.await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Problem::internal()),
    }
}

/// 200 with the validators of what was written.
pub(super) fn stored(written: Written) -> Response {
    let mut response = Response::new(Body::empty());
    insert(
        response.headers_mut(),
        header::ETAG,
        written.revision.to_string(),
    );
    insert(
        response.headers_mut(),
        header::LAST_MODIFIED,
        written.modified_at.to_string(),
    );
    response
}

/// Tells caches that a value has changed, under every path by which they may know it: as this
/// request spelt it, and as most would.
pub(super) fn purge(app: &App, path: &str, bucket: &BucketName, key: &Key) {
    if app.purger.is_idle() {
        return;
    }
    let bucket = encode_segment(bucket.as_str());
    let segments: Vec<String> = key.as_str().split('/').map(encode_segment).collect();
    let mut paths = vec![
        path.to_owned(),
        format!("/kv/{bucket}/{}", segments.join("/")),
        format!("/kv/{bucket}/{}", segments.join("%2F")),
    ];
    paths.sort();
    paths.dedup();
    for path in paths.iter().filter(|path| path.starts_with("/kv/")) {
        app.purger.purge(path);
    }
}
