use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

#[derive(Clone, Debug, Default)]
struct Object {
    status: u16,
    fields: Fields,
    expires: Timestamp,
    born: Timestamp,
    tags: Vec<String>,
}

impl BanSubject for Object {
    fn status(&self) -> u16 {
        self.status
    }
    fn fields(&self) -> &Fields {
        &self.fields
    }
    fn ttl_millis(&self, now: Timestamp) -> i64 {
        self.expires.as_millis() as i64 - now.as_millis() as i64
    }
    fn age_millis(&self, now: Timestamp) -> i64 {
        now.as_millis() as i64 - self.born.as_millis() as i64
    }
    fn grace_millis(&self, _now: Timestamp) -> i64 {
        10_000
    }
    fn keep_millis(&self, _now: Timestamp) -> i64 {
        0
    }
    fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own == tag)
    }
}

struct Request {
    url: String,
    fields: Fields,
}

impl RequestSubject for Request {
    fn url(&self) -> &str {
        &self.url
    }
    fn fields(&self) -> &Fields {
        &self.fields
    }
}

/// Status 200, 30 s old, 90 s to live, 10 s grace, no keep.
fn object() -> Object {
    Object {
        status: 200,
        fields: [
            ("Content-Type", "text/html; charset=utf-8"),
            ("X-List", "a"),
            ("X-List", "b"),
            ("X-Quote", "say \"hi\" now"),
        ]
        .into_iter()
        .collect(),
        expires: NOW + std::time::Duration::from_secs(90),
        born: NOW - std::time::Duration::from_secs(30),
        tags: vec!["shop".to_owned(), "item-7".to_owned()],
    }
}

fn request() -> Request {
    Request {
        url: "/shop/cart?id=1".to_owned(),
        fields: [("Host", "example.com"), ("X-Bytes", "a")]
            .into_iter()
            .collect(),
    }
}

fn list(bans_max: usize) -> Arc<BanList> {
    Arc::new(BanList::new(NonZeroUsize::new(bans_max).unwrap()))
}

fn ban(text: &str) -> Ban {
    Ban::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(text: &str, banned: bool) {
    let list = list(10);
    let mark = list.newest();
    list.add(ban(text), NOW);
    let verdict = list.test(mark, &object(), Some(&request()), NOW);
    assert_eq!(verdict == Verdict::Banned, banned, "{text}");
}

#[test]
fn request_conditions() {
    check("req.url == /shop/cart?id=1", true);
    check("req.url == /shop/cart", false);
    check("req.url != /shop/cart", true);
    check("req.url ~ ^/shop/", true);
    check("req.url ~ ^/SHOP/", false);
    check("req.url ~ (?i)^/SHOP/", true);
    check(r"req.url ~ cart\?id=\d$", true);
    check("req.url !~ ^/shop/", false);
    check("req.http.host == example.com", true);
    check("req.http.HOST ~ \\.com$", true);
    check("req.http.absent == x", false);
    check("req.http.absent ~ .", false);
    check("req.http.absent ~ \"\"", false);
    check("req.http.absent != x", true);
    check("req.http.absent !~ x", true);
}

#[test]
fn object_conditions() {
    check("obj.status == 200", true);
    check("obj.status != 200", false);
    check("obj.status ~ ^2", true);
    check("obj.status !~ ^[45]", true);
    check("obj.http.content-type ~ html", true);
    check(
        "obj.http.Content-Type == \"text/html; charset=utf-8\"",
        true,
    );
    check("obj.http.Content-Type == text/html", false);
    check("obj.http.x-quote ~ \"say \\\"hi\\\"\"", true);
    check("obj.http.x-list == \"a, b\"", true);
    check("obj.http.x-list ~ \\bb\\b", true);
}

#[test]
fn time_conditions() {
    check("obj.age > 29s", true);
    check("obj.age > 30s", false);
    check("obj.age >= 30s", true);
    check("obj.age < 1m", true);
    check("obj.age <= 30000ms", true);
    check("obj.age == 0.5m", true);
    check("obj.age != 0.5m", false);
    check("obj.ttl < 2m", true);
    check("obj.ttl > 1.5m", false);
    check("obj.ttl > -1s", true);
    check("obj.ttl > \"1 m\"", true);
    check("obj.grace == 10s", true);
    check("obj.keep == 0s", true);
    check("obj.keep > 0s", false);
    check(
        "obj.age < 1h && obj.age < 1d && obj.age < 1w && obj.age < 1y",
        true,
    );
}

#[test]
fn all_conditions_have_to_hold() {
    check("obj.status == 200 && req.url ~ ^/shop", true);
    check("obj.status == 404 && req.url ~ ^/shop", false);
    check("obj.status == 200 && req.url ~ ^/x", false);
    check("req.url ~ \"&&\" && obj.status == 200", false);
    check("  req.url\t~  ^/shop   &&  obj.status == 200 ", true);
}

#[test]
fn patterns_match_bytes() {
    let list = list(10);
    let mark = list.newest();
    let mut object = object();
    object.fields.append("X-Raw", b"caf\xe9!");
    list.add(ban("obj.http.x-raw ~ ^caf.!$"), NOW);
    assert_eq!(list.test(mark, &object, None, NOW), Verdict::Banned);
}

fn check_error(text: &str, message: &str) {
    match Ban::parse(text) {
        Ok(ban) => panic!("{text} was read as {ban}"),
        Err(error) => assert_eq!(error.to_string(), message, "{text}"),
    }
}

#[test]
fn errors_say_where_and_what_was_expected() {
    check_error("", "at byte 0: expected a field, found the end");
    check_error(
        "req.url",
        "at byte 7: expected one of ==, !=, ~, !~, found the end",
    );
    check_error(
        "obj.ttl",
        "at byte 7: expected one of ==, !=, >, >=, <, <=, found the end",
    );
    check_error(
        "req.url ~",
        "at byte 9: expected an argument, found the end",
    );
    check_error(
        "req.url = /",
        "at byte 8: expected one of ==, !=, ~, !~, found \"=\"",
    );
    check_error(
        "obj.age ~ 1s",
        "at byte 8: expected one of ==, !=, >, >=, <, <=, found \"~\"",
    );
    check_error(
        "obj.status > 200",
        "at byte 11: expected one of ==, !=, ~, !~, found \">\"",
    );
    check_error(
        "req.uri ~ /",
        "at byte 0: expected a field (did you mean req.url?), found \"req.uri\"",
    );
    check_error(
        "req.http. ~ /",
        "at byte 0: expected req.http.NAME, found \"req.http.\"",
    );
    check_error(
        "client.ip == 127.0.0.1",
        "at byte 0: expected a field (req.url, req.http.NAME, obj.http.NAME, obj.status, obj.ttl, obj.age, \
         obj.grace or obj.keep), found \"client.ip\"",
    );
    check_error(
        "obj.age > 10",
        "at byte 10: expected a duration such as 1.5h (units ms, s, m, h, d, w, y), found \"10\"",
    );
    check_error(
        "obj.age > 1e3s",
        "at byte 10: expected a duration such as 1.5h (units ms, s, m, h, d, w, y), found \"1e3s\"",
    );
    check_error(
        "req.url ~ / obj.status == 200",
        "at byte 12: expected && or the end, found \"obj.status\"",
    );
    check_error(
        "req.url ~ / \"&&\" obj.status == 200",
        "at byte 12: expected && or the end, found \"&&\"",
    );
    check_error(
        "req.url ~ / &&",
        "at byte 14: expected a field, found the end",
    );
    check_error(
        "req.url ~ \"/",
        "at byte 12: expected a closing quote, found the end",
    );
    check_error(
        "req.url ~ \"/\"x",
        "at byte 13: expected white space after a closing quote, found \"x\"",
    );
    check_error(
        "req.url ~ a\u{1}b",
        "at byte 11: expected no control character, found \"\\u{1}\"",
    );
    check_error(
        "req.url ~ (",
        "at byte 10: expected a regular expression: unclosed group",
    );
    check_error(
        "req.url ~ (?=x)",
        "at byte 10: expected a regular expression: look-around, including look-ahead and look-behind, is not \
         supported",
    );
}

#[test]
fn long_alternations_fit_the_bounds() {
    let paths: Vec<String> = (0..600).map(|number| format!("/item/{number}")).collect();
    let text = format!("req.url ~ ^({})$", paths.join("|"));
    assert!(text.len() > 5000);
    let ban = ban(&text);
    for (url, banned) in [
        ("/item/599", true),
        ("/item/600", false),
        ("/item/5990", false),
    ] {
        let list = list(10);
        let mark = list.newest();
        list.add(ban.clone(), NOW);
        let mut request = request();
        request.url = url.to_owned();
        let verdict = list.test(mark, &object(), Some(&request), NOW);
        assert_eq!(verdict == Verdict::Banned, banned, "{url}");
    }
}

#[test]
fn bans_are_bounded() {
    let long = format!("req.url == /{}", "x".repeat(9000));
    assert!(matches!(
        Ban::parse(&long),
        Err(BanSyntaxError::TooLong { bytes: 9012, .. })
    ));
    for pattern in ["((a{100}){100}){100}", &"(".repeat(3000)] {
        assert!(
            matches!(
                Ban::parse(&format!("req.url ~ {pattern}")),
                Err(BanSyntaxError::Regex { position: 10, .. })
            ),
            "{pattern}"
        );
    }
}

#[test]
fn equal_bans_have_equal_text() {
    for (typed, text) in [
        ("req.url  ~   /a", "req.url ~ /a"),
        ("req.url ~ \"/a\"", "req.url ~ /a"),
        ("req.url ~ \"/a b\"", "req.url ~ \"/a b\""),
        ("req.url ~ \"\"", "req.url ~ \"\""),
        ("req.url ~ \"\\\"x\"", "req.url ~ \"\\\"x\""),
        ("req.url ~ \"&&\"", "req.url ~ \"&&\""),
    ] {
        assert_eq!(ban(typed).text(), text);
        assert_eq!(ban(text).text(), text, "typed again");
    }
}

#[test]
fn tags_ban_what_carries_them() {
    let list = list(10);
    let mark = list.newest();
    list.add(Ban::tag("item-8").unwrap(), NOW);
    let Verdict::Clear(mark) = list.test(mark, &object(), None, NOW) else {
        panic!("another key");
    };
    list.add(Ban::tag("item-7").unwrap(), NOW);
    assert_eq!(list.test(mark, &object(), None, NOW), Verdict::Banned);
    assert!(Ban::tag("a b").is_ok(), "RFC 9875 groups may hold spaces");
    for key in ["", "a\tb", "a\n", &"k".repeat(2000)] {
        assert!(Ban::tag(key).is_err(), "{key:?}");
    }
}

#[test]
fn objects_are_tested_against_newer_bans_only() {
    let list = list(10);
    list.add(ban("obj.status == 200"), NOW);
    let mark = list.newest();
    assert_eq!(
        list.test(mark, &object(), Some(&request()), NOW),
        Verdict::Clear(mark)
    );
    let added = list.add(ban("obj.status == 404"), NOW);
    assert_eq!(
        list.test(mark, &object(), Some(&request()), NOW),
        Verdict::Clear(added.mark)
    );
    assert_eq!(
        list.test(Mark::default(), &object(), Some(&request()), NOW),
        Verdict::Banned
    );
}

#[test]
fn without_a_request_the_mark_stops_before_request_bans() {
    let list = list(10);
    let start = list.newest();
    list.add(ban("obj.status == 404"), NOW);
    list.add(ban("req.url ~ ^/x"), NOW);
    list.add(ban("obj.status == 405"), NOW);
    let Verdict::Clear(mark) = list.test(start, &object(), None, NOW) else {
        panic!("no ban matches");
    };
    assert_eq!(mark, Mark::new(1, 3));
    // What was tested is not tested again; what waits for a request still waits.
    let tested = list.counters().bans_tested;
    assert_eq!(list.test(mark, &object(), None, NOW), Verdict::Clear(mark));
    assert_eq!(list.counters().bans_tested, tested);
    assert_eq!(
        list.test(mark, &object(), Some(&request()), NOW),
        Verdict::Clear(list.newest())
    );
    assert_eq!(list.counters().bans_tested, tested + 1);
    let mut other = request();
    other.url = "/x".to_owned();
    assert_eq!(
        list.test(mark, &object(), Some(&other), NOW),
        Verdict::Banned
    );
    // Its object half already fails, so no request could make it match.
    let list = self::list(10);
    list.add(ban("req.url ~ ^/ && obj.status == 404"), NOW);
    assert_eq!(
        list.test(start, &object(), None, NOW),
        Verdict::Clear(list.newest())
    );
}

#[test]
fn duplicates_complete_older_equal_bans() {
    let list = list(10);
    let start = list.newest();
    list.add(ban("req.url ~ /a"), NOW);
    let between = list.add(ban("obj.status == 404"), NOW).mark;
    let added = list.add(ban("req.url   ~ \"/a\""), NOW);
    assert_eq!(added.duplicates, 1);
    assert_eq!(
        texts(&list),
        ["req.url ~ /a".to_owned(), "obj.status == 404".to_owned()]
    );
    for from in [start, between] {
        let mut request = request();
        request.url = "/a".to_owned();
        assert_eq!(
            list.test(from, &object(), Some(&request), NOW),
            Verdict::Banned
        );
    }
    let counters = list.counters();
    assert_eq!(
        (
            counters.bans,
            counters.bans_added,
            counters.bans_dups,
            counters.bans_deleted
        ),
        (2, 3, 1, 1)
    );
}

fn texts(list: &BanList) -> Vec<String> {
    list.listed().into_iter().map(|ban| ban.text).collect()
}

#[test]
fn full_list_counts_older_objects_as_banned() {
    let list = list(3);
    let start = list.newest();
    for status in 500..503 {
        list.add(ban(&format!("obj.status == {status}")), NOW);
    }
    assert!(matches!(
        list.test(start, &object(), None, NOW),
        Verdict::Clear(_)
    ));
    let added = list.add(ban("obj.status == 503"), NOW);
    assert_eq!(added.cut_off, 1);
    assert_eq!(list.counters().bans, 3);
    assert_eq!(list.test(start, &object(), None, NOW), Verdict::Banned);
    // One that had been tested against the dropped ban is judged by the others.
    let after_first = Mark::all(1);
    assert_eq!(
        list.test(after_first, &object(), None, NOW),
        Verdict::Clear(added.mark)
    );
    let mut lurk = list.lurk().unwrap();
    assert_eq!(lurk.test(start, &object(), NOW), Verdict::Banned);
    assert_eq!(list.counters().bans_lurker_obj_killed_cutoff, 1);
    assert_eq!(list.counters().bans_lurker_obj_killed, 0);
}

#[test]
fn counters_count_bans_and_conditions() {
    let list = list(10);
    let start = list.newest();
    list.add(ban("obj.status == 404"), NOW);
    list.add(ban("obj.status == 200 && req.url ~ ^/x"), NOW);
    list.add(ban("req.url ~ ^/shop"), NOW);
    assert_eq!(
        list.test(start, &object(), Some(&request()), NOW),
        Verdict::Banned
    );
    assert_eq!(
        list.counters(),
        BanCounters {
            bans: 3,
            bans_obj: 2,
            bans_req: 2,
            bans_added: 3,
            bans_tested: 3,
            bans_tests_tested: 4,
            bans_obj_killed: 1,
            ..BanCounters::default()
        }
    );
}

#[test]
fn listing_is_newest_first() {
    let list = list(200);
    for number in 0..150 {
        list.add(ban(&format!("req.url == /{number}")), NOW);
    }
    list.add(Ban::tag("k").unwrap(), Timestamp::from_millis(1234));
    let listed = list.listed();
    assert_eq!(listed.len(), 151);
    assert_eq!(listed[0].to_string(), "1.234 -O surrogate-key k");
    assert_eq!(listed[1].to_string(), "1700000000.000 R- req.url == /149");
    assert_eq!(listed[150].text, "req.url == /0");
}

#[test]
fn finished_round_drops_object_bans_and_passed_request_bans() {
    let list = list(10);
    let start = list.newest();
    list.add(ban("req.url ~ ^/a"), NOW);
    list.add(ban("obj.status == 404"), NOW);
    list.add(Ban::tag("nobody").unwrap(), NOW);
    let mut lurk = list.lurk().unwrap();
    let Verdict::Clear(mark) = lurk.test(start, &object(), NOW) else {
        panic!("no ban matches");
    };
    assert_eq!(mark, Mark::new(0, 3), "the request ban holds it back");
    assert_eq!(lurk.finish(), 2);
    assert_eq!(texts(&list), ["req.url ~ ^/a"]);
    // A look-up with another URL moves the object past it.
    let Verdict::Clear(mark) = list.test(mark, &object(), Some(&request()), NOW) else {
        panic!("another URL");
    };
    let mut lurk = list.lurk().unwrap();
    assert_eq!(lurk.test(mark, &object(), NOW), Verdict::Clear(mark));
    assert_eq!(lurk.finish(), 1);
    assert!(list.lurk().is_none());
    assert_eq!(list.counters().bans_deleted, 3);
}

#[test]
fn bans_added_during_a_round_stay() {
    let list = list(10);
    list.add(ban("obj.status == 404"), NOW);
    let lurk = list.lurk().unwrap();
    list.add(ban("obj.status == 405"), NOW);
    assert_eq!(lurk.finish(), 1);
    assert_eq!(texts(&list), ["obj.status == 405"]);
}

#[test]
fn fills_under_way_keep_the_bans_they_missed() {
    let list = list(10);
    let held = list.hold();
    let again = list.hold();
    list.add(ban("obj.status == 200"), NOW);
    drop(again);
    assert_eq!(list.lurk().unwrap().finish(), 0);
    // It enters the store while a round is under way, behind the iteration.
    let lurk = list.lurk().unwrap();
    let mark = held.mark();
    drop(held);
    assert_eq!(lurk.finish(), 0);
    assert_eq!(list.test(mark, &object(), None, NOW), Verdict::Banned);
    assert_eq!(list.lurk().unwrap().finish(), 1);
}

/// A request took the object from the store; then it was replaced, and a round went by without it.
#[test]
fn object_that_a_round_missed_is_never_taken_for_clear() {
    for text in ["obj.status == 200", "req.url ~ ^/shop"] {
        let list = list(10);
        let held_by_a_request = list.newest();
        list.add(ban(text), NOW);
        assert_eq!(list.lurk().unwrap().finish(), 1);
        assert_eq!(list.counters().bans, 0);
        assert_eq!(
            list.test(held_by_a_request, &object(), Some(&request()), NOW),
            Verdict::Banned,
            "{text}"
        );
        let new = list.hold().mark();
        assert_eq!(
            list.test(new, &object(), Some(&request()), NOW),
            Verdict::Clear(new)
        );
    }
}

#[test]
fn marks_hold_two_numbers_and_saturate() {
    for (all, without_request, read) in [
        (0, 0, (0, 0)),
        (5, 5, (5, 5)),
        (5, 9, (5, 9)),
        (5, 2, (5, 5)),
        (7, 7 + (1 << 30), (7, 7 + (1 << 24) - 1)),
        ((1 << 40) - 1, (1 << 40) - 1, ((1 << 40) - 1, (1 << 40) - 1)),
    ] {
        let mark = Mark::from_u64(Mark::new(all, without_request).as_u64());
        assert_eq!((mark.passed(), mark.passed_without_request()), read);
    }
}

/// Writers fill and ban, readers look up, a lurker retires; no object may be seen clear after its tag was banned.
#[test]
fn no_banned_object_is_ever_clear_under_concurrency() {
    const KEYS: usize = 8;
    const BANS_MIN: usize = 3000;
    const BANS_MAX: usize = 3_000_000;
    const EACH_MIN: usize = 100;
    struct Stored {
        object: Object,
        mark: AtomicU64,
        generation: usize,
    }
    let list = list(500);
    let store: Mutex<HashMap<usize, Arc<Stored>>> = Mutex::default();
    // The generation that each key's newest answered ban forbids, and all before it.
    let forbidden: [AtomicUsize; KEYS] = Default::default();
    let current: [AtomicUsize; KEYS] = std::array::from_fn(|_| AtomicUsize::new(1));
    let done = AtomicBool::new(false);
    let hits = AtomicUsize::new(0);
    let banned = AtomicUsize::new(0);
    let added = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // On a busy machine the readers may come late: the race goes on until they have raced.
            let raced = |number: usize| {
                let both = hits
                    .load(Ordering::Relaxed)
                    .min(banned.load(Ordering::Relaxed));
                number >= BANS_MAX || (number >= BANS_MIN && both >= EACH_MIN)
            };
            let mut number = 0;
            while !raced(number) {
                let key = number % KEYS;
                // The value changes, then its tag is banned, then the writer's answer goes out.
                let old = current[key].fetch_add(1, Ordering::SeqCst);
                let ban = match number % 3 {
                    0 => Ban::tag(&format!("key-{key}")).unwrap(),
                    1 => ban(&format!("obj.http.key == {key}")),
                    _ => ban(&format!("req.url == /{key}")),
                };
                list.add(ban, NOW);
                forbidden[key].store(old, Ordering::SeqCst);
                number += 1;
                if number % 16 == 0 {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::SeqCst);
            number
        });
        for reader in 0..2 {
            let (list, store, forbidden, current, done) =
                (&list, &store, &forbidden, &current, &done);
            let (hits, banned) = (&hits, &banned);
            scope.spawn(move || {
                let mut turn = reader;
                while !done.load(Ordering::SeqCst) {
                    turn += 1;
                    let key = turn % KEYS;
                    let oldest_allowed = forbidden[key].load(Ordering::SeqCst);
                    let found = store.lock().get(&key).cloned();
                    let request = Request {
                        url: format!("/{key}"),
                        fields: Fields::new(),
                    };
                    if let Some(stored) = found {
                        let mark = Mark::from_u64(stored.mark.load(Ordering::Acquire));
                        match list.test(mark, &stored.object, Some(&request), NOW) {
                            Verdict::Clear(mark) => {
                                stored.mark.fetch_max(mark.as_u64(), Ordering::AcqRel);
                                assert!(
                                    stored.generation > oldest_allowed,
                                    "key {key}: generation {} after {oldest_allowed} was banned",
                                    stored.generation
                                );
                                hits.fetch_add(1, Ordering::Relaxed);
                                continue;
                            }
                            Verdict::Banned => {
                                banned.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    let held = list.hold();
                    let generation = current[key].load(Ordering::SeqCst);
                    if turn % 5 == 0 {
                        std::thread::yield_now();
                    }
                    let object = Object {
                        status: 200,
                        fields: [("Key", key.to_string())].into_iter().collect(),
                        tags: vec![format!("key-{key}")],
                        ..Object::default()
                    };
                    let stored = Arc::new(Stored {
                        object,
                        mark: AtomicU64::new(held.mark().as_u64()),
                        generation,
                    });
                    store.lock().insert(key, stored);
                    drop(held);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                if let Some(mut lurk) = list.lurk() {
                    let objects: Vec<_> = store
                        .lock()
                        .iter()
                        .map(|(key, stored)| (*key, Arc::clone(stored)))
                        .collect();
                    for (key, stored) in objects {
                        let mark = Mark::from_u64(stored.mark.load(Ordering::Acquire));
                        match lurk.test(mark, &stored.object, NOW) {
                            Verdict::Clear(mark) => {
                                stored.mark.fetch_max(mark.as_u64(), Ordering::AcqRel);
                            }
                            Verdict::Banned => {
                                let mut store = store.lock();
                                if store.get(&key).is_some_and(|now| Arc::ptr_eq(now, &stored)) {
                                    store.remove(&key);
                                }
                            }
                        }
                    }
                    let _retired = lurk.finish();
                }
                std::thread::yield_now();
            }
        });
        writer.join().unwrap()
    });
    assert!(hits.into_inner() >= EACH_MIN && banned.into_inner() >= EACH_MIN);
    let counters = list.counters();
    assert_eq!(counters.bans_added, added as u64);
    assert_eq!(counters.bans, counters.bans_added - counters.bans_deleted);
    assert!(counters.bans <= 500);
}
