//! Host names: looked up off the path, again and again.

use std::io;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::watch;

use super::*;

/// Answers what the test says.
#[derive(Debug, Default)]
struct Scripted {
    answer: Mutex<Option<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn set(&self, answer: Option<&[SocketAddr]>) {
        *self.answer.lock().expect("no panic") = answer.map(<[_]>::to_vec);
    }
}

#[async_trait]
impl Resolve for Scripted {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        assert_eq!((host, port), ("backend.test", 8000));
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.answer.lock().expect("no panic").clone();
        answer.ok_or_else(|| io::Error::other("no such host"))
    }
}

/// Runs until the test ends.
fn run(pool: &Arc<BackendPool>) -> watch::Sender<bool> {
    let (shutdown, ending) = watch::channel(false);
    let pool = Arc::clone(pool);
    tokio::spawn(async move { pool.run(ending).await });
    shutdown
}

fn named(resolver: &Arc<Scripted>) -> Arc<BackendPool> {
    let address = ServerAddress::from_host_and_port("backend.test", 8000);
    let mut settings = PoolSettings::new("default", vec![ServerSettings::new(address)]);
    settings.dns_interval = Duration::from_millis(20);
    settings.timeouts.connect = Duration::from_millis(500);
    let resolver = Arc::clone(resolver);
    Arc::new(BackendPool::new(settings, resolver).expect("valid settings"))
}

#[tokio::test]
async fn name_is_followed_as_its_records_change() {
    let (first, asked_first) = serve_hello("first").await;
    let (second, asked_second) = serve_hello("second").await;
    let resolver = Arc::new(Scripted::default());
    let pool = named(&resolver);

    // Not there yet, which is no reason not to start.
    let _running = run(&pool);
    let error = fetch(&pool, "/").await.expect_err("no address");
    let BackendError::Connect { failure, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(failure, ConnectFailure::Unresolved);
    assert_eq!(counters(&pool, 0).fail_other, 1);

    let settled = || async {
        let seen = resolver.asked.load(Ordering::Relaxed);
        eventually("two look-ups", || {
            resolver.asked.load(Ordering::Relaxed) > seen + 1
        })
        .await;
    };
    resolver.set(Some(&[first]));
    settled().await;
    assert_eq!(fetch(&pool, "/").await.expect("an answer"), "first");
    resolver.set(Some(&[second]));
    settled().await;
    assert_eq!(fetch(&pool, "/").await.expect("an answer"), "second");
    // A failing look-up, and an empty answer, keep what was known.
    for answer in [None, Some(&[][..])] {
        resolver.set(answer);
        settled().await;
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "second");
    }
    // Several addresses take turns.
    resolver.set(Some(&[first, second, first]));
    settled().await;
    let before = (
        asked_first.load(Ordering::Relaxed),
        asked_second.load(Ordering::Relaxed),
    );
    for _ in 0..8 {
        fetch(&pool, "/").await.expect("an answer");
    }
    assert_eq!(asked_first.load(Ordering::Relaxed) - before.0, 4);
    assert_eq!(asked_second.load(Ordering::Relaxed) - before.1, 4);
}

#[tokio::test]
async fn dead_address_of_a_name_is_passed_over() {
    let (good, _) = serve_hello("ok").await;
    let resolver = Arc::new(Scripted::default());
    resolver.set(Some(&[refusing().await, good]));
    let pool = build_named_without_retries(&resolver);
    let _running = run(&pool);
    for _ in 0..6 {
        assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
    }
    assert_eq!(
        counters(&pool, 0).fail,
        0,
        "the server itself could be reached"
    );
    assert_eq!(counters(&pool, 0).connected, 1);
}

fn build_named_without_retries(resolver: &Arc<Scripted>) -> Arc<BackendPool> {
    let address = ServerAddress::from_host_and_port("backend.test", 8000);
    let mut settings = PoolSettings::new("default", vec![ServerSettings::new(address)]);
    settings.retries_max = 0;
    let resolver = Arc::clone(resolver);
    Arc::new(BackendPool::new(settings, resolver).expect("valid settings"))
}

#[tokio::test]
async fn first_request_waits_for_the_first_look_up() {
    #[derive(Debug)]
    struct Slow(SocketAddr);
    #[async_trait]
    impl Resolve for Slow {
        async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Ok(vec![self.0])
        }
    }
    let (address, _) = serve_hello("ok").await;
    let name = ServerSettings::new(ServerAddress::from_host_and_port("slow.test", 1));
    let settings = PoolSettings::new("default", vec![name]);
    let pool = BackendPool::new(settings, Arc::new(Slow(address))).expect("valid settings");
    let pool = Arc::new(pool);
    let _running = run(&pool);
    assert_eq!(fetch(&pool, "/").await.expect("an answer"), "ok");
}

#[tokio::test]
async fn localhost_is_resolved_by_the_system() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let address = serve(move |_, mut peer| {
        let heads = heads.clone();
        async move {
            heads.send(peer.head().await).expect("a test that waits");
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let name = ServerAddress::from_host_and_port("localhost", address.port());
    let pool = build(vec![ServerSettings::new(name)], |_| {});
    let _running = run(&pool);
    let mut head = get("/");
    head.fields.clear();
    head.authority.clear();
    let mut response = send(&pool, &head, RequestBody::Empty)
        .await
        .expect("an answer");
    assert_eq!(read(&mut response).await.expect("a body"), "ok");
    let head = heard(&mut seen).await.expect("a head");
    assert!(
        head.contains(&format!("\r\nHost: localhost:{}\r\n", address.port())),
        "{head}"
    );
}

#[tokio::test]
async fn look_ups_end_with_the_shutdown() {
    let resolver = Arc::new(Scripted::default());
    let pool = named(&resolver);
    let (shutdown, ending) = watch::channel(false);
    let running = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.run(ending).await }
    });
    eventually("a look-up", || resolver.asked.load(Ordering::Relaxed) > 0).await;
    shutdown.send(true).expect("a running pool");
    tokio::time::timeout(PATIENCE, running)
        .await
        .expect("an end")
        .expect("no panic");
    let asked = resolver.asked.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(resolver.asked.load(Ordering::Relaxed), asked);
}
