//! HTTP/2 as bytes (RFC 9113) and its header compression (RFC 7541), for the server's role.
//!
//! Functions of bytes and values: frames and heads are read from a buffer and written into one. The only state is
//! the table of a header decoder. No sockets, no streams, no windows: those are in [`crate::downstream`].
//!
//! As in [`crate::http1`], what breaks a rule is refused and not repaired, and what is refused says what ends by it:
//! the stream or the connection.

mod error;
mod frame;
mod hpack;
mod request;
mod response;

#[cfg(test)]
mod tests;

pub use error::{ErrorCode, Violation};
pub use frame::{
    FRAME_BYTES_DEFAULT, FRAME_HEAD_BYTES, Frame, FrameHead, Kind, PREFACE, PeerSettings,
    WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX, flags, write_frame_head, write_goaway, write_ping,
    write_reset, write_settings, write_settings_ack, write_window_update,
};
pub use hpack::{Decoder, write_table_size};
pub use request::{
    BadHead, HeadMemory, ListLimits, ParsedHead, read_request, read_trailers, skip_block,
};
pub use response::{StatedLength, size_of_start, write_response, write_trailers};
