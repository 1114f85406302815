//! PostgreSQL for tests: one cluster per run, one template per schema, a database per test.
//!
//! Test runners start each test in a process of its own, so the cluster lives in another process, which the first test
//! starts and which ends by itself some time after the last one ([`super::hold`]). It forces nothing to disk. A test
//! that needs a cluster of its own, to kill it for instance, starts one with [`private_options`].
//!
//! These functions are for tests, so they panic instead of returning errors.
//!
//! ```no_run
//! # async fn example() {
//! use origin::cluster::testing::TestDatabase;
//!
//! async fn migrate(dsn: String) -> Result<(), std::io::Error> {
//!     # let _ = dsn; Ok(())
//! }
//! let database = TestDatabase::from_template("a hash of the migrations", migrate).await;
//! // … connect to `database.dsn`; it is dropped with `database`.
//! # }
//! ```

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};

use super::ClusterOptions;
use super::access::NAME;
use super::hold::{self, SharedFolder, open_lock};

/// How long the shared cluster may take to come up; a first `initdb` on a busy machine is included.
const HOLDER_START_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the shared cluster waits for a next user.
const HOLDER_IDLE_SECONDS: u64 = 20;
const POLL_EVERY: Duration = Duration::from_millis(20);

/// A database of one test's own, in the cluster that the tests share. Dropped with the value.
#[derive(Debug)]
pub struct TestDatabase {
    /// libpq's `key=value` form; the user owns the database and is no superuser.
    pub dsn: String,
    /// The database's name.
    pub name: String,
    /// The superuser's connection string, for tests that look at the server or disconnect others.
    pub admin_dsn: String,
}

impl TestDatabase {
    /// An empty database.
    pub async fn empty() -> TestDatabase {
        let admin_dsn = shared_cluster().await;
        let admin = connect(&admin_dsn).await;
        let name = new_name();
        create(&admin, &name, "template0")
            .await
            .unwrap_or_else(|problem| panic!("cannot create the database {name}: {problem}"));
        TestDatabase::named(name, admin_dsn)
    }

    /// A copy of the template for `key`. The first test that asks for it has `prepare` fill it, through a connection
    /// string; all connections must be closed when `prepare` returns.
    ///
    /// `key` must change when the result of `prepare` does: use the text of the migrations.
    pub async fn from_template<F, P, E>(key: &str, prepare: F) -> TestDatabase
    where
        F: FnOnce(String) -> P,
        P: Future<Output = Result<(), E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let admin_dsn = shared_cluster().await;
        let admin = connect(&admin_dsn).await;
        let (name, template) = (new_name(), template_name(key));
        let created = match create(&admin, &name, &template).await {
            Err(problem) if problem.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
                make_template(&admin, &admin_dsn, &template, prepare).await;
                create(&admin, &name, &template).await
            }
            other => other,
        };
        created.unwrap_or_else(|problem| panic!("cannot copy {template} to {name}: {problem:?}"));
        TestDatabase::named(name, admin_dsn)
    }

    fn named(name: String, admin_dsn: String) -> TestDatabase {
        TestDatabase {
            dsn: dsn_of(&admin_dsn, &name),
            name,
            admin_dsn,
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, admin_dsn) = (self.name.clone(), self.admin_dsn.clone());
        // In a thread, because a test drops it inside of a runtime. If it fails, the end of the cluster cleans up.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                if let Ok(client) = try_connect(&admin_dsn).await {
                    let _ = client
                        .batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
                        .await;
                }
            });
            Ok::<(), std::io::Error>(())
        });
        drop(dropping.join());
    }
}

/// Options for a cluster of a test's own in `data_dir`: durable, small, and with the right program as its shim.
pub fn private_options(data_dir: &Path) -> ClusterOptions {
    let mut options = ClusterOptions::new(data_dir);
    options.shared_buffers_bytes = 16 << 20;
    options.max_connections = 50;
    options.shim = Some(program());
    options
}

/// The `lacquer-origin` of this build: what the test runner names, else the one beside the test's folder.
pub fn program() -> PathBuf {
    let named = [
        "NEXTEST_BIN_EXE_lacquer-origin",
        "CARGO_BIN_EXE_lacquer-origin",
    ]
    .into_iter()
    .find_map(std::env::var_os);
    if let Some(path) = named {
        return path.into();
    }
    let test = std::env::current_exe().expect("a running program has a path");
    let beside = test
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("lacquer-origin"))
        .find(|path| path.is_file());
    beside.unwrap_or_else(|| {
        panic!(
            "no lacquer-origin near {}: run `cargo build -p origin` first",
            test.display()
        )
    })
}

/// The connection string of the shared cluster's superuser; starts the cluster where needed.
async fn shared_cluster() -> String {
    static USER: OnceLock<File> = OnceLock::new();

    let folder = SharedFolder {
        root: target_folder().join("test-postgres"),
    };
    std::fs::create_dir_all(&folder.root)
        .unwrap_or_else(|problem| panic!("cannot create {}: {problem}", folder.root.display()));
    let deadline = Instant::now() + HOLDER_START_TIMEOUT;
    if USER.get().is_none() {
        let users = folder.open_users().expect("the folder was just made");
        // Taken while a holder is leaving: then we wait until it is gone.
        wait_until(deadline, "the last cluster to leave", || {
            users.try_lock_shared().is_ok()
        })
        .await;
        // Another test of this process may have been faster, which is as good.
        let _ = USER.set(users);
    }
    if let Some(dsn) = answering(&folder).await {
        return dsn;
    }
    let starting = open_lock(&folder.root.join("starting")).expect("the folder was just made");
    wait_until(deadline, "another test that starts the cluster", || {
        starting.try_lock().is_ok()
    })
    .await;
    if let Some(dsn) = answering(&folder).await {
        return dsn;
    }
    start_holder(&folder, deadline).await
}

#[allow(
    clippy::zombie_processes,
    reason = "it outlives this process, and cannot end before it except by a failure that is reported"
)]
async fn start_holder(folder: &SharedFolder, deadline: Instant) -> String {
    let log_path = folder.root.join("holder.log");
    let log = File::create(&log_path).expect("the folder was just made");
    let mut holder = Command::new(program())
        .args([
            hold::MODE.as_ref(),
            folder.root.as_os_str(),
            HOLDER_IDLE_SECONDS.to_string().as_ref(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Neither Ctrl-C nor the end of the first test may take it along.
        .process_group(0)
        .spawn()
        .unwrap_or_else(|problem| panic!("cannot run {}: {problem}", program().display()));
    loop {
        if let Some(dsn) = answering(folder).await {
            return dsn;
        }
        if let Ok(Some(status)) = holder.try_wait() {
            let log = std::fs::read_to_string(&log_path).unwrap_or_default();
            panic!("the shared cluster does not start ({status}): {log}");
        }
        assert!(
            Instant::now() < deadline,
            "the shared cluster is not up after {HOLDER_START_TIMEOUT:?}, see {}",
            log_path.display()
        );
        sleep(POLL_EVERY).await;
    }
}

async fn answering(folder: &SharedFolder) -> Option<String> {
    let dsn = std::fs::read_to_string(folder.dsn_file()).ok()?;
    try_connect(&dsn).await.ok().map(|_| dsn)
}

async fn wait_until(deadline: Instant, what: &str, mut done: impl FnMut() -> bool) {
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        sleep(POLL_EVERY).await;
    }
}

async fn make_template<F, P, E>(admin: &Client, admin_dsn: &str, template: &str, prepare: F)
where
    F: FnOnce(String) -> P,
    P: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let failed = |problem: tokio_postgres::Error| -> ! {
        panic!("cannot make the template {template}: {problem:?}")
    };
    // One builder at a time. The lock goes with the connection, however the test ends.
    admin
        .execute("SELECT pg_advisory_lock(hashtext($1))", &[&template])
        .await
        .unwrap_or_else(|problem| failed(problem));
    let exists = admin
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)",
            &[&template],
        )
        .await;
    if !exists
        .unwrap_or_else(|problem| failed(problem))
        .get::<_, bool>(0)
    {
        // Built under another name: a template that has its name is whole.
        let building = format!("building_{template}");
        admin
            .batch_execute(&format!("DROP DATABASE IF EXISTS {building} WITH (FORCE)"))
            .await
            .unwrap_or_else(|problem| failed(problem));
        create(admin, &building, "template0")
            .await
            .unwrap_or_else(|problem| failed(problem));
        if let Err(problem) = prepare(dsn_of(admin_dsn, &building)).await {
            panic!("cannot fill the template {template}: {}", problem.into());
        }
        disconnect_all(admin, &building).await;
        admin
            .batch_execute(&format!("ALTER DATABASE {building} RENAME TO {template}"))
            .await
            .unwrap_or_else(|problem| failed(problem));
    }
    admin
        .execute("SELECT pg_advisory_unlock(hashtext($1))", &[&template])
        .await
        .unwrap_or_else(|problem| failed(problem));
}

/// A connection that was dropped ends a little later on the server.
async fn disconnect_all(admin: &Client, database: &str) {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
    let deadline = Instant::now() + Duration::from_secs(10);
    while admin
        .query_one(end, &[&database])
        .await
        .map_or(1, |row| row.get::<_, i64>(0))
        > 0
    {
        assert!(
            Instant::now() < deadline,
            "somebody stays connected to {database}"
        );
        sleep(POLL_EVERY).await;
    }
}

async fn create(admin: &Client, name: &str, template: &str) -> Result<(), tokio_postgres::Error> {
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {name} TEMPLATE {template} OWNER {NAME}"
        ))
        .await
}

async fn connect(dsn: &str) -> Client {
    try_connect(dsn)
        .await
        .unwrap_or_else(|problem| panic!("cannot connect to the shared cluster: {problem}"))
}

async fn try_connect(dsn: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn dsn_of(admin_dsn: &str, database: &str) -> String {
    let place: Vec<&str> = admin_dsn
        .split(' ')
        .filter(|pair| !pair.starts_with("user=") && !pair.starts_with("dbname="))
        .collect();
    format!("{} user={NAME} dbname={database}", place.join(" "))
}

fn new_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        "test_{}_{}_{:08x}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed),
        rand::random::<u32>()
    )
}

fn template_name(key: &str) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("template_{:016x}", hasher.finish())
}

/// The build's folder, which Cargo marks with a file.
fn target_folder() -> PathBuf {
    let program = program();
    let marked = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked
        .or_else(|| program.parent())
        .expect("a program lies in a folder")
        .to_path_buf()
}
