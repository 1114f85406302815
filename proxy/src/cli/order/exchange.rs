//! One exchange with a front door: a connection, one request out, one response back, all of it bounded.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use config::BackendAddress;

use super::Answer;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the whole exchange: the front door answers orders from memory.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers to orders have a few hundred bytes; a peer that sends more is not a front door.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const ANSWER_FIELDS_MAX: usize = 100;

/// A connection to a front door.
pub(in super::super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    /// Tries each address of a host.
    pub(in super::super) fn open(to: &BackendAddress) -> io::Result<Connection> {
        match to {
            BackendAddress::Unix(path) => UnixStream::connect(path).map(Connection::Unix),
            BackendAddress::Host { host, port } => {
                let mut failure =
                    io::Error::new(io::ErrorKind::NotFound, "the host has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                        Ok(stream) => return Ok(Connection::Tcp(stream)),
                        Err(error) => failure = error,
                    }
                }
                Err(failure)
            }
        }
    }

    /// Writes the request and reads until the answer is whole, the peer closes, or a bound is reached.
    pub(in super::super) fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + EXCHANGE_TIMEOUT;
        self.set_timeouts(EXCHANGE_TIMEOUT)?;
        self.write_all(request)?;
        let mut reply = Vec::new();
        let mut buffer = [0; 4096];
        while reply.len() < ANSWER_BYTES_MAX && !is_whole(&reply) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.set_timeouts(left)?;
            match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => reply.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What the system says of a timeout reads as if one should try again.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(reply)
    }

    fn set_timeouts(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Connection::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.read(buffer),
            Connection::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Connection::Tcp(stream) => stream.write(bytes),
            Connection::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.flush(),
            Connection::Unix(stream) => stream.flush(),
        }
    }
}

/// A head, and where its body begins.
struct Head {
    status: u16,
    reason: String,
    body_offset: usize,
    content_length: Option<usize>,
    is_chunked: bool,
}

/// The head of the final response; interim ones (RFC 9110 §15.2) are skipped. `Ok(None)` while it is incomplete.
fn read_head(reply: &[u8]) -> Result<Option<Head>, httparse::Error> {
    let mut offset = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; ANSWER_FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = response.parse(&reply[offset..])? else {
            return Ok(None);
        };
        offset += length;
        let status = response.code.unwrap_or_default();
        if (100..200).contains(&status) {
            continue;
        }
        let find = |name: &str| {
            response
                .headers
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case(name))
        };
        let length = find("content-length").and_then(|field| std::str::from_utf8(field.value).ok());
        return Ok(Some(Head {
            status,
            reason: response.reason.unwrap_or_default().to_owned(),
            body_offset: offset,
            content_length: length.and_then(|digits| digits.trim().parse().ok()),
            is_chunked: find("transfer-encoding").is_some(),
        }));
    }
}

/// Whether nothing more is worth waiting for.
fn is_whole(reply: &[u8]) -> bool {
    match read_head(reply) {
        Ok(Some(head)) => match head.content_length {
            Some(length) => reply.len() - head.body_offset >= length,
            None => head.status == 204 || head.is_chunked,
        },
        Ok(None) => false,
        Err(_) => true,
    }
}

/// The final response; `None` where the bytes are no HTTP, or end within its head.
pub(super) fn read_answer(reply: &[u8]) -> Option<Answer> {
    let head = read_head(reply).ok()??;
    let body = match head.is_chunked {
        // The text is a courtesy; the status says it all.
        true => &[],
        false => &reply[head.body_offset..],
    };
    Some(Answer {
        status: head.status,
        reason: printable(head.reason.as_bytes()),
        text: printable(body),
    })
}

/// Status and content of the final response; `None` where it is no HTTP, chunked, or not whole.
pub(in super::super) fn read_body(reply: &[u8]) -> Option<(u16, &[u8])> {
    let head = read_head(reply).ok()??;
    let end = head.body_offset + head.content_length?;
    Some((head.status, reply.get(head.body_offset..end)?))
}

/// The first line that says something, fit for a terminal.
fn printable(bytes: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let visible = line.unwrap_or_default().chars();
    let visible = visible.filter(|character| !character.is_control());
    visible.take(CHARACTERS_MAX).collect()
}
