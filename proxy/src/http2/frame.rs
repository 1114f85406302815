//! Frames from bytes and to bytes (RFC 9113 §4, §6).

use super::error::{ErrorCode, Violation};

/// RFC 9113 §3.4: what a client says before its first frame.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9113 §4.1.
pub const FRAME_HEAD_BYTES: usize = 9;

/// SETTINGS_MAX_FRAME_SIZE where nobody has said anything, and its least value (RFC 9113 §6.5.2).
pub const FRAME_BYTES_DEFAULT: usize = 1 << 14;
const FRAME_BYTES_MAX: u32 = (1 << 24) - 1;

/// Flow-control windows where nobody has said anything, and their limit (RFC 9113 §6.9).
pub const WINDOW_BYTES_DEFAULT: u32 = (1 << 16) - 1;
pub const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// Stream identifiers and windows have 31 bits; the other one is reserved and ignored.
const MASK: u32 = 0x7fff_ffff;

/// RFC 9113 §4.1.
pub mod flags {
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// RFC 9113 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// To be ignored (RFC 9113 §5.5).
    Unknown(u8),
}

impl Kind {
    fn from_byte(byte: u8) -> Kind {
        match byte {
            0x0 => Kind::Data,
            0x1 => Kind::Headers,
            0x2 => Kind::Priority,
            0x3 => Kind::ResetStream,
            0x4 => Kind::Settings,
            0x5 => Kind::PushPromise,
            0x6 => Kind::Ping,
            0x7 => Kind::GoAway,
            0x8 => Kind::WindowUpdate,
            0x9 => Kind::Continuation,
            other => Kind::Unknown(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            Kind::Data => 0x0,
            Kind::Headers => 0x1,
            Kind::Priority => 0x2,
            Kind::ResetStream => 0x3,
            Kind::Settings => 0x4,
            Kind::PushPromise => 0x5,
            Kind::Ping => 0x6,
            Kind::GoAway => 0x7,
            Kind::WindowUpdate => 0x8,
            Kind::Continuation => 0x9,
            Kind::Unknown(byte) => byte,
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes behind the head.
    pub length: usize,
    pub kind: Kind,
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
}

impl FrameHead {
    /// The head at the front of `bytes`; `None` while it is not all there.
    pub fn read(bytes: &[u8]) -> Option<FrameHead> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<FRAME_HEAD_BYTES>()?;
        Some(FrameHead {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind: Kind::from_byte(kind),
            flags,
            stream: u32::from_be_bytes(stream) & MASK,
        })
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What a client may change for its connection (RFC 9113 §6.5.2); the last of each that a frame names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSettings {
    pub header_table_bytes: Option<u32>,
    pub initial_window_bytes: Option<u32>,
    pub frame_bytes_max: Option<u32>,
}

/// A frame that keeps the rules which need no memory of earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    Data {
        stream: u32,
        data: &'a [u8],
        /// What it takes of the windows: the padding counts (RFC 9113 §6.1).
        window_bytes: usize,
        is_end: bool,
    },
    Headers {
        stream: u32,
        fragment: &'a [u8],
        is_end: bool,
        /// The block ends with this frame.
        is_whole: bool,
    },
    Continuation {
        stream: u32,
        fragment: &'a [u8],
        is_whole: bool,
    },
    /// A priority is read and not heeded (RFC 9113 §5.3.2), one that depends on itself as well.
    Priority {
        stream: u32,
    },
    Reset {
        stream: u32,
        code: ErrorCode,
    },
    Settings(PeerSettings),
    SettingsAck,
    Ping([u8; 8]),
    PingAck([u8; 8]),
    GoAway(ErrorCode),
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
    Unknown,
}

impl<'a> Frame<'a> {
    /// Reads what a client may send.
    ///
    /// # Errors
    /// What the frame ends, by itself: sizes, reserved values, and streams where there may be none or must be one.
    pub fn read(head: FrameHead, payload: &'a [u8]) -> Result<Frame<'a>, Violation> {
        let stream = head.stream;
        match head.kind {
            Kind::Data
            | Kind::Headers
            | Kind::Priority
            | Kind::ResetStream
            | Kind::Continuation
                if stream == 0 =>
            {
                Err(protocol_error())
            }
            Kind::Settings | Kind::Ping | Kind::GoAway if stream != 0 => Err(protocol_error()),
            Kind::Data => Ok(Frame::Data {
                stream,
                data: unpadded(head, payload)?,
                window_bytes: payload.len(),
                is_end: head.has(flags::END_STREAM),
            }),
            Kind::Headers => Ok(Frame::Headers {
                stream,
                fragment: without_priority(head, unpadded(head, payload)?)?,
                is_end: head.has(flags::END_STREAM),
                is_whole: head.has(flags::END_HEADERS),
            }),
            Kind::Continuation => Ok(Frame::Continuation {
                stream,
                fragment: payload,
                is_whole: head.has(flags::END_HEADERS),
            }),
            Kind::Priority if payload.len() != 5 => {
                Err(Violation::Stream(stream, ErrorCode::FRAME_SIZE_ERROR))
            }
            Kind::Priority => Ok(Frame::Priority { stream }),
            Kind::ResetStream => Ok(Frame::Reset {
                stream,
                code: ErrorCode(number(payload)?),
            }),
            Kind::Settings if head.has(flags::ACK) => match payload {
                [] => Ok(Frame::SettingsAck),
                _ => Err(frame_size_error()),
            },
            Kind::Settings => read_settings(payload).map(Frame::Settings),
            // Only servers push (RFC 9113 §8.4).
            Kind::PushPromise => Err(protocol_error()),
            Kind::Ping => {
                let data = payload.try_into().map_err(|_| frame_size_error())?;
                Ok(match head.has(flags::ACK) {
                    true => Frame::PingAck(data),
                    false => Frame::Ping(data),
                })
            }
            Kind::GoAway => {
                let (numbers, _debug) = payload.split_at_checked(8).ok_or_else(frame_size_error)?;
                Ok(Frame::GoAway(ErrorCode(number(&numbers[4..])?)))
            }
            Kind::WindowUpdate => match number(payload)? & MASK {
                0 if stream == 0 => Err(protocol_error()),
                0 => Err(Violation::Stream(stream, ErrorCode::PROTOCOL_ERROR)),
                increment => Ok(Frame::WindowUpdate { stream, increment }),
            },
            Kind::Unknown(_) => Ok(Frame::Unknown),
        }
    }
}

fn protocol_error() -> Violation {
    Violation::Connection(ErrorCode::PROTOCOL_ERROR)
}

fn frame_size_error() -> Violation {
    Violation::Connection(ErrorCode::FRAME_SIZE_ERROR)
}

fn number(payload: &[u8]) -> Result<u32, Violation> {
    let bytes = payload.try_into().map_err(|_| frame_size_error())?;
    Ok(u32::from_be_bytes(bytes))
}

/// RFC 9113 §6.1: padding that leaves less than nothing is a connection error.
fn unpadded(head: FrameHead, payload: &[u8]) -> Result<&[u8], Violation> {
    if !head.has(flags::PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or_else(frame_size_error)?;
    let length = rest.len().checked_sub(usize::from(*padding));
    Ok(&rest[..length.ok_or_else(protocol_error)?])
}

fn without_priority(head: FrameHead, payload: &[u8]) -> Result<&[u8], Violation> {
    match head.has(flags::PRIORITY) {
        true => payload.get(5..).ok_or_else(frame_size_error),
        false => Ok(payload),
    }
}

fn read_settings(payload: &[u8]) -> Result<PeerSettings, Violation> {
    let mut settings = PeerSettings::default();
    let (pairs, rest) = payload.as_chunks::<6>();
    if !rest.is_empty() {
        return Err(frame_size_error());
    }
    for [a, b, value @ ..] in pairs {
        let value = u32::from_be_bytes(*value);
        match u16::from_be_bytes([*a, *b]) {
            setting::HEADER_TABLE_SIZE => settings.header_table_bytes = Some(value),
            setting::ENABLE_PUSH if value > 1 => return Err(protocol_error()),
            setting::INITIAL_WINDOW_SIZE if value > WINDOW_BYTES_MAX => {
                return Err(Violation::Connection(ErrorCode::FLOW_CONTROL_ERROR));
            }
            setting::INITIAL_WINDOW_SIZE => settings.initial_window_bytes = Some(value),
            setting::MAX_FRAME_SIZE => {
                if !(FRAME_BYTES_DEFAULT as u32..=FRAME_BYTES_MAX).contains(&value) {
                    return Err(protocol_error());
                }
                settings.frame_bytes_max = Some(value);
            }
            // What a client says of streams and lists is for those who push or send long heads.
            _ => {}
        }
    }
    Ok(settings)
}

/// RFC 9113 §6.5.2, RFC 9218 §2.1.
mod setting {
    pub(super) const HEADER_TABLE_SIZE: u16 = 0x1;
    pub(super) const ENABLE_PUSH: u16 = 0x2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
    pub(super) const MAX_FRAME_SIZE: u16 = 0x5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 0x6;
    pub(super) const NO_RFC7540_PRIORITIES: u16 = 0x9;
}

/// Writes the head of a frame whose payload follows.
///
/// # Panics
/// In debug builds, when the payload has more bytes than 24 bits can say.
pub fn write_frame_head(out: &mut Vec<u8>, length: usize, kind: Kind, flags: u8, stream: u32) {
    debug_assert!(length <= FRAME_BYTES_MAX as usize, "{length}");
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind.byte(), flags, d, e, f, g]);
}

/// Writes our own settings: streams at once, bytes of a window, of a frame, and of a list of fields.
pub fn write_settings(out: &mut Vec<u8>, streams: u32, window: u32, frame: u32, list: u32) {
    let pairs = [
        (setting::MAX_CONCURRENT_STREAMS, streams),
        (setting::INITIAL_WINDOW_SIZE, window),
        (setting::MAX_FRAME_SIZE, frame),
        (setting::MAX_HEADER_LIST_SIZE, list),
        (setting::NO_RFC7540_PRIORITIES, 1),
    ];
    write_frame_head(out, pairs.len() * 6, Kind::Settings, 0, 0);
    for (name, value) in pairs {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub fn write_settings_ack(out: &mut Vec<u8>) {
    write_frame_head(out, 0, Kind::Settings, flags::ACK, 0);
}

/// Writes a PING; `flags` is zero or [`flags::ACK`].
pub fn write_ping(out: &mut Vec<u8>, flags: u8, data: [u8; 8]) {
    write_frame_head(out, data.len(), Kind::Ping, flags, 0);
    out.extend_from_slice(&data);
}

pub fn write_goaway(out: &mut Vec<u8>, last_stream: u32, code: ErrorCode) {
    write_frame_head(out, 8, Kind::GoAway, 0, 0);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub fn write_reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    write_frame_head(out, 4, Kind::ResetStream, 0, stream);
    out.extend_from_slice(&code.0.to_be_bytes());
}

pub fn write_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    write_frame_head(out, 4, Kind::WindowUpdate, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}
