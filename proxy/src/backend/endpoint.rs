//! One address of a server, as pingora's connector wants to see it.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddress;
use pingora_core::upstreams::peer::{Peer, PeerOptions};

use super::settings::Verification;

/// How long an address that could not be connected to comes last among the addresses of its server.
const HOLD_DOWN: Duration = Duration::from_secs(5);

/// TLS towards a server, resolved: a name is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tls {
    pub(super) server_name: String,
    pub(super) verification: Verification,
}

/// An address to connect to. Cloning shares it: the connector clones its peers.
///
/// pingora's own peers hash all their options on every request; this one keeps the hash.
#[derive(Clone, Debug)]
pub(super) struct Endpoint(Arc<Target>);

#[derive(Debug)]
struct Target {
    address: PingoraAddress,
    tls: Option<Tls>,
    options: PeerOptions,
    reuse_hash: u64,
    started: Instant,
    /// Milliseconds after `started` until which this address comes last.
    held_down_until: AtomicU64,
}

impl Endpoint {
    pub(super) fn tcp(address: SocketAddr, tls: Option<&Tls>) -> Endpoint {
        Endpoint::new(PingoraAddress::Inet(address), tls)
    }

    pub(super) fn unix(address: UnixAddress, tls: Option<&Tls>) -> Endpoint {
        Endpoint::new(PingoraAddress::Unix(address), tls)
    }

    fn new(address: PingoraAddress, tls: Option<&Tls>) -> Endpoint {
        let mut options = PeerOptions::new();
        let verification = tls.map_or(Verification::Full, |tls| tls.verification);
        options.verify_cert = verification != Verification::Off;
        options.verify_hostname = verification == Verification::Full;
        let mut hasher = DefaultHasher::new();
        address.hash(&mut hasher);
        tls.hash(&mut hasher);
        Endpoint(Arc::new(Target {
            address,
            tls: tls.cloned(),
            options,
            reuse_hash: hasher.finish(),
            started: Instant::now(),
            held_down_until: AtomicU64::new(0),
        }))
    }

    /// The address, where it is no Unix socket.
    pub(super) fn socket_address(&self) -> Option<&SocketAddr> {
        self.0.address.as_inet()
    }

    pub(super) fn hold_down(&self) {
        self.0.held_down_until.store(
            self.millis().saturating_add(HOLD_DOWN.as_millis() as u64),
            Ordering::Relaxed,
        );
    }

    pub(super) fn release(&self) {
        self.0.held_down_until.store(0, Ordering::Relaxed);
    }

    pub(super) fn is_held_down(&self) -> bool {
        match self.0.held_down_until.load(Ordering::Relaxed) {
            0 => false,
            until => self.millis() < until,
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.address)
    }
}

impl Peer for Endpoint {
    fn address(&self) -> &PingoraAddress {
        &self.0.address
    }

    fn tls(&self) -> bool {
        self.0.tls.is_some()
    }

    fn sni(&self) -> &str {
        self.0.tls.as_ref().map_or("", |tls| &tls.server_name)
    }

    fn reuse_hash(&self) -> u64 {
        self.0.reuse_hash
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        Some(&self.0.options)
    }
}
