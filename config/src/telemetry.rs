//! The access log and the metrics of the front door.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use toml::de::DeValue;

use crate::setting::settings;
use crate::value::{Leaf, Refusal, choice, quoted};

settings! {
    /// The access log of the front door: a line for each request.
    pub struct LogConfig {
        /// `off`, `combined` (as Apache's), or `json`.
        pub access: AccessLog = AccessLog::Off;
        /// File to append to; `-` is standard output. SIGHUP opens it again, for rotation.
        pub path: LogTarget = LogTarget::StandardOutput;
    }
}

choice! {
    /// The form of the access log.
    pub enum AccessLog {
        Off = "off",
        Combined = "combined",
        Json = "json",
    }
}

/// Where a log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `-`
    StandardOutput,
    File(PathBuf),
}

impl FromStr for LogTarget {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<LogTarget, Infallible> {
        Ok(match text {
            "-" => LogTarget::StandardOutput,
            path => LogTarget::File(PathBuf::from(path)),
        })
    }
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::StandardOutput => f.write_str("-"),
            LogTarget::File(path) => path.display().fmt(f),
        }
    }
}

impl Leaf for LogTarget {
    fn expected() -> String {
        "the path of a file, or \"-\" for standard output".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some("-") => Ok(LogTarget::StandardOutput),
            Some(_) => PathBuf::from_toml(value).map(LogTarget::File),
            None => Err(Refusal::wrong_kind::<Self>(value)),
        }
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

settings! {
    /// Metrics of the front door for Prometheus, with `/healthz` and `/readyz` beside them.
    pub struct MetricsConfig {
        /// Serve them.
        pub enabled: bool = true;
        /// Address and port. Keep it away from the public: it tells how the service is used.
        pub address: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9131));
    }
}
