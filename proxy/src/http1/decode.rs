//! Bodies from bytes: Content-Length, chunked with trailers, and until the connection ends.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;

use super::control::is_disguised_framing;
use super::extension::is_extension;
use super::scan::Section;
use super::{BadBody, BodyFraming, HeadLimits};
use crate::http::Fields;

/// Longest line before the data of a chunk: size, extension and CRLF.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// Extensions of all chunks of a body together. They mean nothing to us, and a body of one-byte chunks with a
/// long extension each would make us work a thousand times for each byte that the body's own limit counts.
const EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// What the next bytes of a body are.
#[derive(Debug)]
pub enum Decoded {
    /// The buffer holds nothing complete: read more and call again.
    NeedMore,
    /// A piece of the body, never empty, cut out of the buffer without copying.
    Data(Bytes),
    /// The body is complete; the rest of the buffer belongs to the next message. With the trailers, where
    /// the chunked coding carried any. Comes again, without trailers, when asked again.
    End(Option<Fields>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of a body with Content-Length are still to come.
    Length(u64),
    ChunkLine,
    /// So many bytes of this chunk are still to come.
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// Reads one body out of a growing buffer.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    limits: HeadLimits,
    extension_bytes: usize,
}

impl Decoder {
    /// `limits` bound the trailer section.
    pub fn new(framing: BodyFraming, limits: &HeadLimits) -> Decoder {
        let state = match framing {
            BodyFraming::Empty | BodyFraming::Length(0) => State::Done,
            BodyFraming::Length(length) => State::Length(length),
            BodyFraming::Chunked => State::ChunkLine,
            BodyFraming::UntilClose => State::UntilClose,
        };
        Decoder {
            state,
            limits: *limits,
            extension_bytes: 0,
        }
    }

    /// The body was read to its end.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next piece from the front of `buffer`.
    ///
    /// # Errors
    /// [`BadBody`]: the connection is then beyond use.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadBody> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::End(None)),
                State::Length(remaining) => {
                    let (piece, remaining) = take(buffer, remaining);
                    self.state = match remaining {
                        0 => State::Done,
                        _ => State::Length(remaining),
                    };
                    return Ok(piece);
                }
                State::UntilClose => return Ok(take(buffer, u64::MAX).0),
                State::ChunkData(remaining) => {
                    let (piece, remaining) = take(buffer, remaining);
                    self.state = match remaining {
                        0 => State::ChunkEnd,
                        _ => State::ChunkData(remaining),
                    };
                    return Ok(piece);
                }
                State::ChunkEnd => match &buffer[..] {
                    [b'\r', b'\n', ..] => {
                        buffer.advance(2);
                        self.state = State::ChunkLine;
                    }
                    [] | [b'\r'] => return Ok(Decoded::NeedMore),
                    _ => return Err(BadBody::ChunkEnd),
                },
                State::ChunkLine => {
                    let Some((size, line_bytes)) = self.chunk_line(buffer)? else {
                        return Ok(Decoded::NeedMore);
                    };
                    buffer.advance(line_bytes);
                    self.state = match size {
                        0 => State::Trailers,
                        _ => State::ChunkData(size),
                    };
                }
                State::Trailers => return self.trailers(buffer),
            }
        }
    }

    /// The peer has closed its side and the buffer holds nothing more that [`Decoder::decode`] can use.
    ///
    /// # Errors
    /// [`BadBody::Truncated`] unless that is where the body ends.
    pub fn end_of_input(&mut self) -> Result<(), BadBody> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BadBody::Truncated),
        }
    }

    /// Size of the next chunk and the bytes of its line.
    fn chunk_line(&mut self, buffer: &[u8]) -> Result<Option<(u64, usize)>, BadBody> {
        let shown = &buffer[..buffer.len().min(CHUNK_LINE_BYTES_MAX)];
        let digits = shown
            .iter()
            .position(|byte| !byte.is_ascii_hexdigit())
            .unwrap_or(shown.len());
        if digits > 16 || (digits == 0 && !shown.is_empty()) {
            return Err(BadBody::ChunkSize);
        }
        let Some(line_feed) = memchr(b'\n', shown) else {
            return match shown.get(digits) {
                None | Some(b'\r') if shown.len() <= digits + 1 => Ok(None),
                Some(b';' | b' ' | b'\t') if shown.len() < CHUNK_LINE_BYTES_MAX => Ok(None),
                Some(b';' | b' ' | b'\t') => Err(BadBody::ChunkExtension),
                _ => Err(BadBody::ChunkSize),
            };
        };
        let Some(extension) = shown[digits..line_feed].strip_suffix(b"\r") else {
            return Err(BadBody::ChunkSize);
        };
        self.check_extension(extension)?;
        let size = shown[..digits].iter().fold(0u64, |size, digit| {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                _ => (digit | 0x20) - b'a' + 10,
            };
            size << 4 | u64::from(value)
        });
        Ok(Some((size, line_feed + 1)))
    }

    /// RFC 9112 §7.1.1: nothing, or extensions.
    fn check_extension(&mut self, extension: &[u8]) -> Result<(), BadBody> {
        if extension.is_empty() {
            return Ok(());
        }
        if crate::http::trim(extension).first() != Some(&b';') {
            return Err(BadBody::ChunkSize);
        }
        self.extension_bytes += extension.len();
        if !is_extension(extension) || self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(BadBody::ChunkExtension);
        }
        Ok(())
    }

    fn trailers(&mut self, buffer: &mut BytesMut) -> Result<Decoded, BadBody> {
        let Some(section) = Section::trailers(buffer, &self.limits).map_err(BadBody::Trailers)?
        else {
            return Ok(Decoded::NeedMore);
        };
        let (trailers, consumed) = section.fields(Fields::new()).map_err(BadBody::Trailers)?;
        if has_forbidden_trailer(&trailers) {
            return Err(BadBody::ForbiddenTrailer);
        }
        buffer.advance(consumed);
        self.state = State::Done;
        Ok(Decoded::End((!trailers.is_empty()).then_some(trailers)))
    }
}

/// RFC 9110 §6.5.1: what decides framing, routing or the connection may not come late.
pub(crate) fn has_forbidden_trailer(trailers: &Fields) -> bool {
    const FORBIDDEN: [&str; 9] = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
    ];
    trailers.iter().any(|field| {
        let is = |name: &&str| field.name.eq_ignore_ascii_case(name);
        FORBIDDEN.iter().any(is) || is_disguised_framing(field.name.as_bytes())
    })
}

/// Up to `remaining` bytes off the front, and what remains then.
fn take(buffer: &mut BytesMut, remaining: u64) -> (Decoded, u64) {
    let length = buffer
        .len()
        .min(usize::try_from(remaining).unwrap_or(usize::MAX));
    if length == 0 {
        return (Decoded::NeedMore, remaining);
    }
    let piece = buffer.split_to(length).freeze();
    (Decoded::Data(piece), remaining - length as u64)
}
