//! What the RFCs permit and the cache refuses all the same, each with the sign by which a case shows it.

use super::case::{Case, has, values};
use super::grammar::{self, Directive, Word};
use super::rfc::{self, Said, Scope};

/// A refusal beyond the RFCs, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deviation {
    /// An answer to HEAD has no body to keep; what it does to a stored answer is no case here.
    Head,
    /// A 206 that does not tell its place in the whole, or that no Range asked for.
    Partial,
    /// 400 and 413 speak of one message; without explicit freshness they are not kept for their target.
    AboutTheMessage,
    /// Vary or Content-Encoding is withheld by name, and without them the rest would be misread.
    NeededFieldWithheld,
    /// Vary that no request matches, or that names more fields than anybody honest needs.
    VaryMatchesNothing,
    /// Set-Cookie without a word for shared caches, where the operator wants that.
    SetCookie,
    /// Neither a lifetime nor a validator: nothing could ever be done with it.
    Useless,
    /// If-Match and its kin, which the origin decides.
    AsksForAMatch,
    /// The later request's no-store, which is not looked up.
    ClientNoStore,
    /// Two values of one directive, two Expires or two Last-Modified: stale, where the first might have been taken;
    /// and of two windows of a request the smaller.
    Contradiction,
    /// A backslash in an argument: it is not resolved, so the argument is malformed.
    Escaped,
    /// A request's directive whose argument is malformed, or has a backslash, asks for more freshness, not for nothing.
    MalformedWish,
    /// Values of a selecting field that are the same only by a rule of its syntax that is not applied.
    VarySpelling,
    /// A targeted directive of another type than it takes.
    TargetedType,
    /// The last instant of a window.
    LastInstant,
    /// No failure is bridged where nobody has said for how long.
    NoWindow,
    /// A moment before 1970, which no clock here can tell.
    Before1970,
    /// Last-Modified that Connection lists is not kept, and no lifetime guessed from it.
    HiddenByConnection,
    /// Stale as it comes, without a validator or a window: dropped at once, though a client might welcome it.
    DeadOnArrival,
}

use Deviation::*;

/// Why an answer that could be stored is not.
pub(crate) fn of_storing(case: &Case) -> Vec<Deviation> {
    let said = Said::of(case);
    let withheld = |field: &str| {
        ["private", "no-cache"]
            .iter()
            .any(|name| match said.scope(name) {
                Scope::Fields(fields) => fields.iter().any(|known| known == field),
                Scope::Everything | Scope::Nothing => false,
            })
    };
    let names = rfc::vary_names(case);
    let no_match = names.len() > 32
        || names
            .iter()
            .any(|name| name == "*" || !grammar::is_token(name));
    let cookie = has(&case.answer, "set-cookie")
        && !case.settings.cookies_are_stored
        && !said.permits("public")
        && said
            .mentions("s-maxage")
            .all(|known| known.word == Word::Garbled || !is_seconds(known));
    let explicit = said.forbids("max-age")
        || said.forbids("s-maxage")
        || (!said.by_target && has(&case.answer, "expires"));
    let initial_age = age_on_arrival(case) / 1000;
    listed(&[
        (Head, case.first.method == "HEAD"),
        (Partial, case.status == 206),
        (
            AboutTheMessage,
            matches!(case.status, 400 | 413) && !explicit,
        ),
        (
            NeededFieldWithheld,
            withheld("vary") || withheld("content-encoding"),
        ),
        (VaryMatchesNothing, no_match),
        (SetCookie, cookie),
        (Useless, !explicit && !has_validator(case)),
        (Escaped, said.list.iter().any(|known| known.escaped)),
        (TargetedType, has_wrong_type(&said)),
        (Before1970, initial_age >= case.received / 1000),
    ])
}

/// Why a stored answer that could be reused is not.
pub(crate) fn of_reusing(case: &Case) -> Vec<Deviation> {
    let said = Said::of(case);
    let asks = ["if-match", "if-unmodified-since", "x-if-match"]
        .iter()
        .any(|name| has(&case.later.lines, name));
    let wishes: Vec<Directive> = values(&case.later.lines, "cache-control")
        .flat_map(grammar::directives)
        .collect();
    let timed = ["max-age", "min-fresh", "max-stale", "stale-if-error"];
    let malformed = wishes.iter().any(|known| {
        timed.contains(&known.name.as_str())
            && !is_seconds(known)
            && (known.name != "max-stale" || known.word != Word::Bare)
    });
    let differ = |name: &str| {
        let mut found: Vec<&Word> = said.mentions(name).map(|known| &known.word).collect();
        found.dedup();
        found.len() > 1
    };
    let contradiction = [
        "s-maxage",
        "max-age",
        "stale-while-revalidate",
        "stale-if-error",
    ]
    .iter()
    .any(|name| differ(name))
        || ["expires", "last-modified"]
            .iter()
            .any(|name| values(&case.answer, name).count() > 1)
        || ["max-stale", "stale-if-error"]
            .iter()
            .any(|name| wishes.iter().filter(|known| known.name == *name).count() > 1);
    let spelling = case.first.lines != case.later.lines && has(&case.answer, "vary");
    let staleness = rfc::current_age(case) - rfc::freshness_lifetime(case);
    let last = ["stale-while-revalidate", "stale-if-error"]
        .iter()
        .any(|name| {
            said.seconds(name)
                .is_some_and(|window| window * 1000 == staleness)
        })
        || wishes.iter().any(|known| {
            let Word::Given(text) = &known.word else {
                return false;
            };
            grammar::delta_seconds(text).is_some_and(|window| window * 1000 == staleness)
        });
    let changed_before = values(&case.answer, "last-modified")
        .any(|text| grammar::http_date(text, case.received / 1000).is_some_and(|date| date < 0));
    let revalidated = said
        .seconds("stale-while-revalidate")
        .filter(|_| !said.forbids_stale());
    let validated = has_validator(case).then_some(60);
    let kept = [revalidated, said.seconds("stale-if-error"), validated];
    let kept = kept.into_iter().flatten().max().unwrap_or(0);
    let dead = age_on_arrival(case) >= rfc::freshness_lifetime(case) + kept * 1000;
    listed(&[
        (AsksForAMatch, asks),
        (
            ClientNoStore,
            wishes.iter().any(|known| known.name == "no-store"),
        ),
        (Contradiction, contradiction),
        (Escaped, said.list.iter().any(|known| known.escaped)),
        (MalformedWish, malformed),
        (VarySpelling, spelling),
        (TargetedType, has_wrong_type(&said)),
        (LastInstant, last),
        (DeadOnArrival, dead),
        (Before1970, changed_before),
        (HiddenByConnection, is_hidden(case, "last-modified")),
    ])
}

/// Why a stored answer that could stand in for a failing origin does not.
pub(crate) fn of_standing_in(case: &Case) -> Vec<Deviation> {
    let said = Said::of(case);
    let clients = values(&case.later.lines, "cache-control")
        .flat_map(grammar::directives)
        .any(|known| known.name == "stale-if-error" && is_seconds(&known));
    let window = said.forbids("stale-if-error") || (clients && case.settings.clients_count);
    let mut found = of_reusing(case);
    found.extend((!window).then_some(NoWindow));
    found
}

fn age_on_arrival(case: &Case) -> i64 {
    rfc::current_age(&Case {
        now: case.received,
        ..case.clone()
    })
}

fn is_hidden(case: &Case, name: &str) -> bool {
    values(&case.answer, "connection").any(|option| option.eq_ignore_ascii_case(name))
}

fn has_validator(case: &Case) -> bool {
    let only = |name| {
        let mut lines = values(&case.answer, name);
        lines
            .next()
            .filter(|_| lines.next().is_none() && !is_hidden(case, name))
    };
    let clock = case.received / 1000;
    only("etag").is_some_and(|tag| ["\"a\"", "W/\"a\""].contains(&tag))
        || only("last-modified").is_some_and(|text| grammar::http_date(text, clock).is_some())
}

fn has_wrong_type(said: &Said) -> bool {
    said.by_target
        && said.list.iter().any(|known| match known.name.as_str() {
            "no-cache" | "private" => matches!(known.word, Word::Given(_) | Word::Garbled),
            _ => matches!(known.word, Word::Text(_) | Word::Garbled),
        })
}

fn is_seconds(directive: &Directive) -> bool {
    match &directive.word {
        Word::Given(text) => {
            directive.sure && !directive.escaped && grammar::delta_seconds(text).is_some()
        }
        _ => false,
    }
}

fn listed(table: &[(Deviation, bool)]) -> Vec<Deviation> {
    table
        .iter()
        .filter(|(_, shown)| *shown)
        .map(|(deviation, _)| *deviation)
        .collect()
}

/// All of them, for the test that each occurs.
pub(crate) const ALL: [Deviation; 19] = [
    Head,
    Partial,
    AboutTheMessage,
    NeededFieldWithheld,
    VaryMatchesNothing,
    SetCookie,
    Useless,
    AsksForAMatch,
    ClientNoStore,
    Contradiction,
    Escaped,
    MalformedWish,
    VarySpelling,
    TargetedType,
    LastInstant,
    NoWindow,
    Before1970,
    HiddenByConnection,
    DeadOnArrival,
];
