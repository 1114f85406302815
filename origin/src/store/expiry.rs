//! Expired entries leave the disk here. Readers and writers treat them as absent
//! from the moment they expire, so this may be late, and runs in small steps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;
use super::pool::Pool;
use crate::metrics::Metrics;

/// Entries removed in one transaction.
const STEP: i64 = 500;
const EXPIRE: &str = include_str!("sql/expire.sql");

pub(super) async fn sweep(
    pool: Arc<Pool>,
    interval: Duration,
    step_timeout: Duration,
    metrics: Arc<Metrics>,
) {
    loop {
        tokio::time::sleep(interval).await;
        loop {
            match remove_some(&pool, step_timeout).await {
                Ok(removed) => {
                    metrics.expired.inc_by(removed);
                    if removed < STEP as u64 {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "expired entries were not removed");
                    break;
                }
            }
        }
    }
}

async fn remove_some(pool: &Arc<Pool>, wait: Duration) -> Result<u64, StoreError> {
    let deadline = Instant::now() + wait;
    let session = pool.get(deadline).await?;
    let removing = async {
        let row = session
            .client
            .query_one(EXPIRE, &[&STEP])
            .await
            .map_err(StoreError::harmless)?;
        let removed: i64 = row.try_get("removed").map_err(StoreError::Database)?;
        Ok(u64::try_from(removed).unwrap_or(0))
    };
    session.within(deadline, removing).await
}
