//! Where the programs listen.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// An address with a port that nobody listens on.
///
/// Between this and the program's own `bind` somebody else may take the port. On 127.0.0.1 that does happen, because
/// each outgoing connection takes one; so each test process has a loopback address of its own, from which nobody
/// connects.
pub fn free_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high.wrapping_add(1).max(1), middle, low.clamp(1, 254));
    let listener = TcpListener::bind((own, 0)).expect("all of 127.0.0.0/8 is this machine");
    listener.local_addr().expect("a listener has an address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_can_be_listened_on() {
        let address = free_address();
        assert!(address.ip().is_loopback());
        assert_eq!(
            TcpListener::bind(address).unwrap().local_addr().unwrap(),
            address
        );
    }
}
