//! Who may connect, and as whom: the kernel says which account is at the other end of the socket (`peer`), so there is
//! no password to keep.
//!
//! The server account, root and whoever runs the origin may be `lacquer`, who owns the database and is no superuser,
//! or `postgres`, who is and serves for maintenance.

use std::collections::BTreeSet;
use std::path::Path;

use nix::unistd::{User, geteuid};
use tokio_postgres::{Client, NoTls};

use super::account::Account;
use super::error::ClusterError;
use super::folder::replace_file;
use super::socket::PORT;

/// The role and the database of the origin.
pub(crate) const NAME: &str = "lacquer";
/// The superuser that `initdb` makes.
pub(crate) const ADMIN: &str = "postgres";

/// A connection string for libpq and for the driver. `folder` is free of characters that would need quoting.
pub(crate) fn dsn(folder: &Path, user: &str, database: &str) -> String {
    format!(
        "host={} port={PORT} user={user} dbname={database}",
        folder.display()
    )
}

/// Writes the two files that PostgreSQL reads its rules from.
pub(crate) fn write_rules(pgdata: &Path, account: &Account) -> Result<(), ClusterError> {
    let mut names: BTreeSet<String> = BTreeSet::from(["root".to_owned(), account.name.clone()]);
    names.extend(
        User::from_uid(geteuid())
            .ok()
            .flatten()
            .map(|user| user.name),
    );
    replace_file(
        pgdata,
        "pg_hba.conf",
        "# Written by lacquer-origin at each start.\nlocal all all peer map=lacquer\n",
        account,
    )?;
    replace_file(pgdata, "pg_ident.conf", &ident(&names), account)
}

fn ident(names: &BTreeSet<String>) -> String {
    let mut text = "# Written by lacquer-origin at each start.\n".to_owned();
    for name in names {
        for role in [NAME, ADMIN] {
            text.push_str(&format!("lacquer \"{name}\" {role}\n"));
        }
    }
    text
}

/// Connects as the superuser; this is also how readiness is found out.
pub(crate) async fn connect_admin(folder: &Path) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) =
        tokio_postgres::connect(&dsn(folder, ADMIN, "postgres"), NoTls).await?;
    // It ends when the client is dropped; what went wrong on it, the client's calls report.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Makes the role and the database where missing. Each is one statement, so a crash in between leaves a whole step.
pub(crate) async fn ensure_database(client: &Client) -> Result<(), ClusterError> {
    let failed = |action| move |source| ClusterError::Database { action, source };
    let lookup = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), EXISTS (SELECT FROM pg_database WHERE datname = $1)";
    let row = client
        .query_one(lookup, &[&NAME])
        .await
        .map_err(failed("look for the role and the database"))?;
    if !row.get::<_, bool>(0) {
        client
            .batch_execute("CREATE ROLE lacquer LOGIN")
            .await
            .map_err(failed("create the role"))?;
    }
    if !row.get::<_, bool>(1) {
        client
            .batch_execute("CREATE DATABASE lacquer OWNER lacquer")
            .await
            .map_err(failed("create the database"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_may_be_either_role() {
        let names = BTreeSet::from(["root".to_owned(), "ann b".to_owned()]);
        let text = ident(&names);
        let rules: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            rules,
            [
                "lacquer \"ann b\" lacquer",
                "lacquer \"ann b\" postgres",
                "lacquer \"root\" lacquer",
                "lacquer \"root\" postgres"
            ]
        );
    }
}
