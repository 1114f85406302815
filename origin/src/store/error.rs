//! What can go wrong between us and PostgreSQL.

use tokio_postgres::error::{Severity, SqlState};

/// Errors of the store. Callers choose by variant; the source is for the log alone.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data source name cannot be used.
    #[error("the data source name of PostgreSQL is not valid: {reason}")]
    Dsn {
        /// What is wrong with it, without a word of it.
        reason: String,
    },
    /// A setting that the store cannot work with.
    #[error("{0}")]
    Setting(String),
    /// PostgreSQL does not answer in time; nothing was changed.
    #[error("postgresql does not answer")]
    Unavailable,
    /// The first connection failed, with the reason.
    #[error("cannot connect to postgresql")]
    Connect(#[source] tokio_postgres::Error),
    /// Too many requests wait for PostgreSQL; nothing was changed.
    #[error("too many requests wait for postgresql")]
    Busy,
    /// The connection was lost between a write and its answer: it may have been committed.
    #[error("the outcome of the write is not known")]
    OutcomeUnknown,
    /// The bucket was never created, and buckets do not appear by use.
    #[error("there is no bucket of this name")]
    NoSuchBucket,
    /// A bucket of this name was created before.
    #[error("there is a bucket of this name already")]
    BucketExists,
    /// The database was migrated by a newer program.
    #[error("the database has migration {number}, this program ends at {newest}")]
    NewerSchema {
        /// The highest number recorded in the database.
        number: i32,
        /// The highest number we know.
        newest: i32,
    },
    /// A migration failed and was rolled back.
    #[error("migration {name} failed")]
    Migration {
        /// The file's name.
        name: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// PostgreSQL refused a statement that several requests shared, and the reason was logged.
    #[error("postgresql refused a shared statement")]
    Refused,
    /// PostgreSQL refused a statement; it was rolled back.
    #[error("postgresql refused a statement")]
    Database(#[source] tokio_postgres::Error),
}

/// What libpq reads and the driver does not.
const LIBPQ_OPTIONS: &[&str] = &[
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "min_protocol_version",
    "max_protocol_version",
    "passfile",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslsni",
];

/// What an error of the driver says about the statement it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection is gone or going; the statement may have been committed.
    Lost,
    /// Rolled back, and worth another try: a deadlock or a serialization failure.
    Retry,
    /// Rolled back because of the state that PostgreSQL is in: locks, disk, read-only.
    Unavailable,
    /// Rolled back because of what was asked.
    Refused,
}

pub(super) fn failure(error: &tokio_postgres::Error) -> Failure {
    let Some(error) = error.as_db_error() else {
        return Failure::Lost;
    };
    classify(error.code(), error.parsed_severity())
}

fn classify(code: &SqlState, severity: Option<Severity>) -> Failure {
    // PostgreSQL closes the connection with these, whatever the reason.
    if matches!(severity, Some(Severity::Fatal | Severity::Panic)) {
        return Failure::Lost;
    }
    if *code == SqlState::T_R_DEADLOCK_DETECTED || *code == SqlState::T_R_SERIALIZATION_FAILURE {
        return Failure::Retry;
    }
    if [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ]
    .contains(code)
    {
        return Failure::Lost;
    }
    let unavailable = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::READ_ONLY_SQL_TRANSACTION,
    ];
    // 08 connection exceptions, 53 insufficient resources, 58 system errors.
    let class = code.code().get(..2).unwrap_or_default();
    if unavailable.contains(code) || matches!(class, "08" | "53" | "58") {
        return Failure::Unavailable;
    }
    Failure::Refused
}

impl StoreError {
    /// For a data source name that cannot be read. The driver quotes what it does not know, and
    /// that may be a part of the password: only names that libpq has are repeated.
    pub(super) fn dsn(error: &tokio_postgres::Error) -> Self {
        let said = std::error::Error::source(error).map(ToString::to_string);
        let said = said.unwrap_or_default();
        let reason = if said.starts_with("invalid value for option") {
            said
        } else if let Some(option) = said.strip_prefix("unknown option ") {
            let option = option.trim_matches('`');
            match LIBPQ_OPTIONS.contains(&option) {
                true => format!("the option {option} is not supported"),
                false => "it has an option that nobody knows".to_owned(),
            }
        } else {
            "it is neither an address postgresql://... nor options as in host=... user=..."
                .to_owned()
        };
        Self::Dsn { reason }
    }

    /// For a statement that only reads, or that is known to be rolled back.
    pub(super) fn harmless(error: tokio_postgres::Error) -> Self {
        match failure(&error) {
            Failure::Lost | Failure::Retry | Failure::Unavailable => Self::Unavailable,
            Failure::Refused => Self::Database(error),
        }
    }

    /// For a statement that writes.
    pub(super) fn writing(error: tokio_postgres::Error) -> Self {
        match failure(&error) {
            Failure::Lost => Self::OutcomeUnknown,
            Failure::Retry | Failure::Unavailable => Self::Unavailable,
            Failure::Refused => Self::Database(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, severity: Severity, expected: Failure) {
        let found = classify(&SqlState::from_code(code), Some(severity));
        assert_eq!(found, expected, "{code}");
    }

    #[test]
    fn what_becomes_of_a_statement_is_told_by_its_error() {
        check("40P01", Severity::Error, Failure::Retry);
        check("40001", Severity::Error, Failure::Retry);
        check("57014", Severity::Error, Failure::Unavailable);
        check("55P03", Severity::Error, Failure::Unavailable);
        check("25006", Severity::Error, Failure::Unavailable);
        check("53100", Severity::Error, Failure::Unavailable);
        check("42P01", Severity::Error, Failure::Refused);
        check("23514", Severity::Error, Failure::Refused);
        check("57P01", Severity::Fatal, Failure::Lost);
        // The times that a session may be idle, or a transaction may take, are over.
        check("57P05", Severity::Fatal, Failure::Lost);
        check("25P03", Severity::Fatal, Failure::Lost);
        check("25P04", Severity::Fatal, Failure::Lost);
    }
}
