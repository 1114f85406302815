//! Objects: what clients read from.
//!
//! A fetch fills an object, any number of requests deliver it, also while it still fills. A head and the
//! body that came with it are one object, so they are never sent apart from each other; a `304` makes a
//! new object that shares the body. How a body grows is in [`body`]; where objects are found, in
//! [`crate::store`].

mod body;
mod part;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::bans::Mark;
use crate::http::{Fields, ResponseHead};
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::cache_groups::groups;
use crate::rules::freshness::{Lifetime, LifetimeKind, StoredTimes};
use crate::rules::part::Asked;
use crate::rules::storability::NotStored;
use crate::rules::vary::{VaryKey, VarySpec};
use crate::time::Timestamp;

pub use body::{Abandoned, Body, BodyFailed, BodyReader, BodyWriter, Growth, Transit};
pub use part::{StoredPart, Wanted};

/// When an answer was made and how long it serves. VCL: `obj.age`, `obj.ttl`, `obj.grace`, `obj.keep`.
///
/// Counted from `born`, each period follows the one before: fresh for `ttl`, then usable while it is
/// refreshed for `grace`, then kept for a conditional refetch for `keep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The time of receipt less the age the answer had by then (RFC 9111 §4.2.3).
    pub born: Timestamp,
    /// Freshness lifetime (RFC 9111 §4.2.1).
    pub ttl: Duration,
    pub grace: Duration,
    pub keep: Duration,
}

impl Times {
    /// Of an answer that serves those who wait for it and nobody later.
    pub fn unusable(born: Timestamp) -> Times {
        Times {
            born,
            ttl: Duration::ZERO,
            grace: Duration::ZERO,
            keep: Duration::ZERO,
        }
    }
}

/// What an object in the store stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An answer that may be reused.
    Response,
    /// "The last answer could not be stored": requests fetch side by side instead of waiting for each
    /// other, and a storable answer replaces the mark.
    HitForMiss,
    /// A private answer of one pass, or an error of ours. Never in the store.
    Private,
}

/// An answer that clients can be served from.
#[derive(Debug)]
pub struct Object {
    /// Status and end-to-end fields as stored; without Age.
    pub head: ResponseHead,
    pub body: Arc<Body>,
    pub kind: Kind,
    /// The directives that decide on reuse, parsed once.
    pub directives: ResponseDirectives,
    /// The varying fields and the values they had in the request that caused this answer.
    pub variant: Option<(VarySpec, VaryKey)>,
    /// Which part of the content this is; `None`: all of it.
    pub part: Option<Box<StoredPart>>,
    /// Surrogate keys, and the groups of Cache-Groups (RFC 9875).
    pub tags: Box<[Box<str>]>,
    /// Number of the transaction that fetched it, for X-Varnish and logs.
    pub xid: u64,
    /// Of a mark: why the answer that it stands for was not stored.
    pub because: Option<NotStored>,
    born: Timestamp,
    /// Milliseconds. The one time that changes: a soft purge ends it.
    ttl: AtomicU64,
    grace: Duration,
    keep: Duration,
    /// Bans up to this mark have been tested and do not match.
    ban_mark: AtomicU64,
    hits: AtomicU64,
}

impl Object {
    /// An object that the store does not know.
    pub fn new(
        head: ResponseHead,
        body: Arc<Body>,
        kind: Kind,
        directives: ResponseDirectives,
        times: Times,
        xid: u64,
    ) -> Object {
        Object {
            head,
            body,
            kind,
            directives,
            variant: None,
            part: None,
            tags: Box::default(),
            xid,
            because: None,
            born: times.born,
            ttl: AtomicU64::new(millis(times.ttl)),
            grace: times.grace,
            keep: times.keep,
            ban_mark: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// An answer of our own with a whole body, for one client.
    pub fn synthetic(
        head: ResponseHead,
        body: impl Into<bytes::Bytes>,
        now: Timestamp,
        xid: u64,
    ) -> Object {
        let directives = ResponseDirectives::default();
        Object::new(
            head,
            Body::whole(body.into()),
            Kind::Private,
            directives,
            Times::unusable(now),
            xid,
        )
    }

    /// Whether the origin chose this answer by a field that it knows only in `request`'s form. `name` is in
    /// lower case.
    pub fn was_chosen_by(&self, name: &str, request: &Fields) -> bool {
        self.variant.as_ref().is_some_and(|(spec, key)| {
            spec.names().any(|varied| varied == name) && spec.key_of(request) == *key
        })
    }

    pub fn times(&self) -> Times {
        Times {
            born: self.born,
            ttl: self.ttl(),
            grace: self.grace,
            keep: self.keep,
        }
    }

    /// The same times as the rules of freshness take them: as if it had arrived when it was born.
    pub fn stored_times(&self) -> StoredTimes {
        StoredTimes {
            response_time: self.born,
            initial_age: Duration::ZERO,
            lifetime: Lifetime {
                duration: self.ttl(),
                kind: LifetimeKind::Explicit,
            },
        }
    }

    /// Freshness lifetime, counted from birth.
    pub fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl.load(Ordering::Relaxed))
    }

    /// RFC 9111 §4.2.3 `current_age`.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.born)
    }

    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.age(now) < self.ttl()
    }

    /// Past every use: neither fresh, nor within grace, nor kept for a conditional refetch.
    pub fn is_dead(&self, now: Timestamp) -> bool {
        self.age(now)
            >= self
                .ttl()
                .saturating_add(self.grace)
                .saturating_add(self.keep)
    }

    /// Ends the freshness now; grace and keep count from here. A soft purge.
    pub fn expire(&self, now: Timestamp) {
        let age = millis(self.age(now));
        self.ttl.fetch_min(age, Ordering::Relaxed);
    }

    /// The mark up to which bans have been tested against this object.
    pub fn ban_mark(&self) -> Mark {
        Mark::from_u64(self.ban_mark.load(Ordering::Acquire))
    }

    pub fn set_ban_mark(&self, mark: Mark) {
        self.ban_mark.fetch_max(mark.as_u64(), Ordering::AcqRel);
    }

    /// Counts a delivery; gives the number of deliveries before it. VCL: `obj.hits`.
    pub fn count_hit(&self) -> u64 {
        self.hits.fetch_add(1, Ordering::Relaxed)
    }

    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Bytes this object holds, overhead included: what the cache's size bound counts.
    pub fn weight(&self) -> u64 {
        let tags: usize = self
            .tags
            .iter()
            .map(|tag| tag.len() + size_of::<Box<str>>())
            .sum();
        let variant = self
            .variant
            .as_ref()
            .map_or(0, |(spec, key)| spec.heap_bytes() + key.heap_bytes());
        let part = self.part.as_ref().map_or(0, |part| {
            size_of::<StoredPart>() + part.asked.as_ref().map_or(0, Asked::heap_bytes)
        });
        let fixed = size_of::<Object>()
            + 2 * size_of::<usize>()
            + self.head.fields.heap_bytes()
            + tags
            + part
            + variant;
        fixed as u64 + self.body.weight()
    }
}

/// What an answer can be invalidated by beside its URL: its surrogate keys and its groups (RFC 9875). All hosts are
/// one backend's, so both are one set of names, whatever host they came from: more may be ended by that than
/// RFC 9875 asks, never less.
pub fn tags(fields: &Fields) -> Vec<Box<str>> {
    let mut tags = surrogate_keys(fields);
    tags.extend(groups(fields, "Cache-Groups").into_iter().map(Box::from));
    tags
}

/// The members of Surrogate-Key, in requests and answers alike: divided by white space, over all lines.
pub fn surrogate_keys(fields: &Fields) -> Vec<Box<str>> {
    fields
        .get_all("Surrogate-Key")
        .filter_map(|line| std::str::from_utf8(line).ok())
        .flat_map(str::split_ascii_whitespace)
        .map(Box::from)
        .collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
