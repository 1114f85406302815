//! What is wrong with the settings, as data: where, what, and what would have been right.

use std::fmt;
use std::path::PathBuf;

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The settings are wrong in at least one place. Printed one problem a line, as `name:line: problem`.
    #[error("{}", lines(.name, .problems))]
    Invalid {
        /// The file, or another source of settings.
        name: String,
        /// In the order of the source.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// `Ok` when there are no problems.
    pub(crate) fn unless_empty(name: &str, problems: Vec<Problem>) -> Result<(), ConfigError> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid {
            name: name.to_owned(),
            problems,
        })
    }

    /// The problems, where there is a list of them.
    pub fn problems(&self) -> &[Problem] {
        match self {
            ConfigError::Read { .. } => &[],
            ConfigError::Invalid { problems, .. } => problems,
        }
    }
}

fn lines(name: &str, problems: &[Problem]) -> String {
    let line = |problem: &Problem| match problem.line {
        Some(line) => format!("{name}:{line}: {problem}"),
        None => format!("{name}: {problem}"),
    };
    let lines: Vec<String> = problems.iter().map(line).collect();
    lines.join("\n")
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counted from 1, where the problem has a place in a file.
    pub line: Option<usize>,
    /// The setting from the top of the file, such as `listen[1].tls`; empty where the file itself cannot be understood.
    pub key: String,
    pub kind: ProblemKind,
}

/// Kinds of [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The text is no TOML.
    Syntax { message: String },
    /// No setting has this name.
    UnknownKey {
        /// The key as it is written.
        name: String,
        /// The table it stands in, as its header is written; empty at the top of the file.
        table: String,
        /// The nearest right spelling: a key of the same table, or the full name of a key that lives elsewhere.
        suggestion: Option<String>,
        /// The keys that the table knows.
        known: &'static [&'static str],
    },
    /// The value is not of the kind that the setting takes.
    WrongValue {
        expected: String,
        found: String,
        /// The nearest right value, where there is a list to choose from.
        suggestion: Option<&'static str>,
    },
    /// The value alone would do, but not with the others; says what to change.
    Rule { message: String },
}

impl Problem {
    pub(crate) fn rule(key: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            line: None,
            key: key.into(),
            kind: ProblemKind::Rule {
                message: message.into(),
            },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ProblemKind::Syntax { message } => f.write_str(message),
            ProblemKind::UnknownKey {
                name,
                table,
                suggestion,
                known,
            } => {
                write!(f, "unknown key `{name}`")?;
                match table.as_str() {
                    "" => f.write_str(" at the top of the file")?,
                    table => write!(f, " in {table}")?,
                }
                match suggestion {
                    Some(suggestion) => write!(f, ", did you mean `{suggestion}`?"),
                    None => write!(f, "; known here: {}", known.join(", ")),
                }
            }
            ProblemKind::WrongValue {
                expected,
                found,
                suggestion,
            } => {
                write!(f, "`{}` must be {expected}, not {found}", self.key)?;
                match suggestion {
                    Some(suggestion) => write!(f, "; did you mean \"{suggestion}\"?"),
                    None => Ok(()),
                }
            }
            ProblemKind::Rule { message } => write!(f, "`{}` {message}", self.key),
        }
    }
}
