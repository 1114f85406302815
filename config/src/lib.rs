//! The settings of `lacquer` and `lacquer-origin`: one file, `lacquer.toml`, read into types that refuse nonsense.
//!
//! [`Config`] is the whole file. [`Config::default`] is complete, so both programs start with no file at all;
//! [`Config::load`] puts a file over the defaults, [`Config::apply_environment`] the environment over that, a program its
//! command line on top, and [`Config::validate`] looks at rules that span several settings.
//!
//! Each table of the file is one struct, written with `settings!`, which takes a setting's name, type, default and
//! meaning from one place and derives from it the struct, its `Default`, the reader, the list of known keys behind
//! "did you mean", [`reference()`] and [`example()`]. serde's derive is not used because it stops at the first mistake and
//! knows neither the line nor the keys that would have been right; here a file's mistakes are reported together.
//!
//! This crate knows no runtime, socket or framework: each program converts its part.

mod environment;
mod error;
mod reader;
mod reference;
mod rules;
mod setting;
mod value;

mod backend;
mod cache;
mod origin;
mod server;
mod telemetry;

mod config;

pub use backend::{BackendConfig, Balance, ProbeConfig};
pub use cache::{CacheConfig, PurgeConfig, ResponseConfig};
pub use config::Config;
pub use error::{ConfigError, Problem, ProblemKind};
pub use origin::{BucketConfig, ClusterConfig, OriginConfig, PostgresConfig, Timestamps};
pub use reference::{example, reference};
pub use server::{
    CertificateConfig, LimitsConfig, ListenConfig, LogFormat, LogLevel, ServerConfig,
    TimeoutsConfig, TlsConfig, TlsVersion,
};
pub use telemetry::{AccessLog, LogConfig, LogTarget, MetricsConfig};
pub use value::{
    BackendAddress, ByteSize, DirectoryName, FieldText, Fraction, HostName, HostPort,
    ListenAddress, Secret, Token, UrlPath, ValueError,
};
