//! The threads that serve clients, each with a runtime of its own.
//!
//! A connection stays on the thread where it began, and so do the fetches that its requests start. So what a thread waits
//! for is its own, it wakes nobody but itself, and no task is stolen: with one runtime for all, the threads share one
//! epoll and pass its events to each other. What it costs: a connection that keeps its thread busy is in the way of
//! the others there, which is why each new one goes to the thread that has the fewest.
//!
//! Knows nothing of what runs on them. Accepting, housekeeping and the operator's port are not here: they belong to
//! the runtime of the process.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, oneshot};

/// The threads. They end when this value is dropped, and what runs on them with them.
#[derive(Debug)]
pub(crate) struct Workers {
    workers: Box<[Worker]>,
    /// Where the next search for the least busy one begins.
    next: AtomicUsize,
    /// Closed once every thread has ended.
    ended: mpsc::Receiver<()>,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    load: Arc<AtomicUsize>,
    /// The thread ends when it is dropped.
    _running: oneshot::Sender<()>,
}

/// One of a thread's connections.
struct Carried(Arc<AtomicUsize>);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts so many threads; 0 means one for each core that the process may use.
    ///
    /// # Errors
    /// When the system has no thread or file descriptor left.
    pub(crate) fn start(threads: usize) -> io::Result<Workers> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let count = match threads {
            0 => cores(),
            count => count,
        };
        let (alive, ended) = mpsc::channel(1);
        let workers = (0..count).map(|number| Worker::start(number, alive.clone()));
        Ok(Workers {
            workers: workers.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
            ended,
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.workers.len()
    }

    /// Runs a connection on the thread that has the fewest.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        // Else the first would take all that come when there are none.
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        let (before, from_start) = self.workers.split_at(start);
        let worker = from_start
            .iter()
            .chain(before)
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed))
            .expect("there is at least one");
        worker.load.fetch_add(1, Ordering::Relaxed);
        let carried = Carried(Arc::clone(&worker.load));
        worker.handle.spawn(async move {
            let _carried = carried;
            connection.await;
        });
    }

    /// Ends the threads and waits until they have, at most for `patience`.
    pub(crate) async fn stop(self, patience: Duration) {
        let Workers {
            workers, mut ended, ..
        } = self;
        drop(workers);
        // A thread that is stuck ends with the process.
        let _ = tokio::time::timeout(patience, ended.recv()).await;
    }
}

impl Worker {
    fn start(number: usize, alive: mpsc::Sender<()>) -> io::Result<Worker> {
        let (running, stopped) = oneshot::channel();
        let (built, building) = std::sync::mpsc::channel();
        // Built where it runs: a runtime may not be dropped here, which it would be where there is no thread for it.
        std::thread::Builder::new()
            .name(format!("lacquer-{number}"))
            .spawn(move || {
                match Builder::new_current_thread().enable_all().build() {
                    Ok(runtime) => {
                        let _ = built.send(Ok(runtime.handle().clone()));
                        run(runtime, stopped);
                    }
                    Err(error) => drop(built.send(Err(error))),
                }
                drop(alive);
            })?;
        Ok(Worker {
            handle: building
                .recv()
                .expect("the thread tells what came of its runtime")?,
            load: Arc::default(),
            _running: running,
        })
    }
}

fn run(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    // Nothing is ever sent: the other end is dropped.
    let _ = runtime.block_on(stopped);
    // Whoever still blocks, as in looking up a name, is not waited for.
    runtime.shutdown_background();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::thread::ThreadId;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn this_thread() -> ThreadId {
        std::thread::current().id()
    }

    #[tokio::test]
    async fn connections_are_spread_evenly_and_stay_where_they_began() {
        let workers = Workers::start(3).unwrap();
        let (seen, mut threads) = mpsc::channel(30);
        for _ in 0..30 {
            let seen = seen.clone();
            workers.spawn(async move {
                let before = this_thread();
                tokio::time::sleep(Duration::from_millis(20)).await;
                let _ = seen.send((before, this_thread())).await;
                std::future::pending().await
            });
        }
        let mut counts = BTreeMap::new();
        for _ in 0..30 {
            let (before, after) = threads.recv().await.unwrap();
            assert_eq!(before, after);
            *counts.entry(format!("{before:?}")).or_insert(0) += 1;
        }
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
        workers.stop(PATIENCE).await;
    }

    #[tokio::test]
    async fn the_least_busy_thread_gets_the_next_connection() {
        let workers = Workers::start(2).unwrap();
        let thread_of_next = async || {
            let (tell, told) = oneshot::channel();
            workers.spawn(async {
                let _ = tell.send(this_thread());
                std::future::pending().await
            });
            told.await.unwrap()
        };
        let (first, second) = (thread_of_next().await, thread_of_next().await);
        assert_ne!(first, second);
        let (end, ended) = oneshot::channel::<()>();
        let (tell, told) = oneshot::channel();
        workers.spawn(async {
            let _ = tell.send(this_thread());
            let _ = ended.await;
        });
        let busy = told.await.unwrap();
        assert_ne!(thread_of_next().await, busy);
        assert_eq!(workers.workers.iter().map(load).sum::<usize>(), 4);
        drop(end);
        while workers.workers.iter().map(load).sum::<usize>() > 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(thread_of_next().await, busy);
    }

    fn load(worker: &Worker) -> usize {
        worker.load.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn stopping_drops_what_still_runs() {
        let workers = Workers::start(2).unwrap();
        let (held, mut dropped) = mpsc::channel::<()>(1);
        for _ in 0..4 {
            let held = held.clone();
            workers.spawn(async move {
                let _held = held;
                std::future::pending().await
            });
        }
        drop(held);
        workers.stop(PATIENCE).await;
        assert!(
            dropped
                .try_recv()
                .is_err_and(|error| { error == mpsc::error::TryRecvError::Disconnected })
        );
    }

    #[tokio::test]
    async fn a_panic_ends_its_connection_alone() {
        let workers = Workers::start(1).unwrap();
        workers.spawn(async { panic!("on purpose") });
        let (tell, told) = oneshot::channel();
        workers.spawn(async {
            let _ = tell.send(());
        });
        told.await.unwrap();
    }
}
