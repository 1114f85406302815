//! Why a private cluster does not start or stop, in words that name the remedy where there is one.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The failures of [`super::Cluster`].
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file system refused something.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// Another Lacquer holds the data folder.
    #[error("the data folder {} is in use by another lacquer-origin{}; stop it or choose another folder", folder.display(), process(*pid))]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },
    /// No usable PostgreSQL is installed.
    #[error("no PostgreSQL {minimum} or later found in {searched}; install it with: {install}  (or name its folder in LACQUER_PG_BIN, or name a database in DATABASE_URL)", minimum = super::binaries::MAJOR_MIN)]
    NoBinaries {
        /// Where it was looked for.
        searched: String,
        /// The command that installs it on this machine.
        install: String,
    },
    /// The folder named by the operator does not hold a usable PostgreSQL.
    #[error("the PostgreSQL folder {} is not usable: {reason}", folder.display())]
    BadBinaries {
        /// The folder from the options or from `LACQUER_PG_BIN`.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The data were written by a major version that is not installed.
    #[error("the data in {} belong to PostgreSQL {wanted}, but only {found} was found; install it with: {install}", folder.display())]
    WrongVersion {
        /// The folder of the database.
        folder: PathBuf,
        /// The major version that the data need.
        wanted: u32,
        /// The versions that were found.
        found: String,
        /// The command that installs the wanted version on this machine.
        install: String,
    },
    /// The user has no entry in the account database, which PostgreSQL demands.
    #[error(
        "the user id {uid} has no account name, and PostgreSQL refuses to run without one; add one to /etc/passwd"
    )]
    NoAccount {
        /// The nameless user.
        uid: u32,
    },
    /// Root has nobody to run PostgreSQL as.
    #[error(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody to run it as"
    )]
    NoServerAccount,
    /// The data belong to somebody else.
    #[error("the data in {} belong to user id {owner}, and PostgreSQL would run as {account}; {remedy}", folder.display())]
    ForeignOwner {
        /// The folder of the database.
        folder: PathBuf,
        /// Whom the data belong to.
        owner: u32,
        /// Who PostgreSQL would run as.
        account: String,
        /// What the operator can do.
        remedy: String,
    },
    /// A parent folder keeps PostgreSQL's user out, and there is no `/proc` to go around it.
    #[error("the user {account} that runs PostgreSQL may not enter {}; allow it with: chmod o+x {}", folder.display(), folder.display())]
    NotTraversable {
        /// The first folder on the way that refuses.
        folder: PathBuf,
        /// Who PostgreSQL runs as.
        account: String,
    },
    /// The database's folder holds something else.
    #[error("{} is not empty and holds no PostgreSQL data (no PG_VERSION); move it away", folder.display())]
    NotADatabase {
        /// The folder of the database.
        folder: PathBuf,
    },
    /// `initdb` failed.
    #[error("initdb failed ({status}); the end of {}: {tail}", log.display())]
    Init {
        /// How it ended.
        status: String,
        /// The log it wrote to.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// PostgreSQL ended before it was ready.
    #[error("PostgreSQL ended while starting ({status}); the end of {}: {tail}", log.display())]
    Exited {
        /// How it ended.
        status: String,
        /// The log it wrote to.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// PostgreSQL was not ready in time.
    #[error("PostgreSQL was not ready within {} s; the end of {}: {tail}", waited.as_secs(), log.display())]
    StartTimeout {
        /// The time it had.
        waited: Duration,
        /// The log it wrote to.
        log: PathBuf,
        /// The last lines that it wrote.
        tail: String,
    },
    /// An older PostgreSQL on the same data would not end.
    #[error("an older PostgreSQL still runs on {} and does not end (processes: {pids})", folder.display())]
    StillRunning {
        /// The folder of the database.
        folder: PathBuf,
        /// The processes seen on it.
        pids: String,
    },
    /// The role or the database could not be made.
    #[error("cannot {action} in the private cluster")]
    Database {
        /// What was attempted, as a verb.
        action: &'static str,
        /// What the driver says.
        source: tokio_postgres::Error,
    },
    /// No folder is short and private enough for the socket.
    #[error("no folder for PostgreSQL's socket: {reason}")]
    NoSocketFolder {
        /// What failed with each candidate.
        reason: String,
    },
    /// The cluster was told to stop before it was ready.
    #[error("the private cluster was stopped while starting")]
    Stopped,
}

impl ClusterError {
    /// For `map_err`: keeps what was attempted and where.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ClusterError {
        let path = path.to_path_buf();
        move |source| ClusterError::Io {
            action,
            path,
            source,
        }
    }
}

fn process(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})"))
        .unwrap_or_default()
}
