//! `lacquer-origin` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::client;
use crate::place::free_address;
use crate::postgres::TestDatabase;
use crate::process::Process;
use crate::settings::Settings;

/// A first start makes a cluster, and the machine may be busy.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    /// Ends before its database and its folder do.
    pub process: Process,
    pub config: PathBuf,
    _database: Option<TestDatabase>,
    folder: TempDir,
}

impl Origin {
    /// On a database of its own in the cluster that tests share.
    pub async fn start() -> Origin {
        Origin::start_with(|_| {}).await
    }

    /// The same, with settings of the test's choice.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Origin {
        let database = TestDatabase::empty().await;
        let mut settings = Settings::default();
        settings.set_text("origin.postgres.dsn", &database.dsn);
        change(&mut settings);
        Origin::run(settings, Some(database)).await
    }

    /// On a private cluster, which forces each commit to disk and may be killed.
    pub async fn start_with_cluster() -> Origin {
        let mut settings = Settings::default();
        settings.set_text("origin.data_dir", "data");
        Origin::run(settings, None).await
    }

    /// On a PostgreSQL that the test looks after.
    pub async fn start_on(dsn: &str, change: impl FnOnce(&mut Settings)) -> Origin {
        let mut settings = Settings::default();
        settings.set_text("origin.postgres.dsn", dsn);
        change(&mut settings);
        Origin::run(settings, None).await
    }

    async fn run(mut settings: Settings, database: Option<TestDatabase>) -> Origin {
        let folder = TempDir::new().expect("a folder for the test");
        let address = free_address();
        settings
            .set_text("origin.listen", address)
            .set_text("origin.metrics_address", "");
        let config = folder.path().join("lacquer.toml");
        std::fs::write(&config, settings.to_toml()).expect("the folder was just made");
        let process = launch(&config, folder.path(), address).await;
        Origin {
            address,
            process,
            config,
            _database: database,
            folder,
        }
    }

    /// Starts it again, at the same address and on the same data, after its end.
    pub async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = launch(&self.config, self.folder.path(), self.address).await;
    }

    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether it says that it can serve.
    pub async fn is_ready(&self) -> bool {
        is_ready(self.address).await
    }
}

async fn launch(config: &Path, folder: &Path, address: SocketAddr) -> Process {
    let args = ["--config".as_ref(), config.as_os_str()];
    let mut process = Process::start("lacquer-origin", &args, folder, "origin");
    process
        .wait_until("ready", START_TIMEOUT, || is_ready(address))
        .await;
    process
}

async fn is_ready(address: SocketAddr) -> bool {
    client::get(address, "/ready")
        .await
        .is_ok_and(|answer| answer.status() == 200)
}
