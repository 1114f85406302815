//! An origin on port 0 over a database of the test's own, and a client that speaks plain HTTP/1.1.

use std::net::SocketAddr;
use std::time::Duration;

use origin::cluster::testing::TestDatabase;
use origin::store::{Connector, MIGRATIONS, migrate};
use origin::{Drained, Origin, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A migrated database of the test's own.
pub(crate) async fn database() -> TestDatabase {
    let key: String = MIGRATIONS.iter().map(|migration| migration.sql).collect();
    TestDatabase::from_template(&key, async |dsn| {
        let settings = settings_for(&dsn);
        migrate(&Connector::new(&settings.postgres, settings.timeout)?).await
    })
    .await
}

/// Settings for tests: short times, few connections.
pub(crate) fn settings_for(dsn: &str) -> Settings {
    let mut settings = Settings::default();
    settings.postgres.dsn = dsn.to_owned();
    settings.postgres.connections = 8;
    settings.timeout = Duration::from_secs(20);
    settings.drain_timeout = Duration::from_secs(5);
    settings
}

/// A running origin.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) origin: Origin,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Drained>,
}

impl Server {
    pub(crate) async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Origin::open(settings).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn({
            let origin = origin.clone();
            async move {
                origin
                    .serve(listener, async {
                        let _ = stopped.await;
                    })
                    .await
            }
        });
        Self {
            address,
            origin,
            stop: Some(stop),
            serving,
        }
    }

    pub(crate) fn begin_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub(crate) async fn stop(mut self) -> Drained {
        self.begin_to_stop();
        self.serving.await.unwrap()
    }

    pub(crate) async fn send(&self, request: Request) -> Reply {
        send(self.address, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::new("GET", path)).await
    }

    pub(crate) async fn put(&self, path: &str, body: impl Into<Vec<u8>>) -> Reply {
        self.send(Request::new("PUT", path).body(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Request::new("DELETE", path)).await
    }

    pub(crate) async fn json(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(
            Request::new(method, path)
                .field("Content-Type", "application/json")
                .body(body),
        )
        .await
    }
}

/// A server over a new database, with the usual settings changed by `change`.
pub(crate) async fn serve_with(change: impl FnOnce(&mut Settings)) -> (Server, TestDatabase) {
    let database = database().await;
    let mut settings = settings_for(&database.dsn);
    change(&mut settings);
    (Server::start(settings).await, database)
}

pub(crate) async fn serve() -> (Server, TestDatabase) {
    serve_with(|_| {}).await
}

#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            fields: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn fields(mut self, fields: &[(&str, &str)]) -> Self {
        self.fields.extend(
            fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n",
            self.method, self.path
        );
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn etag(&self) -> String {
        self.field("ETag").unwrap().to_owned()
    }

    /// The number in the entity-tag.
    pub(crate) fn revision(&self) -> i64 {
        self.etag().trim_matches('"').parse().unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{:?} {}",
            self.fields,
            String::from_utf8_lossy(&self.body)
        );
        self
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.")?
            .trim_start_matches(['0', '1'])
            .strip_prefix(' ')?
            .get(..3)?
            .parse()
            .ok()?;
        let fields = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Self {
            status,
            fields,
            body: bytes[end + 4..].to_vec(),
        })
    }
}

pub(crate) async fn send(address: SocketAddr, request: Request) -> Reply {
    try_send(address, request.to_bytes())
        .await
        .expect("the server answers")
}

/// Sends bytes and reads an answer to the end; `None` when there is none.
pub(crate) async fn try_send(address: SocketAddr, bytes: Vec<u8>) -> Option<Reply> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.ok()?;
        let (mut read, mut write) = stream.into_split();
        let writing = async {
            // A server may answer and close before it has read everything.
            let _ = write.write_all(&bytes).await;
        };
        let mut answer = Vec::new();
        let reading = async { read.read_to_end(&mut answer).await };
        let ((), _) = tokio::join!(writing, reading);
        Reply::parse(&answer)
    };
    tokio::time::timeout(Duration::from_secs(60), exchange)
        .await
        .ok()?
}

/// A client that keeps its connection and asks one thing after the other.
pub(crate) struct Kept {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Kept {
    pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// `None`: the connection ended.
    pub(crate) async fn send(&mut self, request: &Request) -> Option<Reply> {
        let bytes = request.to_bytes();
        let text = String::from_utf8_lossy(&bytes).replacen("Connection: close\r\n", "", 1);
        self.stream.write_all(text.as_bytes()).await.ok()?;
        loop {
            if let Some(reply) = Reply::parse(&self.buffer) {
                let length: usize = reply
                    .field("Content-Length")
                    .map_or(0, |length| length.parse().unwrap());
                if reply.body.len() >= length {
                    let head = self.buffer.len() - reply.body.len();
                    self.buffer.drain(..head + length);
                    let body = reply.body[..length].to_vec();
                    return Some(Reply { body, ..reply });
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }
}

/// A plain connection to the test's database.
pub(crate) async fn connect(dsn: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
        .batch_execute("SET search_path = lacquer, pg_catalog")
        .await
        .unwrap();
    client
}

/// Numbers that look random and are the same in each run.
pub(crate) struct Sequence(pub(crate) u64);

impl Sequence {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
