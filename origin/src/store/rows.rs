//! From rows to values, and from times to PostgreSQL's.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio_postgres::Row;

use crate::kv::{Dating, Entry, EntryData, Meta, Revision, Timestamp};

/// `last_write` of a row that keeps its date, or sets the same second again; see the first migration.
const DATE_KEPT: [i16; 2] = [4, 6];

pub(super) fn to_system_time(time: Timestamp) -> SystemTime {
    let distance = Duration::from_micros(time.micros().unsigned_abs());
    if time.micros() < 0 {
        SystemTime::UNIX_EPOCH - distance
    } else {
        SystemTime::UNIX_EPOCH + distance
    }
}

pub(super) fn from_system_time(time: SystemTime) -> Timestamp {
    let micros = |distance: Duration| i64::try_from(distance.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => micros(after),
        Err(before) => -micros(before.duration()),
    })
}

/// A row of `read.sql`: the position of its key among those asked for, from 0, and the entry.
pub(super) fn entry(row: &Row) -> Result<(usize, Entry), tokio_postgres::Error> {
    let position: i64 = row.try_get("n")?;
    let data: Option<&[u8]> = row.try_get("data")?;
    let data_bytes: i32 = row.try_get("data_bytes")?;
    let last_write: i16 = row.try_get("last_write")?;
    let expires_in: Option<f64> = row.try_get("expires_in_seconds")?;
    let meta = Meta {
        revision: Revision(row.try_get("revision")?),
        modified_at: from_system_time(row.try_get("modified_at")?),
        dating: if DATE_KEPT.contains(&last_write) {
            Dating::Kept
        } else {
            Dating::Moved
        },
        content_type: row.try_get("content_type")?,
        content_encoding: row.try_get("content_encoding")?,
        data_bytes: u64::try_from(data_bytes).unwrap_or(0),
        expires_in: expires_in
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)),
    };
    let data = data.map_or(EntryData::Apart, |data| {
        EntryData::Here(Bytes::copy_from_slice(data))
    });
    Ok((
        usize::try_from(position - 1).unwrap_or(0),
        Entry { meta, data },
    ))
}
