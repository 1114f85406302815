//! A backend that does as it is told, and remembers what it was asked.
//!
//! A test gives it a function from a request to its answer, which may take its time, write in pieces, or write
//! nonsense. The function gets the exchange and hands it back to keep the connection; dropping it closes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::message::{Fields, RequestHead};
use crate::wire::{Body, Wire};

/// Bytes of a request's body that are remembered.
const REMEMBERED_BYTES_MAX: usize = 1 << 20;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub head: RequestHead,
    /// When the head had arrived.
    pub at: Instant,
    /// Number of the connection it came over, from 0.
    pub connection: u64,
    /// The first bytes of its body, as far as it was read.
    pub body: Vec<u8>,
    /// All bytes of it that were read.
    pub body_bytes: u64,
    pub trailers: Fields,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get(name)
    }
}

#[derive(Debug, Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicU64,
    sent_bytes: AtomicU64,
    problems: Mutex<Vec<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("nothing panics while it holds this lock")
}

/// A running backend. It ends with this value.
#[derive(Debug)]
pub struct Backend {
    pub address: SocketAddr,
    record: Arc<Record>,
    accepting: JoinHandle<()>,
}

impl Backend {
    /// Answers each request with `answer`, once its body has been read.
    pub async fn start<A, F>(answer: A) -> Backend
    where
        A: Fn(Exchange) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Exchange>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Backend::start_at_heads(move |mut exchange: Exchange| {
            let answer = Arc::clone(&answer);
            async move {
                while exchange.read_piece().await?.is_some() {}
                answer(exchange).await
            }
        })
        .await
    }

    /// Answers each request with `answer`, as soon as its head is there.
    pub async fn start_at_heads<A, F>(answer: A) -> Backend
    where
        A: Fn(Exchange) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Exchange>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Backend::start_raw(move |stream, record, connection| {
            let answer = Arc::clone(&answer);
            async move {
                let mut wire = Wire::new(stream);
                while let Some(exchange) = Exchange::receive(wire, &record, connection).await? {
                    let exchange = answer(exchange).await?;
                    if exchange.closes {
                        break;
                    }
                    wire = exchange.wire;
                }
                Ok(())
            }
        })
        .await
    }

    /// Gives each connection to `serve`, as it is.
    pub async fn start_for_connections<A, F>(serve: A) -> Backend
    where
        A: Fn(TcpStream) -> F + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        Backend::start_raw(move |stream, _, _| serve(stream)).await
    }

    async fn start_raw<A, F>(serve: A) -> Backend
    where
        A: Fn(TcpStream, Arc<Record>, u64) -> F + Send + Sync + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("the kernel has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let record = Arc::new(Record::default());
        let kept = Arc::clone(&record);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and with it all connections.
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let connection = kept.connections.fetch_add(1, Ordering::Relaxed);
                // The next accept may be far off: without this each answer would wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                let record = Arc::clone(&kept);
                let served = serve(stream, Arc::clone(&record), connection);
                serving.spawn(async move {
                    if let Err(problem) = served.await {
                        locked(&record.problems).push(format!("{problem:#}"));
                    }
                });
                while serving.try_join_next().is_some() {}
            }
        });
        Backend {
            address,
            record,
            accepting,
        }
    }

    /// Everything that was asked, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.record.seen).clone()
    }

    /// What was asked of one target.
    pub fn seen_at(&self, target: &str) -> Vec<Seen> {
        self.seen()
            .into_iter()
            .filter(|seen| seen.head.target == target)
            .collect()
    }

    /// How often a target was asked for.
    pub fn count(&self, target: &str) -> usize {
        locked(&self.record.seen)
            .iter()
            .filter(|seen| seen.head.target == target)
            .count()
    }

    /// Connections that were ever accepted.
    pub fn connections(&self) -> u64 {
        self.record.connections.load(Ordering::Relaxed)
    }

    /// Bytes that [`Exchange::write`] has handed to the kernel.
    pub fn sent_bytes(&self) -> u64 {
        self.record.sent_bytes.load(Ordering::Relaxed)
    }

    /// What went wrong on connections: the other side left, or sent what we do not read.
    pub fn problems(&self) -> Vec<String> {
        locked(&self.record.problems).clone()
    }

    /// Waits until a target has been asked for so often.
    ///
    /// # Panics
    /// After ten seconds.
    pub async fn wait_for_count(&self, target: &str, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.count(target) < count {
            assert!(
                Instant::now() < deadline,
                "{target} was asked for {} times, not {count}",
                self.count(target)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request and the way to answer it.
#[derive(Debug)]
pub struct Exchange {
    /// The request, with as much of its body as has been read.
    pub seen: Seen,
    index: usize,
    body: Body,
    wire: Wire<TcpStream>,
    record: Arc<Record>,
    closes: bool,
}

impl Exchange {
    async fn receive(
        mut wire: Wire<TcpStream>,
        record: &Arc<Record>,
        connection: u64,
    ) -> Result<Option<Exchange>> {
        let Some(bytes) = wire.read_head().await? else {
            return Ok(None);
        };
        let head = RequestHead::parse(&bytes)?;
        let body = Body::of(&head.fields, Body::Empty)?;
        let closes = head.fields.has_token("Connection", "close");
        let (at, trailers) = (Instant::now(), Fields::new());
        let seen = Seen {
            head,
            at,
            connection,
            body: Vec::new(),
            body_bytes: 0,
            trailers,
        };
        let index = {
            let mut all = locked(&record.seen);
            all.push(seen.clone());
            all.len() - 1
        };
        let mut exchange = Exchange {
            seen,
            index,
            body,
            wire,
            record: Arc::clone(record),
            closes,
        };
        if exchange
            .seen
            .head
            .fields
            .has_token("Expect", "100-continue")
        {
            exchange.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        Ok(Some(exchange))
    }

    /// The next piece of the request's body; `None` at its end.
    pub async fn read_piece(&mut self) -> Result<Option<Vec<u8>>> {
        let piece = self
            .wire
            .read_body(&mut self.body, &mut self.seen.trailers)
            .await
            .context("the request's body")?;
        if let Some(piece) = &piece {
            let room = REMEMBERED_BYTES_MAX - self.seen.body.len();
            self.seen.body.extend(&piece[..piece.len().min(room)]);
            self.seen.body_bytes += piece.len() as u64;
        } else {
            locked(&self.record.seen)[self.index] = self.seen.clone();
        }
        Ok(piece)
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.write(bytes).await?;
        self.record
            .sent_bytes
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Writes a head. Framing is up to `fields`.
    pub async fn write_head(&mut self, status: u16, fields: &[(&str, &str)]) -> Result<()> {
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).await
    }

    /// Writes a chunk; an empty one ends the body.
    pub async fn write_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        let head = format!("{:x}\r\n", bytes.len());
        self.write(&[head.as_bytes(), bytes, b"\r\n"].concat())
            .await
    }

    /// Writes a whole response with Content-Length; without the body where the request says HEAD.
    pub async fn reply(
        &mut self,
        status: u16,
        fields: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<()> {
        let body = body.as_ref();
        let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if status != 304 && status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let sends_body = self.seen.head.method != "HEAD" && status != 304 && status != 204;
        let body = if sends_body { body } else { b"" };
        self.write(&[head.as_bytes(), body].concat()).await
    }

    /// The connection, for protocols other than HTTP.
    pub fn wire(&mut self) -> &mut Wire<TcpStream> {
        &mut self.wire
    }

    /// Closes the connection once the exchange is handed back.
    pub fn close(&mut self) {
        self.closes = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Connection, Request};

    #[tokio::test]
    async fn requests_are_answered_and_remembered() {
        let backend = Backend::start(|mut exchange| async move {
            let said = exchange.seen.body.clone();
            exchange.reply(200, &[("X-Said", "yes")], said).await?;
            Ok(exchange)
        })
        .await;
        let mut client = Connection::open(backend.address).await.unwrap();
        for body in ["one", "two"] {
            let answer = client.ask(&Request::put("/echo", body)).await.unwrap();
            assert_eq!((answer.status(), answer.text().as_str()), (200, body));
        }
        let head = client.ask(&Request::new("HEAD", "/other")).await.unwrap();
        assert_eq!(
            (head.field("Content-Length"), head.body.len()),
            (Some("0"), 0)
        );
        assert_eq!(
            (
                backend.count("/echo"),
                backend.count("/other"),
                backend.connections()
            ),
            (2, 1, 1)
        );
        assert_eq!(backend.seen_at("/echo")[1].body, b"two");
    }
}
