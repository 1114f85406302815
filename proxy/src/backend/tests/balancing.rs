//! Several servers, and bounds on what each is given.

use std::num::NonZeroUsize;

use super::*;

async fn shares(balance: Balance, requests: usize, target: impl Fn(usize) -> String) -> [usize; 3] {
    let mut asked = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..3 {
        let (address, count) = serve_hello("ok").await;
        addresses.push(server(address));
        asked.push(count);
    }
    // Hashing goes by names, and the ports differ from run to run.
    for (place, server) in addresses.iter_mut().enumerate() {
        server.name = format!("server-{place}");
    }
    let pool = build(addresses, |settings| settings.balance = balance);
    for request in 0..requests {
        fetch(&pool, &target(request)).await.expect("an answer");
    }
    [0, 1, 2].map(|place: usize| asked[place].load(Ordering::Relaxed))
}

#[tokio::test]
async fn requests_are_shared_out() {
    assert_eq!(
        shares(Balance::RoundRobin, 30, |_| "/".to_owned()).await,
        [10; 3]
    );
    assert_eq!(
        shares(Balance::LeastConnections, 30, |_| "/".to_owned()).await,
        [10; 3]
    );
    let random = shares(Balance::Random, 300, |_| "/".to_owned()).await;
    assert!(
        random.into_iter().all(|share| (50..150).contains(&share)),
        "{random:?}"
    );
    let hashed = shares(Balance::ConsistentHash, 300, |request| {
        format!("/{request}")
    })
    .await;
    assert!(
        hashed.into_iter().all(|share| (50..150).contains(&share)),
        "{hashed:?}"
    );
    let mut same = shares(Balance::ConsistentHash, 30, |_| "/same".to_owned()).await;
    same.sort_unstable();
    assert_eq!(same, [0, 0, 30]);
}

#[tokio::test]
async fn key_of_the_request_decides_where_it_is_given() {
    let servers = [
        serve_hello("a").await.0,
        serve_hello("b").await.0,
        serve_hello("c").await.0,
    ];
    let servers = servers.into_iter().map(server).collect();
    let pool = build(servers, |settings| {
        settings.balance = Balance::ConsistentHash
    });
    let mut names = Vec::new();
    for request in 0..10 {
        let head = get(&format!("/{request}"));
        let mut request = BackendRequest::new(&head);
        request.key = Some(b"tenant 7");
        let mut response = pool
            .send(request, RequestBody::Empty)
            .await
            .expect("an answer");
        names.push(read(&mut response).await.expect("a body"));
    }
    names.dedup();
    assert_eq!(names.len(), 1);
}

/// Sends a head and two bytes of three at once; the last one when told.
async fn half_an_answer() -> (SocketAddr, Arc<tokio::sync::Notify>) {
    let go_on = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&go_on);
    let address = serve(move |_, mut peer| {
        let told = Arc::clone(&told);
        async move {
            while peer.head().await.is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
                    .await;
                told.notified().await;
                peer.send("c").await;
            }
        }
    })
    .await;
    (address, go_on)
}

#[tokio::test]
async fn least_connections_avoids_the_busy_server() {
    let (slow, _go_on) = half_an_answer().await;
    let (fast, asked) = serve_hello("ok").await;
    let pool = build(vec![server(slow), server(fast)], |settings| {
        settings.balance = Balance::LeastConnections;
    });
    let held = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(held.server(), slow.to_string());
    for _ in 0..10 {
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 10);
    drop(held);
}

#[tokio::test]
async fn connections_max_is_kept_and_given_back() {
    let (address, go_on) = half_an_answer().await;
    let pool = build(vec![server(address)], |settings| {
        settings.connections_max = NonZeroUsize::new(2);
    });
    let mut first = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    let second = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(pool.servers().next().expect("a server").connections, 2);
    let error = fetch(&pool, "/").await.expect_err("no room");
    assert_eq!((error.kind(), error.status()), ("busy", 503));
    assert_eq!(counters(&pool, 0).busy, 1);

    // A dropped response makes room, and so does a complete one.
    drop(second);
    let third = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(
        first.body.next().await.expect("a piece").as_deref(),
        Some(&b"ab"[..])
    );
    go_on.notify_waiters();
    assert_eq!(
        first.body.next().await.expect("a piece").as_deref(),
        Some(&b"c"[..])
    );
    assert_eq!(pool.servers().next().expect("a server").connections, 1);
    drop(third);
    assert_eq!(pool.servers().next().expect("a server").connections, 0);
}

#[tokio::test]
async fn full_server_leaves_requests_to_the_others() {
    let (slow, _go_on) = half_an_answer().await;
    let (fast, _) = serve_hello("ok").await;
    let pool = build(vec![server(slow), server(fast)], |settings| {
        settings.connections_max = NonZeroUsize::new(1);
    });
    let held = send(&pool, &get("/"), RequestBody::Empty)
        .await
        .expect("an answer");
    for _ in 0..4 {
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
    }
    assert_eq!(held.server(), slow.to_string());
    assert!(counters(&pool, 0).busy > 0);
}

#[tokio::test]
async fn nothing_leaks_when_a_request_is_given_up() {
    let address = serve(|_, mut peer| async move { peer.closed().await }).await;
    let pool = pool(&[address]);
    let head = get("/");
    for _ in 0..3 {
        let sending = pool.send(BackendRequest::new(&head), RequestBody::Empty);
        let given_up = tokio::time::timeout(Duration::from_millis(50), sending).await;
        assert!(given_up.is_err());
    }
    assert_eq!(pool.servers().next().expect("a server").connections, 0);
}

#[test]
fn contradictory_settings_are_refused() {
    fn check(expected: &str, adjust: impl FnOnce(&mut PoolSettings)) {
        let address = "127.0.0.1:1".parse().expect("an address");
        let mut settings = PoolSettings::new("main", vec![server(address)]);
        adjust(&mut settings);
        let error = BackendPool::new(settings, Arc::new(SystemResolver)).expect_err(expected);
        assert_eq!(error.to_string(), expected);
    }
    fn probe(adjust: impl FnOnce(&mut ProbeSettings)) -> impl FnOnce(&mut PoolSettings) {
        |settings| adjust(settings.probe.insert(ProbeSettings::default()))
    }
    check("pool main has no server", |settings| {
        settings.servers.clear()
    });
    check("pool main has two servers named 127.0.0.1:1", |settings| {
        settings.servers.push(settings.servers[0].clone());
    });
    check("pool main: connect timeout may not be zero", |settings| {
        settings.timeouts.connect = Duration::ZERO;
    });
    check(
        "server 127.0.0.1:1 has an invalid host \"a b\"",
        |settings| {
            settings.servers[0].host = Some("a b".to_owned());
        },
    );
    check(
        "server 127.0.0.1:1 has an invalid address a\r\nb:1",
        |settings| {
            settings.servers[0].address = ServerAddress::from_host_and_port("a\r\nb", 1);
        },
    );
    check(
        "server 127.0.0.1:1 has an invalid TLS server name ",
        |settings| {
            settings.servers[0].tls = Some(TlsSettings {
                server_name: Some(String::new()),
                verification: Verification::Full,
            });
        },
    );
    check("server 127.0.0.1:1 needs a TLS server name", |settings| {
        settings.servers[0].address = ServerAddress::Unix("/run/x.sock".into());
        settings.servers[0].tls = Some(TlsSettings {
            server_name: None,
            verification: Verification::Off,
        });
    });
    check(
        "probe of pool main: window must be 1 to 64",
        probe(|probe| probe.window = 65),
    );
    check(
        "probe of pool main: threshold must not be above window",
        probe(|probe| probe.threshold = 9),
    );
    check(
        "probe of pool main: path must start with / and hold no spaces",
        probe(|probe| probe.path = "/a b".to_owned()),
    );
    check(
        "probe of pool main: expected status must be a final one",
        probe(|probe| probe.expected_status = 100),
    );
}
