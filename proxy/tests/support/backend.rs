//! A backend of raw bytes: each request is recorded and answered by steps.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{PATIENCE, until};

/// Holds an answer until it is opened.
#[derive(Clone, Debug)]
pub(crate) struct Gate(watch::Sender<bool>);

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate(watch::Sender::new(false))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        let mut watcher = self.0.subscribe();
        // A test that failed never opens it.
        let _ = tokio::time::timeout(PATIENCE, watcher.wait_for(|open| *open)).await;
    }
}

/// A request as the backend got it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How the body's end was told: false where the connection broke before.
    pub(crate) whole: bool,
    pub(crate) trailers: Vec<(String, String)>,
    /// How many requests came before.
    pub(crate) index: usize,
}

impl Seen {
    /// The head as a service that reflects everything would put it into a page.
    pub(crate) fn echo(&self) -> String {
        let mut text = format!("{} {}\n", self.method, self.target);
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    }

    /// All lines of a field, joined.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let lines = self.fields.iter();
        let lines: Vec<&str> = lines
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    ReadBody,
    Hold(Gate),
    Wait(Duration),
    Echo,
    Close,
}

/// What the backend does about one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    steps: Vec<Step>,
    reads_body_itself: bool,
}

/// An answer with Content-Length.
pub(crate) fn answer(status: u16, fields: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let length = body.len().to_string();
    let described = match status {
        204 | 304 => vec![],
        _ => vec![("Content-Length", &*length)],
    };
    let fields = [fields, &described].concat();
    Answer::default().head(status, &fields).then(body)
}

impl Answer {
    /// Nothing but the end of the connection.
    pub(crate) fn close() -> Answer {
        Answer::default().and_close()
    }

    /// A head alone.
    pub(crate) fn head(self, status: u16, fields: &[(&str, &str)]) -> Answer {
        let mut head = format!("HTTP/1.1 {status} Reason\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.then(head + "\r\n")
    }

    pub(crate) fn then(mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.steps.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    pub(crate) fn chunk(self, bytes: &str) -> Answer {
        self.then(format!("{:x}\r\n{bytes}\r\n", bytes.len()))
    }

    pub(crate) fn hold(mut self, gate: &Gate) -> Answer {
        self.steps.push(Step::Hold(gate.clone()));
        self
    }

    /// This answer once the gate is open.
    pub(crate) fn behind(mut self, gate: &Gate) -> Answer {
        self.steps.insert(0, Step::Hold(gate.clone()));
        self
    }

    /// This answer so much later.
    pub(crate) fn after(mut self, time: Duration) -> Answer {
        self.steps.insert(0, Step::Wait(time));
        self
    }

    /// The body is read here and not before the answer begins.
    pub(crate) fn read_body(mut self) -> Answer {
        self.reads_body_itself = true;
        self.steps.push(Step::ReadBody);
        self
    }

    /// The body is not read at all.
    pub(crate) fn leave_body(mut self) -> Answer {
        self.reads_body_itself = true;
        self
    }

    /// Sends back what comes, until the end.
    pub(crate) fn echo(mut self) -> Answer {
        self.steps.push(Step::Echo);
        self
    }

    pub(crate) fn and_close(mut self) -> Answer {
        self.steps.push(Step::Close);
        self
    }
}

type Answerer = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A backend on a port of its own.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    accepting: JoinHandle<()>,
}

impl Backend {
    /// Answers each request as `answerer` says once its head is read. A body it has to send is read before the
    /// steps, unless the answer says otherwise.
    pub(crate) async fn start(
        answerer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (recorded, answerer): (_, Arc<Answerer>) = (Arc::clone(&seen), Arc::new(answerer));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("an open socket");
                let connection = Connection {
                    stream,
                    input: Vec::new(),
                    seen: Arc::clone(&recorded),
                };
                let answerer = Arc::clone(&answerer);
                tokio::spawn(async move {
                    // An end by the other side is the end.
                    let _ = connection.serve(&*answerer).await;
                });
            }
        });
        Backend {
            address,
            seen,
            accepting,
        }
    }

    /// Closes the port. Connections that are open stay.
    pub(crate) async fn stop(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    /// The same answer to everything.
    pub(crate) async fn always(answer: Answer) -> Backend {
        Backend::start(move |_| answer.clone()).await
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().len()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().last().expect("a request came").clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait_for(&self, count: usize) {
        until(&format!("request {count} at the backend"), || {
            self.count() >= count
        })
        .await;
    }
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Connection {
    async fn serve(mut self, answerer: &Answerer) -> Option<()> {
        loop {
            let head = self.read_until(b"\r\n\r\n").await?;
            let head = String::from_utf8(head).expect("heads of these tests are text");
            let mut lines = head.split("\r\n");
            let mut start = lines.next().expect("a start line").split(' ');
            let mut request = Seen {
                method: start.next().expect("a method").to_owned(),
                target: start.next().expect("a target").to_owned(),
                fields: fields(lines),
                body: Vec::new(),
                whole: false,
                trailers: Vec::new(),
                index: 0,
            };
            let index = {
                let mut seen = self.seen.lock();
                request.index = seen.len();
                seen.push(request.clone());
                request.index
            };
            let answer = answerer(&request);
            if !answer.reads_body_itself {
                self.read_body(&request, index).await?;
            }
            for step in answer.steps {
                match step {
                    Step::Send(bytes) => self.stream.write_all(&bytes).await.ok()?,
                    Step::ReadBody => self.read_body(&request, index).await?,
                    Step::Hold(gate) => gate.opened().await,
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    Step::Echo => return self.echo().await,
                    Step::Close => return None,
                }
            }
        }
    }

    async fn read_body(&mut self, request: &Seen, index: usize) -> Option<()> {
        let mut body = Vec::new();
        let mut trailers = Vec::new();
        if let Some(length) = request.field("content-length") {
            let length = length.parse().expect("a length");
            while self.input.len() < length {
                self.read().await?;
            }
            body = self.input.drain(..length).collect();
        } else if request.field("transfer-encoding").is_some() {
            loop {
                let line = self.read_until(b"\r\n").await?;
                let line = String::from_utf8(line).expect("a chunk's size");
                let size = usize::from_str_radix(line.trim(), 16).expect("a chunk's size");
                if size == 0 {
                    break;
                }
                while self.input.len() < size + 2 {
                    self.read().await?;
                }
                body.extend(self.input.drain(..size));
                self.input.drain(..2);
            }
            loop {
                let line = self.read_until(b"\r\n").await?;
                let line = String::from_utf8(line).expect("a trailer");
                if line == "\r\n" {
                    break;
                }
                trailers.extend(fields(line.split("\r\n")));
            }
        }
        let mut seen = self.seen.lock();
        seen[index].body = body;
        seen[index].trailers = trailers;
        seen[index].whole = true;
        Some(())
    }

    async fn echo(&mut self) -> Option<()> {
        loop {
            let bytes = std::mem::take(&mut self.input);
            self.stream.write_all(&bytes).await.ok()?;
            self.read().await?;
        }
    }

    async fn read_until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            let found = self
                .input
                .windows(end.len())
                .position(|window| window == end);
            if let Some(found) = found {
                return Some(self.input.drain(..found + end.len()).collect());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.input).await.ok()?;
        (read > 0).then_some(())
    }
}

fn fields<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}
