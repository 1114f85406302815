//! Connections that wait for their next request. Knows nothing of servers but a number for each address.
//!
//! A list under one lock, and one task that looks through it while it holds anything. pingora's own pool has
//! a task, a timer and four allocations for each wait of each connection, which is every request: a tenth of
//! what a passed request takes.
//!
//! Lock order: none; the one mutex is held for no await. What is taken out is closed after it is released.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use tokio::io::AsyncReadExt;

use super::wire::Timer;
use crate::metrics::thread_slot;

/// How often connections are looked for that nobody is going to use: their time is over, or their server has
/// closed them.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How many are looked at for one that belongs to the calling thread.
const LOOKED_AT_MAX: usize = 32;

/// Idle connections of one pool.
#[derive(Debug)]
pub(super) struct IdleConnections {
    connections_max: usize,
    shelves: Mutex<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// By the hash of the address and its TLS settings; the longest idle first.
    by_address: BTreeMap<u64, VecDeque<Idle>>,
    count: usize,
    sweep: Sweep,
}

/// Whether the task that looks through the list is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sweep {
    #[default]
    Resting,
    Running,
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    /// Whose runtime watches it.
    thread: usize,
    /// For the waits of its next request.
    timer: Timer,
    since: Instant,
    /// `None`: later than the clock can tell.
    until: Option<Instant>,
}

impl Idle {
    /// Whether it may carry a request: nobody has closed it, and not a byte came that no request asked for.
    fn is_usable(&mut self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until) && is_silent(&mut self.stream)
    }
}

/// Whether nothing came: neither to what the stream has read already, nor to the socket, of which the runtime hears only
/// when its thread next asks the kernel. Without the scheduler's say, which could make a closed connection look open.
fn is_silent(stream: &mut Stream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(stream.id(), &mut [0], flags) == Err(Errno::EAGAIN)
        && tokio::task::unconstrained(stream.read(&mut [0]))
            .now_or_never()
            .is_none()
}

impl IdleConnections {
    pub(super) fn new(connections_max: usize) -> Arc<IdleConnections> {
        Arc::new(IdleConnections {
            connections_max,
            shelves: Mutex::default(),
        })
    }

    /// The connection to this address that was used last, if one is open still; rather one of the calling thread's
    /// own, since what comes on another's has to wake two threads.
    pub(super) fn take(&self, address: u64, now: Instant) -> Option<(Stream, Timer)> {
        let thread = thread_slot();
        let mut dead = Vec::new();
        let mut shelves = self.shelves.lock();
        let mut taken = None;
        while let Some(mut idle) = take_last(shelves.by_address.get_mut(&address)?, thread) {
            shelves.count -= 1;
            if idle.is_usable(now) {
                let timer = match idle.thread == thread {
                    true => idle.timer,
                    // It belongs to the other thread's runtime.
                    false => Timer::default(),
                };
                taken = Some((idle.stream, timer));
                break;
            }
            dead.push(idle);
        }
        drop(shelves);
        taken
    }

    /// Keeps a connection for at most `idle_max`. Where there are too many, the one that has waited longest goes.
    /// Only within a runtime.
    pub(super) fn put(
        self: &Arc<Self>,
        address: u64,
        stream: Stream,
        mut timer: Timer,
        idle_max: Duration,
    ) {
        timer.disarm();
        let now = Instant::now();
        let idle = Idle {
            stream,
            thread: thread_slot(),
            timer,
            since: now,
            until: now.checked_add(idle_max),
        };
        let mut shelves = self.shelves.lock();
        shelves
            .by_address
            .entry(address)
            .or_default()
            .push_back(idle);
        shelves.count += 1;
        let surplus = match shelves.count > self.connections_max {
            true => shelves.take_oldest(),
            false => None,
        };
        let rested = std::mem::replace(&mut shelves.sweep, Sweep::Running) == Sweep::Resting;
        drop(shelves);
        drop(surplus);
        if rested {
            tokio::spawn(keep_sweeping(Arc::downgrade(self)));
        }
    }

    /// Closes what nobody is going to use. Says whether anything is left.
    fn sweep(&self) -> Sweep {
        let now = Instant::now();
        let mut dead = Vec::new();
        let mut shelves = self.shelves.lock();
        shelves.by_address.retain(|_, shelf| {
            for mut idle in std::mem::take(shelf) {
                match idle.is_usable(now) {
                    true => shelf.push_back(idle),
                    false => dead.push(idle),
                }
            }
            !shelf.is_empty()
        });
        shelves.count -= dead.len();
        if shelves.count == 0 {
            shelves.sweep = Sweep::Resting;
        }
        shelves.sweep
    }
}

/// Of those used last, one that this thread has put there; else the very last.
fn take_last(shelf: &mut VecDeque<Idle>, thread: usize) -> Option<Idle> {
    let mut recent = shelf.iter().enumerate().rev().take(LOOKED_AT_MAX);
    match recent.find(|(_, idle)| idle.thread == thread) {
        Some((at, _)) => shelf.remove(at),
        None => shelf.pop_back(),
    }
}

impl Shelves {
    fn take_oldest(&mut self) -> Option<Idle> {
        let oldest = self
            .by_address
            .values_mut()
            .filter(|shelf| !shelf.is_empty())
            .min_by_key(|shelf| shelf[0].since)?
            .pop_front();
        self.count -= 1;
        oldest
    }
}

/// Ends when nothing is idle, or when the pool is gone and its connections with it.
async fn keep_sweeping(connections: Weak<IdleConnections>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        match connections.upgrade() {
            Some(connections) if connections.sweep() == Sweep::Running => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener};

    use pingora_core::protocols::l4::stream::Stream as L4Stream;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;

    /// A connection that has carried an exchange, and its server's end.
    async fn used() -> (Stream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let mut stream: Stream = Box::new(L4Stream::from(socket));
        stream.write_all(b"?").await.unwrap();
        server.write_all(b"!").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
        (stream, server)
    }

    #[tokio::test]
    async fn connections_are_taken_while_nothing_came_over_them() {
        let minute = Duration::from_secs(60);
        for came in ["nothing", "bytes", "an end"] {
            let (stream, mut server) = used().await;
            let idle = IdleConnections::new(8);
            idle.put(1, stream, Timer::default(), minute);
            match came {
                "bytes" => server.write_all(b"HTTP/1.1 200 OK").unwrap(),
                "an end" => server.shutdown(Shutdown::Both).unwrap(),
                _ => {}
            }
            // The runtime has had no chance to hear of it.
            let taken = idle.take(1, Instant::now());
            assert_eq!(taken.is_some(), came == "nothing", "{came} came");
        }
    }
}
