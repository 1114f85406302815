//! Active probes over real sockets; the window itself is tested beside it.

use std::sync::atomic::AtomicU16;

use tokio::sync::watch;

use super::*;

struct Probed {
    address: SocketAddr,
    /// What `/health` answers; zero: nothing at all.
    status: Arc<AtomicU16>,
    heads: mpsc::UnboundedReceiver<String>,
}

async fn probed(body: &'static str) -> Probed {
    let status = Arc::new(AtomicU16::new(200));
    let answered = Arc::clone(&status);
    let (told, heads) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let answered = Arc::clone(&answered);
        let told = told.clone();
        async move {
            while let Some(head) = peer.head().await {
                let status = match head.starts_with("GET /health ") {
                    true => answered.load(Ordering::Relaxed),
                    false => 200,
                };
                let _ = told.send(head);
                if status == 0 {
                    return peer.closed().await;
                }
                let length = body.len();
                peer.send(format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"
                ))
                .await;
            }
        }
    })
    .await;
    Probed {
        address,
        status,
        heads,
    }
}

fn settings(window: u32, threshold: u32, initial: u32) -> ProbeSettings {
    ProbeSettings {
        interval: Duration::from_millis(20),
        timeout: Duration::from_millis(500),
        window,
        threshold,
        initial,
        path: "/health".to_owned(),
        host: None,
        expected_status: 200,
    }
}

fn run(pool: &Arc<BackendPool>) -> watch::Sender<bool> {
    let (shutdown, ending) = watch::channel(false);
    let pool = Arc::clone(pool);
    tokio::spawn(async move { pool.run(ending).await });
    shutdown
}

fn is_up(pool: &BackendPool, place: usize) -> bool {
    pool.servers().nth(place).expect("as many servers").is_up
}

#[tokio::test]
async fn server_goes_down_and_comes_back() {
    let Probed {
        address,
        status,
        mut heads,
    } = probed("ok").await;
    let pool = build(vec![server(address)], |pool| {
        pool.probe = Some(settings(4, 3, 2))
    });
    // One good probe is missing.
    assert!(!pool.is_healthy());
    let error = fetch(&pool, "/").await.expect_err("not probed yet");
    assert_eq!((error.kind(), error.status()), ("unhealthy", 503));
    assert_eq!(counters(&pool, 0).unhealthy, 1);

    let _running = run(&pool);
    let head = heard(&mut heads).await;
    assert_eq!(
        head,
        format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
    );
    eventually("it is up", || pool.is_healthy()).await;
    assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");

    for bad in [503, 0, 301] {
        status.store(bad, Ordering::Relaxed);
        eventually("it is down", || !pool.is_healthy()).await;
        assert_eq!(
            fetch(&pool, "/").await.expect_err("down").kind(),
            "unhealthy"
        );
        status.store(200, Ordering::Relaxed);
        eventually("it is up again", || pool.is_healthy()).await;
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
    }
    let full = || pool.servers().next().expect("a server").happy & 0b1111 == 0b1111;
    eventually("a window full of good probes", full).await;
    let status = pool.servers().next().expect("a server");
    assert!(status.is_probed && status.connections == 0);
    assert_eq!(
        (status.counters.fail, status.counters.req),
        (0, 4),
        "probes are not requests"
    );
}

#[tokio::test]
async fn probes_are_sent_as_set() {
    let mut probed = probed("").await;
    let pool = build(vec![server(probed.address)], |pool| {
        pool.servers[0].host = Some("ignored.test".to_owned());
        pool.probe = Some(ProbeSettings {
            host: Some("probe.test:81".to_owned()),
            expected_status: 418,
            path: "/other?x".to_owned(),
            ..settings(1, 1, 0)
        });
    });
    let running = run(&pool);
    let head = heard(&mut probed.heads).await;
    assert_eq!(
        head,
        "GET /other?x HTTP/1.1\r\nHost: probe.test:81\r\nConnection: close\r\n\r\n"
    );
    heard(&mut probed.heads).await;
    assert!(!pool.is_healthy(), "200 is not what was expected");
    running.send(true).expect("a running pool");
    // What is under way ends; then it is quiet.
    tokio::time::sleep(Duration::from_millis(100)).await;
    while probed.heads.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        probed.heads.try_recv().is_err(),
        "probes end with the shutdown"
    );
}

#[tokio::test]
async fn requests_avoid_the_sick_server() {
    let sick = probed("sick").await;
    let well = probed("well").await;
    sick.status.store(500, Ordering::Relaxed);
    let pool = build(vec![server(sick.address), server(well.address)], |pool| {
        pool.probe = Some(settings(2, 1, 0));
    });
    let _running = run(&pool);
    eventually("one is up", || is_up(&pool, 1)).await;
    for _ in 0..6 {
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "well");
    }
    assert!(!is_up(&pool, 0));
    assert_eq!(counters(&pool, 0).req, 0);
}

#[tokio::test]
async fn unreachable_server_is_sick() {
    let pool = build(vec![server(refusing().await)], |pool| {
        pool.probe = Some(settings(2, 1, 1));
    });
    assert!(pool.is_healthy(), "it is given the benefit of the doubt");
    let _running = run(&pool);
    eventually("it is down", || !pool.is_healthy()).await;
    assert_eq!(counters(&pool, 0).fail, 0, "probes are not requests");
}

#[tokio::test]
async fn probe_that_hangs_fails_in_time() {
    let Probed {
        address,
        status,
        mut heads,
    } = probed("ok").await;
    status.store(0, Ordering::Relaxed);
    let pool = build(vec![server(address)], |pool| {
        pool.probe = Some(ProbeSettings {
            timeout: Duration::from_millis(50),
            ..settings(1, 1, 1)
        });
    });
    let _running = run(&pool);
    eventually("it is down", || !pool.is_healthy()).await;
    // One at a time, but on and on.
    for _ in 0..3 {
        heard(&mut heads).await;
    }
}
