//! Fields that frameworks obey and no key holds, and the parts of a request that a key might lose.

use crate::support::{Backend, Door, answer};
use crate::{EVIL, FRESH, assert_clean, reflecting, stored};

/// By which services let themselves be told another scheme, host, path or method.
const UNKEYED: [&str; 38] = [
    "Base-Url",
    "Forwarded",
    "Front-End-Https",
    "X-Accel-Mapping",
    "X-Envoy-Original-Host",
    "X-Envoy-Original-Path",
    "X-Forwarded-Host",
    "X-Forwarded-Method",
    "X-Forwarded-Path",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-Scheme",
    "X-Forwarded-Server",
    "X-Forwarded-Ssl",
    "X-Forwarded-Uri",
    "X-Host",
    "X-HTTP-DestinationURL",
    "X-HTTP-Host-Override",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Invoke-Path",
    "X-Invoke-Query",
    "X-Method-Override",
    "X-Middleware-Rewrite",
    "X-Middleware-Subrequest",
    "X-Now-Route-Matches",
    "X-Original-Host",
    "X-Original-Method",
    "X-Original-Uri",
    "X-Original-Url",
    "X-Rewrite-Url",
    "X-Scheme",
    "X-Script-Name",
    "X-Sendfile-Type",
    "X-Url-Rewrite",
    "X-Url-Scheme",
];

/// The attacker's GET fills the cache; the victim is answered from it.
async fn check(name: &str) {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    let attack = door.request("GET", "/", &[(name, EVIL)]).await;
    assert_eq!(attack.status(), 200, "{name}");
    let victim = door.get("/").await;
    assert_eq!(victim.cache(), "HIT", "{name}");
    assert_clean(&door, &victim, name);
    assert_eq!((backend.count(), stored(&door).len()), (1, 1), "{name}");
}

#[tokio::test]
async fn unkeyed_fields_do_not_change_what_is_stored() {
    for name in UNKEYED {
        check(name).await;
    }
}

/// A service behind CGI or WSGI reads `X_Forwarded_Host` as `X-Forwarded-Host`.
#[tokio::test]
async fn unkeyed_fields_spelled_with_underscores_do_not_either() {
    for name in UNKEYED {
        check(&name.replace('-', "_").to_ascii_lowercase()).await;
        check(&name.replacen('-', "_", 1)).await;
    }
}

#[tokio::test]
async fn field_that_poses_as_a_varying_one_does_not_choose_a_variant() {
    let backend = Backend::start(|seen| {
        let language = seen.field("Accept-Language");
        // As CGI has it: one variable for both spellings.
        let language = language.or_else(|| seen.field("Accept_Language"));
        let vary = ("Vary", "Accept-Language");
        answer(200, &[FRESH, vary], language.unwrap_or_default())
    })
    .await;
    let door = Door::start(&backend).await;
    door.request("GET", "/", &[("Accept_Language", EVIL)]).await;
    let victim = door.get("/").await;
    assert_clean(&door, &victim, "no language");
    assert_eq!(victim.text(), "");
}

#[tokio::test]
async fn the_whole_query_is_in_the_key() {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    let attacks = [
        format!("/?utm_content={EVIL}"),
        format!("/?_={EVIL}"),
        format!("/?;{EVIL}"),
        format!("/?&callback={EVIL}"),
        format!("/??{EVIL}"),
        format!("/;jsessionid={EVIL}"),
    ];
    for attack in &attacks {
        door.get(attack).await;
    }
    for victim in ["/", "/?"] {
        let reply = door.get(victim).await;
        assert_eq!(reply.cache(), "MISS", "{victim}");
        let shown = format!("{:?} {}", reply.head.fields, reply.text());
        assert!(!shown.contains(EVIL), "{victim}: {shown}");
    }
    assert_eq!(stored(&door).len(), attacks.len() + 2);
}

/// What Connection lists is gone before variants are chosen; what it must not list stays.
#[tokio::test]
async fn connection_takes_nothing_away_that_decides() {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    let listed = "Host, X-Forwarded-Proto, X-Forwarded-For, Cache-Control, Via";
    let lines = [("Connection", listed), ("X-Forwarded-Proto", EVIL)];
    door.request("GET", "/", &lines).await;
    let seen = backend.last();
    assert_eq!(seen.field("Host").as_deref(), Some("example.org"));
    assert_eq!(seen.field("X-Forwarded-Proto").as_deref(), Some("http"));
    assert_eq!(seen.field("X-Forwarded-For").as_deref(), Some("127.0.0.1"));
    let victim = door.get("/").await;
    assert_eq!(victim.cache(), "HIT");
    assert_clean(&door, &victim, listed);
}
