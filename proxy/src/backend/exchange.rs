//! One attempt: a request over one connection, up to the final response head.

use std::fmt;
use std::sync::Arc;

use bytes::Buf;
use memchr::memchr;

use super::connect::{Connection, Connector};
use super::error::{BackendError, MalformedResponse};
use super::response::{BackendResponse, Receiving, keep_alive_timeout};
use super::server::{Lease, Server};
use super::settings::Timeouts;
use super::upload::{Gate, Upload};
use super::wire::{Awaited, Stop, Waiting, Wire};
use crate::http::{Method, RequestHead, ResponseHead};
use crate::http1::{
    HeadLimits, ParsedResponse, Persistence, SentFraming, parse_response, write_field, write_fields,
};

/// Informational responses to one request; more are a way to keep us busy.
const INFORMATIONAL_MAX: usize = 32;

/// A request for a backend. Hop-by-hop fields are gone already; framing, Connection, and Host where it is
/// missing are written here.
pub struct BackendRequest<'a> {
    pub head: &'a RequestHead,
    /// What consistent hashing goes by; `None`: the request target.
    pub key: Option<&'a [u8]>,
    /// The value of Upgrade, where the request asks for another protocol (RFC 9110 §7.8).
    pub upgrade: Option<&'a str>,
    /// In place of the pool's.
    pub timeouts: Option<Timeouts>,
    /// Called with each informational response (1xx but 101), in order, before [`BackendPool::send`] returns;
    /// it must not block. With `Expect: 100-continue` it also gets a 100 of our own making when the backend
    /// says nothing for a second, since the client may be waiting for one; never two of them.
    ///
    /// [`BackendPool::send`]: super::BackendPool::send
    pub informational: Option<&'a mut (dyn FnMut(ResponseHead) + Send)>,
}

impl<'a> BackendRequest<'a> {
    pub fn new(head: &'a RequestHead) -> BackendRequest<'a> {
        BackendRequest {
            head,
            key: None,
            upgrade: None,
            timeouts: None,
            informational: None,
        }
    }
}

impl fmt::Debug for BackendRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendRequest")
            .field("head", &self.head)
            .field("key", &self.key)
            .field("upgrade", &self.upgrade)
            .field("timeouts", &self.timeouts)
            .finish_non_exhaustive()
    }
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: BackendError,
    pub(super) stage: Stage,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection: the backend knows nothing of the request.
    Unsent,
    /// Sent, in whole or in part, and the connection ended before any byte of an answer.
    Unanswered,
    /// Sent, and then nothing happened for too long.
    Silent,
    /// An answer began, or the client is to blame: trying again cannot help.
    Final,
}

/// Sends `request` over `connection` and reads up to the final head. The upload comes back with a failure.
pub(super) async fn exchange(
    connection: Connection,
    lease: Lease,
    connector: &Arc<Connector>,
    limits: &HeadLimits,
    timeouts: Timeouts,
    request: &mut BackendRequest<'_>,
    mut upload: Upload,
) -> Result<BackendResponse, (Failed, Upload, Lease)> {
    let server = Arc::clone(&lease.server);
    let head = request_head(request, &upload, &server, connector);
    let head_bytes = head.len() as u64;
    server.counters.req.add(1);
    server.counters.bereq_hdrbytes.add(head_bytes);
    let gate = match upload.has_body() && expects_continue(request.head) {
        true => Gate::AwaitsContinue,
        false => Gate::Open,
    };
    upload.start(head, gate);
    let is_last = has_unexpected_body(request.head, &upload);
    let mut wire = Wire::new(connection.stream, connection.timer, upload, timeouts);
    let mut parsed = match receive_head(&mut wire, &server, limits, request).await {
        Ok(parsed) => parsed,
        Err(failed) => return Err((failed, wire.upload, lease)),
    };
    if is_last {
        parsed.persistence = Persistence::Close;
    }
    let status = parsed.head.status;
    let tunnel =
        status == 101 || (request.head.method == Method::Connect && (200..300).contains(&status));
    if status == 101 && request.upgrade.is_none() {
        let failed = Failed {
            error: BackendError::Malformed {
                server: server.name.to_string(),
                source: MalformedResponse::UnexpectedUpgrade,
            },
            stage: Stage::Final,
        };
        return Err((failed, wire.upload, lease));
    }
    if tunnel {
        server.counters.pipe_hdrbytes.add(head_bytes);
    }
    // RFC 9112 §9.3: an early refusal makes the rest of the body pointless. An early success does not: the
    // backend may be working on the body while it answers.
    let refused = !(200..300).contains(&status) || wire.upload.gate() == Gate::AwaitsContinue;
    if wire.upload.is_under_way() && refused {
        wire.upload.abandon();
    }
    let receiving = Receiving {
        wire,
        endpoint: connection.endpoint,
        lease,
        connector: Arc::clone(connector),
        persistence: parsed.persistence,
        keep_alive: keep_alive_timeout(&parsed.head.fields),
    };
    Ok(BackendResponse::new(
        parsed.head,
        parsed.framing,
        connection.origin,
        receiving,
        limits,
        tunnel,
    ))
}

async fn receive_head(
    wire: &mut Wire,
    server: &Server,
    limits: &HeadLimits,
    request: &mut BackendRequest<'_>,
) -> Result<ParsedResponse, Failed> {
    let mut answered = false;
    let mut informational = 0;
    let mut persistence = Persistence::KeepAlive;
    loop {
        let received = match wire.receive(Awaited::Head, &server.counters).await {
            Ok(count) => count,
            Err(Stop::TimedOut(Waiting::Continue)) => {
                wire.upload.open_gate();
                report(request, ResponseHead::new(100), &mut wire.upload);
                continue;
            }
            Err(stop) => return Err(failure(stop, wire, server, answered)),
        };
        let first = !std::mem::replace(&mut answered, true);
        // A head that arrives in many small pieces is looked at once per line, not once per piece.
        let fresh = &wire.input[wire.input.len() - received..];
        if !first && memchr(b'\n', fresh).is_none() && wire.input.len() <= limits.head_bytes_max {
            continue;
        }
        while !wire.input.is_empty() {
            let mut parsed = match parse_response(&wire.input, limits, &request.head.method) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break,
                Err(error) => return Err(malformed(server, error.into())),
            };
            wire.input.advance(parsed.consumed);
            server.counters.beresp_hdrbytes.add(parsed.consumed as u64);
            // An informational head that declares a body leaves in doubt whose head comes next.
            if parsed.persistence == Persistence::Close {
                persistence = Persistence::Close;
            }
            if !parsed.head.is_informational() || parsed.head.status == 101 {
                parsed.persistence = persistence;
                return Ok(parsed);
            }
            informational += 1;
            if informational > INFORMATIONAL_MAX {
                return Err(malformed(server, MalformedResponse::TooManyInformational));
            }
            if parsed.head.status == 100 {
                wire.upload.open_gate();
            }
            report(request, parsed.head, &mut wire.upload);
            wire.restart_timer();
        }
    }
}

/// Passes an informational response on; of several 100 only the first.
fn report(request: &mut BackendRequest<'_>, head: ResponseHead, upload: &mut Upload) {
    if head.status == 100 && !upload.tell_continue() {
        return;
    }
    if let Some(report) = &mut request.informational {
        report(head);
    }
}

fn malformed(server: &Server, source: MalformedResponse) -> Failed {
    Failed {
        error: BackendError::Malformed {
            server: server.name.to_string(),
            source,
        },
        stage: Stage::Final,
    }
}

/// What it means that nothing more comes while the head is awaited.
fn failure(stop: Stop, wire: &mut Wire, server: &Server, answered: bool) -> Failed {
    let server = server.name.to_string();
    let (error, stage) = match stop {
        Stop::Ended => {
            let source = wire.send_error.take();
            (BackendError::Closed { server, source }, Stage::Unanswered)
        }
        Stop::Failed(error) => {
            let source = Some(error);
            (BackendError::Closed { server, source }, Stage::Unanswered)
        }
        Stop::ClientFailed => (BackendError::RequestBody, Stage::Final),
        Stop::TimedOut(Waiting::Send(waited)) => {
            (BackendError::SendTimeout { server, waited }, Stage::Silent)
        }
        Stop::TimedOut(waiting) => {
            let waited = waiting.duration();
            (
                BackendError::FirstByteTimeout { server, waited },
                Stage::Silent,
            )
        }
    };
    Failed {
        error,
        stage: if answered { Stage::Final } else { stage },
    }
}

/// RFC 9112 §3: always in origin-form, but for CONNECT.
fn request_head(
    request: &BackendRequest<'_>,
    upload: &Upload,
    server: &Server,
    connector: &Connector,
) -> Vec<u8> {
    let RequestHead {
        method,
        target,
        authority,
        fields,
        ..
    } = request.head;
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(match method {
        Method::Connect => authority.as_bytes(),
        _ => target.as_bytes(),
    });
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !fields.contains("host") {
        let host = match authority.is_empty() {
            true => &server.host,
            false => authority,
        };
        write_field(&mut out, "Host", host.as_bytes());
    }
    match request.upgrade {
        Some(protocol) => {
            write_field(&mut out, "Connection", b"Upgrade");
            write_field(&mut out, "Upgrade", protocol.as_bytes());
        }
        None if !connector.keeps() || has_unexpected_body(request.head, upload) => {
            write_field(&mut out, "Connection", b"close");
        }
        None => {}
    }
    let framing = upload.framing();
    if !upload.has_body() && fields.contains("expect") {
        // RFC 9110 §10.1.1: nobody may expect to continue with nothing.
        let mut fields = fields.clone();
        fields.remove("expect");
        write_fields(&mut out, &fields, framing);
    } else {
        write_fields(&mut out, fields, framing);
    }
    out.extend_from_slice(b"\r\n");
    debug_assert!(
        framing != SentFraming::Described,
        "requests describe nothing"
    );
    out
}

/// The request has a body that its method gives no meaning to (RFC 9110 §9.3). Some servers do not look for one there,
/// and take it for the next request: so there is no next one on this connection, for them to read and for us to
/// get the answer of ("CL.0").
fn has_unexpected_body(head: &RequestHead, upload: &Upload) -> bool {
    upload.has_body()
        && matches!(
            head.method,
            Method::Get | Method::Head | Method::Options | Method::Delete | Method::Trace
        )
}

fn expects_continue(head: &RequestHead) -> bool {
    head.fields
        .list("expect")
        .any(|expectation| expectation.eq_ignore_ascii_case(b"100-continue"))
}
