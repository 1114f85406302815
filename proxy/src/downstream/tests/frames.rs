//! HTTP/2 frame by frame over a socket: what each type may be, and what ends when it is something else.

mod hostile;

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::{DownstreamSettings, End, Http2Settings};
use super::support::{PATIENCE, Server, start};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WITH_PRIORITY: u8 = 0x20;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SENTINEL: &[u8; 8] = b"sentinel";

const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

fn number(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn setting(name: u8, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, [&[0, name][..], &number(value)].concat())
}

/// Literals without a table, of short names.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, u8::try_from(name.len()).unwrap()]);
        block.extend_from_slice(name.as_bytes());
        let mut length = value.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap());
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            block.push(u8::try_from(length).unwrap());
        }
        block.extend_from_slice(value.as_bytes());
    }
    block
}

fn head(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let start = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", path),
    ];
    block(&[&start[..], more].concat())
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    let flags = END_STREAM | END_HEADERS;
    frame(HEADERS, flags, stream, head("GET", path, &[]))
}

/// A request whose body is still to come, and whose handler waits for the client to leave.
fn wait(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, head("POST", "/wait", more))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

struct Raw {
    stream: TcpStream,
}

impl Raw {
    async fn open(server: &Server) -> Raw {
        Raw::over(TcpStream::connect(server.addr).await.unwrap()).await
    }

    async fn over(stream: TcpStream) -> Raw {
        let mut raw = Raw { stream };
        raw.send([PREFACE, &frame(SETTINGS, 0, 0, [])].concat())
            .await;
        raw
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // It may be closed by what came before.
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next frame; `None` at the end.
    async fn frame(&mut self) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind,
                flags,
                stream: u32::from_be_bytes(stream),
                payload,
            })
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a frame in time")
    }

    /// All frames up to the one for which this is so.
    async fn until(&mut self, is_it: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            let is_last = is_it(&frame);
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
        panic!("the connection ended behind {frames:?}");
    }

    /// All frames up to the answer to a PING, or to GOAWAY.
    async fn answer(&mut self) -> Vec<Frame> {
        self.send(frame(PING, 0, 0, SENTINEL)).await;
        self.until(|frame| frame.kind == GOAWAY || frame.kind == PING && frame.payload == SENTINEL)
            .await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The connection ends for this reason.
    Ends(u32),
    /// This stream does, and no other.
    Resets(u32, u32),
    /// Nothing does.
    GoesOn,
}

use Outcome::{Ends, GoesOn, Resets};

async fn check(server: &mut Server, what: &str, bytes: &[u8], expected: Outcome) {
    let mut raw = Raw::open(server).await;
    raw.send(bytes).await;
    let frames = raw.answer().await;
    let last = frames.last().unwrap();
    let resets: Vec<(u32, u32)> = frames
        .iter()
        .filter(|frame| frame.kind == RST_STREAM)
        .map(|frame| (frame.stream, frame.number(0)))
        .collect();
    let found = match (last.kind, &resets[..]) {
        (GOAWAY, _) => {
            assert_eq!(raw.frame().await, None, "{what}: nothing follows GOAWAY");
            Ends(last.number(4))
        }
        (_, []) => GoesOn,
        (_, [(stream, code)]) => Resets(*stream, *code),
        (_, resets) => panic!("{what}: {resets:?}"),
    };
    assert_eq!(found, expected, "{what}");
    if found == GoesOn || matches!(found, Resets(..)) {
        // And it serves.
        raw.send(get(1001, "/hello")).await;
        let is_end = |frame: &Frame| frame.stream == 1001 && frame.flags & END_STREAM != 0;
        assert_eq!(raw.until(is_end).await.last().unwrap().payload, b"hello");
    }
    drop(raw);
    while server.event().await != "connection ended" {}
    let end = match found {
        Ends(_) => End::Http2Violated,
        Resets(..) | GoesOn => End::ByClient,
    };
    assert_eq!(*server.handler.last_end.lock(), Some(end), "{what}");
}

fn settings() -> DownstreamSettings {
    DownstreamSettings {
        linger_timeout: Duration::from_millis(100),
        http2: Http2Settings {
            concurrent_streams_max: 4,
            ..Http2Settings::default()
        },
        ..DownstreamSettings::default()
    }
}

#[tokio::test]
async fn frames_that_break_the_connections_rules_end_it() {
    let mut server = start(settings()).await;
    let open = wait(1, &[]);
    let begun = frame(HEADERS, 0, 1, head("GET", "/hello", &[]));
    let on_top = |before: &[u8], more: Vec<u8>| [before, &more].concat();
    let largest = number((1 << 31) - 1);
    let cases: &[(&str, Vec<u8>, u32)] = &[
        ("DATA of no stream", frame(DATA, 0, 0, "x"), PROTOCOL_ERROR),
        (
            "DATA of an idle stream",
            frame(DATA, 0, 1, "x"),
            PROTOCOL_ERROR,
        ),
        (
            "DATA of a server's stream",
            on_top(&get(3, "/hello"), frame(DATA, 0, 2, "x")),
            PROTOCOL_ERROR,
        ),
        (
            "more padding than DATA",
            on_top(&open, frame(DATA, PADDED, 1, [3, 0, 0])),
            PROTOCOL_ERROR,
        ),
        (
            "HEADERS of no stream",
            frame(HEADERS, 5, 0, head("GET", "/", &[])),
            PROTOCOL_ERROR,
        ),
        (
            "HEADERS of a server's stream",
            get(2, "/hello"),
            PROTOCOL_ERROR,
        ),
        (
            "HEADERS of a stream passed over",
            on_top(&get(5, "/hello"), get(3, "/hello")),
            STREAM_CLOSED,
        ),
        (
            "HEADERS of a stream that ended",
            on_top(&get(1, "/hello"), get(1, "/hello")),
            STREAM_CLOSED,
        ),
        (
            "HEADERS with less than a priority",
            frame(HEADERS, WITH_PRIORITY, 1, "1234"),
            FRAME_SIZE_ERROR,
        ),
        (
            "a block that is none",
            frame(HEADERS, 5, 1, [0x80]),
            COMPRESSION_ERROR,
        ),
        (
            "a block that ends early",
            frame(HEADERS, 5, 1, [0x40, 5, b'x']),
            COMPRESSION_ERROR,
        ),
        (
            "PING within a block",
            on_top(&begun, frame(PING, 0, 0, SENTINEL)),
            PROTOCOL_ERROR,
        ),
        (
            "an unknown frame within a block",
            on_top(&begun, frame(0xfa, 0, 1, "")),
            PROTOCOL_ERROR,
        ),
        (
            "HEADERS within a block",
            on_top(&begun, get(1, "/hello")),
            PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION of another stream",
            on_top(&begun, frame(CONTINUATION, 4, 3, "")),
            PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION of nothing",
            frame(CONTINUATION, 4, 1, ""),
            PROTOCOL_ERROR,
        ),
        (
            "CONTINUATION behind the end",
            on_top(&get(1, "/hello"), frame(CONTINUATION, 4, 1, "")),
            PROTOCOL_ERROR,
        ),
        (
            "PRIORITY of no stream",
            frame(PRIORITY, 0, 0, [0; 5]),
            PROTOCOL_ERROR,
        ),
        (
            "a short PRIORITY of an idle stream",
            frame(PRIORITY, 0, 1, [0; 4]),
            FRAME_SIZE_ERROR,
        ),
        (
            "RST_STREAM of no stream",
            frame(RST_STREAM, 0, 0, number(8)),
            PROTOCOL_ERROR,
        ),
        (
            "RST_STREAM of an idle stream",
            frame(RST_STREAM, 0, 1, number(8)),
            PROTOCOL_ERROR,
        ),
        (
            "a long RST_STREAM",
            on_top(&open, frame(RST_STREAM, 0, 1, [0; 5])),
            FRAME_SIZE_ERROR,
        ),
        (
            "SETTINGS of a stream",
            frame(SETTINGS, 0, 1, ""),
            PROTOCOL_ERROR,
        ),
        (
            "half a setting",
            frame(SETTINGS, 0, 0, [0; 5]),
            FRAME_SIZE_ERROR,
        ),
        (
            "an acknowledgement that says something",
            frame(SETTINGS, ACK, 0, [0; 6]),
            FRAME_SIZE_ERROR,
        ),
        ("ENABLE_PUSH of 2", setting(2, 2), PROTOCOL_ERROR),
        (
            "too large a window",
            setting(4, 1 << 31),
            FLOW_CONTROL_ERROR,
        ),
        ("too small a frame", setting(5, 16_383), PROTOCOL_ERROR),
        ("too large a frame", setting(5, 1 << 24), PROTOCOL_ERROR),
        (
            "a setting that makes a window too large",
            [
                &open[..],
                &frame(WINDOW_UPDATE, 0, 1, number((1 << 31) - 1 - 65_535)),
                &setting(4, 65_536),
            ]
            .concat(),
            FLOW_CONTROL_ERROR,
        ),
        (
            "PUSH_PROMISE",
            on_top(&open, frame(PUSH_PROMISE, 4, 1, number(2))),
            PROTOCOL_ERROR,
        ),
        ("a short PING", frame(PING, 0, 0, [0; 7]), FRAME_SIZE_ERROR),
        (
            "PING of a stream",
            frame(PING, 0, 1, SENTINEL),
            PROTOCOL_ERROR,
        ),
        (
            "a short GOAWAY",
            frame(GOAWAY, 0, 0, [0; 7]),
            FRAME_SIZE_ERROR,
        ),
        (
            "GOAWAY of a stream",
            frame(GOAWAY, 0, 1, [0; 8]),
            PROTOCOL_ERROR,
        ),
        (
            "WINDOW_UPDATE of an idle stream",
            frame(WINDOW_UPDATE, 0, 1, number(1)),
            PROTOCOL_ERROR,
        ),
        (
            "a short WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0, 0, [1; 3]),
            FRAME_SIZE_ERROR,
        ),
        (
            "WINDOW_UPDATE by nothing",
            frame(WINDOW_UPDATE, 0, 0, number(0)),
            PROTOCOL_ERROR,
        ),
        (
            "WINDOW_UPDATE by too much",
            frame(WINDOW_UPDATE, 0, 0, largest),
            FLOW_CONTROL_ERROR,
        ),
        (
            "a frame above our limit",
            frame(0xfa, 0, 0, vec![0; 16_385]),
            FRAME_SIZE_ERROR,
        ),
    ];
    for (what, bytes, code) in cases {
        check(&mut server, what, bytes, Ends(*code)).await;
    }
}

#[tokio::test]
async fn frames_that_break_a_streams_rules_end_that_stream() {
    let mut server = start(settings()).await;
    let open = wait(1, &[]);
    let sized = wait(1, &[("content-length", "3")]);
    let ended = get(1, "/wait");
    let on_top = |before: &[u8], more: Vec<u8>| [before, &more].concat();
    let bad_head = |field: (&str, &str)| frame(HEADERS, 5, 1, head("GET", "/hello", &[field]));
    let trailers = |flags: u8, fields: &[(&str, &str)]| frame(HEADERS, flags, 1, block(fields));
    let cases: &[(&str, Vec<u8>, Outcome)] = &[
        (
            "DATA behind the end",
            on_top(&ended, frame(DATA, 0, 1, "x")),
            Resets(1, STREAM_CLOSED),
        ),
        (
            "HEADERS behind the end",
            on_top(&ended, trailers(5, &[])),
            Resets(1, STREAM_CLOSED),
        ),
        (
            "DATA of a stream that is done",
            on_top(&get(1, "/hello"), frame(DATA, 1, 1, "x")),
            Resets(1, STREAM_CLOSED),
        ),
        (
            "more DATA than said",
            on_top(&sized, frame(DATA, 0, 1, "1234")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "less DATA than said",
            on_top(&sized, frame(DATA, 1, 1, "12")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "trailers before as much DATA as said",
            on_top(&sized, trailers(5, &[("x", "1")])),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "no DATA at all",
            bad_head(("content-length", "3")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "trailers that are not the end",
            on_top(&open, trailers(4, &[("x", "1")])),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "trailers with a path",
            on_top(&open, trailers(5, &[(":path", "/")])),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "a name in capitals",
            bad_head(("Name", "1")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "a field of HTTP/1",
            bad_head(("connection", "close")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "a second path",
            bad_head((":path", "/")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "an extended CONNECT",
            bad_head((":protocol", "websocket")),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "WINDOW_UPDATE by nothing",
            on_top(&open, frame(WINDOW_UPDATE, 0, 1, number(0))),
            Resets(1, PROTOCOL_ERROR),
        ),
        (
            "WINDOW_UPDATE by too much",
            on_top(&open, frame(WINDOW_UPDATE, 0, 1, number((1 << 31) - 1))),
            Resets(1, FLOW_CONTROL_ERROR),
        ),
        (
            "a long PRIORITY",
            on_top(&open, frame(PRIORITY, 0, 1, [0; 6])),
            Resets(1, FRAME_SIZE_ERROR),
        ),
    ];
    for (what, bytes, outcome) in cases {
        check(&mut server, what, bytes, *outcome).await;
    }
}

#[tokio::test]
async fn one_stream_too_many_is_refused() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    for stream in [1, 3, 5, 7, 9] {
        raw.send(get(stream, "/wait")).await;
    }
    let frames = raw.until(|frame| frame.kind == RST_STREAM).await;
    let last = frames.last().unwrap();
    assert_eq!((last.stream, last.number(0)), (9, REFUSED_STREAM));
    // One that ends makes room for another.
    raw.send([frame(RST_STREAM, 0, 3, number(8)), get(11, "/hello")].concat())
        .await;
    raw.until(|frame| frame.stream == 11 && frame.flags & END_STREAM != 0)
        .await;
}

#[tokio::test]
async fn frames_that_mean_nothing_end_nothing() {
    let mut server = start(settings()).await;
    let done = get(1, "/hello");
    let on_top = |before: &[u8], more: Vec<u8>| [before, &more].concat();
    let in_pieces = {
        let head = head("GET", "/hello", &[]);
        let (first, rest) = head.split_at(7);
        let (second, third) = rest.split_at(9);
        [
            frame(HEADERS, END_STREAM, 1, first),
            frame(CONTINUATION, 0, 1, second),
            frame(CONTINUATION, 0, 1, ""),
            frame(CONTINUATION, END_HEADERS, 1, third),
        ]
        .concat()
    };
    let on_itself = [&number(1)[..], &[16], &head("GET", "/hello", &[])].concat();
    let padded = [&[2][..], &head("GET", "/hello", &[]), &[0, 0]].concat();
    let cases: &[(&str, Vec<u8>)] = &[
        ("PRIORITY of an idle stream", frame(PRIORITY, 0, 7, [0; 5])),
        ("PRIORITY on itself", frame(PRIORITY, 0, 7, [0, 0, 0, 7, 1])),
        (
            "HEADERS that depend on themselves",
            frame(HEADERS, 0x25, 1, on_itself),
        ),
        ("padded HEADERS", frame(HEADERS, 0xd, 1, padded)),
        (
            "unknown frames and flags",
            on_top(&frame(0xfa, 0xff, 9, "?"), frame(PING, 0xfe, 0, [0; 8])),
        ),
        ("unknown settings", setting(0xf0, 7)),
        ("HEADERS in pieces", in_pieces),
        (
            "RST_STREAM of a stream that is done",
            on_top(&done, frame(RST_STREAM, 0, 1, number(8))),
        ),
        (
            "WINDOW_UPDATE of a stream that is done",
            on_top(&done, frame(WINDOW_UPDATE, 0, 1, number(9))),
        ),
        (
            "PRIORITY of a stream that is done",
            on_top(&done, frame(PRIORITY, 0, 1, [0; 5])),
        ),
        (
            "RST_STREAM of a stream at work",
            on_top(&wait(1, &[]), frame(RST_STREAM, 0, 1, number(8))),
        ),
    ];
    for (what, bytes) in cases {
        check(&mut server, what, bytes, GoesOn).await;
    }
}

#[tokio::test]
async fn what_is_still_under_way_to_a_stream_that_we_reset_is_ignored() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/early", &[])))
        .await;
    let reset = raw.until(|frame| frame.kind == RST_STREAM).await;
    assert_eq!(reset.last().unwrap().number(0), NO_ERROR);
    let late = [
        frame(DATA, 0, 1, vec![0; 10_000]),
        frame(HEADERS, 5, 1, block(&[("x", "1")])),
        get(3, "/hello"),
    ];
    raw.send(late.concat()).await;
    let frames = raw.answer().await;
    assert!(
        frames
            .iter()
            .all(|frame| !matches!(frame.kind, RST_STREAM | GOAWAY)),
        "{frames:?}"
    );
}

#[tokio::test]
async fn the_first_frame_is_settings() {
    let server = start(settings()).await;
    for first in [
        frame(PING, 0, 0, SENTINEL),
        frame(SETTINGS, ACK, 0, ""),
        get(1, "/hello"),
    ] {
        let mut raw = Raw {
            stream: TcpStream::connect(server.addr).await.unwrap(),
        };
        raw.send([PREFACE, &first].concat()).await;
        let frames = raw.until(|frame| frame.kind == GOAWAY).await;
        assert_eq!(frames.last().unwrap().number(4), PROTOCOL_ERROR);
    }
}

#[tokio::test]
async fn clients_keep_to_our_windows() {
    let with_windows = |stream_window_bytes, connection_window_bytes| DownstreamSettings {
        http2: Http2Settings {
            stream_window_bytes,
            connection_window_bytes,
            ..Http2Settings::default()
        },
        ..settings()
    };
    let mut server = start(with_windows(1000, 1 << 20)).await;
    let all = [wait(1, &[]), frame(DATA, 0, 1, vec![0; 1000])].concat();
    check(&mut server, "all of a window", &all, GoesOn).await;
    let more = [wait(1, &[]), frame(DATA, 0, 1, vec![0; 1001])].concat();
    check(
        &mut server,
        "more than a window",
        &more,
        Resets(1, FLOW_CONTROL_ERROR),
    )
    .await;
    // Padding counts, and is given back.
    let padding = [&[100][..], &[0; 100]].concat();
    let padded = frame(DATA, PADDED, 1, padding).repeat(12);
    check(
        &mut server,
        "padding",
        &[wait(1, &[]), padded].concat(),
        GoesOn,
    )
    .await;

    let mut server = start(with_windows(1 << 20, 65_535)).await;
    let full = frame(DATA, 0, 1, vec![0; 13_107]);
    let all = [wait(1, &[]), full.repeat(5)].concat();
    check(&mut server, "all of the connection's", &all, GoesOn).await;
    let more = [all, frame(DATA, 0, 1, "x")].concat();
    check(
        &mut server,
        "more than the connection's",
        &more,
        Ends(FLOW_CONTROL_ERROR),
    )
    .await;
}

#[tokio::test]
async fn windows_open_by_what_is_read() {
    let settings = DownstreamSettings {
        http2: Http2Settings {
            stream_window_bytes: 20_000,
            connection_window_bytes: 65_535,
            ..Http2Settings::default()
        },
        ..settings()
    };
    let server = start(settings).await;
    let mut raw = Raw::open(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/sink", &[])))
        .await;
    let mut windows = [65_535_i64, 20_000];
    let mut left = 300_000;
    while left > 0 {
        let room = windows[0].min(windows[1]).min(16_384).min(left);
        if room > 0 {
            raw.send(frame(DATA, 0, 1, vec![0; room as usize])).await;
            windows = windows.map(|window| window - room);
            left -= room;
            continue;
        }
        let update = raw.until(|frame| frame.kind == WINDOW_UPDATE).await;
        let update = update.last().unwrap();
        windows[update.stream as usize] += i64::from(update.number(0));
    }
    raw.send(frame(DATA, END_STREAM, 1, "")).await;
    let frames = raw
        .until(|frame| frame.flags & END_STREAM != 0 && frame.stream == 1)
        .await;
    assert_eq!(frames.last().unwrap().payload, b"300000");
}

#[tokio::test]
async fn replies_keep_to_the_windows_of_the_client_and_take_turns() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    let open = [
        setting(4, 40_000),
        frame(WINDOW_UPDATE, 0, 0, number(1 << 20)),
        get(1, "/large?1"),
        get(3, "/large?1"),
    ];
    raw.send(open.concat()).await;
    let frames = raw.answer().await;
    let data = |frames: &[Frame], stream: u32| -> Vec<usize> {
        let frames = frames.iter();
        frames
            .filter(|frame| frame.kind == DATA && frame.stream == stream)
            .map(|frame| frame.payload.len())
            .collect()
    };
    let mut seen: Vec<Frame> = frames;
    while data(&seen, 1).iter().chain(&data(&seen, 3)).sum::<usize>() < 80_000 {
        seen.push(raw.frame().await.unwrap());
    }
    for stream in [1, 3] {
        assert_eq!(data(&seen, stream), [16_384, 16_384, 7_232]);
    }
    // A larger frame, another window, and both go on together.
    raw.send([setting(5, 32_768), setting(4, 140_000)].concat())
        .await;
    let mut more: Vec<Frame> = Vec::new();
    while data(&more, 1).iter().chain(&data(&more, 3)).sum::<usize>() < 200_000 {
        more.push(raw.frame().await.unwrap());
    }
    let order: Vec<u32> = more
        .iter()
        .filter(|frame| frame.kind == DATA)
        .map(|frame| frame.stream)
        .collect();
    assert_eq!(data(&more, 1).iter().max(), Some(&32_768));
    assert!(order.windows(2).all(|pair| pair[0] != pair[1]), "{order:?}");
    // A window below zero (RFC 9113 §6.9.2) opens when it is above it again.
    let below = [
        setting(4, 0),
        frame(WINDOW_UPDATE, 0, 1, number(140_000)),
        frame(WINDOW_UPDATE, 0, 3, number(140_001)),
    ];
    raw.send(below.concat()).await;
    let frames = raw.until(|frame| frame.kind == DATA).await;
    assert_eq!(frames.last().unwrap().payload, b"x");
    assert_eq!(frames.last().unwrap().stream, 3);
}

#[tokio::test]
async fn long_heads_go_out_in_several_frames() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    let cookie = "c".repeat(40_000);
    let head = head("POST", "/echo", &[("cookie", &cookie)]);
    let (first, rest) = head.split_at(16_384);
    let (second, third) = rest.split_at(16_384);
    let request = [
        frame(HEADERS, END_STREAM, 1, first),
        frame(CONTINUATION, 0, 1, second),
        frame(CONTINUATION, END_HEADERS, 1, third),
    ];
    raw.send(request.concat()).await;
    let frames = raw
        .until(|frame| frame.stream == 1 && frame.flags & END_STREAM != 0)
        .await;
    let of_head: Vec<(u8, u8, usize)> = frames
        .iter()
        .filter(|frame| matches!(frame.kind, HEADERS | CONTINUATION))
        .map(|frame| (frame.kind, frame.flags, frame.payload.len()))
        .collect();
    let [first, second, third] = of_head[..] else {
        panic!("{of_head:?}");
    };
    assert_eq!(
        (first, second),
        ((HEADERS, 0, 16_384), (CONTINUATION, 0, 16_384))
    );
    assert_eq!((third.0, third.1), (CONTINUATION, END_HEADERS));
}

#[tokio::test]
async fn a_smaller_table_is_confirmed_in_the_next_head() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send([setting(1, 0), get(1, "/hello"), get(3, "/hello")].concat())
        .await;
    let frames = raw.answer().await;
    let heads: Vec<u8> = frames
        .iter()
        .filter(|frame| frame.kind == HEADERS)
        .map(|frame| frame.payload[0])
        .collect();
    // A size of zero (RFC 7541 §6.3), then 200; then only that.
    assert_eq!(heads, [0x20, 0x88]);
}

#[tokio::test]
async fn shutdown_is_announced_before_streams_are_refused() {
    let settings = DownstreamSettings {
        linger_timeout: PATIENCE,
        ..settings()
    };
    let mut server = start(settings).await;
    let mut raw = Raw::open(&server).await;
    raw.send(wait(1, &[])).await;
    assert_eq!(server.event().await, "waiting");
    raw.answer().await;
    server.shutdown.send(true).unwrap();
    let frames = raw.until(|frame| frame.kind == PING).await;
    let [goaway, ping] = &frames[..] else {
        panic!("{frames:?}");
    };
    assert_eq!(
        (goaway.kind, goaway.number(0), goaway.number(4)),
        (GOAWAY, (1 << 31) - 1, NO_ERROR)
    );
    // The client did not know: its stream is served. Then it does.
    raw.send(get(3, "/hello")).await;
    raw.until(|frame| frame.stream == 3 && frame.flags & END_STREAM != 0)
        .await;
    raw.send(frame(PING, ACK, 0, &ping.payload)).await;
    let frames = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(frames.last().unwrap().number(0), 3);
    raw.send(get(5, "/hello")).await;
    let frames = raw.until(|frame| frame.kind == RST_STREAM).await;
    let last = frames.last().unwrap();
    assert_eq!((last.stream, last.number(0)), (5, REFUSED_STREAM));
    raw.send(frame(RST_STREAM, 0, 1, number(8))).await;
    assert_eq!(raw.frame().await, None);
    drop(raw);
    while server.event().await != "connection ended" {}
    assert_eq!(*server.handler.last_end.lock(), Some(End::ByReply));
}

#[tokio::test]
async fn a_client_that_says_goaway_is_served_to_the_end() {
    let mut server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/sink", &[])))
        .await;
    raw.answer().await;
    raw.send(frame(GOAWAY, 0, 0, [0; 8])).await;
    raw.send(frame(DATA, END_STREAM, 1, "12345")).await;
    let frames = raw
        .until(|frame| frame.stream == 1 && frame.flags & END_STREAM != 0)
        .await;
    assert_eq!(frames.last().unwrap().payload, b"5");
    assert_eq!(raw.frame().await, None);
    while server.event().await != "connection ended" {}
    assert_eq!(*server.handler.last_end.lock(), Some(End::ByClient));
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let settings = DownstreamSettings {
        write_timeout: Duration::from_millis(300),
        ..settings()
    };
    let mut server = start(settings).await;
    let mut raw = Raw::open(&server).await;
    // Answers that nobody reads: as many as the sockets hold, and then no more requests are taken up.
    raw.send(setting(4, 1 << 30)).await;
    raw.send(frame(WINDOW_UPDATE, 0, 0, number(1 << 30))).await;
    for stream in 0..4 {
        raw.send(get(stream * 2 + 1, "/large?16")).await;
    }
    while server.event().await != "connection ended" {}
    assert_eq!(*server.handler.last_end.lock(), Some(End::ReplyFailed));
}

#[tokio::test]
async fn a_head_in_too_many_pieces_is_too_much() {
    let server = start(settings()).await;
    for fragment in [&b""[..], &[0; 16_384]] {
        let mut raw = Raw::open(&server).await;
        let begun = frame(HEADERS, END_STREAM, 1, head("GET", "/hello", &[]));
        raw.send([begun, frame(CONTINUATION, 0, 1, fragment).repeat(20)].concat())
            .await;
        let frames = raw.until(|frame| frame.kind == GOAWAY).await;
        assert_eq!(frames.last().unwrap().number(4), ENHANCE_YOUR_CALM);
    }
}

#[tokio::test]
async fn no_bytes_make_a_connection_hang_or_the_server_fail() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let mut server = start(settings()).await;
    let seed = [
        get(1, "/hello"),
        frame(
            HEADERS,
            END_HEADERS,
            3,
            head("POST", "/echo", &[("content-length", "4")]),
        ),
        frame(DATA, END_STREAM, 3, "body"),
        setting(4, 100),
        frame(WINDOW_UPDATE, 0, 0, number(1000)),
        get(5, "/large?1"),
        frame(RST_STREAM, 0, 5, number(8)),
        get(7, "/stream"),
    ]
    .concat();
    let mut random = StdRng::seed_from_u64(17);
    for _ in 0..300 {
        let mut input = seed.clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..input.len());
            match random.random_range(0..3) {
                0 => input[at] = random.random(),
                1 => drop(input.remove(at)),
                _ => input.insert(at, [0, 1, 4, 5, 0x80, 0xff][random.random_range(0..6)]),
            }
        }
        let mut raw = Raw::open(&server).await;
        raw.send(&input).await;
        let _ = raw.stream.shutdown().await;
        // To the end, whatever it is.
        while raw.frame().await.is_some() {}
    }
    while let Ok(event) = server.events.try_recv() {
        assert_ne!(event, "panicked");
    }
    let mut raw = Raw::open(&server).await;
    raw.send(get(1, "/hello")).await;
    let frames = raw.until(|frame| frame.kind == DATA).await;
    assert_eq!(frames.last().unwrap().payload, b"hello");
}
