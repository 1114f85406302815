//! PURGE, BAN and surrogate keys, and who may use them.

use std::time::Duration;

use crate::Lines;
use crate::support::{Backend, Door, Gate, Reply, answer};

/// A backend whose answers are tagged by their target: `/a/1` with `a` and `all`.
async fn tagged() -> Backend {
    Backend::start(|seen| {
        let keys = format!("{} all", seen.target.split('/').nth(1).unwrap_or_default());
        let fields = [
            ("Cache-Control", "max-age=60, stale-while-revalidate=60"),
            ("Surrogate-Key", keys.as_str()),
            ("ETag", "\"a\""),
        ];
        answer(200, &fields, format!("{} {}", seen.target, seen.index))
    })
    .await
}

async fn caches(door: &Door, targets: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for target in targets {
        found.push(door.get(target).await.cache());
    }
    found
}

#[tokio::test]
async fn a_purged_url_is_fetched_again() {
    let backend = tagged().await;
    let door = Door::start(&backend).await;
    caches(&door, &["/a", "/a?x", "/b"]).await;
    let purged = door.request("PURGE", "/a", &[]).await;
    assert_eq!(purged.status(), 200);
    assert!(purged.text().starts_with("Purged 1"));
    assert_eq!(backend.count(), 3, "the backend hears nothing of it");
    assert_eq!(
        caches(&door, &["/a", "/a?x", "/b"]).await,
        ["MISS", "HIT", "HIT"]
    );
    assert_eq!(backend.last().field("If-None-Match"), None);
    let nothing = door.request("PURGE", "/nothing", &[]).await;
    assert!(nothing.text().starts_with("Purged 0"));
}

#[tokio::test]
async fn a_soft_purge_leaves_a_stale_answer() {
    let backend = tagged().await;
    let door = Door::start(&backend).await;
    let first = door.get("/a").await;
    let soft = [("Lacquer-Purge", "soft")];
    assert_eq!(door.request("PURGE", "/a", &soft).await.status(), 200);
    let stale = door.get("/a").await;
    assert_eq!((stale.cache(), stale.text()), ("HIT".into(), first.text()));
    backend.wait_for(2).await;
    assert_eq!(
        backend.last().field("If-None-Match").as_deref(),
        Some("\"a\"")
    );
    let odd = [("Lacquer-Purge", "gently")];
    assert_eq!(door.request("PURGE", "/a", &odd).await.status(), 400);
}

#[tokio::test]
async fn surrogate_keys_name_many_answers() {
    let backend = tagged().await;
    let door = Door::start(&backend).await;
    let targets = ["/a/1", "/a/2", "/b/1", "/c/1"];
    caches(&door, &targets).await;
    let purge = |keys: &'static str| [("Surrogate-Key", keys)];
    assert_eq!(door.request("PURGE", "/", &purge("a")).await.status(), 200);
    assert_eq!(
        caches(&door, &targets).await,
        ["MISS", "MISS", "HIT", "HIT"]
    );
    door.request("PURGE", "/", &purge("b c")).await;
    assert_eq!(
        caches(&door, &targets).await,
        ["HIT", "HIT", "MISS", "MISS"]
    );
    door.request("PURGE", "/", &purge("al")).await;
    assert_eq!(caches(&door, &targets).await, ["HIT", "HIT", "HIT", "HIT"]);
    let fetched = backend.count();
    let soft = [("Surrogate-Key", "all"), ("Lacquer-Purge", "soft")];
    let reply = door.request("PURGE", "/", &soft).await;
    assert!(reply.text().starts_with("Purged 4"), "{}", reply.text());
    assert_eq!(caches(&door, &targets).await, ["HIT", "HIT", "HIT", "HIT"]);
    backend.wait_for(fetched + 4).await;
}

#[tokio::test]
async fn bans_hit_what_they_describe() {
    let backend = tagged().await;
    let door = Door::with(&backend, |config| {
        // Not the lurker: look-ups have to find out by themselves.
        config.purge.lurker_interval = Duration::from_secs(3600);
    })
    .await;
    let targets = ["/a/1", "/a/2", "/b/1"];
    caches(&door, &targets).await;
    let ban = async |expression: &str| -> Reply {
        door.request("BAN", "/", &[("Lacquer-Ban", expression)])
            .await
    };
    let added = ban("req.url ~ ^/a/ && req.url != /a/2").await;
    assert_eq!(
        (added.status(), added.text().lines().next()),
        (200, Some("Ban added"))
    );
    assert_eq!(caches(&door, &targets).await, ["MISS", "HIT", "HIT"]);
    assert_eq!(ban("obj.http.surrogate-key ~ b").await.status(), 200);
    assert_eq!(caches(&door, &targets).await, ["HIT", "HIT", "MISS"]);
    assert_eq!(ban("obj.status == 200").await.status(), 200);
    assert_eq!(caches(&door, &targets).await, ["MISS", "MISS", "MISS"]);
    assert_eq!(caches(&door, &targets).await, ["HIT", "HIT", "HIT"]);
    assert_eq!(ban("nonsense").await.status(), 400);
    assert_eq!(door.request("BAN", "/", &[]).await.status(), 400);
}

#[tokio::test]
async fn what_is_being_fetched_is_hit_as_well() {
    let requests: [(&str, Lines<'_>); 3] = [
        ("PURGE", &[]),
        ("PURGE", &[("Surrogate-Key", "a")]),
        ("BAN", &[("Lacquer-Ban", "obj.http.surrogate-key ~ a")]),
    ];
    for (method, lines) in requests {
        let gate = Gate::new();
        let held = gate.clone();
        let backend = Backend::start(move |seen| {
            let fields = [("Cache-Control", "max-age=60"), ("Surrogate-Key", "a")];
            match seen.index {
                0 => answer(200, &fields, "old").behind(&held),
                _ => answer(200, &fields, "new"),
            }
        })
        .await;
        let door = Door::start(&backend).await;
        let mut first = door.begin("GET", "/", &[]).await;
        backend.wait_for(1).await;
        assert_eq!(door.request(method, "/", lines).await.status(), 200);
        gate.open();
        assert_eq!(first.reply("GET").await.text(), "old");
        assert_eq!(door.get("/").await.text(), "new", "{method} {lines:?}");
        assert_eq!(door.get("/").await.cache(), "HIT", "{method} {lines:?}");
    }
}

#[tokio::test]
async fn only_those_on_the_list_may_purge() {
    let backend = tagged().await;
    let door = Door::with(&backend, |config| {
        config.purge.allow = vec!["192.0.2.0/24".parse().expect("a network")];
    })
    .await;
    door.get("/a").await;
    let tries: [(&str, Lines<'_>); 3] = [
        ("PURGE", &[]),
        ("PURGE", &[("Surrogate-Key", "a")]),
        ("BAN", &[("Lacquer-Ban", "obj.status == 200")]),
    ];
    for (method, lines) in tries {
        // What a client claims of itself does not count.
        let lines = [lines, &[("X-Forwarded-For", "192.0.2.1")]].concat();
        let refused = door.request(method, "/a", &lines).await;
        assert_eq!(refused.status(), 403, "{method}");
    }
    assert_eq!(door.get("/a").await.cache(), "HIT");
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn purging_can_be_off() {
    let backend = tagged().await;
    let door = Door::with(&backend, |config| config.purge.enabled = false).await;
    door.get("/a").await;
    assert_eq!(door.request("PURGE", "/a", &[]).await.status(), 405);
    assert_eq!(door.request("BAN", "/a", &[]).await.status(), 405);
    assert_eq!(door.get("/a").await.cache(), "HIT");
}
