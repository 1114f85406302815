//! How many times the socket is asked: a hit is one read and one write.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::*;
use super::support::PATIENCE;
use crate::http::ResponseHead;
use crate::time::Timestamp;

/// What was asked of the socket.
#[derive(Debug, Default)]
struct Calls {
    /// Bytes of each read that gave any.
    reads: Vec<usize>,
    /// Bytes offered by each write.
    writes: Vec<usize>,
}

#[derive(Debug)]
struct Counting {
    stream: L4Stream,
    calls: Arc<Mutex<Calls>>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let count = buffer.filled().len() - before;
        if count > 0 {
            self.calls.lock().reads.push(count);
        }
        polled
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.calls.lock().writes.push(bytes.len());
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        self.calls.lock().writes.push(offered);
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Counting {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Counting {
    fn id(&self) -> UniqueIDType {
        0
    }
}

impl Ssl for Counting {}

impl GetTimingDigest for Counting {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Counting {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Counting {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        None
    }
}

impl Peek for Counting {}

/// Answers with as many bytes as the path says, `/BYTES` or `/BYTESxPIECES`.
#[derive(Debug)]
struct Sized;

impl Handler for Sized {
    async fn handle(&self, mut exchange: Exchange) -> Served {
        let target = &exchange.head().target[1..];
        let (size, pieces) = target.split_once('x').unwrap_or((target, "1"));
        let (size, pieces): (usize, usize) = (size.parse().unwrap(), pieces.parse().unwrap());
        let head = ResponseHead::new(200);
        let length = SendBody::Length((size * pieces) as u64);
        exchange.send_head(&head, length).await.unwrap();
        let piece = Bytes::from(vec![b'x'; size]);
        match pieces {
            1 => exchange.send_body(piece).await.unwrap(),
            _ => exchange.send_pieces(&vec![piece; pieces]).await.unwrap(),
        }
        exchange.finish(None).await.unwrap();
        exchange.done()
    }
}

/// Sends `input` at once and reads `replies` bytes of body; what the server's socket was asked meanwhile.
async fn calls(input: &str, body_bytes: usize) -> Calls {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let calls = Arc::new(Mutex::new(Calls::default()));
    let stream: Stream = Box::new(Counting {
        stream: L4Stream::from(socket),
        calls: calls.clone(),
    });
    let info = ConnectionInfo::of(&stream, 1, Timestamp::now());
    let (_shutdown, watcher) = watch::channel(false);
    client.write_all(input.as_bytes()).await.unwrap();
    let settings = Arc::new(DownstreamSettings::default());
    tokio::spawn(serve_connection(
        stream,
        info,
        settings,
        Arc::new(Sized),
        watcher,
    ));
    let reading = async {
        let mut seen = 0;
        let mut buffer = vec![0; 65_536];
        while seen < body_bytes {
            let count = client.read(&mut buffer).await.unwrap();
            assert!(count > 0);
            seen += buffer[..count].iter().filter(|byte| **byte == b'x').count();
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("replies in time");
    std::mem::take(&mut *calls.lock())
}

#[tokio::test]
async fn a_small_reply_is_one_read_and_one_write() {
    let calls = calls("GET /1024 HTTP/1.1\r\nHost: a\r\n\r\n", 1024).await;
    assert_eq!(calls.reads.len(), 1, "{calls:?}");
    assert_eq!(calls.writes.len(), 1, "{calls:?}");
}

#[tokio::test]
async fn head_and_body_of_a_large_reply_are_offered_together() {
    let calls = calls("GET /60000 HTTP/1.1\r\nHost: a\r\n\r\n", 60_000).await;
    assert!(calls.writes[0] > 60_000, "{calls:?}");
}

#[tokio::test]
async fn pieces_that_are_all_here_are_offered_together() {
    let calls = calls("GET /20000x5 HTTP/1.1\r\nHost: a\r\n\r\n", 100_000).await;
    assert!(calls.writes[0] > 100_000, "{calls:?}");
}

#[tokio::test]
async fn small_pieces_are_one_write_with_their_head() {
    let calls = calls("GET /200x5 HTTP/1.1\r\nHost: a\r\n\r\n", 1000).await;
    assert_eq!(calls.writes.len(), 1, "{calls:?}");
}

#[tokio::test]
async fn more_pieces_than_one_write_takes_all_arrive() {
    let calls = calls("GET /1000x1000 HTTP/1.1\r\nHost: a\r\n\r\n", 1_000_000).await;
    assert!(calls.writes.len() >= 1000 / 64, "{calls:?}");
}

#[tokio::test]
async fn replies_to_pipelined_requests_go_out_together() {
    let input = "GET /10 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20);
    let calls = calls(&input, 200).await;
    assert_eq!(calls.reads.len(), 1, "{calls:?}");
    assert_eq!(calls.writes.len(), 1, "{calls:?}");
}
