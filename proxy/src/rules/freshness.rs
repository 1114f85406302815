//! Age, freshness lifetime, and whether a stored answer may be used now (RFC 9111 §4.2, RFC 5861).
//!
//! Times of our own are kept in milliseconds; times that come from a message are whole seconds, and are
//! compared as such.

use std::time::Duration;

use super::cache_control::{MaxStale, RequestDirectives, ResponseDirectives};
use super::date::parse_http_date;
use super::status;
use super::syntax::{DELTA_SECONDS_MAX, Member, delta_seconds, members, only};
use crate::http::ResponseHead;
use crate::time::Timestamp;

/// How freshness is guessed where the origin gives none (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heuristics {
    /// Share of the time since Last-Modified, from 0 (never guess) to 1. Usual: 0.1.
    pub fraction: f64,
    /// Longest lifetime that is guessed.
    pub max: Duration,
}

/// How long an answer is fresh, counted from the moment when the origin made it (RFC 9111 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub duration: Duration,
    pub kind: LifetimeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeKind {
    /// From s-maxage, max-age or Expires; zero where those are malformed.
    Explicit,
    /// Guessed from Last-Modified.
    Heuristic,
    /// Neither given nor to be guessed; the duration is zero.
    None,
}

/// What is remembered of a stored answer's times. All later questions about age are answered from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredTimes {
    /// When the answer, or the 304 that renewed it, arrived.
    pub response_time: Timestamp,
    /// [`corrected_initial_age`] at that moment.
    pub initial_age: Duration,
    pub lifetime: Lifetime,
}

/// Whether, and how, a stored answer may be used for a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Fresh,
    /// Stale, and the client's max-stale welcomes it (RFC 9111 §5.2.1.2).
    StaleByRequest,
    /// Stale, to be sent at once while it is refreshed in the background (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Not before the origin has been asked.
    MustRevalidate(Reason),
}

/// Why the origin has to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The lifetime is over, and every grace after it.
    Stale,
    /// The lifetime is over, and the response forbids stale use (RFC 9111 §4.2.4).
    StaleForbidden,
    /// The response's no-cache (RFC 9111 §5.2.2.4).
    NoCache,
    /// The request's no-cache, max-age or min-fresh (RFC 9111 §5.2.1).
    Request,
}

impl StoredTimes {
    /// The times of an answer as it arrives.
    pub fn of(
        head: &ResponseHead,
        directives: &ResponseDirectives,
        request_time: Timestamp,
        response_time: Timestamp,
        heuristics: &Heuristics,
    ) -> StoredTimes {
        StoredTimes {
            response_time,
            initial_age: corrected_initial_age(head, request_time, response_time),
            lifetime: lifetime(head, directives, response_time, heuristics),
        }
    }

    /// How old the answer is now.
    pub fn current_age(&self, now: Timestamp) -> Duration {
        current_age(self.initial_age, self.response_time, now)
    }

    /// The value of Age when the answer is sent now (RFC 9111 §5.1); at most 2^31 (§1.2.2).
    pub fn age_seconds(&self, now: Timestamp) -> u64 {
        self.current_age(now).as_secs().min(DELTA_SECONDS_MAX)
    }

    /// RFC 9111 §4.2: fresh while the lifetime exceeds the age.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.lifetime.duration > self.current_age(now)
    }

    /// How long the answer has been stale; zero while it is fresh.
    pub fn staleness(&self, now: Timestamp) -> Duration {
        self.current_age(now).saturating_sub(self.lifetime.duration)
    }

    /// Seconds of freshness left, negative once stale: RFC 9211 §2.4 `ttl`.
    pub fn ttl_seconds(&self, now: Timestamp) -> i64 {
        let lifetime = i64::try_from(self.lifetime.duration.as_secs()).unwrap_or(i64::MAX);
        let age = i64::try_from(self.current_age(now).as_secs()).unwrap_or(i64::MAX);
        lifetime.saturating_sub(age)
    }
}

/// RFC 9111 §4.2.3: how old an answer was when it arrived.
pub fn corrected_initial_age(
    head: &ResponseHead,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Duration {
    let apparent_age = match date(head) {
        Some(date) => whole_seconds(response_time).since(date),
        None => Duration::ZERO,
    };
    let response_delay = response_time.since(request_time);
    let corrected_age = age_value(head).saturating_add(response_delay);
    apparent_age.max(corrected_age)
}

/// RFC 9111 §4.2.3: how old a stored answer is now.
pub fn current_age(initial_age: Duration, response_time: Timestamp, now: Timestamp) -> Duration {
    initial_age.saturating_add(now.since(response_time))
}

/// RFC 9111 §4.2.1: how long an answer is fresh. s-maxage comes before max-age, that before Expires;
/// where none is given, [`Heuristics`] may guess for statuses that allow it and for `public`.
pub fn lifetime(
    head: &ResponseHead,
    directives: &ResponseDirectives,
    response_time: Timestamp,
    heuristics: &Heuristics,
) -> Lifetime {
    let explicit = directives
        .s_maxage()
        .or(directives.max_age())
        .or_else(|| expires_lifetime(head, directives, response_time));
    if let Some(duration) = explicit {
        return Lifetime {
            duration,
            kind: LifetimeKind::Explicit,
        };
    }
    heuristic_lifetime(head, directives, response_time, heuristics).unwrap_or(Lifetime {
        duration: Duration::ZERO,
        kind: LifetimeKind::None,
    })
}

/// Whether the origin says how long its answer is fresh, well or badly (RFC 9111 §3).
pub fn is_explicit(head: &ResponseHead, directives: &ResponseDirectives) -> bool {
    directives.s_maxage().is_some()
        || directives.max_age().is_some()
        || (directives.heeds_expires() && head.fields.contains("expires"))
}

/// RFC 9111 §4: whether a stored answer may be used now, its key and variant being right.
///
/// `request` is `None` where a setting has clients' directives ignored. `default_grace` stands in for
/// stale-while-revalidate where the response has none; zero is the RFC's own answer.
pub fn reuse(
    times: &StoredTimes,
    directives: &ResponseDirectives,
    request: Option<&RequestDirectives>,
    now: Timestamp,
    default_grace: Duration,
) -> Reuse {
    let age = times.current_age(now);
    let lifetime = times.lifetime.duration;
    if directives.no_cache().is_all() {
        return Reuse::MustRevalidate(Reason::NoCache);
    }
    if let Some(request) = request {
        let too_old = request.max_age.is_some_and(|max| age > max);
        let too_stale = request
            .min_fresh
            .is_some_and(|left| age.saturating_add(left) > lifetime);
        if request.no_cache || too_old || too_stale {
            return Reuse::MustRevalidate(Reason::Request);
        }
    }
    if lifetime > age {
        return Reuse::Fresh;
    }
    if directives.forbids_stale() {
        return Reuse::MustRevalidate(Reason::StaleForbidden);
    }
    let staleness = age - lifetime;
    match request {
        Some(RequestDirectives {
            max_stale: Some(MaxStale::Any),
            ..
        }) => return Reuse::StaleByRequest,
        Some(RequestDirectives {
            max_stale: Some(MaxStale::Within(max)),
            ..
        }) if staleness <= *max => return Reuse::StaleByRequest,
        // §5.2.1.1: max-age without max-stale asks for nothing stale.
        Some(RequestDirectives {
            max_age: Some(_),
            max_stale: None,
            ..
        }) => return Reuse::MustRevalidate(Reason::Request),
        _ => {}
    }
    if staleness < directives.stale_while_revalidate().unwrap_or(default_grace) {
        Reuse::StaleWhileRevalidate
    } else {
        Reuse::MustRevalidate(Reason::Stale)
    }
}

/// RFC 5861 §4: whether a stored answer may be sent because the origin cannot be reached or answers
/// 500, 502, 503 or 504. Where it may not, the answer is the origin's error or 504 (RFC 9111 §5.2.2.2).
///
/// `default_window` stands in for stale-if-error where the response has none. The client's own
/// stale-if-error may widen the window; its no-cache closes it.
pub fn may_serve_on_error(
    times: &StoredTimes,
    directives: &ResponseDirectives,
    request: Option<&RequestDirectives>,
    now: Timestamp,
    default_window: Duration,
) -> bool {
    if directives.no_cache().is_all() || request.is_some_and(|request| request.no_cache) {
        return false;
    }
    if times.is_fresh(now) {
        return true;
    }
    let window = directives.stale_if_error().unwrap_or(default_window);
    let welcome = request.and_then(|request| request.stale_if_error);
    let window = welcome.map_or(window, |welcome| window.max(welcome));
    !directives.forbids_stale() && times.staleness(now) < window
}

/// RFC 9111 §5.1: the first member counts; what is no number of seconds is ignored.
fn age_value(head: &ResponseHead) -> Duration {
    match head.fields.get_all("age").flat_map(members).next() {
        Some(Member::Sound(text)) => delta_seconds(text).unwrap_or_default(),
        Some(Member::Broken(_)) | None => Duration::ZERO,
    }
}

/// RFC 9110 §6.6.1; `None` where Date is absent or malformed, and the time of receipt stands in.
fn date(head: &ResponseHead) -> Option<Timestamp> {
    head.fields.get("date").and_then(parse_http_date)
}

/// RFC 9111 §5.3: Expires minus Date. Zero when Expires is malformed or repeated (§4.2.1).
fn expires_lifetime(
    head: &ResponseHead,
    directives: &ResponseDirectives,
    response_time: Timestamp,
) -> Option<Duration> {
    if !directives.heeds_expires() || !head.fields.contains("expires") {
        return None;
    }
    let expires = only(&head.fields, "expires").and_then(parse_http_date);
    let date = date(head).unwrap_or(whole_seconds(response_time));
    Some(expires.map_or(Duration::ZERO, |expires| expires.since(date)))
}

/// RFC 9111 §4.2.2
fn heuristic_lifetime(
    head: &ResponseHead,
    directives: &ResponseDirectives,
    response_time: Timestamp,
    heuristics: &Heuristics,
) -> Option<Lifetime> {
    if !status::is_heuristically_cacheable(head.status) && !directives.public() {
        return None;
    }
    let last_modified = only(&head.fields, "last-modified").and_then(parse_http_date)?;
    let date = date(head).unwrap_or(whole_seconds(response_time));
    let unchanged_seconds = date.since(last_modified).as_secs() as f64;
    // A cast from a float saturates and makes zero of NaN, so no setting can make this panic.
    let seconds = (unchanged_seconds * heuristics.fraction.clamp(0.0, 1.0)) as u64;
    let duration = Duration::from_secs(seconds).min(heuristics.max);
    (!duration.is_zero()).then_some(Lifetime {
        duration,
        kind: LifetimeKind::Heuristic,
    })
}

fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_secs(moment.as_secs())
}

#[cfg(test)]
mod tests;
