//! Directives of a request (RFC 9111 §5.2.1). Read on every look-up, so nothing here allocates.

use std::time::Duration;

use super::{Argument, Directive, directives};
use crate::http::Fields;

/// What a client asks of caches on the way. A field is `None` or `false` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// §5.2.1.5: store neither this request nor an answer to it.
    pub no_store: bool,
    /// §5.2.1.4: ask the origin before reuse; also `Pragma: no-cache` where Cache-Control is absent (§5.4).
    pub no_cache: bool,
    /// §5.2.1.1: greatest age. Malformed counts as zero.
    pub max_age: Option<Duration>,
    /// §5.2.1.3: freshness that has to be left. Malformed counts as more than any answer has.
    pub min_fresh: Option<Duration>,
    /// §5.2.1.2: staleness that is welcome. Malformed counts as absent.
    pub max_stale: Option<MaxStale>,
    /// §5.2.1.7: answer from the store or with 504.
    pub only_if_cached: bool,
    /// RFC 5861 §4: staleness that is welcome when the origin fails. Malformed counts as absent.
    pub stale_if_error: Option<Duration>,
}

/// The argument of max-stale (§5.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxStale {
    /// However stale.
    Any,
    Within(Duration),
}

impl RequestDirectives {
    pub fn of(fields: &Fields) -> RequestDirectives {
        let mut request = RequestDirectives::default();
        let mut present = false;
        for line in fields.get_all("cache-control") {
            present = true;
            for directive in directives(line) {
                request.apply(directive);
            }
        }
        if !present {
            request.no_cache = fields
                .list("pragma")
                .any(|member| member.eq_ignore_ascii_case(b"no-cache"));
        }
        request
    }

    fn apply(&mut self, directive: Directive<'_>) {
        let Directive { name, argument } = directive;
        let seconds = argument.delta_seconds();
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"no-cache") {
            self.no_cache = true;
        } else if is(b"max-age") {
            let seconds = seconds.unwrap_or(Duration::ZERO);
            self.max_age = Some(self.max_age.map_or(seconds, |known| known.min(seconds)));
        } else if is(b"no-store") {
            self.no_store = true;
        } else if is(b"only-if-cached") {
            self.only_if_cached = true;
        } else if is(b"min-fresh") {
            let seconds = seconds.unwrap_or(Duration::MAX);
            self.min_fresh = Some(self.min_fresh.map_or(seconds, |known| known.max(seconds)));
        } else if is(b"max-stale") {
            let max_stale = match (argument, seconds) {
                (Argument::Absent, _) => MaxStale::Any,
                (_, Some(seconds)) => MaxStale::Within(seconds),
                (_, None) => return,
            };
            self.max_stale = Some(match (self.max_stale, max_stale) {
                (None | Some(MaxStale::Any), new) => new,
                (Some(known), MaxStale::Any) => known,
                (Some(MaxStale::Within(known)), MaxStale::Within(new)) => {
                    MaxStale::Within(known.min(new))
                }
            });
        } else if is(b"stale-if-error")
            && let Some(seconds) = seconds
        {
            self.stale_if_error = Some(
                self.stale_if_error
                    .map_or(seconds, |known| known.min(seconds)),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&str, &str)], expected: RequestDirectives) {
        let fields: Fields = lines.iter().copied().collect();
        assert_eq!(RequestDirectives::of(&fields), expected, "{lines:?}");
    }

    fn seconds(count: u64) -> Option<Duration> {
        Some(Duration::from_secs(count))
    }

    #[test]
    fn request_directives_are_read() {
        let none = RequestDirectives::default();
        check(&[], none);
        check(&[("Cache-Control", "x=1, no-transform")], none);
        check(
            &[(
                "Cache-Control",
                "No-Store, no-cache, max-age=5, min-fresh=\"6\", max-stale=7, only-if-cached, stale-if-error=8",
            )],
            RequestDirectives {
                no_store: true,
                no_cache: true,
                max_age: seconds(5),
                min_fresh: seconds(6),
                max_stale: Some(MaxStale::Within(Duration::from_secs(7))),
                only_if_cached: true,
                stale_if_error: seconds(8),
            },
        );
        check(
            &[("cache-control", "max-stale")],
            RequestDirectives {
                max_stale: Some(MaxStale::Any),
                ..none
            },
        );
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let none = RequestDirectives::default();
        let no_cache = RequestDirectives {
            no_cache: true,
            ..none
        };
        check(&[("Pragma", "x, No-Cache")], no_cache);
        check(&[("Pragma", "no-cache=x")], none);
        check(&[("Pragma", "no-cache"), ("Cache-Control", "x")], none);
        check(&[("Pragma", "no-cache"), ("Cache-Control", "")], none);
    }

    #[test]
    fn malformed_and_repeated_directives_ask_for_more_freshness() {
        let none = RequestDirectives::default();
        check(
            &[
                ("Cache-Control", "max-age=9, min-fresh=1, max-stale"),
                ("Cache-Control", "max-age=3, min-fresh=4, max-stale=5"),
                (
                    "Cache-Control",
                    "max-age=6, min-fresh=2, max-stale=8, max-stale",
                ),
            ],
            RequestDirectives {
                max_age: seconds(3),
                min_fresh: seconds(4),
                max_stale: Some(MaxStale::Within(Duration::from_secs(5))),
                ..none
            },
        );
        check(
            &[(
                "Cache-Control",
                "max-age=-1, max-stale=x, stale-if-error, min-fresh=a",
            )],
            RequestDirectives {
                max_age: seconds(0),
                min_fresh: Some(Duration::MAX),
                ..none
            },
        );
    }
}
