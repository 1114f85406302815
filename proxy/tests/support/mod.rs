//! A front door in this process, a backend that does as it is told, and a client that sees every byte.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code, unused_imports)]

mod backend;
mod client;
mod door;
mod policy;

pub(crate) use backend::{Answer, Backend, Gate, Seen, answer};
pub(crate) use client::{Client, Reply};
pub(crate) use door::Door;
pub(crate) use policy::Script;

use std::time::{Duration, SystemTime};

/// Longer than anything takes, so that a hang fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for something that has no other sign; the wait is short when all is well.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// An HTTP date so many seconds from now; negative: in the past.
pub(crate) fn date(seconds: i64) -> String {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    httpdate::fmt_http_date(if seconds < 0 {
        now - offset
    } else {
        now + offset
    })
}
