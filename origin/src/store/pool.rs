//! A few connections for work that holds one for itself: batches, lists, large values.

use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::StoreError;
use super::connect::{Connector, Session};

#[derive(Debug)]
pub(super) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Session>>,
    permits: Arc<Semaphore>,
}

impl Pool {
    pub(super) fn new(connector: Arc<Connector>, connections_max: usize) -> Self {
        Self {
            connector,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(connections_max)),
        }
    }

    /// Borrows a connection, waiting for one or making one until the deadline.
    pub(super) async fn get(self: &Arc<Self>, deadline: Instant) -> Result<Lease, StoreError> {
        let permit = timeout_at(deadline, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy)?
            .expect("the semaphore is never closed");
        let idle = std::iter::from_fn(|| self.idle.lock().pop()).find(Session::is_usable);
        let session = match idle {
            Some(session) => session,
            None => timeout_at(deadline, self.connector.connect_patiently())
                .await
                .map_err(|_| StoreError::Unavailable)?,
        };
        Ok(Lease {
            session: Some(session),
            pool: self.clone(),
            _permit: permit,
        })
    }
}

/// A borrowed connection; goes back when dropped, unless it was lost or discarded.
#[derive(Debug)]
pub(super) struct Lease {
    session: Option<Session>,
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Deref for Lease {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("the session is taken only on drop")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(Session::is_usable) {
            self.pool.idle.lock().push(session);
        }
    }
}
