//! What each type of frame may be.

use super::super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

#[track_caller]
fn check(bytes: &[u8], expected: Result<Frame<'_>, Violation>) {
    let head = FrameHead::read(bytes).unwrap();
    let payload = &bytes[FRAME_HEAD_BYTES..];
    assert_eq!(head.length, payload.len());
    assert_eq!(Frame::read(head, payload), expected, "{bytes:x?}");
}

const PROTOCOL: Violation = Violation::Connection(ErrorCode::PROTOCOL_ERROR);
const SIZE: Violation = Violation::Connection(ErrorCode::FRAME_SIZE_ERROR);

fn data(data: &[u8], window_bytes: usize, is_end: bool) -> Result<Frame<'_>, Violation> {
    Ok(Frame::Data {
        stream: 1,
        data,
        window_bytes,
        is_end,
    })
}

fn headers(fragment: &[u8], is_end: bool, is_whole: bool) -> Result<Frame<'_>, Violation> {
    Ok(Frame::Headers {
        stream: 1,
        fragment,
        is_end,
        is_whole,
    })
}

#[test]
fn heads_of_frames_are_nine_bytes() {
    let bytes = frame(0, 1, 7 | 1 << 31, b"abc");
    for end in 0..FRAME_HEAD_BYTES {
        assert_eq!(FrameHead::read(&bytes[..end]), None);
    }
    let head = FrameHead::read(&bytes).unwrap();
    // The reserved bit is ignored.
    assert_eq!((head.length, head.kind, head.stream), (3, Kind::Data, 7));
}

#[test]
fn data_may_be_padded() {
    check(&frame(0, 0, 1, b"abc"), data(b"abc", 3, false));
    check(&frame(0, 1, 1, b""), data(b"", 0, true));
    check(&frame(0, 8, 1, b"\x02abc\0\0"), data(b"abc", 6, false));
    check(&frame(0, 9, 1, b"\x02\0\0"), data(b"", 3, true));
    check(&frame(0, 8, 1, b"\x03\0\0"), Err(PROTOCOL));
    check(&frame(0, 8, 1, b""), Err(SIZE));
    check(&frame(0, 0, 0, b"abc"), Err(PROTOCOL));
}

#[test]
fn headers_may_have_padding_and_a_priority() {
    check(&frame(1, 5, 1, b"block"), headers(b"block", true, true));
    check(&frame(1, 0, 1, b""), headers(b"", false, false));
    // One that depends on itself is as good as any other.
    check(
        &frame(1, 0x24, 1, b"\0\0\0\x01\x09block"),
        headers(b"block", false, true),
    );
    check(
        &frame(1, 0x2c, 1, b"\x01\x80\0\0\x03\xffblock\0"),
        headers(b"block", false, true),
    );
    check(&frame(1, 0x24, 1, b"\0\0\0\x01"), Err(SIZE));
    check(&frame(1, 0x0c, 1, b"\x06block"), Err(PROTOCOL));
    check(&frame(1, 0x0c, 1, b""), Err(SIZE));
    check(&frame(1, 4, 0, b"block"), Err(PROTOCOL));
    check(
        &frame(9, 4, 1, b"block"),
        Ok(Frame::Continuation {
            stream: 1,
            fragment: b"block",
            is_whole: true,
        }),
    );
    check(&frame(9, 4, 0, b"block"), Err(PROTOCOL));
}

#[test]
fn frames_of_streams_have_their_sizes() {
    check(
        &frame(2, 0, 3, b"\0\0\0\x03\x10"),
        Ok(Frame::Priority { stream: 3 }),
    );
    check(
        &frame(2, 0, 3, b"\0\0\0\x03"),
        Err(Violation::Stream(3, ErrorCode::FRAME_SIZE_ERROR)),
    );
    check(&frame(2, 0, 0, b"\0\0\0\x03\x10"), Err(PROTOCOL));
    check(
        &frame(3, 0, 3, b"\0\0\0\x08"),
        Ok(Frame::Reset {
            stream: 3,
            code: ErrorCode::CANCEL,
        }),
    );
    check(&frame(3, 0, 3, b"\0\0\0\x08\0"), Err(SIZE));
    check(&frame(3, 0, 0, b"\0\0\0\x08"), Err(PROTOCOL));
    for stream in [0, 5] {
        check(
            &frame(8, 0, stream, b"\xff\xff\xff\xff"),
            Ok(Frame::WindowUpdate {
                stream,
                increment: (1 << 31) - 1,
            }),
        );
        check(&frame(8, 0, stream, b"\0\0\0"), Err(SIZE));
    }
    check(&frame(8, 0, 0, b"\x80\0\0\0"), Err(PROTOCOL));
    check(
        &frame(8, 0, 5, b"\0\0\0\0"),
        Err(Violation::Stream(5, ErrorCode::PROTOCOL_ERROR)),
    );
}

#[test]
fn frames_of_the_connection_have_their_sizes() {
    check(&frame(4, 1, 0, b""), Ok(Frame::SettingsAck));
    check(&frame(4, 1, 0, b"\0\x04\0\0\0\0"), Err(SIZE));
    check(&frame(4, 0, 0, b"\0\x04\0\0\0"), Err(SIZE));
    check(&frame(4, 0, 1, b""), Err(PROTOCOL));
    check(&frame(6, 0, 0, b"12345678"), Ok(Frame::Ping(*b"12345678")));
    check(
        &frame(6, 1, 0, b"12345678"),
        Ok(Frame::PingAck(*b"12345678")),
    );
    check(&frame(6, 0, 0, b"1234567"), Err(SIZE));
    check(&frame(6, 0, 3, b"12345678"), Err(PROTOCOL));
    check(
        &frame(7, 0, 0, b"\0\0\0\x09\0\0\0\x02why"),
        Ok(Frame::GoAway(ErrorCode::INTERNAL_ERROR)),
    );
    check(&frame(7, 0, 0, b"\0\0\0\x09\0\0\0"), Err(SIZE));
    check(&frame(7, 0, 1, b"\0\0\0\x09\0\0\0\x02"), Err(PROTOCOL));
    check(&frame(5, 4, 1, b"\0\0\0\x02block"), Err(PROTOCOL));
    check(&frame(0xfa, 0xff, 77, b"?"), Ok(Frame::Unknown));
}

#[test]
fn settings_keep_within_their_values() {
    let settings =
        |name: u8, value: u32| frame(4, 0, 0, &[&[0, name][..], &value.to_be_bytes()].concat());
    let good = |settings| Ok(Frame::Settings(settings));
    let none = PeerSettings::default();
    check(&frame(4, 0, 0, b""), good(none));
    check(
        &settings(1, 0),
        good(PeerSettings {
            header_table_bytes: Some(0),
            ..none
        }),
    );
    for (value, expected) in [(0, good(none)), (1, good(none)), (2, Err(PROTOCOL))] {
        check(&settings(2, value), expected);
    }
    check(&settings(3, 0), good(none));
    check(
        &settings(4, (1 << 31) - 1),
        good(PeerSettings {
            initial_window_bytes: Some((1 << 31) - 1),
            ..none
        }),
    );
    check(
        &settings(4, 1 << 31),
        Err(Violation::Connection(ErrorCode::FLOW_CONTROL_ERROR)),
    );
    for value in [1 << 14, (1 << 24) - 1] {
        check(
            &settings(5, value),
            good(PeerSettings {
                frame_bytes_max: Some(value),
                ..none
            }),
        );
    }
    for value in [0, (1 << 14) - 1, 1 << 24] {
        check(&settings(5, value), Err(PROTOCOL));
    }
    check(&settings(6, 0), good(none));
    check(&settings(0xf0, u32::MAX), good(none));
    // Of two the last one holds.
    check(
        &frame(4, 0, 0, b"\0\x04\0\0\0\x07\0\x04\0\0\0\x09"),
        good(PeerSettings {
            initial_window_bytes: Some(9),
            ..none
        }),
    );
}

#[test]
fn what_is_written_is_read_again() {
    let mut out = Vec::new();
    write_settings(&mut out, 100, 1 << 20, 1 << 14, 1 << 15);
    check(
        &out,
        Ok(Frame::Settings(PeerSettings {
            header_table_bytes: None,
            initial_window_bytes: Some(1 << 20),
            frame_bytes_max: Some(1 << 14),
        })),
    );
    type Write = fn(&mut Vec<u8>);
    let frames: [(Write, Frame<'_>); 5] = [
        (write_settings_ack, Frame::SettingsAck),
        (
            |out| write_ping(out, flags::ACK, [3; 8]),
            Frame::PingAck([3; 8]),
        ),
        (
            |out| write_goaway(out, 7, ErrorCode::ENHANCE_YOUR_CALM),
            Frame::GoAway(ErrorCode::ENHANCE_YOUR_CALM),
        ),
        (
            |out| write_reset(out, 9, ErrorCode::NO_ERROR),
            Frame::Reset {
                stream: 9,
                code: ErrorCode::NO_ERROR,
            },
        ),
        (
            |out| write_window_update(out, 11, 5),
            Frame::WindowUpdate {
                stream: 11,
                increment: 5,
            },
        ),
    ];
    for (write, expected) in frames {
        let mut out = Vec::new();
        write(&mut out);
        check(&out, Ok(expected));
    }
}
