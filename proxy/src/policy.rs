//! The seam between deciding and doing: the machines ask, a policy answers, the machines obey.
//!
//! One method a state. [`builtin::Builtin`] is RFC 9111 for a shared cache; a VCL program will be the other.
//! Policies are synchronous and do no I/O: what they may look at is in their arguments, what they may change
//! is `&mut` there. The pages of the machines say when each method runs: `request/REQUEST.md`,
//! `fetch/FETCH.md`.

pub mod builtin;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::BackendError;
use crate::downstream::ConnectionInfo;
use crate::http::{OutgoingHead, RequestHead, ResponseHead};
use crate::object::{Object, Times};
use crate::rules::cache_control::{RequestDirectives, ResponseDirectives};
use crate::rules::cache_status::ForwardReason;
use crate::rules::key::PrimaryKey;
use crate::rules::storability::NotStored;
use crate::time::Timestamp;

/// A request as policies see it. VCL: `req.*`, `client.*`, `local.*`.
#[derive(Debug)]
pub struct Request {
    pub head: RequestHead,
    pub connection: Arc<ConnectionInfo>,
    /// Number of this transaction.
    pub xid: u64,
    pub received: Timestamp,
    pub has_body: bool,
    /// The protocol it asks to switch to, where the connection can.
    pub upgrade: Option<Box<str>>,
    pub directives: RequestDirectives,
    /// How often a policy has sent it back to `recv`.
    pub restarts: u32,
}

/// What a request asks the cache to forget. VCL: `return (purge)`, `ban()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// This request's own object, all variants.
    Url(Softness),
    /// All objects with one of these surrogate keys.
    Tags(Vec<Box<str>>, Softness),
    /// All objects a ban expression matches.
    Ban(Box<str>),
}

/// Whether purged objects may still be used while they are refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Softness {
    Hard,
    Soft,
}

/// After `recv`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recv {
    /// Look for an object.
    Hash,
    /// Fetch for this client alone.
    Pass,
    /// Join the client's connection and the backend's.
    Pipe,
    Purge(Invalidation),
    Synth(Synth),
    Restart,
}

/// After `hit`: an object was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hit {
    Deliver,
    /// Deliver it although it is stale, and refresh it in the background.
    DeliverAndRefresh,
    /// It may not be used as it is: fetch, conditionally if it has a validator.
    Miss,
    Pass,
    Synth(Synth),
    Restart,
}

/// After `miss`: nothing usable was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    Fetch,
    /// Fetch no more than the range that the request asks for.
    FetchPart,
    Pass,
    Synth(Synth),
    Restart,
}

/// After `deliver`: the head is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deliver {
    Deliver,
    Synth(Synth),
    Restart,
}

/// An answer the front door makes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synth {
    pub status: u16,
    /// Empty: the usual phrase.
    pub reason: Box<str>,
}

impl Synth {
    pub fn new(status: u16) -> Synth {
        Synth {
            status,
            reason: Box::default(),
        }
    }

    pub fn because(status: u16, reason: impl Into<Box<str>>) -> Synth {
        Synth {
            status,
            reason: reason.into(),
        }
    }
}

/// Why a fetch is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To fill an object that others may share.
    Fill,
    /// To refresh an object while the stale one is delivered.
    Refresh,
    /// For one client; nothing is stored.
    Pass,
}

/// A fetch as policies see it. VCL: `bereq.*`.
#[derive(Debug)]
pub struct Fetch {
    /// The head to send; hop-by-hop fields, and for shared fetches the client's conditions and Range, are
    /// gone already.
    pub head: RequestHead,
    /// The fields of the client's request, which the answer is found by (Vary).
    pub request: Arc<RequestHead>,
    pub purpose: Purpose,
    pub xid: u64,
    /// The stored answer this fetch is to replace or to confirm.
    pub stale: Option<Arc<Object>>,
    /// When the request was sent.
    pub sent: Timestamp,
}

/// After `backend_response`: what becomes of the answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// Store it.
    Store(Times),
    /// Deliver it to this client only, and let requests for it fetch side by side for so long.
    HitForMiss { mark: Duration, because: NotStored },
    /// Deliver it to this client only and leave the store as it is. A pass has no reason of the answer's.
    Private { because: Option<NotStored> },
    /// Deliver the stored answer instead (RFC 5861 §4).
    Stale,
}

/// After `backend_error`: no usable answer came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Deliver the stored answer instead (RFC 5861 §4).
    Stale,
    Synth(Synth),
}

/// What the answer says of itself, for [`Policy::backend_response`].
#[derive(Debug)]
pub struct Received<'a> {
    pub head: &'a ResponseHead,
    pub directives: &'a ResponseDirectives,
    pub at: Timestamp,
}

/// How a delivered answer came about, for [`Policy::deliver`], logs and counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub source: Source,
    /// Why the look-up did not do, where there was one.
    pub forwarded: Option<ForwardReason>,
    /// Waited for another request's fetch.
    pub collapsed: bool,
    /// Whether the answer was stored, where it came by a fetch of this request.
    pub stored: Option<bool>,
    /// Status of the fetch, where it is not the delivered one.
    pub fetch_status: Option<u16>,
    pub not_stored: Option<NotStored>,
    /// The server that was asked.
    pub backend: Option<Arc<str>>,
}

impl Delivery {
    pub fn new(source: Source) -> Delivery {
        Delivery {
            source,
            forwarded: None,
            collapsed: false,
            stored: None,
            fetch_status: None,
            not_stored: None,
            backend: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A stored answer that was fresh.
    Hit,
    /// A stored answer that was stale, while it is refreshed.
    StaleHit,
    /// A stored answer, because the backend failed.
    StaleOnError,
    /// A stored answer, confirmed by the backend just now.
    Revalidated,
    /// A fetch, because nothing was stored.
    Miss,
    /// A fetch, because what was stored could not be used.
    Stale,
    /// A fetch, because nobody else may have the answer.
    Pass,
    /// Made here.
    Synth,
}

/// Decides; see the module's text.
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// A request has arrived, or was restarted.
    fn recv(&self, request: &mut Request) -> Recv;

    /// The key its object is stored under.
    fn hash(&self, request: &Request) -> PrimaryKey;

    /// An object was found that is no mark, or has come by the fetch that was waited for. `now` is one moment
    /// for the whole decision.
    fn hit(&self, request: &mut Request, object: &Object, now: Timestamp) -> Hit;

    /// Nothing usable was found.
    fn miss(&self, request: &mut Request, stale: Option<&Object>) -> Miss;

    /// A head is about to be sent; status and fields are what the client will see.
    fn deliver(
        &self,
        request: &mut Request,
        object: &Object,
        delivery: &Delivery,
        head: &mut OutgoingHead<'_>,
        now: Timestamp,
    ) -> Deliver;

    /// An answer of our own: fills in fields and body.
    fn synth(
        &self,
        synth: &Synth,
        request: &RequestHead,
        xid: u64,
        head: &mut ResponseHead,
        body: &mut Vec<u8>,
    );

    /// A fetch is about to be sent.
    fn backend_fetch(&self, fetch: &mut Fetch);

    /// The directives of an answer, which decide on storing and later on reuse.
    fn directives(&self, head: &ResponseHead) -> ResponseDirectives;

    /// An answer's head has arrived.
    fn backend_response(&self, fetch: &Fetch, received: &Received<'_>) -> Storage;

    /// The settings that explain what the built-in policy decides; a policy of another kind has none.
    fn cache_settings(&self) -> Option<&builtin::CacheSettings> {
        None
    }

    /// No usable answer came.
    fn backend_error(&self, fetch: &Fetch, error: &BackendError, now: Timestamp) -> OnError;
}
