//! What an answer is: the object that comes of it, whether that is stored, and who gets it.
//!
//! The policy decides, but for what it knows nothing of, such as the room there is for the body. An answer that confirms
//! a stored one is in [`super::renew`]; what is left to do for a body, in [`super::fill`].

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;

use super::fill::{Completes, Filling, fill};
use super::{FetchTask, Fetched};
use crate::backend::{BackendResponse, BodyLength};
use crate::http::{Method, ResponseHead};
use crate::metrics::Counter;
use crate::object::{Body, Growth, Kind, Object, StoredPart, Times};
use crate::policy::{Delivery, Purpose, Received, Source, Storage};
use crate::request::speaks_for_all;
use crate::rules::cache_control::ResponseDirectives;
use crate::rules::part::{self, Asked, Part};
use crate::rules::storability::{self, NotStored};
use crate::rules::{hop_by_hop, status};
use crate::time::Timestamp;

/// A body that is kept, no longer than this, and here with its head is whole before it is stored: it is weighed
/// once, and nobody waits for it.
const EARLY_BYTES_MAX: u64 = 64 * 1024;

impl FetchTask {
    /// An answer with a body of its own, or the rest of one. Gives what is left to do for its body.
    pub(super) fn receive(
        mut self: Box<Self>,
        response: BackendResponse,
        rest: Option<Completes>,
    ) -> Option<Filling> {
        let now = Timestamp::now();
        if response.is_repeated() && !status::is_non_error(response.head.status) {
            // The second attempt may have failed because of the first: a 404 to what was deleted by then.
            self.invalidate_target();
        }
        self.invalidate(&response.head);
        if response.is_upgrade() {
            if let Some(asker) = self.asker.take() {
                // Whoever asked may have left meanwhile; then the connection closes with this.
                asker.answer(Fetched::Upgraded(Box::new(response)));
            }
            return None;
        }
        let backend = response.server_name();
        let BackendResponse {
            mut head, mut body, ..
        } = response;
        let policy = Arc::clone(&self.current.policy);
        let directives = policy.directives(&head);
        hop_by_hop::strip(&mut head.fields);
        let mut length = body.length();
        if let Some(Completes { stored, .. }) = &rest
            && let Some(part) = stored.part()
        {
            let whole = part.part.complete_len;
            head = part::combined_head(&head, &(0..whole), whole);
            length = BodyLength::Known(whole);
        }
        let received = Received {
            head: &head,
            directives: &directives,
            at: now,
        };
        let mut storage = policy.backend_response(&self.fetch, &received);
        if let Storage::Store(_) = storage
            && self.fetch.purpose == Purpose::Pass
            && !speaks_for_all(&self.fetch.head)
        {
            storage = Storage::Private { because: None };
        }
        let settings = Arc::clone(&self.current.settings);
        if let Storage::Store(_) = storage
            && matches!(length, BodyLength::Known(bytes) if bytes > settings.object_bytes_max)
        {
            storage = match Part::of(&head) {
                None => Storage::HitForMiss {
                    mark: settings.hit_for_miss,
                    because: NotStored::TooLarge,
                },
                // Smaller parts can still be stored, and a mark would end those that are.
                Some(_) => Storage::Private {
                    because: Some(NotStored::TooLarge),
                },
            };
        }
        if let Storage::Store(_) = storage
            && matches!(length, BodyLength::Known(bytes) if !settings.transit.has_room_for(bytes))
        {
            // Too much is filling already. That passes, so no mark is left.
            storage = Storage::Private {
                because: Some(NotStored::TooLarge),
            };
        }
        if storage == Storage::Stale
            && let Some(stale) = self.fetch.stale.take()
        {
            self.front.count_not_stored(NotStored::Status);
            let mut delivery = Delivery::new(Source::StaleOnError);
            delivery.fetch_status = Some(head.status);
            self.land(stale, delivery);
            return None;
        }

        let (times, kind, growth) = match &storage {
            Storage::Store(times) => (
                *times,
                Kind::Response,
                Growth::Kept {
                    bytes_max: settings.object_bytes_max,
                },
            ),
            _ => (Times::unusable(now), Kind::Private, Growth::Transit),
        };
        let own_head = match kind {
            Kind::Response => keep_storable(&mut head, &directives, now),
            _ => None,
        };
        let expected = match length {
            BodyLength::Known(bytes) => Some(bytes),
            BodyLength::Chunked | BodyLength::UntilClose => None,
        };
        // A head that describes a body it does not bring says nothing about this one.
        let describes = head.status == 304 || self.fetch.head.method == Method::Head;
        let whole = match length {
            BodyLength::Known(..=EARLY_BYTES_MAX)
                if rest.is_none()
                    && !describes
                    && (kind != Kind::Response || Part::of(&head).is_none()) =>
            {
                body.take_whole()
            }
            _ => None,
        };
        let (filling, reader, writer, early) = match whole {
            Some(piece) => {
                // What is kept must not hold a whole read buffer.
                let piece = match kind {
                    Kind::Response => Bytes::copy_from_slice(&piece),
                    Kind::HitForMiss | Kind::Private => piece,
                };
                let filling = Body::whole(piece);
                let reader = filling.reader().expect("a body that is whole");
                (filling, reader, None, None)
            }
            None => {
                let mut writer = Body::write_expected(growth, &settings.transit, expected);
                let mut reader = writer
                    .body()
                    .reader()
                    .expect("nothing has been dropped from a new body");
                let early = match length {
                    BodyLength::Known(bytes @ ..=EARLY_BYTES_MAX)
                        if kind == Kind::Response
                            && Part::of(&head).is_none()
                            && rest.is_none() =>
                    {
                        fill(&mut body, &mut writer, bytes).now_or_never()
                    }
                    _ => None,
                };
                let filling = writer.body().clone();
                let mut writer = Some(writer);
                if let Some(Ok(())) = &early
                    && let Some(whole) = writer.take_if(|writer| !writer.in_transit())
                {
                    whole.finish(None);
                    reader = filling.reader().expect("a body that is whole");
                }
                (filling, reader, writer, early)
            }
        };
        let mut object = Object::new(head, filling, kind, directives, times, self.fetch.xid);
        if kind == Kind::Response {
            self.describe(&mut object);
            let part = Part::of(&object.head).map(|part| {
                let asked = Asked::by(&self.fetch.head.fields);
                StoredPart { part, asked }
            });
            object.set_part(part);
        }
        object.set_ban_mark(match &rest {
            // Bans that the stored part has not been tested against are to be tested still.
            Some(rest) => rest.stored.ban_mark().min(self.ban_mark.mark()),
            None => self.ban_mark.mark(),
        });
        let object = Arc::new(object);

        let mut delivery = Delivery::new(match (self.fetch.purpose, &self.fetch.stale) {
            (Purpose::Pass, _) => Source::Pass,
            (_, Some(_)) => Source::Stale,
            (_, None) => Source::Miss,
        });
        delivery.backend = Some(backend);
        self.remember(&storage, object.head.status, now);
        match storage {
            Storage::Store(_) => delivery.stored = Some(self.store(&object, now)),
            Storage::HitForMiss { mark, because } => {
                self.front.count_not_stored(because);
                self.mark(&object, mark, because, now);
                delivery.not_stored = Some(because);
            }
            Storage::Private { because } => {
                match because {
                    Some(because) => self.front.count_not_stored(because),
                    None => self.front.metrics.count(Counter::UncacheableResponses),
                }
                delivery.not_stored = because;
            }
            Storage::Stale => {}
        }
        if self.fetch.request.method == Method::Head {
            self.apply_head(&object.head);
        }
        let stored = delivery.stored == Some(true);
        let key = self.key().filter(|_| stored);
        let (front, fence) = (Arc::clone(&self.front), self.fence());
        self.land_with(Arc::clone(&object), reader, delivery, own_head);
        Some(Filling {
            front,
            settings,
            object,
            body,
            writer: writer?,
            early,
            rest,
            stored: key.zip(fence),
            since: now,
        })
    }
}

/// Leaves in a head what may be stored, and gives the whole head where that is less: the request that asked
/// gets it all.
pub(super) fn keep_storable(
    head: &mut ResponseHead,
    directives: &ResponseDirectives,
    now: Timestamp,
) -> Option<Box<ResponseHead>> {
    let fields = storability::stored_fields(head, directives, now);
    // A missing Date has been added; all else is only left out.
    let added = usize::from(!head.fields.contains("Date"));
    let withheld = fields.len() < head.fields.len() + added;
    let whole = withheld.then(|| Box::new(head.clone()));
    head.fields = fields;
    whole
}
