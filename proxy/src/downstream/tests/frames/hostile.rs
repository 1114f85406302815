//! Clients that read slowly, say too little, or say the same thing for ever.

use std::num::NonZeroU32;

use tokio::net::TcpSocket;

use super::super::support::{resident_bytes, start_with_send_buffer};
use super::*;

const WIDE: u32 = 1 << 30;

/// A client whose kernel takes few bytes that it does not read.
async fn open_narrow(server: &Server) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let mut raw = Raw::over(socket.connect(server.addr).await.unwrap()).await;
    raw.send([setting(4, WIDE), frame(WINDOW_UPDATE, 0, 0, number(WIDE))].concat())
        .await;
    raw
}

/// Reads DATA of a stream until there are so many bytes of it, or its end.
async fn take(raw: &mut Raw, stream: u32, bytes: usize) -> (usize, bool) {
    let mut taken = 0;
    while taken < bytes {
        let Some(frame) = raw.frame().await else {
            break;
        };
        if frame.stream == stream && frame.kind == DATA {
            taken += frame.payload.len();
            if frame.flags & END_STREAM != 0 {
                return (taken, true);
            }
        }
    }
    (taken, false)
}

fn is_end_of(stream: u32) -> impl Fn(&Frame) -> bool {
    move |frame| frame.stream == stream && frame.flags & END_STREAM != 0
}

fn goaway(raw: &[Frame]) -> Option<(u32, u32)> {
    let found = raw.iter().find(|frame| frame.kind == GOAWAY)?;
    Some((found.number(0), found.number(4)))
}

#[tokio::test]
async fn the_last_reply_reaches_a_slow_reader() {
    let server = start_with_send_buffer(settings(), 16 * 1024).await;
    let mut raw = open_narrow(&server).await;
    raw.send([get(1, "/large?1"), frame(GOAWAY, 0, 0, [0; 8])].concat())
        .await;
    let (mut total, mut is_end) = take(&mut raw, 1, 768 * 1024).await;
    // Each step is shorter than the time to linger, and all of them are much longer.
    while !is_end {
        tokio::time::sleep(Duration::from_millis(60)).await;
        let (taken, ended) = take(&mut raw, 1, 16 * 1024).await;
        assert!(taken > 0, "cut off after {total}");
        total += taken;
        is_end = ended;
    }
    assert_eq!(total, 1024 * 1024);
}

#[tokio::test]
async fn frames_behind_the_last_reply_do_not_cut_it() {
    let settings = DownstreamSettings {
        linger_timeout: Duration::from_secs(5),
        ..settings()
    };
    let server = start_with_send_buffer(settings, 200_000).await;
    let mut raw = open_narrow(&server).await;
    raw.send([get(1, "/large?1"), frame(GOAWAY, 0, 0, [0; 8])].concat())
        .await;
    let (before, _) = take(&mut raw, 1, 900 * 1024).await;
    // All of the rest is in the kernel now, and none of it was asked for.
    tokio::time::sleep(Duration::from_millis(300)).await;
    raw.send(frame(WINDOW_UPDATE, 0, 0, number(1))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (after, is_end) = take(&mut raw, 1, usize::MAX).await;
    assert_eq!((before + after, is_end), (1024 * 1024, true));
}

#[tokio::test]
async fn connections_that_wait_keep_nothing_of_large_heads() {
    const GROWTH_MAX: u64 = 12 * 1024 * 1024;
    let server = start(settings()).await;
    let cookie = "c".repeat(12_000);
    let head = head("GET", "/hello", &[("cookie", cookie.as_str()); 4]);
    let mut pieces = head.chunks(16_384).peekable();
    let mut request = Vec::new();
    while let Some(piece) = pieces.next() {
        let (kind, mut flags) = match request.is_empty() {
            true => (HEADERS, END_STREAM),
            false => (CONTINUATION, 0),
        };
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        request.extend(frame(kind, flags, 1, piece));
    }
    let mut waiting = Vec::new();
    let mut before = 0;
    for index in 0..200 {
        if index == 10 {
            before = resident_bytes();
        }
        let mut raw = Raw::open(&server).await;
        raw.send(&request).await;
        let frames = raw.until(is_end_of(1)).await;
        assert_eq!(frames.last().unwrap().payload, b"hello");
        waiting.push(raw);
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "grew by {grown}");
}

#[tokio::test]
async fn header_blocks_of_a_stream_that_was_reset_are_counted() {
    let settings = DownstreamSettings {
        http2: Http2Settings {
            control_frames_max: 20,
            ..settings().http2
        },
        ..settings()
    };
    let server = start(settings).await;
    let mut raw = Raw::open(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/early", &[])))
        .await;
    raw.until(|frame| frame.kind == RST_STREAM).await;
    raw.send(frame(HEADERS, 5, 1, block(&[("x", "1")])).repeat(40))
        .await;
    let frames = raw.answer().await;
    assert_eq!(goaway(&frames), Some((1, ENHANCE_YOUR_CALM)));
}

#[tokio::test]
async fn a_client_that_does_not_confirm_the_end_is_drained_all_the_same() {
    let settings = DownstreamSettings {
        requests_per_connection_max: NonZeroU32::new(1),
        ..settings()
    };
    let server = start(settings).await;
    let mut raw = Raw::open(&server).await;
    raw.send(wait(1, &[])).await;
    let frames = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway(&frames), Some(((1 << 31) - 1, NO_ERROR)));
    // The PING stays without an answer.
    let frames = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway(&frames), Some((1, NO_ERROR)));
    raw.send(get(3, "/hello")).await;
    let frames = raw.until(|frame| frame.kind == RST_STREAM).await;
    let last = frames.last().unwrap();
    assert_eq!((last.stream, last.number(0)), (3, REFUSED_STREAM));
}

#[tokio::test]
async fn as_many_streams_are_kept_in_mind_as_may_be_reset() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    let streams = (0..100).map(|index| index * 2 + 1);
    for stream in streams.clone() {
        let head = head("POST", "/early", &[]);
        raw.send(frame(HEADERS, END_HEADERS, stream, head)).await;
        raw.until(|frame| frame.kind == RST_STREAM && frame.stream == stream)
            .await;
    }
    for stream in streams {
        raw.send(frame(DATA, END_STREAM, stream, "late")).await;
    }
    let frames = raw.answer().await;
    let is_answer = |frame: &Frame| matches!(frame.kind, RST_STREAM | GOAWAY);
    assert!(!frames.iter().any(is_answer), "{frames:?}");
}

#[tokio::test]
async fn a_refused_head_request_gets_no_body() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send(frame(HEADERS, 5, 1, head("HEAD", "no-path", &[])))
        .await;
    let frames = raw.answer().await;
    let of_stream: Vec<(u8, u8)> = frames
        .iter()
        .filter(|frame| frame.stream == 1)
        .map(|frame| (frame.kind, frame.flags))
        .collect();
    assert_eq!(of_stream, [(HEADERS, END_STREAM | END_HEADERS)]);
}

#[tokio::test]
async fn refused_requests_announce_the_end_and_a_flood_of_them_is_the_end() {
    let settings = DownstreamSettings {
        linger_timeout: Duration::from_secs(5),
        http2: Http2Settings {
            refused_requests_max: 30,
            ..settings().http2
        },
        ..settings()
    };
    let server = start(settings).await;
    let bad = |stream: u32| {
        let head = head("GET", "no-path", &[]);
        frame(HEADERS, 5, stream, head)
    };
    let mut raw = Raw::open(&server).await;
    raw.send(
        (0..35)
            .map(|index| bad(index * 2 + 1))
            .collect::<Vec<_>>()
            .concat(),
    )
    .await;
    let frames = raw.until(is_end_of(69)).await;
    assert_eq!(goaway(&frames), Some(((1 << 31) - 1, NO_ERROR)));
    raw.send(get(101, "/hello")).await;
    let frames = raw.until(is_end_of(101)).await;
    assert_eq!(frames.last().unwrap().payload, b"hello");

    raw.send(
        (60..160)
            .map(|index| bad(index * 2 + 1))
            .collect::<Vec<_>>()
            .concat(),
    )
    .await;
    let frames = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(frames.last().unwrap().number(4), ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn a_later_goaway_does_not_take_up_more_streams() {
    let server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send([wait(1, &[]), frame(GOAWAY, 0, 0, [0; 8])].concat())
        .await;
    let frames = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway(&frames), Some((1, NO_ERROR)));
    raw.send([get(3, "/hello"), frame(PING, 0, 0, [0; 7])].concat())
        .await;
    let frames = raw.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(goaway(&frames), Some((1, FRAME_SIZE_ERROR)));
}

#[tokio::test]
async fn a_client_that_sends_no_more_is_still_answered() {
    let mut server = start_with_send_buffer(settings(), 16 * 1024).await;
    let mut raw = open_narrow(&server).await;
    raw.send([get(1, "/large?1"), get(3, "/wait")].concat())
        .await;
    raw.stream.shutdown().await.unwrap();
    assert_eq!(server.event().await, "waiting");
    assert_eq!(server.event().await, "HalfClosed");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut frames = Vec::new();
    while let Some(frame) = raw.frame().await {
        frames.push(frame);
    }
    let length = |stream: u32| -> usize {
        let frames = frames.iter();
        let data = frames.filter(|frame| frame.stream == stream && frame.kind == DATA);
        data.map(|frame| frame.payload.len()).sum()
    };
    assert_eq!((length(1), length(3)), (1024 * 1024, 5));
    assert_eq!(server.event().await, "connection ended");
    assert_eq!(*server.handler.last_end.lock(), Some(End::ByClient));
}

#[tokio::test]
async fn a_body_whose_client_sends_no_more_is_broken_off() {
    let mut server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send(frame(HEADERS, END_HEADERS, 1, head("POST", "/sink", &[])))
        .await;
    raw.answer().await;
    raw.send(frame(DATA, 0, 1, "half")).await;
    raw.stream.shutdown().await.unwrap();
    assert_eq!(server.event().await, "error: the client went away");
    assert_eq!(server.event().await, "connection ended");
}

#[tokio::test]
async fn a_client_that_sends_no_more_opens_no_window() {
    let mut server = start(settings()).await;
    let mut raw = Raw::open(&server).await;
    raw.send(get(1, "/large?1")).await;
    raw.stream.shutdown().await.unwrap();
    // As much as the window takes, long before the time to write is over.
    let (taken, is_end) = take(&mut raw, 1, usize::MAX).await;
    assert_eq!((taken, is_end), (65_535, false));
    assert_eq!(server.event().await, "error: the client went away");
}
