//! The request machine: takes a request through the states of `request/REQUEST.md` and answers it.
//!
//! It belongs to the client's connection and ends with the answer. It only ever delivers objects; where
//! they come from is a look-up or a [`crate::fetch`]. Decisions are the policy's ([`crate::policy`]).

mod deliver;
mod forward;
mod pipe;
mod purge;
mod record;
mod rehearse;
mod upload;

use std::sync::Arc;

use arc_swap::Guard;

use crate::backend::{BackendResponse, RequestBody};
use crate::bans::HeldMark;
use crate::downstream::{BodyLength, ClientError, Exchange, Served};
use crate::fetch::{Completes, FetchTask, Fetched, News, Sharing, answer};
use crate::front::{Exchangeable, Front, next_xid};
use crate::http::{Fields, Method, RequestHead, ResponseHead};
use crate::metrics::{Counter, Outcome};
use crate::object::{BodyReader, Kind, Object};
use crate::policy::{
    Delivery, Fetch, Hit, Invalidation, Miss, Purpose, Recv, Request, Source, Synth,
};
use crate::rules::cache_control::RequestDirectives;
use crate::rules::cache_status::ForwardReason;
use crate::rules::conditional::{Precondition, evaluate};
use crate::rules::hop_by_hop;
use crate::rules::key::PrimaryKey;
use crate::rules::part::{self, Asked};
use crate::store::{Boarding, Fence, Key, Landing, Seat};
use crate::time::Timestamp;

pub(crate) use forward::{is_shareable, speaks_for_all};
use record::Record;
pub(crate) use rehearse::rehearse;

/// Restarts a policy may ask for before the request fails. VCL: `max_restarts`.
const RESTARTS_MAX: u32 = 4;

/// Flights a request waits for before it fetches for itself. A second wait pays where the first flight's
/// answer varied on something that nobody knew it would.
const FLIGHTS_MAX: u32 = 3;

/// Parts of one content that are fetched before the next range is answered from the whole.
const PARTS_BEFORE_WHOLE: usize = 8;

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

    /// Starts a fetch in the background, unless one is under way.
    fn refresh(&mut self, key: &PrimaryKey, stale: &Arc<Object>) {
        let ban_mark = self.front.bans.hold();
        if let Boarding::Lead(lead) =
            self.front
                .store
                .board(key.as_bytes(), &self.request.head.fields, Some(stale), None)
        {
            self.front.metrics.count(Counter::Fetches);
            self.front.metrics.count(Counter::BackgroundFetches);
            let fetch = self.shared_fetch(Purpose::Refresh, Some(Arc::clone(stale)), None);
            self.front.spawn(FetchTask {
                front: Arc::clone(self.front),
                current: self.front.current_full(),
                fetch,
                sharing: Sharing::Lead(lead),
                target: None,
                completes: None,
                body: RequestBody::Empty,
                asker: None,
                upgrade: None,
                ban_mark,
            });
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

    /// Fetches without company; the answer is stored if it can be.
    async fn fetch_beside(
        &mut self,
        key: &PrimaryKey,
        stale: Option<Arc<Object>>,
        asked: Option<Asked>,
    ) -> Result<State, ClientError> {
        let (ban_mark, fence) = (
            self.front.bans.hold(),
            self.front.store.fence(key.as_bytes()),
        );
        let sharing = Sharing::Beside(Key::from(key.as_bytes()), fence);
        self.fetch_shared(sharing, ban_mark, stale, asked).await
    }

    /// Fetches what others may get as well: all of it, the part asked for, or what a stored part lacks.
    async fn fetch_shared(
        &mut self,
        sharing: Sharing,
        ban_mark: HeldMark,
        stale: Option<Arc<Object>>,
        asked: Option<Asked>,
    ) -> Result<State, ClientError> {
        // Nor a part, then.
        let found_nothing = stale.is_none()
            && !self.record.beside
            && self.record.forwarded == Some(ForwardReason::UriMiss);
        let stale = stale.filter(|object| object.kind == Kind::Response);
        let completes = match (&stale, &asked, sharing.key()) {
            (None, None, Some(key)) if !found_nothing => self.part_to_complete(key),
            _ => None,
        };
        let mut fetch = self.shared_fetch(Purpose::Fill, stale, asked);
        if let Some(part) = &completes {
            part::ask_for(&mut fetch.head.fields, &part.missing);
        }
        self.fetch(fetch, sharing, ban_mark, None, None, completes)
            .await
    }

    /// Whether so many parts of one content are stored that the whole costs the backend less than more of them: each
    /// range that nobody asked for before would be a fetch, and there are as many as a client likes.
    fn is_asked_for_in_pieces(&self, key: &PrimaryKey) -> bool {
        let fields = &self.request.head.fields;
        let parts = self.front.store.parts(key.as_bytes(), fields);
        let whole = parts.first().and_then(|newest| newest.part());
        parts.len() >= PARTS_BEFORE_WHOLE
            && whole.is_some_and(|stored| {
                stored.part.complete_len <= self.front.settings().object_bytes_max
            })
    }

    /// The stored part that a request for the whole may be answered with, once the rest is here.
    fn part_to_complete(&self, key: &Key) -> Option<Completes> {
        let request = &self.request.head;
        let stored = self.front.store.part(key, &request.fields)?;
        let whole = stored.part()?.part.complete_len;
        if whole > self.current.settings.object_bytes_max
            || !self.front.passes_bans(&stored, request, Timestamp::now())
        {
            return None;
        }
        let received = stored.received_part()?;
        let missing = part::missing(&stored.head, &stored.part()?.part, &received)?;
        Some(Completes { stored, missing })
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

    fn count_pass(&self) {
        self.front.metrics.count(Counter::Fetches);
        self.front.metrics.count(Counter::Passes);
    }

    /// Starts a fetch, feeds it the request's body, relays informational answers, and waits for its answer.
    async fn fetch(
        &mut self,
        fetch: Fetch,
        sharing: Sharing,
        ban_mark: HeldMark,
        target: Option<(Key, Fence)>,
        upgrade: Option<Box<str>>,
        completes: Option<Completes>,
    ) -> Result<State, ClientError> {
        let (asker, mut answer) = answer();
        self.record.purpose = Some(fetch.purpose);
        let body = match fetch.purpose {
            Purpose::Pass => {
                self.exchange.refuse_declared_length()?;
                let body = match self.record.upload.begin(&mut self.exchange)? {
                    Some(body) => body,
                    None => {
                        let synth = Synth::because(503, "Request body was sent before the restart");
                        return Ok(State::Synth(synth));
                    }
                };
                // What asks for an upgrade may turn out a pipe, which is no fetch.
                if upgrade.is_none() {
                    self.count_pass();
                }
                body
            }
            Purpose::Fill | Purpose::Refresh => {
                self.front.metrics.count(Counter::Fetches);
                self.front.metrics.count(Counter::CacheMisses);
                RequestBody::Empty
            }
        };
        let mut driven = self.front.begin(FetchTask {
            front: Arc::clone(self.front),
            current: self.front.current_full(),
            fetch,
            sharing,
            target,
            completes,
            body,
            asker: Some(asker),
            upgrade: upgrade.clone(),
            ban_mark,
        });
        // Whoever leaves in the middle lets go of it.
        let fetched = loop {
            tokio::select! {
                biased;
                news = driven.until(answer.next()) => match news {
                    Some(News::Informational(head)) => {
                        // A client that takes its time must not hold up who else waits for this fetch.
                        driven.let_go();
                        self.exchange.send_informational(&head).await?;
                    }
                    Some(News::Fetched(fetched)) => break Some(fetched),
                    None => break None,
                },
                moved = self.record.upload.step(&mut self.exchange) => moved?,
            }
        };
        drop(driven);
        match fetched {
            Some(Fetched::Object {
                object,
                reader,
                delivery,
                own_head,
            }) => {
                // Where the backend does not switch protocols it was a pass like any other.
                if upgrade.is_some() {
                    self.count_pass();
                }
                Ok(State::Deliver {
                    object,
                    reader: Some(reader),
                    delivery,
                    own_head,
                })
            }
            Some(Fetched::Upgraded(response)) => Ok(State::Join(response)),
            // The task has panicked, which is counted where it happens.
            None => {
                self.record.outcome = Some(Outcome::Error);
                Ok(State::Synth(Synth::new(500)))
            }
        }
    }

    /// Where the answer to a private fetch may change what is stored, and how the fence stands there: if the request
    /// [`speaks_for_all`], which is asked where an answer to POST is one of the few that could be stored.
    fn target(&self, fetch: &Fetch) -> Option<(Key, Fence)> {
        let speaks_of_target = match fetch.head.method {
            Method::Post => true,
            // Content is in no key. And only the origin can say that a match holds: nothing stored may stand in.
            Method::Head => {
                let asks_for_a_match = ["If-Match", "If-Unmodified-Since"]
                    .iter()
                    .any(|name| fetch.head.fields.contains(name));
                !asks_for_a_match
                    && !self.request.has_body
                    && !self.request.directives.no_store
                    && speaks_for_all(&fetch.head)
            }
            _ => false,
        };
        if !speaks_of_target {
            return None;
        }
        let key = Key::from(self.current.policy.hash(&self.request).as_bytes());
        let fence = self.front.store.fence(&key);
        Some((key, fence))
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

    /// The head a shared fetch sends: without what belongs to this client alone. It is a GET also where a HEAD
    /// causes it, and has to be judged as one.
    fn shared_fetch(
        &self,
        purpose: Purpose,
        stale: Option<Arc<Object>>,
        asked: Option<Asked>,
    ) -> Fetch {
        let mut fetch = self.private_fetch();
        fetch.purpose = purpose;
        // A confirmation takes the place of the client's conditions, and only the origin can judge these two.
        let asks_for_a_match = ["If-Match", "If-Unmodified-Since"]
            .iter()
            .any(|name| fetch.head.fields.contains(name));
        fetch.stale = stale.filter(|_| !asks_for_a_match);
        fetch.head.method = Method::Get;
        if self.request.head.method != Method::Get {
            fetch.request = Arc::new(RequestHead {
                method: Method::Get,
                ..(*fetch.request).clone()
            });
        }
        forward::make_shareable(&mut fetch.head);
        if let Some(asked) = asked {
            asked.add_to(&mut fetch.head.fields);
        }
        fetch
    }

    /// The head a pass sends.
    fn private_fetch(&self) -> Fetch {
        let mut request = self.request.head.clone_with_room();
        if !self.record.told_forwarded {
            forward::add_forwarded(&mut request, &self.request.connection);
        }
        let mut head = request.clone_with_room();
        // What Connection lists is gone already. To take it out here would let a client list what was added since.
        hop_by_hop::strip_known(&mut head.fields);
        Fetch {
            head,
            request: Arc::new(request),
            purpose: Purpose::Pass,
            xid: next_xid(),
            stale: None,
            sent: self.request.received,
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
