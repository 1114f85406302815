//! Stored parts, what completes them, and answers to HEAD and POST that say what a GET would get.

use std::time::Duration;

use crate::support::{Answer, Backend, Door, Gate, Seen, answer, until};
use crate::{FRESH, Lines, OLD};

const TAG: (&str, &str) = ("ETag", "\"a\"");
const WHOLE: &str = "0123456789";

/// A backend that knows ranges `first-last` and `first-` of [`WHOLE`], and If-Range.
fn ranged(fields: &'static [(&'static str, &'static str)]) -> impl Fn(&Seen) -> Answer {
    move |seen| {
        let range = seen.field("Range").and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let first: usize = first.parse().ok()?;
            Some((first, last.parse().unwrap_or(WHOLE.len() - 1)))
        });
        let tag = fields.iter().find(|(name, _)| *name == "ETag");
        let condition = seen.field("If-Range");
        let holds = condition.is_none() || condition.as_deref() == tag.map(|(_, tag)| *tag);
        match range.filter(|_| holds) {
            Some((first, last)) => {
                let place = format!("bytes {first}-{last}/{}", WHOLE.len());
                let fields = [fields, &[("Content-Range", &*place)]].concat();
                answer(206, &fields, &WHOLE[first..=last])
            }
            None => answer(200, fields, WHOLE),
        }
    }
}

async fn get(door: &Door, range: &str) -> (u16, String, String, String) {
    let reply = door.request("GET", "/", &[("Range", range)]).await;
    let cache = reply.cache().to_owned();
    let place = reply.field("Content-Range");
    (reply.status(), place, reply.text().to_owned(), cache)
}

fn part(place: &str, text: &str, cache: &str) -> (u16, String, String, String) {
    (206, place.into(), text.into(), cache.into())
}

#[tokio::test]
async fn a_part_is_asked_for_stored_and_reused() {
    let backend = Backend::start(ranged(&[FRESH])).await;
    let door = Door::start(&backend).await;
    let first = get(&door, "bytes=2-6").await;
    assert_eq!(first, part("bytes 2-6/10", "23456", "MISS"));
    assert_eq!(backend.last().field("Range").as_deref(), Some("bytes=2-6"));
    for (range, place, text) in [
        ("bytes=2-6", "bytes 2-6/10", "23456"),
        ("bytes=3-4", "bytes 3-4/10", "34"),
        ("bytes=6-6", "bytes 6-6/10", "6"),
    ] {
        assert_eq!(get(&door, range).await, part(place, text, "HIT"));
    }
    assert_eq!(backend.count(), 1);
    // What is not all there is fetched.
    for range in ["bytes=1-3", "bytes=6-7", "bytes=5-"] {
        assert_eq!(get(&door, range).await.3, "MISS", "{range}");
    }
    let partial = door.request("GET", "/", &[("Range", "bytes=0-0")]).await;
    let status = partial.field("Cache-Status");
    assert!(status.contains("fwd=partial; stored"), "{status}");
    // Nothing tells that two parts are of one representation, so the whole is fetched.
    let whole = door.get("/").await;
    assert_eq!((whole.text(), whole.cache()), (WHOLE, "MISS".to_owned()));
    assert_eq!(backend.last().field("Range"), None);
    assert_eq!(
        get(&door, "bytes=1-3").await,
        part("bytes 1-3/10", "123", "HIT")
    );
}

#[tokio::test]
async fn parts_with_one_strong_validator_become_one() {
    let backend = Backend::start(ranged(&[FRESH, TAG])).await;
    let door = Door::start(&backend).await;
    get(&door, "bytes=2-4").await;
    get(&door, "bytes=5-6").await;
    until("both are one", || door.front.store.objects() == 1).await;
    assert_eq!(get(&door, "bytes=3-6").await.3, "HIT");
    get(&door, "bytes=4-9").await;
    until("three are one", || door.front.store.objects() == 1).await;
    assert_eq!(get(&door, "bytes=2-9").await.3, "HIT");
    let before = backend.count();
    // The rest alone is asked for, on the condition that it fits.
    let whole = door.get("/").await;
    assert_eq!((whole.status(), whole.text()), (200, WHOLE));
    assert_eq!(whole.field("Content-Range"), "");
    assert_eq!(whole.field("Content-Length"), "10");
    let asked = backend.last();
    assert_eq!(asked.field("Range").as_deref(), Some("bytes=0-1"));
    assert_eq!(asked.field("If-Range").as_deref(), Some("\"a\""));
    assert_eq!(backend.count(), before + 1);
    assert_eq!(door.get("/").await.cache(), "HIT");
    assert_eq!(door.request("HEAD", "/", &[]).await.cache(), "HIT");
}

#[tokio::test]
async fn parts_of_two_representations_stay_apart() {
    let tags = ["\"a\"", "\"b\"", "W/\"w\"", "W/\"w\""];
    let backend = Backend::start(move |seen| {
        let first = seen.index * 2;
        let place = format!("bytes {first}-{}/10", first + 1);
        let fields = [FRESH, ("ETag", tags[seen.index]), ("Content-Range", &place)];
        answer(206, &fields, &WHOLE[first..first + 2])
    })
    .await;
    let door = Door::start(&backend).await;
    for range in ["bytes=0-1", "bytes=2-3", "bytes=4-5", "bytes=6-7"] {
        assert_eq!(get(&door, range).await.3, "MISS");
    }
    for range in ["bytes=0-1", "bytes=2-3", "bytes=4-5", "bytes=6-7"] {
        assert_eq!(get(&door, range).await.3, "HIT");
    }
    assert_eq!(backend.count(), 4);
}

#[tokio::test]
async fn a_part_of_something_else_is_dropped_for_the_whole() {
    let check = async |second: Answer, requests: usize| {
        let shown = format!("{second:?}");
        let backend = Backend::start(move |seen| match (seen.index, seen.field("Range")) {
            (0, _) => ranged(&[FRESH, TAG])(seen),
            (1, Some(_)) => second.clone(),
            _ => answer(200, &[FRESH, ("ETag", "\"b\"")], "another"),
        })
        .await;
        let door = Door::start(&backend).await;
        get(&door, "bytes=0-4").await;
        assert_eq!(door.get("/").await.text(), "another", "{shown}");
        assert_eq!(backend.count(), requests, "{shown}");
        assert_eq!(get(&door, "bytes=0-2").await.2, "ano", "{shown}");
        assert_eq!(backend.count(), requests, "{shown}");
    };
    let place = ("Content-Range", "bytes 5-9/10");
    let other = ("ETag", "\"b\"");
    check(answer(200, &[FRESH, other], "another"), 2).await;
    check(answer(206, &[FRESH, other, place], "56789"), 3).await;
    check(
        answer(
            206,
            &[FRESH, TAG, ("Content-Range", "bytes 5-8/10")],
            "5678",
        ),
        3,
    )
    .await;
    check(
        answer(
            206,
            &[FRESH, TAG, ("Content-Range", "bytes 5-9/11")],
            "56789",
        ),
        3,
    )
    .await;
    check(answer(416, &[("Content-Range", "bytes */4")], ""), 3).await;
}

#[tokio::test]
async fn a_rest_of_the_wrong_length_is_not_made_whole() {
    for rest in ["5678", "567890"] {
        let backend = Backend::start(move |seen| match seen.index {
            0 => ranged(&[FRESH, TAG])(seen),
            1 => {
                let fields = [FRESH, TAG, ("Content-Range", "bytes 5-9/10")];
                let chunked = [&fields[..], &[("Transfer-Encoding", "chunked")]].concat();
                Answer::default()
                    .head(206, &chunked)
                    .chunk(rest)
                    .then("0\r\n\r\n")
            }
            _ => answer(200, &[FRESH, TAG], WHOLE),
        })
        .await;
        let door = Door::start(&backend).await;
        get(&door, "bytes=0-4").await;
        let mut client = door.begin("GET", "/", &[]).await;
        assert!(!client.reply("GET").await.whole, "{rest}: cut off");
        assert_eq!(door.get("/").await.text(), WHOLE, "{rest}");
    }
}

#[tokio::test]
async fn what_is_no_single_part_is_relayed_and_not_stored() {
    let check = async |fields: Lines<'_>, body: &str| {
        let fields = [&[FRESH], fields].concat();
        let backend = Backend::always(answer(206, &fields, body)).await;
        let door = Door::start(&backend).await;
        for count in 1..3 {
            let reply = door.request("GET", "/", &[("Range", "bytes=0-1")]).await;
            assert_eq!((reply.status(), reply.text()), (206, body), "{fields:?}");
            assert_eq!(backend.count(), count, "{fields:?}");
        }
    };
    check(&[], "01").await;
    check(&[("Content-Range", "bytes 0-1/*")], "01").await;
    check(&[("Content-Range", "bytes 1-0/10")], "01").await;
    check(&[("Content-Range", "bytes 0-10/10")], "01").await;
    check(&[("Content-Range", "lines 0-1/10")], "01").await;
    check(&[("Content-Range", "bytes 0-1/10")], "012").await;
    let several = ("Content-Type", "multipart/byteranges; boundary=x");
    check(&[several], "--x--").await;
}

#[tokio::test]
async fn requests_for_one_part_share_a_fetch() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| ranged(&[FRESH, TAG])(seen).behind(&held)).await;
    let door = Door::start(&backend).await;
    let line = [("Range", "bytes=2-5")];
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(door.begin("GET", "/", &line).await);
    }
    backend.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply("GET").await.text(), "2345");
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_stale_part_is_renewed_by_a_304() {
    let backend = Backend::start(|seen| match seen.index {
        0 => ranged(&[FRESH, TAG, OLD])(seen),
        _ => answer(304, &[FRESH, TAG], ""),
    })
    .await;
    let door = Door::start(&backend).await;
    get(&door, "bytes=2-6").await;
    let renewed = get(&door, "bytes=3-4").await;
    assert_eq!(
        (renewed.0, &*renewed.1, &*renewed.2),
        (206, "bytes 3-4/10", "34")
    );
    let asked = backend.last();
    assert_eq!(asked.field("If-None-Match").as_deref(), Some("\"a\""));
    assert_eq!(asked.field("Range"), None);
    assert_eq!(get(&door, "bytes=3-4").await.3, "HIT");
}

#[tokio::test]
async fn if_range_goes_with_the_range_and_is_judged_here_later() {
    let backend = Backend::start(ranged(&[FRESH, TAG])).await;
    let door = Door::start(&backend).await;
    let check = async |condition: &str, status: u16, text: &str, count: usize| {
        let lines = [("Range", "bytes=2-4"), ("If-Range", condition)];
        let reply = door.request("GET", "/", &lines).await;
        assert_eq!(
            (reply.status(), reply.text()),
            (status, text),
            "{condition}"
        );
        assert_eq!(backend.count(), count, "{condition}");
    };
    check("\"a\"", 206, "234", 1).await;
    check("\"a\"", 206, "234", 1).await;
    check("\"b\"", 200, WHOLE, 2).await;
    // The whole is here by now.
    check("\"c\"", 200, WHOLE, 2).await;
    check("\"a\"", 206, "234", 2).await;
}

#[tokio::test]
async fn a_write_ends_stored_parts_too() {
    let backend = Backend::start(|seen| match &*seen.method {
        "PUT" => answer(204, &[], ""),
        _ => ranged(&[FRESH, TAG])(seen),
    })
    .await;
    let door = Door::start(&backend).await;
    get(&door, "bytes=2-6").await;
    assert_eq!(get(&door, "bytes=2-6").await.3, "HIT");
    door.request("PUT", "/", &[]).await;
    assert_eq!(get(&door, "bytes=2-6").await.3, "MISS");
}

/// What a later GET gets after a HEAD whose answer is this, where a stale answer was stored.
async fn after_head(
    head: &'static [(&'static str, &'static str)],
    status: u16,
) -> (String, String) {
    let backend = Backend::start(move |seen| match &*seen.method {
        "HEAD" => Answer::default().head(status, head),
        _ => {
            let fields = [FRESH, TAG, OLD, ("X", "old"), ("Y", "kept")];
            answer(200, &fields, format!("{}", seen.index))
        }
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    assert_eq!(door.request("HEAD", "/", &[]).await.status(), status);
    let reply = door.get("/").await;
    assert_eq!(reply.field("Y"), "kept");
    (reply.cache().to_owned(), reply.field("X"))
}

#[tokio::test]
async fn an_answer_to_head_renews_what_is_stored() {
    let same: Lines<'static> = &[FRESH, TAG, ("X", "new"), ("Content-Length", "1")];
    assert_eq!(after_head(same, 200).await, ("HIT".into(), "new".into()));
    let other: Lines<'static> = &[FRESH, ("ETag", "\"b\""), ("X", "new")];
    assert_eq!(after_head(other, 200).await, ("MISS".into(), "old".into()));
    let longer: Lines<'static> = &[FRESH, TAG, ("X", "new"), ("Content-Length", "2")];
    assert_eq!(after_head(longer, 200).await, ("MISS".into(), "old".into()));
    let private: Lines<'static> = &[("Cache-Control", "private, max-age=60"), TAG];
    assert_eq!(after_head(private, 200).await.0, "MISS");
    let gone: Lines<'static> = &[FRESH, TAG, ("X", "new")];
    assert_eq!(after_head(gone, 410).await, ("MISS".into(), "old".into()));
}

#[tokio::test]
async fn an_answer_to_head_ends_what_it_contradicts() {
    let backend = Backend::start(|seen| match &*seen.method {
        "HEAD" => Answer::default().head(200, &[("ETag", "\"b\"")]),
        _ => answer(200, &[FRESH, TAG], "body"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let reload = [("Cache-Control", "no-cache")];
    door.request("HEAD", "/", &reload).await;
    assert_eq!(backend.count(), 2);
    assert_eq!(door.get("/").await.cache(), "MISS");
}

/// Whether an answer to POST serves a later GET.
async fn check_post(fields: Lines<'_>, status: u16, serves: bool) {
    let post = answer(status, fields, "made");
    let backend = Backend::start(move |seen| match &*seen.method {
        "POST" => post.clone(),
        _ => answer(200, &[FRESH], "got"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/a?b").await;
    let mut client = door.connect().await;
    assert_eq!(client.write("POST", "/a?b", "hi").await.text(), "made");
    let expected = if serves { "made" } else { "got" };
    assert_eq!(
        client.get("/a?b").await.text(),
        expected,
        "{fields:?} {status}"
    );
}

#[tokio::test]
async fn an_answer_to_post_that_is_its_targets_content_serves_get() {
    let own = ("Content-Location", "/a?b");
    check_post(&[FRESH, own], 200, true).await;
    check_post(
        &[FRESH, ("Content-Location", "http://example.org/a?b")],
        200,
        true,
    )
    .await;
    check_post(&[("Cache-Control", "public"), own, TAG], 200, false).await;
    check_post(&[FRESH], 200, false).await;
    check_post(&[FRESH, ("Content-Location", "/a")], 200, false).await;
    check_post(&[FRESH, ("Content-Location", "http://b/a?b")], 200, false).await;
    check_post(&[FRESH, own], 201, false).await;
    check_post(&[("Cache-Control", "private, max-age=9"), own], 200, false).await;
}

#[tokio::test]
async fn an_answer_to_post_that_a_write_overtook_is_not_stored() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match &*seen.method {
        "POST" => answer(200, &[FRESH, ("Content-Location", "/")], "older").behind(&held),
        "PUT" => answer(204, &[], ""),
        _ => answer(200, &[FRESH], "newer"),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut post = door.begin("POST", "/", &[]).await;
    backend.wait_for(1).await;
    door.request("PUT", "/", &[]).await;
    gate.open();
    assert_eq!(post.reply("POST").await.text(), "older");
    assert_eq!(door.get("/").await.text(), "newer");
}

#[tokio::test]
async fn groups_of_answers_end_together() {
    let backend = Backend::start(|seen| match &*seen.method {
        "GET" if seen.target == "/a" => {
            answer(200, &[FRESH, ("Cache-Groups", "\"x\", \"y z\"")], "a")
        }
        "GET" => answer(200, &[FRESH, ("Cache-Groups", "\"z\"")], "b"),
        _ => answer(204, &[("Cache-Group-Invalidation", "\"y z\"")], ""),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/a").await;
    door.get("/b").await;
    door.request("POST", "/c", &[]).await;
    assert_eq!(door.get("/a").await.cache(), "MISS");
    assert_eq!(door.get("/b").await.cache(), "HIT");
}

/// Fields and spellings by which a backend may answer for something else than the key names.
const REWRITTEN: [(&str, &str); 9] = [
    ("X-Forwarded-Host", "evil"),
    ("x_forwarded_host", "evil"),
    ("Forwarded", "host=evil"),
    ("X-Original-URL", "/other"),
    ("X-Forwarded-Prefix", "/other"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Forwarded-Port", "1"),
    ("X-If-Match", "\"0\""),
    ("Host", "EXAMPLE.org:80"),
];

#[tokio::test]
async fn an_answer_to_a_rewritten_post_serves_nobody_else() {
    for line in REWRITTEN {
        let backend = Backend::start(|seen| match &*seen.method {
            "POST" => answer(200, &[FRESH, ("Content-Location", "/")], "evil"),
            _ => answer(200, &[FRESH], "good"),
        })
        .await;
        let door = Door::start(&backend).await;
        let lines = [line, ("Content-Length", "0")];
        assert_eq!(door.request("POST", "/", &lines).await.text(), "evil");
        assert_eq!(door.get("/").await.text(), "good", "{line:?}");
    }
}

#[tokio::test]
async fn an_answer_to_a_rewritten_head_leaves_what_is_stored() {
    let with_content = ("Content-Length", "2");
    for line in REWRITTEN.into_iter().chain([with_content]) {
        let backend = Backend::start(|seen| match &*seen.method {
            "HEAD" => Answer::default().head(200, &[FRESH, TAG, ("X", "evil")]),
            _ => answer(200, &[FRESH, TAG, ("X", "good")], "body"),
        })
        .await;
        let door = Door::start(&backend).await;
        door.get("/").await;
        let lines = [line, ("Cache-Control", "no-cache")];
        let mut client = door.begin("HEAD", "/", &lines).await;
        if line == with_content {
            client.send("hi").await;
        }
        assert_eq!(client.reply("HEAD").await.field("X"), "evil", "{line:?}");
        let later = door.get("/").await;
        assert_eq!(later.field("X"), "good", "{line:?}");
        assert_eq!(later.cache(), "HIT", "{line:?}");
    }
}

#[tokio::test]
async fn an_answer_to_head_does_not_bring_back_what_a_newer_answer_replaced() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match (&*seen.method, seen.index) {
        ("HEAD", _) => Answer::default().head(200, &[FRESH]).behind(&held),
        (_, 0) => answer(200, &[FRESH], "older"),
        _ => answer(200, &[FRESH], "newer"),
    })
    .await;
    let door = Door::start(&backend).await;
    let reload = [("Cache-Control", "no-cache")];
    door.get("/").await;
    let mut head = door.begin("HEAD", "/", &reload).await;
    backend.wait_for(2).await;
    assert_eq!(door.request("GET", "/", &reload).await.text(), "newer");
    gate.open();
    assert_eq!(head.reply("HEAD").await.status(), 200);
    assert_eq!(door.get("/").await.text(), "newer");
}

#[tokio::test]
async fn an_answer_to_head_that_a_write_overtook_renews_nothing() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match &*seen.method {
        "HEAD" => Answer::default().head(200, &[FRESH, TAG]).behind(&held),
        "PUT" => answer(204, &[], ""),
        _ if seen.index == 0 => answer(200, &[FRESH, TAG], "older"),
        _ => answer(200, &[FRESH], "newer"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let mut head = door
        .begin("HEAD", "/", &[("Cache-Control", "no-cache")])
        .await;
    backend.wait_for(2).await;
    door.request("PUT", "/", &[]).await;
    gate.open();
    assert_eq!(head.reply("HEAD").await.status(), 200);
    assert_eq!(door.get("/").await.text(), "newer");
}

#[tokio::test]
async fn an_answer_to_head_in_another_coding_does_not_relabel_the_body() {
    let backend = Backend::start(|seen| match &*seen.method {
        "HEAD" => Answer::default().head(200, &[FRESH, ("Content-Encoding", "gzip")]),
        _ => answer(200, &[FRESH], "plain"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let reload = [("Cache-Control", "no-cache")];
    door.request("HEAD", "/", &reload).await;
    let later = door.get("/").await;
    assert_eq!(
        (later.text(), &*later.field("Content-Encoding")),
        ("plain", "")
    );
}

#[tokio::test]
async fn a_stale_answer_does_not_stand_in_where_head_asks_for_a_match() {
    for line in [
        ("If-Match", "\"b\""),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        let backend = Backend::start(|seen| match &*seen.method {
            "HEAD" => Answer::default().head(503, &[("Content-Length", "0")]),
            _ => {
                let modified = ("Last-Modified", "Mon, 07 Nov 1994 08:49:37 GMT");
                answer(200, &[FRESH, TAG, OLD, modified], "body")
            }
        })
        .await;
        let door = Door::with(&backend, |config| {
            config.cache.stale_if_error = Duration::from_secs(3600);
        })
        .await;
        door.get("/").await;
        assert_eq!(door.request("HEAD", "/", &[line]).await.status(), 503);
    }
}

#[tokio::test]
async fn a_part_longer_than_its_place_is_not_used() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match seen.field("Range").as_deref() {
        Some("bytes=0-1") => {
            let place = ("Content-Range", "bytes 0-1/10");
            let fields = [FRESH, TAG, place, ("Transfer-Encoding", "chunked")];
            Answer::default()
                .head(206, &fields)
                .chunk("01")
                .hold(&held)
                .chunk("XX")
                .then("0\r\n\r\n")
        }
        _ => ranged(&[FRESH, TAG])(seen),
    })
    .await;
    let door = Door::start(&backend).await;
    let mut client = door.begin("GET", "/", &[("Range", "bytes=0-1")]).await;
    let head = client.head("GET").await;
    gate.open();
    assert!(!client.body_of(head).await.whole);
    assert_eq!(door.front.store.objects(), 0);
    get(&door, "bytes=2-3").await;
    assert_eq!(get(&door, "bytes=2-3").await.2, "23");
    assert_eq!(door.get("/").await.text(), WHOLE);
}

#[tokio::test]
async fn an_error_that_a_range_or_a_condition_may_have_caused_is_not_stored() {
    let check = async |status: u16, line: (&'static str, &str), stored: bool| {
        let backend = Backend::start(move |seen| match seen.field(line.0) {
            Some(_) => answer(status, &[FRESH], "error"),
            None => answer(200, &[FRESH], "good"),
        })
        .await;
        let door = Door::start(&backend).await;
        assert_eq!(door.request("GET", "/", &[line]).await.status(), status);
        let expected = if stored { "error" } else { "good" };
        assert_eq!(door.get("/").await.text(), expected, "{status} {line:?}");
    };
    let range = ("Range", "bytes=18446744073709551615-");
    for status in [400, 403, 416, 500, 501, 503] {
        check(status, range, false).await;
        check(status, ("If-Match", "x"), false).await;
    }
    // Those are about the target.
    for status in [404, 410] {
        check(status, range, true).await;
    }
}

#[tokio::test]
async fn a_part_that_withholds_its_place_is_not_stored() {
    for directive in ["private", "no-cache"] {
        let value = format!("max-age=60, {directive}=\"content-range\"");
        let backend = Backend::start(move |seen| match seen.field("Range") {
            Some(_) => {
                let place = ("Content-Range", "bytes 0-4/10");
                answer(206, &[("Cache-Control", &*value), place], "01234")
            }
            None => answer(200, &[FRESH], WHOLE),
        })
        .await;
        let door = Door::start(&backend).await;
        assert_eq!(get(&door, "bytes=0-4").await.2, "01234");
        let whole = door.get("/").await;
        assert_eq!((whole.status(), whole.text()), (200, WHOLE), "{directive}");
    }
}

#[tokio::test]
async fn a_part_too_large_to_keep_leaves_those_that_are_stored() {
    let backend = Backend::start(ranged(&[FRESH])).await;
    let door = Door::with(&backend, |config| {
        config.cache.object_bytes_max = "4".parse().expect("a size");
    })
    .await;
    get(&door, "bytes=2-3").await;
    assert_eq!(get(&door, "bytes=4-9").await.2, "456789");
    assert_eq!(get(&door, "bytes=2-3").await.3, "HIT");
    get(&door, "bytes=5-6").await;
    assert_eq!(get(&door, "bytes=5-6").await.3, "HIT");
}

#[tokio::test]
async fn what_digests_one_message_is_not_told_of_another() {
    let digest = ("Content-Digest", "sha-256=:AA==:");
    let check = async |fields: &'static [(&'static str, &'static str)], first: &str| {
        let backend = Backend::start(ranged(fields)).await;
        let door = Door::start(&backend).await;
        let line = [("Range", first)];
        assert_eq!(
            door.request("GET", "/", &line).await.field(digest.0),
            digest.1
        );
        let within = [("Range", "bytes=2-3")];
        let reply = door.request("GET", "/", &within).await;
        assert_eq!((reply.text(), &*reply.field(digest.0)), ("23", ""));
        let whole = door.get("/").await;
        assert_eq!((whole.text(), &*whole.field(digest.0)), (WHOLE, ""));
    };
    check(
        &[FRESH, TAG, ("Content-Digest", "sha-256=:AA==:")],
        "bytes=0-4",
    )
    .await;
}

#[tokio::test]
async fn trailers_of_the_rest_are_not_those_of_the_whole() {
    let backend = Backend::start(|seen| match seen.index {
        0 => ranged(&[FRESH, TAG])(seen),
        _ => {
            let place = ("Content-Range", "bytes 5-9/10");
            let fields = [FRESH, TAG, place, ("Transfer-Encoding", "chunked")];
            Answer::default()
                .head(206, &fields)
                .chunk("56789")
                .then("0\r\nX-Sum: of-the-rest\r\n\r\n")
        }
    })
    .await;
    let door = Door::start(&backend).await;
    get(&door, "bytes=0-4").await;
    for _ in 0..2 {
        let whole = door.get("/").await;
        assert_eq!((whole.text(), whole.trailers.as_ref()), (WHOLE, None));
    }
}

#[tokio::test]
async fn scattered_ranges_end_in_one_fetch_of_the_whole() {
    const LONG: usize = 1000;
    let backend = Backend::start(|seen| {
        let range = seen.field("Range");
        let first = range.and_then(|range| {
            let range = range.strip_prefix("bytes=")?.to_owned();
            range.split_once('-')?.0.parse::<usize>().ok()
        });
        match first {
            Some(first) => {
                let place = format!("bytes {first}-{first}/{LONG}");
                answer(206, &[FRESH, ("Content-Range", &place)], "x")
            }
            None => answer(200, &[FRESH], "x".repeat(LONG)),
        }
    })
    .await;
    let door = Door::start(&backend).await;
    for first in 0..100 {
        let range = format!("bytes={0}-{0}", first * 3);
        assert_eq!(get(&door, &range).await.2, "x");
    }
    assert!(backend.count() < 20, "{}", backend.count());
    assert_eq!(door.front.store.objects(), 1);
}
