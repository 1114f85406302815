//! Bodies of 1 GiB through each way of the front door: its memory stays within 100 MiB of what it was at the start,
//! and every byte arrives.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use load_tests::backend::{Backend, Exchange};
use load_tests::client::{Connection, Request};
use load_tests::front::Front;
use load_tests::memory::Memory;
use load_tests::pattern::Pattern;
use tokio::time::sleep;

const GIBIBYTE: u64 = 1 << 30;
const GROWTH_BYTES_MAX: u64 = 100 << 20;
/// Of the tests that fill it.
const STORE_SIZE: &str = "64MiB";
const STORE_BYTES: u64 = 64 << 20;
const PIECE_BYTES: usize = 256 << 10;

/// Sends `/chunked/SIZE` in chunks and `/length/SIZE` with its length; takes uploads of the pattern to `/upload`.
async fn backend() -> Backend {
    Backend::start_at_heads(|mut exchange| async move {
        let target = exchange.seen.head.target.clone();
        let fields = if target.contains("private") {
            [("Cache-Control", "private")]
        } else {
            [("Cache-Control", "max-age=60")]
        };
        let mut parts = target.split('/').skip(1);
        match (
            parts.next(),
            parts.next().and_then(|size| size.parse::<u64>().ok()),
        ) {
            (Some("upload"), _) => {
                let mut content = Pattern::new();
                while let Some(piece) = exchange.read_piece().await? {
                    content.check(&piece)?;
                }
                exchange
                    .reply(200, &[], content.position().to_string())
                    .await?;
            }
            (Some("chunked"), Some(size)) => {
                exchange
                    .write_head(200, &[fields[0], ("Transfer-Encoding", "chunked")])
                    .await?;
                send(&mut exchange, size, true).await?;
                exchange.write_chunk(b"").await?;
            }
            (Some("length"), Some(size)) => {
                exchange
                    .write_head(200, &[fields[0], ("Content-Length", &size.to_string())])
                    .await?;
                send(&mut exchange, size, false).await?;
            }
            _ => exchange.reply(200, &fields, "small").await?,
        }
        Ok(exchange)
    })
    .await
}

async fn send(exchange: &mut Exchange, size: u64, chunked: bool) -> Result<()> {
    let mut content = Pattern::new();
    while content.position() < size {
        let most = usize::try_from(size - content.position())
            .unwrap_or(usize::MAX)
            .min(PIECE_BYTES);
        let piece = content.next(most);
        if chunked {
            exchange.write_chunk(&piece).await?
        } else {
            exchange.write(&piece).await?
        }
    }
    Ok(())
}

async fn download(front: &Front, target: &str) -> Result<u64> {
    download_from(front.address, target).await
}

async fn download_from(address: SocketAddr, target: &str) -> Result<u64> {
    let mut connection = Connection::open(address).await?;
    connection.send(&Request::get(target)).await?;
    let head = connection.receive_head("GET").await?;
    ensure!(head.status == 200, "{head:?}");
    let mut content = Pattern::new();
    while let Some(piece) = connection.receive_piece().await? {
        content.check(&piece)?;
    }
    Ok(content.position())
}

async fn upload(front: &Front, size: u64, chunked: bool) -> Result<String> {
    let mut connection = Connection::open(front.address).await?;
    let framing = if chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {size}")
    };
    connection
        .send_raw(
            format!("PUT /upload HTTP/1.1\r\nHost: lacquer.test\r\n{framing}\r\n\r\n").as_bytes(),
        )
        .await?;
    let mut content = Pattern::new();
    while content.position() < size {
        let most = usize::try_from(size - content.position())
            .unwrap_or(usize::MAX)
            .min(PIECE_BYTES);
        let piece = content.next(most);
        if chunked {
            connection.send_chunk(&piece).await?
        } else {
            connection.send_raw(&piece).await?
        }
    }
    if chunked {
        connection.send_chunk(b"").await?;
    }
    let answer = connection.receive("PUT").await?;
    ensure!(answer.status() == 200, "{answer:?}");
    Ok(answer.text())
}

/// The memory of a front door that has served something small.
async fn at_rest(front: &Front) -> Memory {
    for target in ["/small", "/small", "/small/private"] {
        assert_eq!(front.get(target).await.text(), "small");
    }
    Memory::of(front.process.pid()).unwrap()
}

fn assert_within_store(front: &Front, before: Memory) {
    let after = Memory::of(front.process.pid()).unwrap();
    let growth = after.peak_bytes.saturating_sub(before.resident_bytes);
    eprintln!("{} MiB for a store of {STORE_SIZE}", growth >> 20);
    assert!(
        growth <= STORE_BYTES + GROWTH_BYTES_MAX,
        "{} MiB for a store of {STORE_SIZE}",
        growth >> 20
    );
}

fn assert_bounded(front: &Front, before: Memory, what: &str) {
    let after = Memory::of(front.process.pid()).unwrap();
    let growth = after.peak_bytes.saturating_sub(before.resident_bytes);
    eprintln!(
        "{what}: {} MiB at rest, {} MiB at most, {} MiB now",
        before.resident_bytes >> 20,
        after.peak_bytes >> 20,
        after.resident_bytes >> 20
    );
    assert!(
        growth < GROWTH_BYTES_MAX,
        "{what} grew the process by {} MiB: {before:?} {after:?}",
        growth >> 20
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_of_unknown_length_misses_in_bounded_memory() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let before = at_rest(&front).await;
    let target = format!("/chunked/{GIBIBYTE}");
    assert_eq!(download(&front, &target).await.unwrap(), GIBIBYTE);
    assert_bounded(&front, before, "a miss of unknown length");
    assert_eq!(backend.count(&target), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_above_the_object_limit_passes_in_bounded_memory() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let before = at_rest(&front).await;
    let target = format!("/length/{GIBIBYTE}");
    assert_eq!(download(&front, &target).await.unwrap(), GIBIBYTE);
    assert_bounded(&front, before, "an answer above the object limit");
    // It is not kept.
    let mut again = Connection::open(front.address).await.unwrap();
    again.send(&Request::get(&target)).await.unwrap();
    let head = again.receive_head("GET").await.unwrap();
    assert_eq!(head.fields.get("X-Cache"), Some("MISS"));
    assert_eq!(backend.count(&target), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_gibibyte_passes_in_bounded_memory() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let before = at_rest(&front).await;
    assert_eq!(
        download(&front, &format!("/length/{GIBIBYTE}/private"))
            .await
            .unwrap(),
        GIBIBYTE
    );
    assert_bounded(&front, before, "a pass");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_a_gibibyte_passes_in_bounded_memory() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let before = at_rest(&front).await;
    assert_eq!(
        upload(&front, GIBIBYTE, false).await.unwrap(),
        GIBIBYTE.to_string()
    );
    assert_bounded(&front, before, "an upload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_in_chunks_passes_in_bounded_memory() {
    const SIZE: u64 = GIBIBYTE / 4;
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let before = at_rest(&front).await;
    assert_eq!(upload(&front, SIZE, true).await.unwrap(), SIZE.to_string());
    assert_bounded(&front, before, "an upload in chunks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_do_not_read_stop_their_backend() {
    const CLIENTS: u64 = 40;
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let before = at_rest(&front).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut connection = Connection::open_narrow(front.address).await.unwrap();
        // Half of them unshareable, half too large to keep.
        let target = if number % 2 == 0 {
            format!("/length/{GIBIBYTE}/private")
        } else {
            format!("/length/{GIBIBYTE}/{number}")
        };
        connection.send(&Request::get(&target)).await.unwrap();
        assert_eq!(connection.receive_head("GET").await.unwrap().status, 200);
        clients.push(connection);
    }
    // Until nothing moves any more.
    let (mut sent, mut since) = (backend.sent_bytes(), Instant::now());
    let deadline = Instant::now() + Duration::from_secs(30);
    while since.elapsed() < Duration::from_secs(2) {
        sleep(Duration::from_millis(100)).await;
        if backend.sent_bytes() != sent {
            (sent, since) = (backend.sent_bytes(), Instant::now());
        }
        assert!(
            Instant::now() < deadline,
            "the backend does not stop: {} MiB",
            sent >> 20
        );
    }
    // Kernels hold some megabytes for each connection, the front door a bounded part.
    assert!(
        sent / CLIENTS < 16 << 20,
        "{} MiB for each client that does not read",
        (sent / CLIENTS) >> 20
    );
    assert_bounded(&front, before, "40 clients that do not read");
    // And what they then read is right.
    let mut content = Pattern::new();
    while content.position() < 32 << 20 {
        content
            .check(&clients[0].receive_piece().await.unwrap().unwrap())
            .unwrap();
    }
    // Others are served meanwhile.
    assert!(front.get("/small").await.is_hit());
    drop(clients);
    let quiet = Instant::now() + Duration::from_secs(10);
    while backend.problems().len() < CLIENTS as usize {
        assert!(
            Instant::now() < quiet,
            "{} of {CLIENTS} fetches ended with their clients",
            backend.problems().len()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_does_not_read_stops_the_upload() {
    let backend = Backend::start_at_heads(|exchange| async move {
        // Takes the head and nothing else, for as long as the test lasts.
        sleep(Duration::from_secs(60)).await;
        Ok(exchange)
    })
    .await;
    let front = Front::start(backend.address).await;
    let before = Memory::of(front.process.pid()).unwrap();
    let mut connection = Connection::open(front.address)
        .await
        .unwrap()
        .patient(Duration::from_secs(2));
    connection
        .send_raw(
            format!(
                "PUT /upload HTTP/1.1\r\nHost: lacquer.test\r\nContent-Length: {GIBIBYTE}\r\n\r\n"
            )
            .as_bytes(),
        )
        .await
        .unwrap();
    let (mut content, mut taken) = (Pattern::new(), 0_u64);
    while connection
        .send_raw(&content.next(PIECE_BYTES))
        .await
        .is_ok()
    {
        taken += PIECE_BYTES as u64;
        assert!(taken < 64 << 20, "the front door takes what it cannot give");
    }
    assert_bounded(&front, before, "an upload that nobody takes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_arrive_at_once_share_the_size_of_the_store() {
    const BODY_BYTES: u64 = 48 << 20;
    const CLIENTS: usize = 12;
    let backend = backend().await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.memory", STORE_SIZE);
    })
    .await;
    let before = at_rest(&front).await;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let address = front.address;
        // None of them is larger than the store; together they are nine times its size.
        let target = format!("/chunked/{BODY_BYTES}/{number}");
        clients.spawn(async move { download_from(address, &target).await });
    }
    for read in clients.join_all().await {
        assert_eq!(read.unwrap(), BODY_BYTES);
    }
    assert_within_store(&front, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_stays_within_its_size() {
    const OBJECT_BYTES: u64 = 1 << 20;
    let backend = backend().await;
    let front = Front::start_with(backend.address, |settings| {
        settings.set_text("cache.memory", STORE_SIZE);
    })
    .await;
    let before = at_rest(&front).await;
    for number in 0..400 {
        assert_eq!(
            download(&front, &format!("/length/{OBJECT_BYTES}/{number}"))
                .await
                .unwrap(),
            OBJECT_BYTES
        );
    }
    assert_within_store(&front, before);
    let scrape = front.scrape().await.unwrap();
    let stored = scrape.sum("varnish_sma_g_bytes");
    assert!(
        stored > (16 << 20) as f64 && stored <= STORE_BYTES as f64,
        "{stored} bytes stored"
    );
    assert!(scrape.sum("varnish_main_n_lru_nuked") >= 300.0);
}
