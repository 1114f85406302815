//! Names to addresses, off the path of requests.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;

/// Looks up a host name.
#[async_trait]
pub trait Resolve: Send + Sync + fmt::Debug {
    /// Every address of `host`, preferred ones first.
    ///
    /// # Errors
    /// When there is no answer, or one without an address is the answer: callers treat both alike.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own resolver: `/etc/hosts`, `nsswitch.conf` and DNS, as every other program sees them.
/// It blocks, so each look-up holds one of the runtime's blocking threads; one is under way per name.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}
