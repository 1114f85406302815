//! What is counted per server. Relaxed atomics: each number is right, no two are of one instant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::error::ConnectFailure;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// Live counters of one server.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)+
        }

        /// A reading of one server's counters; each only grows.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterValues {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            pub(super) fn read(&self) -> CounterValues {
                CounterValues { $($name: self.$name.get(),)+ }
            }
        }

        impl std::ops::AddAssign for CounterValues {
            fn add_assign(&mut self, other: CounterValues) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Requests sent, repeated ones each time.
    req,
    /// Connections opened.
    connected,
    /// Requests that went out over a connection used before.
    reused,
    /// Connections kept for another request after a response.
    recycled,
    /// Requests sent again: over a fresh connection, or after another server failed.
    retried,
    /// Connections that could not be opened, for whatever reason.
    fail,
    /// Connections failed with EACCES or EPERM.
    fail_eacces,
    /// Connections failed with EADDRNOTAVAIL.
    fail_eaddrnotavail,
    /// Connections failed with ECONNREFUSED.
    fail_econnrefused,
    /// Connections failed with ENETUNREACH or EHOSTUNREACH.
    fail_enetunreach,
    /// Connections failed with ETIMEDOUT or after the connect timeout.
    fail_etimedout,
    /// Connections failed for another reason: TLS, name look-up, a missing socket file.
    fail_other,
    /// Fetches not attempted because the server had its limit of connections in use.
    busy,
    /// Fetches not attempted because the server was unhealthy.
    unhealthy,
    /// Bytes of request heads.
    bereq_hdrbytes,
    /// Bytes of request bodies, without chunk framing.
    bereq_bodybytes,
    /// Bytes of response heads, informational ones included.
    beresp_hdrbytes,
    /// Bytes of response bodies, without chunk framing.
    beresp_bodybytes,
    /// Bytes of request heads that asked for an upgrade and got it.
    pipe_hdrbytes,
    /// Bytes to the server after an upgrade.
    pipe_out,
    /// Bytes from the server after an upgrade.
    pipe_in,
}

impl Counters {
    /// Counts a connection that could not be opened, by class.
    pub(super) fn connect_failed(&self, failure: ConnectFailure) {
        self.fail.add(1);
        match failure {
            ConnectFailure::Denied => self.fail_eacces.add(1),
            ConnectFailure::AddressNotAvailable => self.fail_eaddrnotavail.add(1),
            ConnectFailure::Refused => self.fail_econnrefused.add(1),
            ConnectFailure::Unreachable => self.fail_enetunreach.add(1),
            ConnectFailure::TimedOut => self.fail_etimedout.add(1),
            ConnectFailure::Tls | ConnectFailure::Unresolved | ConnectFailure::Other => {
                self.fail_other.add(1);
            }
        }
    }
}

/// The counters of every server that a pool and those before it have had, by the server's name. They outlive a
/// pool that is replaced: what is counted for a server goes on from where it was, also by requests that the old
/// pool has not finished, and sums over all servers never fall. Grows by a few hundred bytes with each new name
/// in the settings, and by nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<String, Arc<Counters>>>>);

impl Ledger {
    pub(super) fn counters(&self, server: &str) -> Arc<Counters> {
        Arc::clone(self.0.lock().entry(server.to_owned()).or_default())
    }

    pub(super) fn totals(&self) -> CounterValues {
        let mut totals = CounterValues::default();
        for counters in self.0.lock().values() {
            totals += counters.read();
        }
        totals
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
