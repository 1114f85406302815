//! The fetch machine: asks a backend and fills an object. `fetch/FETCH.md` draws its states.
//!
//! A fetch belongs to the object it fills, not to the client that caused it: the client may leave, others may join, and
//! nothing here knows their connections. It is a task of its own as soon as the request that asked for it does not drive it
//! ([`driven`]). What the causing request gets is a [`Fetched`] through a channel; what all others get is what the store and
//! the flight give them. What comes of an answer is decided in [`receive`].

mod answer;
mod driven;
mod fill;
mod receive;
mod remember;
mod renew;

use std::sync::Arc;
use std::time::Duration;

pub use answer::{Answer, Asker, News, answer};
use bytes::Bytes;
pub use driven::Driven;
pub use fill::Completes;
use fill::is_the_rest;

use crate::backend::{
    BackendError, BackendRequest, BackendResponse, BodyLength, MalformedResponse, RequestBody,
};
use crate::bans::HeldMark;
use crate::front::{Exchangeable, Front};
use crate::http::{Method, ResponseHead};
use crate::http1::{BadResponse, Malformed};
use crate::metrics::Counter;
use crate::object::{Body, BodyReader, Kind, Object, Times, tags};
use crate::policy::{Delivery, Fetch, OnError, Purpose, Source, Synth};
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::storability::NotStored;
use crate::rules::vary::{Variant, Vary};
use crate::rules::{cache_groups, conditional, invalidation, key, revalidation};
use crate::store::{Fence, Key, Landing, Lead, Stored};
use crate::time::Timestamp;

/// What the request that caused a fetch gets from it.
#[derive(Debug)]
pub enum Fetched {
    /// An object to deliver, with a reader that holds its beginning.
    Object {
        object: Arc<Object>,
        reader: BodyReader,
        delivery: Delivery,
        /// The head as it came, where the object keeps less of it: fields that were for this client alone
        /// (`private="…"`, `no-cache="…"`).
        own_head: Option<Box<ResponseHead>>,
    },
    /// The backend has switched protocols: the connection is the client's.
    Upgraded(Box<BackendResponse>),
}

/// Who else may get what this fetch brings.
#[derive(Debug)]
pub enum Sharing {
    /// Requests wait for it together.
    Lead(Lead),
    /// Requests for this object fetch side by side; what can be stored is.
    Beside(Key, Fence),
    /// Nobody.
    Private,
}

impl Sharing {
    /// The key under which the answer can be stored.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Sharing::Lead(lead) => Some(lead.key()),
            Sharing::Beside(key, _) => Some(key),
            Sharing::Private => None,
        }
    }
}

/// One fetch, ready to run.
#[derive(Debug)]
pub struct FetchTask {
    pub front: Arc<Front>,
    /// What a reload may exchange, as it was when the request began.
    pub current: Arc<Exchangeable>,
    pub fetch: Fetch,
    pub sharing: Sharing,
    /// The key of the target and its fence as the fetch began, where the answer to a private fetch may say
    /// what a GET would get: HEAD (RFC 9111 §4.3.5) and POST (RFC 9110 §9.3.3).
    pub target: Option<(Key, Fence)>,
    /// Present where only the rest is asked for.
    pub completes: Option<Completes>,
    pub body: RequestBody,
    /// Where the request that caused it waits; `None` for a refresh in the background.
    pub asker: Option<Asker>,
    /// The protocol it asks to switch to.
    pub upgrade: Option<Box<str>>,
    /// Bans up to here were known when the fetch began; later ones apply to what it brings.
    pub ban_mark: HeldMark,
}

impl FetchTask {
    /// Runs to the end of the body.
    pub async fn run(mut self: Box<Self>) {
        self.keep_complete_stale();
        self.current.policy.backend_fetch(&mut self.fetch);
        let conditional = match &self.fetch.stale {
            Some(stale) if self.fetch.purpose != Purpose::Pass => {
                revalidation::add_validators(&mut self.fetch.head.fields, &stale.head)
            }
            _ => false,
        };
        let Some(mut outcome) = self.send().await else {
            return;
        };
        if conditional
            && let Ok(response) = &outcome
            && response.head.status == 304
        {
            let stale = self
                .fetch
                .stale
                .take()
                .expect("conditions were made from it");
            if revalidation::selects(&stale.head, &response.head) {
                return self.confirm(&stale, &outcome.expect("just matched"));
            }
            // The backend confirmed something else than what is stored here (RFC 9111 §4.3.4): ask again
            // without conditions.
            conditional::remove_conditions(&mut self.fetch.head.fields);
            let Some(again) = self.send().await else {
                return;
            };
            outcome = again;
        }
        let mut rest = None;
        if let Some(completes) = self.completes.take()
            && let Ok(response) = &outcome
            && matches!(response.head.status, 206 | 416)
        {
            if is_the_rest(&completes, &response.head) {
                rest = Some(completes);
            } else {
                // The stored part is of something else by now: ask again for all of it.
                self.forget(&completes.stored);
                self.fetch.head.fields.remove("range");
                conditional::remove_conditions(&mut self.fetch.head.fields);
                let Some(again) = self.send().await else {
                    return;
                };
                outcome = again;
            }
        }
        match outcome {
            Ok(response) => {
                if let Some(filling) = self.receive(response, rest) {
                    // The head is there: whoever drives this fetch sends it now, and not behind a body that comes faster.
                    if !filling.is_over() {
                        tokio::task::yield_now().await;
                    }
                    filling.run().await;
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    /// `None` when the one client that could have used the answer has left.
    async fn send(&mut self) -> Option<Result<BackendResponse, BackendError>> {
        self.fetch.sent = Timestamp::now();
        // Once a body in a channel is taken it cannot be had again, so only a first try has one.
        let body = std::mem::replace(&mut self.body, RequestBody::Empty);
        let head = &self.fetch.head;
        let pool = &self.current.backends;
        let key = pool
            .chooses_by_key()
            .then(|| key::primary_key(head.scheme, &head.authority, &head.target));
        let asker = self.asker.as_ref();
        let mut relay = asker.map(|asker| |head: ResponseHead| asker.inform(head));
        let request = BackendRequest {
            key: key.as_ref().map(|key| key.as_bytes()),
            upgrade: self.upgrade.as_deref(),
            informational: relay
                .as_mut()
                .map(|relay| relay as &mut (dyn FnMut(ResponseHead) + Send)),
            ..BackendRequest::new(head)
        };
        let sent = pool.send(request, body);
        // A write goes on without its client: it may have reached the backend, and then has to invalidate.
        let nobody_else =
            matches!(self.sharing, Sharing::Private) && self.fetch.head.method.is_safe();
        let outcome = match asker {
            Some(asker) if nobody_else => tokio::select! {
                outcome = sent => Some(outcome),
                () = asker.left() => None,
            },
            _ => Some(sent.await),
        };
        if let Some(Ok(response)) = &outcome {
            self.count_response(response);
        }
        outcome
    }

    /// One response of a backend, by how long its body is going to be. A pipe has none.
    fn count_response(&self, response: &BackendResponse) {
        if response.is_upgrade() {
            return;
        }
        let counter = match (response.head.status, response.body.length()) {
            _ if self.fetch.head.method == Method::Head => Counter::FetchesHead,
            (204, _) => Counter::Fetches204,
            (304, _) => Counter::Fetches304,
            (_, BodyLength::Known(0)) => Counter::FetchesNone,
            (_, BodyLength::Known(_)) => Counter::FetchesLength,
            (_, BodyLength::Chunked) => Counter::FetchesChunked,
            (_, BodyLength::UntilClose) => Counter::FetchesEof,
        };
        self.front.metrics.count(counter);
    }

    /// Ends before the backend is asked: too many fetches are under way.
    pub fn refuse(mut self: Box<Self>) {
        self.keep_complete_stale();
        let pool = self.current.backends.name().to_owned();
        self.fail(&BackendError::Busy { pool });
    }

    /// A body that still fills may yet break off or grow too large to keep: a 304 must not renew it, nor may it
    /// stand in for an answer.
    fn keep_complete_stale(&mut self) {
        let stale = self.fetch.stale.take();
        self.fetch.stale = stale.filter(|stale| stale.body.is_complete());
    }

    /// No answer, or none that can be used.
    fn fail(mut self: Box<Self>, error: &BackendError) {
        let now = Timestamp::now();
        if may_have_arrived(error) {
            self.invalidate_target();
        }
        self.count_failure(error);
        tracing::debug!(
            xid = self.fetch.xid,
            error = error as &dyn std::error::Error,
            "fetch failed"
        );
        let policy = Arc::clone(&self.current.policy);
        match (
            policy.backend_error(&self.fetch, error, now),
            self.fetch.stale.take(),
        ) {
            (OnError::Stale, Some(stale)) => self.land(stale, Delivery::new(Source::StaleOnError)),
            (OnError::Synth(synth), _) => self.land_synthetic(&synth),
            (OnError::Stale, None) => self.land_synthetic(&Synth::new(503)),
        }
    }

    /// An answer of ours, for all who wait. Older bans are no concern of it.
    fn land_synthetic(self: Box<Self>, synth: &Synth) {
        let (xid, request) = (self.fetch.xid, &self.fetch.request);
        let object = self
            .front
            .synthetic(&*self.current.policy, synth, xid, request);
        object.set_ban_mark(self.ban_mark.mark());
        self.land(Arc::new(object), Delivery::new(Source::Synth));
    }

    /// A fetch without an answer; where a head is to blame, also by what was wrong with it.
    fn count_failure(&self, error: &BackendError) {
        let metrics = &self.front.metrics;
        metrics.count(Counter::FetchesFailed);
        let BackendError::Malformed {
            source: MalformedResponse::Head(BadResponse::Malformed(malformed)),
            ..
        } = error
        else {
            return;
        };
        match malformed {
            Malformed::ContentLength
            | Malformed::BothLengths
            | Malformed::TransferEncoding
            | Malformed::TransferEncodingInHttp10
            | Malformed::UnknownTransferCoding => metrics.count(Counter::FetchesBad),
            Malformed::HeadTooLarge(_) | Malformed::TooManyFields(_) => {
                metrics.count(Counter::HeadersOverflowed);
            }
            Malformed::LineEnd
            | Malformed::FoldedField
            | Malformed::FieldName
            | Malformed::FieldValue => {}
        }
    }

    /// Fills in what the answer varied on and its surrogate keys.
    fn describe(&self, object: &mut Object) {
        if let Vary::Fields(spec) = Vary::of(&object.head.fields) {
            spec.names()
                .for_each(|name| self.front.note_choice_by(name));
            object.set_variant(Some(Variant::new(spec, &self.fetch.request.fields)));
        }
        object.set_tags(tags(&object.head.fields));
    }

    fn key(&self) -> Option<Key> {
        let target = self.target.as_ref().map(|(key, _)| key);
        self.sharing.key().or(target).map(Arc::clone)
    }

    fn fence(&self) -> Option<Fence> {
        match &self.sharing {
            Sharing::Lead(lead) => Some(lead.fence()),
            Sharing::Beside(_, fence) => Some(*fence),
            Sharing::Private => self.target.as_ref().map(|(_, fence)| *fence),
        }
    }

    fn store(&self, object: &Arc<Object>, now: Timestamp) -> bool {
        let (Some(key), Some(fence)) = (self.key(), self.fence()) else {
            return false;
        };
        self.front
            .store
            .insert(&key, Arc::clone(object), fence, now)
            == Stored::Yes
    }

    /// Leaves a mark that answers here could not be stored.
    fn mark(&self, object: &Object, mark: Duration, because: NotStored, now: Timestamp) {
        let mut stand_in = hit_for_miss(object, mark, now);
        stand_in.because = Some(because);
        stand_in.set_ban_mark(self.ban_mark.mark());
        self.describe(&mut stand_in);
        self.store(&Arc::new(stand_in), now);
    }

    /// Stores a renewed answer unless something else has taken the place of what it renews.
    fn store_over(&self, stale: &Arc<Object>, object: &Arc<Object>, now: Timestamp) -> bool {
        let (Some(key), Some(fence)) = (self.key(), self.fence()) else {
            return false;
        };
        let store = &self.front.store;
        store.renew(&key, stale, Arc::clone(object), fence, now) == Stored::Yes
    }

    /// Says whether it was still there.
    fn forget(&self, stale: &Arc<Object>) -> bool {
        self.key()
            .is_some_and(|key| self.front.store.remove(&key, stale))
    }

    fn land(self: Box<Self>, object: Arc<Object>, delivery: Delivery) {
        self.land_as(object, delivery, None);
    }

    fn land_as(
        self: Box<Self>,
        object: Arc<Object>,
        delivery: Delivery,
        own_head: Option<Box<ResponseHead>>,
    ) {
        match object.body.reader() {
            Some(reader) => self.land_with(object, reader, delivery, own_head),
            // Only complete bodies are delivered without a fetch, and those always have a beginning.
            None => tracing::error!("object to deliver has lost its beginning"),
        }
    }

    /// Gives the object to whoever asked, and to those who wait with them if it may be shared.
    fn land_with(
        self: Box<Self>,
        object: Arc<Object>,
        reader: BodyReader,
        delivery: Delivery,
        own_head: Option<Box<ResponseHead>>,
    ) {
        if let Sharing::Lead(lead) = self.sharing {
            lead.land(if may_share(&object, &delivery) {
                Landing::Shared(Arc::clone(&object), delivery.source)
            } else {
                Landing::Unshared
            });
        }
        if let Some(asker) = self.asker {
            // A client that has left meanwhile leaves the object to the others.
            asker.answer(Fetched::Object {
                object,
                reader,
                delivery,
                own_head,
            });
        }
    }

    /// RFC 9111 §4.4, before anybody sees the answer: a write that succeeded ends what is stored for its
    /// target, and for Location and Content-Location of the same origin.
    fn invalidate(&mut self, head: &ResponseHead) {
        let request = Arc::clone(&self.fetch.request);
        let uris = invalidation::invalidated(&request, head);
        for (index, uri) in uris.iter().enumerate() {
            self.front.metrics.count(match index {
                0 => Counter::InvalidationsUnsafeMethod,
                _ => Counter::InvalidationsLocation,
            });
            let keys = self.front.invalidate_url(&uri.authority, &uri.target);
            if let Some((key, fence)) = &mut self.target {
                // What this answer itself ends must not keep it from being stored; all else must.
                *fence = self.front.store.fence_after(*fence, key, &keys);
            }
        }
        if !uris.is_empty() {
            self.invalidate_groups(head);
        }
    }

    /// RFC 9875 §3: a write may change more than its target, and its answer then names the groups. A group is
    /// a surrogate key here.
    fn invalidate_groups(&self, head: &ResponseHead) {
        for group in cache_groups::groups(&head.fields, "Cache-Group-Invalidation") {
            if let Err(refused) = self.front.purge_tag(&group) {
                tracing::warn!(group, %refused, "cannot invalidate a group");
            }
        }
    }

    /// The same for a request whose answer was lost: the backend may have done what it asked for.
    fn invalidate_target(&self) {
        let request = &self.fetch.request;
        if !request.method.is_safe() {
            self.front.metrics.count(Counter::InvalidationsUnsafeMethod);
            self.front
                .invalidate_url(&request.authority, &request.target);
        }
    }
}

/// Whether a backend may have seen, and done, what a failed request asked for.
fn may_have_arrived(error: &BackendError) -> bool {
    !matches!(
        error,
        BackendError::Unhealthy { .. } | BackendError::Busy { .. } | BackendError::Connect { .. }
    )
}

/// Whether those who waited may have what came. What may not be reused without asking the backend again,
/// each has to ask for (RFC 9111 §5.2.2.4); errors of ours and the stale answer in their place are for all.
fn may_share(object: &Object, delivery: &Delivery) -> bool {
    match delivery.source {
        Source::Synth | Source::StaleOnError => true,
        _ => {
            object.kind == Kind::Response
                && object.is_fresh(Timestamp::now())
                && !object.directives.no_cache().is_all()
        }
    }
}

/// The mark that stands in the store for answers that could not be stored.
fn hit_for_miss(object: &Object, mark: Duration, now: Timestamp) -> Object {
    let times = Times {
        ttl: mark,
        ..Times::unusable(now)
    };
    let mut stand_in = Object::new(
        ResponseHead::new(object.head.status),
        Body::whole(Bytes::new()),
        Kind::HitForMiss,
        ResponseDirectives::default(),
        times,
        object.xid,
    );
    stand_in.set_variant(object.variant().cloned());
    // Without it the mark would count as banned as soon as there is a ban.
    stand_in.set_ban_mark(object.ban_mark());
    stand_in
}
