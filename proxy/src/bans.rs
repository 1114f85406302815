//! Bans: invalidation by a condition instead of by a name, as Varnish has it.
//!
//! A [`Ban`] is data: either an expression in Varnish's grammar (`req.url ~ ^/shop && obj.status == 404`)
//! or a surrogate key. The [`BanList`] keeps those that some object may not have been tested against.
//! Each object carries a [`Mark`], the newest ban it is known to be clear of; at look-up it is tested against
//! the bans after its mark, and a lurker tests in the background what needs no request.
//!
//! **Invariant:** once [`BanList::add`] has returned, an object whose mark is older and that the ban matches is
//! never reported clear, whatever is dropped from the list meanwhile.
//!
//! This module holds no objects: the store iterates and asks. It reads no clock: `now` is passed in.

mod expression;
mod lexer;
mod list;
mod lurker;
mod parser;
mod snapshot;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests;

pub use expression::{Ban, InvalidTag};
pub use lexer::BanSyntaxError;
pub use list::{Added, BanCounters, BanList, HeldMark, ListedBan};
pub use lurker::Lurk;
pub use snapshot::{Mark, Verdict};

use crate::http::Fields;
use crate::time::Timestamp;

/// What a ban asks an object.
///
/// Times are in milliseconds and signed, because what remains of a TTL falls below zero.
pub trait BanSubject {
    /// `obj.status`.
    fn status(&self) -> u16;
    /// `obj.http.NAME`: the stored response fields.
    fn fields(&self) -> &Fields;
    /// `obj.ttl`: milliseconds of freshness left, negative once the object is stale.
    fn ttl_millis(&self, now: Timestamp) -> i64;
    /// `obj.age`: milliseconds since the object came into being, its received Age included.
    fn age_millis(&self, now: Timestamp) -> i64;
    /// `obj.grace`: milliseconds after the TTL during which it may be served stale.
    fn grace_millis(&self, now: Timestamp) -> i64;
    /// `obj.keep`: milliseconds after TTL and grace during which it may be revalidated.
    fn keep_millis(&self, now: Timestamp) -> i64;
    /// Whether the object carries this surrogate key.
    fn has_tag(&self, tag: &str) -> bool;
}

/// What a ban asks the request that looks an object up.
pub trait RequestSubject {
    /// `req.url`: path and query.
    fn url(&self) -> &str;
    /// `req.http.NAME`: the request's fields.
    fn fields(&self) -> &Fields;
}
