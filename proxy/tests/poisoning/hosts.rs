//! Who is asked: Host, the target's own host, and spellings of both.

use crate::support::{Door, Reply};
use crate::{EVIL, assert_clean, reflecting, stored};

async fn raw(door: &Door, request: &str) -> Reply {
    let mut client = door.connect().await;
    client.send(request).await;
    client.reply("GET").await
}

#[tokio::test]
async fn host_that_disagrees_with_the_target_goes_nowhere() {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    let attack = format!("GET http://example.org/ HTTP/1.1\r\nHost: {EVIL}\r\n\r\n");
    assert_eq!(raw(&door, &attack).await.status(), 200);
    assert_eq!(backend.last().field("Host").as_deref(), Some("example.org"));
    let victim = door.get("/").await;
    assert_eq!(victim.cache(), "HIT");
    assert_clean(&door, &victim, "absolute form");
}

#[tokio::test]
async fn target_of_another_host_is_stored_under_that_host() {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    let attack = format!("GET http://{EVIL}/ HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert!(raw(&door, &attack).await.text().contains(EVIL));
    let victim = door.get("/").await;
    assert_eq!(victim.cache(), "MISS");
    assert!(!victim.text().contains(EVIL), "{}", victim.text());
    assert_eq!(stored(&door).len(), 2);
}

#[tokio::test]
async fn hosts_that_could_be_read_twice_are_refused() {
    let lines = [
        format!("Host: example.org\r\nHost: {EVIL}"),
        "Host: example.org\r\nHost: example.org".to_owned(),
        format!("Host: example.org, {EVIL}"),
        format!("Host: example.org@{EVIL}"),
        format!("Host: example.org/{EVIL}"),
        format!("Host: example.org {EVIL}"),
        format!("Host: example.org:80:{EVIL}"),
        format!("Host: example.org:{EVIL}"),
        format!("Host: example.org\r\n Host: {EVIL}"),
        format!("Host : {EVIL}\r\nHost: example.org"),
        format!(" Host: {EVIL}\r\nHost: example.org"),
    ];
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    for lines in lines {
        let attack = raw(&door, &format!("GET / HTTP/1.1\r\n{lines}\r\n\r\n")).await;
        assert_eq!(attack.status(), 400, "{lines}");
    }
    assert_eq!((backend.count(), stored(&door).len()), (0, 0));
    let victim = door.get("/").await;
    assert_clean(&door, &victim, "refused hosts");
}

/// They share a key, so what the backend sees has to be shared as well: a service that answers `EXAMPLE.org`
/// with an error, or puts the port into its links, would answer for all of them.
#[tokio::test]
async fn spellings_of_one_host_are_one_to_the_backend() {
    let spellings = [
        "EXAMPLE.org",
        "example.org:80",
        "Example.Org:80",
        "example.org:0080",
    ];
    for spelling in spellings {
        let backend = reflecting().await;
        let door = Door::start(&backend).await;
        door.request("GET", "/", &[("Host", spelling)]).await;
        assert_eq!(backend.last().field("Host").as_deref(), Some("example.org"));
        let victim = door.get("/").await;
        assert_eq!(victim.cache(), "HIT", "{spelling}");
        assert!(!victim.text().contains(spelling), "{}", victim.text());
        assert!(!stored(&door)[0].contains(spelling));
    }
}

#[tokio::test]
async fn hosts_that_differ_share_nothing() {
    let backend = reflecting().await;
    let door = Door::start(&backend).await;
    for host in ["example.org.", "example.org:81", "www.example.org", EVIL] {
        door.request("GET", "/", &[("Host", host)]).await;
    }
    let victim = door.get("/").await;
    assert_eq!(victim.cache(), "MISS");
    assert!(!victim.text().contains(EVIL));
    assert_eq!(stored(&door).len(), 5);
}
