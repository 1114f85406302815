//! A client for what is not measured: it fills caches, and shows that answers are what they should be.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;

use super::backend;

const TIMEOUT: Duration = Duration::from_secs(10);
const READ_BYTES: usize = 64 << 10;

/// An answer, byte for byte.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// One connection that asks one thing after the other.
#[derive(Debug)]
pub struct Probe {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Probe {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(address: SocketAddr) -> Result<Probe> {
        let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Probe {
            stream,
            input: Vec::new(),
        })
    }

    /// Sends a request as it is and reads its answer.
    ///
    /// # Errors
    /// When the connection fails, or the answer is not HTTP/1 with a length.
    pub fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request)?;
        let head_bytes = loop {
            if let Some(at) = memmem::find(&self.input, b"\r\n\r\n") {
                break at + 4;
            }
            self.read_more()?;
        };
        let head = self.input[..head_bytes].to_vec();
        let text = String::from_utf8_lossy(&head).into_owned();
        let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.with_context(|| format!("no status in {text:?}"))?;
        let body = match (status, field(&text, "content-length")) {
            (304 | 204, _) => {
                self.input.drain(..head_bytes);
                Vec::new()
            }
            (_, Some(length)) => {
                let whole = head_bytes + length.parse::<usize>()?;
                while self.input.len() < whole {
                    self.read_more()?;
                }
                let body = self.input[head_bytes..whole].to_vec();
                self.input.drain(..whole);
                body
            }
            (_, None)
                if text
                    .to_ascii_lowercase()
                    .contains("\r\ntransfer-encoding: chunked") =>
            {
                self.input.drain(..head_bytes);
                self.read_chunked()?
            }
            (_, None) => bail!("an answer without a length: {text:?}"),
        };
        Ok(Answer { status, head, body })
    }

    /// The connection, on which nothing is under way.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    fn read_chunked(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_bytes = loop {
                if let Some(at) = memmem::find(&self.input, b"\r\n") {
                    break at;
                }
                self.read_more()?;
            };
            let size = String::from_utf8_lossy(&self.input[..line_bytes]).into_owned();
            let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
            let whole = line_bytes + 2 + size + 2;
            while self.input.len() < whole {
                self.read_more()?;
            }
            body.extend_from_slice(&self.input[line_bytes + 2..whole - 2]);
            self.input.drain(..whole);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn read_more(&mut self) -> Result<()> {
        let mut buffer = [0; READ_BYTES];
        let count = self.stream.read(&mut buffer)?;
        ensure!(count > 0, "the connection was closed");
        self.input.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

/// Asks on a connection of its own.
///
/// # Errors
/// As [`Probe::connect`] and [`Probe::ask`].
pub fn ask(address: SocketAddr, request: &[u8]) -> Result<Answer> {
    Probe::connect(address)?.ask(request)
}

/// Whether a body is what the backend has sent.
///
/// # Errors
/// When not.
pub fn check_body(body: &[u8], bytes: usize) -> Result<()> {
    ensure!(
        body.len() == bytes,
        "a body of {} bytes, not {bytes}",
        body.len()
    );
    ensure!(
        body == backend::pattern(bytes),
        "a body with other bytes than the backend's"
    );
    Ok(())
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::backend::Backend;

    #[test]
    fn bodies_of_the_backend_are_recognised() {
        let backend = Backend::start().unwrap();
        let mut probe = Probe::connect(backend.address).unwrap();
        for bytes in [0, 128, 1 << 20] {
            let request = format!("GET /store/{bytes}/a HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = probe.ask(request.as_bytes()).unwrap();
            assert_eq!(answer.status, 200);
            check_body(&answer.body, bytes).unwrap();
            assert!(check_body(&answer.body, bytes + 1).is_err());
        }
        assert_eq!(backend.requests(), 3);
    }

    #[test]
    fn other_bytes_are_noticed() {
        assert!(check_body(b"abx", 3).is_err());
        assert!(check_body(b"abc", 3).is_ok());
    }
}
