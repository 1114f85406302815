//! The backend of all peers: one thread that answers bodies of any size, and counts what it is asked.
//!
//! The path says what the answer is: `/KIND/BYTES/NAME`, where KIND is `store` (fresh for an hour), `pass` (not to be
//! stored) or `vary` (stored for each Referer). The counter is what shows that a hit was one.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use memchr::memmem;

use super::cpu;
use super::serve::{self, Answer, Responder, Then};
use crate::place::free_address;

/// The largest body.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// The first bytes of every body: letters in an order that does not repeat at any power of two.
pub fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| b'a' + u8::try_from(at % 23).expect("23 is small"))
        .collect()
}

/// The entity tag of a body of so many bytes.
pub fn entity_tag(bytes: usize) -> String {
    format!("\"{bytes}\"")
}

/// A running backend. It ends with this value.
#[derive(Debug)]
pub struct Backend {
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Backend {
    /// Starts it on the load generator's core.
    ///
    /// # Errors
    /// When there is no address to be had.
    pub fn start() -> Result<Backend> {
        let listener = TcpListener::bind(free_address()).context("the backend's address")?;
        let address = listener.local_addr()?;
        let requests = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let origin = Origin {
            body: pattern(BODY_BYTES_MAX),
            requests: Arc::clone(&requests),
            date: String::new(),
            date_of: 0,
        };
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("backend".to_owned())
            .spawn(move || {
                // On a machine with one core, tests still run; the benchmark itself has refused by then.
                let _ = cpu::pin_thread(cpu::LOAD_CORE);
                serve::serve(&listener, origin, &stopped)
            })?;
        Ok(Backend {
            address,
            requests,
            stop,
            thread: Some(thread),
        })
    }

    /// How many requests it has answered.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.thread.take().map(JoinHandle::join) {
            eprintln!("the backend has failed: {error:#}");
        }
    }
}

#[derive(Debug)]
struct Origin {
    body: Vec<u8>,
    requests: Arc<AtomicU64>,
    date: String,
    /// The second that `date` names.
    date_of: u64,
}

impl Origin {
    fn date(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_secs();
        if second != self.date_of {
            self.date = httpdate::fmt_http_date(now);
            self.date_of = second;
        }
        &self.date
    }
}

impl Responder for Origin {
    fn answer(&mut self, input: &[u8], head: &mut Vec<u8>) -> Option<Answer> {
        let request = Request::parse(input)?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let consumed_bytes = request.bytes;
        let (kind, body_bytes) = match request.target() {
            Some(target) if !request.is_chunked => target,
            // What the benchmark does not ask for must not look like success.
            _ => {
                head.extend_from_slice(b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n");
                head.extend_from_slice(b"Connection: close\r\n\r\n");
                return Some(Answer {
                    consumed_bytes,
                    body_bytes: 0,
                    then: Then::Close,
                });
            }
        };
        let then = match request.closes {
            true => Then::Close,
            false => Then::Keep,
        };
        let lifetime = match kind {
            Kind::Store => "Cache-Control: max-age=3600",
            Kind::Pass => "Cache-Control: no-store",
            Kind::Vary => "Cache-Control: max-age=3600\r\nVary: Referer",
        };
        let connection = match then {
            Then::Keep => "",
            Then::Close => "Connection: close\r\n",
        };
        let tag = entity_tag(body_bytes);
        write!(
            head,
            "HTTP/1.1 200 OK\r\nDate: {}\r\nServer: backend\r\nContent-Type: text/plain\r\n\
             Content-Length: {body_bytes}\r\nETag: {tag}\r\n{lifetime}\r\n{connection}\r\n",
            self.date(),
        )
        .expect("a vector takes everything");
        Some(Answer {
            consumed_bytes,
            body_bytes,
            then,
        })
    }

    fn body(&self) -> &[u8] {
        &self.body
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Store,
    Pass,
    Vary,
}

#[derive(Debug)]
struct Request<'a> {
    target: &'a str,
    /// Head and body.
    bytes: usize,
    closes: bool,
    is_chunked: bool,
}

impl Request<'_> {
    /// The first request in `input`, if it is all there.
    fn parse(input: &[u8]) -> Option<Request<'_>> {
        let head_bytes = memmem::find(input, b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&input[..head_bytes]).unwrap_or_default();
        let mut lines = text.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let target = words.nth(1).unwrap_or_default();
        let mut closes = words.next() != Some("HTTP/1.1");
        let (mut content_bytes, mut is_chunked) = (0, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                content_bytes = value.parse().unwrap_or(0);
            } else if name.eq_ignore_ascii_case("connection") {
                closes |= value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = true;
            }
        }
        let bytes = head_bytes.saturating_add(content_bytes);
        (input.len() >= bytes).then_some(Request {
            target,
            bytes,
            closes,
            is_chunked,
        })
    }

    fn target(&self) -> Option<(Kind, usize)> {
        let mut parts = self.target.strip_prefix('/')?.split('/');
        let kind = match parts.next()? {
            "store" => Kind::Store,
            "pass" => Kind::Pass,
            "vary" => Kind::Vary,
            _ => return None,
        };
        let bytes = parts.next()?.parse().ok()?;
        (bytes <= BODY_BYTES_MAX).then_some((kind, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_it_is_whole() {
        let input = b"POST /pass/7/a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET";
        assert!(Request::parse(&input[..47]).is_none());
        let request = Request::parse(input).unwrap();
        assert_eq!(request.bytes, input.len() - 3);
        assert_eq!(request.target(), Some((Kind::Pass, 7)));
        assert!(!request.closes && !request.is_chunked);
    }

    #[test]
    fn what_is_not_asked_for_has_no_answer() {
        for target in [
            "/",
            "/store",
            "/store/x/y",
            "/store/1048577/y",
            "/other/1/y",
        ] {
            let input = format!("GET {target} HTTP/1.1\r\n\r\n");
            let request = Request::parse(input.as_bytes()).unwrap();
            assert_eq!(request.target(), None, "{target}");
        }
    }
}
