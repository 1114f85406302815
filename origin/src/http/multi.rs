//! Batches: many values of one bucket in one request.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use super::body;
use super::problem::Problem;
use super::reply::{JSON, TEXT, reply};
use super::value::purge;
use super::{App, conditions, fields};
use crate::kv::{
    BucketName, EntryData, Key, Outcome, Timestamp, Timestamps, Value, Write, WriteAction,
    WriteConditions, encode_segment,
};
use crate::store::StoreError;

/// Most items in one batch.
const ITEMS_MAX: usize = 10_000;

/// A value in a batch: text, or any bytes in base64.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Data {
    Text(String),
    Bytes { base64: String },
}

/// A key to read or delete. `created_at` is read by clients of old and has no meaning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyItem {
    key: String,
    #[serde(default)]
    modified_at: Option<String>,
    #[serde(default, rename = "created_at")]
    _created_at: IgnoredAny,
}

/// A key to delete may also be given alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum DeleteItem {
    Key(String),
    Item(KeyItem),
}

/// A value to write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WriteItem {
    key: String,
    data: Data,
    #[serde(default)]
    modified_at: Option<String>,
    #[serde(default, rename = "created_at")]
    _created_at: IgnoredAny,
}

/// POST: an object of key to data. Keys that are not there, or are of another date than asked
/// for, are left out.
pub(super) async fn read(
    app: &Arc<App>,
    bucket: BucketName,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (items, _text) =
        parse::<KeyItem>(app, &parts.headers, body, StatusCode::BAD_REQUEST).await?;
    let mut keys = Vec::with_capacity(items.len());
    let mut dates = Vec::with_capacity(items.len());
    for item in items {
        keys.push(Key::new(item.key)?);
        dates.push(date(item.modified_at.as_deref())?);
    }
    let sizes = app.store.sizes(&bucket, &keys).await?;
    let bytes_max = app.settings.value_bytes_max;
    if sizes.all > bytes_max as u64 {
        return Err(Problem::bad_request(format!(
            "The values are larger than {bytes_max} bytes in all; ask for fewer."
        )));
    }
    // Before they are read: who waits for room must not hold them.
    let held = app.held.hold(sizes.all as usize).await?;
    let entries = app.store.read_many(&bucket, &keys, sizes.largest).await?;
    let mut found = Map::new();
    for (position, entry) in entries {
        let is_asked =
            dates[position].is_none_or(|date| date.second() == entry.meta.modified_at.second());
        let EntryData::Here(data) = entry.data else {
            return Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "A value grew while it was read.",
            )
            .with(header::RETRY_AFTER, HeaderValue::from_static("1")));
        };
        if is_asked {
            found.insert(keys[position].as_str().to_owned(), to_json(&data));
        }
    }
    let answer = Bytes::from(Json::Object(found).to_string());
    Ok(reply(JSON, held.bind(answer)))
}

fn to_json(data: &Bytes) -> Json {
    match std::str::from_utf8(data) {
        Ok(text) => Json::String(text.to_owned()),
        Err(_) => serde_json::json!({ "base64": STANDARD.encode(data) }),
    }
}

/// PUT: one transaction, and an object of key to `inserted`, `updated` or `rejected`.
pub(super) async fn write(
    app: &Arc<App>,
    bucket: BucketName,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    app.store.admit(&bucket).await?;
    let (items, text) =
        parse::<WriteItem>(app, &parts.headers, body, StatusCode::PAYLOAD_TOO_LARGE).await?;
    let policy = app.store.policy(&bucket);
    let expiry = fields::expiry(&parts.headers, policy.default_ttl_seconds)?;
    let mut writes = Vec::with_capacity(items.len());
    for item in items {
        let date = date(item.modified_at.as_deref())?;
        let data = match item.data {
            Data::Text(text) => Bytes::from(text),
            Data::Bytes { base64 } => STANDARD
                .decode(base64)
                .map_err(|_| Problem::bad_request("The base64 of an item is malformed."))?
                .into(),
        };
        let value = Value {
            data,
            // The values of a batch are text, or said to be.
            content_type: TEXT.to_owned(),
            content_encoding: None,
        };
        writes.push(Write {
            bucket: bucket.clone(),
            key: Key::new(item.key)?,
            action: WriteAction::Put {
                value,
                expiry,
                dated: date.filter(|_| policy.timestamps == Timestamps::Client),
                timestamps: policy.timestamps,
            },
            conditions: WriteConditions {
                unmodified_since: date,
                ..WriteConditions::default()
            },
        });
    }
    carry_out(app, &bucket, writes, text).await
}

/// DELETE: one transaction, and an object of key to `deleted`, `missing` or `rejected`.
pub(super) async fn delete(
    app: &Arc<App>,
    bucket: BucketName,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    let (items, text) =
        parse::<DeleteItem>(app, &parts.headers, body, StatusCode::BAD_REQUEST).await?;
    let mut writes = Vec::with_capacity(items.len());
    for item in items {
        let (key, modified_at) = match item {
            DeleteItem::Key(key) => (key, None),
            DeleteItem::Item(item) => (item.key, item.modified_at),
        };
        writes.push(Write {
            bucket: bucket.clone(),
            key: Key::new(key)?,
            action: WriteAction::Delete,
            conditions: WriteConditions {
                unmodified_since: date(modified_at.as_deref())?,
                ..WriteConditions::default()
            },
        });
    }
    carry_out(app, &bucket, writes, text).await
}

/// `text` is the request's body, whose share of the bound is kept while its items live.
/// Runs to its end also when the client leaves, so that the caches are told.
async fn carry_out(
    app: &Arc<App>,
    bucket: &BucketName,
    writes: Vec<Write>,
    text: Bytes,
) -> Result<Response, Problem> {
    // Caches have values under addresses of their own; they learn of a batch by the group they share
    // (RFC 9875 §3), which is the Surrogate-Key of each.
    let group = HeaderValue::try_from(format!("\"{}\"", encode_segment(bucket.as_str())))
        .map_err(|_| Problem::internal())?;
    let (app, bucket) = (app.clone(), bucket.clone());
    let writing = tokio::spawn(async move {
        let keys: Vec<Key> = writes.iter().map(|write| write.key.clone()).collect();
        let outcomes = match writes.is_empty() {
            true => Ok(Vec::new()),
            false => app.store.write_many(writes).await,
        };
        drop(text);
        let mut results = Map::new();
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            Err(error) => {
                if matches!(error, StoreError::OutcomeUnknown) {
                    keys.iter().for_each(|key| purge(&app, "", &bucket, key));
                }
                return Err(error);
            }
        };
        for (key, outcome) in keys.into_iter().zip(outcomes) {
            if matches!(outcome, Outcome::Updated(_) | Outcome::Deleted) {
                purge(&app, "", &bucket, &key);
            }
            let result = match outcome {
                Outcome::Inserted(_) => "inserted",
                Outcome::Updated(_) => "updated",
                Outcome::Rejected(_) => "rejected",
                Outcome::Deleted => "deleted",
                Outcome::Missing => "missing",
            };
            results.insert(key.as_str().to_owned(), Json::String(result.to_owned()));
        }
        Ok(results)
    });
    let results = writing.await.map_err(|_| Problem::internal())??;
    let mut answer = reply(JSON, Json::Object(results).to_string());
    answer
        .headers_mut()
        .insert("cache-group-invalidation", group);
    Ok(answer)
}

/// Reads a JSON array; `too_many` answers one with more than [`ITEMS_MAX`] items.
async fn parse<Item: DeserializeOwned>(
    app: &App,
    fields: &HeaderMap,
    body: Body,
    too_many: StatusCode,
) -> Result<(Vec<Item>, Bytes), Problem> {
    if fields::media_type(fields).as_deref() != Some("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Invalid Content-Type. A batch is application/json.",
        ));
    }
    let text = body::read(app, fields, body).await?;
    match serde_json::from_slice(&text) {
        Ok(Items::All(items)) => Ok((items, text)),
        Ok(Items::TooMany) => Err(Problem::new(
            too_many,
            format!("A batch has at most {ITEMS_MAX} items."),
        )),
        Err(error) => Err(Problem::bad_request(format!(
            "Failed to parse JSON body: {error}."
        ))),
    }
}

/// An array of at most [`ITEMS_MAX`] items. What follows them is only passed over: kept, the
/// items of a body of short ones would take many times its size.
enum Items<Item> {
    All(Vec<Item>),
    TooMany,
}

impl<'de, Item: Deserialize<'de>> Deserialize<'de> for Items<Item> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<Item>(PhantomData<Item>);

        impl<'de, Item: Deserialize<'de>> Visitor<'de> for Bounded<Item> {
            type Value = Items<Item>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut sequence: A,
            ) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < ITEMS_MAX {
                    match sequence.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Items::All(items)),
                    }
                }
                if sequence.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(Items::All(items));
                }
                drop(items);
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Items::TooMany)
            }
        }

        deserializer.deserialize_seq(Bounded(PhantomData))
    }
}

fn date(text: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    text.map(conditions::parse_date).transpose()
}
