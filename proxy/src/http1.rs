//! HTTP/1.0 and HTTP/1.1 as bytes (RFC 9112), for both roles: server towards clients, client towards backends.
//!
//! Functions of bytes and values, no sockets, no clock: a buffer goes in, a head comes out or the reason why
//! not. Who reads, writes and waits is in [`crate::downstream`] and in the backend client.
//!
//! What a request could make two programs read differently is refused, not repaired: both kinds of
//! length, bare CR or LF, folded fields, space before a colon, doubtful hosts. Leniency is what request
//! smuggling lives on, and every implementation is lenient in another place.

mod control;
mod decode;
mod encode;
mod error;
mod extension;
mod request;
mod response;
mod scan;
mod target;

#[cfg(test)]
mod tests;

pub(crate) use control::{is_disguised_framing, parse_length};
pub(crate) use decode::has_forbidden_trailer;
pub use decode::{Decoded, Decoder};
pub(crate) use encode::write_chosen_fields;
pub use encode::{
    CHUNK_END, SentFraming, write_chunk_head, write_field, write_fields, write_last_chunk,
    write_request_head, write_response_head, write_status_line,
};
pub use error::{BadBody, BadResponse, Malformed, Refused};
pub use request::{Expectation, ParsedRequest, parse_request, parse_request_into};
pub use response::{ParsedResponse, parse_response};
pub(crate) use target::{Target, is_authority};

/// How large a head may be. Trailer sections keep to the same bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, from the start line to the blank line.
    pub head_bytes_max: usize,
    /// Number of field lines.
    pub fields_max: usize,
    /// Bytes of the request target. Without meaning for responses.
    pub target_bytes_max: usize,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits {
            head_bytes_max: 64 * 1024,
            fields_max: 128,
            target_bytes_max: 16 * 1024,
        }
    }
}

/// How the end of a received body is found (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFraming {
    /// The message ends with its head.
    Empty,
    /// Content-Length, in bytes; may be zero.
    Length(u64),
    Chunked,
    /// The body ends where the connection does. Responses only.
    UntilClose,
}

/// Whether the sender of a message is willing to use the connection again (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    KeepAlive,
    Close,
}
