//! The fetches that a request begins: what each asks for, who may share its answer, and the wait for that.
//!
//! Which state asks for which fetch is in [`super`]; what a fetch does is in [`crate::fetch`].

use std::sync::Arc;

use super::forward::{self, speaks_for_all};
use super::{Machine, State};
use crate::backend::RequestBody;
use crate::bans::HeldMark;
use crate::downstream::ClientError;
use crate::fetch::{Completes, FetchTask, Fetched, News, Sharing, answer};
use crate::front::next_xid;
use crate::http::{Method, RequestHead};
use crate::metrics::{Counter, Outcome};
use crate::object::{Kind, Object};
use crate::policy::{Fetch, Purpose, Synth};
use crate::rules::cache_status::ForwardReason;
use crate::rules::hop_by_hop;
use crate::rules::key::PrimaryKey;
use crate::rules::part::{self, Asked};
use crate::store::{Boarding, Fence, Key};
use crate::time::Timestamp;

/// Parts of one content that are fetched before the next range is answered from the whole.
const PARTS_BEFORE_WHOLE: usize = 8;

impl Machine<'_> {
    /// Fetches without company; the answer is stored if it can be.
    pub(super) async fn fetch_beside(
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
    pub(super) async fn fetch_shared(
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

    /// Starts a fetch in the background, unless one is under way.
    pub(super) fn refresh(&mut self, key: &PrimaryKey, stale: &Arc<Object>) {
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

    /// Starts a fetch, feeds it the request's body, relays informational answers, and waits for its answer.
    pub(super) async fn fetch(
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

    /// Whether so many parts of one content are stored that the whole costs the backend less than more of them: each
    /// range that nobody asked for before would be a fetch, and there are as many as a client likes.
    pub(super) fn is_asked_for_in_pieces(&self, key: &PrimaryKey) -> bool {
        let fields = &self.request.head.fields;
        let parts = self.front.store.parts(key.as_bytes(), fields);
        let whole = parts.first().and_then(|newest| newest.part());
        parts.len() >= PARTS_BEFORE_WHOLE
            && whole.is_some_and(|stored| {
                stored.part.complete_len <= self.front.settings().object_bytes_max
            })
    }

    /// Where the answer to a private fetch may change what is stored, and how the fence stands there: if the request
    /// [`speaks_for_all`], which is asked where an answer to POST is one of the few that could be stored.
    pub(super) fn target(&self, fetch: &Fetch) -> Option<(Key, Fence)> {
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

    /// The head a pass sends.
    pub(super) fn private_fetch(&self) -> Fetch {
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

    fn count_pass(&self) {
        self.front.metrics.count(Counter::Fetches);
        self.front.metrics.count(Counter::Passes);
    }
}
