//! Where the programs listen.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

/// An address with a port that nobody listens on, and that was not given to this process before: the kernel may
/// choose one again before the first to get it has bound it.
///
/// Between this and the program's own `bind` somebody else may take the port. On 127.0.0.1 that does happen, because
/// each outgoing connection takes one; so each test process has a loopback address of its own, from which nobody
/// connects.
pub fn free_address() -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high.wrapping_add(1).max(1), middle, low.clamp(1, 254));
    static GIVEN: LazyLock<Mutex<HashSet<SocketAddr>>> = LazyLock::new(Mutex::default);
    loop {
        let listener = TcpListener::bind((own, 0)).expect("all of 127.0.0.0/8 is this machine");
        let address = listener.local_addr().expect("a listener has an address");
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if given.insert(address) {
            return address;
        }
    }
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

    #[test]
    fn no_address_is_given_twice() {
        let addresses: HashSet<_> = (0..2000).map(|_| free_address()).collect();
        assert_eq!(addresses.len(), 2000);
    }
}
