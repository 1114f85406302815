//! Directives from any field lines: what they forbid, more words never permit; and they read the same in any case.
#![no_main]

use std::time::Duration;

use fuzz::http::Fields;
use fuzz::rules::cache_control::{RequestDirectives, ResponseDirectives, Scope};
use fuzz::rules::freshness::{Heuristics, Reuse, StoredTimes, may_serve_on_error, reuse};
use fuzz::rules::storability::{StoreRules, may_store};
use fuzz::time::Timestamp;
use fuzz::{answer, fields, get};
use libfuzzer_sys::fuzz_target;

const NOW: Timestamp = Timestamp::from_secs(2_000_000_000);

fn of(fields: &Fields) -> ResponseDirectives {
    let targeted = ["CDN-Cache-Control".to_owned()];
    ResponseDirectives::of(&answer(200, fields.clone()), &targeted)
}

fuzz_target!(|text: &[u8]| {
    let lines = fields(text);
    let directives = of(&lines);
    let asked = RequestDirectives::of(&lines);

    let mut upper = Fields::new();
    for field in lines.iter() {
        let value = match field.name.eq_ignore_ascii_case("cache-control") {
            true => field.value.to_ascii_uppercase(),
            // The keys of a dictionary are in lower case (RFC 8941 §3.1.2).
            false => field.value.to_vec(),
        };
        upper.append(&field.name.to_ascii_uppercase(), value);
    }
    assert_eq!(of(&upper), directives);
    assert_eq!(RequestDirectives::of(&upper), asked);

    for scope in [directives.no_cache(), directives.private()] {
        if let Scope::Fields(names) = scope {
            assert!(!names.is_empty());
            assert!(
                names
                    .iter()
                    .all(|name| **name == name.to_ascii_lowercase() && scope.names(name))
            );
        }
    }
    let most = Duration::from_secs(1 << 31);
    assert!(directives.max_age().is_none_or(|seconds| seconds <= most));
    assert!(directives.s_maxage().is_none_or(|seconds| seconds <= most));

    let head = answer(200, lines.clone());
    let heuristics = Heuristics {
        fraction: 0.1,
        max: Duration::from_secs(86_400),
    };
    let times = StoredTimes::of(&head, &directives, NOW, NOW, &heuristics);
    let later = NOW + Duration::from_secs(60);
    assert!(times.current_age(later) >= times.current_age(NOW));
    for request in [None, Some(&asked)] {
        let decision = reuse(&times, &directives, request, later, Duration::ZERO);
        if decision == Reuse::Fresh {
            assert!(times.is_fresh(later) && !directives.no_cache().is_all());
        }
        if directives.forbids_stale() && !times.is_fresh(later) {
            assert!(matches!(decision, Reuse::MustRevalidate(_)));
            assert!(!may_serve_on_error(
                &times,
                &directives,
                request,
                later,
                most
            ));
        }
    }

    // One more line of Cache-Control that forbids, and nothing is stored that was not before.
    let rules = StoreRules::default();
    let request = get(Fields::new());
    for word in ["no-store", "private", "must-understand"] {
        let mut more = lines.clone();
        more.append("Cache-Control", word);
        let more = answer(299, more);
        let directives = ResponseDirectives::of(&more, &[]);
        assert!(
            may_store(&request, &more, &directives, &rules).is_err(),
            "{word}"
        );
    }
});
