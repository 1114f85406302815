//! Sessions that clients take up again (RFC 8446 §2.2, RFC 5077): the second handshake of a client needs no signature, which
//! is most of what a handshake costs.
//!
//! What has to be remembered is in the ticket that the client keeps, sealed with a key of ours: nothing is stored here, and
//! no number of clients makes that forget. The key is made when the listener is, is replaced every six hours and
//! opens tickets for six more, and never leaves the process; so a ticket that was stolen with its key later opens
//! twelve hours of TLS 1.2 at the most, and nothing of TLS 1.3, whose sessions agree on keys anew. A ticket is good for
//! the name it was given for, and never carries data ahead of its handshake (RFC 8446 §8: that could be
//! replayed).

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;

/// Lets clients take up their sessions. Without random bytes from the system, the library's own memory of the latest 256
/// sessions stays in use.
pub(crate) fn resume(config: &mut ServerConfig) {
    match Ticketer::new() {
        Ok(ticketer) => config.ticketer = ticketer,
        Err(error) => tracing::warn!(%error, "no keys for session tickets"),
    }
}
