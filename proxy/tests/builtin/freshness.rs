//! How long answers are fresh, and what Age says.

use std::time::Duration;

use crate::support::{Backend, Door, answer, date};
use crate::{Lines, borrowed, owned};

/// Whether an answer is reused, without grace; and if it is, how old it says to be.
async fn check(status: u16, lines: Lines<'_>, expected: Option<u64>) {
    let fields = owned(lines);
    let backend = Backend::start(move |_| answer(status, &borrowed(&fields), "body")).await;
    let door = Door::with(&backend, |config| config.cache.grace = Duration::ZERO).await;
    let mut client = door.connect().await;
    let first = client.get("/").await;
    assert_eq!(first.cache(), "MISS");
    let second = client.get("/").await;
    assert_eq!((second.status(), second.text()), (status, "body"));
    match expected {
        Some(age) => {
            assert_eq!(second.cache(), "HIT", "{lines:?}");
            let off = second.age().checked_sub(age);
            assert!(
                off.is_some_and(|off| off < 10),
                "{lines:?}: {}",
                second.age()
            );
        }
        None => assert_eq!(second.cache(), "MISS", "{lines:?}"),
    }
    assert_eq!(backend.count(), if expected.is_some() { 1 } else { 2 });
}

const CACHE_CONTROL: &str = "Cache-Control";
const CDN: &str = "CDN-Cache-Control";

#[tokio::test]
async fn directives_give_the_lifetime() {
    check(200, &[(CACHE_CONTROL, "max-age=60")], Some(0)).await;
    check(200, &[(CACHE_CONTROL, "max-age=0")], None).await;
    check(200, &[(CACHE_CONTROL, "s-maxage=60, max-age=0")], Some(0)).await;
    check(200, &[(CACHE_CONTROL, "s-maxage=0, max-age=60")], None).await;
    check(404, &[(CACHE_CONTROL, "max-age=60")], Some(0)).await;
    check(302, &[(CACHE_CONTROL, "max-age=60")], Some(0)).await;
    check(200, &[], None).await;
}

#[tokio::test]
async fn expires_gives_the_lifetime_where_no_directive_does() {
    check(200, &[("Expires", &date(60))], Some(0)).await;
    check(200, &[("Expires", &date(-60))], None).await;
    check(200, &[("Expires", "0")], None).await;
    let past = date(-60);
    check(
        200,
        &[("Expires", &past), (CACHE_CONTROL, "max-age=60")],
        Some(0),
    )
    .await;
    check(
        200,
        &[("Expires", &date(60)), (CACHE_CONTROL, "max-age=0")],
        None,
    )
    .await;
    // Both moments are the origin's: a clock that is wrong does not matter to the lifetime.
    check(200, &[("Expires", &date(-40)), ("Date", &date(-100))], None).await;
    check(
        200,
        &[("Expires", &date(20)), ("Date", &date(-40))],
        Some(40),
    )
    .await;
}

#[tokio::test]
async fn the_field_for_this_cache_replaces_cache_control() {
    check(
        200,
        &[(CDN, "max-age=60"), (CACHE_CONTROL, "no-store")],
        Some(0),
    )
    .await;
    check(
        200,
        &[(CDN, "no-store"), (CACHE_CONTROL, "max-age=60")],
        None,
    )
    .await;
    check(200, &[(CDN, "max-age=0"), ("Expires", &date(60))], None).await;
    check(
        200,
        &[("Lacquer-Cache-Control", "max-age=60"), (CDN, "no-store")],
        Some(0),
    )
    .await;
    // What is no dictionary counts as absent (RFC 9213 §2.1).
    check(
        200,
        &[(CDN, "max-age=;;"), (CACHE_CONTROL, "max-age=60")],
        Some(0),
    )
    .await;
}

#[tokio::test]
async fn age_counts_from_the_origin() {
    let fresh = (CACHE_CONTROL, "max-age=60");
    check(200, &[fresh, ("Age", "30")], Some(30)).await;
    check(200, &[fresh, ("Age", "60")], None).await;
    check(200, &[fresh, ("Date", &date(-30))], Some(30)).await;
    check(200, &[fresh, ("Date", &date(-70))], None).await;
    // The greater of both ages counts (RFC 9111 §4.2.3).
    check(200, &[fresh, ("Date", &date(-20)), ("Age", "40")], Some(40)).await;
    check(200, &[fresh, ("Date", &date(-40)), ("Age", "20")], Some(40)).await;
    // A clock that goes ahead makes nothing younger than new.
    check(200, &[fresh, ("Date", &date(300))], Some(0)).await;
    check(200, &[fresh, ("Age", "old")], Some(0)).await;
}

#[tokio::test]
async fn age_grows_while_the_answer_is_stored() {
    let backend = Backend::always(answer(
        200,
        &[(CACHE_CONTROL, "max-age=60"), ("Age", "7")],
        "x",
    ))
    .await;
    let door = Door::start(&backend).await;
    assert_eq!(door.get("/").await.field("Age"), "7", "as it came");
    assert_eq!(door.get("/").await.age(), 7);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(door.get("/").await.age() >= 8);
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_lifetime_is_guessed_from_the_last_change() {
    check(200, &[("Last-Modified", &date(-1000))], Some(0)).await;
    check(
        200,
        &[("Last-Modified", &date(-1000)), ("Age", "200")],
        None,
    )
    .await;
    check(403, &[("Last-Modified", &date(-1000))], None).await;
}
