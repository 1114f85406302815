//! Created buckets: what holds for them, and how they come and go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;

use super::StoreError;
use super::connect::{Connector, Session};
use super::listing::{BucketUse, usage};
use super::pool::Pool;
use crate::Settings;
use crate::kv::{BucketName, Timestamps};
use crate::settings::BucketSettings;

/// How long another program's `bucket create` or `drop` may go unnoticed.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest time between two refreshes that requests for unknown buckets cause.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// How long creating or dropping waits for the writes that run, before it lets others pass and tries again.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '2s'";
const LOCK_ATTEMPTS: usize = 15;
/// Rows deleted at once from the shared partitions.
const DELETE_STEP: i64 = 5_000;

/// What holds for one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPolicy {
    /// Whether it was created, or is named in the configuration.
    pub created: bool,
    /// Seconds to live of a write that does not bring its own; `None`: for ever.
    pub default_ttl_seconds: Option<i64>,
    /// Who dates the writes.
    pub timestamps: Timestamps,
    /// Cache-Control of its values.
    pub cache_control: Arc<str>,
    /// CDN-Cache-Control of its values.
    pub cdn_cache_control: Arc<str>,
}

/// What is known of created buckets, for the requests to look up without a query.
#[derive(Debug)]
pub(super) struct BucketBook {
    created: RwLock<Arc<HashMap<String, BucketSettings>>>,
    refreshed_at: Mutex<Option<Instant>>,
    configured: BTreeMap<String, BucketSettings>,
    appear_by_use: bool,
    cache_control: Arc<str>,
    cdn_cache_control: Arc<str>,
    pool: Arc<Pool>,
    timeout: Duration,
}

impl BucketBook {
    pub(super) fn new(settings: &Settings, pool: Arc<Pool>) -> Self {
        Self {
            created: RwLock::default(),
            refreshed_at: Mutex::default(),
            configured: settings.buckets.clone(),
            appear_by_use: settings.auto_create_buckets,
            cache_control: settings.cache_control.as_str().into(),
            cdn_cache_control: settings.cdn_cache_control.as_str().into(),
            pool,
            timeout: settings.timeout,
        }
    }

    pub(super) fn policy(&self, bucket: &BucketName) -> BucketPolicy {
        let configured = self.configured.get(bucket.as_str());
        let book = self.created.read().clone();
        let created = book.get(bucket.as_str());
        let either = [configured, created];
        let text = |of: fn(&BucketSettings) -> Option<&String>, default: &Arc<str>| {
            let own = either.iter().flatten().find_map(|settings| of(settings));
            own.map_or_else(|| default.clone(), |text| text.as_str().into())
        };
        BucketPolicy {
            created: configured.is_some() || created.is_some(),
            default_ttl_seconds: either
                .iter()
                .flatten()
                .find_map(|settings| settings.default_ttl_seconds),
            timestamps: either
                .iter()
                .flatten()
                .find_map(|settings| settings.timestamps)
                .unwrap_or_default(),
            cache_control: text(
                |settings| settings.cache_control.as_ref(),
                &self.cache_control,
            ),
            cdn_cache_control: text(
                |settings| settings.cdn_cache_control.as_ref(),
                &self.cdn_cache_control,
            ),
        }
    }

    pub(super) async fn admit(&self, bucket: &BucketName) -> Result<(), StoreError> {
        if self.appear_by_use || self.policy(bucket).created {
            return Ok(());
        }
        // It may have been created a moment ago. One look serves all who ask meanwhile.
        let mut refreshed_at = self.refreshed_at.lock().await;
        if refreshed_at.is_none_or(|at| at.elapsed() > REFRESH_PAUSE) {
            self.refresh().await?;
            *refreshed_at = Some(Instant::now());
        }
        drop(refreshed_at);
        if self.policy(bucket).created {
            Ok(())
        } else {
            Err(StoreError::NoSuchBucket)
        }
    }

    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let deadline = Instant::now() + self.timeout;
        let session = self.pool.get(deadline).await?;
        let buckets = session.within(deadline, load(&session)).await?;
        let created = buckets
            .into_iter()
            .map(|bucket| (bucket.name, bucket.settings))
            .collect();
        *self.created.write() = Arc::new(created);
        Ok(())
    }

    /// Names of created and configured buckets.
    pub(super) fn created(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .created
            .read()
            .keys()
            .chain(self.configured.keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// Reads the book again and again. While PostgreSQL is away the old one stays.
pub(super) async fn keep_fresh(book: Arc<BucketBook>) {
    loop {
        tokio::time::sleep(REFRESH_INTERVAL).await;
        if let Err(error) = book.refresh().await {
            tracing::debug!(%error, "the list of buckets was not read");
        }
    }
}

/// A created bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What it was created with.
    pub settings: BucketSettings,
}

async fn load(session: &Session) -> Result<Vec<Bucket>, StoreError> {
    let rows = session
        .client
        .query(
            "SELECT name, default_ttl_seconds, timestamps, cache_control, cdn_cache_control FROM buckets ORDER BY name",
            &[],
        )
        .await
        .map_err(StoreError::harmless)?;
    let bucket = |row: &tokio_postgres::Row| -> Result<Bucket, tokio_postgres::Error> {
        let timestamps: &str = row.try_get("timestamps")?;
        Ok(Bucket {
            name: row.try_get("name")?,
            settings: BucketSettings {
                default_ttl_seconds: row.try_get("default_ttl_seconds")?,
                partition: true,
                timestamps: Some(if timestamps == "server" {
                    Timestamps::Server
                } else {
                    Timestamps::Client
                }),
                cache_control: row.try_get("cache_control")?,
                cdn_cache_control: row.try_get("cdn_cache_control")?,
            },
        })
    };
    rows.iter()
        .map(bucket)
        .collect::<Result<_, _>>()
        .map_err(StoreError::Database)
}

/// Gives every bucket that the configuration wants a partition for its own.
pub(super) async fn create_configured(
    connector: &Connector,
    settings: &Settings,
) -> Result<(), StoreError> {
    let mut wanted = settings
        .buckets
        .iter()
        .filter(|(_, bucket)| bucket.partition)
        .peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let admin = BucketAdmin::open(connector).await?;
    for (name, bucket) in wanted {
        let name = BucketName::new(name.clone())
            .map_err(|error| StoreError::Setting(format!("origin.buckets.{name}: {error}")))?;
        match admin.create(&name, bucket).await {
            Ok(()) | Err(StoreError::BucketExists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Creates, lists, drops and empties buckets; for the command line.
#[derive(Debug)]
pub struct BucketAdmin {
    session: Session,
}

impl BucketAdmin {
    /// Connects and brings the schema up to date.
    pub async fn open(connector: &Connector) -> Result<Self, StoreError> {
        super::migrate(connector).await?;
        let session = connector.connect_plain().await?;
        session
            .client
            .batch_execute(&format!(
                "SET search_path = lacquer, pg_catalog; SET timezone = 'UTC'; {LOCK_TIMEOUT}"
            ))
            .await
            .map_err(StoreError::harmless)?;
        Ok(Self { session })
    }

    /// Gives a bucket its own partition and takes its entries there, in one transaction.
    ///
    /// Writers wait meanwhile: PostgreSQL looks through the shared partitions to be sure
    /// that nothing of the bucket is left in them.
    pub async fn create(
        &self,
        name: &BucketName,
        settings: &BucketSettings,
    ) -> Result<(), StoreError> {
        let timestamps = match settings.timestamps.unwrap_or_default() {
            Timestamps::Client => "client",
            Timestamps::Server => "server",
        };
        self.in_transaction(async |client| {
            client.batch_execute("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE").await?;
            let row = client
                .query_one(
                    "INSERT INTO buckets (name, default_ttl_seconds, timestamps, cache_control, cdn_cache_control)
                     VALUES ($1, $2, $3, $4, $5) RETURNING id, quote_literal(name) AS literal",
                    &[
                        &name.as_str(),
                        &settings.default_ttl_seconds,
                        &timestamps,
                        &settings.cache_control,
                        &settings.cdn_cache_control,
                    ],
                )
                .await?;
            let (id, literal): (i64, String) = (row.try_get("id")?, row.try_get("literal")?);
            let columns = "bucket, key_head, key_tail, revision, created_at, modified_at, expires_at, \
                           last_write, content_type, content_encoding, data";
            // The check spares ATTACH the look through the new partition.
            client
                .batch_execute(&format!(
                    "CREATE TABLE entries_bucket_{id} (
                         LIKE entries INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE INCLUDING CONSTRAINTS,
                         CONSTRAINT is_of_bucket CHECK (bucket = {literal})
                     ) WITH (fillfactor = 85);
                     WITH moved AS (DELETE FROM entries_default WHERE bucket = {literal} RETURNING {columns})
                         INSERT INTO entries_bucket_{id} ({columns}) SELECT {columns} FROM moved;
                     ALTER TABLE entries ATTACH PARTITION entries_bucket_{id} FOR VALUES IN ({literal});
                     ALTER TABLE entries_bucket_{id} DROP CONSTRAINT is_of_bucket"
                ))
                .await
        })
        .await
        .map_err(|error| match error {
            StoreError::Database(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => StoreError::BucketExists,
            other => other,
        })
    }

    /// Created buckets with their settings.
    pub async fn list(&self) -> Result<Vec<Bucket>, StoreError> {
        load(&self.session).await
    }

    /// Keys and bytes of every bucket.
    pub async fn usage(&self) -> Result<Vec<BucketUse>, StoreError> {
        let names: Vec<String> = self
            .list()
            .await?
            .into_iter()
            .map(|bucket| bucket.name)
            .collect();
        usage(&self.session, &names).await
    }

    /// Removes a bucket and all it holds. At once for a created one, step by step for another.
    pub async fn drop(&self, name: &BucketName) -> Result<(), StoreError> {
        let drop = "DELETE FROM buckets WHERE name = $1 RETURNING id";
        self.empty(name, drop, |partition| {
            format!("ALTER TABLE entries DETACH PARTITION {partition}; DROP TABLE {partition}")
        })
        .await
    }

    /// Removes what a bucket holds and keeps the bucket.
    pub async fn purge(&self, name: &BucketName) -> Result<(), StoreError> {
        let keep = "SELECT id FROM buckets WHERE name = $1 FOR UPDATE";
        self.empty(name, keep, |partition| format!("TRUNCATE {partition}"))
            .await
    }

    /// Runs `empty` on the partition of a created bucket, whose row `find` returns and locks, so
    /// that nobody drops it meanwhile; deletes the entries of another.
    async fn empty(
        &self,
        name: &BucketName,
        find: &str,
        empty: impl Fn(&str) -> String,
    ) -> Result<(), StoreError> {
        let is_created = self
            .in_transaction(async |client| {
                let Some(row) = client.query_opt(find, &[&name.as_str()]).await? else {
                    return Ok(false);
                };
                let id: i64 = row.try_get("id")?;
                let sql = empty(&format!("entries_bucket_{id}"));
                client.batch_execute(&sql).await.map(|()| true)
            })
            .await?;
        if is_created || self.delete_shared(name).await? > 0 {
            Ok(())
        } else {
            Err(StoreError::NoSuchBucket)
        }
    }

    async fn delete_shared(&self, name: &BucketName) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let step = self
                .in_transaction(async |client| {
                    client
                        .execute(
                            "DELETE FROM entries_default WHERE (bucket, key_head, key_tail_digest) IN (
                                 SELECT bucket, key_head, key_tail_digest FROM entries_default
                                 WHERE bucket = $1 LIMIT $2
                             )",
                            &[&name.as_str(), &DELETE_STEP],
                        )
                        .await
                })
                .await?;
            deleted += step;
            if step < DELETE_STEP as u64 {
                return Ok(deleted);
            }
        }
    }

    /// Runs a change; when the locks are not to be had soon, lets the waiting requests pass and
    /// tries again.
    async fn in_transaction<T>(
        &self,
        change: impl AsyncFn(&tokio_postgres::Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let client = &self.session.client;
        let mut attempt = 1;
        loop {
            client
                .batch_execute("BEGIN")
                .await
                .map_err(StoreError::writing)?;
            let changed = async {
                let result = change(client).await?;
                client.batch_execute("COMMIT").await.map(|()| result)
            };
            let error = match changed.await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            client
                .batch_execute("ROLLBACK")
                .await
                .map_err(StoreError::writing)?;
            let code = error.code();
            let is_lock = code == Some(&SqlState::LOCK_NOT_AVAILABLE)
                || code == Some(&SqlState::T_R_DEADLOCK_DETECTED);
            if !is_lock || attempt == LOCK_ATTEMPTS {
                return Err(StoreError::writing(error));
            }
            attempt += 1;
        }
    }
}
