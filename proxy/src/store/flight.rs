//! Flights: fetches that requests wait for together.
//!
//! The first request that misses leads; those that miss while the fetch is under way take a seat. A flight
//! lands once, when the answer's head is known, and leaves the table then: from there on, look-ups find the
//! object itself. An invalidation removes a flight from the table, so that nobody joins it any more; those
//! who sit in it already still get its answer.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use super::{Fence, FlightKey, Key, Store};
use crate::object::Object;
use crate::policy::Source;

/// How a flight ended for those who wait.
#[derive(Clone, Debug)]
pub enum Landing {
    /// An answer that all of them may get: stored, or an error of ours.
    Shared(Arc<Object>, Source),
    /// The answer belongs to the leader alone, or there is none: look again, and fetch if need be.
    Unshared,
}

/// What [`Store::board`] decides.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is given"
)]
pub enum Boarding {
    /// Begin the fetch.
    Lead(Lead),
    /// Somebody's fetch for the same object is under way.
    Follow(Seat),
    /// An object has come since the caller looked: look again.
    Changed,
}

/// A place on a flight of somebody's fetch.
#[derive(Clone, Debug)]
pub struct Seat(Arc<Gate>);

/// Where those who wait learn of the landing. Most flights land without anybody waiting, and that costs little here; the
/// runtime's own channel for one value wakes eight lists of waiters twice.
#[derive(Debug, Default)]
struct Gate {
    landing: OnceLock<Landing>,
    landed: Notify,
}

impl Gate {
    /// The first landing counts.
    fn open(&self, landing: Landing) {
        if self.landing.set(landing).is_ok() {
            self.landed.notify_waiters();
        }
    }
}

impl Seat {
    /// Waits for the landing. Safe to cancel.
    pub async fn landing(&mut self) -> Landing {
        let mut landed = pin!(self.0.landed.notified());
        // Registered before the look, so that nothing between the two is missed.
        landed.as_mut().enable();
        if let Some(landing) = self.0.landing.get() {
            return landing.clone();
        }
        landed.await;
        let landing = self.0.landing.get().cloned();
        landing.expect("a gate is told to be open behind its landing")
    }
}

/// What the table of a shard knows of a flight.
#[derive(Debug)]
pub(super) struct Flight {
    id: u64,
    seat: Seat,
}

impl Flight {
    pub(super) fn seat(&self) -> Seat {
        self.seat.clone()
    }
}

/// The duty to land a flight. Dropped without [`Lead::land`], it lands unshared.
#[derive(Debug)]
pub struct Lead {
    store: Arc<Store>,
    key: FlightKey,
    id: u64,
    fence: Fence,
    gate: Arc<Gate>,
}

impl Lead {
    pub(super) fn take_off(store: Arc<Store>, key: FlightKey, fence: Fence) -> (Lead, Flight) {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let gate = Arc::default();
        let flight = Flight {
            id,
            seat: Seat(Arc::clone(&gate)),
        };
        (
            Lead {
                store,
                key,
                id,
                fence,
                gate,
            },
            flight,
        )
    }

    pub fn key(&self) -> &Key {
        &self.key.url
    }

    /// The fence as it stood when the flight began.
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Leaves the table, then tells the seats. An object that is to be found by others has to be in the
    /// store before this.
    pub fn land(self, landing: Landing) {
        self.leave();
        self.gate.open(landing);
    }

    fn leave(&self) {
        let mut shard = self.store.shard(&self.key.url);
        // An invalidation may have removed this flight, and another may fly under the same key by now.
        if let Some(other) = shard.flights.remove(&self.key)
            && other.id != self.id
        {
            shard.flights.insert(self.key.clone(), other);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // Landed, it has left.
        if self.gate.landing.get().is_none() {
            self.leave();
            self.gate.open(Landing::Unshared);
        }
    }
}
