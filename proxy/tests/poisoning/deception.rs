//! Cache deception: a victim is led to a URL that looks like a file, and the page for them would be kept there.

use std::collections::HashSet;

use crate::support::{Backend, Door, answer};
use crate::{FRESH, reflecting, stored};

/// Spellings by which caches and services have been made to disagree on what a URL names.
const TARGETS: [&str; 36] = [
    "/account",
    "/account/",
    "/account/x.css",
    "/account/x.js?v=1",
    "/account;.css",
    "/account;/x.css",
    "/account/;x.css",
    "/account.css",
    "/account/.css",
    "/account%0a.css",
    "/account%0Ax.css",
    "/account%00.css",
    "/account%09.css",
    "/account%20.css",
    "/account%23.css",
    "/account%23/x.css",
    "/account%3f.css",
    "/account%3Fx.css",
    "/account%3b.css",
    "/account%2f.css",
    "/account%2Fx.css",
    "/account%5cx.css",
    "/account\\x.css",
    "/account!x.css",
    "/account$x.css",
    "/account,x.css",
    "/account@x.css",
    "/account~x.css",
    "/static/../account",
    "/static/..%2faccount",
    "/static/%2e%2e/account",
    "/static/%2e%2e%2faccount",
    "/static/..;/account",
    "/static/..%5caccount",
    "/static//account",
    "/robots.txt/..%2f..%2faccount?x.css",
];

/// A service for which all of them are the account page of whoever asks.
async fn account(marking: &'static [(&'static str, &'static str)]) -> Backend {
    Backend::start(move |seen| match seen.field("Cookie") {
        Some(user) => answer(200, marking, format!("secrets of {user}")),
        None => answer(200, &[], "please log in"),
    })
    .await
}

async fn check(marking: &'static [(&'static str, &'static str)]) {
    let backend = account(marking).await;
    let door = Door::start(&backend).await;
    for target in TARGETS {
        let victim = door.request("GET", target, &[("Cookie", "alice")]).await;
        assert_eq!(victim.text(), "secrets of alice", "{target}");
        for attack in [&[][..], &[("Cookie", "mallory")]] {
            let attacker = door.request("GET", target, attack).await;
            let text = attacker.text();
            assert!(!text.contains("alice"), "{target} {marking:?}: {text}");
        }
    }
    for object in stored(&door) {
        assert!(!object.contains("alice"), "{object}");
    }
}

#[tokio::test]
async fn private_pages_stay_private_whatever_their_url_ends_with() {
    check(&[("Cache-Control", "private, max-age=60")]).await;
    check(&[("Cache-Control", "no-store")]).await;
    check(&[("Cache-Control", "no-cache")]).await;
    check(&[("Cache-Control", "max-age=0")]).await;
    check(&[FRESH, ("Set-Cookie", "session=alice")]).await;
    check(&[FRESH, ("Vary", "Cookie")]).await;
    check(&[FRESH, ("Vary", "*")]).await;
    check(&[FRESH, ("CDN-Cache-Control", "no-store")]).await;
}

/// An answer that says nothing of caching, as most services' pages do: the name of a file in its URL, or its
/// type, gives it no lifetime.
#[tokio::test]
async fn pages_that_say_nothing_are_not_kept_for_their_url() {
    check(&[]).await;
    check(&[("Content-Type", "text/css")]).await;
    check(&[("Content-Type", "image/png"), ("ETag", "\"1\"")]).await;
}

/// Neither cut, decoded nor folded: the key is the target as received, and so is what the backend sees.
#[tokio::test]
async fn each_spelling_is_a_key_of_its_own() {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    for cache in ["MISS", "HIT"] {
        for target in TARGETS {
            let reply = door.get(target).await;
            assert_eq!(reply.cache(), cache, "{target}");
            let first = reply.text().lines().next();
            assert_eq!(first, Some(format!("GET {target}").as_str()));
        }
    }
    let distinct: HashSet<&str> = TARGETS.into_iter().collect();
    assert_eq!(stored(&door).len(), distinct.len());
    assert_eq!(backend.count(), distinct.len());
}

#[tokio::test]
async fn targets_that_end_early_for_some_are_refused() {
    let backend = account(&[FRESH]).await;
    let door = Door::start(&backend).await;
    for target in ["/account#x.css", "/account\u{1}.css", "/account\u{e9}.css"] {
        let refused = door.request("GET", target, &[("Cookie", "alice")]).await;
        assert_eq!(refused.status(), 400, "{target:?}");
    }
    assert_eq!((backend.count(), stored(&door).len()), (0, 0));
}
