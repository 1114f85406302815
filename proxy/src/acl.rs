//! Which clients may purge and ban: a list of networks.
//!
//! Owns the comparison of an address with the list. Knows nothing about requests or configuration files;
//! whoever asks has already decided which address is the client's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::downstream::Address;

/// Who is at the other end of a connection, as far as access and logs care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A TCP client. Ports never decide access.
    Ip(IpAddr),
    /// A client on a Unix socket: a process of this machine, which has no address.
    Unix,
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Peer {
        Peer::Ip(address)
    }
}

impl Peer {
    /// `None` for a connection whose other end could not be told.
    pub fn of(address: &Address) -> Option<Peer> {
        match address {
            Address::Inet(address) => Some(Peer::Ip(address.ip())),
            Address::Unix(_) => Some(Peer::Unix),
            Address::Unknown => None,
        }
    }
}

/// A list of networks whose members are allowed; everyone else is not. The default is loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    networks: Vec<IpNet>,
}

impl Acl {
    /// The given networks and no others; an empty list allows nobody. An IPv4-mapped network
    /// (`::ffff:10.0.0.0/104`) means its IPv4 network (RFC 4291 §2.5.5.2).
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Acl {
        Acl {
            networks: networks.into_iter().map(unmapped).collect(),
        }
    }

    /// Whether `client` is in one of the networks. An IPv4-mapped address counts as its IPv4 address,
    /// because a dual-stack listener reports IPv4 clients that way. A Unix socket peer counts as loopback:
    /// it is allowed where 127.0.0.1 or ::1 is.
    pub fn allows(&self, client: Peer) -> bool {
        match client {
            Peer::Ip(address) => self.contains(address),
            Peer::Unix => {
                self.contains(Ipv4Addr::LOCALHOST.into())
                    || self.contains(Ipv6Addr::LOCALHOST.into())
            }
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }
}

impl Default for Acl {
    fn default() -> Acl {
        Acl {
            networks: vec![
                IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
                IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
            ],
        }
    }
}

/// Bits before the IPv4 address in an IPv4-mapped one.
const MAPPED_PREFIX_BITS: u8 = 96;

fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let length = v6.prefix_len().checked_sub(MAPPED_PREFIX_BITS);
    match (v6.addr().to_ipv4_mapped(), length) {
        (Some(address), Some(length)) => IpNet::V4(Ipv4Net::new_assert(address, length)),
        _ => network,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]
mod tests {
    use super::*;

    fn check(networks: &[&str], client: &str, allowed: bool) {
        let acl = Acl::new(networks.iter().map(|network| network.parse().unwrap()));
        let peer = match client {
            "unix" => Peer::Unix,
            address => Peer::Ip(address.parse().unwrap()),
        };
        assert_eq!(acl.allows(peer), allowed, "{client} in {networks:?}");
    }

    #[test]
    fn members_of_a_listed_network_are_allowed() {
        check(&["10.0.0.0/8"], "10.255.0.1", true);
        check(&["10.0.0.0/8"], "11.0.0.1", false);
        check(&["10.1.2.3/8"], "10.255.0.1", true);
        check(&["10.0.0.0/8", "192.0.2.7/32"], "192.0.2.7", true);
        check(&["192.0.2.7/32"], "192.0.2.8", false);
        check(&["0.0.0.0/0"], "203.0.113.9", true);
        check(&["0.0.0.0/0"], "2001:db8::1", false);
        check(&["2001:db8::/32"], "2001:db8:ffff::1", true);
        check(&["2001:db8::/32"], "2001:db9::1", false);
        check(&[], "127.0.0.1", false);
    }

    #[test]
    fn mapped_addresses_and_networks_count_as_ipv4() {
        check(&["10.0.0.0/8"], "::ffff:10.0.0.1", true);
        check(&["10.0.0.0/8"], "::ffff:11.0.0.1", false);
        check(&["::ffff:10.0.0.0/104"], "10.0.0.1", true);
        check(&["::ffff:10.0.0.0/104"], "::ffff:10.0.0.1", true);
        check(&["::ffff:10.0.0.0/104"], "11.0.0.1", false);
        // The IPv4-compatible form is another thing (RFC 4291 §2.5.5.1) and stays IPv6.
        check(&["10.0.0.0/8"], "::10.0.0.1", false);
    }

    #[test]
    fn unix_peers_count_as_loopback() {
        check(&["127.0.0.0/8"], "unix", true);
        check(&["::1/128"], "unix", true);
        check(&["127.0.0.2/32"], "unix", false);
        check(&["10.0.0.0/8"], "unix", false);
        check(&[], "unix", false);
    }

    #[test]
    fn default_is_loopback_only() {
        let acl = Acl::default();
        for (client, allowed) in [
            ("127.0.0.1", true),
            ("127.8.9.10", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("::2", false),
            ("10.0.0.1", false),
        ] {
            let address: IpAddr = client.parse().unwrap();
            assert_eq!(acl.allows(address.into()), allowed, "{client}");
        }
        assert!(acl.allows(Peer::Unix));
    }
}
