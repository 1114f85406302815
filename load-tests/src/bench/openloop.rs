//! Our own load generator.
//!
//! At a fixed rate it is free of coordinated omission: each request has its moment in a schedule that does not wait for
//! answers, and its latency counts from that moment, whenever a connection was free to send it. Without a rate it asks
//! as fast as answers come, which gives the peak and fills caches.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::child::check_interrupted;
use super::load::CONNECTIONS;
use super::traffic::{Name, Traffic, fresh_names};

const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// How long answers may take after the last request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Rounds of the loop between two looks at whether to end.
const ROUNDS_UNCHECKED: u32 = 4096;
const READ_BYTES: usize = 64 << 10;
/// Requests that are written in advance.
const READY_MAX: u64 = 20_000;

/// When requests are sent, and when no more.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, for so long.
    Rate { per_second: f64, duration: Duration },
    /// One after the other on each connection, for so long.
    Closed { duration: Duration },
    /// The same, so many in all.
    Count(u64),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub requests: u64,
    pub elapsed: Duration,
    /// From the moment in the schedule to the last byte of the answer, in nanoseconds.
    pub latency: Histogram<u64>,
    /// How late the generator itself was in sending, when a connection was free: what it adds by its own fault.
    pub own_delay: Histogram<u64>,
}

impl Outcome {
    pub fn requests_per_second(&self) -> f64 {
        self.requests as f64 / self.elapsed.as_secs_f64()
    }
}

/// An empty histogram of nanoseconds, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order")
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    /// The moment in the schedule of the request under way.
    due: Option<Instant>,
}

/// Requests in the order of their drawing.
struct Source<'a> {
    traffic: &'a Traffic,
    drawn: Vec<Option<u64>>,
    ready: Vec<Vec<u8>>,
    /// A request that was not.
    fresh: Vec<u8>,
    next_fresh: u64,
    at: usize,
}

impl<'a> Source<'a> {
    /// Everything that is asked for again and again, once, in order.
    fn in_order(traffic: &'a Traffic) -> Source<'a> {
        Source {
            drawn: (0..traffic.known()).map(Some).collect(),
            ready: Vec::new(),
            ..Source::new(traffic)
        }
    }

    fn new(traffic: &'a Traffic) -> Source<'a> {
        let ready = traffic.known().clamp(1, READY_MAX);
        Source {
            traffic,
            drawn: traffic.draw(),
            ready: (0..ready)
                .map(|number| traffic.request(Name::Known(number)))
                .collect(),
            fresh: Vec::new(),
            next_fresh: fresh_names(),
            at: 0,
        }
    }

    fn next(&mut self) -> &[u8] {
        let drawn = self.drawn[self.at];
        self.at = (self.at + 1) % self.drawn.len();
        match drawn {
            Some(number) => {
                let at = usize::try_from(number).expect("addresses have 64 bits");
                match self.ready.get(at) {
                    Some(request) => request,
                    None => {
                        self.fresh = self.traffic.request(Name::Known(number));
                        &self.fresh
                    }
                }
            }
            None => {
                self.next_fresh += 1;
                self.fresh = self.traffic.request(Name::Fresh(self.next_fresh));
                &self.fresh
            }
        }
    }
}

/// Runs on the calling thread, which should be alone on its core: it never sleeps while it has a schedule to keep.
///
/// # Errors
/// When a connection fails, or an answer is not the expected one.
pub fn run(address: SocketAddr, traffic: &Traffic, pace: Pace) -> Result<Outcome> {
    ask(address, Source::new(traffic), pace)
}

/// Asks once for each of what the load would ask for again and again, in order.
///
/// # Errors
/// As [`run`].
pub fn run_through(address: SocketAddr, traffic: &Traffic) -> Result<Outcome> {
    let pace = Pace::Count(traffic.known());
    ask(address, Source::in_order(traffic), pace)
}

fn ask(address: SocketAddr, mut source: Source<'_>, pace: Pace) -> Result<Outcome> {
    let traffic = source.traffic;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for at in 0..CONNECTIONS {
        let stream = TcpStream::connect(address).context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let data = EventData::new_u64(at as u64);
        epoll::add(&poll, &stream, data, EventFlags::IN)?;
        connections.push(Connection {
            stream,
            input: Vec::new(),
            due: None,
        });
    }
    let mut free: VecDeque<usize> = (0..CONNECTIONS).collect();
    let status_line = format!("HTTP/1.1 {} ", traffic.status()).into_bytes();
    let mut buffer = vec![0; READ_BYTES];
    let mut events: Vec<Event> = Vec::with_capacity(CONNECTIONS);
    let (mut latency, mut own_delay) = (histogram(), histogram());
    let wait = match pace {
        Pace::Rate { .. } => Timespec::default(),
        Pace::Closed { .. } | Pace::Count(_) => Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        },
    };
    let (mut sent, mut answered, mut rounds) = (0_u64, 0_u64, 0_u32);
    // A connection that was free before a request fell due has not kept it waiting.
    let mut looked = Instant::now();
    let start = looked;
    loop {
        let now = Instant::now();
        let wanted = match pace {
            Pace::Rate {
                per_second,
                duration,
            } => {
                let passed = (now - start).min(duration);
                // The first request is due at once.
                (passed.as_secs_f64() * per_second) as u64 + 1
            }
            Pace::Closed { duration } if now - start >= duration => sent,
            Pace::Closed { .. } => u64::MAX,
            Pace::Count(count) => count,
        };
        while sent < wanted {
            let Some(at) = free.pop_front() else {
                break;
            };
            let due = match pace {
                Pace::Rate { per_second, .. } => {
                    start + Duration::from_secs_f64(sent as f64 / per_second)
                }
                Pace::Closed { .. } | Pace::Count(_) => Instant::now(),
            };
            let connection = &mut connections[at];
            let request = source.next();
            let count = connection.stream.write(request).context("send")?;
            ensure!(count == request.len(), "a request did not fit the socket");
            if due >= looked {
                let late = Instant::now().saturating_duration_since(due);
                own_delay.saturating_record(nanoseconds(late));
            }
            connection.due = Some(due);
            sent += 1;
        }
        if sent >= wanted && answered == sent {
            let over = match pace {
                Pace::Rate { duration, .. } => now - start >= duration,
                Pace::Closed { .. } | Pace::Count(_) => true,
            };
            if over {
                break;
            }
        }
        rounds += 1;
        if rounds.is_multiple_of(ROUNDS_UNCHECKED) {
            check_interrupted()?;
        }
        looked = Instant::now();
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if let Pace::Rate { duration, .. } | Pace::Closed { duration } = pace {
            ensure!(
                start.elapsed() < duration * 4 + DRAIN_TIMEOUT,
                "{} requests are not answered",
                sent - answered
            );
        }
        for event in &events {
            let at = usize::try_from(event.data.u64()).expect("it was an index");
            let connection = &mut connections[at];
            let count = match connection.stream.read(&mut buffer) {
                Ok(0) => bail!("a connection was closed after {answered} answers"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("receive"),
            };
            let whole = if connection.input.is_empty() {
                is_whole(&buffer[..count], traffic.answer_bytes())?
            } else {
                connection.input.extend_from_slice(&buffer[..count]);
                is_whole(&connection.input, traffic.answer_bytes())?
            };
            if !whole {
                if connection.input.is_empty() {
                    connection.input.extend_from_slice(&buffer[..count]);
                }
                continue;
            }
            let answer = match connection.input.is_empty() {
                true => &buffer[..count],
                false => &connection.input,
            };
            ensure!(
                answer.starts_with(&status_line),
                "an answer begins with {:?}",
                String::from_utf8_lossy(&answer[..answer.len().min(40)])
            );
            connection.input.clear();
            let due = connection.due.take().context("an answer to no request")?;
            latency.saturating_record(nanoseconds(due.elapsed()));
            answered += 1;
            free.push_back(at);
        }
    }
    Ok(Outcome {
        requests: answered,
        elapsed: start.elapsed(),
        latency,
        own_delay,
    })
}

/// Whether `input` is a head and so many bytes of body.
fn is_whole(input: &[u8], body_bytes: usize) -> Result<bool> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else {
        return Ok(false);
    };
    let whole = end + 4 + body_bytes;
    ensure!(
        input.len() <= whole,
        "an answer has {} bytes of body, not {body_bytes}",
        input.len() - end - 4
    );
    Ok(input.len() == whole)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::backend::Backend;
    use crate::bench::traffic::Targets;

    #[test]
    fn a_rate_is_kept() {
        let backend = Backend::start().unwrap();
        let traffic = Traffic::hits(1024, Targets::Zipf(100));
        let pace = Pace::Rate {
            per_second: 500.0,
            duration: Duration::from_millis(400),
        };
        let outcome = run(backend.address, &traffic, pace).unwrap();
        assert!((195..=201).contains(&outcome.requests), "{outcome:?}");
        assert_eq!(outcome.requests, backend.requests());
        assert_eq!(outcome.latency.len(), outcome.requests);
    }

    #[test]
    fn a_count_is_kept_and_each_is_asked_once() {
        let backend = Backend::start().unwrap();
        let traffic = Traffic::hits(100_000, Targets::Unique);
        let outcome = run(backend.address, &traffic, Pace::Count(500)).unwrap();
        assert_eq!((outcome.requests, backend.requests()), (500, 500));
    }

    #[test]
    fn an_unexpected_answer_is_an_error() {
        let backend = Backend::start().unwrap();
        let mut traffic = Traffic::hits(16, Targets::One);
        traffic.body_bytes = 2 << 20;
        assert!(run(backend.address, &traffic, Pace::Count(1)).is_err());
    }

    #[test]
    fn latency_counts_from_the_schedule() {
        // One answer in 50 ms on each of 64 connections: far below 5,000 a second, so requests wait for a connection.
        let listener = std::net::TcpListener::bind(crate::place::free_address()).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..CONNECTIONS {
            let listener = listener.try_clone().unwrap();
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) {
                    std::thread::sleep(Duration::from_millis(50));
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
        let pace = Pace::Rate {
            per_second: 5000.0,
            duration: Duration::from_millis(200),
        };
        let outcome = run(address, &Traffic::hits(0, Targets::One), pace).unwrap();
        // 1,000 requests at 1,280 a second take 780 ms; the last was due at 200.
        let worst = Duration::from_nanos(outcome.latency.max());
        assert!(worst > Duration::from_millis(400), "{worst:?}");
    }
}
