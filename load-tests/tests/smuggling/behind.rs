//! A back-end that reads in a given way, answers what it has read, and remembers it.
//!
//! Answers carry the request's own marker in `X-Answers`, so that whoever gets one can tell whose it is. By target:
//! `/cached…` may be stored, `/early…` is refused before its body is read, `/upgrade…` switches protocols if asked to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::reading::{Head, Reader};

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) line: String,
    /// Its body came to its end.
    pub(crate) is_whole: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) seen: Vec<Seen>,
    /// Bytes that were no request, and why.
    pub(crate) doubts: Vec<String>,
    /// What came through each connection that has left HTTP.
    pub(crate) tunnels: Vec<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) address: SocketAddr,
    record: Arc<Mutex<Record>>,
    accepting: JoinHandle<()>,
}

impl Behind {
    pub(crate) async fn start(reader: impl Reader) -> Behind {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("the kernel has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let record = Arc::new(Mutex::new(Record::default()));
        let kept = Arc::clone(&record);
        let accepting = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let connection = Connection {
                    stream,
                    input: Vec::new(),
                    reader: reader.clone(),
                    record: Arc::clone(&kept),
                };
                // A peer that breaks off is no failure; what it had sent is on record.
                serving.spawn(async move { drop(connection.serve().await) });
                while serving.try_join_next().is_some() {}
            }
        });
        Behind {
            address,
            record,
            accepting,
        }
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        locked(&self.record)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn locked(record: &Mutex<Record>) -> MutexGuard<'_, Record> {
    record
        .lock()
        .expect("nothing panics while it holds this lock")
}

struct Connection<R> {
    stream: TcpStream,
    input: Vec<u8>,
    reader: R,
    record: Arc<Mutex<Record>>,
}

impl<R: Reader> Connection<R> {
    async fn serve(mut self) -> Result<()> {
        while let Some(head) = self.head().await? {
            let index = {
                let mut record = locked(&self.record);
                let line = head.line(b"");
                record.seen.push(Seen {
                    line,
                    is_whole: false,
                });
                record.seen.len() - 1
            };
            if head.get("Upgrade").is_some() && head.target.starts_with("/upgrade") {
                locked(&self.record).seen[index].is_whole = true;
                return self.tunnel(&head).await;
            }
            let is_early = head.target.starts_with("/early");
            if is_early {
                self.answer(&head, 403, b"early").await?;
            } else if head.lists("Expect", "100-continue") {
                self.stream
                    .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                    .await?;
            }
            let Some(body) = self.body(&head).await? else {
                return Ok(());
            };
            let line = head.line(&body);
            locked(&self.record).seen[index] = Seen {
                line: line.clone(),
                is_whole: true,
            };
            if !is_early {
                self.answer(&head, 200, line.as_bytes()).await?;
            }
            if head.lists("Connection", "close") {
                break;
            }
        }
        Ok(())
    }

    async fn head(&mut self) -> Result<Option<Head>> {
        loop {
            match self.reader.head(&self.input) {
                Ok(Some(head)) => {
                    self.input.drain(..head.bytes);
                    return Ok(Some(head));
                }
                Ok(None) => {}
                Err(doubt) => {
                    self.doubt(&doubt);
                    let answer =
                        b"HTTP/1.1 400 Doubt\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                    self.stream.write_all(answer).await?;
                    return Ok(None);
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                if !self.input.is_empty() {
                    self.doubt("something that is no request");
                }
                return Ok(None);
            }
        }
    }

    /// `None` when it breaks off.
    async fn body(&mut self, head: &Head) -> Result<Option<Vec<u8>>> {
        loop {
            match self.reader.body(head.framing, &self.input) {
                Ok(Some((body, taken))) => {
                    self.input.drain(..taken);
                    return Ok(Some(body));
                }
                Ok(None) => {}
                Err(doubt) => {
                    self.doubt(&doubt);
                    return Ok(None);
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn doubt(&self, doubt: &str) {
        let shown = self.input.escape_ascii();
        locked(&self.record)
            .doubts
            .push(format!("{doubt}: {shown}"));
    }

    async fn answer(&mut self, head: &Head, status: u16, body: &[u8]) -> Result<()> {
        let control = match head.target.starts_with("/cached") {
            true => "max-age=60",
            false => "no-store",
        };
        let (marker, length) = (head.marker(), body.len());
        let mut answer = format!(
            "HTTP/1.1 {status} Read\r\nX-Answers: {marker}\r\nCache-Control: {control}\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        if head.method != "HEAD" {
            answer.extend(body);
        }
        Ok(self.stream.write_all(&answer).await?)
    }

    async fn tunnel(mut self, head: &Head) -> Result<()> {
        let protocol = head.get("Upgrade").unwrap_or_default();
        let answer = format!(
            "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\nX-Answers: {}\r\n\r\n",
            head.marker()
        );
        self.stream.write_all(answer.as_bytes()).await?;
        let index = {
            let mut record = locked(&self.record);
            record.tunnels.push(Vec::new());
            record.tunnels.len() - 1
        };
        loop {
            locked(&self.record).tunnels[index] = self.input.clone();
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }
}
