//! The operator's port: `/metrics`, `/healthz`, `/readyz`, `/explain` over plain HTTP/1, apart from client traffic.
//!
//! It listens only where it is told, serves few connections at a time, and gives each little time, so that
//! nothing on this port can hold up the front door. It knows nothing of requests to the front door: questions about
//! them go to an [`Explainer`].

mod explainer;
mod readiness;
mod server;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests;

pub use explainer::Explainer;
pub use readiness::{Phase, Readiness};
pub use server::{OpsServer, OpsSettings};
