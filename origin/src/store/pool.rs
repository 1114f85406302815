//! A few connections for work that holds one for itself: batches, lists, large values.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{Connector, Session};
use super::{ANSWER_GRACE, StoreError};

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
            is_waited_for: AtomicBool::new(false),
            pool: self.clone(),
            permit: Some(permit),
        })
    }
}

/// A borrowed connection; goes back when dropped, unless it was lost, discarded, or left in the
/// middle of a statement.
#[derive(Debug)]
pub(super) struct Lease {
    session: Option<Session>,
    /// Whether [`Lease::within`] waits for an answer. Still true on drop: its future was
    /// dropped, because the client that asked has left.
    is_waited_for: AtomicBool,
    pool: Arc<Pool>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// Waits for work that only reads. What takes too long is as good as no PostgreSQL, which
    /// ends it by itself (`statement_timeout`); where it does not answer at all, the
    /// connection is given up.
    pub(super) async fn within<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.is_waited_for.store(true, Ordering::Relaxed);
        let done = timeout_at(deadline + ANSWER_GRACE, work).await;
        self.is_waited_for.store(false, Ordering::Relaxed);
        done.unwrap_or_else(|_| {
            self.discard();
            Err(StoreError::Unavailable)
        })
    }
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
        let Some(session) = self.session.take().filter(Session::is_usable) else {
            return;
        };
        if !self.is_waited_for.load(Ordering::Relaxed) {
            self.pool.idle.lock().push(session);
            return;
        }
        // Whoever got this connection would wait for that statement. The place is kept until
        // PostgreSQL was told, so that abandoned statements do not pile up there.
        let permit = self.permit.take();
        if let Ok(runtime) = Handle::try_current() {
            let limit = self.pool.connector.connect_timeout();
            runtime.spawn(async move {
                // It may have ended meanwhile, or PostgreSQL may be gone: both are as good.
                let _ = timeout(limit, session.cancel()).await;
                drop((session, permit));
            });
        }
    }
}
