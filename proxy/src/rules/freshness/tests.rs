use super::*;

/// Sun, 06 Nov 1994 08:49:37 GMT
const DATE: u64 = 784_111_777;
const TEN_PERCENT: Heuristics = Heuristics {
    fraction: 0.1,
    max: Duration::from_secs(86_400),
};

fn head(status: u16, lines: &[(&str, &str)]) -> ResponseHead {
    let mut head = ResponseHead::new(status);
    head.fields = lines.iter().copied().collect();
    head
}

fn directives(cache_control: &str) -> ResponseDirectives {
    ResponseDirectives::of(&head(200, &[("cache-control", cache_control)]), &[])
}

fn request(cache_control: &str) -> RequestDirectives {
    RequestDirectives::of(&[("cache-control", cache_control)].into_iter().collect())
}

#[test]
fn initial_age_is_the_greater_of_apparent_and_corrected() {
    /// Sent 2.5 s before it was received, at DATE + 10.9 s.
    fn check(lines: &[(&str, &str)], expected_millis: u64) {
        let response_time = Timestamp::from_millis(DATE * 1000 + 10_900);
        let request_time = response_time - Duration::from_millis(2_500);
        let age = corrected_initial_age(&head(200, lines), request_time, response_time);
        assert_eq!(age, Duration::from_millis(expected_millis), "{lines:?}");
    }
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    check(&[], 2_500);
    check(&[date], 10_000);
    check(&[("date", "Sun, 06 Nov 1994 08:50:37 GMT")], 2_500);
    check(&[("date", "yesterday")], 2_500);
    check(&[date, ("age", "3")], 10_000);
    check(&[date, ("age", "30")], 32_500);
    check(&[date, ("age", "30, 400")], 32_500);
    check(&[date, ("age", "30"), ("age", "400")], 32_500);
    check(&[date, ("age", "030")], 32_500);
    check(&[date, ("age", ""), ("age", "30")], 32_500);
    for ignored in [
        "-30", "+30", "30.5", "abc", "", "\"30\"", "30;x", "30 40", "0x1e",
    ] {
        check(&[date, ("age", ignored)], 10_000);
    }
    check(&[date, ("age", "2147483649")], (1 << 31) * 1000 + 2_500);
    check(
        &[date, ("age", "99999999999999999999999999")],
        (1 << 31) * 1000 + 2_500,
    );
}

#[test]
fn a_clock_that_goes_back_makes_nothing_younger() {
    let received = Timestamp::from_secs(DATE);
    let earlier = Timestamp::from_secs(DATE - 100);
    let initial = Duration::from_secs(7);
    assert_eq!(current_age(initial, received, earlier), initial);
    assert_eq!(
        current_age(initial, received, received + initial),
        initial * 2
    );
    assert_eq!(current_age(Duration::MAX, earlier, received), Duration::MAX);
}

#[test]
fn lifetime_is_explicit_before_it_is_guessed() {
    fn check(status: u16, lines: &[(&str, &str)], kind: LifetimeKind, seconds: u64) {
        let head = head(status, lines);
        let directives = ResponseDirectives::of(&head, &["CDN-Cache-Control".to_owned()]);
        let response_time = Timestamp::from_millis(DATE * 1000 + 1_500);
        let expected = Lifetime {
            duration: Duration::from_secs(seconds),
            kind,
        };
        assert_eq!(
            lifetime(&head, &directives, response_time, &TEN_PERCENT),
            expected,
            "{lines:?}"
        );
        assert_eq!(
            is_explicit(&head, &directives),
            kind == LifetimeKind::Explicit,
            "{lines:?}"
        );
    }
    use LifetimeKind::{Explicit, Heuristic, None};
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let expires = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
    let last_modified = ("last-modified", "Sun, 06 Nov 1994 08:32:57 GMT");

    check(200, &[], None, 0);
    check(200, &[date, expires], Explicit, 60);
    check(500, &[date, expires], Explicit, 60);
    check(200, &[expires], Explicit, 59);
    check(200, &[("date", "?"), expires], Explicit, 59);
    check(200, &[date, ("expires", "0")], Explicit, 0);
    check(
        200,
        &[date, ("expires", "Sun, 06 Nov 1994 08:49:37 GMT")],
        Explicit,
        0,
    );
    check(
        200,
        &[date, ("expires", "Sat, 05 Nov 1994 08:49:37 GMT")],
        Explicit,
        0,
    );
    check(200, &[date, expires, expires], Explicit, 0);
    check(
        200,
        &[date, expires, ("cache-control", "public")],
        Explicit,
        60,
    );
    check(
        200,
        &[date, expires, ("cache-control", "max-age=5")],
        Explicit,
        5,
    );
    check(
        200,
        &[date, expires, ("cache-control", "max-age=5, s-maxage=6")],
        Explicit,
        6,
    );
    check(
        200,
        &[date, expires, ("cache-control", "max-age=x")],
        Explicit,
        0,
    );
    check(
        200,
        &[date, expires, ("cdn-cache-control", "public")],
        None,
        0,
    );
    check(
        200,
        &[date, expires, ("cdn-cache-control", "max-age=9")],
        Explicit,
        9,
    );

    check(200, &[date, last_modified], Heuristic, 100);
    check(404, &[date, last_modified], Heuristic, 100);
    check(200, &[last_modified], Heuristic, 100);
    check(302, &[date, last_modified], None, 0);
    check(
        302,
        &[date, last_modified, ("cache-control", "public")],
        Heuristic,
        100,
    );
    check(200, &[date, last_modified, last_modified], None, 0);
    check(
        200,
        &[date, ("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT")],
        None,
        0,
    );
    check(200, &[date, ("last-modified", "?")], None, 0);
    check(
        200,
        &[date, ("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")],
        Heuristic,
        86_400,
    );
}

#[test]
fn a_senseless_fraction_guesses_nothing_or_no_more_than_the_ceiling() {
    let head = head(200, &[("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")]);
    for fraction in [f64::NAN, -1.0, 0.0, f64::INFINITY, f64::MAX] {
        let heuristics = Heuristics {
            fraction,
            ..TEN_PERCENT
        };
        let lifetime = lifetime(
            &head,
            &directives(""),
            Timestamp::from_secs(DATE),
            &heuristics,
        );
        let expected = if fraction > 0.0 { 86_400 } else { 0 };
        assert_eq!(lifetime.duration.as_secs(), expected, "{fraction}");
    }
}

/// An answer with a lifetime of 100 s, `age` seconds old.
fn aged(age: u64) -> (StoredTimes, Timestamp) {
    let times = StoredTimes {
        response_time: Timestamp::from_secs(DATE),
        initial_age: Duration::from_secs(10),
        lifetime: Lifetime {
            duration: Duration::from_secs(100),
            kind: LifetimeKind::Explicit,
        },
    };
    (times, Timestamp::from_secs(DATE + age - 10))
}

#[test]
fn reuse_depends_on_age_and_both_sides_directives() {
    fn check(age: u64, response: &str, client: &str, expected: Reuse) {
        let (times, now) = aged(age);
        let grace = Duration::from_secs(5);
        let found = reuse(
            &times,
            &directives(response),
            Some(&request(client)),
            now,
            grace,
        );
        assert_eq!(
            found, expected,
            "age {age}, response {response}, request {client}"
        );
    }
    use Reason::{NoCache, Request, Stale, StaleForbidden};
    use Reuse::{Fresh, MustRevalidate, StaleByRequest, StaleWhileRevalidate};

    check(10, "", "", Fresh);
    check(99, "must-revalidate, s-maxage=100, no-cache=x", "", Fresh);
    check(10, "no-cache", "max-stale", MustRevalidate(NoCache));

    // The end of freshness and the grace after it.
    check(99, "", "", Fresh);
    check(100, "", "", StaleWhileRevalidate);
    check(104, "", "", StaleWhileRevalidate);
    check(105, "", "", MustRevalidate(Stale));
    check(119, "stale-while-revalidate=20", "", StaleWhileRevalidate);
    check(120, "stale-while-revalidate=20", "", MustRevalidate(Stale));
    check(100, "stale-while-revalidate=0", "", MustRevalidate(Stale));
    check(100, "stale-while-revalidate=x", "", MustRevalidate(Stale));
    for forbidding in ["must-revalidate", "proxy-revalidate", "s-maxage=100"] {
        check(
            100,
            &format!("stale-while-revalidate=20, {forbidding}"),
            "max-stale",
            MustRevalidate(StaleForbidden),
        );
    }

    // What the client asks.
    check(10, "", "no-cache", MustRevalidate(Request));
    check(10, "immutable", "max-age=0", MustRevalidate(Request));
    check(20, "", "max-age=20", Fresh);
    check(21, "", "max-age=20", MustRevalidate(Request));
    check(80, "", "min-fresh=20", Fresh);
    check(81, "", "min-fresh=20", MustRevalidate(Request));
    check(101, "", "min-fresh=0", MustRevalidate(Request));
    check(10, "", "min-fresh=x", MustRevalidate(Request));
    check(110, "", "max-stale=10", StaleByRequest);
    check(111, "", "max-stale=10", MustRevalidate(Stale));
    check(9_999, "", "max-stale", StaleByRequest);
    check(101, "", "max-age=200", MustRevalidate(Request));
    check(101, "", "max-age=200, max-stale=9", StaleByRequest);
    check(
        201,
        "",
        "max-age=200, max-stale=999",
        MustRevalidate(Request),
    );
}

#[test]
fn clients_directives_may_be_ignored() {
    let (times, now) = aged(20);
    let found = reuse(&times, &directives(""), None, now, Duration::ZERO);
    assert_eq!(found, Reuse::Fresh);
    let (times, now) = aged(100);
    let found = reuse(&times, &directives(""), None, now, Duration::ZERO);
    assert_eq!(found, Reuse::MustRevalidate(Reason::Stale));
}

#[test]
fn stale_is_served_on_error_within_its_window() {
    fn check(age: u64, response: &str, client: &str, expected: bool) {
        let (times, now) = aged(age);
        let window = Duration::from_secs(30);
        let found = may_serve_on_error(
            &times,
            &directives(response),
            Some(&request(client)),
            now,
            window,
        );
        assert_eq!(
            found, expected,
            "age {age}, response {response}, request {client}"
        );
    }
    check(50, "", "", true);
    check(50, "must-revalidate", "", true);
    check(50, "no-cache", "", false);
    check(129, "", "", true);
    check(130, "", "", false);
    check(149, "stale-if-error=50", "", true);
    check(150, "stale-if-error=50", "", false);
    check(100, "stale-if-error=0", "", false);
    check(150, "stale-if-error=50", "stale-if-error=60", true);
    check(149, "stale-if-error=50", "stale-if-error=10", true);
    check(101, "", "no-cache", false);
    check(101, "", "max-age=0", true);
    for forbidding in [
        "must-revalidate",
        "proxy-revalidate",
        "s-maxage=100",
        "no-cache",
    ] {
        check(
            101,
            &format!("stale-if-error=50, {forbidding}"),
            "stale-if-error=60",
            false,
        );
    }
}

#[test]
fn ttl_is_what_is_left_and_negative_when_stale() {
    fn check(age: u64, expected: i64) {
        let (times, now) = aged(age);
        assert_eq!(times.ttl_seconds(now), expected);
    }
    check(10, 90);
    check(100, 0);
    check(130, -30);
}

#[test]
fn age_is_written_in_whole_seconds_up_to_the_greatest() {
    let (times, now) = aged(10);
    assert_eq!(times.age_seconds(now + Duration::from_millis(1_999)), 11);
    assert_eq!(times.age_seconds(Timestamp::from_millis(u64::MAX)), 1 << 31);
}
