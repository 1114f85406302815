//! The implementation, asked the oracle's question: the built-in policy, in the order in which the machines call it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proxy::backend::BackendError;
use proxy::downstream::{Address, ConnectionInfo};
use proxy::http::{Fields, Method, OutgoingHead, RequestHead, ResponseHead, Scheme, Version};
use proxy::object::{Body, Kind, Object};
use proxy::policy::builtin::{Builtin, CacheSettings, ResponseMarks};
use proxy::policy::{
    Delivery, Fetch, Hit, Miss, OnError, Policy, Purpose, Received, Recv, Request, Source, Storage,
};
use proxy::rules::cache_control::RequestDirectives;
use proxy::rules::freshness::Heuristics;
use proxy::rules::hop_by_hop;
use proxy::rules::storability::{self, ClientDirectives, SetCookieRule, StoreRules};
use proxy::rules::vary::{Variant, Vary};
use proxy::store::Variants;
use proxy::time::Timestamp;

use super::case::{Asked, Case, Line, Settings};

/// What the implementation makes of a case.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// The names of the fields that are kept; `None`: not stored.
    pub(crate) kept: Option<Vec<String>>,
    pub(crate) served: Served,
    /// The Age that the later answer carries.
    pub(crate) age: i64,
    /// It stands in when the backend fails.
    pub(crate) stands_in: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Served {
    #[default]
    No,
    Alone,
    WhileRefreshed,
}

pub(crate) fn decide(case: &Case) -> Decision {
    let policy = Builtin::new(settings(&case.settings));
    let Some(object) = store(&policy, case) else {
        return Decision::default();
    };
    let names = object
        .head
        .fields
        .iter()
        .map(|field| field.name.to_ascii_lowercase());
    let mut decision = Decision {
        kept: Some(names.collect()),
        ..Decision::default()
    };
    let (mut first, mut later) = (request(&case.first), request(&case.later));
    let received = moment(case.received);
    let (variants, _) = Variants::default().with(Arc::clone(&object), 10, received);
    let found_way = policy.recv(&mut first) == Recv::Hash && policy.recv(&mut later) == Recv::Hash;
    if !found_way || policy.hash(&first) != policy.hash(&later) {
        return decision;
    }
    let Some(found) = variants.select(&later.head.fields) else {
        return decision;
    };
    let now = moment(case.now);
    decision.served = match policy.hit(&mut later, found, now) {
        Hit::Deliver => Served::Alone,
        Hit::DeliverAndRefresh => Served::WhileRefreshed,
        _ => Served::No,
    };
    let mut head = OutgoingHead::new(&found.head, Fields::new());
    let delivery = Delivery::new(Source::Hit);
    policy.deliver(&mut later, found, &delivery, &mut head, now);
    let age = head
        .get("age")
        .and_then(|age| std::str::from_utf8(age).ok()?.parse().ok());
    decision.age = age.expect("what was stored is sent with Age");
    let fetch = Fetch {
        stale: Some(Arc::clone(found)),
        ..fetch(&later, now)
    };
    let error = BackendError::Busy {
        pool: "origin".to_owned(),
    };
    decision.stands_in = policy.backend_error(&fetch, &error, now) == OnError::Stale;
    decision
}

fn store(policy: &Builtin, case: &Case) -> Option<Arc<Object>> {
    let mut first = request(&case.first);
    if policy.recv(&mut first) != Recv::Hash || policy.miss(&mut first, None) != Miss::Fetch {
        return None;
    }
    let at = moment(case.received);
    let mut head = ResponseHead::new(case.status);
    head.fields = fields(&case.answer);
    let directives = policy.directives(&head);
    hop_by_hop::strip(&mut head.fields);
    let received = Received {
        head: &head,
        directives: &directives,
        at,
    };
    let fetch = fetch(&first, moment(case.sent));
    let Storage::Store(times) = policy.backend_response(&fetch, &received) else {
        return None;
    };
    head.fields = storability::stored_fields(&head, &directives, at);
    let body = Body::whole(Bytes::from_static(b"body"));
    let mut object = Object::new(head, body, Kind::Response, directives, times, 1);
    if let Vary::Fields(spec) = Vary::of(&object.head.fields) {
        object.set_variant(Some(Variant::new(spec, &first.head.fields)));
    }
    Some(Arc::new(object))
}

fn fetch(request: &Request, sent: Timestamp) -> Fetch {
    Fetch {
        head: request.head.clone(),
        request: Arc::new(request.head.clone()),
        purpose: Purpose::Fill,
        xid: 2,
        stale: None,
        sent,
    }
}

fn request(asked: &Asked) -> Request {
    let mut fields = fields(&asked.lines);
    fields.set("Host", asked.host);
    Request {
        directives: RequestDirectives::of(&fields),
        head: RequestHead {
            method: Method::parse(asked.method.as_bytes()).expect("a method"),
            target: asked.target.to_owned(),
            authority: asked.host.to_owned(),
            scheme: Scheme::Http,
            version: Version::Http11,
            fields,
        },
        connection: Arc::new(ConnectionInfo {
            client: Address::Unknown,
            local: Address::Unknown,
            scheme: Scheme::Http,
            tls: None,
            id: 1,
            accepted: Timestamp::EPOCH,
        }),
        xid: 1,
        received: Timestamp::EPOCH,
        has_body: false,
        upgrade: None,
        restarts: 0,
    }
}

/// Fields as a parser leaves them: trimmed; what no message can carry is left out.
fn fields(lines: &[Line]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in lines {
        let value = value.trim_matches([' ', '\t']);
        let _ = fields.try_append(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(millis).expect("a moment after 1970"))
}

/// No grace and no stale-if-error but what messages say.
fn settings(settings: &Settings) -> CacheSettings {
    let marks = ResponseMarks {
        via: String::new(),
        cache_status: "oracle".to_owned(),
        x_cache: false,
        x_varnish: false,
    };
    CacheSettings {
        grace: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        keep: Duration::from_secs(60),
        hit_for_miss: Duration::from_secs(1),
        heuristics: Heuristics {
            fraction: settings.heuristic_fraction,
            max: Duration::from_secs(settings.heuristic_seconds_max.unsigned_abs()),
        },
        store_rules: StoreRules {
            set_cookie: match settings.cookies_are_stored {
                true => SetCookieRule::Store,
                false => SetCookieRule::StoreWhenShared,
            },
            client_directives: match settings.clients_count {
                true => ClientDirectives::Honour,
                false => ClientDirectives::Ignore,
            },
        },
        targeted_fields: settings.targeted.iter().map(ToString::to_string).collect(),
        host: None,
        purge: None,
        marks,
    }
}
