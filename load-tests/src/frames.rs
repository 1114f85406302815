//! HTTP/2 frames written by hand (RFC 9113 §4), for clients that no library would be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// RFC 9113 §7.
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a server may take nothing before it counts as not reading.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).expect("frames of tests are small");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals that no table remembers (RFC 7541 §6.2.2). Whatever the bytes are, they are sent.
pub fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string as HPACK has it, without Huffman coding (RFC 7541 §5.2).
pub fn string(block: &mut Vec<u8>, text: &[u8]) {
    let mut length = text.len();
    if length < 127 {
        block.push(u8::try_from(length).expect("just compared"));
    } else {
        block.push(127);
        length -= 127;
        while length >= 128 {
            block.push(u8::try_from(length % 128 + 128).expect("below 256"));
            length /= 128;
        }
        block.push(u8::try_from(length).expect("below 128"));
    }
    block.extend(text);
}

/// The pseudo-header fields of a request, and others behind them.
pub fn request(method: &str, path: &str, fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut all: Vec<(&[u8], &[u8])> = vec![
        (b":method", method.as_bytes()),
        (b":scheme", b"http"),
        (b":authority", b"lacquer.test"),
        (b":path", path.as_bytes()),
    ];
    all.extend(fields);
    block(&all)
}

/// What the server has said so far.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Frames by type.
    pub frames: BTreeMap<u8, usize>,
    /// Streams the server has reset, with its reasons.
    pub resets: BTreeMap<u32, u32>,
    /// Streams whose answers are complete.
    pub finished: Vec<u32>,
    /// First byte of the first header block on each stream: `0x88` is a 200 (RFC 7541, appendix A).
    pub blocks: BTreeMap<u32, Vec<u8>>,
    /// The reason of a GOAWAY.
    pub goaway: Option<u32>,
    pub is_closed: bool,
}

impl Heard {
    pub fn count(&self, kind: u8) -> usize {
        self.frames.get(&kind).copied().unwrap_or(0)
    }
}

/// A connection on which everything is written by hand, and everything is read as it comes.
#[derive(Debug)]
pub struct FrameClient {
    write: OwnedWriteHalf,
    heard: Arc<Mutex<Heard>>,
    reading: JoinHandle<()>,
}

impl FrameClient {
    /// Connects and says the preface with these settings (RFC 9113 §6.5.2).
    pub async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Result<FrameClient> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (mut read, write) = stream.into_split();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let kept = Arc::clone(&heard);
        let reading = tokio::spawn(async move {
            let mut head = [0; 9];
            while read.read_exact(&mut head).await.is_ok() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
                let mut payload = vec![0; length as usize];
                if read.read_exact(&mut payload).await.is_err() {
                    break;
                }
                note(&kept, head, &payload);
            }
            locked(&kept).is_closed = true;
        });
        let mut client = FrameClient {
            write,
            heard,
            reading,
        };
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let settings = frame(SETTINGS, 0, 0, payload);
        client.send(&[PREFACE, &settings].concat()).await?;
        Ok(client)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the connection has ended, or nothing is read for five seconds.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(WRITE_PATIENCE, self.write.write_all(bytes)).await??;
        Ok(())
    }

    /// Sends GET on a stream.
    pub async fn get(&mut self, stream: u32, path: &str) -> Result<()> {
        let flags = END_STREAM | END_HEADERS;
        self.send(&frame(HEADERS, flags, stream, request("GET", path, &[])))
            .await
    }

    pub fn heard(&self) -> Heard {
        locked(&self.heard).clone()
    }

    /// Waits until the server has said enough; says whether it has.
    pub async fn hears(&self, wait: Duration, enough: impl Fn(&Heard) -> bool) -> bool {
        let deadline = Instant::now() + wait;
        loop {
            if enough(&locked(&self.heard)) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for FrameClient {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn locked(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard
        .lock()
        .expect("nothing panics while it holds this lock")
}

fn note(heard: &Mutex<Heard>, head: [u8; 9], payload: &[u8]) {
    let [_, _, _, kind, flags, a, b, c, d] = head;
    let stream = u32::from_be_bytes([a, b, c, d]);
    let number = |at: usize| {
        let bytes = payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let mut heard = locked(heard);
    *heard.frames.entry(kind).or_default() += 1;
    match kind {
        RST_STREAM => {
            heard.resets.insert(stream, number(0).unwrap_or(u32::MAX));
        }
        GOAWAY => heard.goaway = Some(number(4).unwrap_or(u32::MAX)),
        HEADERS => {
            let block = payload.to_vec();
            heard.blocks.entry(stream).or_insert(block);
        }
        _ => {}
    }
    if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
        heard.finished.push(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_strings_are_written_as_defined() {
        assert_eq!(
            frame(PING, 0, 0, [7; 8]),
            [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat()
        );
        let mut block = Vec::new();
        string(&mut block, &[b'a'; 1337]);
        // RFC 7541, appendix C.1.2, for a prefix of seven bits.
        assert_eq!(block[..3], [127, 186, 9]);
        assert_eq!(block.len(), 3 + 1337);
    }
}
