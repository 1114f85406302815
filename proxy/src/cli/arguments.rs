//! The flags, as clap reads them.

use std::path::PathBuf;
use std::str::FromStr;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use config::{BackendAddress, BackendConfig, ByteSize, ListenAddress, ValueError};

use super::explain::{FieldArgument, method};
use super::order::{Order, PurgeMode, TargetUrl, field_text};
use crate::http::Scheme;

const EXAMPLES: &str = "\
Examples:
  lacquer --backend 127.0.0.1:8000 --listen 127.0.0.1:6081
      Front an HTTP service, without any file
  lacquer --config lacquer.toml
      Run with settings from a file; lacquer.example.toml names them all
  lacquer --config lacquer.toml --check
      Say what is wrong with the settings, and where
  lacquer --backend https://app.example --listen :80 --memory 2GiB
      Speak TLS to the backend, listen at all addresses, store up to 2 GiB
  lacquer --config lacquer.toml --upgrade
      Take over from the running front door without closing a port
  lacquer purge http://example.org/news
      Drop one URL from the cache of the running front door
  lacquer ban 'req.url ~ ^/news/ && obj.http.content-type ~ html'
      Drop everything that matches
  lacquer explain http://example.org/news
      Say whether a request would be answered from the cache, and why

The environment variable LACQUER_CONFIG names a settings file where --config does not; flags stand over the file.
SIGHUP reads the file and the certificates again; SIGTERM ends lacquer once its connections have finished.";

// Not doc comments, in which rustdoc takes a URL for a forgotten link.
const BACKEND_HELP: &str = "Fetch from this server instead of the file's: app.example:8000, https://app.example, \
                            unix:/run/app.sock; may be repeated";
const URL_HELP: &str =
    "What to drop: http://example.org/news, or /news for the front door's own address as host";

const PURGE_EXAMPLES: &str = "\
Examples:
  lacquer purge http://example.org/news
  lacquer purge /kv/cities/zurich --soft
  lacquer purge --key cities --to 192.0.2.1:6081";

const BAN_EXAMPLES: &str = "\
Examples:
  lacquer ban 'req.url == /news'
  lacquer ban 'req.http.host == example.org && req.url ~ ^/images/'
  lacquer ban 'obj.http.x-tag ~ breaking' --to 192.0.2.1:6081";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  lacquer explain http://example.org/news
  lacquer explain -H 'Accept-Language: de' -H 'Cookie: a=b' /news
  lacquer explain -X HEAD --json http://example.org/news

The question goes to the operator's port (metrics.address) of a running front door. Nothing is fetched, stored or dropped
for it. Exit status: 0 when explained, 1 when no front door answers, 2 for a question that makes no sense.";

const EXPLAIN_URL_HELP: &str =
    "What is asked for: http://example.org/news, or /news for the front door's own address as host";

/// A caching HTTP front door.
#[derive(Debug, Parser)]
#[command(name = "lacquer", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// Settings file
    #[arg(long, value_name = "FILE", global = true)]
    pub(super) config: Option<PathBuf>,

    /// Listen here instead of where the file says: 127.0.0.1:6081, :80, unix:/run/l.sock; may be repeated
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Vec<ListenAddress>,

    #[arg(long, value_name = "ADDR", help = BACKEND_HELP)]
    pub(super) backend: Vec<ServerArgument>,

    /// Memory for stored answers: 512MiB, 4GiB
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<ByteSize>,

    /// Take over the listeners of the running front door, which then drains and ends
    #[arg(long)]
    pub(super) upgrade: bool,

    /// Check the settings and exit
    #[arg(long, conflicts_with = "upgrade")]
    pub(super) check: bool,

    #[command(subcommand)]
    pub(super) action: Option<Action>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Drop a URL, or all answers with a key, from the cache of a running front door
    #[command(after_help = PURGE_EXAMPLES)]
    Purge {
        #[command(flatten)]
        what: PurgeWhat,

        /// Only mark as stale, to be served while it is fetched anew
        #[arg(long)]
        soft: bool,

        /// The front door; without it, the first listener of the settings that speaks plain text
        #[arg(long, value_name = "ADDR")]
        to: Option<BackendAddress>,
    },
    /// Say why a request would be answered from the cache of a running front door, or why not
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain {
        #[arg(help = EXPLAIN_URL_HELP)]
        url: TargetUrl,

        /// A field of the request; may be repeated
        #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
        fields: Vec<FieldArgument>,

        /// The request's method
        #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET", value_parser = method)]
        method: String,

        /// Answer for programs
        #[arg(long)]
        json: bool,

        /// The operator's port of the front door; without it, metrics.address of the settings
        #[arg(long, value_name = "ADDR")]
        to: Option<BackendAddress>,
    },
    /// Drop all answers that match an expression (Varnish's grammar)
    #[command(after_help = BAN_EXAMPLES)]
    Ban {
        /// Such as: req.url ~ ^/news/ && obj.http.content-type ~ html
        #[arg(value_name = "EXPR", value_parser = field_text)]
        expression: String,

        /// The front door; without it, the first listener of the settings that speaks plain text
        #[arg(long, value_name = "ADDR")]
        to: Option<BackendAddress>,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct PurgeWhat {
    #[arg(help = URL_HELP)]
    url: Option<TargetUrl>,

    /// Drop all answers that carry this key in Surrogate-Key; may be repeated
    #[arg(long, value_name = "KEY", value_parser = field_text)]
    key: Vec<String>,
}

impl PurgeWhat {
    pub(super) fn order(self, mode: PurgeMode) -> Order {
        match self.url {
            Some(url) => Order::PurgeUrl { url, mode },
            None => Order::PurgeKeys {
                keys: self.key,
                mode,
            },
        }
    }
}

impl Arguments {
    /// Rules that span flags.
    pub(super) fn check(&self) -> Result<(), clap::Error> {
        let error = |kind, message: String| Err(Arguments::command().error(kind, message));
        if let Some(first) = self.backend.first()
            && let Some(other) = self.backend.iter().find(|one| one.scheme != first.scheme)
        {
            let message = format!(
                "--backend names {} and {}: all of them need the same scheme",
                first.address, other.address
            );
            return error(ErrorKind::ArgumentConflict, message);
        }
        let of_a_server = [
            ("--listen", !self.listen.is_empty()),
            ("--backend", !self.backend.is_empty()),
            ("--memory", self.memory.is_some()),
            ("--upgrade", self.upgrade),
            ("--check", self.check),
        ];
        match of_a_server.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) if self.action.is_some() => {
                let message =
                    format!("{flag} is for running a front door, not for an order to one");
                error(ErrorKind::ArgumentConflict, message)
            }
            _ => Ok(()),
        }
    }
}

/// A server as `--backend` takes it: an address, and a scheme that says whether to speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerArgument {
    /// `None` where none was typed: then the file decides.
    pub scheme: Option<Scheme>,
    pub address: BackendAddress,
}

impl ServerArgument {
    /// Sets `tls` as the scheme says; without TLS its other settings are void.
    pub(super) fn apply_scheme(&self, backend: &mut BackendConfig) {
        match self.scheme {
            Some(Scheme::Https) => backend.tls = true,
            Some(Scheme::Http) => {
                backend.tls = false;
                backend.sni = None;
                backend.ca_file = None;
            }
            None => {}
        }
    }
}

impl FromStr for ServerArgument {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<ServerArgument, ValueError> {
        for scheme in [Scheme::Http, Scheme::Https] {
            let rest = text
                .strip_prefix(scheme.as_str())
                .and_then(|rest| rest.strip_prefix("://"));
            if let Some(rest) = rest {
                let authority = rest.strip_suffix('/').unwrap_or(rest);
                return Ok(ServerArgument {
                    scheme: Some(scheme),
                    address: BackendAddress::parse(authority, scheme.default_port())?,
                });
            }
        }
        Ok(ServerArgument {
            scheme: None,
            address: text.parse()?,
        })
    }
}
