//! The flags, as clap reads them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::kv::{TTL_SECONDS_MAX, Timestamps};

const EXAMPLES: &str = "\
Examples:
  lacquer-origin
      Serve on 127.0.0.1:8081 from a private PostgreSQL in ./data
  lacquer-origin -p 8081 --dsn postgresql://user@db.example:5432/kv
      Serve from a PostgreSQL that is there already
  lacquer-origin --config lacquer.toml
      With settings from a file
  lacquer-origin bucket create sessions --default-ttl 30m
      Give a bucket its own partition, and its values a lifetime

The environment variable LACQUER_CONFIG names a settings file where --config does not;
DATABASE_URL, VARNISH_PURGE_HOST and VARNISH_PURGE_PORT stand over the file, flags over all.
SIGTERM and SIGINT end it once its requests are answered.";

const BUCKET_EXAMPLES: &str = "\
Examples:
  lacquer-origin bucket create articles
  lacquer-origin bucket create sessions --default-ttl 30m --timestamps server
  lacquer-origin bucket list
  lacquer-origin bucket purge sessions
  lacquer-origin bucket drop articles";

/// Keys and values over HTTP on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "lacquer-origin", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Settings file
    #[arg(
        long,
        value_name = "FILE",
        env = "LACQUER_CONFIG",
        hide_env = true,
        global = true
    )]
    pub(super) config: Option<PathBuf>,

    /// Listen on this address and port instead of where the file says
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Option<SocketAddr>,

    /// Listen on this port
    #[arg(short, long, value_name = "PORT")]
    pub(super) port: Option<u16>,

    /// The PostgreSQL to use; without one, a private cluster is started
    #[arg(long, value_name = "DSN", global = true)]
    pub(super) dsn: Option<String>,

    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Create, list, drop and empty buckets
    #[command(after_help = BUCKET_EXAMPLES, disable_help_subcommand = true)]
    Bucket {
        #[command(subcommand)]
        action: BucketAction,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BucketAction {
    /// Give a bucket a partition of its own and take its values there
    Create {
        /// Its name
        name: String,

        /// Time to live of a write that does not bring one: 90, 30m, 12h, 7d
        #[arg(long, value_name = "TIME", value_parser = parse_ttl)]
        default_ttl: Option<i64>,

        /// Who dates a write: the client's If-Unmodified-Since, or the server's clock
        #[arg(long, value_name = "WHO", default_value = "client")]
        timestamps: TimestampsArgument,

        /// Cache-Control of its values
        #[arg(long, value_name = "VALUE", value_parser = parse_field)]
        cache_control: Option<String>,

        /// CDN-Cache-Control of its values
        #[arg(long, value_name = "VALUE", value_parser = parse_field)]
        cdn_cache_control: Option<String>,
    },
    /// Print all buckets with their number of keys and bytes
    List,
    /// Remove a bucket and all its values
    Drop {
        /// Its name
        name: String,
    },
    /// Remove all values of a bucket
    Purge {
        /// Its name
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum TimestampsArgument {
    Client,
    Server,
}

impl From<TimestampsArgument> for Timestamps {
    fn from(argument: TimestampsArgument) -> Self {
        match argument {
            TimestampsArgument::Client => Self::Client,
            TimestampsArgument::Server => Self::Server,
        }
    }
}

/// Seconds, or a number with its unit.
fn parse_ttl(text: &str) -> Result<i64, String> {
    let (digits, unit) = match text.find(|character: char| !character.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let unit_seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("the units are s, m, h and d".to_owned()),
    };
    let seconds = digits
        .parse::<i64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_seconds));
    seconds
        .filter(|seconds| (1..=TTL_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| format!("it is a time from 1s to {}d", TTL_SECONDS_MAX / 86_400))
}

fn parse_field(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("it is visible ASCII on one line".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_ttl(text).ok(), expected, "{text}");
    }

    #[test]
    fn times_have_units() {
        check("90", Some(90));
        check("90s", Some(90));
        check("30m", Some(1_800));
        check("12h", Some(43_200));
        check("7d", Some(604_800));
        check("", None);
        check("0", None);
        check("5w", None);
        check("-5", None);
        check("99999999999999999999", None);
        check("9223372036854775807d", None);
    }

    #[test]
    fn the_flags_fit_together() {
        Arguments::command().debug_assert();
    }
}
