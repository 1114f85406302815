//! The whole file.

use std::path::Path;

use crate::backend::BackendConfig;
use crate::cache::{CacheConfig, PurgeConfig, ResponseConfig};
use crate::error::ConfigError;
use crate::origin::OriginConfig;
use crate::reader::{self, Reader};
use crate::rules;
use crate::server::{LimitsConfig, ListenConfig, ServerConfig, TimeoutsConfig, TlsConfig};
use crate::setting::settings;
use crate::telemetry::{LogConfig, MetricsConfig};

settings! {
    /// Every setting of both programs. The default is complete: a file needs only what differs.
    pub struct Config {
        /// The process of the front door.
        pub server: ServerConfig = ServerConfig::default();
        /// Where the front door listens.
        pub listen: Vec<ListenConfig> = vec![ListenConfig::default()];
        /// TLS of the listeners.
        pub tls: TlsConfig = TlsConfig::default();
        /// The servers behind the front door.
        pub backend: BackendConfig = BackendConfig::default();
        /// The store of answers.
        pub cache: CacheConfig = CacheConfig::default();
        /// Who may drop stored answers.
        pub purge: PurgeConfig = PurgeConfig::default();
        /// What the front door adds to answers.
        pub response: ResponseConfig = ResponseConfig::default();
        /// Bounds on what clients and backends may send.
        pub limits: LimitsConfig = LimitsConfig::default();
        /// How long the front door waits for clients.
        pub timeouts: TimeoutsConfig = TimeoutsConfig::default();
        /// The access log.
        pub log: LogConfig = LogConfig::default();
        /// Metrics of the front door.
        pub metrics: MetricsConfig = MetricsConfig::default();
        /// Keys and values over HTTP.
        pub origin: OriginConfig = OriginConfig::default();
    }
}

impl Config {
    /// Reads a file over the defaults.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = reader::read_bounded(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Config::from_str(&text, &path.display().to_string())
    }

    /// Reads a text over the defaults; `name` is what messages call it.
    pub fn from_str(text: &str, name: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        let mut reader = Reader::read(text, &mut config);
        if !reader.mentions("cache.object_bytes_max") {
            config.cache.fit_objects();
        }
        if !reader.has_problems() {
            reader.add(rules::check(&config));
        }
        ConfigError::unless_empty(name, reader.into_problems())?;
        Ok(config)
    }

    /// Checks the rules that span several settings, for settings that were changed after they were read.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::unless_empty("settings", rules::check(self))
    }
}
