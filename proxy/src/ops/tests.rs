use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::bans::BanList;
use crate::metrics::{
    BackendSample, BackendStats, BackendTotals, Counter, Exporter, GaugeReadings, Gauges, Health,
    Metrics,
};

struct NoGauges;

impl Gauges for NoGauges {
    fn read(&self) -> GaugeReadings {
        GaugeReadings::default()
    }
}

#[derive(Default)]
struct Backends(Mutex<Vec<Health>>);

impl BackendStats for Backends {
    fn backends(&self) -> Vec<BackendSample> {
        let healths = self.0.lock();
        let samples = healths
            .iter()
            .enumerate()
            .map(|(number, health)| BackendSample {
                backend: "default".to_owned(),
                server: format!("127.0.0.{number}:80"),
                health: *health,
                ..BackendSample::default()
            });
        samples.collect()
    }

    fn totals(&self) -> BackendTotals {
        BackendTotals::default()
    }
}

struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    backends: Arc<Backends>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(change: impl FnOnce(&mut OpsSettings)) -> Running {
    let mut settings = OpsSettings::new("127.0.0.1:0".parse().unwrap());
    change(&mut settings);
    let server = OpsServer::bind(settings).await.unwrap();
    let address = server.local_addr().unwrap();
    let metrics = Arc::new(Metrics::new());
    let backends = Arc::new(Backends::default());
    let readiness = Arc::new(Readiness::new(backends.clone()));
    let exporter = Arc::new(Exporter::new(
        metrics.clone(),
        Arc::new(BanList::new(NonZeroUsize::MIN)),
        Arc::new(NoGauges),
        backends.clone(),
    ));
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.serve(exporter, readiness.clone(), async move {
        let _ = stopped.await;
    }));
    Running {
        address,
        metrics,
        readiness,
        backends,
        stop,
        task,
    }
}

/// Sends one request and reads to the end: status, head, body.
async fn ask(address: SocketAddr, request_line: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request_line} HTTP/1.1\r\nHost: ops\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .unwrap()
        .unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), body.to_owned())
}

async fn check(running: &Running, request_line: &str, status: u16, body: &str) {
    let answer = ask(running.address, request_line).await;
    assert_eq!(
        (answer.0, answer.2.as_str()),
        (status, body),
        "{request_line}"
    );
}

#[tokio::test]
async fn pages_and_refusals() {
    let running = start(|_| {}).await;
    running.metrics.count(Counter::CacheHits);
    let (status, head, body) = ask(running.address, "GET /metrics").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    assert!(body.contains("\nvarnish_main_cache_hit 1\n"));
    let (status, head, body) = ask(running.address, "HEAD /metrics").await;
    assert_eq!((status, body.as_str()), (200, ""));
    assert!(head.contains("\r\ncontent-length: "), "{head}");
    check(&running, "GET /healthz", 200, "alive\n").await;
    check(&running, "GET /healthz?verbose", 200, "alive\n").await;
    let missing = "no such page: /metrics, /healthz, /readyz, /explain\n";
    check(&running, "GET /", 404, missing).await;
    check(&running, "POST /metricsx", 404, missing).await;
    check(
        &running,
        "POST /explain",
        404,
        "nothing is explained here\n",
    )
    .await;
    let (status, head, _) = ask(running.address, "GET /explain").await;
    assert_eq!(status, 405);
    assert!(head.contains("\r\nallow: post"), "{head}");
    let (status, head, _) = ask(running.address, "POST /metrics").await;
    assert_eq!(status, 405);
    assert!(head.contains("\r\nallow: get, head"), "{head}");
}

#[tokio::test]
async fn readiness_follows_phase_and_backends() {
    let running = start(|_| {}).await;
    let set = |healths: &[Health]| *running.backends.0.lock() = healths.to_vec();
    set(&[Health::Healthy]);
    check(&running, "GET /readyz", 503, "starting\n").await;
    running.readiness.set_phase(Phase::Accepting);
    check(&running, "GET /readyz", 200, "ready\n").await;
    set(&[Health::Unknown]);
    check(&running, "GET /readyz", 200, "ready\n").await;
    set(&[Health::Sick, Health::Unknown]);
    check(&running, "GET /readyz", 200, "ready\n").await;
    set(&[Health::Sick]);
    let one = "backend default (127.0.0.0:80) is sick\n";
    check(&running, "GET /readyz", 503, one).await;
    set(&[Health::Sick, Health::Sick]);
    let all = "all 2 servers of backends are sick, among them default (127.0.0.0:80)\n";
    check(&running, "GET /readyz", 503, all).await;
    set(&[]);
    check(&running, "GET /readyz", 503, "no backend has an address\n").await;
    set(&[Health::Healthy]);
    running.readiness.set_phase(Phase::Draining);
    check(&running, "GET /readyz", 503, "shutting down\n").await;
    check(&running, "GET /healthz", 200, "alive\n").await;
}

#[tokio::test]
async fn slow_heads_and_surplus_connections_cost_nothing_for_long() {
    let running = start(|settings| {
        settings.connections_max = 2;
        settings.head_timeout = Duration::from_millis(200);
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(b"GET /healthz HT").await.unwrap();
        idle.push(stream);
    }
    let began = Instant::now();
    check(&running, "GET /healthz", 200, "alive\n").await;
    assert!(
        began.elapsed() >= Duration::from_millis(100),
        "it had to wait for a slot"
    );
    for mut stream in idle {
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .expect("closed");
    }
}

#[tokio::test]
async fn no_connection_outlives_its_time() {
    let running = start(|settings| settings.connection_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: ops\r\n\r\n")
        .await
        .unwrap();
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    let _ = tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("closed");
    assert!(all.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn oversized_heads_are_refused() {
    let running = start(|_| {}).await;
    let line = format!("GET /{}", "x".repeat(100_000));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let _ = stream
        .write_all(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .await;
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    let _ = tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("closed");
    assert!(
        all.is_empty() || all.starts_with(b"HTTP/1.1 4"),
        "{}",
        String::from_utf8_lossy(&all)
    );
    check(&running, "GET /healthz", 200, "alive\n").await;
}

#[tokio::test]
async fn shutdown_closes_the_port_and_idle_connections() {
    let running = start(|_| {}).await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    check(&running, "GET /healthz", 200, "alive\n").await;
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(3), running.task)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
    let mut rest = Vec::new();
    let read = idle.read_to_end(&mut rest);
    let _ = tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("closed");
}
