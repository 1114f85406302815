//! The whole backend side against small scripted servers over real sockets.

mod balancing;
mod bodies;
mod faults;
mod keeping;
mod messages;
mod names;
mod probing;
mod transports;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::http::{Fields, Method, RequestHead, Scheme, Version};

/// Longer than anything here takes when it works.
const PATIENCE: Duration = Duration::from_secs(10);

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

/// A server's end of one connection.
struct Peer {
    socket: Box<dyn Socket>,
    received: Vec<u8>,
}

impl Peer {
    fn new(socket: impl Socket + 'static) -> Peer {
        Peer {
            socket: Box::new(socket),
            received: Vec::new(),
        }
    }

    /// One read; `false` at the end of the connection, however it came.
    async fn read(&mut self) -> bool {
        matches!(self.socket.read_buf(&mut self.received).await, Ok(1..))
    }

    /// Everything up to and with `pattern`; `None` when the connection ends before.
    async fn until(&mut self, pattern: &str) -> Option<String> {
        loop {
            let found = self
                .received
                .windows(pattern.len())
                .position(|window| window == pattern.as_bytes());
            if let Some(start) = found {
                let taken = self.received.drain(..start + pattern.len()).collect();
                return Some(String::from_utf8(taken).expect("tests speak UTF-8"));
            }
            if !self.read().await {
                return None;
            }
        }
    }

    async fn head(&mut self) -> Option<String> {
        self.until("\r\n\r\n").await
    }

    async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.received.len() < count {
            if !self.read().await {
                return None;
            }
        }
        Some(self.received.drain(..count).collect())
    }

    async fn send(&mut self, text: impl AsRef<[u8]>) {
        // The other side may be gone on purpose.
        let _ = self.socket.write_all(text.as_ref()).await;
        let _ = self.socket.flush().await;
    }

    /// Waits for the other side to close.
    async fn closed(&mut self) {
        while self.read().await {}
    }
}

/// Starts a server on `ip`; `handler` gets each connection with its number, from zero.
async fn serve_on<F, R>(ip: &str, port: u16, handler: F) -> SocketAddr
where
    F: Fn(usize, Peer) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((ip, port)).await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((socket, _)) = listener.accept().await else {
                break;
            };
            tokio::spawn(handler(number, Peer::new(socket)));
        }
    });
    address
}

async fn serve<F, R>(handler: F) -> SocketAddr
where
    F: Fn(usize, Peer) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    serve_on("127.0.0.1", 0, handler).await
}

/// A server that answers every request with 200, a body, and keeps connections; counts requests.
async fn serve_hello(body: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let address = serve(move |_, peer| hello(peer, body, Arc::clone(&counted))).await;
    (address, count)
}

async fn hello(mut peer: Peer, body: &'static str, count: Arc<AtomicUsize>) {
    while peer.head().await.is_some() {
        count.fetch_add(1, Ordering::Relaxed);
        let length = body.len();
        peer.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    }
}

fn server(address: SocketAddr) -> ServerSettings {
    ServerSettings::new(ServerAddress::Socket(address))
}

fn build(servers: Vec<ServerSettings>, adjust: impl FnOnce(&mut PoolSettings)) -> Arc<BackendPool> {
    let mut settings = PoolSettings::new("default", servers);
    settings.timeouts = Timeouts {
        connect: Duration::from_secs(2),
        first_byte: PATIENCE,
        between_bytes: PATIENCE,
    };
    adjust(&mut settings);
    Arc::new(BackendPool::new(settings, Arc::new(SystemResolver)).expect("valid settings"))
}

fn pool(addresses: &[SocketAddr]) -> Arc<BackendPool> {
    build(addresses.iter().copied().map(server).collect(), |_| {})
}

fn request(method: Method, target: &str) -> RequestHead {
    RequestHead {
        method,
        target: target.to_owned(),
        authority: "example.org".to_owned(),
        scheme: Scheme::Http,
        version: Version::Http11,
        fields: [("Host", "example.org")].into_iter().collect(),
    }
}

fn get(target: &str) -> RequestHead {
    request(Method::Get, target)
}

/// A body that is all in the channel already.
fn body_of(length: Option<u64>, pieces: &[&str], trailers: Option<Fields>) -> RequestBody {
    let (sender, receiver) = mpsc::channel(pieces.len() + 1);
    for piece in pieces {
        let data = Bytes::copy_from_slice(piece.as_bytes());
        sender.try_send(BodyPiece::Data(data)).expect("room");
    }
    sender.try_send(BodyPiece::End(trailers)).expect("room");
    RequestBody::Stream { length, receiver }
}

async fn send(
    pool: &BackendPool,
    head: &RequestHead,
    body: RequestBody,
) -> Result<BackendResponse, BackendError> {
    let sending = pool.send(BackendRequest::new(head), body);
    tokio::time::timeout(PATIENCE, sending)
        .await
        .expect("an exchange that does not hang")
}

async fn read(response: &mut BackendResponse) -> Result<String, BackendError> {
    let mut whole = Vec::new();
    let reading = async {
        while let Some(piece) = response.body.next().await? {
            assert!(!piece.is_empty());
            whole.extend_from_slice(&piece);
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("a body that does not hang")?;
    Ok(String::from_utf8(whole).expect("tests speak UTF-8"))
}

async fn fetch(pool: &BackendPool, target: &str) -> Result<String, BackendError> {
    let mut response = send(pool, &get(target), RequestBody::Empty).await?;
    read(&mut response).await
}

fn counters(pool: &BackendPool, place: usize) -> CounterValues {
    let status = pool.servers().nth(place).expect("as many servers");
    status.counters
}

/// Waits until `condition` holds, since the other side of a socket takes its time.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// An address on which nobody listens.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("a bound socket")
}

/// What a server had to tell.
async fn heard<T>(from_server: &mut mpsc::UnboundedReceiver<T>) -> T {
    tokio::time::timeout(PATIENCE, from_server.recv())
        .await
        .expect("a server that says something")
        .expect("a server that is still there")
}
