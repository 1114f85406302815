//! Keys, values and the rules that bind them, as values and pure functions.
//!
//! Owns names, revisions, dates, preconditions, byte ranges and patch documents.
//! Refuses to know HTTP messages, SQL, clocks and sockets: whatever time it is,
//! the caller says so.

mod condition;
mod date;
mod entry;
mod name;
mod patch;
mod range;

pub use condition::{
    Conditions, Current, RevisionList, Tag, TagList, Verdict, WriteConditions, judge_change,
    judge_read,
};
pub use date::Timestamp;
pub use entry::{
    Dating, Entry, EntryData, Expiry, Meta, Outcome, Revision, TTL_SECONDS_MAX, Timestamps, Value,
    Write, WriteAction, Written,
};
pub(crate) use name::split_key;
pub use name::{
    BUCKET_CHARS_MAX, BucketName, KEY_CHARS_MAX, Key, NameError, decode_name, encode_segment,
};
pub use patch::{PatchError, PatchFormat, apply_patch};
pub use range::{ByteRange, RANGES_MAX, Selection, select_ranges};
