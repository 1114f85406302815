//! Stored answers made as new as a later head of the same representation: a 304 (RFC 9111 §4.3.4), or a 200 to HEAD
//! (§4.3.5).

use std::sync::Arc;

use super::FetchTask;
use super::receive::keep_storable;
use crate::backend::BackendResponse;
use crate::http::{Method, RequestHead, ResponseHead};
use crate::object::{Object, Times};
use crate::policy::{Delivery, Fetch, Purpose, Received, Source, Storage};
use crate::rules::revalidation::{self, HeadEffect};
use crate::time::Timestamp;

impl FetchTask {
    /// A `304` for the stored answer: a new head on the same body (RFC 9111 §4.3.4).
    pub(super) fn confirm(self: Box<Self>, stale: &Arc<Object>, not_modified: &BackendResponse) {
        let (object, stored, own_head) = self.renew(stale, &not_modified.head, &self.fetch);
        let mut delivery = Delivery::new(Source::Revalidated);
        delivery.stored = Some(stored);
        delivery.fetch_status = Some(304);
        delivery.backend = Some(not_modified.server_name());
        self.land_as(object, delivery, own_head);
    }

    /// Makes the stored answer as new as a head of the same representation says (RFC 9111 §3.2), and stores it if it
    /// still may be. `asked` is what the head is the answer to.
    fn renew(
        &self,
        stale: &Arc<Object>,
        newer: &ResponseHead,
        asked: &Fetch,
    ) -> (Arc<Object>, bool, Option<Box<ResponseHead>>) {
        let now = Timestamp::now();
        let mut head = revalidation::freshen(&stale.head, newer);
        let policy = &self.current.policy;
        let directives = policy.directives(&head);
        let own_head = keep_storable(&mut head, &directives, now);
        let received = Received {
            head: &head,
            directives: &directives,
            at: now,
        };
        let storage = policy.backend_response(asked, &received);
        let times = match &storage {
            Storage::Store(times) => *times,
            _ => Times::unusable(now),
        };
        let mut object = Object::new(
            head,
            stale.body.clone(),
            stale.kind,
            directives,
            times,
            self.fetch.xid,
        );
        self.describe(&mut object);
        object.set_part(stale.part().cloned());
        object.set_ban_mark(self.ban_mark.mark());
        let object = Arc::new(object);
        self.remember(&storage, object.head.status, now);
        // HEAD goes beside all flights: a GET may have brought something newer meanwhile.
        let is_beside = self.fetch.purpose == Purpose::Pass;
        let stored = match storage {
            Storage::Store(_) if is_beside => self.store_over(stale, &object, now),
            Storage::Store(_) => self.store(&object, now),
            Storage::HitForMiss { mark, because } => {
                self.front.count_not_stored(because);
                if self.forget(stale) || !is_beside {
                    self.mark(&object, mark, because, now);
                }
                false
            }
            // Something about this request: the next may still use what is stored.
            Storage::Private { because } => {
                if let Some(because) = because {
                    self.front.count_not_stored(because);
                }
                false
            }
            Storage::Stale => false,
        };
        (object, stored, own_head)
    }

    /// RFC 9111 §4.3.5: what an answer to HEAD says of the stored answer to GET.
    pub(super) fn apply_head(&mut self, answer: &ResponseHead) {
        let Some(stored) = self.fetch.stale.take() else {
            return;
        };
        match revalidation::head_effect(&stored.head, answer) {
            HeadEffect::Freshen => {
                let as_get = Fetch {
                    head: self.fetch.head.clone(),
                    request: Arc::new(RequestHead {
                        method: Method::Get,
                        ..(*self.fetch.request).clone()
                    }),
                    purpose: Purpose::Fill,
                    xid: self.fetch.xid,
                    stale: None,
                    sent: self.fetch.sent,
                };
                self.renew(&stored, answer, &as_get);
            }
            HeadEffect::Invalidate => stored.expire(Timestamp::now()),
            HeadEffect::None => {}
        }
    }
}
