//! What is stored, what is to be written, and what came of it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::{BucketName, Key, Timestamp, WriteConditions};

/// Longest time to live, in seconds: a hundred years, which every clock involved can add.
pub const TTL_SECONDS_MAX: i64 = 3_155_760_000;

/// The number of one write. Only grows for its key, also when the key is deleted and made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub i64);

/// The strong entity-tag: the quoted number.
impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// What is known of a stored value besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Of the write that made this value.
    pub revision: Revision,
    /// Last-Modified.
    pub modified_at: Timestamp,
    /// What the date says about this value.
    pub dating: Dating,
    /// As given by the writer.
    pub content_type: String,
    /// As given by the writer.
    pub content_encoding: Option<String>,
    /// Size of the value.
    pub data_bytes: u64,
    /// How long the entry has yet to live; `None`: it does not expire.
    pub expires_in: Option<Duration>,
}

/// Whether Last-Modified tells a value from the one that it replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dating {
    /// The last write created the key or moved its date to a later second.
    Moved,
    /// The last write kept the date, so an equal date proves nothing.
    Kept,
}

/// The bytes of a stored value, as far as they were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryData {
    /// All of them.
    Here(Bytes),
    /// Too large for a shared read: ask for this revision's bytes.
    Apart,
}

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What is known of it.
    pub meta: Meta,
    /// Its bytes.
    pub data: EntryData,
}

/// A value to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub data: Bytes,
    /// Content-Type.
    pub content_type: String,
    /// Content-Encoding.
    pub content_encoding: Option<String>,
}

/// Who dates the writes of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// If-Unmodified-Since becomes `modified_at`; without it the date stays.
    #[default]
    Client,
    /// Each write is dated now.
    Server,
}

/// What a write does to the entry's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Lives for this many seconds from now.
    Seconds(i64),
    /// Does not expire.
    Never,
    /// As before; a new entry takes the given number of seconds, or does not expire.
    Keep(Option<i64>),
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAction {
    /// Insert or replace.
    Put {
        /// What to store.
        value: Value,
        /// How long.
        expiry: Expiry,
        /// Becomes `modified_at` in a bucket that clients date.
        dated: Option<Timestamp>,
        /// Who dates this bucket's writes.
        timestamps: Timestamps,
    },
    /// Remove.
    Delete,
}

/// One write to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub bucket: BucketName,
    /// Which.
    pub key: Key,
    /// What.
    pub action: WriteAction,
    /// On what condition, decided under the row's lock.
    pub conditions: WriteConditions,
}

impl Write {
    /// Bytes of the value, none for a delete.
    pub fn data_bytes(&self) -> usize {
        match &self.action {
            WriteAction::Put { value, .. } => value.data.len(),
            WriteAction::Delete => 0,
        }
    }
}

/// What an entry is after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The write's number.
    pub revision: Revision,
    /// Last-Modified from now on.
    pub modified_at: Timestamp,
}

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key was not there.
    Inserted(Written),
    /// The key was there.
    Updated(Written),
    /// The key is gone.
    Deleted,
    /// There was nothing to delete.
    Missing,
    /// A condition failed; what it was compared with, where that is known.
    Rejected(Option<Written>),
}
