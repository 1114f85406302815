//! `purge`: what a client orders the cache to forget.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::{Machine, State};
use crate::http::Scheme;
use crate::metrics::{Counter, Outcome};
use crate::policy::{Invalidation, Softness, Synth};
use crate::store::Removal;
use crate::time::Timestamp;

impl Machine<'_> {
    pub(super) async fn purge(&mut self, invalidation: Invalidation) -> State {
        let now = Timestamp::now();
        self.record.outcome = Some(Outcome::Purge);
        let done = match invalidation {
            Invalidation::Url(softness) => {
                let removal = match softness {
                    Softness::Hard => Removal::Hard,
                    Softness::Soft => Removal::Soft(now),
                };
                Ok(format!("Purged {}", self.purge_url(removal)))
            }
            Invalidation::Tags(tags, Softness::Hard) => {
                let purged = tags.iter().try_for_each(|tag| self.front.purge_tag(tag));
                purged
                    .map(|()| "Purged".to_owned())
                    .map_err(|refused| refused.to_string())
            }
            Invalidation::Tags(tags, Softness::Soft) => {
                // A client that is gone is noticed by the answer; the order stands.
                let _ = self.exchange.flush().await;
                let front = Arc::clone(self.front);
                let expiring = spawn_blocking(move || front.expire_tags(&tags, now));
                match expiring.await {
                    Ok(count) => Ok(format!("Purged {count}")),
                    // It has panicked, or the process is ending.
                    Err(_) => return State::Synth(Synth::new(500)),
                }
            }
            Invalidation::Ban(expression) => {
                let added = self.front.ban(&expression);
                added
                    .map(|()| "Ban added".to_owned())
                    .map_err(|refused| refused.to_string())
            }
        };
        State::Synth(match done {
            Ok(done) => Synth::because(200, done),
            Err(refused) => Synth::because(400, refused),
        })
    }

    /// Purges this request's object, whatever scheme it was stored under. Gives the number of variants.
    fn purge_url(&mut self, removal: Removal) -> usize {
        self.front.metrics.count(Counter::Purges);
        self.front.metrics.count(match removal {
            Removal::Hard => Counter::InvalidationsPurge,
            Removal::Soft(_) => Counter::InvalidationsSoftPurge,
        });
        let scheme = self.request.head.scheme;
        let mut found = 0;
        for scheme in [Scheme::Http, Scheme::Https] {
            self.request.head.scheme = scheme;
            let key = self.current.policy.hash(&self.request);
            found += self.front.store.invalidate(key.as_bytes(), removal);
        }
        self.front.metrics.add(Counter::ObjectsPurged, found as u64);
        self.request.head.scheme = scheme;
        found
    }
}
