//! The numbers on `/metrics` after known traffic, each of them, on real sockets.
//!
//! A table names the traffic and every counter that it moves; a counter that is not named must stand still.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails there"
)]

#[path = "metrics/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use proxy::http::Method;
use support::{Backend, Client, Counts, Front, PATIENCE, eventually, full_name, settings};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// What clients do, on one connection of their own.
enum Traffic {
    /// Requests one after the other, each `METHOD /path`, then lines of fields; the client closes then.
    Talk(&'static [&'static str]),
    /// Bytes that end the connection from our side.
    Bytes(&'static str),
    /// Two clients at once for the same slow path.
    Together(&'static str),
    /// A client that leaves before the backend has answered.
    Leave(&'static str),
    /// An upgraded connection that carries `ping` both ways.
    Pipe,
    /// Requests on an HTTP/2 connection.
    Http2(&'static [&'static str]),
}

use Traffic::{Bytes, Http2, Leave, Pipe, Talk, Together};

/// What one accepted connection adds that its client closes.
const SESSION: &[(&str, u64)] = &[
    ("sessions conn", 1),
    ("sessions_total", 1),
    ("sessions closed", 1),
    ("sc_rem_close", 1),
];

/// A name, traffic, and the counters that it moves.
type Row = (&'static str, Traffic, &'static [(&'static str, u64)]);

const TABLE: &[Row] = &[
    (
        "miss",
        Talk(&["GET /fresh"]),
        &[
            ("client_req", 1),
            ("cache_miss", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
            ("outcome miss", 1),
        ],
    ),
    (
        "hits",
        Talk(&[
            "GET /fresh",
            "HEAD /fresh",
            "GET /fresh\r\nRange: bytes=1-2",
        ]),
        &[("client_req", 3), ("cache_hit", 3), ("outcome hit", 3)],
    ),
    (
        "HEAD of what is not stored",
        Talk(&["HEAD /head"]),
        &[
            ("client_req", 1),
            ("s_pass", 1),
            ("fetch_total", 1),
            ("fetch head", 1),
            ("backend_req", 1),
            ("beresp_uncacheable", 1),
            ("outcome pass", 1),
        ],
    ),
    (
        "stale hit and its background refresh",
        Talk(&["GET /grace", "GET /grace"]),
        &[
            ("client_req", 2),
            ("cache_miss", 1),
            ("cache_hit", 1),
            ("cache_hit_grace", 1),
            ("fetch_total", 2),
            ("s_bgfetch", 1),
            ("fetch chunked", 2),
            ("backend_req", 2),
            ("outcome miss", 1),
            ("outcome stale", 1),
        ],
    ),
    (
        "stale hit that the client has asked for",
        Talk(&[
            "GET /unstable?1",
            "GET /unstable?1\r\nCache-Control: max-stale",
        ]),
        &[
            ("client_req", 2),
            ("cache_miss", 1),
            ("cache_hit", 1),
            ("cache_hit_grace", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
            ("outcome miss", 1),
            ("outcome stale", 1),
        ],
    ),
    (
        "revalidation",
        Talk(&["GET /etag", "GET /etag"]),
        &[
            ("client_req", 2),
            ("cache_miss", 2),
            ("fetch_total", 2),
            ("fetch length", 1),
            ("fetch 304", 1),
            ("backend_req", 2),
            ("outcome miss", 2),
        ],
    ),
    (
        "hit for miss",
        Talk(&["GET /private", "GET /private"]),
        &[
            ("client_req", 2),
            ("cache_miss", 2),
            ("cache_hitmiss", 1),
            ("fetch_total", 2),
            ("fetch length", 2),
            ("backend_req", 2),
            ("beresp_uncacheable", 2),
            ("not_stored no_store", 2),
            ("outcome miss", 1),
            ("outcome hit_for_miss", 1),
        ],
    ),
    (
        "write",
        Talk(&["POST /upload\r\nContent-Length: 4\r\n\r\nbody"]),
        &[
            ("client_req", 1),
            ("s_pass", 1),
            ("fetch_total", 1),
            ("fetch none", 1),
            ("backend_req", 1),
            ("beresp_uncacheable", 1),
            ("invalidations unsafe_method", 1),
            ("invalidations location", 1),
            ("outcome pass", 1),
        ],
    ),
    (
        "upgrade that the backend does not grant",
        Talk(&["GET /plain\r\nConnection: upgrade\r\nUpgrade: echo"]),
        &[
            ("client_req", 1),
            ("s_pass", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
            ("beresp_uncacheable", 1),
            ("outcome pass", 1),
        ],
    ),
    (
        "hit that only the origin can answer",
        Talk(&["GET /fresh\r\nIf-Match: \"other\""]),
        &[
            ("client_req", 1),
            ("cache_hit", 1),
            ("s_pass", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
            ("beresp_uncacheable", 1),
            ("outcome pass", 1),
        ],
    ),
    (
        "pipe",
        Pipe,
        &[
            ("client_req", 1),
            ("s_pipe", 1),
            ("backend_req", 1),
            ("outcome pipe", 1),
            ("sc_tx_pipe", 1),
            ("sc_rem_close", 0),
        ],
    ),
    (
        "synthetic answer",
        Talk(&["GET /nowhere\r\nCache-Control: only-if-cached"]),
        &[("client_req", 1), ("s_synth", 1), ("outcome synth", 1)],
    ),
    (
        "purge",
        Talk(&["PURGE /fresh", "PURGE /fresh"]),
        &[
            ("client_req", 2),
            ("s_synth", 2),
            ("n_purges", 2),
            ("n_obj_purged", 1),
            ("invalidations purge", 2),
            ("outcome purge", 2),
        ],
    ),
    (
        "soft purge",
        Talk(&[
            "GET /soft",
            "PURGE /soft\r\nLacquer-Purge: soft",
            "GET /soft",
        ]),
        &[
            ("client_req", 3),
            ("s_synth", 1),
            ("n_purges", 1),
            ("n_obj_purged", 1),
            ("invalidations soft_purge", 1),
            ("cache_miss", 1),
            ("cache_hit", 1),
            ("cache_hit_grace", 1),
            ("fetch_total", 2),
            ("s_bgfetch", 1),
            ("fetch length", 2),
            ("backend_req", 2),
            ("outcome miss", 1),
            ("outcome purge", 1),
            ("outcome stale", 1),
        ],
    ),
    (
        "purge by surrogate key",
        Talk(&[
            "GET /tagged",
            "PURGE /\r\nSurrogate-Key: one three\r\nLacquer-Purge: soft",
        ]),
        &[
            ("client_req", 2),
            ("s_synth", 1),
            ("invalidations surrogate_key", 2),
            ("cache_miss", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
            ("outcome miss", 1),
            ("outcome purge", 1),
        ],
    ),
    (
        "ban",
        Talk(&[
            "GET /banned",
            "BAN /\r\nLacquer-Ban: req.url == /banned",
            "GET /banned",
        ]),
        &[
            ("client_req", 3),
            ("s_synth", 1),
            ("invalidations ban", 1),
            ("bans_added", 1),
            ("bans_tested", 1),
            ("bans_tests_tested", 1),
            ("bans_obj_killed", 1),
            ("cache_miss", 2),
            ("fetch_total", 2),
            ("fetch length", 2),
            ("backend_req", 2),
            ("outcome miss", 2),
            ("outcome purge", 1),
        ],
    ),
    (
        "bodies of every length",
        Talk(&["GET /none", "GET /204", "GET /chunked", "GET /eof"]),
        &[
            ("client_req", 4),
            ("cache_miss", 4),
            ("fetch_total", 4),
            ("fetch none", 1),
            ("fetch 204", 1),
            ("fetch chunked", 1),
            ("fetch eof", 1),
            ("backend_req", 4),
            ("outcome miss", 4),
        ],
    ),
    (
        "bodies too large to store",
        Talk(&["GET /large", "GET /large-chunked"]),
        &[
            ("client_req", 2),
            ("cache_miss", 2),
            ("fetch_total", 2),
            ("fetch length", 1),
            ("fetch chunked", 1),
            ("backend_req", 2),
            ("beresp_uncacheable", 2),
            ("not_stored too_large", 2),
            ("outcome miss", 2),
        ],
    ),
    (
        "fetches that fail",
        Talk(&["GET /bad", "GET /junk", "GET /many"]),
        &[
            ("client_req", 3),
            ("cache_miss", 3),
            ("fetch_total", 3),
            ("fetch failed", 3),
            ("fetch bad", 1),
            ("losthdr", 1),
            ("backend_req", 3),
            ("outcome error", 3),
        ],
    ),
    (
        "stored answer in place of a failure",
        Talk(&["GET /unstable", "GET /unstable"]),
        &[
            ("client_req", 2),
            ("cache_miss", 2),
            ("fetch_total", 2),
            ("fetch length", 2),
            ("backend_req", 2),
            ("beresp_uncacheable", 1),
            ("not_stored status", 1),
            ("outcome miss", 1),
            ("outcome stale", 1),
        ],
    ),
    (
        "body that breaks off",
        Bytes("GET /short HTTP/1.1\r\nHost: a\r\n\r\n"),
        &[
            ("client_req", 1),
            ("cache_miss", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("fetch failed", 1),
            ("backend_req", 1),
            ("not_stored incomplete", 1),
            ("outcome miss", 1),
            ("sc_tx_error", 1),
            ("sessions closed_err", 1),
            ("sc_rem_close", 0),
        ],
    ),
    (
        "coalescing",
        Together("/slow"),
        &[
            ("client_req", 2),
            ("cache_miss", 1),
            ("cache_hit", 1),
            ("busy_sleep", 1),
            ("busy_wakeup", 1),
            ("lacquer_coalesced_requests_total", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
            ("outcome miss", 2),
        ],
    ),
    (
        "coalescing on an answer that is not for sharing",
        Together("/slow-private"),
        &[
            ("client_req", 2),
            ("cache_miss", 2),
            ("busy_sleep", 1),
            ("busy_wakeup", 1),
            ("fetch_total", 2),
            ("fetch length", 2),
            ("backend_req", 2),
            ("beresp_uncacheable", 2),
            ("not_stored no_store", 2),
            ("outcome miss", 2),
        ],
    ),
    (
        "coalescing on a failure",
        Together("/slow-bad"),
        &[
            ("client_req", 2),
            ("cache_miss", 2),
            ("busy_sleep", 1),
            ("busy_wakeup", 1),
            ("lacquer_coalesced_requests_total", 1),
            ("fetch_total", 1),
            ("fetch failed", 1),
            ("backend_req", 1),
            ("outcome error", 2),
        ],
    ),
    (
        "client that leaves",
        Leave("/slow?left"),
        &[
            ("client_req", 1),
            ("cache_miss", 1),
            ("fetch_total", 1),
            ("fetch length", 1),
            ("backend_req", 1),
        ],
    ),
    (
        "HTTP/2",
        Http2(&["/h2", "/h2", "/private"]),
        &[
            ("client_req", 3),
            ("cache_miss", 2),
            ("cache_hit", 1),
            ("cache_hitmiss", 1),
            ("fetch_total", 2),
            ("fetch length", 2),
            ("backend_req", 2),
            ("beresp_uncacheable", 1),
            ("not_stored no_store", 1),
            // The mark is older than the ban.
            ("bans_tested", 1),
            ("bans_tests_tested", 1),
            ("outcome miss", 1),
            ("outcome hit", 1),
            ("outcome hit_for_miss", 1),
        ],
    ),
    (
        "malformed request",
        Bytes("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        &[
            ("client_req_400", 1),
            ("outcome refused", 1),
            ("sc_rx_bad", 1),
            ("sessions closed_err", 1),
            ("sc_rem_close", 0),
        ],
    ),
    (
        "too many fields",
        Bytes("GET / HTTP/1.1\r\nHost: a\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\nH:\r\nI:\r\n\r\n"),
        &[
            ("losthdr", 1),
            ("outcome refused", 1),
            ("sc_rx_overflow", 1),
            ("sessions closed_err", 1),
            ("sc_rem_close", 0),
        ],
    ),
    (
        "body that is too large",
        Bytes("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000\r\n\r\n"),
        &[
            ("client_req", 1),
            ("s_synth", 1),
            ("outcome synth", 1),
            ("sc_rx_body", 1),
            ("sessions closed_err", 1),
            ("sc_rem_close", 0),
        ],
    ),
    (
        "unknown expectation",
        Bytes("GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n"),
        &[
            ("client_req", 1),
            ("client_req_417", 1),
            ("outcome refused", 1),
            ("sc_rx_bad", 1),
            ("sessions closed_err", 1),
            ("sc_rem_close", 0),
        ],
    ),
];

/// Bytes have a test of their own; which connections to backends are reused hangs on the moment.
fn is_elsewhere(name: &str) -> bool {
    name.ends_with("bytes")
        || name.starts_with("varnish_backend_")
        || [
            "varnish_main_s_pipe_in",
            "varnish_main_s_pipe_out",
            "varnish_main_backend_conn",
            "varnish_main_backend_recycle",
            "varnish_main_backend_reuse",
            "varnish_main_uptime",
        ]
        .contains(&name)
}

const TABLE_SETTINGS: &str = r#"
[cache]
object_bytes_max = "64KiB"
grace = "10s"
[purge]
lurker_interval = "1h"
[limits]
header_count_max = 8
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_counter_moves_as_the_traffic_says() {
    let backend = Backend::start().await;
    let front = Front::start(settings(backend.address, TABLE_SETTINGS)).await;
    let mut before = front.counters(&Counts::default()).await;
    for (name, traffic, moves) in TABLE {
        let sessions = drive(traffic, &front, &backend).await;
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let moves = moves.iter().copied();
        let session = SESSION
            .iter()
            .map(|(name, count)| (*name, count * sessions));
        // What the table says of sessions goes before what is usual.
        for (counter, count) in session.chain(moves) {
            expected.insert(full_name(counter), count);
        }
        expected.retain(|_, count| *count > 0);
        before = settled(&front, &before, &expected, name).await;
    }
    assert_eq!(front.sample("lacquer_client_connections").await, Some(0.0));
    assert_eq!(front.sample("varnish_main_n_pipe").await, Some(0.0));
    // The lurker comes by once an hour here, so the ban is still listed.
    assert_eq!(front.sample("varnish_main_bans").await, Some(1.0));
    front.stop().await;
}

/// Waits until the counters have moved as expected, and a little longer, in which they must not move on.
async fn settled(
    front: &Front,
    before: &Counts,
    expected: &BTreeMap<String, u64>,
    name: &str,
) -> Counts {
    let waiting = timeout(
        Duration::from_secs(5),
        eventually(name, async || {
            let now = front.counters(before).await;
            (now.since(before, is_elsewhere) == *expected).then_some(())
        }),
    );
    let _ = waiting.await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    let now = front.counters(before).await;
    assert_eq!(now.since(before, is_elsewhere), *expected, "{name}");
    now
}

/// Gives the number of connections that it took.
async fn drive(traffic: &Traffic, front: &Front, backend: &Backend) -> u64 {
    match traffic {
        Talk(requests) => {
            let mut client = front.connect().await;
            for request in *requests {
                let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
                let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
                let fields = match fields {
                    "" => String::new(),
                    fields => format!("{fields}\r\n"),
                };
                client
                    .send(format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"))
                    .await;
                let method = match line.starts_with("HEAD") {
                    true => Method::Head,
                    false => Method::Get,
                };
                client.reply(&method).await.expect("a whole reply");
            }
            1
        }
        Bytes(bytes) => {
            let mut client = front.connect().await;
            client.send(bytes).await;
            client.until_closed().await;
            1
        }
        Together(path) => {
            let mut first = front.connect().await;
            first
                .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            backend.arrived.acquire().await.unwrap().forget();
            let mut second = front.connect().await;
            second
                .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            let sleeping = front.control.front();
            let before = sleeping.metrics.get(proxy::metrics::Counter::BusyWakeups);
            eventually("a second client that waits", async || {
                let sleeps = sleeping.metrics.get(proxy::metrics::Counter::BusySleeps);
                (sleeps > before).then_some(())
            })
            .await;
            // As many as might ask; what is left over is taken back.
            backend.gate.add_permits(2);
            first.reply(&Method::Get).await.expect("a whole reply");
            second.reply(&Method::Get).await.expect("a whole reply");
            let left = backend.gate.available_permits();
            backend.gate.forget_permits(left);
            let arrived = backend.arrived.available_permits();
            backend.arrived.forget_permits(arrived);
            2
        }
        Leave(path) => {
            let mut client = front.connect().await;
            client
                .send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            backend.arrived.acquire().await.unwrap().forget();
            // With unread bytes behind it, the end is a reset and not a half-close.
            socket_reset(client);
            eventually("the end of the connection", async || {
                (front.sample("lacquer_client_connections").await == Some(0.0)).then_some(())
            })
            .await;
            backend.gate.add_permits(1);
            1
        }
        Pipe => {
            let mut client = front.connect().await;
            let upgrade =
                "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
            client.send(upgrade).await;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.stream.read_u8().await.unwrap());
            }
            client.send("ping").await;
            let mut pong = [0; 4];
            client.stream.read_exact(&mut pong).await.unwrap();
            assert_eq!(&pong, b"ping");
            1
        }
        Http2(paths) => {
            let stream = tokio::net::TcpStream::connect(front.addresses[0])
                .await
                .unwrap();
            let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            for path in *paths {
                let request = http::Request::get(format!("http://a{path}"))
                    .body(())
                    .unwrap();
                let (response, _) = sender.send_request(request, true).unwrap();
                let response = timeout(PATIENCE, response).await.unwrap().unwrap();
                let mut body = response.into_body();
                while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
                    piece.unwrap();
                }
            }
            drop(sender);
            connection.await.unwrap().unwrap();
            1
        }
    }
}

/// Closes with a reset.
fn socket_reset(client: Client) {
    let stream = client.stream.into_std().unwrap();
    let socket = socket2::Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

/// What a client does after it has sent its bytes.
#[derive(Clone, Copy)]
enum Then {
    Close,
    /// Reads so many replies, then closes.
    Replies(usize),
    /// Reads until we close.
    Wait,
    /// Reads nothing and keeps the connection.
    Stall,
}

const ENDS_SETTINGS: &str = r#"
[timeouts]
header_read = "300ms"
body_read = "300ms"
idle = "400ms"
write = "400ms"
tls_handshake = "300ms"
[limits]
requests_per_connection_max = 3
header_bytes_max = "4KiB"
target_bytes_max = "1KiB"
request_body_bytes_max = "8MiB"
"#;

/// The start of an HTTP/2 connection, with an empty SETTINGS frame (RFC 9113 §3.4).
const HTTP2_START: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_counted_by_why_they_ended() {
    use Then::{Close, Replies, Stall, Wait};
    let backend = Backend::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let more = format!(
        "{ENDS_SETTINGS}\n[[listen]]\naddress = \"127.0.0.1:1\"\n[[listen]]\naddress = \"127.0.0.1:2\"\ntls = true\n\
         [[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}\n"
    );
    let front = Front::start(settings(backend.address, &more)).await;
    let (plain, tls) = (front.addresses[0], front.addresses[1]);
    let get = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n");
    let get10 = |path: &str, more: &str| format!("GET {path} HTTP/1.0\r\nHost: a\r\n{more}\r\n");
    let post = |more: &str| format!("POST /upload HTTP/1.1\r\nHost: a\r\n{more}");
    let three = [get("/a", ""), get("/b", ""), get("/c", "")].concat();
    let many = get("/", &format!("X: {}\r\n", "x".repeat(5000)));
    let long = get(&format!("/{}", "x".repeat(2000)), "");
    let purge = "PURGE / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n";
    let upgrade = get("/echo", "Connection: upgrade\r\nUpgrade: echo\r\n");
    let broken_http2 = format!("{HTTP2_START}\0\0\x01\x06\0\0\0\0\x01x");
    let table: Vec<(&str, _, String, Then, &str, u64)> = vec![
        (
            "nothing asked",
            plain,
            String::new(),
            Close,
            "sc_rem_close",
            0,
        ),
        (
            "half a head",
            plain,
            "GET / HT".into(),
            Close,
            "sc_rem_close",
            0,
        ),
        (
            "kept alive",
            plain,
            get("/a", ""),
            Replies(1),
            "sc_rem_close",
            0,
        ),
        (
            "left in a reply",
            plain,
            get("/huge", ""),
            Close,
            "sc_rem_close",
            0,
        ),
        (
            "asked to close",
            plain,
            get("/a", "Connection: close\r\n"),
            Wait,
            "sc_req_close",
            0,
        ),
        (
            "old client",
            plain,
            get10("/a", ""),
            Wait,
            "sc_req_http10",
            1,
        ),
        (
            "old and close",
            plain,
            get10("/a", "Connection: close\r\n"),
            Wait,
            "sc_req_close",
            0,
        ),
        (
            "old and stays",
            plain,
            get10("/a", "Connection: keep-alive\r\n"),
            Replies(1),
            "sc_rem_close",
            0,
        ),
        (
            "end of body",
            plain,
            get10("/stream", ""),
            Wait,
            "sc_tx_eof",
            0,
        ),
        ("most requests", plain, three, Wait, "sc_resp_close", 0),
        (
            "two hosts",
            plain,
            get("/", "Host: b\r\n"),
            Wait,
            "sc_rx_bad",
            1,
        ),
        (
            "other version",
            plain,
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n".into(),
            Wait,
            "sc_rx_bad",
            1,
        ),
        (
            "TLS on plain",
            plain,
            "\x16\x03\x01\x02\0\x01".into(),
            Wait,
            "sc_rx_junk",
            1,
        ),
        ("large head", plain, many, Wait, "sc_rx_overflow", 1),
        ("long target", plain, long, Wait, "sc_rx_overflow", 1),
        (
            "slow head",
            plain,
            "GET / HT".into(),
            Wait,
            "sc_rx_timeout",
            1,
        ),
        ("idle", plain, String::new(), Wait, "sc_rx_close_idle", 0),
        (
            "idle after one",
            plain,
            get("/a", ""),
            Wait,
            "sc_rx_close_idle",
            0,
        ),
        (
            "bad chunk",
            plain,
            post("Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            Wait,
            "sc_rx_body",
            1,
        ),
        (
            "cut body",
            plain,
            post("Content-Length: 10\r\n\r\nabc"),
            Close,
            "sc_rx_body",
            1,
        ),
        (
            "slow body",
            plain,
            post("Content-Length: 10\r\n\r\nabc"),
            Wait,
            "sc_rx_body",
            1,
        ),
        (
            "large body",
            plain,
            post("Content-Length: 9000000\r\n\r\n"),
            Wait,
            "sc_rx_body",
            1,
        ),
        ("unwanted body", plain, purge.into(), Wait, "sc_rx_body", 1),
        (
            "unread reply",
            plain,
            get("/huge", ""),
            Stall,
            "sc_tx_error",
            1,
        ),
        (
            "broken reply",
            plain,
            get("/short", ""),
            Wait,
            "sc_tx_error",
            1,
        ),
        ("pipe", plain, upgrade, Close, "sc_tx_pipe", 0),
        (
            "HTTP/2 closed",
            plain,
            HTTP2_START.into(),
            Close,
            "sc_rem_close",
            0,
        ),
        (
            "HTTP/2 idle",
            plain,
            HTTP2_START.into(),
            Wait,
            "sc_rx_close_idle",
            0,
        ),
        ("HTTP/2 broken", plain, broken_http2, Wait, "sc_rx_junk", 1),
        ("plain on TLS", tls, get("/a", ""), Wait, "sc_rx_junk", 1),
        (
            "slow handshake",
            tls,
            String::new(),
            Wait,
            "sc_rx_timeout",
            1,
        ),
    ];
    let others = |name: &str| {
        let of_sessions = ["varnish_main_sc_", "varnish_main_sessions"];
        !of_sessions.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut before = front.counters(&Counts::default()).await;
    for (name, address, bytes, then, counter, errors) in table {
        let mut client = Client::connect(address).await;
        client.send(&bytes).await;
        let mut stalled = None;
        match then {
            Close => {
                // Long enough for what was sent to have been looked at.
                tokio::time::sleep(Duration::from_millis(50)).await;
                drop(client);
            }
            Replies(count) => {
                for _ in 0..count {
                    client.reply(&Method::Get).await.expect("a whole reply");
                }
                drop(client);
            }
            Wait => {
                client.until_closed().await;
                drop(client);
            }
            Stall => stalled = Some(client),
        }
        let expected = [
            (counter, 1),
            ("sessions conn", 1),
            ("sessions_total", 1),
            ("sessions closed", 1),
            ("sessions closed_err", errors),
        ];
        let expected = expected.into_iter().filter(|(_, count)| *count > 0);
        let expected: BTreeMap<String, u64> = expected
            .map(|(name, count)| (full_name(name), count))
            .collect();
        let ended = eventually(name, async || {
            let now = front.counters(&before).await;
            let closed = now.since(&before, others);
            closed
                .contains_key("varnish_main_sessions{type=\"closed\"}")
                .then_some((now, closed))
        });
        let (now, moved) = ended.await;
        assert_eq!(moved, expected, "{name}");
        before = now;
        drop(stalled);
    }
    assert_eq!(front.sample("lacquer_client_connections").await, Some(0.0));
    front.stop().await;
}

/// A certificate that nobody trusts, and its key.
fn certificate(folder: &std::path::Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let arguments = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
        -subj /CN=a -addext subjectAltName=DNS:a -days 2 -keyout a.key -out a.pem";
    let output = std::process::Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    (folder.join("a.pem"), folder.join("a.key"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_those_on_the_wire() {
    let backend = Backend::start().await;
    let front = Front::start(settings(backend.address, "")).await;
    let check = async |bytes: String, body: usize| {
        let before = front.counters(&Counts::default()).await;
        let mut client = front.connect().await;
        client.send(&bytes).await;
        let reply = client.reply(&Method::Get).await.expect("a whole reply");
        let expected = [
            ("s_req_hdrbytes", (bytes.len() - body) as u64),
            ("s_req_bodybytes", body as u64),
            ("s_resp_hdrbytes", reply.bytes.0 as u64),
            ("s_resp_bodybytes", reply.bytes.1 as u64),
        ];
        let expected: BTreeMap<String, u64> = expected
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| (full_name(name), count))
            .collect();
        let ignored = |name: &str| !name.starts_with("varnish_main_s_") || !name.ends_with("bytes");
        eventually("the end of the request", async || {
            let now = front.counters(&before).await;
            (now.since(&before, ignored) == expected).then_some(())
        })
        .await;
    };
    check("GET /fresh HTTP/1.1\r\nHost: a\r\n\r\n".into(), 0).await;
    check("GET /fresh HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n".into(), 0).await;
    check(
        "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody".into(),
        4,
    )
    .await;
    // A body that nobody wants is read all the same.
    check(
        "PURGE /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody".into(),
        4,
    )
    .await;
    // Refused requests are bytes too.
    check("GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n".into(), 0).await;
    check("no HTTP\r\n\r\n".into(), 0).await;

    let before = front.counters(&Counts::default()).await;
    let upgrade = "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    drive(&Pipe, &front, &backend).await;
    let piped = [
        ("varnish_main_s_pipe_hdrbytes", upgrade.len() as u64),
        ("varnish_main_s_pipe_in", 4),
        ("varnish_main_s_pipe_out", 4),
    ];
    eventually("the end of the pipe", async || {
        let now = front.counters(&before).await;
        let moved = now.since(&before, |name| !name.starts_with("varnish_main_s_pipe"));
        let is_whole = piped
            .iter()
            .all(|(name, bytes)| moved.get(*name) == Some(bytes));
        (is_whole
            && !now
                .since(&before, |_| false)
                .contains_key("varnish_main_s_req_hdrbytes"))
        .then_some(())
    })
    .await;
    let server = format!("{{backend=\"default\",server=\"{}\"}}", backend.address);
    for (name, value) in [("pipe_in", 4.0), ("pipe_out", 4.0), ("conn", 0.0)] {
        let name = format!("varnish_backend_{name}{server}");
        assert_eq!(front.sample(&name).await, Some(value), "{name}");
    }
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backend_totals_go_on_over_reloads() {
    let (first, second) = (Backend::start().await, Backend::start().await);
    let front = Front::start(settings(first.address, "")).await;
    let of = |address, name: &str| {
        format!("varnish_backend_{name}{{backend=\"default\",server=\"{address}\"}}")
    };
    let mut client = front.connect().await;
    for _ in 0..3 {
        client.get("/private").await;
    }
    let page = front.counters(&Counts::default()).await;
    let main = |name: &str| page.0[&full_name(name)];
    assert_eq!(page.0.get(&of(first.address, "req")), Some(&3));
    assert_eq!(main("backend_req"), 3);
    // Which of the two it was hangs on how soon a connection was free again.
    assert_eq!(main("backend_conn") + main("backend_reuse"), 3);
    assert_eq!(main("backend_recycle"), 3);
    assert_eq!(main("backend_retry"), 0);

    // Requests under way when the pool is replaced go on counting.
    let mut slow = front.connect().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    first.arrived.acquire().await.unwrap().forget();
    front
        .control
        .reload(settings(second.address, ""))
        .expect("a sound pool");
    let page = front.counters(&Counts::default()).await;
    assert_eq!(page.0.get(&full_name("backend_req")), Some(&4));
    assert_eq!(page.0.get(&of(first.address, "req")), None);
    let bytes_before = front.control.front().backends().totals().beresp_bodybytes;
    first.gate.add_permits(1);
    assert_eq!(
        slow.reply(&Method::Get).await.expect("a reply").body,
        "slow"
    );
    let bytes = front.control.front().backends().totals().beresp_bodybytes;
    assert_eq!(bytes - bytes_before, 4);

    front
        .control
        .reload(settings(first.address, ""))
        .expect("a sound pool");
    let page = front.counters(&Counts::default()).await;
    assert_eq!(page.0.get(&of(first.address, "req")), Some(&4));
    assert_eq!(page.0.get(&full_name("backend_req")), Some(&4));
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_not_attempted_are_counted_by_why() {
    let backend = Backend::start().await;
    let check = async |config, status: u16, expected: &[(&str, u64)]| {
        let front = Front::start(config).await;
        let before = front.counters(&Counts::default()).await;
        let mut holder = front.connect().await;
        if status == 503 && expected[0].0 == "backend_busy" {
            holder
                .send("GET /slow-private HTTP/1.1\r\nHost: a\r\n\r\n")
                .await;
            backend.arrived.acquire().await.unwrap().forget();
        }
        let reply = front.connect().await.get("/refused").await;
        assert_eq!(reply.status, status);
        let now = front.counters(&before).await;
        let watched = expected.iter().map(|(name, _)| full_name(name));
        let watched: Vec<String> = watched.collect();
        let moved = now.since(&before, |name| !watched.iter().any(|other| other == name));
        let expected: BTreeMap<String, u64> = expected
            .iter()
            .map(|(name, count)| (full_name(name), *count))
            .collect();
        assert_eq!(moved, expected);
        let key = expected
            .keys()
            .next()
            .unwrap()
            .replace("varnish_main_backend", "varnish_backend");
        let of_server = now
            .0
            .iter()
            .find(|(name, _)| name.starts_with(&format!("{key}{{")));
        assert_eq!(of_server.map(|(_, count)| *count), Some(1), "{key}");
        backend.gate.add_permits(1);
        front.stop().await;
    };
    let busy = settings(
        backend.address,
        "[backend]\nconnections_max = 1\n[server]\ndrain_timeout = \"1s\"\n",
    );
    check(busy, 503, &[("backend_busy", 1), ("fetch failed", 1)]).await;
    // A port that was free a moment ago.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    check(
        settings(address, ""),
        503,
        &[("backend_fail", 1), ("fetch failed", 1)],
    )
    .await;
    let probed = "[backend.probe]\nenabled = true\ninitial = 0\ninterval = \"1h\"\n";
    check(
        settings(address, probed),
        503,
        &[("backend_unhealthy", 1), ("fetch failed", 1)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_follows_probes_and_the_drain() {
    let backend = Backend::start().await;
    let probes = "[backend.probe]\nenabled = true\ninterval = \"50ms\"\npath = \"/plain\"\n\
                  window = 2\nthreshold = 2\ninitial = 2\n";
    let mut front = Front::start(settings(backend.address, probes)).await;
    let becomes = async |front: &Front, status: u16, word: &str| {
        eventually(word, async || {
            let (now, text) = front.page("/readyz").await;
            (now == status && text.contains(word)).then_some(())
        })
        .await;
    };
    becomes(&front, 200, "ready").await;
    let up = format!(
        "varnish_backend_up{{backend=\"default\",server=\"{}\"}}",
        backend.address
    );
    assert_eq!(front.sample(&up).await, Some(1.0));

    // Probes of a path that is refused fail, and with them the only backend.
    let sick = probes.replace("/plain", "/junk");
    front
        .control
        .reload(settings(backend.address, &sick))
        .unwrap();
    becomes(&front, 503, "sick").await;
    assert_eq!(front.sample(&up).await, Some(0.0));
    assert_eq!(front.page("/healthz").await.0, 200);

    front
        .control
        .reload(settings(backend.address, probes))
        .unwrap();
    becomes(&front, 200, "ready").await;

    // One request under way holds the drain; a connection without one ends at once.
    let mut idle = front.connect().await;
    idle.get("/plain").await;
    let mut slow = front.connect().await;
    slow.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    backend.arrived.acquire().await.unwrap().forget();
    drop(front.stop.take());
    becomes(&front, 503, "shutting down").await;
    idle.until_closed().await;
    eventually("the idle connection's end", async || {
        (front.sample("varnish_main_sc_resp_close").await == Some(1.0)).then_some(())
    })
    .await;
    backend.gate.add_permits(1);
    assert_eq!(slow.reply(&Method::Get).await.expect("a reply").status, 200);
    front.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gauges_show_what_is_held() {
    let backend = Backend::start().await;
    let front = Front::start(settings(backend.address, "")).await;
    let mut client = front.connect().await;
    for path in ["/a", "/b", "/private"] {
        client.get(path).await;
    }
    let objects = front.sample("varnish_main_n_object").await;
    assert_eq!(objects, Some(3.0), "two answers and a mark");
    assert_eq!(front.sample("varnish_main_n_objecthead").await, Some(3.0));
    assert_eq!(front.sample("lacquer_client_connections").await, Some(1.0));
    let used = front
        .sample("varnish_sma_g_bytes{type=\"s0\"}")
        .await
        .unwrap();
    let free = front
        .sample("varnish_sma_g_space{type=\"s0\"}")
        .await
        .unwrap();
    assert_eq!(used + free, (256 << 20) as f64);
    let held = front.control.front().store.weight_bytes() as f64;
    assert_eq!(used, held, "the index is counted once");
    client.send("PURGE /a HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.reply(&Method::Get).await.expect("a reply");
    assert_eq!(front.sample("varnish_main_n_object").await, Some(2.0));
    assert_eq!(front.sample("varnish_main_n_objecthead").await, Some(2.0));
    // Seconds, from the monotonic clock: a hit takes less than a millisecond, and not nothing.
    client.get("/b").await;
    let sum = "lacquer_request_duration_seconds_sum{outcome=\"hit\"}";
    let sum = eventually("a hit", async || {
        front.sample(sum).await.filter(|sum| *sum > 0.0)
    })
    .await;
    assert!(sum < 5.0, "{sum}");
    front.stop().await;
}
