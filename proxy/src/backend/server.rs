//! One server of a pool: its addresses, health, load and counters. Knows neither sockets nor HTTP.

use std::net::SocketAddr;
use std::os::unix::net::SocketAddr as UnixAddress;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::ServerName;
use smallvec::SmallVec;
use tokio::sync::watch;

use super::counters::Counters;
use super::endpoint::{Endpoint, Tls};
use super::health::Health;
use super::settings::{PoolError, PoolSettings, ServerAddress, ServerSettings};
use crate::http1::is_authority;

/// Most addresses of one name that are used; the resolver's order decides which.
const ADDRESSES_MAX: usize = 16;

/// Addresses in the order in which to try them.
pub(super) type Endpoints = SmallVec<[Endpoint; 2]>;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) name: Arc<str>,
    /// The Host of requests that carry none.
    pub(super) host: String,
    pub(super) health: Health,
    pub(super) counters: Arc<Counters>,
    /// Where the address is a host name: it and the port.
    pub(super) lookup: Option<(String, u16)>,
    tls: Option<Tls>,
    endpoints: ArcSwap<Vec<Endpoint>>,
    /// Takes turns among the addresses.
    turn: AtomicUsize,
    /// Set once the first look-up ended, one way or the other.
    looked_up: watch::Sender<bool>,
    connections: AtomicUsize,
    connections_max: usize,
}

/// What a finished look-up changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup {
    Unchanged,
    Changed,
}

impl Server {
    pub(super) fn new(
        settings: &ServerSettings,
        pool: &PoolSettings,
        counters: Arc<Counters>,
    ) -> Result<Server, PoolError> {
        let tls = tls_of(settings)?;
        let (endpoints, lookup) = match &settings.address {
            ServerAddress::Socket(address) => (vec![Endpoint::tcp(*address, tls.as_ref())], None),
            ServerAddress::Name { host, port } => {
                if !is_authority(format!("{host}:{port}").as_bytes()) {
                    return Err(invalid_address(settings));
                }
                (Vec::new(), Some((host.clone(), *port)))
            }
            ServerAddress::Unix(path) => {
                let address =
                    UnixAddress::from_pathname(path).map_err(|_| invalid_address(settings))?;
                (vec![Endpoint::unix(address, tls.as_ref())], None)
            }
        };
        Ok(Server {
            name: settings.name.as_str().into(),
            host: host_of(settings)?,
            health: Health::new(pool.probe.as_ref()),
            counters,
            looked_up: watch::Sender::new(lookup.is_none()),
            lookup,
            tls,
            endpoints: ArcSwap::from_pointee(endpoints),
            turn: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            connections_max: pool
                .connections_max
                .map_or(usize::MAX, std::num::NonZeroUsize::get),
        })
    }

    /// The addresses to try, one after the other: in turns, those that failed a moment ago last.
    /// Waits up to `patience` for the first look-up of a name; empty when there is no address.
    pub(super) async fn endpoints(&self, patience: Duration) -> Endpoints {
        if !*self.looked_up.borrow() {
            let mut looked_up = self.looked_up.subscribe();
            // The sender lives in self; a look-up that takes too long leaves the list empty.
            let _ = tokio::time::timeout(patience, looked_up.wait_for(|ended| *ended)).await;
        }
        let known = self.endpoints.load();
        if known.len() < 2 {
            return known.iter().cloned().collect();
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % known.len();
        let mut ordered: Endpoints = known[first..]
            .iter()
            .chain(&known[..first])
            .cloned()
            .collect();
        ordered.sort_by_key(Endpoint::is_held_down);
        ordered
    }

    /// Takes in the answer of a look-up. Addresses that stay keep their state and their idle connections.
    pub(super) fn looked_up(&self, addresses: &[SocketAddr]) -> Lookup {
        let known = self.endpoints.load();
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
        for address in addresses {
            if endpoints.len() == ADDRESSES_MAX {
                break;
            }
            if find(&endpoints, address).is_none() {
                endpoints.push(match find(&known, address) {
                    Some(endpoint) => endpoint.clone(),
                    None => Endpoint::tcp(*address, self.tls.as_ref()),
                });
            }
        }
        let same = endpoints.len() == known.len()
            && endpoints
                .iter()
                .filter_map(Endpoint::socket_address)
                .all(|address| find(&known, address).is_some());
        if !same {
            self.endpoints.store(Arc::new(endpoints));
        }
        self.looked_up.send_replace(true);
        match same {
            true => Lookup::Unchanged,
            false => Lookup::Changed,
        }
    }

    /// A look-up ended without an answer: what was known stays.
    pub(super) fn look_up_failed(&self) {
        self.looked_up.send_replace(true);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A place among the connections in use; `None` when all are taken.
    pub(super) fn lease(self: &Arc<Server>) -> Option<Lease> {
        self.connections
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < self.connections_max).then_some(used + 1)
            })
            .ok()?;
        Some(Lease {
            server: Arc::clone(self),
        })
    }
}

/// One connection in use, from before it is opened until the exchange over it ends.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) server: Arc<Server>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn find<'a>(endpoints: &'a [Endpoint], address: &SocketAddr) -> Option<&'a Endpoint> {
    endpoints
        .iter()
        .find(|endpoint| endpoint.socket_address() == Some(address))
}

fn tls_of(settings: &ServerSettings) -> Result<Option<Tls>, PoolError> {
    let Some(tls) = &settings.tls else {
        return Ok(None);
    };
    let server_name = match (&tls.server_name, &settings.address) {
        (Some(name), _) => name.clone(),
        (None, ServerAddress::Name { host, .. }) => host.clone(),
        (None, ServerAddress::Socket(address)) => address.ip().to_string(),
        (None, ServerAddress::Unix(_)) => {
            return Err(PoolError::NoServerName {
                server: settings.name.clone(),
            });
        }
    };
    // An empty name would make pingora skip all verification.
    if ServerName::try_from(server_name.as_str()).is_err() {
        return Err(PoolError::ServerName {
            server: settings.name.clone(),
            name: server_name,
        });
    }
    Ok(Some(Tls {
        server_name,
        verification: tls.verification,
    }))
}

fn host_of(settings: &ServerSettings) -> Result<String, PoolError> {
    let default_port = if settings.tls.is_some() { 443 } else { 80 };
    let host = match (&settings.host, &settings.address) {
        (Some(host), _) => host.clone(),
        (None, ServerAddress::Name { host, port }) if *port == default_port => host.clone(),
        (None, ServerAddress::Unix(_)) => "localhost".to_owned(),
        (None, address) => address.to_string(),
    };
    match is_authority(host.as_bytes()) {
        true => Ok(host),
        false => Err(PoolError::Host {
            server: settings.name.clone(),
            host,
        }),
    }
}

fn invalid_address(settings: &ServerSettings) -> PoolError {
    PoolError::Address {
        server: settings.name.clone(),
        address: settings.address.to_string(),
    }
}
