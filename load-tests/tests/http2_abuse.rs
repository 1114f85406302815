//! HTTP/2 clients that mean harm, frame by frame. Each attack ends within a bound, costs the process no memory to speak of
//! and the backend few requests; and meanwhile a client on another connection is served.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::time::{Duration, Instant};

use load_tests::backend::Backend;
use load_tests::client::{Connection, Request};
use load_tests::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FrameClient, GOAWAY,
    HEADERS, Heard, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, frame, request,
    string,
};
use load_tests::front::Front;
use load_tests::memory::Memory;
use load_tests::pattern::Pattern;
use load_tests::settings::Settings;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Within which an attack is over.
const SOON: Duration = Duration::from_secs(8);
/// Within which the innocent client has each answer.
const PROMPTLY: Duration = Duration::from_secs(2);
/// By which the process may grow at most: less than each attack would hold if nothing stopped it.
const GROWTH_BYTES_MAX: u64 = 48 << 20;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// Streams of clients have odd numbers.
fn stream(number: u32) -> u32 {
    number * 2 + 1
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, CANCEL.to_be_bytes())
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = END_STREAM | END_HEADERS;
    frame(HEADERS, flags, stream, request("GET", path, &[]))
}

/// A front door under attack, and an innocent client of it.
struct Siege {
    backend: Backend,
    front: Front,
    before: Memory,
    innocent: JoinHandle<()>,
}

impl Siege {
    async fn begin(change: impl FnOnce(&mut Settings)) -> Siege {
        let backend = Backend::start(|mut exchange| async move {
            let target = exchange.seen.head.target.clone();
            let control = match target.starts_with("/cached") {
                true => ("Cache-Control", "max-age=600"),
                false => ("Cache-Control", "no-store"),
            };
            if target.starts_with("/slow") {
                sleep(Duration::from_secs(3)).await;
            }
            let body = match target.starts_with("/cached/large") {
                true => Pattern::new().bytes(2 << 20),
                false => b"body".to_vec(),
            };
            exchange.reply(200, &[control], body).await?;
            Ok(exchange)
        })
        .await;
        let front = Front::start_with(backend.address, change).await;
        front.get("/cached/large").await;
        let address = front.address;
        let innocent = tokio::spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            loop {
                for target in ["/cached/innocent", "/innocent"] {
                    let started = Instant::now();
                    let answer = connection.ask(&Request::get(target)).await.unwrap();
                    let took = started.elapsed();
                    assert!(
                        answer.status() == 200 && took < PROMPTLY,
                        "the innocent client waits {took:?} for {answer:?}"
                    );
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        let before = Memory::of(front.process.pid()).unwrap();
        Siege {
            backend,
            front,
            before,
            innocent,
        }
    }

    async fn attacker(&self) -> FrameClient {
        FrameClient::open(self.front.address, &[]).await.unwrap()
    }

    /// Everything that must hold after an attack, but for its own end.
    async fn end(mut self, asked_max: usize) {
        assert!(self.front.process.ended().is_none(), "it has ended");
        // At least one more round after the attack.
        let rounds = || {
            let seen = self.backend.seen();
            let innocent = seen.iter().filter(|seen| seen.head.target == "/innocent");
            innocent.count()
        };
        let (before, ended) = (rounds(), Instant::now());
        while rounds() < before + 2 && ended.elapsed() < PROMPTLY {
            sleep(Duration::from_millis(10)).await;
        }
        if self.innocent.is_finished() {
            self.innocent.await.expect("the innocent client is served");
            unreachable!("it asks for ever");
        }
        self.innocent.abort();
        assert_eq!(self.front.get("/cached/innocent").await.status(), 200);
        let seen = self.backend.seen();
        let innocent = seen.iter().filter(|seen| seen.head.target == "/innocent");
        assert!(innocent.count() > 1, "the innocent client was not served");
        let asked = seen
            .iter()
            .filter(|seen| seen.head.target.contains("/attack"))
            .count();
        assert!(asked <= asked_max, "the backend was asked {asked} times");
        let after = Memory::of(self.front.process.pid()).unwrap();
        let growth = after.peak_bytes.saturating_sub(self.before.resident_bytes);
        assert!(growth <= GROWTH_BYTES_MAX, "it grew by {growth} bytes");
    }
}

/// The connection was ended with this reason, or cut while the client still wrote.
async fn is_calmed(client: &FrameClient) {
    let ended = client.hears(SOON, |heard| heard.is_closed).await;
    let Heard { frames, goaway, .. } = client.heard();
    assert!(ended, "the connection goes on after {frames:?}");
    assert!(
        matches!(goaway, Some(ENHANCE_YOUR_CALM) | None),
        "ended with {goaway:?} after {frames:?}"
    );
}

#[tokio::test]
async fn a_burst_of_resets_ends_the_connection() {
    let siege = Siege::begin(|_| {}).await;
    let mut client = siege.attacker().await;
    for number in 0..20_000 {
        let stream = stream(number);
        let pair = [get(stream, &format!("/attack/{number}")), reset(stream)].concat();
        if client.send(&pair).await.is_err() {
            break;
        }
    }
    is_calmed(&client).await;
    siege.end(400).await;
}

#[tokio::test]
async fn resets_at_leisure_end_the_connection_as_well() {
    let siege = Siege::begin(|_| {}).await;
    let mut client = siege.attacker().await;
    let mut sent = 0;
    for number in 0..1000 {
        let stream = stream(number);
        let path = format!("/slow/attack/{number}");
        if client.send(&get(stream, &path)).await.is_err() {
            break;
        }
        // Long enough for the request to be taken up, and the backend to be asked.
        sleep(Duration::from_millis(4)).await;
        if client.send(&reset(stream)).await.is_err() {
            break;
        }
        sent += 1;
        if client.heard().goaway.is_some() {
            break;
        }
    }
    is_calmed(&client).await;
    assert!((100..400).contains(&sent), "ended after {sent} resets");
    siege.end(400).await;
}

#[tokio::test]
async fn a_client_that_waits_for_most_answers_may_reset_some() {
    let siege = Siege::begin(|_| {}).await;
    let mut client = siege.attacker().await;
    let mut finished = 0;
    for number in 0..600 {
        let stream = stream(number);
        if number % 3 == 0 {
            client.get(stream, "/slow/attack").await.unwrap();
            sleep(Duration::from_millis(2)).await;
            client.send(&reset(stream)).await.unwrap();
        } else {
            client.get(stream, "/cached/innocent").await.unwrap();
            finished += 1;
            let done = client
                .hears(SOON, |heard| heard.finished.len() >= finished)
                .await;
            assert!(done, "{:?}", client.heard());
        }
    }
    assert_eq!(
        (client.heard().goaway, client.heard().is_closed),
        (None, false)
    );
    siege.end(200).await;
}

#[tokio::test]
async fn the_limit_of_resets_is_a_setting() {
    let siege = Siege::begin(|settings| {
        settings.set("limits.http2_resets_max", "5");
    })
    .await;
    let mut client = siege.attacker().await;
    for number in 0..10 {
        if client.get(stream(number), "/slow/attack").await.is_err() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        if client.send(&reset(stream(number))).await.is_err() {
            break;
        }
    }
    is_calmed(&client).await;
    siege.end(10).await;
}

#[tokio::test]
async fn errors_that_make_us_reset_end_the_connection() {
    // The other limit would hold as well.
    let siege = Siege::begin(|settings| {
        settings.set("limits.http2_resets_max", "100000");
    })
    .await;
    // Each ends its stream, and only that (RFC 9113 §5.4.2), after the request has been taken up.
    let errors: [fn(u32) -> Vec<u8>; 3] = [
        |stream| frame(WINDOW_UPDATE, 0, stream, 0_u32.to_be_bytes()),
        |stream| frame(WINDOW_UPDATE, 0, stream, 0x7fff_ffff_u32.to_be_bytes()),
        |stream| frame(DATA, 0, stream, b"behind the end"),
    ];
    for error in errors {
        let mut client = siege.attacker().await;
        for number in 0..2000 {
            let stream = stream(number);
            let path = format!("/slow/attack/{number}");
            let both = [get(stream, &path), error(stream)].concat();
            if client.send(&both).await.is_err() || client.heard().is_closed {
                break;
            }
            if number % 20 == 0 {
                sleep(Duration::from_millis(2)).await;
            }
        }
        let ended = client.hears(SOON, |heard| heard.is_closed).await;
        assert!(ended, "{:?}", client.heard().frames);
    }
    siege.end(3 * 300).await;
}

#[tokio::test]
async fn endless_header_blocks_end_the_connection() {
    let siege = Siege::begin(|_| {}).await;
    let fragments: [&[u8]; 3] = [
        &block(&[(b"x-a", &[b'v'; 16_000])]),
        &block(&[(b"x-a", b"v")]),
        b"",
    ];
    for fragment in fragments {
        let mut client = siege.attacker().await;
        let open = frame(HEADERS, END_STREAM, 1, request("GET", "/attack", &[]));
        client.send(&open).await.unwrap();
        for _ in 0..20_000 {
            let more = frame(CONTINUATION, 0, 1, fragment);
            if client.send(&more).await.is_err() || client.heard().is_closed {
                break;
            }
        }
        is_calmed(&client).await;
    }
    siege.end(0).await;
}

#[tokio::test]
async fn a_header_block_without_an_end_is_not_waited_for() {
    let siege = Siege::begin(|settings| {
        settings.set_text("timeouts.idle", "1s");
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = siege.attacker().await;
        let open = frame(HEADERS, END_STREAM, 1, request("GET", "/attack", &[]));
        client.send(&open).await.unwrap();
        clients.push(client);
    }
    for client in &clients {
        assert!(client.hears(SOON, |heard| heard.is_closed).await);
    }
    siege.end(0).await;
}

#[tokio::test]
async fn windows_that_stay_shut_are_not_waited_for() {
    let siege = Siege::begin(|settings| {
        settings.set_text("timeouts.write", "1s");
    })
    .await;
    let shut = [(INITIAL_WINDOW_SIZE, 0)];
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = FrameClient::open(siege.front.address, &shut).await.unwrap();
        for number in 0..100 {
            client.get(stream(number), "/cached/large").await.unwrap();
        }
        clients.push(client);
    }
    for client in &clients {
        let ended = client.hears(SOON, |heard| heard.resets.len() == 100).await;
        assert!(ended, "{:?}", client.heard().frames);
    }
    siege.end(0).await;
}

#[tokio::test]
async fn windows_that_open_by_a_byte_do_not_hold_streams() {
    let siege = Siege::begin(|settings| {
        settings.set_text("timeouts.write", "1s");
    })
    .await;
    let shut = [(INITIAL_WINDOW_SIZE, 0)];
    let mut client = FrameClient::open(siege.front.address, &shut).await.unwrap();
    for number in 0..50 {
        client.get(stream(number), "/cached/large").await.unwrap();
    }
    let started = Instant::now();
    while client.heard().resets.len() < 50 && started.elapsed() < SOON {
        for number in 0..50 {
            // Those of a stream that is gone are ignored (RFC 9113 §5.1).
            let byte = frame(WINDOW_UPDATE, 0, stream(number), 1_u32.to_be_bytes());
            client.send(&byte).await.unwrap();
        }
        sleep(Duration::from_millis(100)).await;
    }
    let heard = client.heard();
    assert!(
        heard.resets.len() == 50 && heard.count(DATA) >= 50,
        "{} resets, {:?}",
        heard.resets.len(),
        heard.frames
    );
    // Whoever takes more, however slowly, is served to the end.
    let mut slow = FrameClient::open(siege.front.address, &[(INITIAL_WINDOW_SIZE, 0)])
        .await
        .unwrap();
    slow.get(1, "/cached/large").await.unwrap();
    for _ in 0..12 {
        let some = frame(WINDOW_UPDATE, 0, 1, 2048_u32.to_be_bytes());
        slow.send(&some).await.unwrap();
        sleep(Duration::from_millis(250)).await;
    }
    assert!(slow.heard().resets.is_empty(), "{:?}", slow.heard());
    let rest = 4_u32 << 20;
    let open = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, rest.to_be_bytes()));
    slow.send(&open.concat()).await.unwrap();
    assert!(slow.hears(SOON, |heard| heard.finished == [1]).await);
    siege.end(0).await;
}

#[tokio::test]
async fn floods_of_control_frames_end_the_connection() {
    let siege = Siege::begin(|_| {}).await;
    let floods = [
        ("PING", frame(PING, 0, 0, [7; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, b"")),
        (
            "SETTINGS that say something",
            frame(SETTINGS, 0, 0, [0, 4, 0, 0, 1, 0]),
        ),
        ("acknowledgements of PING", frame(PING, 1, 0, [7; 8])),
        ("PRIORITY", frame(PRIORITY, 0, 9, [0, 0, 0, 0, 1])),
        ("unknown frames", frame(0xfa, 0, 0, b"?")),
    ];
    for (what, flood) in floods {
        let mut client = siege.attacker().await;
        // A stream under way keeps no connection open.
        client.get(1, "/slow/attack").await.unwrap();
        let burst = flood.repeat(100);
        let mut bursts = 0;
        while bursts < 500 && client.send(&burst).await.is_ok() {
            bursts += 1;
        }
        let ended = client.hears(SOON, |heard| heard.is_closed).await;
        let heard = client.heard();
        assert!(ended, "{what}: the connection goes on, {:?}", heard.frames);
        assert!(
            matches!(heard.goaway, Some(ENHANCE_YOUR_CALM) | None),
            "{what}: {:?}",
            heard.goaway
        );
        assert!(heard.count(PING) <= 1500, "{what}: {:?}", heard.frames);
    }
    siege.end(6).await;
}

#[tokio::test]
async fn a_few_control_frames_are_answered() {
    let siege = Siege::begin(|settings| {
        settings.set("limits.http2_control_frames_max", "50");
    })
    .await;
    let mut client = siege.attacker().await;
    client
        .send(&frame(PING, 0, 0, [7; 8]).repeat(40))
        .await
        .unwrap();
    assert!(client.hears(SOON, |heard| heard.count(PING) == 40).await);
    assert_eq!(client.heard().count(GOAWAY), 0);
    client
        .send(&frame(PING, 0, 0, [7; 8]).repeat(40))
        .await
        .unwrap();
    is_calmed(&client).await;
    siege.end(0).await;
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let siege = Siege::begin(|_| {}).await;
    // One large entry in the table, then a byte for each time it is meant (RFC 7541 §6.1).
    let mut bomb = request("GET", "/attack", &[]);
    bomb.push(0x40);
    string(&mut bomb, b"x-bomb");
    string(&mut bomb, &[b'v'; 3500]);
    bomb.extend([0xbe; 12_000]);
    let crumbs: Vec<(&[u8], &[u8])> = vec![(b"cookie", b"a=b"); 1400];
    let names: Vec<String> = (0..1000).map(|number| format!("x{number}")).collect();
    let many: Vec<(&[u8], &[u8])> = names
        .iter()
        .map(|name| (name.as_bytes(), &b""[..]))
        .collect();
    let blocks = [
        ("a bomb", bomb),
        ("crumbs", request("GET", "/attack", &crumbs)),
        ("many fields", request("GET", "/attack", &many)),
        (
            "a large field",
            request("GET", "/attack", &[(b"x", &[b'v'; 50_000])]),
        ),
    ];
    for (what, block) in blocks {
        let mut client = siege.attacker().await;
        for number in 0..200 {
            let mut pieces = block.chunks(16_000).peekable();
            let mut bytes = Vec::new();
            let mut kind = HEADERS;
            while let Some(piece) = pieces.next() {
                let end = if pieces.peek().is_none() {
                    END_HEADERS
                } else {
                    0
                };
                let flags = end | if kind == HEADERS { END_STREAM } else { 0 };
                bytes.extend(frame(kind, flags, stream(number), piece));
                kind = CONTINUATION;
            }
            if client.send(&bytes).await.is_err() || client.heard().is_closed {
                break;
            }
        }
        let refused =
            |heard: &Heard| heard.is_closed || heard.finished.len() + heard.resets.len() >= 200;
        assert!(
            client.hears(SOON, refused).await,
            "{what}: {:?}",
            client.heard().frames
        );
    }
    siege.end(0).await;
}

#[tokio::test]
async fn floods_of_empty_and_tiny_data_end_the_connection() {
    let siege = Siege::begin(|_| {}).await;
    for payload in [&b""[..], b"x"] {
        let mut client = siege.attacker().await;
        let open = frame(HEADERS, END_HEADERS, 1, request("POST", "/attack", &[]));
        client.send(&open).await.unwrap();
        let burst = frame(DATA, 0, 1, payload).repeat(50);
        let mut bursts = 0;
        while bursts < 2000 && client.send(&burst).await.is_ok() && !client.heard().is_closed {
            bursts += 1;
        }
        match payload {
            b"" => is_calmed(&client).await,
            // Bytes that the backend takes are a body like any other; the window bounds what waits.
            _ => assert!(
                client
                    .hears(SOON, |heard| heard.count(WINDOW_UPDATE) > 0
                        || heard.is_closed)
                    .await
            ),
        }
    }
    siege.end(2).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    let siege = Siege::begin(|_| {}).await;
    let mut client = siege.attacker().await;
    for number in 0..1000 {
        let path = format!("/slow/attack/{number}");
        if client.get(stream(number), &path).await.is_err() {
            break;
        }
    }
    let refused = |heard: &Heard| heard.is_closed || heard.resets.len() >= 800;
    assert!(
        client.hears(SOON, refused).await,
        "{:?}",
        client.heard().frames
    );
    siege.end(110).await;
}
