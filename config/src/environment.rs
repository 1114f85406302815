//! Settings from the environment.

use crate::error::{ConfigError, Problem, ProblemKind};
use crate::value::{HostPort, Secret, quoted};
use crate::{Config, ValueError};

/// A variable that the programs look at.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    pub(crate) stands_for: &'static str,
    pub(crate) docs: &'static str,
}

const DATABASE_URL: &str = "DATABASE_URL";
const VARNISH_PURGE_HOST: &str = "VARNISH_PURGE_HOST";
const VARNISH_PURGE_PORT: &str = "VARNISH_PURGE_PORT";

/// What the reference says about the environment.
pub(crate) const VARIABLES: [Variable; 4] = [
    Variable {
        name: "LACQUER_CONFIG",
        stands_for: "--config",
        docs: "The settings file of both programs, when the command line names none.",
    },
    Variable {
        name: DATABASE_URL,
        stands_for: "origin.postgres.dsn",
        docs: "Where the origin's PostgreSQL is.",
    },
    Variable {
        name: VARNISH_PURGE_HOST,
        stands_for: "origin.purge_hosts",
        docs: "Host of the one cache that the origin tells about changes.",
    },
    Variable {
        name: VARNISH_PURGE_PORT,
        stands_for: "origin.purge_hosts",
        docs: "Its port; 80 when only the host is given.",
    },
];

impl Config {
    /// Puts the environment over the settings: `DATABASE_URL`, `VARNISH_PURGE_HOST` and `VARNISH_PURGE_PORT`, which
    /// all concern the origin. Empty variables count as absent.
    ///
    /// `LACQUER_CONFIG` is not read here, since it says where the settings are.
    pub fn apply_environment(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let mut problems = Vec::new();
        if let Some(dsn) = variable(DATABASE_URL) {
            self.origin.postgres.dsn = Some(Secret::new(dsn));
            self.origin.postgres.dsn_file = None;
        }
        match (variable(VARNISH_PURGE_HOST), variable(VARNISH_PURGE_PORT)) {
            (None, None) => {}
            (Some(host), port) => match purge_host(&host, port.as_deref()) {
                Ok(host) => self.origin.purge_hosts = vec![host],
                Err((name, error)) => problems.push(wrong(name, error)),
            },
            (None, Some(_)) => problems.push(Problem::rule(
                VARNISH_PURGE_PORT,
                format!("says nothing without {VARNISH_PURGE_HOST}"),
            )),
        }
        ConfigError::unless_empty("environment", problems)
    }
}

fn purge_host(host: &str, port: Option<&str>) -> Result<HostPort, (&'static str, ValueError)> {
    // An IPv6 address has brackets only where a port may follow.
    let host = match host.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    };
    let mut parsed: HostPort = host.parse().map_err(|error| (VARNISH_PURGE_HOST, error))?;
    if let Some(port) = port {
        parsed.port = port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            let error = ValueError::new(port, "a port, such as 6081");
            (VARNISH_PURGE_PORT, error)
        })?;
    }
    Ok(parsed)
}

fn wrong(name: &str, error: ValueError) -> Problem {
    Problem {
        line: None,
        key: name.to_owned(),
        kind: ProblemKind::WrongValue {
            expected: error.expected.into_owned(),
            found: quoted(&error.found),
            suggestion: error.suggestion,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(variables: &[(&str, &str)]) -> Result<Config, String> {
        let mut config = Config::default();
        let variable = |name: &str| {
            let pair = variables.iter().find(|(key, _)| *key == name);
            pair.map(|(_, value)| (*value).to_owned())
        };
        config
            .apply_environment(variable)
            .map(|()| config)
            .map_err(|error| error.to_string())
    }

    fn purge_hosts(variables: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let hosts = apply(variables)?.origin.purge_hosts;
        Ok(hosts.iter().map(HostPort::to_string).collect())
    }

    #[test]
    fn an_empty_environment_changes_nothing() {
        assert_eq!(apply(&[]), Ok(Config::default()));
        assert_eq!(apply(&[("DATABASE_URL", "")]), Ok(Config::default()));
    }

    #[test]
    fn the_database_url_stands_over_the_file() {
        let text = "[origin.postgres]\ndsn_file = \"/etc/lacquer/dsn\"";
        let mut config = Config::from_str(text, "x").unwrap();
        config
            .apply_environment(|name| (name == "DATABASE_URL").then(|| "postgres://x".to_owned()))
            .unwrap();
        assert_eq!(
            config.origin.postgres.dsn,
            Some(Secret::new("postgres://x"))
        );
        assert_eq!(config.validate().map_err(|error| error.to_string()), Ok(()));
    }

    #[test]
    fn the_purge_host_is_one_host_and_port() {
        let host = ("VARNISH_PURGE_HOST", "cache.example");
        assert_eq!(
            purge_hosts(&[host]),
            Ok(vec!["cache.example:80".to_owned()])
        );
        assert_eq!(
            purge_hosts(&[host, ("VARNISH_PURGE_PORT", "6081")]),
            Ok(vec!["cache.example:6081".to_owned()])
        );
        assert_eq!(
            purge_hosts(&[("VARNISH_PURGE_HOST", "::1"), ("VARNISH_PURGE_PORT", "81")]),
            Ok(vec!["[::1]:81".to_owned()])
        );
    }

    #[test]
    fn a_wrong_purge_host_names_its_variable() {
        assert_eq!(
            apply(&[("VARNISH_PURGE_PORT", "6081")]),
            Err(
                "environment: `VARNISH_PURGE_PORT` says nothing without VARNISH_PURGE_HOST"
                    .to_owned()
            )
        );
        assert_eq!(
            apply(&[("VARNISH_PURGE_HOST", "a"), ("VARNISH_PURGE_PORT", "http")]),
            Err(
                "environment: `VARNISH_PURGE_PORT` must be a port, such as 6081, not \"http\""
                    .to_owned()
            )
        );
    }
}
