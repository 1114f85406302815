//! The private cluster against a real PostgreSQL.

use origin::cluster::testing::{TestDatabase, private_options};
use origin::cluster::{Cluster, Ending};
use tokio_postgres::{Client, NoTls};

async fn connect(dsn: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn data_are_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = Cluster::start(private_options(dir.path())).await.unwrap();
    connect(&first.dsn())
        .await
        .batch_execute("CREATE TABLE kept AS SELECT 42 AS answer")
        .await
        .unwrap();
    assert_eq!(first.stop().await, Ending::Clean);
    let second = Cluster::start(private_options(dir.path())).await.unwrap();
    let answer: i32 = connect(&second.dsn())
        .await
        .query_one("SELECT answer FROM kept", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(answer, 42);
    assert_eq!(second.stop().await, Ending::Clean);
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_from_one_template() {
    async fn migrate(dsn: String) -> Result<(), tokio_postgres::Error> {
        connect(&dsn)
            .await
            .batch_execute("CREATE TABLE entries (key text)")
            .await
    }
    let (one, two) = tokio::join!(
        TestDatabase::from_template("entries", migrate),
        TestDatabase::from_template("entries", migrate)
    );
    connect(&one.dsn)
        .await
        .batch_execute("INSERT INTO entries VALUES ('a')")
        .await
        .unwrap();
    let count: i64 = connect(&two.dsn)
        .await
        .query_one("SELECT count(*) FROM entries", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 0);
    let empty = TestDatabase::empty().await;
    assert!(
        connect(&empty.dsn)
            .await
            .batch_execute("SELECT FROM entries")
            .await
            .is_err()
    );
    let name = one.name.clone();
    drop(one);
    let left = connect(&two.admin_dsn)
        .await
        .query_one(
            "SELECT count(*) FROM pg_database WHERE datname = $1",
            &[&name],
        )
        .await
        .unwrap();
    assert_eq!(left.get::<_, i64>(0), 0);
}
