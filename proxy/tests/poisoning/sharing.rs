//! Answers for one client: cookies, credentials, and what an answer varies on.

use crate::support::{Backend, Door, Reply, answer};
use crate::{EVIL, FRESH, assert_clean, stored};

/// Two requests for `/`; nothing of the first may be in the second.
async fn check(
    backend: &Backend,
    attack: &[(&str, &str)],
    victim: &[(&str, &str)],
) -> (Reply, Reply, Vec<String>) {
    let door = Door::start(backend).await;
    let attack = door.request("GET", "/", attack).await;
    let victim = door.request("GET", "/", victim).await;
    let shown = format!("{:?} {}", victim.head.fields, victim.text());
    assert!(!shown.contains(EVIL), "{shown}");
    (attack, victim, stored(&door))
}

/// Session fixation: the attacker's session in everybody's browser.
#[tokio::test]
async fn cookie_set_for_one_is_not_set_for_others() {
    let set = |lines: [(&'static str, &'static str); 2]| {
        Backend::start(move |seen| match seen.index {
            0 => answer(200, &lines, "the page"),
            _ => answer(200, &[FRESH], "the page"),
        })
    };
    let cookie = ("Set-Cookie", "session=evil.example");
    let backend = set([FRESH, cookie]).await;
    let (attack, victim, stored) = check(&backend, &[], &[]).await;
    assert_eq!(attack.field("Set-Cookie"), "session=evil.example");
    assert_eq!((victim.cache(), stored.len()), ("MISS".into(), 1));

    // By name, the field alone is kept from others.
    for withheld in [
        "max-age=60, private=\"set-cookie\"",
        "max-age=60, no-cache=\"Set-Cookie\"",
        "s-maxage=60, private=\"Set-Cookie, X\"",
    ] {
        let backend = set([("Cache-Control", withheld), cookie]).await;
        let (attack, victim, _) = check(&backend, &[], &[]).await;
        assert_eq!(attack.field("Set-Cookie"), "session=evil.example");
        assert_eq!(victim.cache(), "HIT", "{withheld}");
    }
}

/// A 304 renews the stored fields, so it could bring a cookie as well.
#[tokio::test]
async fn cookie_on_a_confirmation_is_not_set_for_others() {
    let etag = ("ETag", "\"1\"");
    let backend = Backend::start(move |seen| {
        let is_asked = seen.field("If-None-Match").is_some();
        match (is_asked, seen.field("Cookie")) {
            (true, Some(_)) => {
                let cookie = ("Set-Cookie", "session=evil.example");
                answer(304, &[FRESH, etag, cookie], "")
            }
            _ => answer(200, &[FRESH, etag], "the page"),
        }
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let reload = [("Cache-Control", "no-cache"), ("Cookie", "mallory")];
    door.request("GET", "/", &reload).await;
    assert_eq!(backend.count(), 2, "the reload asks");
    let victim = door.get("/").await;
    assert_eq!((victim.status(), victim.text()), (200, "the page"));
    assert_clean(&door, &victim, "304");
}

#[tokio::test]
async fn answer_to_credentials_is_not_given_to_others() {
    let backend = Backend::start(|seen| {
        let user = seen.field("Authorization").unwrap_or_default();
        answer(200, &[FRESH], user)
    })
    .await;
    let credentials = [("Authorization", "Bearer evil.example")];
    let (attack, victim, stored) = check(&backend, &credentials, &[]).await;
    assert_eq!(
        attack.field("Cache-Status"),
        "lacquer; fwd=uri-miss; detail=authorization"
    );
    assert_eq!((victim.text(), stored.len()), ("", 1));
}

/// In the other direction: a refusal to somebody without credentials, kept for those who have them.
#[tokio::test]
async fn page_is_not_fetched_again_for_credentials_that_it_does_not_need() {
    let backend = Backend::always(answer(200, &[FRESH], "the page")).await;
    let user = [("Authorization", "Bearer alice")];
    let (_, victim, stored) = check(&backend, &[], &user).await;
    assert_eq!((victim.cache(), stored.len()), ("HIT".into(), 1));
}

#[tokio::test]
async fn answers_that_vary_are_kept_apart() {
    for name in ["Cookie", "Origin", "User-Agent", "X-Forwarded-Host"] {
        let backend = Backend::start(move |seen| {
            let value = seen.field(name).unwrap_or_else(|| "nobody".to_owned());
            let lines = [
                FRESH,
                ("Vary", name),
                ("Access-Control-Allow-Origin", &value),
            ];
            answer(200, &lines, &value)
        })
        .await;
        let (_, victim, _) = check(&backend, &[(name, EVIL)], &[(name, "alice")]).await;
        assert_eq!(victim.cache(), "MISS", "{name}");
        let (_, victim, stored) = check(&backend, &[(name, EVIL)], &[]).await;
        assert_eq!((victim.cache(), stored.len()), ("MISS".into(), 2), "{name}");
        assert_eq!(victim.text(), "nobody");
    }
}

/// Of two clients that ask at once one fetches; what came for it alone is not for the other.
#[tokio::test]
async fn private_answer_is_not_shared_with_those_who_wait() {
    let gate = crate::support::Gate::new();
    let held = gate.clone();
    let backend = Backend::start(move |seen| {
        let user = seen.field("Cookie").unwrap_or_default();
        let lines = [("Cache-Control", "private, max-age=60")];
        answer(200, &lines, user).behind(&held)
    })
    .await;
    let door = Door::start(&backend).await;
    let mut attacker = door.begin("GET", "/", &[("Cookie", EVIL)]).await;
    backend.wait_for(1).await;
    let mut victim = door.begin("GET", "/", &[("Cookie", "alice")]).await;
    crate::support::until("the victim waits", || {
        door.counted(proxy::metrics::Counter::BusySleeps) == 1
    })
    .await;
    gate.open();
    assert_eq!(attacker.reply("GET").await.text(), EVIL);
    let victim = victim.reply("GET").await;
    assert_eq!(victim.text(), "alice");
    assert_clean(&door, &victim, "coalesced");
    assert_eq!(stored(&door).len(), 0);
}
