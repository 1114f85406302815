//! Cache poisoning and cache deception: what one client sends must not decide what another gets.
//!
//! Each test has a service that does what careless ones do (it reflects, it gives every answer a lifetime), an
//! attacker's request, a victim's after it, and asserts what the victim got and what was stored.
//!
//! Fields that are neither in the key nor in Vary and that no list below names (User-Agent, a field of one's own)
//! reach the backend: RFC 9111 §4.1 leaves it to the origin to name in Vary what it looks at. X-Forwarded-For stays
//! too: it names no other resource, and answers may well vary on it.

mod deception;
mod errors;
mod hosts;
mod methods;
mod sharing;
#[path = "../support/mod.rs"]
mod support;
mod unkeyed;

use proxy::object::Kind;
use support::{Backend, Door, Reply, answer};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

/// What no victim may ever read.
const EVIL: &str = "evil.example";

/// A service that puts all it is told into its head and its body, and lets caches keep that.
async fn reflecting() -> Backend {
    Backend::start(|seen| {
        let page = seen.echo();
        let line = page.trim_end().replace('\n', "; ");
        answer(200, &[FRESH, ("X-Reflected", &line)], page)
    })
    .await
}

/// The answers in the store, marks left out: status and fields of each.
fn stored(door: &Door) -> Vec<String> {
    let mut stored = Vec::new();
    door.front.store.for_each(|_, object| {
        if object.kind == Kind::Response {
            stored.push(format!("{} {:?}", object.head.status, object.head.fields));
        }
    });
    stored
}

/// Asserts that neither the victim's reply nor anything stored shows what the attacker sent.
fn assert_clean(door: &Door, reply: &Reply, context: &str) {
    let shown = format!("{:?} {}", reply.head.fields, reply.text());
    assert!(!shown.contains(EVIL), "{context}: {shown}");
    for object in stored(door) {
        assert!(!object.contains(EVIL), "{context}: {object}");
    }
}
