//! The request machine: takes a request through the states of `request/REQUEST.md` and answers it.
//!
//! It belongs to the client's connection and ends with the answer. It only ever delivers objects; where
//! they come from is a look-up or a [`crate::fetch`]. Decisions are the policy's ([`crate::policy`]). Here are the states
//! and their order; what a state asks a fetch for is in [`fetching`].

mod deliver;
mod fetching;
mod forward;
mod pipe;
mod purge;
mod record;
mod rehearse;
mod upload;

use std::sync::Arc;

use arc_swap::Guard;

use crate::backend::BackendResponse;
use crate::downstream::{BodyLength, ClientError, Exchange, Served};
use crate::fetch::Sharing;
use crate::front::{Exchangeable, Front, next_xid};
use crate::http::{Fields, Method, RequestHead, ResponseHead};
use crate::metrics::{Counter, Outcome};
use crate::object::{BodyReader, Kind, Object};
use crate::policy::{Delivery, Hit, Invalidation, Miss, Recv, Request, Source, Synth};
use crate::rules::cache_control::RequestDirectives;
use crate::rules::cache_status::ForwardReason;
use crate::rules::conditional::{Precondition, evaluate};
use crate::rules::hop_by_hop;
use crate::rules::key::PrimaryKey;
use crate::rules::part::Asked;
use crate::store::{Boarding, Landing, Seat};
use crate::time::Timestamp;

pub(crate) use forward::{is_shareable, speaks_for_all};
use record::Record;
pub(crate) use rehearse::rehearse;

/// Restarts a policy may ask for before the request fails. VCL: `max_restarts`.
const RESTARTS_MAX: u32 = 4;

/// Flights a request waits for before it fetches for itself. A second wait pays where the first flight's
/// answer varied on something that nobody knew it would.
const FLIGHTS_MAX: u32 = 3;

/// The states between two decisions.
#[derive(Debug)]
enum State {
    Recv,
    Hash,
    /// Nothing usable was found; the stale answer may serve a conditional fetch. The key is behind a pointer so that
    /// no state is larger than a hit's.
    Miss {
        key: Box<PrimaryKey>,
        stale: Option<Arc<Object>>,
    },
    /// Answers here could not be stored: fetch beside the others.
    HitForMiss {
        key: Box<PrimaryKey>,
    },
    Pass,
    Pipe,
    Purge(Invalidation),
    Synth(Synth),
    Restart,
    Deliver {
        object: Arc<Object>,
        /// `None` where the body is all here.
        reader: Option<BodyReader>,
        delivery: Delivery,
        own_head: Option<Box<ResponseHead>>,
    },
    /// The backend has switched protocols.
    Join(Box<BackendResponse>),
}

/// One request on its way.
struct Machine<'a> {
    front: &'a Arc<Front>,
    /// What a reload may exchange, as it was when the request began.
    current: Guard<Arc<Exchangeable>>,
    /// One moment for all that is decided without waiting.
    now: Timestamp,
    request: Request,
    exchange: Exchange,
    /// For the fields that an answer adds.
    memory: Fields,
    record: Record,
}

/// Answers one request.
pub async fn serve(front: &Arc<Front>, mut exchange: Exchange) -> Served {
    let now = Timestamp::now();
    let mut head = exchange.take_head();
    // What the backend is not going to see must not choose among stored answers.
    hop_by_hop::strip_listed(&mut head.fields);
    let request = Request {
        directives: RequestDirectives::of(&head.fields),
        connection: Arc::clone(exchange.info()),
        xid: next_xid(),
        received: now,
        has_body: !matches!(
            exchange.body_length(),
            BodyLength::None | BodyLength::Known(0)
        ),
        upgrade: upgrade(&exchange),
        restarts: 0,
        head,
    };
    front.metrics.count(Counter::ClientRequests);
    let mut machine = Machine {
        front,
        current: front.current(),
        now,
        record: Record::begin(now),
        request,
        memory: Fields::new(),
        exchange,
    };
    match machine.run().await {
        Ok(None) => machine.finish(Ok(())),
        Ok(Some(response)) => machine.join(*response).await,
        Err(error) => machine.finish(Err(error)),
    }
}

/// What the client may switch to. Not behind a body: its end would be lost in the new protocol, and RFC 9110
/// §7.8 leaves it to us whether to switch at all.
fn upgrade(exchange: &Exchange) -> Option<Box<str>> {
    match exchange.body_length() {
        BodyLength::None | BodyLength::Known(0) => forward::upgrades(exchange.upgrade()?),
        BodyLength::Known(_) | BodyLength::Unknown => None,
    }
}

impl Machine<'_> {
    /// Answers the request; or gives the backend's connection where that has switched protocols.
    async fn run(&mut self) -> Result<Option<Box<BackendResponse>>, ClientError> {
        let mut state = State::Recv;
        loop {
            let next = match state {
                State::Recv => Ok(self.recv()),
                State::Hash => Ok(self.hash()),
                State::Miss { key, stale } => {
                    self.prepare_to_wait();
                    let next = self.miss(&key, stale).await;
                    self.look_at_clock(next)
                }
                State::HitForMiss { key } => {
                    self.prepare_to_wait();
                    let next = self.hit_for_miss(&key).await;
                    self.look_at_clock(next)
                }
                State::Pass => {
                    self.prepare_to_wait();
                    let next = self.pass().await;
                    self.look_at_clock(next)
                }
                State::Pipe => {
                    self.prepare_to_wait();
                    let next = self.pipe().await;
                    self.look_at_clock(next)
                }
                State::Join(response) => return Ok(Some(response)),
                State::Purge(invalidation) => {
                    self.prepare_to_wait();
                    Ok(self.purge(invalidation).await)
                }
                State::Synth(ref synth) => Ok(self.synth(synth)),
                State::Restart => Ok(self.restart()),
                State::Deliver {
                    object,
                    reader,
                    delivery,
                    own_head,
                } => match self.deliver(object, reader, delivery, own_head).await {
                    Ok(deliver::Delivered::Done) => return Ok(None),
                    Ok(deliver::Delivered::Instead(state)) => Ok(state),
                    Err(error) => Err(error),
                },
            };
            state = match next {
                Ok(state) => state,
                Err(error) => match error.status().filter(|_| self.record.status == 0) {
                    // The request's body is at fault, and the client can still be told.
                    Some(status) => self.refuse(status),
                    None => return Err(error),
                },
            };
        }
    }

    /// Before a wait: keeps what is in force for this request without a place among those that its thread has for that.
    fn prepare_to_wait(&mut self) {
        self.current = Guard::from_inner(Arc::clone(&self.current));
    }

    /// Behind a state that may have waited.
    fn look_at_clock<T>(&mut self, next: T) -> T {
        self.now = Timestamp::now();
        next
    }

    fn recv(&mut self) -> State {
        match self.current.policy.recv(&mut self.request) {
            Recv::Hash => State::Hash,
            Recv::Pass => State::Pass,
            Recv::Pipe => State::Pipe,
            Recv::Purge(invalidation) => State::Purge(invalidation),
            Recv::Synth(synth) => State::Synth(synth),
            Recv::Restart => State::Restart,
        }
    }

    fn restart(&mut self) -> State {
        self.request.restarts += 1;
        self.record.outcome = None;
        if self.request.restarts > RESTARTS_MAX {
            self.record.settled = true;
            return State::Synth(Synth::because(503, "Too many restarts"));
        }
        State::Recv
    }

    /// Answers what is wrong with the request's body; nobody reads the rest of it.
    fn refuse(&mut self, status: u16) -> State {
        self.record.settled = true;
        self.record.upload.stop();
        State::Synth(Synth::new(status))
    }

    /// Adds what the backend is told of the client to what stored answers are chosen by, where any may hang on it.
    fn settle_forwarded(&mut self) {
        if self.front.chooses_by_forwarded() && !self.record.told_forwarded {
            self.record.told_forwarded = true;
            forward::add_forwarded(&mut self.request.head, &self.request.connection);
        }
    }

    fn hash(&mut self) -> State {
        if self.front.has_successor() {
            return State::Pass;
        }
        self.settle_forwarded();
        let key = self.current.policy.hash(&self.request);
        let now = self.now;
        let Some(object) = self.front.look_up(key.as_bytes(), &self.request.head, now) else {
            self.record.forwarded = Some(
                self.front
                    .store
                    .lacks(key.as_bytes(), &self.request.head.fields),
            );
            return State::Miss {
                key: Box::new(key),
                stale: None,
            };
        };
        self.record.forwarded = Some(ForwardReason::UriMiss);
        match object.kind {
            Kind::HitForMiss if object.is_fresh(now) => {
                self.front.metrics.count(Counter::CacheHitsForMiss);
                self.record.beside = true;
                // What is not stored for long need not be fetched whole for a part of it.
                return match self.request.head.fields.contains("Range") {
                    true => State::Pass,
                    false => State::HitForMiss { key: Box::new(key) },
                };
            }
            Kind::HitForMiss | Kind::Private => {
                return State::Miss {
                    key: Box::new(key),
                    stale: Some(object),
                };
            }
            Kind::Response => {}
        }
        match self.current.policy.hit(&mut self.request, &object, now) {
            Hit::Deliver => {
                // A client may have asked for stale answers too (`max-stale`).
                let is_fresh = object.is_fresh(now);
                self.hit(
                    object,
                    if is_fresh {
                        Source::Hit
                    } else {
                        Source::StaleHit
                    },
                )
            }
            Hit::DeliverAndRefresh => {
                self.refresh(&key, &object);
                self.hit(object, Source::StaleHit)
            }
            Hit::Miss => {
                let is_usable = object.is_fresh(now) && !object.directives.no_cache().is_all();
                self.record.forwarded = Some(match is_usable {
                    true => ForwardReason::Request,
                    false => ForwardReason::Stale,
                });
                State::Miss {
                    key: Box::new(key),
                    stale: Some(object),
                }
            }
            Hit::Pass => {
                // The look-up did hit; Varnish counts both.
                self.front.metrics.count(Counter::CacheHits);
                State::Pass
            }
            Hit::Synth(synth) => State::Synth(synth),
            Hit::Restart => State::Restart,
        }
    }

    fn hit(&mut self, object: Arc<Object>, source: Source) -> State {
        let reader = match object.body.is_complete() {
            true => None,
            false => match object.body.reader() {
                None => return State::Pass, // It outgrew the limit while it was filling, and its beginning is gone.
                reader => reader,
            },
        };
        object.count_hit();
        State::Deliver {
            object,
            reader,
            delivery: Delivery::new(source),
            own_head: None,
        }
    }

    /// What the policy wants to fetch: all, or a part. The error is where it wants to go instead.
    fn ask_miss(&mut self, stale: Option<&Object>) -> Result<Option<Asked>, State> {
        let stale = stale.filter(|object| object.kind == Kind::Response);
        match self.current.policy.miss(&mut self.request, stale) {
            Miss::Fetch => Ok(None),
            Miss::FetchPart if self.current.settings.ranges_max == 0 => Ok(None),
            Miss::FetchPart => Ok(Asked::by(&self.request.head.fields)),
            Miss::Pass => Err(State::Pass),
            Miss::Synth(synth) => Err(State::Synth(synth)),
            Miss::Restart => Err(State::Restart),
        }
    }

    async fn hit_for_miss(&mut self, key: &PrimaryKey) -> Result<State, ClientError> {
        match self.ask_miss(None) {
            Err(instead) => Ok(instead),
            Ok(asked) => self.fetch_beside(key, None, asked).await,
        }
    }

    async fn miss(
        &mut self,
        key: &PrimaryKey,
        stale: Option<Arc<Object>>,
    ) -> Result<State, ClientError> {
        let asked = match self.ask_miss(stale.as_deref()) {
            Err(instead) => return Ok(instead),
            Ok(asked) => asked.filter(|_| !self.is_asked_for_in_pieces(key)),
        };
        self.record.flights += 1;
        if self.record.flights > FLIGHTS_MAX {
            return self.fetch_beside(key, stale, asked).await;
        }
        let ban_mark = self.front.bans.hold();
        let boarding = self.front.store.board(
            key.as_bytes(),
            &self.request.head.fields,
            stale.as_ref(),
            asked.clone(),
        );
        match boarding {
            Boarding::Changed => Ok(State::Hash),
            Boarding::Follow(seat) => self.follow(key, stale, asked, seat).await,
            Boarding::Lead(lead) => {
                self.fetch_shared(Sharing::Lead(lead), ban_mark, stale, asked)
                    .await
            }
        }
    }

    /// Waits for a fetch of somebody else.
    async fn follow(
        &mut self,
        key: &PrimaryKey,
        stale: Option<Arc<Object>>,
        asked: Option<Asked>,
        mut seat: Seat,
    ) -> Result<State, ClientError> {
        self.front.metrics.count(Counter::BusySleeps);
        let landing = tokio::select! {
            landing = seat.landing() => landing,
            left = self.record.upload.leaves(&mut self.exchange) => return Err(left),
        };
        self.front.metrics.count(Counter::BusyWakeups);
        let Landing::Shared(object, source) = landing else {
            // What came is not for sharing; waiting in line for more of it would serve one at a time.
            return self.fetch_beside(key, stale, asked).await;
        };
        let now = Timestamp::now();
        self.settle_forwarded();
        let fields = &self.request.head.fields;
        let mine = object.variant().is_none_or(|variant| variant.is_of(fields));
        let matches = evaluate(&self.request.head, &object.head) != Precondition::Undecided;
        let has_it = object.part().is_none() || object.wanted_of_part(fields).is_some();
        if !mine || !has_it || !matches || !self.front.passes_bans(&object, &self.request.head, now)
        {
            return Ok(State::Hash);
        }
        // It is a stored answer like any other by now: whether it may be reused for this request is judged as there.
        if object.kind == Kind::Response && source != Source::StaleOnError {
            match self.current.policy.hit(&mut self.request, &object, now) {
                Hit::Deliver | Hit::DeliverAndRefresh => {}
                Hit::Miss => return self.fetch_beside(key, Some(object), None).await,
                Hit::Pass => return Ok(State::Pass),
                Hit::Synth(synth) => return Ok(State::Synth(synth)),
                Hit::Restart => return Ok(State::Restart),
            }
        }
        let Some(reader) = object.body.reader() else {
            return self.fetch_beside(key, stale, asked).await;
        };
        self.front.metrics.count(Counter::Coalesced);
        let delivery = Delivery {
            collapsed: true,
            ..Delivery::new(source)
        };
        Ok(State::Deliver {
            object,
            reader: Some(reader),
            delivery,
            own_head: None,
        })
    }

    async fn pass(&mut self) -> Result<State, ClientError> {
        let mut fetch = self.private_fetch();
        // Both before the look-up: what an invalidation ends in between must not be renewed.
        let ban_mark = self.front.bans.hold();
        let target = self.target(&fetch);
        // Its answer says what a GET would get (RFC 9111 §4.3.5).
        if let Some((key, _)) = &target
            && self.request.head.method == Method::Head
        {
            let as_get = RequestHead {
                method: Method::Get,
                ..self.request.head.clone()
            };
            let stored = self.front.look_up(key, &as_get, Timestamp::now());
            fetch.stale =
                stored.filter(|stored| stored.kind == Kind::Response && stored.part().is_none());
        }
        self.fetch(fetch, Sharing::Private, ban_mark, target, None, None)
            .await
    }

    async fn pipe(&mut self) -> Result<State, ClientError> {
        let upgrade = self.request.upgrade.clone();
        let fetch = self.private_fetch();
        self.fetch(
            fetch,
            Sharing::Private,
            self.front.bans.hold(),
            None,
            upgrade,
            None,
        )
        .await
    }

    fn synth(&mut self, synth: &Synth) -> State {
        self.front.metrics.count(Counter::Synths);
        self.record.outcome.get_or_insert(Outcome::Synth);
        let object = Arc::new(self.front.synthetic(
            &*self.current.policy,
            synth,
            self.request.xid,
            &self.request.head,
        ));
        State::Deliver {
            object,
            reader: None,
            delivery: Delivery::new(Source::Synth),
            own_head: None,
        }
    }

    fn finish(mut self, outcome: Result<(), ClientError>) -> Served {
        let now = self.record.end(
            self.front,
            &self.current.access_log,
            &self.request,
            &self.exchange,
            outcome.as_ref().err(),
        );
        self.exchange.give_back(self.request.head, self.memory, now);
        match outcome {
            Ok(()) => self.exchange.done(),
            Err(_) => self.exchange.abort(),
        }
    }
}
