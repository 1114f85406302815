//! A front door on ports of the kernel's choice, a backend that does what the path says, clients of raw bytes, and
//! pages of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use config::{Config, ListenAddress};
use proxy::http::Method;
use proxy::http1::{Decoded, Decoder, HeadLimits, parse_response};
use proxy::listener::handover::Inherited;
use proxy::server::{Control, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than anything takes, so that a hang fails instead of hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of `/huge`: more than the kernel takes for a client that reads nothing.
const HUGE_BYTES: usize = 48 << 20;

/// A running front door.
pub(crate) struct Front {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) ops: SocketAddr,
    pub(crate) control: Control,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) running: JoinHandle<()>,
}

/// The settings of a front door before one backend, with `more` of them.
pub(crate) fn settings(backend: SocketAddr, more: &str) -> Config {
    let text = format!("{more}\n[metrics]\naddress = \"127.0.0.1:0\"\n");
    let mut config = Config::from_str(&text, "test").expect("the test's settings are sound");
    config.backend.servers = vec![backend.to_string().parse().expect("an address")];
    for listen in &mut config.listen {
        listen.address = ListenAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    }
    config
}

impl Front {
    pub(crate) async fn start(config: Config) -> Front {
        let server = Server::bind(config, Inherited::default())
            .await
            .expect("free ports");
        let addresses = server.addresses().map(|address| match address {
            ListenAddress::Tcp(address) => *address,
            ListenAddress::Unix(_) => unreachable!("the tests listen on TCP"),
        });
        let addresses = addresses.collect();
        let ops = server.metrics_address().expect("metrics are on");
        let control = server.control();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Front {
            addresses,
            ops,
            control,
            stop: Some(stop),
            running,
        }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.addresses[0]).await
    }

    /// Status and body of a page on the operator's port.
    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let mut client = Client::connect(self.ops).await;
        let reply = client.get(path).await;
        (reply.status, reply.body)
    }

    /// Everything that grows. Checks that none of it has fallen since `before`.
    pub(crate) async fn counters(&self, before: &Counts) -> Counts {
        let now = Counts::read(&self.page("/metrics").await.1);
        for (name, value) in &before.0 {
            let after = now.0.get(name);
            assert!(
                after >= Some(value),
                "{name} fell from {value} to {after:?}"
            );
        }
        now
    }

    /// One sample.
    pub(crate) async fn sample(&self, name: &str) -> Option<f64> {
        let page = self.page("/metrics").await.1;
        let mut lines = page.lines();
        let line = lines.find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(' '))
        })?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.running)
            .await
            .expect("an end in time")
            .expect("no panic");
    }
}

/// The counters of a page, histograms by their counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(pub(crate) BTreeMap<String, u64>);

impl Counts {
    fn read(page: &str) -> Counts {
        let mut growing = BTreeSet::new();
        for line in page.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').expect("a name and a type");
                match kind {
                    "counter" => growing.insert(name.to_owned()),
                    "histogram" => growing.insert(format!("{name}_count")),
                    _ => false,
                };
            }
        }
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            let family = name.split('{').next().unwrap_or(name);
            let value: f64 = value.parse().expect("a number");
            let is_whole = growing.contains(family);
            is_whole.then(|| (name.to_owned(), value as u64))
        });
        Counts(samples.collect())
    }

    /// What has grown since `before`, but for what `ignored` names.
    pub(crate) fn since(
        &self,
        before: &Counts,
        ignored: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, u64> {
        let grown = self.0.iter().filter_map(|(name, value)| {
            let more = value - before.0.get(name).copied().unwrap_or(0);
            (more > 0 && !ignored(name)).then(|| (name.clone(), more))
        });
        grown.collect()
    }
}

/// A short name of the tables in full. `fetch length` is a label's value, names without a family's prefix are
/// Varnish's main counters.
pub(crate) fn full_name(short: &str) -> String {
    let words: Vec<&str> = short.split(' ').collect();
    match words[..] {
        ["outcome", outcome] => {
            format!("lacquer_request_duration_seconds_count{{outcome=\"{outcome}\"}}")
        }
        ["not_stored", reason] => format!("lacquer_not_stored_total{{reason=\"{reason}\"}}"),
        ["invalidations", reason] => format!("lacquer_invalidations_total{{reason=\"{reason}\"}}"),
        [family, value] => format!("varnish_main_{family}{{type=\"{value}\"}}"),
        [name] if name.starts_with("lacquer_") => name.to_owned(),
        [name] => format!("varnish_main_{name}"),
        _ => panic!("no name: {short}"),
    }
}

/// A response as a client got it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// Bytes of head and body on the wire.
    pub(crate) bytes: (usize, usize),
}

/// A client of raw bytes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: BytesMut,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        Client {
            stream: TcpStream::connect(address).await.expect("a listener"),
            input: BytesMut::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.stream.write_all(bytes).await.expect("a connection");
    }

    pub(crate) async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await;
        self.reply(&Method::Get).await.expect("a whole reply")
    }

    /// One reply; `None` where it breaks off.
    pub(crate) async fn reply(&mut self, method: &Method) -> Option<Reply> {
        timeout(PATIENCE, self.read_reply(method))
            .await
            .expect("a reply in time")
    }

    async fn read_reply(&mut self, method: &Method) -> Option<Reply> {
        let limits = HeadLimits::default();
        let parsed = loop {
            let parsed = parse_response(&self.input, &limits, method).expect("sound replies");
            if let Some(parsed) = parsed {
                break parsed;
            }
            if self.stream.read_buf(&mut self.input).await.ok()? == 0 {
                return None;
            }
        };
        let _ = self.input.split_to(parsed.consumed);
        let mut decoder = Decoder::new(parsed.framing, &limits);
        let mut body = Vec::new();
        loop {
            match decoder.decode(&mut self.input).expect("sound framing") {
                Decoded::Data(data) => body.extend_from_slice(&data),
                Decoded::End(_) => break,
                Decoded::NeedMore => match self.stream.read_buf(&mut self.input).await {
                    Ok(1..) => {}
                    _ => {
                        decoder.end_of_input().ok()?;
                        break;
                    }
                },
            }
        }
        Some(Reply {
            status: parsed.head.status,
            bytes: (parsed.consumed, body.len()),
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }

    /// Reads on until the other side closes, in whatever way.
    pub(crate) async fn until_closed(&mut self) {
        let mut rest = Vec::new();
        let closing = self.stream.read_to_end(&mut rest);
        // A reset is an end too.
        let _ = timeout(PATIENCE, closing).await.expect("an end in time");
    }
}

/// A backend.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// `/slow` answers with each permit.
    pub(crate) gate: Arc<Semaphore>,
    /// How many requests have come for `/slow`.
    pub(crate) arrived: Arc<Semaphore>,
}

impl Backend {
    pub(crate) async fn start() -> Backend {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let shared = (Arc::clone(&gate), Arc::clone(&arrived));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (gate, arrived) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                tokio::spawn(answer(stream, gate, arrived));
            }
        });
        Backend {
            address,
            gate,
            arrived,
        }
    }
}

/// Serves one connection of the front door.
async fn answer(mut stream: TcpStream, gate: Arc<Semaphore>, arrived: Arc<Semaphore>) {
    let mut input = BytesMut::new();
    loop {
        let head = loop {
            if let Some(end) = input.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break input.split_to(end + 4);
            }
            match stream.read_buf(&mut input).await {
                Ok(1..) => {}
                _ => return,
            }
        };
        let head = String::from_utf8(head.to_vec()).expect("the front door's heads are text");
        let lower = head.to_ascii_lowercase();
        let length = lower.lines().find_map(|line| {
            let length = line.strip_prefix("content-length: ")?;
            length.parse::<usize>().ok()
        });
        let chunked = lower.contains("transfer-encoding: chunked");
        let wants_body = length.unwrap_or(0) > 0 || chunked;
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let body_ended = |input: &BytesMut| match length {
            Some(length) => input.len() >= length,
            None => input.ends_with(b"0\r\n\r\n"),
        };
        while wants_body && !body_ended(&input) {
            match stream.read_buf(&mut input).await {
                Ok(1..) => {}
                _ => return,
            }
        }
        if wants_body {
            input.clear();
        }
        let conditional = lower.contains("if-none-match");
        let cached = "Cache-Control: max-age=60\r\nETag: \"1\"\r\n";
        let sized = |fields: &str, body: &str| {
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
        };
        let chunks = |fields: &str, body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            )
        };
        let mut ends = false;
        let path = path.split('?').next().unwrap_or(path);
        let reply = match path {
            _ if method == "HEAD" => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_owned(),

            "/grace" => chunks(
                "Cache-Control: max-age=0, stale-while-revalidate=60\r\nETag: \"1\"\r\n",
                "grace",
            ),
            "/etag" if conditional => {
                "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=0, must-revalidate\r\nETag: \"1\"\r\n\r\n".to_owned()
            }
            "/etag" => sized(
                "Cache-Control: max-age=0, must-revalidate\r\nETag: \"1\"\r\n",
                "etag",
            ),
            "/unstable" if conditional => "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno".to_owned(),
            "/unstable" => sized(
                "Cache-Control: max-age=0, stale-while-revalidate=0, stale-if-error=60\r\nETag: \"1\"\r\n",
                "unstable",
            ),
            "/private" => sized("Cache-Control: no-store\r\n", "private"),
            "/stream" => chunks("Cache-Control: no-store\r\n", "stream"),
            "/chunked" => chunks(cached, "chunked"),
            "/upload" => {
                "HTTP/1.1 200 OK\r\nLocation: /made\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            "/none" => sized(cached, ""),
            "/204" => format!("HTTP/1.1 204 No Content\r\n{cached}\r\n"),
            "/eof" => {
                ends = true;
                format!("HTTP/1.1 200 OK\r\n{cached}\r\neof")
            }
            "/bad" => {
                ends = true;
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()
            }
            "/junk" => {
                ends = true;
                "hello\r\n\r\n".to_owned()
            }
            "/many" => {
                ends = true;
                let fields = "X: y\r\n".repeat(300);
                format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")
            }
            "/short" => {
                ends = true;
                format!("HTTP/1.1 200 OK\r\n{cached}Content-Length: 10\r\n\r\nshort")
            }
            "/large" => sized(cached, &"l".repeat(100_000)),
            "/large-chunked" => chunks(cached, &"l".repeat(100_000)),
            "/huge" => sized("Cache-Control: no-store\r\n", &"h".repeat(HUGE_BYTES)),
            "/tagged" => sized("Cache-Control: max-age=60\r\nSurrogate-Key: one two\r\n", "tagged"),
            "/slow" => {
                arrived.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                sized(cached, "slow")
            }
            "/slow-private" => {
                arrived.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                sized("Cache-Control: no-store\r\n", "slow")
            }
            "/slow-bad" => {
                arrived.add_permits(1);
                gate.acquire().await.expect("never closed").forget();
                ends = true;
                "hello\r\n\r\n".to_owned()
            }
            "/echo" => {
                let switch =
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
                let _ = stream.write_all(switch.as_bytes()).await;
                let mut buffer = [0; 256];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let _ = stream.write_all(&buffer[..count]).await;
                }
                return;
            }
            _ => sized(cached, "plain"),
        };
        if stream.write_all(reply.as_bytes()).await.is_err() || ends {
            return;
        }
    }
}

/// Asks again and again until `answer` gives something.
pub(crate) async fn eventually<T, F>(what: &str, mut answer: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(answer) = answer().await {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"))
}
