//! A server on a real socket, a handler that does what its path says, and a client that sees every byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};

use super::super::*;
use crate::http::{Fields, Method, OutgoingHead, ResponseHead};
use crate::http1::{Decoded, Decoder, HeadLimits, ParsedResponse, parse_response};
use crate::time::Timestamp;

/// Longer than anything takes, so that a hang fails instead of hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) shutdown: watch::Sender<bool>,
    pub(super) handler: Arc<Scripted>,
    pub(super) events: mpsc::UnboundedReceiver<String>,
}

/// Does what the path of a request says, and tells what it saw.
pub(super) struct Scripted {
    events: mpsc::UnboundedSender<String>,
    pub(super) refused: Mutex<Vec<u16>>,
    /// Why the connection that ended last did.
    pub(super) last_end: Arc<Mutex<Option<End>>>,
}

pub(super) async fn start(settings: DownstreamSettings) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    start_on(listener, settings)
}

/// The same, where the kernel takes only so many bytes of replies.
pub(super) async fn start_with_send_buffer(settings: DownstreamSettings, bytes: u32) -> Server {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(bytes).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    start_on(socket.listen(64).unwrap(), settings)
}

fn start_on(listener: TcpListener, settings: DownstreamSettings) -> Server {
    let addr = listener.local_addr().unwrap();
    let (shutdown, watcher) = watch::channel(false);
    let (sender, events) = mpsc::unbounded_channel();
    let handler = Arc::new(Scripted {
        events: sender,
        refused: Mutex::default(),
        last_end: Arc::default(),
    });
    let served = handler.clone();
    let settings = Arc::new(settings);
    tokio::spawn(async move {
        let ids = AtomicU64::new(1);
        while let Ok((socket, _)) = listener.accept().await {
            socket.set_nodelay(true).unwrap();
            let stream: Stream = Box::new(L4Stream::from(socket));
            let info = ConnectionInfo::of(
                &stream,
                ids.fetch_add(1, Ordering::Relaxed),
                Timestamp::now(),
            );
            let (events, ends) = (served.events.clone(), served.last_end.clone());
            let serving = serve_connection(
                stream,
                info,
                settings.clone(),
                served.clone(),
                watcher.clone(),
            );
            tokio::spawn(async move {
                let end = serving.await;
                *ends.lock() = Some(end);
                let _ = events.send("connection ended".to_owned());
            });
        }
    });
    Server {
        addr,
        shutdown,
        handler,
        events,
    }
}

impl Server {
    pub(super) async fn connect(&self) -> Client {
        Client {
            stream: TcpStream::connect(self.addr).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    pub(super) async fn event(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("the server runs")
    }
}

impl Handler for Scripted {
    async fn handle(&self, mut exchange: Exchange) -> Served {
        let target = exchange.head().target.clone();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let played = match path {
            "/upgrade" => {
                let protocol = exchange.upgrade().unwrap_or("nothing").to_owned();
                let head = ResponseHead::new(101)
                    .with("Connection", "upgrade")
                    .with("Upgrade", protocol);
                return self.tunnel(exchange, &head).await;
            }
            "" if exchange.upgrade() == Some("CONNECT") => {
                let head = ResponseHead::new(200).with("X-Host", &exchange.head().authority);
                return self.tunnel(exchange, &head).await;
            }
            "/unanswered" => return exchange.done(),
            "/abort" => {
                let head = ResponseHead::new(200);
                exchange.send_head(&head, SendBody::Unknown).await.unwrap();
                exchange
                    .send_body(Bytes::from_static(b"half"))
                    .await
                    .unwrap();
                return exchange.abort();
            }
            "/panic" => panic!("asked for by the test"),
            _ => self.play(&mut exchange, path, query).await,
        };
        if let Err(error) = played {
            self.tell(format!("error: {error}"));
            if let Some(status) = error.status() {
                let head = ResponseHead::new(status);
                let _ = exchange.send_head(&head, SendBody::Empty).await;
            }
        }
        exchange.done()
    }

    fn refused(&self, _info: &ConnectionInfo, request: RefusedRequest) {
        self.refused.lock().push(request.refusal.status());
    }

    fn panicked(&self, _info: &ConnectionInfo) {
        self.tell("panicked".to_owned());
    }
}

impl Scripted {
    fn tell(&self, event: String) {
        let _ = self.events.send(event);
    }

    async fn play(
        &self,
        exchange: &mut Exchange,
        path: &str,
        query: &str,
    ) -> Result<(), ClientError> {
        let ok = ResponseHead::new(200);
        match path {
            "/hello" => {
                exchange.send_head(&ok, SendBody::Length(5)).await?;
                exchange.send_body(Bytes::from_static(b"hello")).await?;
                exchange.finish(None).await
            }
            "/echo" => {
                let mut body = Vec::new();
                while let Some(piece) = exchange.read_body().await? {
                    body.extend_from_slice(&piece);
                }
                let trailers = exchange.take_trailers();
                let head = ok
                    .with("X-Host", &exchange.head().authority)
                    .with("X-Method", exchange.head().method.as_str());
                let cookie = exchange.head().fields.get_joined("cookie");
                let head = head.with("X-Cookie", cookie.unwrap_or_default());
                exchange.send_head(&head, SendBody::Unknown).await?;
                exchange.send_body(body.into()).await?;
                exchange.finish(trailers.as_ref()).await
            }
            "/sink" => {
                let mut count = 0;
                while let Some(piece) = exchange.read_body().await? {
                    count += piece.len();
                }
                let body = count.to_string();
                exchange
                    .send_head(&ok, SendBody::Length(body.len() as u64))
                    .await?;
                exchange.send_body(body.into()).await?;
                exchange.finish(None).await
            }
            "/stream" => {
                exchange.send_head(&ok, SendBody::Unknown).await?;
                for piece in ["one", "two", "three"] {
                    exchange
                        .send_body(Bytes::from_static(piece.as_bytes()))
                        .await?;
                }
                let trailers: Fields = [("X-Sum", "abc")].into_iter().collect();
                exchange.finish(Some(&trailers)).await
            }
            "/large" => {
                let mebibytes: u64 = query.parse().unwrap();
                let piece = Bytes::from(vec![b'x'; 1024 * 1024]);
                exchange
                    .send_head(&ok, SendBody::Length(mebibytes * 1024 * 1024))
                    .await?;
                for _ in 0..mebibytes {
                    exchange.send_body(piece.clone()).await?;
                }
                exchange.finish(None).await
            }
            "/early" => {
                exchange.send_head(&ok, SendBody::Length(5)).await?;
                exchange.send_body(Bytes::from_static(b"early")).await?;
                exchange.finish(None).await
            }
            "/status" => {
                let head = ResponseHead::new(query.parse().unwrap())
                    .with("Content-Length", "77")
                    .with("ETag", "\"a\"");
                exchange.send_head(&head, SendBody::Empty).await?;
                exchange
                    .send_body(Bytes::from_static(b"nobody reads this"))
                    .await?;
                exchange.finish(None).await
            }
            "/hints" => {
                let hints = ResponseHead::new(103).with("Link", "</a>");
                exchange.send_informational(&hints).await?;
                exchange.send_head(&ok, SendBody::Empty).await?;
                exchange.finish(None).await
            }
            "/stored" => {
                let head = ResponseHead::new(200)
                    .with("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
                    .with("X-Stored", "yes");
                let mut head = OutgoingHead::new(&head, exchange.take_memory());
                head.set("Age", "7");
                exchange.send_outgoing(&head, SendBody::Length(5)).await?;
                exchange.send_body(Bytes::from_static(b"store")).await?;
                exchange.finish(None).await
            }
            "/stored-and-framed" => {
                let head = ResponseHead::new(200).with("Content-Length", "3");
                let mut head = OutgoingHead::new(&head, exchange.take_memory());
                head.append("Content-Length", "999");
                head.append("Transfer-Encoding", "chunked");
                head.append("Connection", "close");
                exchange.send_outgoing(&head, SendBody::Length(5)).await?;
                exchange.send_body(Bytes::from_static(b"store")).await?;
                exchange.finish(None).await
            }
            "/close" => {
                let head = ok
                    .with("Connection", "close")
                    .with("Keep-Alive", "timeout=5");
                exchange.send_head(&head, SendBody::Empty).await?;
                exchange.finish(None).await
            }
            "/short" => {
                exchange.send_head(&ok, SendBody::Length(10)).await?;
                exchange.send_body(Bytes::from_static(b"short")).await
            }
            "/long" => {
                exchange.send_head(&ok, SendBody::Length(2)).await?;
                exchange.send_body(Bytes::from_static(b"long")).await
            }
            "/unfinished" => {
                exchange.send_head(&ok, SendBody::Unknown).await?;
                exchange.send_body(Bytes::from_static(b"half")).await
            }
            "/wait" => {
                self.tell("waiting".to_owned());
                let departure = exchange.closed().await;
                self.tell(format!("{departure:?}"));
                exchange.send_head(&ok, SendBody::Length(5)).await?;
                exchange.send_body(Bytes::from_static(b"still")).await?;
                exchange.finish(None).await
            }
            "/wait-a-little" => {
                let closed = tokio::time::timeout(Duration::from_millis(200), exchange.closed());
                self.tell(match closed.await {
                    Ok(departure) => format!("{departure:?}"),
                    Err(_) => "still there".to_owned(),
                });
                exchange.send_head(&ok, SendBody::Empty).await?;
                exchange.finish(None).await
            }
            "/cancelled-reads" => {
                // Each read is given up after a moment, again and again: nothing may be lost.
                let mut body = Vec::new();
                loop {
                    let read = tokio::time::timeout(Duration::from_millis(3), exchange.read_body());
                    match read.await {
                        Ok(piece) => match piece? {
                            Some(piece) => body.extend_from_slice(&piece),
                            None => break,
                        },
                        Err(_) => continue,
                    }
                }
                exchange
                    .send_head(&ok, SendBody::Length(body.len() as u64))
                    .await?;
                exchange.send_body(body.into()).await?;
                exchange.finish(None).await
            }
            "/expects" => {
                let expects = exchange.expects_continue();
                let head = ok.with("X-Expects", if expects { "yes" } else { "no" });
                exchange.send_head(&head, SendBody::Empty).await?;
                exchange.finish(None).await
            }
            "/traffic" => {
                while exchange.read_body().await?.is_some() {}
                exchange.send_head(&ok, SendBody::Unknown).await?;
                exchange.send_body(Bytes::from_static(b"12345")).await?;
                exchange.finish(None).await?;
                self.tell(format!("{:?}", exchange.traffic()));
                Ok(())
            }
            other => {
                let head = ResponseHead::new(404).with("X-Target", other);
                exchange.send_head(&head, SendBody::Empty).await?;
                exchange.finish(None).await
            }
        }
    }

    /// Takes the connection and sends back what comes, in capitals.
    async fn tunnel(&self, mut exchange: Exchange, head: &ResponseHead) -> Served {
        exchange.send_head(head, SendBody::Empty).await.unwrap();
        let (mut stream, leftover) = exchange.into_upgraded().await.unwrap();
        stream
            .write_all(&leftover.to_ascii_uppercase())
            .await
            .unwrap();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            stream
                .write_all(&buffer[..count].to_ascii_uppercase())
                .await
                .unwrap();
            stream.flush().await.unwrap();
        }
        Served::taken()
    }
}

/// A reply as the client got it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) head: ResponseHead,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<Fields>,
}

impl Reply {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get_str(name)
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A client of raw bytes.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) input: BytesMut,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one head.
    pub(super) async fn head(&mut self, method: Method) -> ParsedResponse {
        let reading = async {
            loop {
                let parsed = parse_response(&self.input, &HeadLimits::default(), &method).unwrap();
                if let Some(parsed) = parsed {
                    let _ = self.input.split_to(parsed.consumed);
                    return parsed;
                }
                let count = self.stream.read_buf(&mut self.input).await.unwrap();
                assert!(count > 0, "the connection ended before a reply");
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a reply in time")
    }

    /// Reads one whole reply.
    pub(super) async fn reply(&mut self, method: Method) -> Reply {
        let parsed = self.head(method).await;
        let mut decoder = Decoder::new(parsed.framing, &HeadLimits::default());
        let mut body = Vec::new();
        let reading = async {
            loop {
                match decoder.decode(&mut self.input).unwrap() {
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::End(trailers) => return trailers,
                    Decoded::NeedMore => {
                        if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                            decoder.end_of_input().unwrap();
                        }
                    }
                }
            }
        };
        let trailers = tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a body in time");
        Reply {
            head: parsed.head,
            body,
            trailers,
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        self.reply(Method::Get).await
    }

    /// Everything until the server closes.
    pub(super) async fn rest(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.input).to_vec();
        let reading = self.stream.read_to_end(&mut rest);
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("an end in time")
            .expect("no reset");
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Sends bytes on a fresh connection and reads to the end.
pub(super) async fn talk(server: &Server, bytes: impl AsRef<[u8]>) -> String {
    let mut client = server.connect().await;
    client.send(bytes).await;
    client.rest().await
}

/// Resident memory of this process, in bytes.
pub(super) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<u64>().unwrap() * 1024
}
