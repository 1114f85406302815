//! Asking a server whether it is well.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tracing::{info, warn};

use super::connect::{Connector, Want};
use super::health::Transition;
use super::server::Server;
use super::settings::ProbeSettings;
use crate::http::Method;
use crate::http1::{Decoded, Decoder, HeadLimits, parse_response, write_field};

/// Bytes of a probe's answer, head and body, that are read. Reading to the end lets servers close in peace;
/// a body that is longer is not waited for.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The request and what must come back.
#[derive(Debug)]
pub(super) struct Probe {
    request: Vec<u8>,
    expected_status: u16,
    interval: Duration,
    timeout: Duration,
    limits: HeadLimits,
}

#[derive(Debug, thiserror::Error)]
enum ProbeFailure {
    #[error("no connection: {0}")]
    Connect(#[from] super::error::BackendError),
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    TimedOut,
    #[error("malformed answer: {0}")]
    Malformed(#[from] crate::http1::BadResponse),
    #[error("malformed answer: {0}")]
    MalformedBody(#[from] crate::http1::BadBody),
    #[error("status {0}")]
    Status(u16),
}

impl Probe {
    pub(super) fn new(settings: &ProbeSettings, host: &str, limits: HeadLimits) -> Probe {
        let mut request = format!("GET {} HTTP/1.1\r\n", settings.path).into_bytes();
        let host = settings.host.as_deref().unwrap_or(host);
        write_field(&mut request, "Host", host.as_bytes());
        write_field(&mut request, "Connection", b"close");
        request.extend_from_slice(b"\r\n");
        Probe {
            request,
            expected_status: settings.expected_status,
            interval: settings.interval,
            timeout: settings.timeout,
            limits,
        }
    }

    async fn ask(&self, server: &Server, connector: &Connector) -> Result<(), ProbeFailure> {
        let asking = async {
            let connection = connector.connect(server, Want::Fresh, self.timeout).await?;
            let mut stream = connection.stream;
            stream.write_all(&self.request).await?;
            stream.flush().await?;
            let mut input = BytesMut::new();
            let mut total = 0;
            let mut body: Option<Decoder> = None;
            loop {
                let count = stream.read_buf(&mut input).await?;
                total += count;
                if body.is_none() {
                    body = self.read_head(&mut input)?;
                }
                let Some(decoder) = &mut body else {
                    if count == 0 {
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    continue;
                };
                while let Decoded::Data(_) = decoder.decode(&mut input)? {}
                if decoder.is_done() || total > ANSWER_BYTES_MAX {
                    return Ok(());
                }
                if count == 0 {
                    return Ok(decoder.end_of_input()?);
                }
            }
        };
        tokio::time::timeout(self.timeout, asking)
            .await
            .unwrap_or(Err(ProbeFailure::TimedOut))
    }

    /// Takes heads off the input up to the final one, which decides. `None`: it is not there yet.
    fn read_head(&self, input: &mut BytesMut) -> Result<Option<Decoder>, ProbeFailure> {
        while let Some(parsed) = parse_response(input, &self.limits, &Method::Get)? {
            input.advance(parsed.consumed);
            if parsed.head.status == self.expected_status {
                return Ok(Some(Decoder::new(parsed.framing, &self.limits)));
            }
            if !parsed.head.is_informational() {
                return Err(ProbeFailure::Status(parsed.head.status));
            }
        }
        Ok(None)
    }
}

/// Asks now and then again and again, one probe at a time.
pub(super) async fn keep_probing(probe: Probe, server: Arc<Server>, connector: Arc<Connector>) {
    loop {
        let started = Instant::now();
        let answer = probe.ask(&server, &connector).await;
        match (server.health.record(answer.is_ok()), answer) {
            (Transition::WentUp, _) => info!(server = &*server.name, "backend is healthy"),
            (Transition::WentDown, Err(reason)) => {
                warn!(server = &*server.name, %reason, "backend is sick");
            }
            _ => {}
        }
        tokio::time::sleep_until(started + probe.interval).await;
    }
}
