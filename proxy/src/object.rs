//! Objects: what clients read from.
//!
//! A fetch fills an object, any number of requests deliver it, also while it still fills. A head and the
//! body that came with it are one object, so they are never sent apart from each other; a `304` makes a
//! new object that shares the body. How a body grows is in [`body`]; where objects are found, in
//! [`crate::store`].

mod body;
mod part;
mod period;

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::bans::Mark;
use crate::http::{Fields, ResponseHead};
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::cache_groups::groups;
use crate::rules::freshness::{Lifetime, LifetimeKind, StoredTimes};
use crate::rules::part::Asked;
use crate::rules::storability::NotStored;
use crate::rules::vary::Variant;
use crate::time::Timestamp;

pub use body::{Abandoned, Body, BodyFailed, BodyReader, BodyWriter, Growth, Outcome, Transit};
pub use part::{StoredPart, Wanted};

use period::Period;

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
///
/// A cache of small answers holds little else, so each byte here is one of a million objects. What few answers have is
/// behind one pointer.
#[derive(Debug)]
pub struct Object {
    /// Status and end-to-end fields as stored; without Age.
    pub head: ResponseHead,
    pub body: Body,
    pub kind: Kind,
    /// The directives that decide on reuse, parsed once.
    pub directives: ResponseDirectives,
    particulars: Option<Box<Particulars>>,
    /// Number of the transaction that fetched it, for X-Varnish and logs.
    pub xid: u64,
    /// Of a mark: why the answer that it stands for was not stored.
    pub because: Option<NotStored>,
    born: Timestamp,
    /// A [`Period`]. The one time that changes: a soft purge ends it.
    ttl: AtomicU32,
    grace: Period,
    keep: Period,
    /// Bans up to this mark have been tested and do not match.
    ban_mark: AtomicU64,
    hits: AtomicU64,
}

/// What most answers do not have.
#[derive(Debug, Default)]
struct Particulars {
    variant: Option<Variant>,
    extent: Option<Box<Extent>>,
    tags: Box<[Box<str>]>,
}

/// Of what is not one whole answer.
#[derive(Debug)]
enum Extent {
    Part(StoredPart),
    Several(Box<dyn Several>),
}

/// What the store has where a URL has more than one object. It stands in the place of one, since a pointer that could
/// lead to either would take twice the room.
pub(crate) trait Several: Any + fmt::Debug + Send + Sync {}

impl Object {
    /// An object that the store does not know.
    pub fn new(
        head: ResponseHead,
        body: Body,
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
            particulars: None,
            xid,
            because: None,
            born: times.born,
            ttl: AtomicU32::new(Period::from(times.ttl).to_bits()),
            grace: Period::from(times.grace),
            keep: Period::from(times.keep),
            ban_mark: AtomicU64::new(0),
            hits: AtomicU64::new(0),
        }
    }

    /// An answer of our own with a whole body, for one client.
    pub fn synthetic(
        head: ResponseHead,
        body: impl Into<Bytes>,
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

    /// No answer, but what stands for several.
    pub(crate) fn standing_for(several: Box<dyn Several>) -> Object {
        let born = Timestamp::from_secs(0);
        let mut object = Object::synthetic(ResponseHead::new(200), Bytes::new(), born, 0);
        object.particulars_mut().extent = Some(Box::new(Extent::Several(several)));
        object
    }

    /// What this stands for, if it is no answer.
    pub(crate) fn several(&self) -> Option<&dyn Several> {
        match &**self.particulars.as_ref()?.extent.as_ref()? {
            Extent::Several(several) => Some(&**several),
            Extent::Part(_) => None,
        }
    }

    /// Whether the origin chose this answer by a field that it knows only in `request`'s form. `name` is in
    /// lower case.
    pub fn was_chosen_by(&self, name: &str, request: &Fields) -> bool {
        self.variant().is_some_and(|variant| {
            variant.spec().names().any(|varied| varied == name) && variant.is_of(request)
        })
    }

    pub fn times(&self) -> Times {
        Times {
            born: self.born,
            ttl: self.ttl(),
            grace: self.grace.into(),
            keep: self.keep.into(),
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
        Period::from_bits(self.ttl.load(Ordering::Relaxed)).into()
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
                .saturating_add(self.grace.into())
                .saturating_add(self.keep.into())
    }

    /// Ends the freshness now; grace and keep count from here. A soft purge.
    pub fn expire(&self, now: Timestamp) {
        let age = Period::from(self.age(now));
        self.ttl.fetch_min(age.to_bits(), Ordering::Relaxed);
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

    /// The varying fields and the values they had in the request that caused this answer.
    pub fn variant(&self) -> Option<&Variant> {
        self.particulars.as_ref()?.variant.as_ref()
    }

    pub fn set_variant(&mut self, variant: Option<Variant>) {
        if variant.is_some() || self.particulars.is_some() {
            self.particulars_mut().variant = variant;
        }
    }

    /// Which part of the content this is; `None`: all of it.
    pub fn part(&self) -> Option<&StoredPart> {
        match &**self.particulars.as_ref()?.extent.as_ref()? {
            Extent::Part(part) => Some(part),
            Extent::Several(_) => None,
        }
    }

    pub fn set_part(&mut self, part: Option<StoredPart>) {
        if part.is_some() || self.particulars.is_some() {
            self.particulars_mut().extent = part.map(Extent::Part).map(Box::new);
        }
    }

    /// Surrogate keys, and the groups of Cache-Groups (RFC 9875).
    pub fn tags(&self) -> &[Box<str>] {
        let particulars = self.particulars.as_ref();
        particulars.map_or(&[], |particulars| &particulars.tags)
    }

    pub fn set_tags(&mut self, tags: Vec<Box<str>>) {
        if !tags.is_empty() || self.particulars.is_some() {
            self.particulars_mut().tags = tags.into();
        }
    }

    fn particulars_mut(&mut self) -> &mut Particulars {
        self.particulars.get_or_insert_default()
    }

    /// Bytes this object holds, overhead included: what the cache's size bound counts.
    pub fn weight(&self) -> u64 {
        let particulars = self.particulars.as_ref();
        let beside = block_bytes(size_of::<Object>() + 2 * size_of::<usize>())
            + self.head.reason.heap_bytes()
            + block_bytes(self.head.fields.heap_bytes())
            + self.directives.heap_bytes()
            + particulars.map_or(0, |particulars| particulars.weight());
        beside as u64 + self.body.weight()
    }
}

impl Particulars {
    fn weight(&self) -> usize {
        let variant = self.variant.as_ref().map_or(0, Variant::heap_bytes);
        let extent = self.extent.as_ref().map_or(0, |extent| {
            let beside = match &**extent {
                Extent::Part(part) => part.asked.as_ref().map_or(0, Asked::heap_bytes),
                // Its own affair.
                Extent::Several(_) => 0,
            };
            size_of::<Extent>() + beside
        });
        let tags = self.tags.iter();
        let tags: usize = tags.map(|tag| tag.len() + size_of::<Box<str>>()).sum();
        size_of::<Particulars>() + variant + extent + tags
    }
}

/// What the allocator takes for so many bytes: it has four sizes of blocks between one power of two and the next, and
/// large blocks are whole pages. Weights that leave this out are a tenth too low for small objects.
fn block_bytes(bytes: usize) -> usize {
    const PAGE_BYTES: usize = 4096;
    let step = match bytes {
        0 => return 0,
        1..=128 => 16,
        _ if bytes > 8 * PAGE_BYTES => PAGE_BYTES,
        _ => bytes.next_power_of_two() / 8,
    };
    bytes.next_multiple_of(step)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_fits_the_block_that_it_was_laid_out_for() {
        // With the counts of its `Arc`: the allocator's next block has 224 bytes. Notes on memory say where they go.
        assert!(size_of::<Object>() + 2 * size_of::<usize>() <= 192);
        assert!(size_of::<Particulars>() <= 64);
    }

    #[test]
    fn blocks_have_four_sizes_between_powers_of_two() {
        fn check(bytes: usize, expected: usize) {
            assert_eq!(block_bytes(bytes), expected, "{bytes}");
        }
        check(0, 0);
        check(1, 16);
        check(113, 128);
        check(129, 160);
        check(224, 224);
        check(225, 256);
        check(1024, 1024);
        check(1025, 1280);
        check(32 << 10, 32 << 10);
        check((32 << 10) + 1, 36 << 10);
        check((1 << 20) + 1, (1 << 20) + 4096);
    }
}
