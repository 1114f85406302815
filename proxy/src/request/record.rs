//! What is written down of a request: counters, latency, one line of the access log.

use std::time::{Duration, Instant};

use super::upload::Upload;
use crate::access_log::{self, AccessLog};
use crate::acl::Peer;
use crate::downstream::{ClientError, Exchange};
use crate::front::Front;
use crate::metrics::{Counter, Outcome};
use crate::policy::{Delivery, Purpose, Request, Source};
use crate::rules::cache_status::ForwardReason;
use crate::time::Timestamp;

/// Collected on the way, used at the end.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) upload: Upload,
    /// Flights waited for or led.
    pub(super) flights: u32,
    /// The status sent; 0 until then.
    pub(super) status: u16,
    /// What goes out now is the last word: the policy has replaced an answer already, or the request has
    /// failed. Else a policy that replaces each answer would keep the request for ever.
    pub(super) settled: bool,
    /// A mark said that answers are not stored.
    pub(super) beside: bool,
    /// Set where the answer's source does not say it.
    pub(super) outcome: Option<Outcome>,
    /// Its head says for whom it is made (X-Forwarded-For).
    pub(super) told_forwarded: bool,
    /// Why its look-up did not do.
    pub(super) forwarded: Option<ForwardReason>,
    /// What it fetched for last, if it did.
    pub(super) purpose: Option<Purpose>,
    started: Timestamp,
    /// The same moment on the monotonic clock, which is the one to measure by.
    begun: Instant,
    delivery: Option<Delivery>,
}

impl Record {
    pub(super) fn begin(started: Timestamp) -> Record {
        Record {
            upload: Upload::default(),
            flights: 0,
            status: 0,
            settled: false,
            beside: false,
            outcome: None,
            told_forwarded: false,
            forwarded: None,
            purpose: None,
            started,
            begun: Instant::now(),
            delivery: None,
        }
    }

    /// An answer goes out. Whoever fetches for itself has been counted when it began; so every look-up is a hit or
    /// a miss, and none both.
    pub(super) fn answered(&mut self, front: &Front, delivery: &Delivery) {
        let metrics = &front.metrics;
        match (delivery.source, delivery.collapsed) {
            (Source::Hit, _) | (Source::Miss | Source::Stale | Source::Revalidated, true) => {
                metrics.count(Counter::CacheHits);
            }
            (Source::StaleHit, _) | (Source::StaleOnError, true) => {
                metrics.count(Counter::CacheHits);
                metrics.count(Counter::CacheHitsGrace);
            }
            // The other's fetch failed, and with it this look-up.
            (Source::Synth, true) => metrics.count(Counter::CacheMisses),
            (
                Source::Miss
                | Source::Stale
                | Source::Revalidated
                | Source::StaleOnError
                | Source::Pass
                | Source::Synth,
                _,
            ) => {}
        }
        self.delivery = Some(delivery.clone());
    }

    /// The exchange is over. Gives the time.
    pub(super) fn end(
        &self,
        front: &Front,
        log: &AccessLog,
        request: &Request,
        exchange: &Exchange,
        error: Option<&ClientError>,
    ) -> Instant {
        let metrics = &front.metrics;
        let now = Instant::now();
        let duration: Duration = now - self.begun;
        let outcome = self.outcome();
        // A client that left before its answer began has no response time.
        if self.status != 0 {
            metrics.observe(outcome, duration);
        }
        let mut traffic = exchange.traffic();
        if outcome == Outcome::Pipe {
            metrics.add(Counter::PipeHeadBytes, traffic.request_head);
            traffic.request_head = 0;
        }
        front.count_traffic(traffic);
        if let Some(error) = error {
            tracing::debug!(
                xid = request.xid,
                error = error as &dyn std::error::Error,
                "exchange broken off"
            );
        }
        if !log.is_on() {
            return now;
        }
        let head = &request.head;
        let delivery = self.delivery.as_ref();
        let not_stored = delivery
            .and_then(|delivery| delivery.not_stored)
            .map(|because| because.to_string());
        log.record(&access_log::Record {
            time: self.started,
            client: Peer::of(&request.connection.client).unwrap_or(Peer::Unix),
            method: head.method.as_str(),
            target: &head.target,
            host: &head.authority,
            version: head.version,
            status: self.status,
            body_bytes: traffic.response_body,
            duration,
            outcome,
            cache_detail: not_stored.as_deref().unwrap_or(""),
            backend: delivery
                .and_then(|delivery| delivery.backend.as_deref())
                .unwrap_or(""),
            referer: head.fields.get("Referer").unwrap_or_default(),
            user_agent: head.fields.get("User-Agent").unwrap_or_default(),
            xid: request.xid,
        });
        now
    }

    fn outcome(&self) -> Outcome {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        match self.delivery.as_ref().map(|delivery| delivery.source) {
            Some(Source::Hit) => Outcome::Hit,
            Some(Source::StaleHit | Source::StaleOnError) => Outcome::Stale,
            Some(Source::Miss | Source::Stale | Source::Revalidated) if self.beside => {
                Outcome::HitForMiss
            }
            Some(Source::Miss | Source::Stale | Source::Revalidated) => Outcome::Miss,
            Some(Source::Pass) => Outcome::Pass,
            // Answers of the policy's own have their outcome by now.
            Some(Source::Synth) => Outcome::Error,
            // The client has left.
            None if self.purpose == Some(Purpose::Pass) => Outcome::Pass,
            None if self.beside => Outcome::HitForMiss,
            None => Outcome::Miss,
        }
    }
}
