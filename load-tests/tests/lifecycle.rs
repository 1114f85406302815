//! The front door as an operator meets it: start, wrong settings, reload, metrics, logs, orders, drain, upgrade.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use load_tests::backend::Backend;
use load_tests::client::{Connection, Request, ask, get};
use load_tests::front::Front;
use load_tests::place::free_address;
use load_tests::process::{Process, run};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

/// `/slow/MILLISECONDS` sends its head at once and its body after that time; `/cached...` may be stored.
async fn backend() -> Backend {
    Backend::start(|mut exchange| async move {
        let target = exchange.seen.head.target.clone();
        if let Some(milliseconds) = target.strip_prefix("/slow/") {
            exchange
                .write_head(
                    200,
                    &[("Content-Length", "4"), ("Cache-Control", "no-store")],
                )
                .await?;
            sleep(Duration::from_millis(milliseconds.parse()?)).await;
            exchange.write(b"slow").await?;
        } else {
            let control = if target.starts_with("/cached") {
                FRESH
            } else {
                ("Cache-Control", "no-store")
            };
            let fields = [control, ("Surrogate-Key", "all"), ("X-Tag", "t")];
            exchange.reply(200, &fields, target.as_bytes()).await?;
        }
        Ok(exchange)
    })
    .await
}

async fn is_open(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_ok()
}

#[tokio::test]
async fn wrong_settings_are_told_before_a_port_opens() {
    let folder = tempfile::tempdir().unwrap();
    let (address, metrics) = (free_address(), free_address());
    let good = format!("[[listen]]\naddress = \"{address}\"\n[metrics]\naddress = \"{metrics}\"\n");
    let cases: [(&str, &[&str]); 9] = [
        (
            "[cache]\nmemroy = \"1GiB\"",
            &["memroy", "memory", "lacquer.toml"],
        ),
        ("[cahce]\nmemory = \"1GiB\"", &["cahce", "cache"]),
        ("[cache]\nmemory = \"much\"", &["cache.memory", "much"]),
        ("[backend]\nservers = [\"http://a\"]", &["backend.servers"]),
        (
            "[backend]\nbalance = \"round-robin\"",
            &["balance", "round_robin"],
        ),
        ("[timeouts]\nidle = 60", &["timeouts.idle"]),
        (
            "[purge]\nallow = [\"localnet\"]",
            &["purge.allow", "localnet"],
        ),
        (
            "[[tls.certificates]]\ncertificate = \"none.pem\"\nkey = \"none.key\"",
            &["none.pem"],
        ),
        ("[cache\n", &["lacquer.toml:5"]),
    ];
    for (wrong, mentioned) in cases {
        let config = folder.path().join("lacquer.toml");
        std::fs::write(&config, format!("{good}{wrong}\n")).unwrap();
        let args = ["--config".as_ref(), config.as_os_str()];
        let mut process = Process::start("lacquer", &args, folder.path(), "wrong");
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.ended().is_none() {
            assert!(
                !is_open(address).await && !is_open(metrics).await,
                "a port opens with {wrong:?}"
            );
            assert!(Instant::now() < deadline, "it runs with {wrong:?}");
            sleep(Duration::from_millis(1)).await;
        }
        assert_ne!(
            process.ended().and_then(|status| status.code()),
            Some(0),
            "{wrong}"
        );
        let log = process.log();
        for mention in mentioned {
            assert!(
                log.contains(mention),
                "{mention:?} is not in the answer to {wrong:?}:\n{log}"
            );
        }
        assert!(!log.contains("panicked"), "{log}");
    }
    // Several mistakes are told together.
    let config = folder.path().join("lacquer.toml");
    std::fs::write(&config, format!("{good}[cache]\nmemroy = 1\ngrase = 2\n")).unwrap();
    let told = run(
        "lacquer",
        &["--config".as_ref(), config.as_os_str(), "--check".as_ref()],
        folder.path(),
        &[],
    )
    .await;
    assert!(
        !told.status.success() && told.stderr.contains("memroy") && told.stderr.contains("grase"),
        "{told:?}"
    );
    std::fs::write(&config, &good).unwrap();
    let told = run(
        "lacquer",
        &["--config".as_ref(), config.as_os_str(), "--check".as_ref()],
        folder.path(),
        &[],
    )
    .await;
    assert!(told.status.success(), "{told:?}");
}

#[tokio::test]
async fn file_descriptors_are_taken_up_to_the_hard_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let given = getrlimit(Resource::Nofile);
    let low = Rlimit {
        current: Some(256),
        maximum: given.maximum,
    };
    setrlimit(Resource::Nofile, low).unwrap();
    let front = Front::start_with(backend().await.address, |settings| {
        settings.set("limits.connections_max", "100");
    })
    .await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", front.process.pid())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut numbers = files.unwrap()["Max open files".len()..].split_whitespace();
    assert_eq!(numbers.next(), numbers.next(), "{limits}");
    assert!(!front.process.log().contains("descriptors"));
    // What the hard limit has no room for is told.
    let maximum = given
        .maximum
        .expect("systems bound what a process may open");
    let front = Front::start_with(backend().await.address, |settings| {
        settings.set("limits.connections_max", &maximum.to_string());
    })
    .await;
    let log = front.process.log();
    assert!(log.contains("LimitNOFILE"), "{log}");
}

#[tokio::test]
async fn wrong_flags_name_the_right_ones() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str], &[&str]); 6] = [
        (
            "lacquer",
            &["--lisen", "127.0.0.1:0"],
            &["--lisen", "--listen"],
        ),
        ("lacquer", &["--backend", "http://"], &["--backend"]),
        ("lacquer", &["--memory", "many"], &["--memory", "many"]),
        ("lacquer", &["--config", "none.toml"], &["none.toml"]),
        ("lacquer-origin", &["--prot", "1"], &["--prot", "--port"]),
        ("lacquer-origin", &["--config", "none.toml"], &["none.toml"]),
    ];
    for (program, args, mentioned) in cases {
        let told = run(program, args, folder.path(), &[]).await;
        assert!(!told.status.success(), "{args:?}");
        for mention in mentioned {
            assert!(
                told.stderr.contains(mention),
                "{program} {args:?}: {told:?}"
            );
        }
    }
    for program in ["lacquer", "lacquer-origin"] {
        let told = run(program, &["--help"], folder.path(), &[]).await;
        assert!(
            told.status.success() && told.stdout.contains("Examples:"),
            "{told:?}"
        );
        let told = run(program, &["--version"], folder.path(), &[]).await;
        assert!(
            told.status.success() && told.stdout.contains(env!("CARGO_PKG_VERSION")),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn two_flags_put_it_in_front_of_anything() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let (address, metrics) = (free_address(), free_address());
    // The default port of the metrics may be taken on a machine that runs tests.
    std::fs::write(
        folder.path().join("metrics.toml"),
        format!("[metrics]\naddress = \"{metrics}\"\n"),
    )
    .unwrap();
    let (backend_text, listen) = (backend.address.to_string(), address.to_string());
    let args = [
        "--config",
        "metrics.toml",
        "--backend",
        &backend_text,
        "--listen",
        &listen,
    ];
    let mut process = Process::start("lacquer", &args, folder.path(), "front");
    process
        .wait_until("open", Duration::from_secs(20), || is_open(address))
        .await;
    for hit in [false, true] {
        let answer = get(address, "/cached").await.unwrap();
        assert_eq!((answer.text().as_str(), answer.is_hit()), ("/cached", hit));
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_message() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let told = run(
        "lacquer",
        &["--config".as_ref(), front.config.as_os_str()],
        front.folder(),
        &[],
    )
    .await;
    assert!(!told.status.success(), "{told:?}");
    let said = told.stderr + &told.stdout;
    let names_one = [front.address, front.metrics_address]
        .iter()
        .any(|address| said.contains(&address.to_string()));
    assert!(names_one && !said.contains("panicked"), "{said}");
    assert_eq!(front.get("/cached").await.status(), 200);
}

#[tokio::test]
async fn sigterm_lets_requests_finish() {
    let backend = backend().await;
    let mut front = Front::start_with(backend.address, |settings| {
        settings.set_text("server.drain_timeout", "10s");
    })
    .await;
    let mut idle = Connection::open(front.address).await.unwrap();
    idle.ask(&Request::get("/cached")).await.unwrap();
    let mut busy = Connection::open(front.address).await.unwrap();
    busy.send(&Request::get("/slow/1500")).await.unwrap();
    assert_eq!(busy.receive_head("GET").await.unwrap().status, 200);
    let mut waiting = Connection::open(front.address).await.unwrap();
    waiting
        .send(&Request::put("/slow/1400", "x"))
        .await
        .unwrap();
    backend.wait_for_count("/slow/1400", 1).await;
    front.process.signal(Signal::SIGTERM);
    let signalled = Instant::now();
    assert!(
        idle.closes_within(Duration::from_secs(1)).await,
        "an idle connection stays open"
    );
    while is_open(front.address).await {
        let waited = signalled.elapsed();
        assert!(
            waited < Duration::from_secs(1),
            "new connections are still taken"
        );
        sleep(Duration::from_millis(10)).await;
    }
    assert!(
        front.process.ended().is_none(),
        "it ended with requests on the way"
    );
    assert_eq!(busy.receive_piece().await.unwrap().unwrap(), b"slow");
    assert_eq!(waiting.receive("PUT").await.unwrap().text(), "slow");
    let status = front.process.ends_within(Duration::from_secs(5)).await;
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(0),
        "{}",
        front.process.log()
    );
    assert!(
        signalled.elapsed() < Duration::from_secs(6),
        "it ended after {:?}",
        signalled.elapsed()
    );
}

#[tokio::test]
async fn sigterm_cuts_what_does_not_finish() {
    let backend = backend().await;
    let mut front = Front::start_with(backend.address, |settings| {
        settings.set_text("server.drain_timeout", "1s");
    })
    .await;
    let mut endless = Connection::open(front.address).await.unwrap();
    endless.send(&Request::get("/slow/60000")).await.unwrap();
    endless.receive_head("GET").await.unwrap();
    let started = Instant::now();
    front.process.signal(Signal::SIGTERM);
    let ended = front.process.ends_within(Duration::from_secs(5)).await;
    assert!(
        ended.is_some(),
        "it waits beyond its deadline:\n{}",
        front.process.log()
    );
    assert!(
        started.elapsed() > Duration::from_millis(800),
        "it did not wait"
    );
}

#[tokio::test]
async fn readiness_ends_before_the_process_does() {
    let backend = backend().await;
    let mut front = Front::start(backend.address).await;
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/nothing", 404)] {
        assert_eq!(
            get(front.metrics_address, path).await.unwrap().status(),
            status,
            "{path}"
        );
    }
    let mut busy = Connection::open(front.address).await.unwrap();
    busy.send(&Request::get("/slow/1500")).await.unwrap();
    busy.receive_head("GET").await.unwrap();
    front.process.signal(Signal::SIGTERM);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(
        get(front.metrics_address, "/readyz")
            .await
            .unwrap()
            .status(),
        503
    );
    assert_eq!(
        get(front.metrics_address, "/healthz")
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn an_upgrade_loses_no_request() {
    let backend = backend().await;
    let mut front = Front::start_with(backend.address, |settings| {
        settings.set_text("server.drain_timeout", "10s");
    })
    .await;
    let stop = tokio::sync::watch::Sender::new(false);
    let mut load = JoinSet::new();
    for client in 0..4_u32 {
        let (address, stopped) = (front.address, stop.subscribe());
        load.spawn(async move {
            let mut served = 0_u32;
            while !*stopped.borrow() && served < 5000 {
                let target = if (served + client).is_multiple_of(3) {
                    "/passed"
                } else {
                    "/cached"
                };
                let answer = get(address, target)
                    .await
                    .map_err(|problem| format!("after {served}: {problem:#}"))?;
                if answer.status() != 200 || answer.text() != target {
                    return Err(format!("after {served}: {answer:?}"));
                }
                served += 1;
                sleep(Duration::from_millis(3)).await;
            }
            Ok(served)
        });
    }
    let mut long = Connection::open(front.address).await.unwrap();
    long.send(&Request::get("/slow/2500")).await.unwrap();
    long.receive_head("GET").await.unwrap();
    // Accepted by the old process, which waits for its first request.
    let mut late = Connection::open(front.address).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let args = [
        "--config".as_ref(),
        front.config.as_os_str(),
        "--upgrade".as_ref(),
    ];
    let mut new = Process::start("lacquer", &args, front.folder(), "new");
    // It has to be waiting when the old one is told.
    new.wait_until("waiting for listeners", Duration::from_secs(10), || async {
        sleep(Duration::from_millis(500)).await;
        true
    })
    .await;
    assert!(get(front.address, "/cached").await.unwrap().is_hit());
    front.process.signal(Signal::SIGQUIT);
    sleep(Duration::from_millis(300)).await;
    // What has been written through the new process since, the old one cannot know.
    let answer = late.ask(&Request::get("/cached")).await.unwrap();
    assert_eq!((answer.status(), answer.is_hit()), (200, false));
    assert_eq!(
        long.receive_piece().await.unwrap().unwrap(),
        b"slow",
        "a request on the way was cut"
    );
    let ended = front.process.ends_within(Duration::from_secs(12)).await;
    assert_eq!(
        ended.and_then(|status| status.code()),
        Some(0),
        "old:\n{}\nnew:\n{}",
        front.process.log(),
        new.log()
    );
    assert!(new.ended().is_none(), "{}", new.log());
    sleep(Duration::from_millis(500)).await;
    stop.send_replace(true);
    for served in load.join_all().await {
        let served = served
            .unwrap_or_else(|problem| panic!("a request failed: {problem}\nnew:\n{}", new.log()));
        assert!(served > 100, "only {served} requests");
    }
    // The new process serves, with metrics and all.
    assert_eq!(front.get("/cached").await.status(), 200);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !get(front.metrics_address, "/readyz")
        .await
        .is_ok_and(|answer| answer.status() == 200)
    {
        assert!(
            Instant::now() < deadline,
            "nobody serves metrics:\n{}",
            new.log()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn settings_are_read_again_on_sighup() {
    let backend = backend().await;
    let mut front = Front::start(backend.address).await;
    front.get("/cached").await;
    assert!(front.get("/cached").await.field("X-Varnish").is_some());
    front
        .settings
        .set("response.x_varnish", "false")
        .set("limits.target_bytes_max", "600");
    std::fs::write(&front.config, front.settings.to_toml()).unwrap();
    front.process.signal(Signal::SIGHUP);
    let deadline = Instant::now() + Duration::from_secs(5);
    while front.get("/cached").await.field("X-Varnish").is_some() {
        assert!(
            Instant::now() < deadline,
            "the new settings are not used:\n{}",
            front.process.log()
        );
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        front.get("/cached").await.is_hit(),
        "a reload emptied the store"
    );
    assert_eq!(
        front.get(&format!("/{}", "t".repeat(600))).await.status(),
        414
    );
    // Wrong ones change nothing.
    let before = front.process.log().len();
    std::fs::write(&front.config, "[cache]\nmemroy = 1\n").unwrap();
    front.process.signal(Signal::SIGHUP);
    while !front.process.log()[before..].contains("memroy") {
        assert!(Instant::now() < deadline, "nobody says what is wrong");
        sleep(Duration::from_millis(20)).await;
    }
    let after = front.get("/cached").await;
    assert!(
        after.is_hit() && after.field("X-Varnish").is_none(),
        "{after:?}"
    );
}

#[tokio::test]
async fn metrics_are_true() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let page = get(front.metrics_address, "/metrics").await.unwrap();
    assert!(
        page.field("Content-Type")
            .is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")),
        "{page:?}"
    );
    let before = front.scrape().await.unwrap();
    let mut connection = Connection::open(front.address).await.unwrap();
    for target in [
        "/cached/1",
        "/cached/2",
        "/cached/1",
        "/cached/1",
        "/passed",
    ] {
        connection.ask(&Request::get(target)).await.unwrap();
    }
    connection
        .ask(&Request::new("POST", "/posted").body("12345"))
        .await
        .unwrap();
    connection
        .ask(&Request::new("PURGE", "/cached/2"))
        .await
        .unwrap();
    connection
        .ask(&Request::new("BAN", "/").field("Lacquer-Ban", "req.url == /none"))
        .await
        .unwrap();
    let mut wrong = Connection::open(front.address).await.unwrap();
    wrong.send_raw(b"GET /nonsense\r\n\r\n").await.unwrap();
    wrong.receive("GET").await.unwrap();
    // Counters of a connection are summed when it is read, at the latest when it has ended.
    drop(connection);
    let deadline = Instant::now() + Duration::from_secs(5);
    let expected = [
        ("varnish_main_client_req", 8.0),
        ("varnish_main_client_req_400", 1.0),
        ("varnish_main_cache_hit", 2.0),
        ("varnish_main_backend_req", 4.0),
        ("varnish_main_fetch_total", 4.0),
        ("varnish_main_n_purges", 1.0),
        ("varnish_main_n_obj_purged", 1.0),
        ("varnish_main_bans_added", 1.0),
        ("varnish_main_sessions_total", 2.0),
    ];
    loop {
        let now = front.scrape().await.unwrap();
        let wrong: Vec<String> = expected
            .iter()
            .map(|(name, expected)| (name, now.sum(name) - before.sum(name), expected))
            .filter(|(_, found, expected)| found != *expected)
            .map(|(name, found, expected)| format!("{name} grew by {found}, not {expected}"))
            .collect();
        if wrong.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{}", wrong.join("\n"));
        sleep(Duration::from_millis(50)).await;
    }
    let now = front.scrape().await.unwrap();
    let grew = |name: &str| now.sum(name) - before.sum(name);
    // /passed is a miss whose answer may not be stored; POST is a pass.
    assert!(
        (2.0..=3.0).contains(&grew("varnish_main_cache_miss")),
        "{}",
        grew("varnish_main_cache_miss")
    );
    assert!(
        (1.0..=2.0).contains(&grew("varnish_main_s_pass")),
        "{}",
        grew("varnish_main_s_pass")
    );
    // The one that was refused may have an outcome of its own.
    assert!((8.0..=9.0).contains(&grew("lacquer_request_duration_seconds_count")));
    assert!(now.sum("varnish_main_n_object") >= 1.0);
    assert_eq!(now.sum("varnish_up"), 1.0);
    assert_eq!(now.sum("lacquer_panics_total"), 0.0);
    assert!(grew("varnish_main_s_resp_bodybytes") >= 30.0);
    // What dashboards made for Varnish look at, with its type.
    let types: std::collections::BTreeMap<&str, &str> = now.types().collect();
    for (name, kind) in [
        ("varnish_main_client_req", "counter"),
        ("varnish_main_cache_hit", "counter"),
        ("varnish_main_cache_miss", "counter"),
        ("varnish_main_cache_hit_grace", "counter"),
        ("varnish_main_cache_hitmiss", "counter"),
        ("varnish_main_fetch", "counter"),
        ("varnish_main_backend_conn", "counter"),
        ("varnish_main_backend_fail", "counter"),
        ("varnish_main_n_lru_nuked", "counter"),
        ("varnish_main_n_object", "gauge"),
        ("varnish_main_sessions", "counter"),
        ("varnish_main_threads", "gauge"),
        ("varnish_main_uptime", "counter"),
        ("varnish_sma_g_bytes", "gauge"),
        ("varnish_sma_g_space", "gauge"),
        ("varnish_backend_up", "gauge"),
        ("varnish_backend_req", "counter"),
        ("lacquer_request_duration_seconds", "histogram"),
        ("lacquer_coalesced_requests_total", "counter"),
        ("lacquer_fences_total", "counter"),
        ("lacquer_memory_bytes", "gauge"),
    ] {
        assert_eq!(types.get(name), Some(&kind), "{name}");
    }
    assert!(
        now.sum_where(
            "varnish_backend_req",
            &format!("server=\"{}\"", backend.address)
        ) >= 4.0,
        "no such label"
    );
}

#[tokio::test]
async fn requests_are_logged() {
    let backend = backend().await;
    for form in ["json", "combined"] {
        let mut front = Front::start_with(backend.address, |settings| {
            settings
                .set_text("log.access", form)
                .set_text("log.path", "access.log");
        })
        .await;
        front
            .ask(
                &Request::get("/cached?q=1")
                    .field("User-Agent", "an \"agent\" \u{e9}")
                    .field("Referer", "http://r.test/"),
            )
            .await;
        front.get("/cached?q=1").await;
        let path = front.folder().join("access.log");
        let lines = async |count: usize| {
            let deadline = Instant::now() + Duration::from_secs(5);
            loop {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                if text.lines().count() >= count && text.ends_with('\n') {
                    return text;
                }
                assert!(Instant::now() < deadline, "{form}: {text}");
                sleep(Duration::from_millis(20)).await;
            }
        };
        let text = lines(2).await;
        for line in text.lines() {
            assert!(
                line.contains("/cached?q=1") && line.contains("200") && line.contains("127.0.0.1"),
                "{line}"
            );
            if form == "json" {
                let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(parsed.is_object());
            } else {
                assert!(
                    line.contains("\"GET /cached?q=1 HTTP/1.1\" 200 11"),
                    "{line}"
                );
            }
        }
        assert!(text.contains(r#"an \"agent\""#), "{text}");
        // Rotation: the file is moved away, and SIGHUP makes a new one.
        std::fs::rename(&path, front.folder().join("access.log.1")).unwrap();
        front.process.signal(Signal::SIGHUP);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !path.exists() {
            assert!(Instant::now() < deadline, "the log is not opened again");
            sleep(Duration::from_millis(20)).await;
        }
        front.get("/after").await;
        assert!(lines(1).await.contains("/after"));
        // What was refused before it was understood has a line as well.
        let mut hostile = Connection::open(front.address).await.unwrap();
        hostile
            .send_raw(b"GET /x HTTP/1.1\r\nBad Field: x\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(hostile.receive("GET").await.unwrap().status(), 400);
        let text = lines(2).await;
        let refused = text.lines().last().unwrap();
        match form {
            "json" => assert!(refused.contains("\"outcome\":\"refused\""), "{refused}"),
            _ => assert!(refused.contains("\"-\" 400 "), "{refused}"),
        }
    }
}

#[tokio::test]
async fn orders_are_given_from_the_command_line() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let host = front.address.to_string();
    let ours = |target: &str| Request::get(target).field("Host", &host);
    let url = format!("http://{host}/cached/1");
    let cases: [(&[&str], [bool; 2]); 5] = [
        (&["purge", &url], [false, true]),
        (&["purge", "/cached/1"], [false, true]),
        (&["ban", "req.url ~ ^/cached/2"], [true, false]),
        (&["ban", "obj.http.x-tag == t"], [false, false]),
        (&["purge", "--key", "all"], [false, false]),
    ];
    for (order, kept) in cases {
        for target in ["/cached/1", "/cached/2"] {
            front.ask(&ours(target)).await;
            assert!(front.ask(&ours(target)).await.is_hit());
        }
        let config = front.config.display().to_string();
        let told = run(
            "lacquer",
            &[order, &["--config", &config]].concat(),
            front.folder(),
            &[],
        )
        .await;
        assert!(told.status.success(), "{order:?}: {told:?}");
        for (target, kept) in ["/cached/1", "/cached/2"].into_iter().zip(kept) {
            assert_eq!(
                front.ask(&ours(target)).await.is_hit(),
                kept,
                "{target} after {order:?}"
            );
        }
    }
    for wrong in [
        &["ban", "nonsense", "--to", &host][..],
        &["purge", "/x", "--to", "127.0.0.1:1"],
    ] {
        let told = run("lacquer", wrong, front.folder(), &[]).await;
        assert!(
            !told.status.success() && !told.stderr.is_empty(),
            "{wrong:?}: {told:?}"
        );
    }
}

#[tokio::test]
async fn an_unreachable_backend_is_a_502_or_503_and_no_more() {
    let nobody = free_address();
    let front = Front::start(nobody).await;
    for _ in 0..3 {
        let answer = front.get("/cached").await;
        assert!(matches!(answer.status(), 502 | 503), "{answer:?}");
        assert!(
            !answer.text().contains(&nobody.to_string()),
            "it tells where the backend is: {answer:?}"
        );
    }
    // And once it is there, it is used.
    let backend = backend().await;
    let two = Front::start_with(nobody, |settings| {
        settings.set(
            "backend.servers",
            &format!("[\"{nobody}\", \"{}\"]", backend.address),
        );
    })
    .await;
    for number in 0..10 {
        let answer = ask(two.address, &Request::get(&format!("/cached/{number}")))
            .await
            .unwrap();
        assert_eq!(
            answer.status(),
            200,
            "one server of two is enough: {answer:?}"
        );
    }
}
