//! One thread, one epoll, many HTTP/1 connections: what the backend and the bare loop have in common.
//!
//! It reads once and writes once a request, and knows nothing of what the bytes mean: a [`Responder`] does.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

const READ_BYTES: usize = 64 << 10;
/// A request that is longer than this is not one of ours.
const INPUT_BYTES_MAX: usize = 1 << 20;
const EVENTS_MAX: usize = 512;
const LISTENER: u64 = u64::MAX;
/// How often the loop looks whether it shall end.
const WAKE_EVERY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// What to do with the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Keep,
    Close,
}

/// An answer: what it took of the input, and how much of [`Responder::body`] follows the head.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub consumed_bytes: usize,
    pub body_bytes: usize,
    pub then: Then,
}

/// What turns requests into answers.
pub trait Responder {
    /// Answers the first request in `input`, once it is whole: its head goes to `head`.
    fn answer(&mut self, input: &[u8], head: &mut Vec<u8>) -> Option<Answer>;

    /// The bytes of which all bodies are beginnings.
    fn body(&self) -> &[u8];
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    /// What has arrived of a request that is not whole.
    input: Vec<u8>,
    head: Vec<u8>,
    head_sent: usize,
    body_bytes: usize,
    body_sent: usize,
    then: Then,
    waits_to_write: bool,
}

/// What a connection can do next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Read,
    Write,
    End,
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            input: Vec::new(),
            head: Vec::with_capacity(512),
            head_sent: 0,
            body_bytes: 0,
            body_sent: 0,
            then: Then::Keep,
            waits_to_write: false,
        }
    }

    /// Reads once, and answers what is whole.
    fn read(&mut self, buffer: &mut [u8], responder: &mut impl Responder) -> Next {
        let count = match self.stream.read(buffer) {
            Ok(0) => return Next::End,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Read,
            Err(_) => return Next::End,
        };
        if self.input.is_empty() {
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let Some(answer) = self.answer(rest, responder) else {
                    break;
                };
                rest = &rest[answer.consumed_bytes..];
                match self.write(responder) {
                    Next::Read => {}
                    Next::Write => {
                        self.input.extend_from_slice(rest);
                        return Next::Write;
                    }
                    Next::End => return Next::End,
                }
            }
            self.input.extend_from_slice(rest);
            return Next::Read;
        }
        if self.input.len() + count > INPUT_BYTES_MAX {
            return Next::End;
        }
        self.input.extend_from_slice(&buffer[..count]);
        self.go_on(responder)
    }

    /// Finishes the answer under way, then those to what has arrived meanwhile.
    fn go_on(&mut self, responder: &mut impl Responder) -> Next {
        loop {
            match self.write(responder) {
                Next::Read => {}
                other => return other,
            }
            let input = std::mem::take(&mut self.input);
            let answer = self.answer(&input, responder);
            self.input = input;
            match answer {
                Some(answer) => drop(self.input.drain(..answer.consumed_bytes)),
                None => return Next::Read,
            }
        }
    }

    fn answer(&mut self, input: &[u8], responder: &mut impl Responder) -> Option<Answer> {
        self.head.clear();
        self.head_sent = 0;
        let answer = responder.answer(input, &mut self.head)?;
        self.body_bytes = answer.body_bytes;
        self.body_sent = 0;
        self.then = answer.then;
        Some(answer)
    }

    fn write(&mut self, responder: &impl Responder) -> Next {
        loop {
            let head = &self.head[self.head_sent..];
            let body = &responder.body()[self.body_sent..self.body_bytes];
            let sent = match (head.is_empty(), body.is_empty()) {
                (true, true) => {
                    return match self.then {
                        Then::Keep => Next::Read,
                        Then::Close => Next::End,
                    };
                }
                (false, true) => self.stream.write(head),
                (true, false) => self.stream.write(body),
                (false, false) => self
                    .stream
                    .write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
            };
            match sent {
                Ok(0) => return Next::End,
                Ok(count) => {
                    let of_head = count.min(head.len());
                    self.head_sent += of_head;
                    self.body_sent += count - of_head;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Next::Write,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Next::End,
            }
        }
    }
}

/// Serves until `stop` is set.
///
/// # Errors
/// When epoll or the listener fails; what happens to one connection ends that one.
pub fn serve(
    listener: &TcpListener,
    mut responder: impl Responder,
    stop: &AtomicBool,
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &poll,
        listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
    while !stop.load(Ordering::Relaxed) {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), Some(&WAKE_EVERY)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.data.u64() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let at = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let data = EventData::new_u64(at as u64);
                    epoll::add(&poll, &stream, data, EventFlags::IN)?;
                    connections[at] = Some(Connection::new(stream));
                }
                continue;
            }
            let at = usize::try_from(event.data.u64()).expect("it was an index");
            let Some(connection) = &mut connections[at] else {
                continue;
            };
            let next = match connection.waits_to_write {
                true => connection.go_on(&mut responder),
                false => connection.read(&mut buffer, &mut responder),
            };
            let writes = next == Next::Write;
            if next == Next::End {
                connections[at] = None;
                free.push(at);
            } else if writes != connection.waits_to_write {
                connection.waits_to_write = writes;
                let flags = if writes {
                    EventFlags::OUT
                } else {
                    EventFlags::IN
                };
                let data = EventData::new_u64(at as u64);
                epoll::modify(&poll, &connection.stream, data, flags)?;
            }
        }
    }
    Ok(())
}
