//! Group commit: the writes that wait at the same time share a statement and a commit.
//!
//! A lane is one connection with a queue. All writes of a key go through one lane, in the
//! order of their arrival. While a group is being committed the next one gathers, so the
//! slower the disk, the larger the groups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::StoreError;
use super::batch::run_group;
use super::connect::{Connector, Session};
use super::queue::Queue;
use super::tasks::run_for_ever;
use crate::Settings;
use crate::kv::{Outcome, Write};
use crate::metrics::Metrics;

/// Writes that may wait in one lane; beyond that a request is answered 503 at once.
const WAITING_MAX: usize = 10_000;
/// Bytes of values after which a group is closed.
const GROUP_BYTES: usize = 8 << 20;

type Reply = Result<Outcome, StoreError>;

/// States of a waiting write. Whoever moves it out of `WAITING` decides: the lane that
/// sends it, or the request that gives up.
const WAITING: u8 = 0;
const SENT: u8 = 1;
const ABANDONED: u8 = 2;

#[derive(Debug)]
struct Waiting {
    write: Write,
    state: Arc<AtomicU8>,
    reply: oneshot::Sender<Reply>,
}

/// A queue of writes and the connection behind it.
#[derive(Debug)]
pub(super) struct Lane {
    queue: Arc<Queue<Waiting>>,
}

impl Lane {
    pub(super) fn start(
        settings: &Settings,
        connector: &Arc<Connector>,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let queue = Arc::new(Queue::new(WAITING_MAX));
        let worker = Worker {
            queue: queue.clone(),
            connector: connector.clone(),
            batch_max: settings.postgres.batch_max.max(1),
            group_timeout: settings.timeout + super::ANSWER_GRACE,
            metrics: metrics.clone(),
        };
        let worker = Arc::new(worker);
        tasks.spawn(run_for_ever(metrics.clone(), move || worker.clone().run()));
        Self { queue }
    }

    pub(super) async fn write(&self, write: Write, deadline: Instant) -> Reply {
        let (reply, answer) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITING));
        let waiting = Waiting {
            write,
            state: state.clone(),
            reply,
        };
        let is_abandoned = |waiting: &Waiting| waiting.state.load(Ordering::Relaxed) == ABANDONED;
        self.queue
            .push(waiting, is_abandoned)
            .map_err(|_| StoreError::Busy)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) | Err(_) => {
                match state.compare_exchange(
                    WAITING,
                    ABANDONED,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => Err(StoreError::Unavailable),
                    Err(_) => Err(StoreError::OutcomeUnknown),
                }
            }
        }
    }
}

struct Worker {
    queue: Arc<Queue<Waiting>>,
    connector: Arc<Connector>,
    batch_max: usize,
    group_timeout: Duration,
    metrics: Arc<Metrics>,
}

impl Worker {
    async fn run(self: Arc<Self>) {
        let mut backlog: Vec<Waiting> = Vec::new();
        loop {
            let session = self.connector.connect_patiently().await;
            while session.is_usable() {
                if backlog.is_empty() {
                    self.queue.take(self.batch_max, &mut backlog).await;
                } else if backlog.len() < self.batch_max {
                    self.queue
                        .take_ready(self.batch_max - backlog.len(), &mut backlog);
                }
                // The connection may have ended while we waited: nothing is sent on a dead one.
                if session.is_usable() {
                    self.commit_group(&session, &mut backlog).await;
                }
            }
            self.metrics.connections_lost.inc();
        }
    }

    /// Takes a group off the backlog's front and carries it out.
    async fn commit_group(&self, session: &Session, backlog: &mut Vec<Waiting>) {
        let mut bytes = 0;
        let mut count = 0;
        for waiting in backlog.iter() {
            bytes += waiting.write.data_bytes();
            if count > 0 && bytes > GROUP_BYTES {
                break;
            }
            count += 1;
        }
        let mut writes = Vec::with_capacity(count);
        let mut replies = Vec::with_capacity(count);
        for waiting in backlog.drain(..count) {
            let sent =
                waiting
                    .state
                    .compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire);
            if sent.is_ok() {
                writes.push(waiting.write);
                replies.push(waiting.reply);
            }
        }
        if writes.is_empty() {
            return;
        }
        self.metrics.write_batch.observe(writes.len() as f64);
        match timeout(self.group_timeout, run_group(session, &writes)).await {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // Nobody may wait any more; the write stands.
                    let _ = reply.send(outcome);
                }
            }
            Err(_) => {
                session.discard();
                for reply in replies {
                    let _ = reply.send(Err(StoreError::OutcomeUnknown));
                }
            }
        }
    }
}
