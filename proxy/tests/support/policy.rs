//! A policy that does what a test says, and else what another one does.

use std::fmt;
use std::sync::Arc;

use proxy::backend::BackendError;
use proxy::http::{OutgoingHead, RequestHead, ResponseHead};
use proxy::object::Object;
use proxy::policy::{
    Deliver, Delivery, Fetch, Hit, Miss, OnError, Policy, Received, Recv, Request, Storage, Synth,
};
use proxy::rules::cache_control::ResponseDirectives;
use proxy::rules::key::PrimaryKey;
use proxy::time::Timestamp;

type Asked<I, O> = Option<Box<dyn Fn(I) -> Option<O> + Send + Sync>>;
type AskedOfRequest<O> = Option<Box<dyn Fn(&mut Request) -> Option<O> + Send + Sync>>;
type AskedOfDelivery = Option<
    Box<dyn Fn(&mut Request, &Delivery, &mut OutgoingHead<'_>) -> Option<Deliver> + Send + Sync>,
>;
type AskedOfFetch<O> = Option<Box<dyn Fn(&Fetch) -> Option<O> + Send + Sync>>;
type AskedOfAnswer = Option<Box<dyn Fn(&Fetch, &Received<'_>) -> Option<Storage> + Send + Sync>>;

/// Decisions by method; `None`, the method's own or that it gives, leaves it to the policy behind.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) recv: AskedOfRequest<Recv>,
    pub(crate) hit: AskedOfRequest<Hit>,
    pub(crate) miss: AskedOfRequest<Miss>,
    pub(crate) deliver: AskedOfDelivery,
    pub(crate) synth: Asked<u16, Vec<u8>>,
    pub(crate) backend_fetch: AskedOfFetch<()>,
    pub(crate) backend_response: AskedOfAnswer,
    pub(crate) backend_error: AskedOfFetch<OnError>,
}

impl Script {
    pub(super) fn over(self, behind: Arc<dyn Policy>) -> impl Policy {
        Scripted {
            script: self,
            behind,
        }
    }
}

struct Scripted {
    script: Script,
    behind: Arc<dyn Policy>,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripted").finish_non_exhaustive()
    }
}

impl Policy for Scripted {
    fn recv(&self, request: &mut Request) -> Recv {
        let said = self.script.recv.as_ref().and_then(|say| say(request));
        said.unwrap_or_else(|| self.behind.recv(request))
    }

    fn hash(&self, request: &Request) -> PrimaryKey {
        self.behind.hash(request)
    }

    fn hit(&self, request: &mut Request, object: &Object, now: Timestamp) -> Hit {
        let said = self.script.hit.as_ref().and_then(|say| say(request));
        said.unwrap_or_else(|| self.behind.hit(request, object, now))
    }

    fn miss(&self, request: &mut Request, stale: Option<&Object>) -> Miss {
        let said = self.script.miss.as_ref().and_then(|say| say(request));
        said.unwrap_or_else(|| self.behind.miss(request, stale))
    }

    fn deliver(
        &self,
        request: &mut Request,
        object: &Object,
        delivery: &Delivery,
        head: &mut OutgoingHead<'_>,
        now: Timestamp,
    ) -> Deliver {
        let said = self.script.deliver.as_ref();
        said.and_then(|say| say(request, delivery, head))
            .unwrap_or_else(|| self.behind.deliver(request, object, delivery, head, now))
    }

    fn synth(
        &self,
        synth: &Synth,
        request: &RequestHead,
        xid: u64,
        head: &mut ResponseHead,
        body: &mut Vec<u8>,
    ) {
        match self.script.synth.as_ref().and_then(|say| say(synth.status)) {
            Some(said) => *body = said,
            None => self.behind.synth(synth, request, xid, head, body),
        }
    }

    fn backend_fetch(&self, fetch: &mut Fetch) {
        if let Some(say) = &self.script.backend_fetch {
            say(fetch);
        }
        self.behind.backend_fetch(fetch);
    }

    fn directives(&self, head: &ResponseHead) -> ResponseDirectives {
        self.behind.directives(head)
    }

    fn backend_response(&self, fetch: &Fetch, received: &Received<'_>) -> Storage {
        let said = self.script.backend_response.as_ref();
        said.and_then(|say| say(fetch, received))
            .unwrap_or_else(|| self.behind.backend_response(fetch, received))
    }

    fn backend_error(&self, fetch: &Fetch, error: &BackendError, now: Timestamp) -> OnError {
        let said = self.script.backend_error.as_ref();
        said.and_then(|say| say(fetch))
            .unwrap_or_else(|| self.behind.backend_error(fetch, error, now))
    }
}
