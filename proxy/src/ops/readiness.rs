//! Whether a load balancer should send requests here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::metrics::{BackendStats, Health};

/// Where the process is between start and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not listening yet.
    Starting,
    /// Accepting connections.
    Accepting,
    /// Finishing what it has; new requests belong elsewhere.
    Draining,
}

/// Readiness: accepting, and with a backend that is not known sick.
pub struct Readiness {
    phase: AtomicU8,
    backends: Arc<dyn BackendStats>,
}

impl Readiness {
    /// Begins in [`Phase::Starting`].
    pub fn new(backends: Arc<dyn BackendStats>) -> Readiness {
        Readiness {
            phase: AtomicU8::new(Phase::Starting as u8),
            backends,
        }
    }

    /// Called by whoever opens and closes the listeners.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            phase if phase == Phase::Starting as u8 => Phase::Starting,
            phase if phase == Phase::Accepting as u8 => Phase::Accepting,
            _ => Phase::Draining,
        }
    }

    /// Why no requests should come here, for people; `None` when they may.
    pub fn not_ready(&self) -> Option<String> {
        match self.phase() {
            Phase::Starting => return Some("starting".to_owned()),
            Phase::Draining => return Some("shutting down".to_owned()),
            Phase::Accepting => {}
        }
        let backends = self.backends.backends();
        if backends.is_empty() {
            return Some("no backend has an address".to_owned());
        }
        let sick = |health: Health| health == Health::Sick;
        if !backends.iter().all(|backend| sick(backend.health)) {
            return None;
        }
        let first = &backends[0];
        let what = match backends.len() {
            1 => format!("backend {} ({}) is sick", first.backend, first.server),
            all => format!(
                "all {all} servers of backends are sick, among them {} ({})",
                first.backend, first.server
            ),
        };
        Some(what)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}
