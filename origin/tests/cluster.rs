//! The private cluster against a real PostgreSQL: its life, the deaths around it, and what they leave.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use origin::cluster::testing::{TestDatabase, private_options, program};
use origin::cluster::{Cluster, ClusterError, ClusterState, Ending};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

async fn connect(dsn: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(dsn, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn value(dsn: &str, query: &str) -> String {
    connect(dsn)
        .await
        .query_one(&format!("SELECT ({query})::text"), &[])
        .await
        .unwrap()
        .get(0)
}

/// A folder whose parents everybody may enter, unlike those of `tempfile::tempdir`.
fn open_folder() -> TempDir {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

/// A process that has ended and only waits to be noticed does not count.
fn exists(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

fn running_pid(cluster: &Cluster) -> u32 {
    match *cluster.state().borrow() {
        ClusterState::Running { pid, .. } => pid,
        state => panic!("{state:?}"),
    }
}

fn postmaster_pid(data_dir: &Path) -> u32 {
    let text = std::fs::read_to_string(data_dir.join("pgdata/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

/// A cluster in a process of its own, which can be killed.
struct Holder {
    process: Child,
    root: PathBuf,
}

impl Holder {
    fn start(command: &mut Command, root: &Path) -> Holder {
        let process = command
            .arg("internal-hold")
            .arg(root)
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Holder {
            process,
            root: root.to_path_buf(),
        }
    }

    fn data_dir(&self) -> Option<PathBuf> {
        let entries = std::fs::read_dir(&self.root).unwrap().flatten();
        entries.map(|entry| entry.path()).find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("run-")
        })
    }

    async fn dsn(&self) -> String {
        let file = self.root.join("dsn");
        eventually("the holder is ready", || file.exists()).await;
        std::fs::read_to_string(file).unwrap()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
    let pid = running_pid(&first);
    assert_eq!(first.stop().await, Ending::Clean);
    assert!(!exists(pid), "the server was waited for");
    let second = Cluster::start(private_options(dir.path())).await.unwrap();
    assert_eq!(value(&second.dsn(), "SELECT answer FROM kept").await, "42");
    assert_eq!(second.stop().await, Ending::Clean);
}

#[tokio::test]
async fn only_its_own_accounts_reach_it_and_commits_are_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = private_options(dir.path());
    options.settings = vec![
        ("fsync".into(), "off".into()),
        ("work_mem".into(), "5MB".into()),
    ];
    let cluster = Cluster::start(options).await.unwrap();
    for (setting, expected) in [
        ("listen_addresses", ""),
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("work_mem", "5MB"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("shared_buffers", "16MB"),
    ] {
        let query = if setting == "lc_collate" {
            "SELECT datcollate FROM pg_database WHERE datname = current_database()".into()
        } else {
            format!("current_setting('{setting}')")
        };
        assert_eq!(value(&cluster.dsn(), &query).await, expected, "{setting}");
    }
    let role = value(
        &cluster.dsn(),
        "SELECT current_user || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user",
    )
    .await;
    assert_eq!(role, "lacquer false");
    let folder = std::fs::metadata(cluster.socket_folder()).unwrap();
    let server = std::fs::metadata(format!("/proc/{}", running_pid(&cluster))).unwrap();
    assert_eq!(folder.mode() & 0o777, 0o700);
    assert_eq!(folder.uid(), server.uid());
    assert_ne!(server.uid(), 0, "PostgreSQL never runs as root");
    cluster.stop().await;
}

#[tokio::test]
async fn a_folder_behind_closed_parents_serves_like_any_other() {
    if !geteuid().is_root() {
        return; // An ordinary user's server has that user's own permissions.
    }
    let closed = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .unwrap();
    let open = open_folder();
    for (dir, expected) in [
        (&closed, PathBuf::from("/proc/self/fd/9")),
        (&open, open.path().join("d/pgdata")),
    ] {
        let cluster = Cluster::start(private_options(&dir.path().join("d")))
            .await
            .unwrap();
        let place = value(&cluster.admin_dsn(), "current_setting('data_directory')").await;
        assert_eq!(Path::new(&place), expected);
        assert_eq!(
            cluster.socket_folder().starts_with(dir.path()),
            dir.path() == open.path()
        );
        let admin = connect(&cluster.admin_dsn()).await;
        for statement in ["CHECKPOINT", "CREATE DATABASE another"] {
            admin.batch_execute(statement).await.unwrap();
        }
        drop(admin);
        let socket_folder = cluster.socket_folder().to_path_buf();
        assert_eq!(cluster.stop().await, Ending::Clean);
        assert_eq!(
            socket_folder.exists(),
            dir.path() == open.path(),
            "nothing stays in shared folders"
        );
    }
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_works() {
    let dir = open_folder();
    let data_dir = dir.path().join("long".repeat(30));
    let cluster = Cluster::start(private_options(&data_dir)).await.unwrap();
    assert!(!cluster.socket_folder().starts_with(dir.path()));
    assert_eq!(value(&cluster.dsn(), "SELECT 1").await, "1");
    let socket_folder = cluster.socket_folder().to_path_buf();
    assert_eq!(cluster.stop().await, Ending::Clean);
    assert!(!socket_folder.exists());
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_what_it_had_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    connect(&cluster.dsn())
        .await
        .batch_execute("CREATE TABLE kept AS SELECT 42 AS answer")
        .await
        .unwrap();
    // A child that is busy does not notice that its server is gone, and keeps the data in use.
    let busy = connect(&cluster.dsn()).await;
    let endless = tokio::spawn(async move {
        busy.batch_execute("DO $$ BEGIN LOOP END LOOP; END $$")
            .await
    });
    let admin = cluster.admin_dsn();
    while value(
        &admin,
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO %'",
    )
    .await
        != "1"
    {}
    let first = running_pid(&cluster);
    send(first, Signal::SIGKILL);
    let mut state = cluster.state();
    let again = |state: &ClusterState| matches!(state, ClusterState::Running { restarts, .. } if *restarts > 0);
    tokio::time::timeout(Duration::from_secs(30), state.wait_for(again))
        .await
        .expect("it is started again")
        .unwrap();
    assert_ne!(running_pid(&cluster), first);
    assert!(endless.await.unwrap().is_err());
    assert_eq!(value(&cluster.dsn(), "SELECT answer FROM kept").await, "42");
    assert_eq!(cluster.stop().await, Ending::Clean);
}

#[tokio::test]
async fn the_server_ends_with_a_killed_origin_and_the_next_start_works_at_once() {
    let dir = open_folder();
    let mut holder = Holder::start(&mut Command::new(program()), dir.path());
    let dsn = holder.dsn().await;
    let data_dir = holder.data_dir().unwrap();
    let server = postmaster_pid(&data_dir);
    let client = connect(&dsn).await;
    client
        .batch_execute("CREATE TABLE kept AS SELECT 42 AS answer")
        .await
        .unwrap();
    holder.kill();
    // Without waiting for the older server: that is the starter's business.
    let cluster = Cluster::start(private_options(&data_dir)).await.unwrap();
    assert!(!exists(server));
    assert_eq!(
        value(&cluster.admin_dsn(), "SELECT answer FROM kept").await,
        "42"
    );
    assert_eq!(cluster.stop().await, Ending::Clean);
}

#[tokio::test]
async fn a_killed_origin_takes_an_idle_server_along() {
    let dir = open_folder();
    let mut holder = Holder::start(&mut Command::new(program()), dir.path());
    holder.dsn().await;
    let data_dir = holder.data_dir().unwrap();
    let server = postmaster_pid(&data_dir);
    holder.kill();
    eventually("the server has ended", || !exists(server)).await;
    assert!(
        !data_dir.join("pgdata/postmaster.pid").exists(),
        "it ended in order"
    );
}

#[tokio::test]
async fn a_stopped_holder_leaves_nothing() {
    let dir = open_folder();
    let mut holder = Holder::start(&mut Command::new(program()), dir.path());
    holder.dsn().await;
    let server = postmaster_pid(&holder.data_dir().unwrap());
    send(holder.process.id(), Signal::SIGTERM);
    assert!(holder.process.wait().unwrap().success());
    assert!(!exists(server));
    assert_eq!(holder.data_dir(), None);
}

#[tokio::test]
async fn an_interrupted_initdb_is_done_over() {
    let dir = open_folder();
    let mut holder = Holder::start(&mut Command::new(program()), dir.path());
    let begun = |holder: &Holder| {
        let new = holder.data_dir().and_then(|data_dir| {
            let names = std::fs::read_dir(data_dir)
                .ok()?
                .flatten()
                .map(|entry| entry.path());
            names.into_iter().find(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("pgdata.new-")
            })
        });
        new.filter(|new| new.join("base").exists())
    };
    eventually("initdb is at work", || begun(&holder).is_some()).await;
    holder.kill();
    let data_dir = holder.data_dir().unwrap();
    assert!(
        !data_dir.join("pgdata").exists(),
        "a database appears only when whole"
    );
    let unfinished = begun(&holder).unwrap();
    let cluster = Cluster::start(private_options(&data_dir)).await.unwrap();
    assert_eq!(value(&cluster.dsn(), "SELECT 1").await, "1");
    assert!(!unfinished.join("base").exists());
    assert_eq!(cluster.stop().await, Ending::Clean);
}

#[tokio::test]
async fn half_of_the_first_steps_are_completed() {
    let dir = tempfile::tempdir().unwrap();
    for undo in [
        "DROP DATABASE lacquer",
        "DROP DATABASE lacquer; DROP ROLE lacquer",
    ] {
        let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
        for statement in undo.split("; ") {
            connect(&cluster.admin_dsn())
                .await
                .batch_execute(statement)
                .await
                .unwrap();
        }
        cluster.stop().await;
        let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
        connect(&cluster.dsn())
            .await
            .batch_execute("CREATE TABLE mine ()")
            .await
            .unwrap();
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_pid_file_that_names_a_stranger_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    cluster.stop().await;
    let pgdata = dir.path().join("pgdata");
    let owner = std::fs::metadata(&pgdata).unwrap();
    // PostgreSQL takes any living process of its own user for a server on these data.
    let mut stranger = Command::new("sleep")
        .arg("60")
        .uid(owner.uid())
        .gid(owner.gid())
        .spawn()
        .unwrap();
    for text in [
        format!("{}\n{}\n1\n5432\n", stranger.id(), pgdata.display()),
        String::new(),
    ] {
        let file = pgdata.join("postmaster.pid");
        std::fs::write(&file, &text).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
        let cluster = Cluster::start(private_options(dir.path())).await;
        assert!(cluster.is_ok(), "{text:?}: {cluster:?}");
        assert_eq!(cluster.unwrap().stop().await, Ending::Clean);
    }
    assert_eq!(
        stranger.try_wait().unwrap(),
        None,
        "a stranger is left alone"
    );
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_server_started_by_hand_on_the_data_is_ended_first() {
    let dir = open_folder();
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    let bin = value(
        &cluster.admin_dsn(),
        "SELECT setting FROM pg_config WHERE name = 'BINDIR'",
    )
    .await;
    cluster.stop().await;
    let pgdata = dir.path().join("pgdata");
    let owner = std::fs::metadata(&pgdata).unwrap();
    let mut by_hand = Command::new(Path::new(&bin).join("postgres"))
        .arg("-D")
        .arg(&pgdata)
        .args(["-c", "listen_addresses=", "-c", "unix_socket_directories=."])
        .uid(owner.uid())
        .gid(owner.gid())
        .current_dir("/")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = pgdata.join("postmaster.pid");
    eventually("it runs", || {
        std::fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"))
    })
    .await;
    let waiting = tokio::task::spawn_blocking(move || by_hand.wait().unwrap());
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    assert!(waiting.await.unwrap().success(), "it was ended in order");
    assert_eq!(cluster.stop().await, Ending::Clean);
}

#[tokio::test]
async fn a_second_origin_on_the_same_data_is_told_who_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    let refused = Cluster::start(private_options(dir.path()))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ClusterError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{refused:?}"
    );
    assert_eq!(
        value(&cluster.dsn(), "SELECT 1").await,
        "1",
        "the first is not disturbed"
    );
    cluster.stop().await;
}

#[tokio::test]
async fn clients_that_stay_connected_do_not_hold_up_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    let client = connect(&cluster.dsn()).await;
    let began = Instant::now();
    assert_eq!(cluster.stop().await, Ending::Clean);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert!(client.simple_query("SELECT 1").await.is_err());
}

#[tokio::test]
async fn a_server_that_does_not_end_in_time_is_ended_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = private_options(dir.path());
    options.stop_timeout = Duration::from_millis(300);
    let cluster = Cluster::start(options.clone()).await.unwrap();
    connect(&cluster.dsn())
        .await
        .batch_execute("CREATE TABLE kept AS SELECT 42 AS answer")
        .await
        .unwrap();
    // A stopped child hears no signal, so neither the polite nor the fast way comes to an end.
    let sleeper = connect(&cluster.dsn()).await;
    let child: i32 = sleeper
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    send(child as u32, Signal::SIGSTOP);
    let ending = cluster.stop().await;
    assert!(
        matches!(ending, Ending::Immediate | Ending::Killed),
        "{ending:?}"
    );
    let cluster = Cluster::start(options).await.unwrap();
    assert_eq!(value(&cluster.dsn(), "SELECT answer FROM kept").await, "42");
    cluster.stop().await;
}

#[tokio::test]
async fn dropping_the_cluster_or_its_start_ends_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(private_options(dir.path())).await.unwrap();
    let pid = running_pid(&cluster);
    drop(cluster);
    eventually("the server has ended", || !exists(pid)).await;

    // At whatever step it is: initdb on the fresh folder, anything on the other.
    let fresh = tempfile::tempdir().unwrap();
    for (dir, milliseconds) in [(&fresh, 100), (&dir, 0), (&dir, 5), (&dir, 20), (&dir, 50)] {
        let start = Cluster::start(private_options(dir.path()));
        let started = tokio::time::timeout(Duration::from_millis(milliseconds), start).await;
        let fast = started.is_ok_and(|started| started.is_ok());
        assert!(!fast || milliseconds > 5, "that was too fast to be dropped");
        let deadline = Instant::now() + Duration::from_secs(30);
        let cluster = loop {
            match Cluster::start(private_options(dir.path())).await {
                Err(ClusterError::InUse { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => break other.unwrap(),
            }
        };
        assert_eq!(value(&cluster.dsn(), "SELECT 1").await, "1");
        cluster.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = private_options(dir.path());
    options.settings = vec![("no_such_setting".into(), "1".into())];
    let problem = Cluster::start(options).await.unwrap_err();
    assert!(
        matches!(problem, ClusterError::Exited { .. }),
        "{problem:?}"
    );
    assert!(problem.to_string().contains("no_such_setting"), "{problem}");
    Cluster::start(private_options(dir.path()))
        .await
        .unwrap()
        .stop()
        .await;
}

#[tokio::test]
async fn without_binaries_nothing_is_made_and_the_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = private_options(&dir.path().join("data"));
    options.bin_dir = Some(dir.path().to_path_buf());
    let problem = Cluster::start(options).await.unwrap_err();
    assert!(
        matches!(problem, ClusterError::BadBinaries { .. }),
        "{problem:?}"
    );
    assert!(
        problem.to_string().contains(dir.path().to_str().unwrap()),
        "{problem}"
    );
    assert!(!dir.path().join("data/pgdata").exists());
    let output = Command::new(program())
        .arg("internal-hold")
        .arg(dir.path())
        .arg("1")
        .env("LACQUER_PG_BIN", "/nonexistent")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/nonexistent"), "{said}");
}

#[tokio::test]
async fn an_ordinary_user_runs_it_and_root_goes_on_as_that_user() {
    if !geteuid().is_root() {
        return; // All other tests then run as an ordinary user.
    }
    let nobody = User::from_name("nobody").unwrap().unwrap();
    let dir = open_folder();
    chown(
        dir.path(),
        Some(nobody.uid.as_raw()),
        Some(nobody.gid.as_raw()),
    )
    .unwrap();
    // The build's own folder may be closed to others.
    let copy = dir.path().join("lacquer-origin");
    std::fs::copy(program(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command
        .uid(nobody.uid.as_raw())
        .gid(nobody.gid.as_raw())
        .current_dir("/")
        .env_remove("XDG_RUNTIME_DIR");
    let mut holder = Holder::start(&mut command, dir.path());
    let dsn = holder.dsn().await;
    let data_dir = holder.data_dir().unwrap();
    let owner_of = |pid: u32| std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    assert_eq!(owner_of(postmaster_pid(&data_dir)), nobody.uid.as_raw());
    connect(&dsn)
        .await
        .batch_execute("CREATE TABLE kept AS SELECT 42 AS answer")
        .await
        .unwrap();
    holder.kill();
    let cluster = Cluster::start(private_options(&data_dir)).await.unwrap();
    assert_eq!(owner_of(running_pid(&cluster)), nobody.uid.as_raw());
    assert_eq!(
        value(&cluster.admin_dsn(), "SELECT answer FROM kept").await,
        "42"
    );
    cluster.stop().await;
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
    assert_eq!(value(&two.dsn, "SELECT count(*) FROM entries").await, "0");
    let empty = TestDatabase::empty().await;
    assert!(
        connect(&empty.dsn)
            .await
            .batch_execute("SELECT FROM entries")
            .await
            .is_err()
    );
    let count = format!(
        "SELECT count(*) FROM pg_database WHERE datname = '{}'",
        one.name
    );
    assert_eq!(value(&two.admin_dsn, &count).await, "1");
    drop(one);
    assert_eq!(value(&two.admin_dsn, &count).await, "0");
}
