//! The side of the front door that talks to backends: pools of servers, connections to them, requests out
//! and responses in.
//!
//! pingora opens connections, HTTP/1 on them is [`crate::http1`]'s, and everything between is here: choosing
//! a server, probing, looking names up, sending a body while the answer is read, deciding what may be tried
//! again. It knows nothing of caching, of clients, and of what a request means; who asks has stripped
//! hop-by-hop fields and reads a body that streams. pingora's types end here, but for the
//! [`Stream`](pingora_core::protocols::Stream) of an upgraded connection.
//!
//! Read `pool` for the way of a request, then `exchange`, `wire` and `upload`.
//!
//! - **Invariant:** a request that a server may have seen is sent again only when repeating it does no harm
//!   and its body is still at hand from the first byte.
//! - **Invariant:** a connection is used again only when the whole request was sent, the whole response read,
//!   and not a byte came after it.
//! - **Invariant:** a request body that broke off never reaches a server as a complete one.

mod balance;
mod connect;
mod counters;
mod endpoint;
mod error;
mod exchange;
mod health;
mod idle;
mod lookup;
mod pool;
mod probe;
mod resolve;
mod response;
mod server;
mod settings;
mod trust;
mod upload;
mod wire;

#[cfg(test)]
mod tests;

pub use counters::CounterValues;
pub use error::{BackendError, ConnectFailure, MalformedResponse};
pub use exchange::BackendRequest;
pub use pool::{BackendPool, ServerStatus};
pub use resolve::{Resolve, SystemResolver};
pub use response::{BackendResponse, BodyLength, ResponseBody, Upgraded};
pub use settings::{
    Balance, PoolError, PoolSettings, ProbeSettings, ServerAddress, ServerSettings, Timeouts,
    TlsSettings, Verification,
};
pub use upload::{BodyPiece, RequestBody};
