//! An HTTP/1.1 client that hides nothing: one connection, each message as it came.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::message::{Fields, ResponseHead};
use crate::wire::{Body, Wire};

/// The host that requests name where they name none: one name, so that purges and reads meet.
pub const HOST: &str = "lacquer.test";

/// How long a client waits for the next bytes before its test has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub fields: Fields,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            fields: Fields::new(),
            body: Vec::new(),
        }
    }

    pub fn get(target: &str) -> Request {
        Request::new("GET", target)
    }

    pub fn put(target: &str, body: impl Into<Vec<u8>>) -> Request {
        Request::new("PUT", target).body(body)
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.fields.append(name, value);
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }

    /// The request as bytes. Host and Content-Length are added unless they, or Transfer-Encoding, are among the fields.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &[u8]| {
            bytes.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        if !self.fields.has("Host") {
            line("Host", HOST.as_bytes());
        }
        let framed = self.fields.has("Content-Length") || self.fields.has("Transfer-Encoding");
        let wants_length =
            !self.body.is_empty() || matches!(self.method.as_str(), "PUT" | "POST" | "PATCH");
        if wants_length && !framed {
            line("Content-Length", self.body.len().to_string().as_bytes());
        }
        for (name, value) in self.fields.iter() {
            line(name, value);
        }
        bytes.extend(b"\r\n");
        bytes.extend(&self.body);
        bytes
    }
}

/// A whole response.
#[derive(Clone)]
pub struct Response {
    pub head: ResponseHead,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// The 1xx heads before it.
    pub informational: Vec<ResponseHead>,
}

impl Response {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.fields.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the front door says that it had the answer.
    pub fn is_hit(&self) -> bool {
        self.field("X-Cache") == Some("HIT")
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ResponseHead {
            version,
            status,
            reason,
            fields,
        } = &self.head;
        let shown = &self.body[..self.body.len().min(400)];
        write!(
            f,
            "{version} {status} {reason}{fields:?}\n    ({} bytes) {}",
            self.body.len(),
            shown.escape_ascii()
        )
    }
}

/// A client's connection.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    wire: Wire<S>,
    body: Body,
    trailers: Fields,
    patience: Duration,
    /// Whether the last answer said that it is the last.
    ends: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = timeout(PATIENCE, TcpStream::connect(address))
            .await
            .context("connect")?;
        let stream = stream.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection::over(stream))
    }

    /// A connection that comes from an address of our choice.
    pub async fn open_from(source: SocketAddr, address: SocketAddr) -> Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(source)?;
        Ok(Connection::over(
            timeout(PATIENCE, socket.connect(address))
                .await
                .context("connect")??,
        ))
    }

    /// A connection whose kernel takes little in advance, so that a client that does not read stops its server soon.
    pub async fn open_narrow(address: SocketAddr) -> Result<Connection> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(16 << 10)?;
        Ok(Connection::over(
            timeout(PATIENCE, socket.connect(address))
                .await
                .context("connect")??,
        ))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn over(stream: S) -> Connection<S> {
        Connection {
            wire: Wire::new(stream),
            body: Body::Empty,
            trailers: Fields::new(),
            patience: PATIENCE,
            ends: false,
        }
    }

    /// Waits so long for the next bytes from now on.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Connection<S> {
        self.patience = patience;
        self
    }

    pub fn wire(&mut self) -> &mut Wire<S> {
        &mut self.wire
    }

    pub async fn send(&mut self, request: &Request) -> Result<()> {
        self.send_raw(&request.to_bytes()).await
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(self.patience, self.wire.write(bytes))
            .await
            .context("the server does not read")?
    }

    /// Sends one chunk; an empty one ends the body.
    pub async fn send_chunk(&mut self, bytes: &[u8]) -> Result<()> {
        let head = format!("{:x}\r\n", bytes.len());
        self.send_raw(&[head.as_bytes(), bytes, b"\r\n"].concat())
            .await
    }

    /// The next head, informational ones included. `method` is that of the request it answers.
    pub async fn receive_head(&mut self, method: &str) -> Result<ResponseHead> {
        ensure!(
            self.body == Body::Empty,
            "the last body was not read to its end"
        );
        ensure!(!self.ends, "the last answer said Connection: close");
        let bytes = timeout(self.patience, self.wire.read_head()).await;
        let bytes = bytes
            .context("no answer in time")??
            .context("closed without an answer")?;
        let head = ResponseHead::parse(&bytes)?;
        self.body = match head.status {
            100..=199 | 204 | 304 => Body::Empty,
            _ if method == "HEAD" => Body::Empty,
            200..=299 if method == "CONNECT" => Body::Empty,
            _ => Body::of(&head.fields, Body::UntilClose)?,
        };
        self.trailers = Fields::new();
        self.ends = head.fields.has_token("Connection", "close");
        Ok(head)
    }

    /// The next piece of the body; `None` at its end.
    pub async fn receive_piece(&mut self) -> Result<Option<Vec<u8>>> {
        let piece = timeout(
            self.patience,
            self.wire.read_body(&mut self.body, &mut self.trailers),
        )
        .await;
        let piece = piece.context("the body stalls")??;
        if piece.is_none() {
            self.body = Body::Empty;
        }
        Ok(piece)
    }

    /// The next whole response to a request with `method`.
    pub async fn receive(&mut self, method: &str) -> Result<Response> {
        let mut informational = Vec::new();
        let head = loop {
            let head = self.receive_head(method).await?;
            match head.status {
                100 | 102..=199 => informational.push(head),
                _ => break head,
            }
        };
        let mut body = Vec::new();
        while let Some(piece) = self.receive_piece().await? {
            body.extend(piece);
        }
        Ok(Response {
            head,
            body,
            trailers: std::mem::take(&mut self.trailers),
            informational,
        })
    }

    /// Sends a request and receives its response.
    pub async fn ask(&mut self, request: &Request) -> Result<Response> {
        let what = || format!("{} {}", request.method, request.target);
        self.send(request).await.with_context(what)?;
        self.receive(&request.method).await.with_context(what)
    }

    /// Whether the server closes the connection within `wait`, with nothing more to say.
    pub async fn closes_within(&mut self, wait: Duration) -> bool {
        match timeout(wait, self.wire.read_raw()).await {
            Ok(Ok(rest)) => rest.is_empty(),
            // A reset ends it as well.
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }
}

/// Sends one request over a connection of its own.
pub async fn ask(address: SocketAddr, request: &Request) -> Result<Response> {
    Connection::open(address).await?.ask(request).await
}

/// GET, over a connection of its own.
pub async fn get(address: SocketAddr, target: &str) -> Result<Response> {
    ask(address, &Request::get(target)).await
}
