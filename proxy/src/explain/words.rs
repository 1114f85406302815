//! The one table from reasons to words.
//!
//! Each text is a clause that goes on after "because", and each names the rule it comes from.

use crate::rules::storability::NotStored;

/// A reason as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Where the rule stands: a section of an RFC, or what of the front door's own it is.
    pub rule: &'static str,
    /// A clause without a full stop.
    pub text: &'static str,
}

/// Why the request would go the way it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Fresh,
    WelcomeStale,
    StaleWhileRevalidate,
    NothingStored,
    OtherVariant,
    OtherPart,
    Banned,
    Marked,
    MarkedPart,
    Stale,
    StaleForbidden,
    NoCache,
    RequestDirectives,
    Method,
    Content,
    RequestNoStore,
    Match,
    MatchExtension,
    Head,
    OnlyIfCached,
    MaxForwards,
    Connect,
    PurgeRefused,
    Upgrade,
    Order,
    Malformed,
    Policy,
}

/// Writes an exhaustive match and the list of what it matches, so that neither can lack a reason.
macro_rules! words {
    ($(#[$doc:meta])* $list:ident, $function:ident($reason:ident):
        $($variant:ident => $rule:literal, $text:literal;)+) => {
        /// Every reason that there is.
        pub const $list: &[$reason] = &[$($reason::$variant),+];

        $(#[$doc])*
        pub fn $function(reason: $reason) -> Words {
            match reason {
                $($reason::$variant => Words { rule: $rule, text: $text },)+
            }
        }
    };
}

words! {
    /// Why an answer was not stored.
    NOT_STORED, not_stored(NotStored):
    Method => "RFC 9111 §3", "only answers to GET are stored, and those to POST that name their own URL and lifetime (RFC 9110 §9.3.3)";
    RequestContent => "RFC 9110 §9.3.1", "the request had content, which is in no key";
    Status => "RFC 9111 §3", "its status is no final one, or a 304 that confirmed nothing";
    Partial => "RFC 9111 §3.3", "it was a part that nobody asked for, or that does not tell its place in the whole";
    Condition => "RFC 9111 §4.3.2", "it answered, or may have answered, the request's condition or range and not its target";
    RequestNoStore => "RFC 9111 §5.2.1.5", "the request had no-store";
    NoStore => "RFC 9111 §5.2.2.5", "the answer had no-store";
    NotUnderstood => "RFC 9111 §5.2.2.3", "the answer had must-understand, and its status is not known here";
    Private => "RFC 9111 §5.2.2.7", "the answer, or a field that its reuse needs, was private to one user";
    Authorization => "RFC 9111 §3.5", "the request had Authorization and the answer has neither public, must-revalidate nor s-maxage";
    VaryStar => "RFC 9111 §4.1", "the answer had Vary: *, so no later request matches it";
    SetCookie => "cache.store_set_cookie", "the answer had Set-Cookie and neither public nor s-maxage";
    NoFreshness => "RFC 9111 §3", "the answer gives no lifetime, and its status may not be stored without";
    TooLarge => "cache.object_bytes_max", "the answer is larger than one may be, or there was no room for it just then";
    NoValidator => "RFC 9111 §3", "the answer gives neither a lifetime nor a validator, so it could never be used again";
    RequestFault => "RFC 9111 §3", "the answer was an error that this request's own fields may have caused (long, beyond ASCII, or about content that is not there)";
}

words! {
    /// Why a request would go the way it goes.
    CAUSES, cause(Cause):
    Fresh => "RFC 9111 §4.2", "what is stored for it is fresh";
    WelcomeStale => "RFC 9111 §5.2.1.2", "what is stored for it is stale, and the request's max-stale welcomes that";
    StaleWhileRevalidate => "RFC 5861 §3", "what is stored for it is stale, and may be used while it is fetched anew";
    NothingStored => "RFC 9111 §4", "nothing is stored for its URL";
    OtherVariant => "RFC 9111 §4.1", "what is stored for its URL answers other requests: a field that it varies on differs";
    OtherPart => "RFC 9111 §3.3", "what is stored for its URL is a part, and not all that it asks for";
    Banned => "purge", "a ban or a purge by key has ended what was stored for it";
    Marked => "cache.hit_for_miss", "the last answer could not be stored, so requests for it do not wait for each other";
    MarkedPart => "cache.hit_for_miss", "the last answer could not be stored, and a part of it need not be fetched whole";
    Stale => "RFC 9111 §4.2", "what is stored for it is stale, and beyond its grace";
    StaleForbidden => "RFC 9111 §4.2.4", "what is stored for it is stale, and forbids stale use";
    NoCache => "RFC 9111 §5.2.2.4", "what is stored for it has no-cache: the origin is asked each time";
    RequestDirectives => "RFC 9111 §5.2.1", "the request asks for something newer than what is stored for it";
    Method => "RFC 9110 §9.2.3", "only GET and HEAD are answered from the cache";
    Content => "RFC 9110 §9.3.1", "it has content, which is in no key";
    RequestNoStore => "RFC 9111 §5.2.1.5", "it has no-store";
    Match => "RFC 9111 §4.3.2", "only the origin can say whether its If-Match or If-Unmodified-Since holds";
    MatchExtension => "RFC 9111 §4", "nothing usable is stored for it, and what X-If-Match asks is in no key";
    Head => "RFC 9110 §9.3.2", "nothing usable is stored for it, and an answer to HEAD brings no content to store";
    OnlyIfCached => "RFC 9111 §5.2.1.7", "it has only-if-cached, and nothing usable is stored for it";
    MaxForwards => "RFC 9110 §7.6.2", "its Max-Forwards is 0";
    Connect => "RFC 9110 §9.3.6", "a reverse proxy is nobody's tunnel";
    PurgeRefused => "purge.allow", "purging is off, not allowed from here, or the order is incomplete";
    Upgrade => "RFC 9110 §7.8", "it asks for another protocol, which the backend may grant";
    Order => "purge", "it is an order to the cache and no request for the backend";
    Malformed => "RFC 9112 §3", "it could be read in more than one way, or is beyond a limit";
    Policy => "policy", "the policy decides so";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_words_of_its_own() {
        let reasons = NOT_STORED.iter().map(|reason| not_stored(*reason));
        let causes = CAUSES.iter().map(|reason| cause(*reason));
        let mut texts: Vec<&str> = Vec::new();
        for words in reasons.chain(causes) {
            assert!(
                !words.rule.is_empty() && !words.text.ends_with('.'),
                "{words:?}"
            );
            assert!(!texts.contains(&words.text), "{words:?} twice");
            texts.push(words.text);
        }
        assert_eq!(texts.len(), NOT_STORED.len() + CAUSES.len());
    }
}
