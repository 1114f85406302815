//! The states of the request machine, walked without doing anything.
//!
//! Each step here has its twin in [`crate::request`]; what differs is that nothing is fetched, delivered, counted,
//! removed or marked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::BadQuestion;
use super::finding::{
    Explanation, Lifetime, LifetimeSource, NotStoredLately, Outcome, StoredAnswer, StoredMark,
    StoredUrl, Verdict,
};
use super::request_notes;
use super::words::Cause;
use crate::front::{BanObject, BanRequest, Front};
use crate::http::{Fields, Method, Scheme};
use crate::http1::{HeadLimits, parse_request};
use crate::object::{Kind, Object};
use crate::policy::builtin::CacheSettings;
use crate::policy::{Hit, Miss, Policy, Recv, Request, Synth};
use crate::request::rehearse;
use crate::rules::cache_control::{ResponseDirectives, Source};
use crate::rules::conditional;
use crate::rules::freshness::{self, LifetimeKind, Reason, Reuse};
use crate::rules::key::PrimaryKey;
use crate::rules::storability::ClientDirectives;
use crate::store::Variants;
use crate::time::Timestamp;

/// Longest value of a field, or ban, that is shown.
const VALUE_CHARACTERS_MAX: usize = 200;
/// Longest key that is shown.
const KEY_CHARACTERS_MAX: usize = 4096;

/// Restarts that are followed, as many as the machine allows.
const RESTARTS_MAX: u32 = 4;

/// What would happen to a request with this head now.
///
/// # Errors
/// [`BadQuestion`] where `head` is not one head. What a listener would refuse is explained as that.
pub fn explain(
    front: &Front,
    limits: &HeadLimits,
    head: &[u8],
) -> Result<Explanation, BadQuestion> {
    let scheme = scheme_of(head);
    let now = Timestamp::now();
    let parsed = match parse_request(head, limits, scheme) {
        Ok(None) => return Err(BadQuestion::Incomplete),
        Ok(Some(parsed)) if parsed.consumed < head.len() => return Err(BadQuestion::Content),
        Ok(Some(parsed)) => parsed,
        Err(refused) => {
            let mut verdict = Verdict::synth(refused.status(), Cause::Malformed);
            verdict.detail = Some(refused.to_string());
            return Ok(nothing_known(front, verdict));
        }
    };
    let mut dry_run = DryRun {
        front,
        policy: front.policy(),
        request: rehearse(parsed, scheme, now),
        now,
    };
    Ok(dry_run.run())
}

/// A question has no connection to tell the scheme, so its target does; without one it is plain text.
fn scheme_of(head: &[u8]) -> Scheme {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let https = b"https://";
    match target.get(..https.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(https) => Scheme::Https,
        _ => Scheme::Http,
    }
}

fn nothing_known(front: &Front, verdict: Verdict) -> Explanation {
    Explanation {
        method: String::new(),
        key: None,
        verdict,
        notes: Vec::new(),
        stored: None,
        answer: None,
        mark: None,
        ban: None,
        bans: front.bans.counters().bans,
        is_being_fetched: false,
        lately: None,
    }
}

struct DryRun<'a> {
    front: &'a Front,
    policy: Arc<dyn Policy>,
    request: Request,
    now: Timestamp,
}

/// What the store holds for the request.
struct Found {
    /// Parts of what it would get are stored.
    has_parts: bool,
    variants: Variants,
    selected: Option<Arc<Object>>,
    /// The ban that the selected object falls under.
    ban: Option<String>,
}

impl DryRun<'_> {
    fn run(&mut self) -> Explanation {
        let policy = Arc::clone(&self.policy);
        let mut recv = policy.recv(&mut self.request);
        while recv == Recv::Restart && self.request.restarts < RESTARTS_MAX {
            self.request.restarts += 1;
            recv = policy.recv(&mut self.request);
        }
        let key = policy.hash(&self.request);
        let found = self.find(&key);
        let notes = request_notes::of(
            &self.request,
            policy.cache_settings(),
            found.usable().map(|object| &object.head),
        );
        // Before the policy sees the object, which may change the request.
        let is_being_fetched = recv == Recv::Hash && {
            let fields = &self.request.head.fields;
            let store = &self.front.store;
            store.is_being_fetched(key.as_bytes(), &found.variants, fields)
        };
        let verdict = match recv {
            Recv::Hash => self.look_up(&found),
            Recv::Pass => Verdict::new(Outcome::Pass, self.why_passed()),
            Recv::Pipe => Verdict::new(Outcome::Pipe, Cause::Upgrade),
            Recv::Purge(_) => Verdict::new(Outcome::Purge, Cause::Order),
            Recv::Synth(synth) => self.synth(&synth),
            Recv::Restart => Verdict::synth(503, Cause::Policy),
        };
        self.describe(&key, &found, verdict, notes, is_being_fetched)
    }

    fn find(&self, key: &PrimaryKey) -> Found {
        let fields = &self.request.head.fields;
        let variants = self
            .front
            .store
            .variants(key.as_bytes())
            .unwrap_or_default();
        let selected = select(&variants, fields)
            .filter(|object| object.part().is_none() || self.request.head.method == Method::Get)
            .map(Arc::clone);
        let has_parts = variants.parts_for(fields).next().is_some();
        let ban = selected.as_ref().and_then(|object| {
            self.front.bans.find(
                object.ban_mark(),
                &BanObject(object),
                &BanRequest(&self.request.head),
                self.now,
            )
        });
        Found {
            variants,
            selected,
            has_parts,
            ban,
        }
    }

    /// State `hash`.
    fn look_up(&mut self, found: &Found) -> Verdict {
        let Some(object) = &found.selected else {
            return self.miss(
                None,
                match found.variants.is_empty() {
                    true => Cause::NothingStored,
                    false if found.has_parts => Cause::OtherPart,
                    false => Cause::OtherVariant,
                },
            );
        };
        if found.ban.is_some() {
            return self.miss(None, Cause::Banned);
        }
        match object.kind {
            Kind::HitForMiss if object.is_fresh(self.now) => {
                return match self.request.head.fields.contains("Range") {
                    true => Verdict::new(Outcome::Pass, Cause::MarkedPart),
                    false => self.miss(None, Cause::Marked),
                };
            }
            Kind::HitForMiss | Kind::Private => return self.miss(None, Cause::NothingStored),
            Kind::Response => {}
        }
        let policy = Arc::clone(&self.policy);
        match policy.hit(&mut self.request, object, self.now) {
            Hit::Deliver if object.is_fresh(self.now) => Verdict::new(Outcome::Hit, Cause::Fresh),
            Hit::Deliver => Verdict::new(Outcome::Hit, Cause::WelcomeStale),
            Hit::DeliverAndRefresh => Verdict::new(Outcome::StaleHit, Cause::StaleWhileRevalidate),
            Hit::Miss => {
                let cause = self.why_not_reused(object);
                self.miss(Some(object), cause)
            }
            Hit::Pass => Verdict::new(Outcome::Pass, Cause::Match),
            Hit::Synth(synth) => self.synth(&synth),
            Hit::Restart => Verdict::new(Outcome::Fetch, Cause::Policy),
        }
    }

    /// State `miss`.
    fn miss(&mut self, stale: Option<&Object>, cause: Cause) -> Verdict {
        let policy = Arc::clone(&self.policy);
        match policy.miss(&mut self.request, stale) {
            Miss::Fetch | Miss::FetchPart => {
                let confirms = stale.is_some_and(|stale| {
                    stale.body.is_complete() && !conditional::validators(&stale.head).is_empty()
                });
                Verdict {
                    confirms: confirms && !self.asks_for_a_match(),
                    ..Verdict::new(Outcome::Fetch, cause)
                }
            }
            Miss::Pass if self.request.head.fields.contains("X-If-Match") => {
                Verdict::new(Outcome::Pass, Cause::MatchExtension)
            }
            Miss::Pass if self.request.head.method == Method::Head => {
                Verdict::new(Outcome::Pass, Cause::Head)
            }
            Miss::Pass => Verdict::new(Outcome::Pass, Cause::Policy),
            Miss::Synth(synth) => self.synth(&synth),
            Miss::Restart => Verdict::new(Outcome::Fetch, Cause::Policy),
        }
    }

    fn synth(&self, synth: &Synth) -> Verdict {
        let head = &self.request.head;
        let cause = match (synth.status, &head.method) {
            (504, _) if self.request.directives.only_if_cached => Cause::OnlyIfCached,
            (_, Method::Purge | Method::Ban) => Cause::PurgeRefused,
            (_, Method::Connect) => Cause::Connect,
            (_, Method::Options | Method::Trace) if head.fields.contains("Max-Forwards") => {
                Cause::MaxForwards
            }
            _ => Cause::Policy,
        };
        Verdict::synth(synth.status, cause)
    }

    /// The reasons of the built-in policy, in its order.
    fn why_passed(&self) -> Cause {
        let request = &self.request;
        match request.head.method {
            Method::Get | Method::Head if request.has_body => Cause::Content,
            Method::Get | Method::Head if request.directives.no_store => Cause::RequestNoStore,
            Method::Get | Method::Head => Cause::Policy,
            _ => Cause::Method,
        }
    }

    fn why_not_reused(&self, object: &Object) -> Cause {
        let settings = self.policy.cache_settings();
        let honours = settings.is_none_or(|settings| {
            settings.store_rules.client_directives == ClientDirectives::Honour
        });
        let reuse = freshness::reuse(
            &object.stored_times(),
            &object.directives,
            honours.then_some(&self.request.directives),
            self.now,
            object.times().grace,
        );
        match reuse {
            Reuse::MustRevalidate(Reason::Stale) => Cause::Stale,
            Reuse::MustRevalidate(Reason::StaleForbidden) => Cause::StaleForbidden,
            Reuse::MustRevalidate(Reason::NoCache) => Cause::NoCache,
            Reuse::MustRevalidate(Reason::Request) => Cause::RequestDirectives,
            // The policy is stricter than the rules.
            Reuse::Fresh | Reuse::StaleByRequest | Reuse::StaleWhileRevalidate => Cause::Policy,
        }
    }

    fn asks_for_a_match(&self) -> bool {
        ["If-Match", "If-Unmodified-Since"]
            .iter()
            .any(|name| self.request.head.fields.contains(name))
    }

    fn describe(
        &self,
        key: &PrimaryKey,
        found: &Found,
        verdict: Verdict,
        notes: Vec<super::Note>,
        is_being_fetched: bool,
    ) -> Explanation {
        let of_kind = |kind: Kind| {
            let selected = found.selected.as_deref();
            selected.filter(|object| object.kind == kind)
        };
        let lately = self.front.recent.of(key.as_bytes());
        let waits = verdict.outcome == Outcome::Fetch && verdict.cause != Cause::Marked;
        Explanation {
            method: self.request.head.method.to_string(),
            key: Some(bounded(&format!("{key:?}"), KEY_CHARACTERS_MAX)),
            notes,
            stored: stored_url(&found.variants, self.now),
            answer: of_kind(Kind::Response).map(|object| self.stored_answer(object)),
            mark: of_kind(Kind::HitForMiss)
                .filter(|object| object.is_fresh(self.now))
                .map(|object| self.stored_mark(object)),
            ban: found.ban.as_deref().map(|text| shown(text.as_bytes())),
            is_being_fetched: is_being_fetched && waits,
            lately: lately.map(|decision| NotStoredLately {
                because: decision.because,
                status: decision.status,
                ago: self.now.since(decision.at),
            }),
            ..nothing_known(self.front, verdict)
        }
    }

    fn stored_answer(&self, object: &Object) -> StoredAnswer {
        let settings = self.policy.cache_settings();
        let times = object.times();
        let field = |name: &str| object.head.fields.get(name).map(shown);
        let fields = &self.request.head.fields;
        let varies_on = object
            .variant()
            .into_iter()
            .flat_map(|variant| variant.spec().names());
        let own_window = object.directives.stale_if_error();
        StoredAnswer {
            status: object.head.status,
            bytes: object.body.complete_bytes(),
            age: object.age(self.now),
            lifetime: lifetime(object, settings),
            ttl_seconds: object.stored_times().ttl_seconds(self.now),
            grace: times.grace,
            stale_if_error: match object.directives.forbids_stale() {
                true => Some(Duration::ZERO),
                false => own_window.or(settings.map(|settings| settings.stale_if_error)),
            },
            keep: times.keep,
            etag: field("ETag"),
            last_modified: field("Last-Modified"),
            varies_on: varies_on
                .map(|name| {
                    let value = fields.get_joined(name);
                    (name.to_owned(), value.map(|value| shown(&value)))
                })
                .collect(),
            hits: object.hits(),
            xid: object.xid,
        }
    }

    fn stored_mark(&self, object: &Object) -> StoredMark {
        StoredMark {
            because: object.because,
            status: object.head.status,
            remains: object.ttl().saturating_sub(object.age(self.now)),
        }
    }
}

impl Found {
    /// What conditions and ranges of the request would be held against.
    fn usable(&self) -> Option<&Object> {
        let selected = self.selected.as_deref();
        selected.filter(|object| object.kind == Kind::Response && self.ban.is_none())
    }
}

/// As the front door's own look-up: for If-Match also the variant of requests without it.
fn select<'a>(variants: &'a Variants, fields: &Fields) -> Option<&'a Arc<Object>> {
    variants.select(fields).or_else(|| {
        fields.contains("If-Match").then(|| {
            let mut without = fields.clone();
            without.remove("If-Match");
            variants.select(&without)
        })?
    })
}

/// What is there; a mark whose time is over counts for nothing.
fn stored_url(variants: &Variants, now: Timestamp) -> Option<StoredUrl> {
    let is_over = |object: &Object| object.kind != Kind::Response && !object.is_fresh(now);
    let (mut answers, mut marks, mut varies_on) = (0, 0, BTreeSet::new());
    for object in variants.iter().filter(|object| !is_over(object)) {
        match object.kind {
            Kind::Response => answers += 1,
            Kind::HitForMiss | Kind::Private => marks += 1,
        }
        let names = object
            .variant()
            .into_iter()
            .flat_map(|variant| variant.spec().names());
        varies_on.extend(names.map(str::to_owned));
    }
    (answers + marks > 0).then(|| StoredUrl {
        answers,
        marks,
        varies_on: varies_on.into_iter().collect(),
    })
}

/// The lifetime that counts, and where it comes from: read again from what is stored, since an object keeps only the
/// duration.
fn lifetime(object: &Object, settings: Option<&CacheSettings>) -> Lifetime {
    let duration = object.ttl();
    let directives = &object.directives;
    let field = || field_of(directives, settings);
    let heuristics = settings.map(|settings| settings.heuristics);
    let given = heuristics.map(|heuristics| {
        freshness::lifetime(&object.head, directives, object.times().born, &heuristics)
    });
    let source = if directives.s_maxage().is_some() {
        LifetimeSource::SMaxAge(field())
    } else if directives.max_age().is_some() {
        LifetimeSource::MaxAge(field())
    } else if freshness::is_explicit(&object.head, directives) {
        LifetimeSource::Expires
    } else {
        match (given.map(|given| given.kind), heuristics) {
            (Some(LifetimeKind::Heuristic), Some(heuristics)) => LifetimeSource::Heuristic {
                percent: (heuristics.fraction.clamp(0.0, 1.0) * 100.0).round() as u32,
                max: heuristics.max,
            },
            _ => LifetimeSource::None,
        }
    };
    Lifetime {
        duration,
        source,
        is_cut_short: given.is_some_and(|given| duration < given.duration),
    }
}

/// The field that the directives come from (RFC 9213 §2.2).
fn field_of(directives: &ResponseDirectives, settings: Option<&CacheSettings>) -> String {
    match (directives.source(), settings) {
        (Source::Targeted(index), Some(settings)) => {
            let name = settings.targeted_fields.get(index);
            name.map_or("a targeted field", String::as_str).to_owned()
        }
        (Source::Targeted(_), None) => "a targeted field".to_owned(),
        (Source::CacheControl | Source::Absent, _) => "Cache-Control".to_owned(),
    }
}

/// Text from outside, fit for a terminal and bounded.
pub(super) fn shown(bytes: &[u8]) -> String {
    bounded(&String::from_utf8_lossy(bytes), VALUE_CHARACTERS_MAX)
}

fn bounded(text: &str, characters_max: usize) -> String {
    let mut shown: String = text
        .chars()
        .map(|character| match character.is_control() {
            true => '\u{fffd}',
            false => character,
        })
        .take(characters_max)
        .collect();
    if text.chars().nth(characters_max).is_some() {
        shown.push('…');
    }
    shown
}
