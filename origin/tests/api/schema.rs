//! The schema and the plans of the statements on it.

use origin::cluster::testing::TestDatabase;
use origin::store::{Connector, MIGRATIONS, StoreError, migrate};

use super::support::{connect, database, serve, settings_for};

/// Everything that makes up a schema, as sorted lines.
const DESCRIBE: &str = "
    SELECT 'column ' || c.relname::text || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END || ' storage ' || a.attstorage::text
        || ' generated ' || a.attgenerated::text || ' collation ' || a.attcollation::regcollation::text
        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') AS line
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = 'lacquer'::regnamespace AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT 'table ' || c.relname::text || ' ' || c.relkind::text || coalesce(' ' || c.reloptions::text, '')
        || coalesce(' bound ' || pg_get_expr(c.relpartbound, c.oid), '')
        || coalesce(' key ' || pg_get_partkeydef(c.oid), '')
    FROM pg_class c WHERE c.relnamespace = 'lacquer'::regnamespace AND c.relkind IN ('r', 'p', 'S')
    UNION ALL
    SELECT 'constraint ' || conrelid::regclass::text || ' ' || conname || ' ' || pg_get_constraintdef(oid)
    FROM pg_constraint WHERE connamespace = 'lacquer'::regnamespace
    UNION ALL
    SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'lacquer'
    UNION ALL
    SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'lacquer'::regnamespace
    UNION ALL
    SELECT 'sequence ' || sequencename || ' ' || data_type::text || ' ' || start_value || ' ' || increment_by || ' ' || cache_size
    FROM pg_sequences WHERE schemaname = 'lacquer'
    ORDER BY 1";

async fn describe(dsn: &str) -> Vec<String> {
    let rows = connect(dsn).await.query(DESCRIBE, &[]).await.unwrap();
    rows.iter().map(|row| row.get("line")).collect()
}

#[tokio::test]
async fn the_migrations_add_up_to_the_schema() {
    let migrated = database().await;
    let written = TestDatabase::empty().await;
    let client = connect(&written.dsn).await;
    client.batch_execute("CREATE SCHEMA lacquer").await.unwrap();
    client
        .batch_execute(include_str!("../../schema.sql"))
        .await
        .unwrap();
    let (migrated, written) = (describe(&migrated.dsn).await, describe(&written.dsn).await);
    assert!(migrated.len() > 100);
    for (migrated, written) in migrated.iter().zip(&written) {
        assert_eq!(migrated, written);
    }
    assert_eq!(migrated.len(), written.len());
}

#[tokio::test]
async fn every_migration_does_what_its_test_says() {
    let database = database().await;
    let client = connect(&database.dsn).await;
    for (number, migration) in (1..).zip(MIGRATIONS) {
        assert_eq!(migration.number, number);
        assert!(
            migration.name.starts_with(&format!("{number:04}-")),
            "{}",
            migration.name
        );
        client
            .batch_execute(migration.test_sql)
            .await
            .unwrap_or_else(|error| panic!("{}: {error:?}", migration.name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_start_together_migrate_once() {
    let database = TestDatabase::empty().await;
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let settings = settings_for(&database.dsn);
            tokio::spawn(async move {
                migrate(&Connector::new(&settings.postgres, settings.timeout).unwrap()).await
            })
        })
        .collect();
    for started in starting {
        started.await.unwrap().unwrap();
    }
    let client = connect(&database.dsn).await;
    let count: i64 = client
        .query_one("SELECT count(*) FROM migrations", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, MIGRATIONS.len() as i64);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = database().await;
    let client = connect(&database.dsn).await;
    client
        .batch_execute("INSERT INTO migrations (number, name) VALUES (9999, 'from the future')")
        .await
        .unwrap();
    let settings = settings_for(&database.dsn);
    let outcome = migrate(&Connector::new(&settings.postgres, settings.timeout).unwrap()).await;
    assert!(
        matches!(outcome, Err(StoreError::NewerSchema { number: 9999, .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_name_is_refused() {
    let database = TestDatabase::empty().await;
    let admin = connect_admin(&database.admin_dsn).await;
    let name = format!("{}_latin", database.name);
    let create = format!(
        "CREATE DATABASE {name} OWNER lacquer TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    admin.batch_execute(&create).await.unwrap();
    let settings = settings_for(&database.dsn.replace(&database.name, &name));
    let outcome = migrate(&Connector::new(&settings.postgres, settings.timeout).unwrap()).await;
    assert!(outcome.unwrap_err().to_string().contains("LATIN1"));
    admin
        .batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
        .await
        .unwrap();
}

async fn connect_admin(dsn: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

const SESSION: &str = "
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off;
    SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan;";

/// The plans are made while the tables are empty, which is when they could go wrong.
#[tokio::test]
async fn hot_statements_look_up_by_the_whole_primary_key() {
    let database = database().await;
    let client = connect(&database.dsn).await;
    client.batch_execute(SESSION).await.unwrap();
    let key = "Index Cond: ((bucket = $1) AND (key_head = ";
    for (name, sql, parameters, expected) in [
        (
            "read",
            include_str!("../../src/store/sql/read.sql"),
            "text, text[], text[], integer",
            &[key, "AND (key_tail_digest = "][..],
        ),
        (
            "judge",
            include_str!("../../src/store/sql/judge.sql"),
            "text, text[], text[], boolean[], text[], text[], timestamptz[], timestamptz[], bigint[], boolean[], \
             smallint[], text[], text[], bytea[]",
            &[
                key,
                "AND (key_tail_digest = ",
                "LockRows",
                "Conflict Arbiter Indexes: entries_pkey",
            ],
        ),
        (
            "put",
            include_str!("../../src/store/sql/put.sql"),
            "text[], text[], text[], timestamptz[], bigint[], smallint[], text[], text[], bytea[]",
            &["Conflict Arbiter Indexes: entries_pkey"],
        ),
        (
            "read_part",
            include_str!("../../src/store/sql/read_part.sql"),
            "text, text, text, integer, integer, bigint",
            &["Index Cond: ((bucket = $1) AND (key_head = $2) AND (key_tail_digest = "],
        ),
        (
            "expire",
            include_str!("../../src/store/sql/expire.sql"),
            "bigint",
            &[
                "Index Scan using entries_default_0_expires_at",
                "Merge Append",
            ],
        ),
        (
            "list",
            include_str!("../../src/store/sql/list.sql"),
            "text, text, text, text, text, text, bigint",
            &["Index Cond: ((bucket = $1) AND (key_head >= $2) AND (key_head < "],
        ),
    ] {
        client
            .batch_execute(&format!("PREPARE {name} ({parameters}) AS {sql}"))
            .await
            .unwrap();
        // Texts are given, because a null bucket or key would prune every partition.
        let value = |kind: &str| if kind.trim() == "text" { "'b'" } else { "NULL" };
        let values: Vec<&str> = parameters.split(',').map(value).collect();
        let given = values.join(", ");
        let rows = client
            .query(&format!("EXPLAIN (COSTS OFF) EXECUTE {name}({given})"), &[])
            .await
            .unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        for expected in expected {
            assert!(
                plan.contains(expected),
                "{name} does not have {expected:?}:\n{plan}"
            );
        }
        assert!(!plan.contains("Seq Scan"), "{name}:\n{plan}");
    }
}

/// A read of one key opens the partition it is in and no other.
#[tokio::test]
async fn a_read_touches_one_partition() {
    let (server, database) = serve().await;
    server.put("/kv/b/k", "v").await.expect(200);
    let client = connect(&database.dsn).await;
    client.batch_execute(SESSION).await.unwrap();
    let sql = include_str!("../../src/store/sql/read.sql");
    client
        .batch_execute(&format!(
            "PREPARE read (text, text[], text[], integer) AS {sql}"
        ))
        .await
        .unwrap();
    let explain =
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE read('b', '{k}', '{\"\"}', 100)";
    let rows = client.query(explain, &[]).await.unwrap();
    let plan: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let scans: Vec<&String> = plan
        .iter()
        .filter(|line| line.contains("Index Scan"))
        .collect();
    assert_eq!(
        scans
            .iter()
            .filter(|line| !line.contains("never executed"))
            .count(),
        1,
        "{plan:#?}"
    );
}
