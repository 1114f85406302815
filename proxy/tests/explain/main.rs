//! `lacquer explain` against a running front door: what it says, that it is true, and that it changes nothing.

mod command;
mod readme;
mod requests;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod unstored;

use config::Config;
use support::{Backend, Client, Door};

/// Header lines of a table's row.
type Lines<'a> = &'a [(&'a str, &'a str)];

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");
const NEWS: &str = "http://example.org/news";

/// A front door with its operator's port.
async fn door(backend: &Backend) -> Door {
    door_with(backend, |_| {}).await
}

async fn door_with(backend: &Backend, change: impl FnOnce(&mut Config)) -> Door {
    Door::with(backend, |config| {
        config.metrics.enabled = true;
        config.metrics.address = ([127, 0, 0, 1], 0).into();
        config.cache.grace = std::time::Duration::ZERO;
        change(config);
    })
    .await
}

/// What the operator's port says to the head of a request: status and text.
async fn ask(door: &Door, head: &str, accept: &str) -> (u16, String) {
    let mut client = Client::connect(door.ops.expect("the operator's port")).await;
    let length = head.len();
    client
        .send(format!(
            "POST /explain HTTP/1.1\r\nHost: ops\r\nAccept: {accept}\r\nContent-Type: message/http\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{head}"
        ))
        .await;
    let reply = client.reply("POST").await;
    (reply.status(), reply.text().to_owned())
}

/// The explanation of a request for /news.
async fn explain(door: &Door, method: &str, lines: Lines<'_>) -> String {
    let mut head = format!("{method} /news HTTP/1.1\r\nHost: example.org\r\n");
    for (name, value) in lines {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let (status, text) = ask(door, &(head + "\r\n"), "text/plain").await;
    assert_eq!(status, 200, "{text}");
    text
}

/// The explanation has these parts; and the request then goes the way that it says.
async fn check(door: &Door, method: &str, lines: Lines<'_>, parts: &[&str]) {
    let text = explain(door, method, lines).await;
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let reply = door.request(method, "/news", lines).await;
    let status = reply.field("Cache-Status");
    let is_hit = text.contains("would be answered from the cache");
    assert_eq!(status.contains("; hit"), is_hit, "{status}\n{text}");
    let is_ours = text.contains("would be answered by the front door itself");
    assert_eq!(
        status.contains("detail=synthetic"),
        is_ours,
        "{status}\n{text}"
    );
}
