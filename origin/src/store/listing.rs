//! Lists of keys and of buckets.

use std::collections::BTreeMap;

use super::StoreError;
use super::connect::Session;
use crate::kv::{BucketName, split_key};

const LIST: &str = include_str!("sql/list.sql");
const USAGE: &str = include_str!("sql/usage.sql");
/// Buckets in one answer; those behind are left out.
const BUCKETS_MAX: i64 = 100_000;

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What every key starts with.
    pub prefix: String,
    /// The key that the page follows; need not exist.
    pub after: String,
    /// Most keys.
    pub limit: u32,
}

/// A page of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The keys, in the order of their bytes.
    pub keys: Vec<String>,
    /// Whether keys follow.
    pub more: bool,
}

/// A bucket and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketUse {
    /// Its name.
    pub bucket: String,
    /// Number of keys.
    pub keys: u64,
    /// Bytes of the values.
    pub bytes: u64,
}

pub(super) async fn list(
    session: &Session,
    bucket: &BucketName,
    page: &Page,
    created: bool,
) -> Result<Option<Listing>, StoreError> {
    let (prefix_head, _) = split_key(&page.prefix);
    let (after_head, after_tail) = split_key(&page.after);
    let first = prefix_head.max(after_head);
    let limit = i64::from(page.limit);
    let below = successor(prefix_head);
    let rows = session
        .client
        .query(
            LIST,
            &[
                &bucket.as_str(),
                &first,
                &below,
                &after_head,
                &after_tail,
                &page.prefix,
                &(limit + 1),
            ],
        )
        .await
        .map_err(StoreError::harmless)?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in rows.iter().take(page.limit as usize) {
        keys.push(row.try_get("key").map_err(StoreError::Database)?);
    }
    if keys.is_empty() && !created && !has_entries(session, bucket).await? {
        return Ok(None);
    }
    Ok(Some(Listing {
        keys,
        more: rows.len() as i64 > limit,
    }))
}

async fn has_entries(session: &Session, bucket: &BucketName) -> Result<bool, StoreError> {
    let row = session
        .client
        .query_one(
            "SELECT EXISTS (
                SELECT FROM entries WHERE bucket = $1 AND (expires_at IS NULL OR expires_at > now())
            )",
            &[&bucket.as_str()],
        )
        .await
        .map_err(StoreError::harmless)?;
    row.try_get(0).map_err(StoreError::Database)
}

/// The smallest text above every text with this prefix, in the order of bytes; `None`: there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            _ => char::from_u32(last as u32 + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

pub(super) async fn usage(
    session: &Session,
    created: &[String],
) -> Result<Vec<BucketUse>, StoreError> {
    let mut buckets: BTreeMap<String, (u64, u64)> =
        created.iter().map(|name| (name.clone(), (0, 0))).collect();
    let rows = session
        .client
        .query(USAGE, &[&BUCKETS_MAX])
        .await
        .map_err(StoreError::harmless)?;
    for row in &rows {
        let read = || -> Result<(String, i64, i64), tokio_postgres::Error> {
            Ok((
                row.try_get("bucket")?,
                row.try_get("keys")?,
                row.try_get("bytes")?,
            ))
        };
        let (bucket, keys, bytes) = read().map_err(StoreError::Database)?;
        buckets.insert(
            bucket,
            (
                u64::try_from(keys).unwrap_or(0),
                u64::try_from(bytes).unwrap_or(0),
            ),
        );
    }
    Ok(buckets
        .into_iter()
        .map(|(bucket, (keys, bytes))| BucketUse {
            bucket,
            keys,
            bytes,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[track_caller]
    fn check(prefix: &str, expected: Option<&str>) {
        assert_eq!(successor(prefix).as_deref(), expected, "{prefix:?}");
    }

    #[test]
    fn the_successor_ends_a_prefix() {
        check("", None);
        check("a", Some("b"));
        check("a/", Some("a0"));
        check("讓", Some("讔"));
        check("a\u{D7FF}", Some("a\u{E000}"));
        check("a\u{10FFFF}", Some("b"));
        check("\u{10FFFF}\u{10FFFF}", None);
    }
}
