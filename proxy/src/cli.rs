//! The command line of `lacquer`: what was typed, put over the file, as one [`Command`].
//!
//! A server's command keeps its [`Overrides`], so that a reload reads the file again and puts the same flags over it.
//! `purge` and `ban` are orders to a front door that runs already, which [`send`] sends; `explain` is a question,
//! which [`ask`] asks.

mod arguments;
mod explain;
mod order;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use clap::{CommandFactory, Parser};
use config::{BackendAddress, ByteSize, Config, ConfigError, ListenAddress, ListenConfig};

use arguments::{Action, Arguments};

pub use arguments::ServerArgument;
pub use explain::{AnswerForm, ExplainError, FieldArgument, FieldArgumentError, Question, ask};
pub use order::{Answer, Order, OrderError, PurgeMode, send};

/// Names the settings file where the command line does not.
const CONFIG_VARIABLE: &str = "LACQUER_CONFIG";

/// Exit status for settings and flags that cannot be used, as clap has it.
const EXIT_USAGE: u8 = 2;

/// What the user wants.
#[derive(Debug)]
pub enum Command {
    /// Run the front door.
    Serve {
        /// The file with the flags over it, checked as a whole.
        config: Box<Config>,
        config_path: Option<PathBuf>,
        overrides: Overrides,
        /// Take the listeners over from a running front door.
        upgrade: bool,
    },
    /// The settings were checked, and they are sound.
    Check { config_path: Option<PathBuf> },
    /// Tell a running front door to drop stored answers.
    Send { order: Order, to: BackendAddress },
    /// Ask a running front door what would happen to a request.
    Explain {
        question: Box<Question>,
        to: BackendAddress,
    },
}

/// Settings that the command line puts over the file, at the start and at each reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Replaces all listeners, by plain-text ones with HTTP/2 by prior knowledge, as by default.
    pub listen: Vec<ListenAddress>,
    /// Replaces `backend.servers`; a scheme sets `backend.tls`.
    pub backend: Vec<ServerArgument>,
    /// Replaces `cache.memory`.
    pub memory: Option<ByteSize>,
}

impl Overrides {
    fn apply(&self, config: &mut Config) {
        if !self.listen.is_empty() {
            let listener = |address: &ListenAddress| ListenConfig {
                address: address.clone(),
                ..ListenConfig::default()
            };
            config.listen = self.listen.iter().map(listener).collect();
        }
        if let Some(first) = self.backend.first() {
            let servers = self.backend.iter().map(|server| server.address.clone());
            config.backend.servers = servers.collect();
            first.apply_scheme(&mut config.backend);
        }
        if let Some(memory) = self.memory {
            config.cache.memory = memory;
            config.cache.fit_objects();
        }
    }
}

/// The settings of the file, or the defaults, with the flags over them: at the start and at each reload.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, ConfigError> {
    let mut config = match path {
        Some(path) => Config::load(path)?,
        None => Config::default(),
    };
    overrides.apply(&mut config);
    config.validate()?;
    Ok(config)
}

/// Why a command line leads to no [`Command`].
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A flag is wrong, or `--help` or `--version` was asked for. Prints itself, with colours on a terminal.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
}

/// Reads the command line of this process. Where it leads to no command, says why and ends the process.
pub fn parse() -> Command {
    let error = match parse_from(std::env::args_os(), |name| std::env::var_os(name)) {
        Ok(command) => return command,
        Err(error) => error,
    };
    match error {
        CliError::Arguments(error) => error.exit(),
        CliError::Config(error) => {
            complain("the settings cannot be used:\n", &error);
            process::exit(EXIT_USAGE.into());
        }
    }
}

/// Reads a command line, the program's name first, and the environment.
pub fn parse_from<Args>(
    args: Args,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Command, CliError>
where
    Args: IntoIterator<Item: Into<OsString> + Clone>,
{
    let arguments = Arguments::try_parse_from(args)?;
    arguments.check()?;
    let from_environment = || variable(CONFIG_VARIABLE).filter(|path| !path.is_empty());
    let config_path = arguments
        .config
        .or_else(|| from_environment().map(PathBuf::from));
    let overrides = Overrides {
        listen: arguments.listen,
        backend: arguments.backend,
        memory: arguments.memory,
    };
    let (order, to) = match arguments.action {
        None => {
            let config = load(config_path.as_deref(), &overrides)?;
            return Ok(match arguments.check {
                true => Command::Check { config_path },
                false => Command::Serve {
                    config: Box::new(config),
                    config_path,
                    overrides,
                    upgrade: arguments.upgrade,
                },
            });
        }
        Some(Action::Purge { what, soft, to }) => {
            let mode = match soft {
                true => PurgeMode::Soft,
                false => PurgeMode::Hard,
            };
            (what.order(mode), to)
        }
        Some(Action::Ban { expression, to }) => (Order::Ban { expression }, to),
        Some(Action::Explain {
            url,
            fields,
            method,
            json,
            to,
        }) => {
            let names_host = url.authority().is_some();
            let needs_settings = to.is_none() || !names_host;
            let config = match needs_settings {
                true => Some(load(config_path.as_deref(), &overrides)?),
                false => None,
            };
            let own_host = config.as_ref().and_then(front_door).map(own_host);
            let question = Question {
                method,
                url,
                fields,
                own_host: own_host.unwrap_or_else(|| "localhost".to_owned()),
                form: match json {
                    true => AnswerForm::Json,
                    false => AnswerForm::Text,
                },
            };
            let to = match (to, config) {
                (Some(to), _) => to,
                (None, config) => operators_port(config.as_ref())?,
            };
            return Ok(Command::Explain {
                question: Box::new(question),
                to,
            });
        }
    };
    let to = match to {
        Some(to) => to,
        None => front_door(&load(config_path.as_deref(), &overrides)?).ok_or_else(|| {
            Arguments::command().error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "every listener of the settings speaks TLS, which orders do not: \
                 add a listener without, or give --to ADDR",
            )
        })?,
    };
    Ok(Command::Send { order, to })
}

/// Where a front door with these settings takes orders: its first plain-text listener.
fn front_door(config: &Config) -> Option<BackendAddress> {
    let listener = config.listen.iter().find(|listener| !listener.tls)?;
    Some(match &listener.address {
        ListenAddress::Unix(path) => BackendAddress::Unix(path.clone()),
        ListenAddress::Tcp(address) => reachable(*address),
    })
}

/// Where a front door with these settings takes questions.
fn operators_port(config: Option<&Config>) -> Result<BackendAddress, CliError> {
    match config.map(|config| &config.metrics) {
        Some(metrics) if metrics.enabled => Ok(reachable(metrics.address)),
        _ => {
            let error = Arguments::command().error(
                clap::error::ErrorKind::MissingRequiredArgument,
                "metrics.enabled is false in the settings, so there is no operator's port to ask: \
                 enable it, or give --to ADDR",
            );
            Err(error.into())
        }
    }
}

/// How this machine reaches what listens here.
fn reachable(address: SocketAddr) -> BackendAddress {
    let host = match address.ip() {
        ip if !ip.is_unspecified() => ip.to_string(),
        ip if ip.is_ipv4() => "127.0.0.1".to_owned(),
        _ => "::1".to_owned(),
    };
    BackendAddress::Host {
        host,
        port: address.port(),
    }
}

/// The host of a request that names only a path.
fn own_host(front_door: BackendAddress) -> String {
    match front_door {
        BackendAddress::Host { .. } => front_door.to_string(),
        BackendAddress::Unix(_) => "localhost".to_owned(),
    }
}

/// Says that the settings are sound.
pub fn report_check(config_path: Option<&Path>) -> ExitCode {
    let name = match config_path {
        Some(path) => path.display().to_string(),
        None => "the defaults with these flags".to_owned(),
    };
    say(&format!("{name}: sound"))
}

/// Sends an order and says what came of it; the status is 0 when the front door did it.
pub fn run_order(order: &Order, to: &BackendAddress) -> ExitCode {
    match send(order, to) {
        Ok(answer) => say(&format!("{order}: {answer}")),
        Err(error) => {
            complain("", &error);
            ExitCode::FAILURE
        }
    }
}

/// Asks a question and prints the explanation; the status is 0 when there is one.
pub fn run_question(question: &Question, to: &BackendAddress) -> ExitCode {
    match ask(question, to) {
        Ok(explanation) => say(explanation.trim_end()),
        Err(error) => {
            complain("", &error);
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes an error and its causes to standard error.
fn complain(preface: &str, error: &dyn std::error::Error) {
    let mut text = format!("lacquer: {preface}{error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    // With standard error gone there is nobody to tell; the exit status remains.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests;
