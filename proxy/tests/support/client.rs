//! A client that sees where a reply ends and whether it was whole.

use std::net::SocketAddr;

use bytes::BytesMut;
use proxy::http::{Fields, Method, ResponseHead};
use proxy::http1::{Decoded, Decoder, HeadLimits, ParsedResponse, parse_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::PATIENCE;

/// A reply as the client got it.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: ResponseHead,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Fields>,
    /// Heads of 1xx that came before.
    pub(crate) informational: Vec<ResponseHead>,
    /// The body ended where its framing says; else the connection broke within it.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// All lines of a field, joined; empty where there is none.
    pub(crate) fn field(&self, name: &str) -> String {
        let joined = self.head.fields.get_joined(name).unwrap_or_default();
        String::from_utf8(joined).expect("fields of these tests are text")
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies of these tests are text")
    }

    /// `HIT` or `MISS`.
    pub(crate) fn cache(&self) -> String {
        self.field("X-Cache")
    }

    pub(crate) fn age(&self) -> u64 {
        self.field("Age").parse().expect("an age")
    }
}

/// A client of raw bytes.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    input: BytesMut,
    informational: Vec<ResponseHead>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.expect("an open port");
        stream.set_nodelay(true).expect("an open socket");
        Client {
            stream,
            input: BytesMut::new(),
            informational: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sending = self.stream.write_all(bytes.as_ref());
        tokio::time::timeout(PATIENCE, sending)
            .await
            .expect("sent in time")
            .expect("an open connection");
    }

    pub(crate) async fn send_head(&mut self, method: &str, target: &str, fields: &[(&str, &str)]) {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("host"))
        {
            head.push_str("Host: example.org\r\n");
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.send(head + "\r\n").await;
    }

    /// Reads heads up to the final one.
    pub(crate) async fn head(&mut self, method: &str) -> ParsedResponse {
        self.try_head(method)
            .await
            .expect("the connection ended before a reply")
    }

    /// `None` when the connection ends instead.
    pub(crate) async fn try_head(&mut self, method: &str) -> Option<ParsedResponse> {
        let method = Method::parse(method.as_bytes()).expect("a method");
        loop {
            let parsed = parse_response(&self.input, &HeadLimits::default(), &method);
            if let Some(parsed) = parsed.expect("a sound head") {
                let _ = self.input.split_to(parsed.consumed);
                if parsed.head.is_informational() && parsed.head.status != 101 {
                    self.informational.push(parsed.head);
                    continue;
                }
                return Some(parsed);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// The next informational head.
    pub(crate) async fn informational(&mut self) -> ResponseHead {
        loop {
            let parsed = parse_response(&self.input, &HeadLimits::default(), &Method::Get);
            if let Some(parsed) = parsed.expect("a sound head") {
                let _ = self.input.split_to(parsed.consumed);
                assert!(parsed.head.is_informational(), "{:?}", parsed.head);
                return parsed.head;
            }
            assert!(self.read().await, "the connection ended before a reply");
        }
    }

    /// Reads a whole reply, or what comes of it before the connection breaks.
    pub(crate) async fn reply(&mut self, method: &str) -> Reply {
        let parsed = self.head(method).await;
        self.body_of(parsed).await
    }

    /// The body behind a head.
    pub(crate) async fn body_of(&mut self, parsed: ParsedResponse) -> Reply {
        let mut decoder = Decoder::new(parsed.framing, &HeadLimits::default());
        let mut reply = Reply {
            head: parsed.head,
            body: Vec::new(),
            trailers: None,
            informational: std::mem::take(&mut self.informational),
            whole: true,
        };
        loop {
            match decoder.decode(&mut self.input).expect("sound framing") {
                Decoded::Data(data) => reply.body.extend_from_slice(&data),
                Decoded::End(trailers) => {
                    reply.trailers = trailers;
                    return reply;
                }
                Decoded::NeedMore => {
                    if !self.read().await {
                        reply.whole = decoder.end_of_input().is_ok();
                        return reply;
                    }
                }
            }
        }
    }

    /// Reads exactly these bytes.
    pub(crate) async fn receive(&mut self, expected: &str) {
        while self.input.len() < expected.len() {
            assert!(self.read().await, "the connection ended too early");
        }
        let received = self.input.split_to(expected.len());
        assert_eq!(String::from_utf8_lossy(&received), expected);
    }

    /// Whatever comes within a moment: for proving that something does not come.
    pub(crate) async fn receives_nothing(&mut self) -> bool {
        let moment = std::time::Duration::from_millis(100);
        self.input.is_empty()
            && tokio::time::timeout(moment, self.stream.read_buf(&mut self.input))
                .await
                .is_err()
    }

    /// Leaves so that the other side learns of it at once.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().expect("an open socket");
    }

    async fn read(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.input);
        let read = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("bytes in time");
        // A reset is an end as well.
        read.is_ok_and(|count| count > 0)
    }

    pub(crate) async fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Reply {
        self.send_head(method, target, fields).await;
        self.reply(method).await
    }

    pub(crate) async fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, &[]).await
    }

    /// A request with a body.
    pub(crate) async fn write(&mut self, method: &str, target: &str, body: &str) -> Reply {
        let length = body.len().to_string();
        self.send_head(method, target, &[("Content-Length", &length)])
            .await;
        self.send(body).await;
        self.reply(method).await
    }
}
