//! `lacquer` as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::client::{self, Request, Response};
use crate::metrics::Scrape;
use crate::place::free_address;
use crate::process::Process;
use crate::settings::Settings;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running front door.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    pub metrics_address: SocketAddr,
    pub process: Process,
    pub config: PathBuf,
    pub settings: Settings,
    folder: TempDir,
}

impl Front {
    /// In front of one backend, with the default settings.
    pub async fn start(backend: SocketAddr) -> Front {
        Front::start_with(backend, |_| {}).await
    }

    /// The same, with settings of the test's choice.
    pub async fn start_with(backend: SocketAddr, change: impl FnOnce(&mut Settings)) -> Front {
        let folder = TempDir::new().expect("a folder for the test");
        let (address, metrics_address) = (free_address(), free_address());
        let mut settings = Settings::default();
        settings.set("backend.servers", &format!("[\"{backend}\"]"));
        settings.set_text("metrics.address", metrics_address);
        settings.set_text(
            "server.upgrade_socket",
            folder.path().join("upgrade.sock").display(),
        );
        // A test that fails must not wait long for what it left open.
        settings.set_text("server.drain_timeout", "2s");
        settings.add(&format!("[[listen]]\naddress = \"{address}\""));
        change(&mut settings);
        let config = folder.path().join("lacquer.toml");
        std::fs::write(&config, settings.to_toml()).expect("the folder was just made");
        let process = launch(&config, folder.path(), metrics_address).await;
        Front {
            address,
            metrics_address,
            process,
            config,
            settings,
            folder,
        }
    }

    /// Starts it again, at the same addresses, after its end.
    pub async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = launch(&self.config, self.folder.path(), self.metrics_address).await;
    }

    /// The folder it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends one request over a connection of its own.
    pub async fn ask(&self, request: &Request) -> Response {
        let answer = client::ask(self.address, request).await;
        answer
            .unwrap_or_else(|problem| panic!("{} {}: {problem:#}", request.method, request.target))
    }

    pub async fn get(&self, target: &str) -> Response {
        self.ask(&Request::get(target)).await
    }

    /// Reads its metrics.
    pub async fn scrape(&self) -> Result<Scrape> {
        Scrape::parse(&client::get(self.metrics_address, "/metrics").await?.text())
    }
}

async fn launch(config: &Path, folder: &Path, metrics: SocketAddr) -> Process {
    let args = ["--config".as_ref(), config.as_os_str()];
    let mut process = Process::start("lacquer", &args, folder, "front");
    process
        .wait_until("ready", START_TIMEOUT, || is_ready(metrics))
        .await;
    process
}

async fn is_ready(metrics: SocketAddr) -> bool {
    client::get(metrics, "/readyz")
        .await
        .is_ok_and(|answer| answer.status() == 200)
}
