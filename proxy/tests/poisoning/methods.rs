//! Methods, content and parts: requests beside a plain GET that aim at what a plain GET gets.

use crate::support::{Backend, Door, answer};
use crate::{EVIL, FRESH, assert_clean, reflecting, stored};

/// A framework that takes the method out of a field, or out of a parameter.
#[tokio::test]
async fn method_overrides_do_not_store_another_methods_answer() {
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-Original-Method",
        "X-Forwarded-Method",
    ] {
        for method in ["DELETE", "POST", "HEAD", "OPTIONS", "TRACE"] {
            let backend = Backend::start(move |seen| match seen.field(name) {
                Some(method) => answer(200, &[FRESH], format!("{method} done, {EVIL}")),
                None => answer(200, &[FRESH], "the page"),
            })
            .await;
            let door = Door::start(&backend).await;
            let attack = door.request("GET", "/", &[(name, method)]).await;
            assert_eq!(attack.text(), "the page", "{name}: {method}");
            let victim = door.get("/").await;
            assert_eq!((victim.cache(), victim.text()), ("HIT".into(), "the page"));
            assert_clean(&door, &victim, name);
        }
    }
}

#[tokio::test]
async fn answers_to_other_methods_do_not_answer_a_get() {
    for method in ["OPTIONS", "POST", "PUT", "PATCH", "REPORT", "get", "TRACE"] {
        let backend = reflecting().await;
        let door = Door::start(&backend).await;
        door.request(method, "/", &[("X-Evil", EVIL)]).await;
        assert_eq!(stored(&door).len(), 0, "{method}");
        let victim = door.get("/").await;
        assert_eq!(victim.cache(), "MISS", "{method}");
        assert_clean(&door, &victim, method);
    }
}

/// The answer to HEAD has no content to store, and its fields are not those of the GET that comes next.
#[tokio::test]
async fn head_leaves_nothing_that_a_get_is_answered_with() {
    let backend = Backend::start(|seen| match seen.method.as_str() {
        "HEAD" => answer(200, &[FRESH, ("X-Evil", EVIL)], ""),
        _ => answer(200, &[FRESH], "the page"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.request("HEAD", "/", &[]).await;
    assert_eq!(stored(&door).len(), 0);
    let victim = door.get("/").await;
    assert_eq!((victim.cache(), victim.text()), ("MISS".into(), "the page"));
    assert_clean(&door, &victim, "HEAD");
}

/// A parameter in the content of a GET goes before that of the query in some frameworks.
#[tokio::test]
async fn content_of_a_get_changes_nothing_for_others() {
    let parameter = format!("callback={EVIL}");
    let length = parameter.len().to_string();
    let chunked = format!("{:x}\r\n{parameter}\r\n0\r\n\r\n", parameter.len());
    for (line, content) in [
        (("Content-Length", length.as_str()), parameter.as_str()),
        (("Transfer-Encoding", "chunked"), chunked.as_str()),
    ] {
        let backend = Backend::start(|seen| {
            let fat = ["Content-Length", "Transfer-Encoding"];
            let page = match fat.iter().any(|name| seen.field(name).is_some()) {
                true => EVIL,
                false => "the page",
            };
            answer(200, &[FRESH], page)
        })
        .await;
        let door = Door::start(&backend).await;
        let mut attacker = door.connect().await;
        attacker.send_head("GET", "/?callback=a", &[line]).await;
        attacker.send(content).await;
        assert_eq!(attacker.reply("GET").await.text(), EVIL, "{line:?}");
        assert_eq!(stored(&door).len(), 0, "{line:?}");
        let victim = door.get("/?callback=a").await;
        assert_eq!((victim.cache(), victim.text()), ("MISS".into(), "the page"));
        assert_clean(&door, &victim, line.0);
        // Nor is a fat GET answered from the store, as if its content were not there.
        let mut attacker = door.connect().await;
        attacker.send_head("GET", "/?callback=a", &[line]).await;
        attacker.send(content).await;
        assert_eq!(attacker.reply("GET").await.text(), EVIL, "{line:?}");
    }
}

/// A slice is not the whole, whoever asked for it and however.
#[tokio::test]
async fn slices_are_not_given_to_those_who_ask_for_the_whole() {
    for slice in ["bytes=0-0", "bytes=2-3", "bytes=-1", "bytes=0-0,2-2"] {
        let backend = Backend::start(|seen| match seen.field("Range") {
            Some(_) => {
                let range = ("Content-Range", "bytes 0-0/8");
                answer(206, &[FRESH, range], "t")
            }
            None => answer(200, &[FRESH, ("ETag", "\"1\"")], "the page"),
        })
        .await;
        let door = Door::start(&backend).await;
        for lines in [
            &[("Range", slice)][..],
            &[("Range", slice), ("If-Range", "\"1\"")],
            &[("Range", slice), ("Cache-Control", "no-cache")],
            &[("RANGE", slice), ("Cache-Control", "no-store")],
        ] {
            door.request("GET", "/", lines).await;
            let victim = door.get("/").await;
            assert_eq!((victim.status(), victim.text()), (200, "the page"));
        }
        for object in stored(&door) {
            assert!(object.starts_with("200 "), "{slice}: {object}");
        }
    }
}

/// A backend that slices unasked. What a whole answer is made of then is not to be had here.
#[tokio::test]
async fn slice_that_nobody_asked_for_is_not_stored_as_the_whole() {
    let backend = Backend::start(|seen| match seen.index {
        0 => answer(206, &[FRESH, ("Content-Range", "bytes 0-0/8")], "t"),
        _ => answer(200, &[FRESH], "the page"),
    })
    .await;
    let door = Door::start(&backend).await;
    door.get("/").await;
    let victim = door.get("/").await;
    assert_eq!((victim.status(), victim.text()), (200, "the page"));
}
