//! A byte stream read as HTTP/1 messages: heads, and bodies piece by piece.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::message::{Fields, parse_field};

const HEAD_BYTES_MAX: usize = 256 << 10;
const PIECE_BYTES_MAX: usize = 64 << 10;

/// How the end of a body is found (RFC 9112 §6.3), and how far it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing is left.
    Empty,
    /// So many bytes are left.
    Length(u64),
    /// In chunks; so many bytes are left of the current one.
    Chunked(u64),
    /// Up to the end of the connection.
    UntilClose,
}

impl Body {
    /// What the fields of a message say; `otherwise` when they say nothing.
    pub fn of(fields: &Fields, otherwise: Body) -> Result<Body> {
        let coding = fields.joined("Transfer-Encoding");
        let lengths: Vec<&str> = fields.lines("Content-Length").collect();
        match (coding.as_str(), lengths.as_slice()) {
            ("", []) => Ok(otherwise),
            ("", [length]) => match length
                .parse()
                .with_context(|| format!("Content-Length {length:?}"))?
            {
                0 => Ok(Body::Empty),
                length => Ok(Body::Length(length)),
            },
            ("chunked", []) => Ok(Body::Chunked(0)),
            _ => {
                bail!("ambiguous framing: Transfer-Encoding {coding:?}, Content-Length {lengths:?}")
            }
        }
    }
}

/// A connection with the bytes that were read ahead.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    ahead: Vec<u8>,
    /// Where in `ahead` the unread bytes begin.
    at: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub fn new(stream: S) -> Wire<S> {
        Wire {
            stream,
            ahead: Vec::new(),
            at: 0,
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// Ends our direction.
    pub async fn shut(&mut self) -> Result<()> {
        Ok(self.stream.shutdown().await?)
    }

    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    fn unread(&self) -> &[u8] {
        &self.ahead[self.at..]
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.ahead[self.at..self.at + count].to_vec();
        self.at += count;
        if self.at == self.ahead.len() {
            self.ahead.clear();
            self.at = 0;
        }
        taken
    }

    /// Reads more; 0 is the end of the stream.
    async fn fill(&mut self) -> Result<usize> {
        self.ahead.drain(..self.at);
        self.at = 0;
        let before = self.ahead.len();
        self.ahead.resize(before + PIECE_BYTES_MAX, 0);
        let read = self.stream.read(&mut self.ahead[before..]).await;
        self.ahead.truncate(before + *read.as_ref().unwrap_or(&0));
        Ok(read?)
    }

    /// Some bytes, whatever they mean; none at the end of the stream.
    pub async fn read_raw(&mut self) -> Result<Vec<u8>> {
        if self.unread().is_empty() {
            self.fill().await?;
        }
        let count = self.unread().len();
        Ok(self.take(count))
    }

    /// Everything up to the end of the stream.
    pub async fn read_to_end(&mut self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let piece = self.read_raw().await?;
            if piece.is_empty() {
                return Ok(all);
            }
            all.extend(piece);
        }
    }

    /// Exactly so many bytes.
    pub async fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.unread().len() < count {
            ensure!(
                self.fill().await? > 0,
                "the stream ends {} bytes early",
                count - self.unread().len()
            );
        }
        Ok(self.take(count))
    }

    /// Everything up to and with `mark`; `None` when the stream ends before its first byte.
    async fn read_until(&mut self, mark: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            let unread = self.unread();
            if let Some(found) = unread[searched..]
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return Ok(Some(self.take(searched + found + mark.len())));
            }
            searched = unread.len().saturating_sub(mark.len() - 1);
            ensure!(
                unread.len() < HEAD_BYTES_MAX,
                "no {:?} within {HEAD_BYTES_MAX} bytes",
                mark.escape_ascii().to_string()
            );
            if self.fill().await? == 0 {
                let rest = self.unread();
                ensure!(
                    rest.is_empty(),
                    "the stream ends in the middle of a head: {}",
                    rest.escape_ascii()
                );
                return Ok(None);
            }
        }
    }

    /// The bytes of a head with its blank line; `None` when the stream ends instead.
    pub async fn read_head(&mut self) -> Result<Option<Vec<u8>>> {
        self.read_until(b"\r\n\r\n").await
    }

    /// The next piece of a body, never empty; `None` at its end, with the trailers added to `trailers`.
    pub async fn read_body(
        &mut self,
        body: &mut Body,
        trailers: &mut Fields,
    ) -> Result<Option<Vec<u8>>> {
        match body {
            Body::Empty => Ok(None),
            Body::UntilClose => {
                let piece = self.read_raw().await?;
                Ok(if piece.is_empty() { None } else { Some(piece) })
            }
            Body::Length(left) => {
                let piece = self
                    .read_at_most(*left)
                    .await
                    .with_context(|| format!("{left} bytes are missing"))?;
                *left -= piece.len() as u64;
                if *left == 0 {
                    *body = Body::Empty;
                }
                Ok(Some(piece))
            }
            Body::Chunked(left) => {
                if *left == 0 {
                    *left = self.read_chunk_size().await?;
                }
                if *left == 0 {
                    self.read_trailers(trailers).await?;
                    *body = Body::Empty;
                    return Ok(None);
                }
                let piece = self
                    .read_at_most(*left)
                    .await
                    .with_context(|| format!("{left} bytes of a chunk are missing"))?;
                *left -= piece.len() as u64;
                if *left == 0 {
                    let end = self.read_exactly(2).await?;
                    ensure!(end == b"\r\n", "a chunk ends with {}", end.escape_ascii());
                }
                Ok(Some(piece))
            }
        }
    }

    async fn read_at_most(&mut self, most: u64) -> Result<Vec<u8>> {
        if self.unread().is_empty() {
            ensure!(self.fill().await? > 0, "the stream ends early");
        }
        let count = self
            .unread()
            .len()
            .min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.take(count))
    }

    async fn read_chunk_size(&mut self) -> Result<u64> {
        let line = self
            .read_until(b"\r\n")
            .await?
            .context("the stream ends before the last chunk")?;
        let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
        let text = std::str::from_utf8(line).context("chunk size")?;
        u64::from_str_radix(text, 16).with_context(|| format!("chunk size {text:?}"))
    }

    async fn read_trailers(&mut self, trailers: &mut Fields) -> Result<()> {
        loop {
            let line = self
                .read_until(b"\r\n")
                .await?
                .context("the stream ends before the trailers' blank line")?;
            let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
            if line.is_empty() {
                return Ok(());
            }
            let (name, value) = parse_field(line)?;
            trailers.append(&name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(sent: &'static [u8], body: Body, expected: Result<(&[u8], &str), &str>) {
        let (near, mut far) = tokio::io::duplex(7);
        let sending = tokio::spawn(async move {
            // The reader may give up first.
            let _ = far.write_all(sent).await;
        });
        let mut wire = Wire::new(near);
        let (mut body, mut whole, mut trailers) = (body, Vec::new(), Fields::new());
        let result = loop {
            match wire.read_body(&mut body, &mut trailers).await {
                Ok(Some(piece)) => whole.extend(piece),
                Ok(None) => break Ok((whole.as_slice(), trailers.joined("t"))),
                Err(problem) => break Err(problem.to_string()),
            }
        };
        let result = result
            .as_ref()
            .map(|(body, trailer)| (*body, trailer.as_str()))
            .map_err(String::as_str);
        assert_eq!(result, expected, "{}", sent.escape_ascii());
        drop(wire);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn bodies_end_where_their_framing_says() {
        check(b"hello, and more", Body::Length(5), Ok((b"hello", ""))).await;
        check(b"hello", Body::UntilClose, Ok((b"hello", ""))).await;
        check(b"ignored", Body::Empty, Ok((b"", ""))).await;
        check(
            b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\nnext",
            Body::Chunked(0),
            Ok((b"abc0123456789", "v")),
        )
        .await;
        check(b"hell", Body::Length(5), Err("1 bytes are missing")).await;
        check(
            b"3\r\nab",
            Body::Chunked(0),
            Err("1 bytes of a chunk are missing"),
        )
        .await;
        check(
            b"3\r\nabcd\r\n",
            Body::Chunked(0),
            Err("a chunk ends with d\\r"),
        )
        .await;
        check(
            b"3;ext\r\nabc\r\n",
            Body::Chunked(0),
            Err("chunk size \"3;ext\""),
        )
        .await;
        check(
            b"3\r\nabc\r\n",
            Body::Chunked(0),
            Err("the stream ends before the last chunk"),
        )
        .await;
    }

    #[tokio::test]
    async fn heads_are_found_across_reads() {
        let (near, mut far) = tokio::io::duplex(5);
        tokio::spawn(async move { far.write_all(b"one\r\n\r\ntwo: 2\r\n\r\n").await });
        let mut wire = Wire::new(near);
        assert_eq!(wire.read_head().await.unwrap().unwrap(), b"one\r\n\r\n");
        assert_eq!(wire.read_head().await.unwrap().unwrap(), b"two: 2\r\n\r\n");
        assert_eq!(wire.read_head().await.unwrap(), None);
    }
}
