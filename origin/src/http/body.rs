//! Bodies, in bounded memory.
//!
//! A request's body is read whole before it is written, and a large value is read whole
//! before it is sent, so that what is sent is one revision. [`HeldBytes`] bounds what all of
//! them hold together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::App;
use super::problem::Problem;
use crate::store::INLINE_BYTES;

/// Bytes per permit: a semaphore counts in 32 bits.
const UNIT: usize = 1_024;
/// What a body may hold without asking: most are smaller, and connections are bounded. No less
/// than what comes with a read, which nobody has asked for.
const FREE_BYTES: usize = INLINE_BYTES;
/// Step in which a body of unknown length asks for more.
const GROWTH_BYTES: usize = 1 << 20;
/// Longest time for a whole body, in pauses.
const WHOLE_BODY_PAUSES: u32 = 20;

/// Bounds the bytes that requests and answers hold at once.
#[derive(Debug)]
pub(super) struct HeldBytes {
    units: Arc<Semaphore>,
    units_max: u32,
    wait: Duration,
}

/// A share of the bound; given back on drop.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

struct HeldData {
    data: Bytes,
    _held: Held,
}

impl AsRef<[u8]> for HeldData {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl HeldBytes {
    pub(super) fn new(bytes_max: usize, wait: Duration) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            units: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
            wait,
        }
    }

    /// Waits for room; 503 when there is none in time.
    pub(super) async fn hold(&self, bytes: usize) -> Result<Held, Problem> {
        if bytes <= FREE_BYTES {
            return Ok(Held::default());
        }
        let units = u32::try_from(bytes.div_ceil(UNIT))
            .unwrap_or(u32::MAX)
            .min(self.units_max);
        match timeout(self.wait, self.units.clone().acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(Held(Some(permit))),
            _ => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many large values are under way.",
            )
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))),
        }
    }
}

impl Held {
    /// Ties the share to the bytes that it is for, wherever they go: into a queue, into an answer.
    pub(super) fn bind(self, data: Bytes) -> Bytes {
        match self.0 {
            None => data,
            Some(_) => Bytes::from_owner(HeldData { data, _held: self }),
        }
    }

    fn add(&mut self, more: Self) {
        match (&mut self.0, more.0) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
    }
}

/// Reads a request's body; the bytes keep their share of the bound for as long as they live.
/// A length above the limit is refused before anything is read, and a body without a length
/// as soon as it passes the limit.
pub(super) async fn read(app: &App, fields: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let pause = app.settings.body_read_timeout;
    let reading = collect(app, fields, body);
    timeout(pause * WHOLE_BODY_PAUSES, reading)
        .await
        .unwrap_or_else(|_| Err(too_slow()))
}

async fn collect(app: &App, fields: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
    let bytes_max = app.settings.value_bytes_max;
    let too_large = || {
        Problem::too_large(bytes_max).with(header::CONNECTION, HeaderValue::from_static("close"))
    };
    let announced: Option<u64> = fields
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|text| text.parse().ok());
    if announced.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let announced = announced.map_or(0, |length| length as usize);
    let mut held = app.held.hold(announced).await?;
    let mut allowance = announced.max(FREE_BYTES);
    let mut whole = BytesMut::new();
    let mut only: Option<Bytes> = None;
    loop {
        let frame = timeout(app.settings.body_read_timeout, body.frame())
            .await
            .map_err(|_| too_slow())?;
        let data = match frame {
            None => break,
            Some(Err(_)) => {
                return Err(Problem::bad_request(
                    "The body ended early or is malformed.",
                ));
            }
            // Trailers are of no use here.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        let length = only.as_ref().map_or(whole.len(), Bytes::len) + data.len();
        if length > bytes_max {
            return Err(too_large());
        }
        while length > allowance {
            held.add(app.held.hold(GROWTH_BYTES).await?);
            allowance += GROWTH_BYTES;
        }
        // Most bodies are one frame, which needs no copy.
        if whole.is_empty() && only.is_none() {
            only = Some(data);
        } else {
            if let Some(first) = only.take() {
                whole.reserve(announced.max(length));
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(held.bind(only.unwrap_or_else(|| whole.freeze())))
}

fn too_slow() -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "The body did not arrive in time.",
    )
    .with(header::CONNECTION, HeaderValue::from_static("close"))
}
