//! The oracle: what the RFCs let a shared cache store and reuse.
//!
//! Written from the text of RFC 9111, 9110, 9213, 5861 and 6585, apart from `proxy::rules` and without it. Where the
//! text leaves a choice, the oracle takes the one that permits most, so that only what is forbidden is a fault; what
//! the cache refuses beyond that is named in `deviation.rs`. Two readings are its own, for what no text settles:
//! words behind a quote that never ends forbid but do not permit; and times of our own are milliseconds, those of a
//! message whole seconds.

use super::case::{Asked, Case, Line, has, values};
use super::grammar::{self, Directive, Word};

/// Why not, with the section.
pub(crate) type Because = &'static str;

/// As what a stored answer may be used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Use {
    Fresh,
    /// Stale, and the client has said that it is welcome.
    Welcome,
    /// Stale, while it is revalidated.
    WhileRevalidated,
}

/// What a no-cache or private speaks of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scope {
    Nothing,
    Fields(Vec<String>),
    Everything,
}

/// The directives that count for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) list: Vec<Directive>,
    /// RFC 9213 §2.2: a targeted field replaces Expires too.
    pub(crate) by_target: bool,
}

impl Said {
    /// RFC 9213 §2.2: the first field of the target list that parses and is not empty; else Cache-Control.
    pub(crate) fn of(case: &Case) -> Said {
        for name in &case.settings.targeted {
            let lines: Vec<&str> = values(&case.answer, name).collect();
            if let Some(list) = grammar::dictionary(&lines.join(", ")) {
                return Said {
                    list,
                    by_target: true,
                };
            }
        }
        Said {
            list: cache_control(&case.answer),
            by_target: false,
        }
    }

    pub(crate) fn mentions<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Directive> + 'a {
        self.list.iter().filter(move |known| known.name == name)
    }

    /// A directive that forbids counts however it is written.
    pub(crate) fn forbids(&self, name: &str) -> bool {
        self.mentions(name).next().is_some()
    }

    /// A directive that permits has to follow the grammar.
    pub(crate) fn permits(&self, name: &str) -> bool {
        self.mentions(name)
            .any(|known| known.sure && known.word != Word::Garbled)
    }

    /// RFC 9111 §4.2.1: of several the first, or none; zero where it is malformed.
    pub(crate) fn seconds(&self, name: &str) -> Option<i64> {
        self.mentions(name)
            .next()
            .map(|first| seconds(first).unwrap_or(0))
    }

    /// RFC 9111 §5.2.2.4 and §5.2.2.7
    pub(crate) fn scope(&self, name: &str) -> Scope {
        let mut fields = Vec::new();
        for mention in self.mentions(name) {
            let (Word::Given(text) | Word::Text(text)) = &mention.word else {
                return Scope::Everything;
            };
            let names = text
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty());
            let before = fields.len();
            fields.extend(names.map(str::to_ascii_lowercase));
            let named = &fields[before..];
            if !mention.sure
                || named.is_empty()
                || !named.iter().all(|name| grammar::is_token(name))
            {
                return Scope::Everything;
            }
        }
        match fields.is_empty() {
            true => Scope::Nothing,
            false => Scope::Fields(fields),
        }
    }

    /// RFC 9111 §5.2.2.2, §5.2.2.8, §5.2.2.10, §5.2.2.4: never stale.
    pub(crate) fn forbids_stale(&self) -> bool {
        ["must-revalidate", "proxy-revalidate", "s-maxage"]
            .iter()
            .any(|name| self.forbids(name))
    }
}

fn cache_control(lines: &[Line]) -> Vec<Directive> {
    values(lines, "cache-control")
        .flat_map(grammar::directives)
        .collect()
}

fn seconds(directive: &Directive) -> Option<i64> {
    match &directive.word {
        Word::Given(text) if directive.sure => grammar::delta_seconds(text),
        _ => None,
    }
}

/// RFC 9110 §15.1: heuristically cacheable.
pub(crate) fn is_cacheable_by_default(status: u16) -> bool {
    [200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501].contains(&status)
}

/// The statuses that RFC 9110 §15 and RFC 7725 define and that put no demand on a cache that it could miss.
fn is_understood(status: u16) -> bool {
    let success = 200..=206;
    let redirection = [300, 301, 302, 303, 305, 307, 308];
    let client = 400..=417;
    let client_more = [421, 422, 426, 451];
    let server = 500..=505;
    success.contains(&status)
        || redirection.contains(&status)
        || client.contains(&status)
        || client_more.contains(&status)
        || server.contains(&status)
}

/// RFC 9111 §3: whether a shared cache may keep the answer.
pub(crate) fn may_store(case: &Case) -> Result<(), Because> {
    let said = Said::of(case);
    if !["GET", "HEAD"].contains(&case.first.method) {
        return Err("RFC 9111 §3: the method is not known to be cacheable");
    }
    if case.status < 200 {
        return Err("RFC 9111 §3: the status is not final");
    }
    if case.status == 304 {
        return Err("RFC 9111 §3, §4.3.4: a 304 is about an answer that is stored");
    }
    if [428, 429, 431, 511].contains(&case.status) {
        return Err("RFC 6585 §3 to §6: this status must not be stored by a cache");
    }
    if said.forbids("must-understand") {
        if !is_understood(case.status) {
            return Err("RFC 9111 §5.2.2.3: the status is not understood");
        }
    } else if said.forbids("no-store") {
        return Err("RFC 9111 §5.2.2.5: no-store");
    }
    if case.settings.clients_count && asks(&case.first, "no-store") {
        return Err("RFC 9111 §5.2.1.5: the request's no-store");
    }
    if said.scope("private") == Scope::Everything {
        return Err("RFC 9111 §5.2.2.7: private");
    }
    let shared = said.permits("public")
        || said.permits("must-revalidate")
        || said
            .mentions("s-maxage")
            .any(|known| seconds(known).is_some());
    if has(&case.first.lines, "authorization") && !shared {
        return Err("RFC 9111 §3.5: an answer to Authorization");
    }
    let by_word = said.permits("public") || said.forbids("max-age") || said.forbids("s-maxage");
    let by_expires = !said.by_target && has(&case.answer, "expires");
    if !by_word && !by_expires && !is_cacheable_by_default(case.status) {
        return Err("RFC 9111 §3: nothing permits to store it");
    }
    Ok(())
}

/// RFC 9111 §4.2.3, in milliseconds.
pub(crate) fn current_age(case: &Case) -> i64 {
    let apparent_age = (case.received / 1000 - date_value(case)).max(0) * 1000;
    let response_delay = (case.received - case.sent).max(0);
    let corrected_age_value = age_value(case) * 1000 + response_delay;
    let corrected_initial_age = apparent_age.max(corrected_age_value);
    let resident_time = case.now - case.received;
    (corrected_initial_age + resident_time).max(0)
}

/// RFC 9111 §5.1: the first member of the list, over all lines; what is no number is ignored.
fn age_value(case: &Case) -> i64 {
    let lines: Vec<&str> = values(&case.answer, "age").collect();
    let joined = lines.join(",");
    let first = joined
        .split(',')
        .map(str::trim)
        .find(|member| !member.is_empty());
    first.and_then(grammar::delta_seconds).unwrap_or(0)
}

/// RFC 9110 §6.6.1: seconds; the time of receipt where Date is missing or malformed.
fn date_value(case: &Case) -> i64 {
    let receipt = case.received / 1000;
    let date = values(&case.answer, "date").next();
    date.and_then(|text| grammar::http_date(text, receipt))
        .unwrap_or(receipt)
}

/// RFC 9111 §4.2.1, in milliseconds.
pub(crate) fn freshness_lifetime(case: &Case) -> i64 {
    let said = Said::of(case);
    let receipt = case.received / 1000;
    let expires = || {
        let first = values(&case.answer, "expires")
            .next()
            .filter(|_| !said.by_target)?;
        // §5.3: what is no date is past.
        let expires = grammar::http_date(first, receipt);
        Some(expires.map_or(0, |expires| (expires - date_value(case)).max(0)))
    };
    let explicit = said
        .seconds("s-maxage")
        .or_else(|| said.seconds("max-age"))
        .or_else(expires);
    explicit.unwrap_or_else(|| heuristic_lifetime(case, &said)) * 1000
}

/// RFC 9111 §4.2.2: only where nothing explicit is said, and for statuses that permit it or with public. The share
/// and the limit are the operator's.
fn heuristic_lifetime(case: &Case, said: &Said) -> i64 {
    if !is_cacheable_by_default(case.status) && !said.permits("public") {
        return 0;
    }
    let receipt = case.received / 1000;
    let changes: Option<Vec<i64>> = values(&case.answer, "last-modified")
        .map(|text| grammar::http_date(text, receipt))
        .collect();
    let Some(last) = changes.and_then(|changes| changes.into_iter().max()) else {
        return 0;
    };
    let unchanged = (date_value(case) - last).max(0);
    let share = (unchanged as f64 * case.settings.heuristic_fraction).floor() as i64;
    share.min(case.settings.heuristic_seconds_max)
}

/// RFC 9111 §4: whether the later request may be answered from what the first one brought, without asking anybody.
pub(crate) fn may_reuse(case: &Case) -> Result<Use, Because> {
    let said = selected(case)?;
    let client = Client::of(case);
    let (age, lifetime) = (current_age(case), freshness_lifetime(case));
    if client.no_cache {
        return Err("RFC 9111 §5.2.1.4, §5.4: the request's no-cache");
    }
    if client.max_age.is_some_and(|max| age > max * 1000) {
        return Err("RFC 9111 §5.2.1.1: older than the request's max-age");
    }
    if client
        .min_fresh
        .is_some_and(|left| lifetime - age < left * 1000)
    {
        return Err("RFC 9111 §5.2.1.3: less fresh than the request's min-fresh");
    }
    if lifetime > age {
        return Ok(Use::Fresh);
    }
    if said.forbids_stale() {
        return Err("RFC 9111 §4.2.4: a directive forbids stale use");
    }
    let staleness = age - lifetime;
    if client.max_stale.is_some_and(|max| staleness <= max * 1000) {
        return Ok(Use::Welcome);
    }
    if client.max_age.is_some() && client.max_stale.is_none() {
        return Err("RFC 9111 §5.2.1.1: max-age without max-stale wants nothing stale");
    }
    let window = said.seconds("stale-while-revalidate").unwrap_or(0);
    if staleness <= window * 1000 && window > 0 {
        return Ok(Use::WhileRevalidated);
    }
    Err("RFC 9111 §4.2.4: stale")
}

/// RFC 5861 §4 and RFC 9111 §4.2.4: whether it may stand in when nobody can be asked.
pub(crate) fn may_stand_in(case: &Case) -> Result<(), Because> {
    let said = selected(case)?;
    let client = Client::of(case);
    if client.no_cache {
        return Err("RFC 9111 §5.2.1.4: the request's no-cache");
    }
    let (age, lifetime) = (current_age(case), freshness_lifetime(case));
    if lifetime > age {
        return Ok(());
    }
    if said.forbids_stale() {
        return Err("RFC 9111 §4.2.4: a directive forbids stale use");
    }
    let windows = [said.seconds("stale-if-error"), client.stale_if_error];
    match windows.into_iter().flatten().max() {
        Some(window) if age - lifetime > window * 1000 => Err("RFC 5861 §4: past stale-if-error"),
        _ => Ok(()),
    }
}

/// The conditions of RFC 9111 §4 that have nothing to do with time.
fn selected(case: &Case) -> Result<Said, Because> {
    may_store(case)?;
    let said = Said::of(case);
    let uri = |asked: &Asked| {
        let host = asked.host.to_ascii_lowercase();
        (
            host.strip_suffix(":80").unwrap_or(&host).to_owned(),
            asked.target,
        )
    };
    if uri(&case.first) != uri(&case.later) {
        return Err("RFC 9111 §4: another URI");
    }
    if !["GET", "HEAD"].contains(&case.later.method) {
        return Err("RFC 9111 §4: the method does not allow it");
    }
    for name in vary_names(case) {
        if name == "*" {
            return Err("RFC 9111 §4.1: Vary has a star");
        }
        // Conditions and ranges are answered by the cache and do not reach the origin, which is asked for the whole.
        let own =
            ["if-none-match", "if-modified-since", "if-range", "range"].contains(&name.as_str());
        if !own && selecting(&case.first, &name) != selecting(&case.later, &name) {
            return Err("RFC 9111 §4.1: a selecting field differs");
        }
    }
    if said.scope("no-cache") == Scope::Everything {
        return Err("RFC 9111 §5.2.2.4: no-cache");
    }
    Ok(said)
}

/// The members of Vary, in lower case.
pub(crate) fn vary_names(case: &Case) -> Vec<String> {
    values(&case.answer, "vary")
        .flat_map(|line| line.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect()
}

/// RFC 9111 §4.1: a field's value as far as two may differ and still match: lines combined, white space between
/// members out; for the Accept family (RFC 9110 §12.5) also order, repetition, case, and how weights are written.
fn selecting(asked: &Asked, name: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = values(&asked.lines, name).map(str::trim).collect();
    if lines.is_empty() {
        return None;
    }
    let mut members: Vec<String> = lines.into_iter().flat_map(divided).collect();
    if name == "accept" || name.starts_with("accept-") {
        for member in &mut members {
            let mut parts: Vec<String> = member
                .split(';')
                .map(|part| part.trim().to_ascii_lowercase())
                .filter(|part| !part.is_empty())
                .collect();
            for part in &mut parts {
                if let Some(weight) = part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) {
                    *part = format!("q={weight:.3}");
                }
            }
            parts.retain(|part| part != "q=1.000");
            *member = parts.join(";");
        }
        members.sort();
        members.dedup();
    }
    Some(members)
}

/// The members of a line; commas in quotes do not divide it. Where a quote never ends, all commas do.
fn divided(text: &str) -> Vec<String> {
    let mut members = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for letter in text.chars() {
        match letter {
            ',' if !quoted => {
                members.push(String::new());
                continue;
            }
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && letter == '\\' && !escaped;
        members
            .last_mut()
            .expect("one is there from the start")
            .push(letter);
    }
    if quoted {
        members = text.split(',').map(str::to_owned).collect();
    }
    members
        .iter()
        .map(|member| member.trim().to_owned())
        .filter(|member| !member.is_empty())
        .collect()
}

fn asks(asked: &Asked, name: &str) -> bool {
    cache_control(&asked.lines)
        .iter()
        .any(|known| known.name == name)
}

/// What the later request says (RFC 9111 §5.2.1), where the operator has it count.
#[derive(Debug, Default)]
struct Client {
    no_cache: bool,
    max_age: Option<i64>,
    min_fresh: Option<i64>,
    /// `i64::MAX / 1000`: however stale.
    max_stale: Option<i64>,
    stale_if_error: Option<i64>,
}

impl Client {
    fn of(case: &Case) -> Client {
        if !case.settings.clients_count {
            return Client::default();
        }
        let list = cache_control(&case.later.lines);
        let given = |name: &'static str| {
            list.iter()
                .filter(move |known| known.name == name)
                .filter_map(seconds)
        };
        let bare = list
            .iter()
            .any(|known| known.name == "max-stale" && known.word == Word::Bare);
        let pragma = !has(&case.later.lines, "cache-control")
            && values(&case.later.lines, "pragma")
                .flat_map(|line| line.split(','))
                .any(|member| member.trim().eq_ignore_ascii_case("no-cache"));
        Client {
            no_cache: pragma || asks(&case.later, "no-cache"),
            max_age: given("max-age").min(),
            min_fresh: given("min-fresh").max(),
            max_stale: bare.then_some(i64::MAX / 1000).or(given("max-stale").max()),
            stale_if_error: given("stale-if-error").max(),
        }
    }
}
