//! The client's frames, counted on their way to `h2`: those that cost us work and a client nothing.
//!
//! `h2` answers every PING and SETTINGS and reads every PRIORITY and unknown frame, however many come. It bounds the rest
//! by itself: CONTINUATION, small and empty DATA, resets of streams that nobody has taken up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// RFC 9113 §3.4: what precedes the first frame.
const PREFACE_BYTES: usize = 24;

/// RFC 9113 §4.1.
const HEAD_BYTES: usize = 9;

/// What the limit is for.
const STRETCH: Duration = Duration::from_secs(10);

/// A stream that ends to be read once too many control frames have come over it.
#[derive(Debug)]
pub(super) struct Metered<S> {
    io: S,
    frames: Frames,
    control: Control,
    exceeded: Arc<AtomicBool>,
}

impl<S> Metered<S> {
    /// `control_frames_max` is for ten seconds. Beyond it the flag becomes true, and nothing more is read.
    pub(super) fn new(io: S, control_frames_max: u32) -> (Metered<S>, Arc<AtomicBool>) {
        let exceeded = Arc::new(AtomicBool::new(false));
        let metered = Metered {
            io,
            frames: Frames::default(),
            control: Control {
                max: control_frames_max,
                count: 0,
                since: Instant::now(),
            },
            exceeded: Arc::clone(&exceeded),
        };
        (metered, exceeded)
    }
}

/// Finds the heads of frames in a stream of bytes.
#[derive(Debug)]
struct Frames {
    /// Bytes until the next head.
    skip: usize,
    head: [u8; HEAD_BYTES],
    /// Bytes of the head that are there.
    filled: usize,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            filled: 0,
        }
    }
}

impl Frames {
    /// Goes through `bytes`; gives the number of control frames that begin in them.
    fn read(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_BYTES - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == HEAD_BYTES {
                let [a, b, c, kind, ..] = self.head;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.filled = 0;
                count += u32::from(is_control(kind));
            }
        }
        count
    }
}

/// All but DATA, HEADERS, RST_STREAM, WINDOW_UPDATE and CONTINUATION (RFC 9113 §6), whose number grows with the
/// work that a client is here for.
fn is_control(kind: u8) -> bool {
    !matches!(kind, 0x0 | 0x1 | 0x3 | 0x8 | 0x9)
}

#[derive(Debug)]
struct Control {
    max: u32,
    /// Since when, and how many.
    since: Instant,
    count: u32,
}

impl Control {
    /// Counts `more`, none of them zero; says whether there are too many.
    fn add(&mut self, more: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= STRETCH {
            self.since = now;
            self.count = 0;
        }
        self.count = self.count.saturating_add(more);
        self.count > self.max
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The loop says GOAWAY and never needs another byte.
        if self.exceeded.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buffer))?;
        let count = self.frames.read(&buffer.filled()[before..]);
        if count > 0 && self.control.add(count, Instant::now()) {
            self.exceeded.store(true, Ordering::Release);
            buffer.set_filled(before);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).expect("small").to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        [&head[..], &vec![6; payload]].concat()
    }

    #[test]
    fn control_frames_are_counted_in_any_pieces() {
        let check = |kinds: &[(u8, usize)], expected: u32| {
            let mut bytes = vec![b'P'; PREFACE_BYTES];
            for (kind, payload) in kinds {
                bytes.extend(frame(*kind, *payload));
            }
            for size in [1, 2, 7, 9, 10, 1000] {
                let mut frames = Frames::default();
                let count: u32 = bytes.chunks(size).map(|piece| frames.read(piece)).sum();
                assert_eq!(count, expected, "{kinds:?} by {size}");
            }
        };
        check(&[], 0);
        check(&[(4, 0)], 1);
        check(&[(4, 18), (6, 8), (6, 8), (2, 5), (0xfa, 300)], 5);
        check(&[(0, 500), (1, 70_000), (3, 4), (8, 4), (9, 0)], 0);
        check(&[(0, 66), (6, 8), (0, 0), (6, 8)], 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_for_ten_seconds() {
        let mut control = Control {
            max: 3,
            count: 0,
            since: Instant::now(),
        };
        assert!(!control.add(3, Instant::now()));
        tokio::time::advance(STRETCH).await;
        assert!(!control.add(3, Instant::now()));
        tokio::time::advance(STRETCH / 2).await;
        assert!(control.add(1, Instant::now()));
    }

    #[tokio::test]
    async fn nothing_is_read_beyond_the_limit() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (near, mut far) = tokio::io::duplex(4096);
        let (mut metered, exceeded) = Metered::new(near, 2);
        let two = [vec![b'P'; PREFACE_BYTES], frame(6, 8), frame(6, 8)].concat();
        far.write_all(&two).await.expect("room");
        let mut read = vec![0; two.len()];
        metered.read_exact(&mut read).await.expect("open");
        assert_eq!((read, exceeded.load(Ordering::Acquire)), (two, false));
        far.write_all(&frame(6, 8)).await.expect("room");
        let mut more = [0; 64];
        let third = metered.read(&mut more);
        let third = tokio::time::timeout(Duration::from_millis(100), third).await;
        assert!(third.is_err() && exceeded.load(Ordering::Acquire));
    }
}
