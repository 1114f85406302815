//! Connections: how they are made, set up and mended.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, Statement};

use super::StoreError;
use crate::settings::PostgresSettings;

/// Pauses between attempts to connect: the first, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Every statement here looks rows up by key. The plans are made once and kept, so they
/// must not depend on how full the tables were at that time.
const SESSION_SETTINGS: &str = "
    SET search_path = lacquer, pg_catalog;
    SET timezone = 'UTC';
    SET jit = off;
    SET enable_seqscan = off;
    SET enable_bitmapscan = off;
    SET enable_hashjoin = off;
    SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan;
    SET idle_in_transaction_session_timeout = '60s';
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');
";

const READ: &str = include_str!("sql/read.sql");
const READ_PART: &str = include_str!("sql/read_part.sql");
const PUT: &str = include_str!("sql/put.sql");
const JUDGE: &str = include_str!("sql/judge.sql");

/// Knows where PostgreSQL is and makes connections to it.
#[derive(Debug)]
pub struct Connector {
    config: Config,
    connect_timeout: Duration,
    statement_timeout: Duration,
}

impl Connector {
    /// Reads the data source name. No connection is made.
    pub fn new(settings: &PostgresSettings, timeout: Duration) -> Result<Self, StoreError> {
        let mut config: Config = settings
            .dsn
            .parse()
            .map_err(|error| StoreError::dsn(&error))?;
        if config.get_application_name().is_none() {
            config.application_name("lacquer-origin");
        }
        config.connect_timeout(settings.connect_timeout);
        config.tcp_user_timeout(timeout);
        Ok(Self {
            config,
            connect_timeout: settings.connect_timeout,
            // A little less than a request waits, so that its answer is a sure one.
            statement_timeout: timeout.mul_f64(0.9),
        })
    }

    /// How long one attempt to connect may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// A bare connection with PostgreSQL's own settings, for migrations and administration.
    pub(super) async fn connect_plain(&self) -> Result<Session, StoreError> {
        let connected =
            tokio::time::timeout(self.connect_timeout, self.config.connect(NoTls)).await;
        let (client, connection) = connected
            .map_err(|_| StoreError::Unavailable)?
            .map_err(StoreError::Connect)?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to postgresql ended");
            }
        });
        Ok(Session {
            client,
            driver,
            statements: None,
            discarded: AtomicBool::new(false),
        })
    }

    /// A connection ready for the statements on entries.
    pub(super) async fn connect(&self) -> Result<Session, StoreError> {
        let mut session = self.connect_plain().await?;
        let prepare = async {
            let client = &session.client;
            client.batch_execute(SESSION_SETTINGS).await?;
            client
                .batch_execute(&format!(
                    "SET statement_timeout = {}",
                    self.statement_timeout.as_millis()
                ))
                .await?;
            let (read, read_part, put, judge) = tokio::try_join!(
                client.prepare(READ),
                client.prepare(READ_PART),
                client.prepare(PUT),
                client.prepare(JUDGE),
            )?;
            Ok(Statements {
                read,
                read_part,
                put,
                judge,
            })
        };
        let prepared = tokio::time::timeout(self.connect_timeout, prepare).await;
        let statements = prepared
            .map_err(|_| StoreError::Unavailable)?
            .map_err(StoreError::Connect)?;
        session.statements = Some(statements);
        Ok(session)
    }

    /// Connects, however long it takes; the pauses grow and are spread.
    pub(super) async fn connect_patiently(&self) -> Session {
        let (mut pause, longest) = BACKOFF;
        let mut attempts = 0_u32;
        loop {
            match self.connect().await {
                Ok(session) => {
                    if attempts > 0 {
                        tracing::info!(attempts, "connected to postgresql again");
                    }
                    return session;
                }
                Err(error) => {
                    attempts += 1;
                    if attempts.is_power_of_two() {
                        let reason = std::error::Error::source(&error).map(ToString::to_string);
                        tracing::warn!(attempts, %error, reason, "cannot connect to postgresql");
                    }
                }
            }
            let spread = rand::rng().random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(spread)).await;
            pause = (pause * 2).min(longest);
        }
    }
}

/// The statements that every working connection has prepared.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) read: Statement,
    pub(super) read_part: Statement,
    pub(super) put: Statement,
    pub(super) judge: Statement,
}

/// One connection. Closed on drop.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    statements: Option<Statements>,
    discarded: AtomicBool,
}

impl Session {
    /// The prepared statements.
    pub(super) fn statements(&self) -> &Statements {
        self.statements
            .as_ref()
            .expect("sessions of readers, lanes and the pool are made by connect()")
    }

    /// Whether the connection can still be used.
    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.discarded.load(Ordering::Relaxed)
    }

    /// Marks the connection as not to be used again: what it is doing is not known.
    pub(super) fn discard(&self) {
        self.discarded.store(true, Ordering::Relaxed);
    }

    /// Marks the connection as not to be used again when the error says that it may only read.
    /// It leads to a server that is no longer, or not yet, the primary.
    pub(super) fn learn_from(&self, error: &Error) {
        if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) {
            self.discard();
        }
    }

    /// Tells PostgreSQL to end the statement that runs, over a connection made for that.
    pub(super) async fn cancel(&self) -> Result<(), StoreError> {
        let token = self.client.cancel_token();
        token.cancel_query(NoTls).await.map_err(StoreError::Connect)
    }

    /// One round trip.
    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        self.client
            .simple_query("SELECT 1")
            .await
            .map(drop)
            .map_err(StoreError::harmless)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
