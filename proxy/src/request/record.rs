//! What is written down of a request: counters, latency, one line of the access log.

use super::upload::Upload;
use crate::access_log;
use crate::acl::Peer;
use crate::downstream::{ClientError, Exchange};
use crate::front::Front;
use crate::metrics::{Counter, Outcome};
use crate::policy::{Delivery, Request, Source};
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
    started: Timestamp,
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
            started,
            delivery: None,
        }
    }

    /// An answer goes out.
    pub(super) fn answered(&mut self, front: &Front, delivery: &Delivery) {
        match delivery.source {
            Source::Hit => front.metrics.count(Counter::CacheHits),
            Source::StaleHit | Source::StaleOnError => {
                front.metrics.count(Counter::CacheHits);
                front.metrics.count(Counter::CacheHitsGrace);
            }
            Source::Miss | Source::Stale | Source::Revalidated => {
                if !delivery.collapsed {
                    front.metrics.count(Counter::CacheMisses);
                }
            }
            Source::Pass | Source::Synth => {}
        }
        self.delivery = Some(delivery.clone());
    }

    /// The exchange is over.
    pub(super) fn end(
        &self,
        front: &Front,
        request: &Request,
        exchange: &Exchange,
        error: Option<&ClientError>,
    ) {
        let metrics = &front.metrics;
        let duration = Timestamp::now().since(self.started);
        let outcome = self.outcome();
        metrics.count(Counter::ClientRequests);
        metrics.observe(outcome, duration);
        let traffic = exchange.traffic();
        metrics.add(Counter::RequestHeadBytes, traffic.request_head);
        metrics.add(Counter::RequestBodyBytes, traffic.request_body);
        metrics.add(Counter::ResponseHeadBytes, traffic.response_head);
        metrics.add(Counter::ResponseBodyBytes, traffic.response_body);
        if let Some(error) = error {
            tracing::debug!(
                xid = request.xid,
                error = error as &dyn std::error::Error,
                "exchange broken off"
            );
        }
        let log = front.access_log();
        if !log.is_on() {
            return;
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
            Some(Source::Synth) | None => Outcome::Synth,
        }
    }
}
