//! A stream whose first bytes were already read.

use bytes::BytesMut;
use pingora_core::protocols::Stream;

/// What was read to learn the protocol, and the stream behind it.
#[derive(Debug)]
pub(super) struct Prefixed {
    pub(super) prefix: BytesMut,
    pub(super) stream: Stream,
}

impl Prefixed {
    pub(super) fn new(prefix: BytesMut, stream: Stream) -> Prefixed {
        Prefixed { prefix, stream }
    }
}
