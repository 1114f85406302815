//! Entries and buckets in PostgreSQL.
//!
//! Owns connections, statements, migrations and the grouping of reads and writes.
//! `tokio_postgres` ends here: callers see `kv` values and [`StoreError`]. Refuses to
//! know HTTP. PostgreSQL is the only truth: nothing is kept here that could be lost
//! but for the settings of created buckets, which are read again every second.
//!
//! Start reading at [`Store::read`] (`reader.rs`) and [`Store::write`] (`lane.rs`).

mod batch;
mod buckets;
mod connect;
mod error;
mod expiry;
mod lane;
mod listing;
mod migrate;
mod pool;
mod queue;
mod reader;
mod rows;
mod tasks;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::Settings;
use crate::kv::{BucketName, Entry, Key, Outcome, Revision, Write};
use crate::metrics::Metrics;

pub use buckets::{Bucket, BucketAdmin, BucketPolicy};
pub use connect::Connector;
pub use error::StoreError;
pub use listing::{BucketUse, Listing, Page};
pub use migrate::{MIGRATIONS, Migration, migrate};
pub use reader::{INLINE_BYTES, Sizes};

use buckets::BucketBook;
use lane::Lane;
use pool::Pool;
use reader::Readers;
use tasks::run_for_ever;

/// Fewest connections for what is neither a plain read nor a plain write.
const POOL_CONNECTIONS_MIN: usize = 2;
/// How long PostgreSQL may take to say that it ended a statement for its time.
const ANSWER_GRACE: Duration = Duration::from_millis(200);
/// Writes above this size have a lane of their own, so that small ones do not wait behind them.
const BULK_BYTES: usize = 1 << 20;

/// The store: every operation on entries and buckets.
#[derive(Debug)]
pub struct Store {
    readers: Readers,
    lanes: Vec<Lane>,
    bulk: Lane,
    pool: Arc<Pool>,
    book: Arc<BucketBook>,
    hasher: RandomState,
    timeout: Duration,
    /// Readers, lanes, the sweeper and the refresh of the bucket book; aborted on drop.
    _tasks: JoinSet<()>,
}

impl Store {
    /// Connects, migrates the schema and starts the connections' tasks.
    ///
    /// Fails when PostgreSQL cannot be reached now: a wrong address should be seen at
    /// the start. Later losses are mended by themselves.
    pub async fn open(settings: &Settings, metrics: &Arc<Metrics>) -> Result<Self, StoreError> {
        let connector = Arc::new(Connector::new(&settings.postgres, settings.timeout)?);
        migrate(&connector).await?;
        buckets::create_configured(&connector, settings).await?;
        let postgres = &settings.postgres;
        // One more than they ask for: the lane of large values.
        let others = postgres.read_connections + postgres.write_connections + 1;
        let rest = postgres
            .connections
            .saturating_sub(others)
            .max(POOL_CONNECTIONS_MIN);
        let pool = Arc::new(Pool::new(connector.clone(), rest));
        let book = Arc::new(BucketBook::new(settings, pool.clone()));
        book.refresh().await?;
        let mut tasks = JoinSet::new();
        let readers = Readers::start(settings, &connector, metrics, &mut tasks);
        let lanes = (0..settings.postgres.write_connections.max(1))
            .map(|_| Lane::start(settings, &connector, metrics, &mut tasks))
            .collect();
        let bulk = Lane::start(settings, &connector, metrics, &mut tasks);
        tasks.spawn(run_for_ever(metrics.clone(), {
            let book = book.clone();
            move || buckets::keep_fresh(book.clone())
        }));
        tasks.spawn(run_for_ever(metrics.clone(), {
            let (pool, metrics) = (pool.clone(), metrics.clone());
            let (interval, timeout) = (settings.expiry_interval, settings.timeout);
            move || expiry::sweep(pool.clone(), interval, timeout, metrics.clone())
        }));
        Ok(Self {
            readers,
            lanes,
            bulk,
            pool,
            book,
            hasher: RandomState::new(),
            timeout: settings.timeout,
            _tasks: tasks,
        })
    }

    /// The entry of a key; `None`: there is none, or it has expired.
    pub async fn read(&self, bucket: &BucketName, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.readers
            .read(bucket.clone(), key.clone(), self.deadline())
            .await
    }

    /// Bytes `first..first + bytes` of one revision's value; `None`: that revision is gone.
    pub async fn read_part(
        &self,
        bucket: &BucketName,
        key: &Key,
        revision: Revision,
        first: u64,
        bytes: u64,
    ) -> Result<Option<Bytes>, StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        let reading = reader::read_part(&session, bucket, key, revision, first, bytes);
        session.within(deadline, reading).await
    }

    /// What the values of several keys of one bucket take.
    pub async fn sizes(&self, bucket: &BucketName, keys: &[Key]) -> Result<Sizes, StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        session
            .within(deadline, reader::sizes(&session, bucket, keys))
            .await
    }

    /// Several entries of one bucket: the position of each key that is there, and its entry.
    /// A value larger than `largest` (it may have grown since its size was asked for) comes
    /// without its data.
    pub async fn read_many(
        &self,
        bucket: &BucketName,
        keys: &[Key],
        largest: u64,
    ) -> Result<Vec<(usize, Entry)>, StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        let reading = reader::read_many(&session, bucket, keys, largest);
        session.within(deadline, reading).await
    }

    /// Carries out one write and returns once it is committed.
    ///
    /// Cancelling the future does not cancel the write once it was sent.
    pub async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        let lane = if write.data_bytes() > BULK_BYTES {
            &self.bulk
        } else {
            let hash = self.hasher.hash_one((&write.bucket, &write.key));
            &self.lanes[(hash % self.lanes.len() as u64) as usize]
        };
        lane.write(write, self.deadline()).await
    }

    /// Carries out several writes in their order in one transaction: all, or none on an error.
    /// A rejected one is no error.
    pub async fn write_many(&self, writes: Vec<Write>) -> Result<Vec<Outcome>, StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        // A task of its own: a client that leaves must not leave a transaction open.
        let transaction = tokio::spawn(async move {
            timeout_at(
                deadline + ANSWER_GRACE,
                batch::run_transaction(&session, &writes),
            )
            .await
            .unwrap_or_else(|_| {
                session.discard();
                Err(StoreError::OutcomeUnknown)
            })
        });
        transaction.await.map_err(|_| StoreError::OutcomeUnknown)?
    }

    /// One page of a bucket's keys; `None`: there is no such bucket.
    pub async fn list(
        &self,
        bucket: &BucketName,
        page: &Page,
    ) -> Result<Option<Listing>, StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        let created = self.book.policy(bucket).created;
        session
            .within(deadline, listing::list(&session, bucket, page, created))
            .await
    }

    /// Every bucket with its number of keys and bytes.
    pub async fn usage(&self) -> Result<Vec<BucketUse>, StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        session
            .within(deadline, listing::usage(&session, &self.book.created()))
            .await
    }

    /// Whether PostgreSQL answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let deadline = self.deadline();
        let session = self.pool.get(deadline).await?;
        session.within(deadline, session.ping()).await
    }

    /// What holds for a bucket, created or not.
    pub fn policy(&self, bucket: &BucketName) -> BucketPolicy {
        self.book.policy(bucket)
    }

    /// Refuses a bucket that was never created, where buckets do not appear by use.
    pub async fn admit(&self, bucket: &BucketName) -> Result<(), StoreError> {
        self.book.admit(bucket).await
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }
}
