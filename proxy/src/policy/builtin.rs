//! The built-in policy: a shared HTTP cache as RFC 9111, 9110, 9213, 9211 and 5861 have it.
//!
//! The rules themselves are in [`crate::rules`]; here they are put in order and joined with the operator's
//! settings. `README.md` has the same decisions as a table for people.

use std::time::Duration;

use super::{
    Deliver, Delivery, Fetch, Hit, Invalidation, Miss, OnError, Policy, Purpose, Received, Recv,
    Request, Softness, Source, Storage, Synth,
};
use crate::acl::{Acl, Peer};
use crate::backend::BackendError;
use crate::http::{Method, OutgoingHead, RequestHead, ResponseHead, reason_phrase};
use crate::object::surrogate_keys;
use crate::object::{Object, Times};
use crate::rules::cache_control::{RequestDirectives, ResponseDirectives};
use crate::rules::cache_status::{CacheStatus, Collapsed, ForwardReason, Stored, written_name};
use crate::rules::conditional::{self, Precondition};
use crate::rules::freshness::{self, Heuristics, Reuse, StoredTimes};
use crate::rules::hop_by_hop;
use crate::rules::key::{PrimaryKey, primary_key};
use crate::rules::part;
use crate::rules::status;
use crate::rules::storability::{self, ClientDirectives, NotStored, StoreRules};
use crate::time::Timestamp;

/// What an operator may set about caching.
#[derive(Clone, Debug)]
pub struct CacheSettings {
    /// How long a stale answer is delivered while it is refreshed, where it does not say so itself.
    pub grace: Duration,
    /// How long a stale answer is delivered when the backend fails, where it does not say so itself.
    pub stale_if_error: Duration,
    /// How long beyond that an answer with a validator is kept for conditional refetches.
    pub keep: Duration,
    pub hit_for_miss: Duration,
    pub heuristics: Heuristics,
    pub store_rules: StoreRules,
    /// Response fields that replace Cache-Control, best first (RFC 9213).
    pub targeted_fields: Vec<String>,
    /// The Host that the backend sees in place of the client's. It is then the same object whatever host a
    /// client names.
    pub host: Option<Box<str>>,
    /// Who may purge and ban; `None`: nobody.
    pub purge: Option<Acl>,
    pub marks: ResponseMarks,
}

/// Fields the front door adds to responses.
#[derive(Clone, Debug)]
pub struct ResponseMarks {
    /// Pseudonym in Via; empty: no Via.
    pub via: String,
    /// Name in Cache-Status; empty: no Cache-Status.
    pub cache_status: String,
    pub x_cache: bool,
    pub x_varnish: bool,
}

/// See the module's text.
#[derive(Debug)]
pub struct Builtin {
    settings: CacheSettings,
    /// Our name as Cache-Status has it.
    written_name: Vec<u8>,
}

impl Builtin {
    pub fn new(settings: CacheSettings) -> Builtin {
        Builtin {
            written_name: written_name(&settings.marks.cache_status),
            settings,
        }
    }

    fn invalidation(&self, request: &Request) -> Recv {
        let Some(acl) = &self.settings.purge else {
            return Recv::Synth(Synth::new(405));
        };
        if !Peer::of(&request.connection.client).is_some_and(|client| acl.allows(client)) {
            return Recv::Synth(Synth::because(403, "Not allowed to purge"));
        }
        let fields = &request.head.fields;
        if request.head.method == Method::Ban {
            return match fields.get_str("Lacquer-Ban") {
                Some(expression) => Recv::Purge(Invalidation::Ban(expression.into())),
                None => Recv::Synth(Synth::because(400, "BAN needs a Lacquer-Ban field")),
            };
        }
        let softness = match fields.get("Lacquer-Purge") {
            None => Softness::Hard,
            Some(how) if how.eq_ignore_ascii_case(b"soft") => Softness::Soft,
            Some(_) => return Recv::Synth(Synth::because(400, "Lacquer-Purge takes soft")),
        };
        let tags = surrogate_keys(fields);
        Recv::Purge(match tags.is_empty() {
            true => Invalidation::Url(softness),
            false => Invalidation::Tags(tags, softness),
        })
    }

    fn honors_client(&self) -> bool {
        self.settings.store_rules.client_directives == ClientDirectives::Honour
    }

    /// Whether a stored answer settles If-Match or If-Unmodified-Since. It does while it is fresh and they
    /// hold for it, or when the origin chose it by the very same If-Match. Else the origin decides.
    fn may_say_that_it_matches(&self, request: &Request, object: &Object, now: Timestamp) -> bool {
        let fields = &request.head.fields;
        if fields.contains("X-If-Match") || !object.is_fresh(now) {
            return false;
        }
        (fields.contains("If-Match") && object.was_chosen_by("if-match", fields))
            || conditional::evaluate(&request.head, &object.head) != Precondition::Undecided
    }

    /// Whether the stored answer may stand in for the backend's failure (RFC 5861 §4).
    fn may_serve_on_error(&self, fetch: &Fetch, now: Timestamp) -> bool {
        let Some(stale) = &fetch.stale else {
            return false;
        };
        let client = RequestDirectives::of(&fetch.request.fields);
        let client = self.honors_client().then_some(&client);
        let window = self.settings.stale_if_error;
        freshness::may_serve_on_error(
            &stale.stored_times(),
            &stale.directives,
            client,
            now,
            window,
        )
    }
}

impl Policy for Builtin {
    fn recv(&self, request: &mut Request) -> Recv {
        if let Some(host) = &self.settings.host {
            request.head.authority = host.to_string();
            request.head.fields.set("Host", host.as_bytes());
        }
        let head = &request.head;
        match head.method {
            Method::Purge | Method::Ban => return self.invalidation(request),
            // A reverse proxy is nobody's tunnel.
            Method::Connect => return Recv::Synth(Synth::new(405)),
            _ => {}
        }
        // RFC 9110 §7.6.2: at zero the request is for us. A TRACE would tell what the proxies before us added.
        if max_forwards(head) == Some(0) {
            return Recv::Synth(Synth::new(match head.method {
                Method::Options => 200,
                _ => 405,
            }));
        }
        if request.upgrade.is_some() {
            return Recv::Pipe;
        }
        if !matches!(head.method, Method::Get | Method::Head) || request.has_body {
            return Recv::Pass;
        }
        if self.honors_client() && request.directives.no_store {
            return Recv::Pass;
        }
        Recv::Hash
    }

    fn hash(&self, request: &Request) -> PrimaryKey {
        let head = &request.head;
        primary_key(head.scheme, &head.authority, &head.target)
    }

    fn hit(&self, request: &mut Request, object: &Object, now: Timestamp) -> Hit {
        if asks_for_a_match(&request.head) && !self.may_say_that_it_matches(request, object, now) {
            return match self.honors_client() && request.directives.only_if_cached {
                true => Hit::Synth(Synth::new(504)),
                false => Hit::Pass,
            };
        }
        let directives = self.honors_client().then_some(&request.directives);
        let times = object.stored_times();
        match freshness::reuse(
            &times,
            &object.directives,
            directives,
            now,
            // None where the answer had no lifetime to begin with.
            self.settings.grace.min(object.times().grace),
        ) {
            Reuse::Fresh | Reuse::StaleByRequest => Hit::Deliver,
            Reuse::StaleWhileRevalidate => Hit::DeliverAndRefresh,
            Reuse::MustRevalidate(_) => Hit::Miss,
        }
    }

    fn miss(&self, request: &mut Request, stale: Option<&Object>) -> Miss {
        if self.honors_client() && request.directives.only_if_cached {
            return Miss::Synth(Synth::new(504));
        }
        // A HEAD does not bring a body to store, and what X-If-Match asks is in no key.
        if request.head.method == Method::Head || request.head.fields.contains("X-If-Match") {
            return Miss::Pass;
        }
        // What is stored whole is asked for whole: a 304 then renews all of it.
        match stale.is_none() && part::asks_for_one(&request.head.fields) {
            true => Miss::FetchPart,
            false => Miss::Fetch,
        }
    }

    fn deliver(
        &self,
        request: &mut Request,
        object: &Object,
        delivery: &Delivery,
        head: &mut OutgoingHead<'_>,
        now: Timestamp,
    ) -> Deliver {
        let marks = &self.settings.marks;
        let age = object.age(now);
        // RFC 9111 §5.1: on every answer from the store. What was fetched for this request has its origin's.
        let is_stored = match delivery.source {
            Source::Hit | Source::StaleHit | Source::StaleOnError | Source::Revalidated => true,
            Source::Miss | Source::Stale => delivery.collapsed,
            Source::Pass | Source::Synth => false,
        };
        if is_stored {
            let seconds = age.as_secs().min(AGE_MAX);
            head.set("Age", itoa::Buffer::new().format(seconds));
        }
        if !marks.via.is_empty() && delivery.source != Source::Synth {
            let version = head.version();
            head.append_with("Via", |out| hop_by_hop::write_via(out, version, &marks.via));
        }
        if !marks.cache_status.is_empty() {
            let status = cache_status(request, object, delivery, now);
            head.append_with("Cache-Status", |out| status.write(out, &self.written_name));
        }
        let is_hit = matches!(
            delivery.source,
            Source::Hit | Source::StaleHit | Source::StaleOnError
        );
        if marks.x_cache {
            let word = match is_hit || delivery.collapsed {
                true => "HIT",
                false => "MISS",
            };
            head.set("X-Cache", word);
        }
        if marks.x_varnish {
            head.remove("X-Varnish");
            head.append_with("X-Varnish", |out| {
                let mut digits = itoa::Buffer::new();
                out.extend_from_slice(digits.format(request.xid).as_bytes());
                if is_hit {
                    out.push(b' ');
                    out.extend_from_slice(digits.format(object.xid).as_bytes());
                }
            });
        }
        Deliver::Deliver
    }

    fn synth(
        &self,
        synth: &Synth,
        request: &RequestHead,
        xid: u64,
        head: &mut ResponseHead,
        body: &mut Vec<u8>,
    ) {
        let reason = if synth.reason.is_empty() {
            reason_phrase(synth.status)
        } else {
            &synth.reason
        };
        head.fields.set("Content-Type", "text/plain; charset=utf-8");
        head.fields.set("Cache-Control", "no-store");
        match synth.status {
            200 if request.method == Method::Options => head.fields.set("Allow", METHODS),
            405 => head.fields.set("Allow", METHODS),
            503 => head.fields.set("Retry-After", RETRY_AFTER_SECONDS),
            _ => {}
        }
        if request.method != Method::Head {
            body.extend_from_slice(
                format!(
                    "{reason}
XID: {xid}
"
                )
                .as_bytes(),
            );
        }
    }

    fn backend_fetch(&self, fetch: &mut Fetch) {
        if let Some(left) = max_forwards(&fetch.head) {
            let left = left.saturating_sub(1).to_string();
            fetch.head.fields.set("Max-Forwards", left);
        }
        if !self.settings.marks.via.is_empty() {
            let version = fetch.request.version;
            let fields = &mut fetch.head.fields;
            fields.append_with("Via", |out| {
                hop_by_hop::write_via(out, version, &self.settings.marks.via);
            });
        }
    }

    fn directives(&self, head: &ResponseHead) -> ResponseDirectives {
        ResponseDirectives::of(head, &self.settings.targeted_fields)
    }

    fn backend_response(&self, fetch: &Fetch, received: &Received<'_>) -> Storage {
        let Received {
            head,
            directives,
            at,
        } = received;
        if is_server_failure(head.status) && self.may_serve_on_error(fetch, *at) {
            return Storage::Stale;
        }
        // Of what passes only an answer to POST may be worth storing.
        let is_private = fetch.purpose == Purpose::Pass;
        if is_private && fetch.request.method != Method::Post {
            return Storage::Private { because: None };
        }
        if let Err(because) =
            storability::may_store(&fetch.request, head, directives, &self.settings.store_rules)
        {
            return match because {
                _ if is_private => Storage::Private { because: None },
                // What this request brought with it; the next may bring none of it.
                NotStored::Method
                | NotStored::RequestContent
                | NotStored::RequestNoStore
                | NotStored::Partial
                | NotStored::Condition
                | NotStored::RequestFault
                | NotStored::Authorization => Storage::Private {
                    because: Some(because),
                },
                // As little is known of the target as before.
                _ if status::is_about_the_message(head.status) => Storage::Private {
                    because: Some(because),
                },
                // RFC 9111 §4.3.3: as if no answer had come, which leaves the stale one the rest of its grace.
                _ if fetch.purpose == Purpose::Refresh && is_server_failure(head.status) => {
                    Storage::Private {
                        because: Some(because),
                    }
                }
                _ => Storage::HitForMiss {
                    mark: self.settings.hit_for_miss,
                    because,
                },
            };
        }
        let times = StoredTimes::of(head, directives, fetch.sent, *at, &self.settings.heuristics);
        // Its time of birth could not be told from 1970, and it would count as younger than it is.
        if times.initial_age.as_secs() >= at.as_secs() {
            return Storage::HitForMiss {
                mark: self.settings.hit_for_miss,
                because: NotStored::NoFreshness,
            };
        }
        let grace = match directives.stale_while_revalidate() {
            _ if directives.forbids_stale() => Duration::ZERO,
            Some(window) => window,
            // An origin that gives no lifetime, or none above zero, wants to be asked each time; the operator's grace
            // would make it seconds in which one client's page goes to others.
            None if times.lifetime.duration.is_zero() => Duration::ZERO,
            None => self.settings.grace,
        };
        let keep = if !conditional::validators(head).is_empty() {
            self.settings.keep
        } else {
            Duration::ZERO
        };
        // Within keep the object may also stand in for a failing backend.
        let on_error = directives
            .stale_if_error()
            .unwrap_or(self.settings.stale_if_error);
        Storage::Store(Times {
            born: *at - times.initial_age,
            ttl: times.lifetime.duration,
            grace,
            keep: keep.max(on_error.saturating_sub(grace)),
        })
    }

    fn cache_settings(&self) -> Option<&CacheSettings> {
        Some(&self.settings)
    }

    fn backend_error(&self, fetch: &Fetch, error: &BackendError, now: Timestamp) -> OnError {
        if self.may_serve_on_error(fetch, now) {
            return OnError::Stale;
        }
        // RFC 9111 §5.2.2.2: where only the origin may say that what is stored still holds, and cannot be asked.
        let forbidden = fetch
            .stale
            .as_ref()
            .is_some_and(|stale| stale.directives.forbids_stale());
        let status = if forbidden { 504 } else { error.status() };
        OnError::Synth(Synth::because(status, "Backend fetch failed"))
    }
}

/// How many more hops an OPTIONS or TRACE may take (RFC 9110 §7.6.2).
fn max_forwards(head: &RequestHead) -> Option<u64> {
    match head.method {
        Method::Options | Method::Trace => head.fields.get_str("Max-Forwards")?.parse().ok(),
        _ => None,
    }
}

/// Methods that a backend may know, for those who asked for one that the front door does not take.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Seconds a client is asked to wait after a failed fetch.
const RETRY_AFTER_SECONDS: &str = "5";

/// RFC 9111 §1.2.2: larger ages are sent as this.
const AGE_MAX: u64 = 1 << 31;

/// RFC 5861 §4: the errors in whose place a stale answer may stand.
fn is_server_failure(status: u16) -> bool {
    matches!(status, 500 | 502 | 503 | 504)
}

/// Whether only the origin can say that its state is the one the client knows.
fn asks_for_a_match(head: &RequestHead) -> bool {
    ["If-Match", "If-Unmodified-Since", "X-If-Match"]
        .iter()
        .any(|name| head.fields.contains(name))
}

/// RFC 9211: what this cache did with a request.
fn cache_status(
    request: &Request,
    object: &Object,
    delivery: &Delivery,
    now: Timestamp,
) -> CacheStatus<'static> {
    let ttl = object.stored_times().ttl_seconds(now);
    let mut status = match delivery.source {
        Source::Hit | Source::StaleHit => CacheStatus::hit(ttl),
        Source::StaleOnError => {
            let mut status = CacheStatus::hit(ttl);
            status.detail = Some("stale-if-error".into());
            status
        }
        Source::Revalidated | Source::Stale | Source::Miss => {
            CacheStatus::forward(delivery.forwarded.unwrap_or(ForwardReason::Miss))
        }
        Source::Pass => CacheStatus::forward(match request.head.method {
            Method::Get | Method::Head => ForwardReason::Bypass,
            _ => ForwardReason::Method,
        }),
        Source::Synth => {
            let mut status = CacheStatus::forward(ForwardReason::Bypass);
            status.detail = Some("synthetic".into());
            status
        }
    };
    status.forward_status = delivery.fetch_status;
    if delivery.stored == Some(true) {
        status.stored = Stored::Yes;
    }
    if delivery.collapsed {
        status.collapsed = Collapsed::Yes;
    }
    if let Some(because) = delivery.not_stored {
        status.detail = Some(because.to_string().into());
    }
    status
}
