//! What is written down of a request: counters, latency, one line of the access log.

use std::time::Duration;

use super::upload::Upload;
use crate::downstream::{ClientError, Exchange};
use crate::front::Front;
use crate::metrics::{Counter, Outcome};
use crate::object::Object;
use crate::policy::{Delivery, Request, Source};
use crate::time::Timestamp;

/// Collected on the way, used at the end.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) upload: Upload,
    /// Flights waited for or led.
    pub(super) flights: u32,
    /// The status sent.
    pub(super) status: u16,
    /// Set where the answer's source does not say it.
    pub(super) outcome: Option<Outcome>,
    started: Timestamp,
    delivery: Option<Delivery>,
}

impl Record {
    pub(super) fn begin(started: Timestamp) -> Record {
        Record { upload: Upload::default(), flights: 0, status: 0, outcome: None, started, delivery: None }
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
        metrics.count(Counter::ClientRequests);
        metrics.observe(self.outcome(), duration);
        let traffic = exchange.traffic();
        metrics.add(Counter::RequestHeadBytes, traffic.request_head);
        metrics.add(Counter::RequestBodyBytes, traffic.request_body);
        metrics.add(Counter::ResponseHeadBytes, traffic.response_head);
        metrics.add(Counter::ResponseBodyBytes, traffic.response_body);
    }

    fn outcome(&self) -> Outcome {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        match self.delivery.as_ref().map(|delivery| delivery.source) {
            Some(Source::Hit) => Outcome::Hit,
            Some(Source::StaleHit | Source::StaleOnError) => Outcome::Stale,
            Some(Source::Miss | Source::Stale | Source::Revalidated) => Outcome::Miss,
            Some(Source::Pass) => Outcome::Pass,
            Some(Source::Synth) | None => Outcome::Synth,
        }
    }
}
