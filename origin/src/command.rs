//! The command line of `lacquer-origin`, and what each command does.

mod arguments;

use std::io::Write;

use anyhow::Context;
use clap::Parser;
use config::Config;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::Settings;
use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::kv::BucketName;
use crate::serve::{Drained, serve};
use crate::settings::BucketSettings;
use crate::store::{BucketAdmin, Connector};

use arguments::{Action, Arguments, BucketAction};

/// Reads the command line and does what it says, until it is done or told to end.
///
/// # Errors
///
/// In words for whoever typed the command.
pub async fn run() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config = load(&arguments)?;
    let mut settings = Settings::from(&config.origin);
    let dsn = config.origin.postgres.resolved_dsn()?;
    let database = Database::open(
        &config,
        dsn.as_ref().map(config::Secret::expose),
        &arguments,
    )
    .await?;
    settings.postgres.dsn = database.dsn.clone();
    let outcome = match arguments.action {
        None => run_server(settings).await,
        Some(Action::Bucket { action }) => run_bucket(&settings, action).await,
    };
    database.close().await;
    outcome
}

/// The file, the environment over it, and the flags over both.
fn load(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut config = match &arguments.config {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    config.apply_environment(|name| std::env::var(name).ok())?;
    let origin = &mut config.origin;
    if let Some(listen) = arguments.listen {
        origin.listen = listen;
    }
    if let Some(port) = arguments.port {
        origin.listen.set_port(port);
    }
    if let Some(dsn) = &arguments.dsn {
        origin.postgres.dsn = Some(config::Secret::new(dsn.clone()));
        origin.postgres.dsn_file = None;
    }
    config.validate()?;
    Ok(config)
}

/// Where PostgreSQL is: named by the user, or started by us.
struct Database {
    dsn: String,
    cluster: Option<Cluster>,
}

impl Database {
    async fn open(
        config: &Config,
        dsn: Option<&str>,
        arguments: &Arguments,
    ) -> anyhow::Result<Self> {
        if let Some(dsn) = dsn {
            return Ok(Self {
                dsn: dsn.to_owned(),
                cluster: None,
            });
        }
        let origin = &config.origin;
        let mut options =
            ClusterOptions::new(origin.data_dir.join(origin.cluster.directory.as_str()));
        options.start_timeout = origin.cluster.start_timeout;
        options.stop_timeout = origin.cluster.stop_timeout;
        options.shared_buffers_bytes = origin.cluster.shared_buffers.bytes();
        options.max_connections = origin.cluster.max_connections.get();
        let folder = options.data_dir.clone();
        match Cluster::start(options).await {
            Ok(cluster) => Ok(Self {
                dsn: cluster.dsn(),
                cluster: Some(cluster),
            }),
            // A command about buckets speaks to the PostgreSQL of the origin that runs.
            Err(ClusterError::InUse { .. }) if arguments.action.is_some() => {
                let dsn = Cluster::dsn_of_running(&folder)
                    .context("the running origin's PostgreSQL cannot be found")?;
                Ok(Self { dsn, cluster: None })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn close(self) {
        if let Some(cluster) = self.cluster {
            let ending = cluster.stop().await;
            tracing::info!(?ending, "postgresql has ended");
        }
    }
}

async fn run_server(settings: Settings) -> anyhow::Result<()> {
    let address = settings.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    // The handlers stand before the first answer, so that no signal is lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending: running requests are let finish");
    };
    tracing::info!(address = %listener.local_addr()?, "serving");
    match serve(listener, settings, shutdown).await? {
        Drained::Completely => tracing::info!("every request was answered"),
        Drained::Cut => tracing::warn!("the time to end was over; connections were cut"),
    }
    Ok(())
}

async fn run_bucket(settings: &Settings, action: BucketAction) -> anyhow::Result<()> {
    let connector = Connector::new(&settings.postgres, settings.timeout)?;
    let admin = BucketAdmin::open(&connector).await?;
    let mut out = std::io::stdout().lock();
    match action {
        BucketAction::Create {
            name,
            default_ttl,
            timestamps,
            cache_control,
            cdn_cache_control,
        } => {
            let bucket = BucketSettings {
                default_ttl_seconds: default_ttl,
                partition: true,
                timestamps: Some(timestamps.into()),
                cache_control,
                cdn_cache_control,
            };
            admin
                .create(&parse_name(&name)?, &bucket)
                .await
                .with_context(|| format!("cannot create {name:?}"))?;
            writeln!(out, "created {name}")?;
        }
        BucketAction::List => {
            for bucket in admin.usage().await? {
                writeln!(
                    out,
                    "{}\t{} keys\t{} bytes",
                    bucket.bucket, bucket.keys, bucket.bytes
                )?;
            }
        }
        BucketAction::Drop { name } => {
            admin
                .drop(&parse_name(&name)?)
                .await
                .with_context(|| format!("cannot drop {name:?}"))?;
            writeln!(out, "dropped {name}")?;
        }
        BucketAction::Purge { name } => {
            admin
                .purge(&parse_name(&name)?)
                .await
                .with_context(|| format!("cannot purge {name:?}"))?;
            writeln!(out, "purged {name}")?;
        }
    }
    Ok(())
}

fn parse_name(name: &str) -> anyhow::Result<BucketName> {
    BucketName::new(name).with_context(|| format!("{name:?} cannot be a bucket"))
}
