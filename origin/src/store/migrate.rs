//! The schema, step by step.
//!
//! Files in `migrations/`, embedded in order. Each runs in a transaction that also
//! records its number, all of them under an advisory lock, so that two programs that
//! start together do not race.

use tokio_postgres::Client;

use super::StoreError;
use super::connect::Connector;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Its place, from 1.
    pub number: i32,
    /// Its file's name without the ending.
    pub name: &'static str,
    /// What it does.
    pub sql: &'static str,
    /// What checks it, for the tests.
    pub test_sql: &'static str,
}

macro_rules! migration {
    ($number:literal, $name:literal) => {
        Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!("../../migrations/", $name, ".sql")),
            test_sql: include_str!(concat!("../../migrations/tests/", $name, ".sql")),
        }
    };
}

/// All steps, in order. A released one never changes.
pub const MIGRATIONS: &[Migration] = &[migration!(1, "0001-create-entries")];

/// "lacquer" as a number; nobody else in this database should lock it.
const LOCK: i64 = 0x006c_6163_7175_6572;

/// Brings the schema to the newest state; refuses one that a newer program made.
pub async fn migrate(connector: &Connector) -> Result<(), StoreError> {
    let session = connector.connect_plain().await?;
    let client = &session.client;
    check_server(client).await?;
    // The lock goes with the connection, however this ends.
    client
        .execute("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await
        .map_err(StoreError::Database)?;
    client
        .batch_execute(
            "SET client_min_messages = warning;
             CREATE SCHEMA IF NOT EXISTS lacquer;
             SET search_path = lacquer, pg_catalog;
             CREATE TABLE IF NOT EXISTS migrations (
                 number integer PRIMARY KEY,
                 name text NOT NULL,
                 applied_at timestamptz NOT NULL DEFAULT now()
             )",
        )
        .await
        .map_err(StoreError::Database)?;
    let row = client
        .query_one("SELECT coalesce(max(number), 0) FROM migrations", &[])
        .await
        .map_err(StoreError::Database)?;
    let number: i32 = row.try_get(0).map_err(StoreError::Database)?;
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    if number > newest {
        return Err(StoreError::NewerSchema { number, newest });
    }
    for migration in MIGRATIONS
        .iter()
        .filter(|migration| migration.number > number)
    {
        tracing::info!(migration = migration.name, "migrating");
        apply(client, migration)
            .await
            .map_err(|source| StoreError::Migration {
                name: migration.name,
                source,
            })?;
    }
    Ok(())
}

/// Oldest PostgreSQL whose plans and partitions do what the statements rely on.
const VERSION_MIN: i32 = 130_000;

/// Refuses a server that would fail later and in less clear words.
async fn check_server(client: &Client) -> Result<(), StoreError> {
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::integer AS version,
                current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync",
            &[],
        )
        .await
        .map_err(StoreError::Database)?;
    let version: i32 = row.try_get("version").map_err(StoreError::Database)?;
    let encoding: &str = row.try_get("encoding").map_err(StoreError::Database)?;
    let fsync: &str = row.try_get("fsync").map_err(StoreError::Database)?;
    if version < VERSION_MIN {
        let (is, wanted) = (version / 10_000, VERSION_MIN / 10_000);
        return Err(StoreError::Setting(format!(
            "this is postgresql {is}, and it has to be {wanted} or later"
        )));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Setting(format!(
            "the database's encoding is {encoding}, and it has to be UTF8"
        )));
    }
    if fsync != "on" {
        tracing::warn!("fsync is off: acknowledged writes may be lost when the machine fails");
    }
    Ok(())
}

async fn apply(client: &Client, migration: &Migration) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let applied = async {
        client.batch_execute(migration.sql).await?;
        client
            .execute(
                "INSERT INTO migrations (number, name) VALUES ($1, $2)",
                &[&migration.number, &migration.name],
            )
            .await?;
        client.batch_execute("COMMIT").await
    };
    let outcome = applied.await;
    if outcome.is_err() {
        client.batch_execute("ROLLBACK").await?;
    }
    outcome
}
