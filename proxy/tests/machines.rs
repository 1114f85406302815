//! The request machine and the fetch machine, driven through every transition that their pages draw
//! (`request/REQUEST.md`, `fetch/FETCH.md`) by a policy that does what the test says.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proxy::metrics::{Counter, Outcome};
use proxy::object::Times;
use proxy::policy::{
    Deliver, Hit, Invalidation, Miss, OnError, Purpose, Recv, Request, Softness, Source, Storage,
    Synth,
};
use proxy::rules::storability::NotStored;
use support::{Answer, Backend, Door, Gate, PATIENCE, Script, answer, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

/// What a request asks a script for, once: a restarted request goes the usual way.
fn wish(request: &Request, name: &str) -> Option<String> {
    let wish = request.head.fields.get_str(name)?;
    (request.restarts == 0).then(|| wish.to_owned())
}

/// A backend whose bodies tell which request they answer.
async fn counting() -> Backend {
    Backend::start(|seen| answer(200, &[FRESH], format!("answer {}", seen.index))).await
}

#[tokio::test]
async fn recv_leads_where_the_policy_says() {
    let backend = counting().await;
    let script = Script {
        recv: Some(Box::new(|request| {
            Some(match &*wish(request, "X-Recv")? {
                "hash" => Recv::Hash,
                "pass" => Recv::Pass,
                "pipe" => Recv::Pipe,
                "purge" => Recv::Purge(Invalidation::Url(Softness::Hard)),
                "synth" => Recv::Synth(Synth::because(418, "Teapot")),
                "restart" => Recv::Restart,
                other => panic!("no such state: {other}"),
            })
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let check = async |wish: &str, status: u16, text: &str, cache: &str, fetches: usize| {
        let reply = door.request("GET", "/recv", &[("X-Recv", wish)]).await;
        assert_eq!(reply.status(), status, "{wish}");
        assert!(reply.text().starts_with(text), "{wish}: {}", reply.text());
        assert_eq!(reply.cache(), cache, "{wish}");
        assert_eq!(backend.count(), fetches, "{wish}");
    };
    check("hash", 200, "answer 0", "MISS", 1).await;
    check("hash", 200, "answer 0", "HIT", 1).await;
    check("pass", 200, "answer 1", "MISS", 2).await;
    check("pipe", 200, "answer 2", "MISS", 3).await;
    check("synth", 418, "Teapot", "MISS", 3).await;
    check("restart", 200, "answer 0", "HIT", 3).await;
    check("purge", 200, "Purged 1", "MISS", 3).await;
    check("hash", 200, "answer 3", "MISS", 4).await;
}

#[tokio::test]
async fn hit_leads_where_the_policy_says() {
    let backend = counting().await;
    let script = Script {
        hit: Some(Box::new(|request| {
            Some(match &*wish(request, "X-Hit")? {
                "deliver" => Hit::Deliver,
                "refresh" => Hit::DeliverAndRefresh,
                "miss" => Hit::Miss,
                "pass" => Hit::Pass,
                "synth" => Hit::Synth(Synth::new(418)),
                "restart" => Hit::Restart,
                other => panic!("no such state: {other}"),
            })
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let check = async |wish: &str, status: u16, text: &str, fetches: usize| {
        let reply = door.request("GET", "/hit", &[("X-Hit", wish)]).await;
        assert_eq!(reply.status(), status, "{wish}");
        assert!(reply.text().starts_with(text), "{wish}: {}", reply.text());
        backend.wait_for(fetches).await;
    };
    check("deliver", 200, "answer 0", 1).await;
    check("deliver", 200, "answer 0", 1).await;
    check("synth", 418, "I'm a teapot", 1).await;
    check("restart", 200, "answer 0", 1).await;
    check("pass", 200, "answer 1", 2).await;
    check("deliver", 200, "answer 0", 2).await;
    check("miss", 200, "answer 2", 3).await;
    check("deliver", 200, "answer 2", 3).await;
    check("refresh", 200, "answer 2", 4).await;
    let mut refreshed = door.connect().await;
    let mut text = String::new();
    for _ in 0..1000 {
        text = refreshed.get("/hit").await.text().to_owned();
        if text == "answer 3" {
            break;
        }
    }
    assert_eq!(text, "answer 3");
    assert_eq!(backend.count(), 4);
    assert_eq!(door.counted(Counter::BackgroundFetches), 1);
}

#[tokio::test]
async fn miss_leads_where_the_policy_says() {
    let backend = counting().await;
    let script = Script {
        miss: Some(Box::new(|request| {
            Some(match &*wish(request, "X-Miss")? {
                "fetch" => Miss::Fetch,
                "pass" => Miss::Pass,
                "synth" => Miss::Synth(Synth::new(418)),
                "restart" => Miss::Restart,
                other => panic!("no such state: {other}"),
            })
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let check = async |target: &str, wish: &str, status: u16, text: &str, fetches: usize| {
        let reply = door.request("GET", target, &[("X-Miss", wish)]).await;
        assert_eq!(reply.status(), status, "{wish}");
        assert!(reply.text().starts_with(text), "{wish}: {}", reply.text());
        assert_eq!(backend.count(), fetches, "{wish}");
    };
    check("/a", "synth", 418, "I'm a teapot", 0).await;
    check("/a", "pass", 200, "answer 0", 1).await;
    check("/a", "fetch", 200, "answer 1", 2).await;
    check("/a", "synth", 200, "answer 1", 2).await;
    check("/b", "restart", 200, "answer 2", 3).await;
    check("/b", "synth", 200, "answer 2", 3).await;
}

#[tokio::test]
async fn a_mark_still_asks_the_policy_before_it_fetches() {
    let backend =
        Backend::always(answer(200, &[("Cache-Control", "no-store")], "not stored")).await;
    let script = Script {
        miss: Some(Box::new(|request| {
            let wish = wish(request, "X-Miss")?;
            Some(match &*wish {
                "pass" => Miss::Pass,
                _ => Miss::Synth(Synth::new(418)),
            })
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    door.get("/").await;
    assert_eq!(door.get("/").await.status(), 200);
    assert_eq!(door.counted(Counter::CacheHitsForMiss), 1);
    let refused = door.request("GET", "/", &[("X-Miss", "synth")]).await;
    assert_eq!(refused.status(), 418);
    assert_eq!(backend.count(), 2);
    let passed = door.request("GET", "/", &[("X-Miss", "pass")]).await;
    assert_eq!(passed.text(), "not stored");
    assert_eq!(door.counted(Counter::Passes), 1);
}

#[tokio::test]
async fn deliver_leads_where_the_policy_says() {
    let backend = counting().await;
    let script = Script {
        deliver: Some(Box::new(|request, delivery, head| {
            if delivery.source == Source::Synth {
                return None;
            }
            Some(match &*wish(request, "X-Deliver")? {
                "deliver" => {
                    head.set("X-Mark", "delivered");
                    Deliver::Deliver
                }
                "synth" => Deliver::Synth(Synth::new(418)),
                "restart" => Deliver::Restart,
                other => panic!("no such state: {other}"),
            })
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let check = async |method: &str, wish: &str, status: u16, mark: &str, fetches: usize| {
        let reply = door
            .request(method, "/deliver", &[("X-Deliver", wish)])
            .await;
        assert_eq!(reply.status(), status, "{wish}");
        assert_eq!(reply.field("X-Mark"), mark, "{wish}");
        assert_eq!(backend.count(), fetches, "{wish}");
        assert!(reply.whole, "{wish}");
    };
    check("GET", "deliver", 200, "delivered", 1).await;
    check("GET", "synth", 418, "", 1).await;
    check("GET", "restart", 200, "", 1).await;
    // A pass that is started again asks again.
    check("OPTIONS", "restart", 200, "", 3).await;
    // What was replaced has answered nobody.
    assert_eq!(door.counted(Counter::CacheMisses), 1);
    assert_eq!(door.counted(Counter::CacheHits), 1);
}

#[tokio::test]
async fn endless_restarts_are_refused() {
    let recv = Script {
        recv: Some(Box::new(|_| Some(Recv::Restart))),
        ..Script::default()
    };
    let hit = Script {
        hit: Some(Box::new(|_| Some(Hit::Restart))),
        ..Script::default()
    };
    let miss = Script {
        miss: Some(Box::new(|_| Some(Miss::Restart))),
        ..Script::default()
    };
    let deliver = Script {
        deliver: Some(Box::new(|_, _, _| Some(Deliver::Restart))),
        ..Script::default()
    };
    let backend = counting().await;
    for (name, script, warm) in [
        ("recv", recv, false),
        ("hit", hit, true),
        ("miss", miss, false),
        ("deliver", deliver, false),
    ] {
        let door = Door::start(&backend).await;
        if warm {
            door.get("/").await;
        }
        door.follow(script);
        let reply = tokio::time::timeout(PATIENCE, door.get("/"))
            .await
            .unwrap_or_else(|_| panic!("{name} restarts without end"));
        assert_eq!(reply.status(), 503, "{name}");
        assert_eq!(
            reply.head.reason(),
            "Too many restarts",
            "{name}: the client is told why"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_replaced_once_and_not_for_ever() {
    let backend = counting().await;
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let script = Script {
        deliver: Some(Box::new(move |_, _, _| {
            count.fetch_add(1, Ordering::Relaxed);
            Some(Deliver::Synth(Synth::new(418)))
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    assert_eq!(door.get("/").await.status(), 418);
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the answer and the synth");
}

#[tokio::test]
async fn a_body_that_was_sent_is_not_sent_again_in_part() {
    let backend = Backend::always(answer(200, &[], "done")).await;
    let script = Script {
        deliver: Some(Box::new(|request, delivery, _| {
            (delivery.source == Source::Pass && request.restarts == 0).then_some(Deliver::Restart)
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    for framing in [("Content-Length", "4"), ("Transfer-Encoding", "chunked")] {
        let mut client = door.begin("POST", "/", &[framing]).await;
        let body = match framing.0 {
            "Content-Length" => "body",
            _ => "4\r\nbody\r\n0\r\n\r\n",
        };
        client.send(body).await;
        let reply = client.reply("POST").await;
        assert_eq!(reply.status(), 503, "{framing:?}");
    }
    let bodies: Vec<_> = backend.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, [b"body", b"body"]);
}

#[tokio::test]
async fn an_answer_becomes_what_the_policy_says() {
    let backend = counting().await;
    let script = Script {
        backend_response: Some(Box::new(|fetch, received| {
            Some(match fetch.request.fields.get_str("X-Storage")? {
                "store" => Storage::Store(Times {
                    born: received.at,
                    ttl: Duration::from_secs(60),
                    grace: Duration::ZERO,
                    keep: Duration::ZERO,
                }),
                "stale" => Storage::Stale,
                "mark" => Storage::HitForMiss {
                    mark: Duration::from_secs(60),
                    because: NotStored::NoStore,
                },
                "private" => Storage::Private { because: None },
                other => panic!("no such storage: {other}"),
            })
        })),
        hit: Some(Box::new(|request| {
            request.head.fields.get("X-Miss").map(|_| Hit::Miss)
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let check = async |wish: &str, miss: bool, text: &str, fetches: usize| {
        let fields = [("X-Storage", wish), ("X-Miss", "yes")];
        let fields = if miss { &fields[..] } else { &fields[..1] };
        let reply = door.request("GET", "/", fields).await;
        assert_eq!(reply.text(), text, "{wish} {fetches}");
        assert_eq!(backend.count(), fetches, "{wish}");
    };
    // Nothing is stored: what came is delivered, though "stale" has nothing to offer.
    check("private", false, "answer 0", 1).await;
    check("stale", false, "answer 1", 2).await;
    check("store", false, "answer 2", 3).await;
    check("store", false, "answer 2", 3).await;
    check("stale", true, "answer 2", 4).await;
    check("private", true, "answer 4", 5).await;
    check("store", false, "answer 2", 5).await;
    check("mark", true, "answer 5", 6).await;
    // The mark has taken the place of the answer, until an answer can be stored.
    check("private", false, "answer 6", 7).await;
    assert_eq!(door.counted(Counter::CacheHitsForMiss), 1);
    check("store", false, "answer 7", 8).await;
    check("store", false, "answer 7", 8).await;
}

#[tokio::test]
async fn a_failed_fetch_becomes_what_the_policy_says() {
    let backend = Backend::start(|seen| match seen.index {
        0 => answer(200, &[FRESH], "stored"),
        _ => Answer::close(),
    })
    .await;
    let script = Script {
        backend_error: Some(Box::new(|fetch| {
            Some(match fetch.request.fields.get_str("X-Error")? {
                "stale" => OnError::Stale,
                _ => OnError::Synth(Synth::because(418, "Failed")),
            })
        })),
        hit: Some(Box::new(|_| Some(Hit::Miss))),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    assert_eq!(door.get("/").await.text(), "stored");
    let stale = door.request("GET", "/", &[("X-Error", "stale")]).await;
    assert_eq!((stale.status(), stale.text()), (200, "stored"));
    assert!(stale.field("Cache-Status").contains("stale-if-error"));
    let synth = door.request("GET", "/", &[("X-Error", "synth")]).await;
    assert_eq!(synth.status(), 418);
    // Stale without anything that is stale.
    let nothing = door.request("GET", "/other", &[("X-Error", "stale")]).await;
    assert_eq!(nothing.status(), 503);
    assert_eq!(door.counted(Counter::FetchesFailed), 3);
}

#[tokio::test]
async fn fetches_say_what_they_are_for() {
    let backend = counting().await;
    let purposes = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&purposes);
    let script = Script {
        backend_fetch: Some(Box::new(move |fetch| {
            seen.lock().push((fetch.purpose, fetch.stale.is_some()));
            None
        })),
        hit: Some(Box::new(|_| Some(Hit::DeliverAndRefresh))),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    door.get("/").await;
    door.get("/").await;
    backend.wait_for(2).await;
    door.request("OPTIONS", "/", &[]).await;
    assert_eq!(
        *purposes.lock(),
        [
            (Purpose::Fill, false),
            (Purpose::Refresh, true),
            (Purpose::Pass, false)
        ]
    );
}

#[tokio::test]
async fn a_panic_in_any_decision_ends_one_request() {
    let backend = Backend::start(|seen| match &*seen.target {
        "/broken" => Answer::close(),
        _ => answer(200, &[FRESH], "sound"),
    })
    .await;
    fn panics<T>(wish: Option<&str>, method: &str) -> Option<T> {
        assert!(wish != Some(method), "asked for by the test");
        None
    }
    fn wanted(fields: &proxy::http::Fields) -> Option<&str> {
        fields.get_str("X-Panic")
    }
    let script = Script {
        recv: Some(Box::new(|request| match wanted(&request.head.fields) {
            Some("synth") => Some(Recv::Synth(Synth::new(599))),
            wish => panics(wish, "recv"),
        })),
        hit: Some(Box::new(|request| {
            panics(wanted(&request.head.fields), "hit")
        })),
        miss: Some(Box::new(|request| {
            panics(wanted(&request.head.fields), "miss")
        })),
        deliver: Some(Box::new(|request, _, _| {
            panics(wanted(&request.head.fields), "deliver")
        })),
        synth: Some(Box::new(|status| {
            assert!(status != 599, "asked for by the test");
            None
        })),
        backend_fetch: Some(Box::new(|fetch| {
            panics(wanted(&fetch.request.fields), "backend_fetch")
        })),
        backend_response: Some(Box::new(|fetch, _| {
            panics(wanted(&fetch.request.fields), "backend_response")
        })),
        backend_error: Some(Box::new(|fetch| {
            panics(wanted(&fetch.request.fields), "backend_error")
        })),
    };
    let door = Door::scripted(&backend, script).await;
    door.get("/stored").await;
    let cases = [
        ("recv", "/stored", false),
        ("hit", "/stored", false),
        ("miss", "/new", false),
        ("deliver", "/stored", false),
        ("synth", "/", false),
        ("backend_fetch", "/new", true),
        ("backend_response", "/new", true),
        ("backend_error", "/broken", true),
    ];
    for (before, (method, target, in_fetch)) in (0..).zip(cases) {
        let mut client = door.begin("GET", target, &[("X-Panic", method)]).await;
        let head = client.try_head("GET").await;
        let status = head.map(|parsed| parsed.head.status);
        assert_eq!(status, in_fetch.then_some(500), "{method}");
        until(method, || door.counted(Counter::Panics) == before + 1).await;
        let sound = door.get("/stored").await;
        assert_eq!((sound.status(), sound.text()), (200, "sound"), "{method}");
    }
}

#[tokio::test]
async fn a_fetch_that_panics_frees_those_who_wait_for_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| {
        let sound = answer(200, &[FRESH], "sound");
        match seen.index {
            0 => sound.behind(&held),
            _ => sound,
        }
    })
    .await;
    let script = Script {
        backend_response: Some(Box::new(|fetch, _| {
            let asked = fetch.request.fields.get("X-Panic").is_some();
            assert!(!asked, "asked for by the test");
            None
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let mut leader = door.begin("GET", "/", &[("X-Panic", "yes")]).await;
    backend.wait_for(1).await;
    let mut followers = Vec::new();
    for _ in 0..3 {
        followers.push(door.begin("GET", "/", &[]).await);
    }
    until("followers", || door.counted(Counter::BusySleeps) == 3).await;
    gate.open();
    assert_eq!(leader.reply("GET").await.status(), 500);
    for follower in &mut followers {
        assert_eq!(follower.reply("GET").await.text(), "sound");
    }
    assert_eq!(door.counted(Counter::Panics), 1);
    assert_eq!(door.get("/").await.cache(), "HIT");
}

#[tokio::test]
async fn those_who_wait_get_one_answer_or_their_own() {
    // Whether an answer with these fields serves everybody who waits for it.
    let check = async |fields: &[(&str, &str)], status: u16, fetches: usize| {
        let gate = Gate::new();
        let answer = answer(status, fields, "answer").behind(&gate);
        let backend = Backend::always(answer).await;
        let door = Door::start(&backend).await;
        let mut clients = vec![door.begin("GET", "/", &[]).await];
        backend.wait_for(1).await;
        for _ in 0..4 {
            clients.push(door.begin("GET", "/", &[]).await);
        }
        until("followers", || door.counted(Counter::BusySleeps) == 4).await;
        gate.open();
        for client in &mut clients {
            let reply = client.reply("GET").await;
            assert_eq!((reply.status(), reply.text()), (status, "answer"));
        }
        assert_eq!(backend.count(), fetches, "{fields:?}");
        let coalesced = if fetches == 1 { 4 } else { 0 };
        assert_eq!(door.counted(Counter::Coalesced), coalesced, "{fields:?}");
    };
    check(&[FRESH], 200, 1).await;
    check(&[FRESH], 404, 1).await;
    check(&[("Cache-Control", "private")], 200, 5).await;
    check(&[("Cache-Control", "no-store")], 200, 5).await;
    check(&[FRESH, ("Set-Cookie", "a=b")], 200, 5).await;
    check(&[FRESH, ("Vary", "*")], 200, 5).await;
    check(&[("ETag", "\"a\""), ("Cache-Control", "max-age=0")], 200, 5).await;
    // RFC 9111 §5.2.2.4: fresh or not, each use needs the backend's word.
    check(
        &[("ETag", "\"a\""), ("Cache-Control", "max-age=60, no-cache")],
        200,
        5,
    )
    .await;
    check(&[], 503, 5).await;
}

#[tokio::test]
async fn an_error_of_ours_is_for_all_who_wait() {
    let gate = Gate::new();
    let backend = Backend::always(Answer::close().behind(&gate)).await;
    let door = Door::start(&backend).await;
    let mut clients = vec![door.begin("GET", "/", &[]).await];
    backend.wait_for(1).await;
    clients.push(door.begin("GET", "/", &[]).await);
    until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.reply("GET").await.status(), 502);
    }
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn those_who_wait_for_another_variant_fetch_their_own() {
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| {
        let language = seen.field("Accept-Language").unwrap_or_default();
        answer(200, &[FRESH, ("Vary", "Accept-Language")], language).behind(&held)
    })
    .await;
    let door = Door::start(&backend).await;
    let mut german = door.begin("GET", "/", &[("Accept-Language", "de")]).await;
    backend.wait_for(1).await;
    let mut also_german = door.begin("GET", "/", &[("Accept-Language", "de")]).await;
    let mut french = door.begin("GET", "/", &[("Accept-Language", "fr")]).await;
    until("followers", || door.counted(Counter::BusySleeps) == 2).await;
    gate.open();
    assert_eq!(german.reply("GET").await.text(), "de");
    assert_eq!(also_german.reply("GET").await.text(), "de");
    assert_eq!(french.reply("GET").await.text(), "fr");
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn a_hundred_clients_stream_one_slow_fetch() {
    let (head, rest) = (Gate::new(), Gate::new());
    let backend = Backend::always(
        Answer::default()
            .hold(&head)
            .head(200, &[FRESH, ("Transfer-Encoding", "chunked")])
            .chunk("first")
            .hold(&rest)
            .chunk("last")
            .then("0\r\n\r\n"),
    )
    .await;
    let door = Door::start(&backend).await;
    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(door.begin("GET", "/", &[]).await);
    }
    until("followers", || door.counted(Counter::BusySleeps) == 99).await;
    head.open();
    let mut heads = Vec::new();
    for client in &mut clients {
        heads.push(client.head("GET").await);
        client.receive("5\r\nfirst\r\n").await;
    }
    // All have the first bytes before the last are made; those who come now have them as well.
    clients.push(door.begin("GET", "/", &[]).await);
    let late = clients.last_mut().expect("just added");
    heads.push(late.head("GET").await);
    late.receive("5\r\nfirst\r\n").await;
    rest.open();
    for (client, head) in clients.iter_mut().zip(heads) {
        let reply = client.body_of(head).await;
        assert_eq!((reply.text(), reply.whole), ("last", true));
    }
    assert_eq!(backend.count(), 1);
    assert_eq!(door.counted(Counter::Coalesced), 99);
    assert_eq!(door.counted(Counter::CacheMisses), 1);
    // As in Varnish, who waited for another's fetch has hit what it brought.
    assert_eq!(door.counted(Counter::CacheHits), 100);
}

#[tokio::test]
async fn a_leader_that_leaves_leaves_its_fetch_to_the_others() {
    let gate = Gate::new();
    let backend = Backend::always(answer(200, &[FRESH], "whole").behind(&gate)).await;
    let door = Door::start(&backend).await;
    let leader = door.begin("GET", "/", &[]).await;
    backend.wait_for(1).await;
    let mut follower = door.begin("GET", "/", &[]).await;
    until("a follower", || door.counted(Counter::BusySleeps) == 1).await;
    drop(leader);
    gate.open();
    assert_eq!(follower.reply("GET").await.text(), "whole");
    assert_eq!(door.get("/").await.cache(), "HIT");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn upgraded_connections_carry_bytes_both_ways() {
    let backend = Backend::always(
        Answer::default()
            .head(101, &[("Connection", "upgrade"), ("Upgrade", "echo")])
            .then("hello ")
            .echo(),
    )
    .await;
    let door = Door::start(&backend).await;
    let mut client = door
        .begin(
            "GET",
            "/",
            &[("Connection", "upgrade"), ("Upgrade", "echo")],
        )
        .await;
    let head = client.head("GET").await.head;
    assert_eq!(head.status, 101);
    assert_eq!(head.fields.get_str("Upgrade"), Some("echo"));
    client.send("and back").await;
    client.receive("hello and back").await;
    let mut rest = Vec::new();
    client.stream.shutdown().await.expect("an open connection");
    let end = client.stream.read_to_end(&mut rest);
    tokio::time::timeout(PATIENCE, end)
        .await
        .expect("the other side ends as well")
        .expect("no reset");
    until("the pipe's end", || door.counted(Counter::PipesEnded) == 1).await;
    assert_eq!(door.front.metrics.observed(Outcome::Pipe), 1);
    assert_eq!(door.counted(Counter::PipeBytesIn), 8);
    assert_eq!(door.counted(Counter::PipeBytesOut), 14);
    assert_eq!(backend.last().field("Upgrade").as_deref(), Some("echo"));
}

#[tokio::test]
async fn a_switch_that_is_declined_is_an_answer() {
    let backend = Backend::always(answer(426, &[("X-Why", "no")], "declined")).await;
    let door = Door::start(&backend).await;
    let reply = door
        .request(
            "GET",
            "/",
            &[("Connection", "upgrade"), ("Upgrade", "echo")],
        )
        .await;
    assert_eq!((reply.status(), reply.text()), (426, "declined"));
}

#[tokio::test]
async fn a_body_that_still_fills_is_not_renewed_by_a_304() {
    // The first answer is stale while it arrives, then breaks off.
    let gate = Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| match seen.index {
        0 => Answer::default()
            .head(200, &[("ETag", "\"a\""), FRESH, ("Content-Length", "10")])
            .then("begin")
            .hold(&held)
            .and_close(),
        _ if seen.field("If-None-Match").is_some() => answer(304, &[("ETag", "\"a\""), FRESH], ""),
        _ => answer(200, &[("ETag", "\"a\""), FRESH], "whole body"),
    })
    .await;
    let script = Script {
        hit: Some(Box::new(|request| {
            request.head.fields.get("X-Miss").map(|_| Hit::Miss)
        })),
        ..Script::default()
    };
    let door = Door::scripted(&backend, script).await;
    let mut first = door.begin("GET", "/", &[]).await;
    let head = first.head("GET").await;
    let again = door.request("GET", "/", &[("X-Miss", "yes")]).await;
    assert_eq!((again.text(), again.whole), ("whole body", true));
    gate.open();
    assert!(!first.body_of(head).await.whole);
    let stored = door.get("/").await;
    assert_eq!((stored.text(), stored.whole), ("whole body", true));
    assert_eq!(stored.cache(), "HIT");
}

#[tokio::test]
async fn policies_see_no_mark_as_a_stale_answer() {
    let backend = Backend::always(answer(200, &[("Cache-Control", "no-store")], "x")).await;
    let door = Door::with(&backend, |config| {
        config.cache.hit_for_miss = Duration::from_millis(1);
    })
    .await;
    let stale = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&stale);
    door.follow(Script {
        backend_fetch: Some(Box::new(move |fetch| {
            seen.fetch_add(u32::from(fetch.stale.is_some()), Ordering::Relaxed);
            None
        })),
        ..Script::default()
    });
    door.get("/").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let reply = door.get("/").await;
    assert!(reply.field("Cache-Status").contains("fwd=uri-miss"));
    assert_eq!(stale.load(Ordering::Relaxed), 0);
}
