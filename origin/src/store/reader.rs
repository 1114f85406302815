//! Reads by key. Those that wait at the same time share a statement.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::StoreError;
use super::connect::{Connector, Session};
use super::error::{Failure, failure};
use super::queue::Queue;
use super::rows;
use super::tasks::run_for_ever;
use crate::Settings;
use crate::kv::{BucketName, Entry, Key, Revision};
use crate::metrics::Metrics;

/// Reads that may wait; beyond that a request is answered 503 at once.
const WAITING_MAX: usize = 20_000;
/// A value above this size is not read with others, but apart, when there is room for it.
pub const INLINE_BYTES: usize = 64 << 10;

type Reply = Result<Option<Entry>, StoreError>;

#[derive(Debug)]
struct Waiting {
    bucket: BucketName,
    key: Key,
    reply: oneshot::Sender<Reply>,
}

/// The connections that read, behind one queue.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Arc<Queue<Waiting>>,
}

impl Readers {
    pub(super) fn start(
        settings: &Settings,
        connector: &Arc<Connector>,
        metrics: &Arc<Metrics>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let queue = Arc::new(Queue::new(WAITING_MAX));
        for _ in 0..settings.postgres.read_connections.max(1) {
            let reader = Arc::new(Reader {
                queue: queue.clone(),
                connector: connector.clone(),
                batch_max: settings.postgres.batch_max.max(1),
                statement_timeout: settings.timeout + super::ANSWER_GRACE,
                metrics: metrics.clone(),
            });
            tasks.spawn(run_for_ever(metrics.clone(), move || reader.clone().run()));
        }
        Self { queue }
    }

    pub(super) async fn read(&self, bucket: BucketName, key: Key, deadline: Instant) -> Reply {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { bucket, key, reply };
        self.queue
            .push(waiting, |waiting| waiting.reply.is_closed())
            .map_err(|_| StoreError::Busy)?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(reply)) => reply,
            // No answer in time, or the reader ended.
            Ok(Err(_)) | Err(_) => Err(StoreError::Unavailable),
        }
    }
}

/// One connection and its loop. A lost connection is replaced and the same reads are sent
/// again: they change nothing.
struct Reader {
    queue: Arc<Queue<Waiting>>,
    connector: Arc<Connector>,
    batch_max: usize,
    statement_timeout: std::time::Duration,
    metrics: Arc<Metrics>,
}

impl Reader {
    async fn run(self: Arc<Self>) {
        let mut batch = Vec::new();
        loop {
            let session = self.connector.connect_patiently().await;
            loop {
                if batch.is_empty() {
                    self.queue.take(self.batch_max, &mut batch).await;
                }
                batch.retain(|waiting: &Waiting| !waiting.reply.is_closed());
                if batch.is_empty() {
                    continue;
                }
                self.metrics.read_batch.observe(batch.len() as f64);
                let deadline = Instant::now() + self.statement_timeout;
                match timeout_at(deadline, read_batch(&session, &batch)).await {
                    Ok(Ok(entries)) => {
                        for (waiting, entry) in batch.drain(..).zip(entries) {
                            // Nobody may wait any more; that is their affair.
                            let _ = waiting.reply.send(Ok(entry));
                        }
                    }
                    Ok(Err(error)) if failure(&error) != Failure::Lost => {
                        tracing::error!(error = &error as &dyn std::error::Error, "read failed");
                        let is_refused = failure(&error) == Failure::Refused;
                        for waiting in batch.drain(..) {
                            let _ = waiting.reply.send(Err(if is_refused {
                                StoreError::Refused
                            } else {
                                StoreError::Unavailable
                            }));
                        }
                    }
                    Ok(Err(_)) | Err(_) => break,
                }
            }
            self.metrics.connections_lost.inc();
        }
    }
}

async fn read_batch(
    session: &Session,
    batch: &[Waiting],
) -> Result<Vec<Option<Entry>>, tokio_postgres::Error> {
    let mut by_bucket: HashMap<&BucketName, Vec<usize>> = HashMap::new();
    for (position, waiting) in batch.iter().enumerate() {
        by_bucket.entry(&waiting.bucket).or_default().push(position);
    }
    // One statement per bucket, sent together: the bucket prunes the partitions.
    let statements = by_bucket.into_iter().map(|(bucket, positions)| async move {
        let keys = positions.iter().map(|&position| &batch[position].key);
        let rows = read_keys(session, bucket, keys, INLINE_BYTES as u64).await?;
        Ok((positions, rows))
    });
    let mut entries = Vec::new();
    entries.resize_with(batch.len(), || None);
    for answered in join_all(statements).await {
        let (positions, found): (Vec<usize>, Vec<(usize, Entry)>) = answered?;
        for (position, entry) in found {
            entries[positions[position]] = Some(entry);
        }
    }
    Ok(entries)
}

async fn read_keys<'a>(
    session: &Session,
    bucket: &BucketName,
    keys: impl Iterator<Item = &'a Key>,
    inline_bytes: u64,
) -> Result<Vec<(usize, Entry)>, tokio_postgres::Error> {
    let inline_bytes = i32::try_from(inline_bytes).unwrap_or(i32::MAX);
    let (heads, tails): (Vec<&str>, Vec<&str>) = keys.map(Key::split).unzip();
    let rows = session
        .client
        .query(
            &session.statements().read,
            &[&bucket.as_str(), &heads, &tails, &inline_bytes],
        )
        .await?;
    rows.iter().map(rows::entry).collect()
}

/// Bytes of one revision. PostgreSQL's positions are 32-bit; values are far below that.
pub(super) async fn read_part(
    session: &Session,
    bucket: &BucketName,
    key: &Key,
    revision: Revision,
    first: u64,
    bytes: u64,
) -> Result<Option<Bytes>, StoreError> {
    let (head, tail) = key.split();
    let (Ok(first), Ok(bytes)) = (i32::try_from(first), i32::try_from(bytes)) else {
        return Ok(None);
    };
    let row = session
        .client
        .query_opt(
            &session.statements().read_part,
            &[&bucket.as_str(), &head, &tail, &first, &bytes, &revision.0],
        )
        .await
        .map_err(StoreError::harmless)?;
    let data: Option<&[u8]> = match &row {
        Some(row) => Some(row.try_get("data").map_err(StoreError::Database)?),
        None => None,
    };
    Ok(data.map(Bytes::copy_from_slice))
}

/// What the values of several keys take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of all.
    pub all: u64,
    /// Bytes of the largest.
    pub largest: u64,
}

pub(super) async fn sizes(
    session: &Session,
    bucket: &BucketName,
    keys: &[Key],
) -> Result<Sizes, StoreError> {
    let entries = read_keys(session, bucket, keys.iter(), 0)
        .await
        .map_err(StoreError::harmless)?;
    let sizes = entries.iter().map(|(_, entry)| entry.meta.data_bytes);
    Ok(Sizes {
        all: sizes.clone().sum(),
        largest: sizes.max().unwrap_or(0),
    })
}

/// Entries with their data, except of values larger than `largest`.
pub(super) async fn read_many(
    session: &Session,
    bucket: &BucketName,
    keys: &[Key],
    largest: u64,
) -> Result<Vec<(usize, Entry)>, StoreError> {
    read_keys(session, bucket, keys.iter(), largest)
        .await
        .map_err(StoreError::harmless)
}
