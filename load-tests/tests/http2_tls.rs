//! HTTP/2 and TLS: by the `h2` crate, by rustls, and by the real `curl`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::HeaderMap;
use load_tests::backend::Backend;
use load_tests::client::{Connection, Request};
use load_tests::front::Front;
use load_tests::pattern::Pattern;
use load_tests::place::free_address;
use nix::sys::signal::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");
const PATIENCE: Duration = Duration::from_secs(20);
const LARGE_BYTES: usize = 3 << 20;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/tls")
        .join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(data(name)).unwrap()
}

/// `/large` is large; everything else says what was asked.
async fn backend() -> Backend {
    Backend::start(|mut exchange| async move {
        let head = exchange.seen.head.clone();
        match head.target.as_str() {
            "/large" => {
                exchange
                    .reply(200, &[FRESH], Pattern::new().bytes(LARGE_BYTES))
                    .await?
            }
            "/slow" => {
                sleep(Duration::from_millis(800)).await;
                exchange
                    .reply(200, &[("Cache-Control", "no-store")], "slow")
                    .await?;
            }
            "/trailers" => {
                exchange
                    .write_head(
                        200,
                        &[
                            ("Transfer-Encoding", "chunked"),
                            ("Trailer", "X-Sum"),
                            ("Cache-Control", "no-store"),
                        ],
                    )
                    .await?;
                exchange.write_chunk(b"body").await?;
                let sum = exchange
                    .seen
                    .trailers
                    .get("X-Up")
                    .unwrap_or("none")
                    .to_owned();
                exchange
                    .write(format!("0\r\nX-Sum: {sum}\r\n\r\n").as_bytes())
                    .await?;
            }
            target => {
                let control = if target.starts_with("/cached") {
                    FRESH
                } else {
                    ("Cache-Control", "no-store")
                };
                let said = format!("{} {target} {}", head.method, exchange.seen.body_bytes);
                exchange.reply(200, &[control], said).await?;
            }
        }
        Ok(exchange)
    })
    .await
}

/// An answer over HTTP/2.
#[derive(Debug)]
struct Answer {
    status: u16,
    fields: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn is_hit(&self) -> bool {
        self.fields
            .get("x-cache")
            .is_some_and(|value| value == "HIT")
    }
}

async fn prior_knowledge(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    // Ends with the connection; what went wrong shows on the streams.
    tokio::spawn(async move { drop(connection.await) });
    client
}

fn request(method: &str, target: &str) -> http::request::Builder {
    http::Request::builder()
        .method(method)
        .uri(format!("http://lacquer.test{target}"))
}

async fn ask(
    client: &SendRequest<Bytes>,
    request: http::request::Builder,
    body: Option<Vec<u8>>,
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    let asked = async {
        let mut client = client.clone().ready().await?;
        let (response, mut stream) =
            client.send_request(request.body(()).unwrap(), body.is_none())?;
        if let Some(body) = body {
            // The crate keeps what the window does not take yet.
            stream.send_data(body.into(), trailers.is_none())?;
            if let Some(trailers) = trailers {
                stream.send_trailers(trailers)?;
            }
        }
        let response = response.await?;
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = incoming.data().await {
            let piece = piece?;
            incoming.flow_control().release_capacity(piece.len())?;
            body.extend_from_slice(&piece);
        }
        let trailers = incoming.trailers().await?;
        Ok(Answer {
            status: head.status.as_u16(),
            fields: head.headers,
            body,
            trailers,
        })
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}

async fn get(client: &SendRequest<Bytes>, target: &str) -> Answer {
    ask(client, request("GET", target), None, None)
        .await
        .unwrap()
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let client = prior_knowledge(front.address).await;
    for hit in [false, true] {
        let answer = get(&client, "/cached").await;
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.is_hit()),
            (200, "GET /cached 0", hit)
        );
        for forbidden in ["connection", "transfer-encoding", "keep-alive"] {
            assert!(!answer.fields.contains_key(forbidden), "{answer:?}");
        }
    }
    // One store for both versions.
    assert!(front.get("/cached").await.is_hit());
    let head = ask(&client, request("HEAD", "/cached"), None, None)
        .await
        .unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.fields["content-length"], "13");
    let post = ask(
        &client,
        request("POST", "/posted"),
        Some(b"hello".to_vec()),
        None,
    )
    .await
    .unwrap();
    assert_eq!(post.text(), "POST /posted 5");
    let part = ask(
        &client,
        request("GET", "/cached").header("range", "bytes=0-2"),
        None,
        None,
    )
    .await
    .unwrap();
    assert_eq!((part.status, part.text().as_str()), (206, "GET"));
    let seen = &backend.seen_at("/posted")[0];
    assert_eq!(
        (seen.head.version.as_str(), seen.field("Host")),
        ("HTTP/1.1", Some("lacquer.test"))
    );
    let purge = ask(&client, request("PURGE", "/cached"), None, None)
        .await
        .unwrap();
    assert_eq!(purge.status, 200);
    assert!(!get(&client, "/cached").await.is_hit());
}

#[tokio::test]
async fn http_2_streams_do_not_wait_for_each_other() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let client = prior_knowledge(front.address).await;
    get(&client, "/cached").await;
    let started = Instant::now();
    let mut streams = JoinSet::new();
    for number in 0..60 {
        let client = client.clone();
        streams.spawn(async move {
            let target = if number % 3 == 0 { "/slow" } else { "/cached" };
            let answer = get(&client, target).await;
            (target, answer.status, started.elapsed())
        });
    }
    for (target, status, took) in streams.join_all().await {
        assert_eq!(status, 200);
        assert!(
            target == "/slow" || took < Duration::from_millis(700),
            "{target} took {took:?}"
        );
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "the slow ones stood in line: {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn large_bodies_and_trailers_pass_over_http_2() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let client = prior_knowledge(front.address).await;
    let content = Pattern::new().bytes(LARGE_BYTES);
    for hit in [false, true] {
        let answer = get(&client, "/large").await;
        assert!(
            answer.body == content && answer.is_hit() == hit,
            "{} bytes",
            answer.body.len()
        );
    }
    let upload = ask(&client, request("PUT", "/up"), Some(content.clone()), None)
        .await
        .unwrap();
    assert_eq!(upload.text(), format!("PUT /up {LARGE_BYTES}"));
    assert!(backend.seen_at("/up")[0].body == content[..1 << 20]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-up", "17".parse().unwrap());
    let answer = ask(
        &client,
        request("POST", "/trailers").header("te", "trailers"),
        Some(b"x".to_vec()),
        Some(trailers),
    )
    .await;
    let answer = answer.unwrap();
    assert_eq!(answer.text(), "body");
    assert_eq!(answer.trailers.expect("trailers pass")["x-sum"], "17");
}

#[tokio::test]
async fn limits_hold_over_http_2() {
    let backend = backend().await;
    let front = Front::start_with(backend.address, |settings| {
        settings
            .set("limits.target_bytes_max", "1000")
            .set("limits.request_body_bytes_max", "10000");
        settings.set("limits.header_count_max", "20");
    })
    .await;
    let client = prior_knowledge(front.address).await;
    let long = get(&client, &format!("/{}", "t".repeat(1000))).await;
    assert_eq!(long.status, 414);
    let mut many = request("GET", "/cached");
    for number in 0..30 {
        many = many.header(format!("x-{number}"), "v");
    }
    assert_eq!(ask(&client, many, None, None).await.unwrap().status, 431);
    let stated = request("PUT", "/up").header("content-length", "10001");
    let stated = ask(&client, stated, Some(vec![b'x'; 10_001]), None).await;
    assert_eq!(stated.expect("an answer, not only a reset").status, 413);
    let unstated = ask(
        &client,
        request("PUT", "/up"),
        Some(vec![b'x'; 10_001]),
        None,
    )
    .await;
    assert_eq!(unstated.expect("an answer, not only a reset").status, 413);
    // The connection outlives each of them.
    assert_eq!(get(&client, "/cached").await.status, 200);
    assert!(
        backend
            .seen_at("/up")
            .iter()
            .all(|seen| seen.body_bytes <= 10_000)
    );
}

#[tokio::test]
async fn a_stream_that_is_reset_hurts_nobody() {
    let backend = backend().await;
    let front = Front::start(backend.address).await;
    let client = prior_knowledge(front.address).await;
    for _ in 0..20 {
        let mut ready = client.clone().ready().await.unwrap();
        let (response, mut stream) = ready
            .send_request(request("GET", "/slow").body(()).unwrap(), true)
            .unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        drop(response);
    }
    assert_eq!(get(&client, "/cached").await.status, 200);
}

async fn tls_front(backend: &Backend) -> (Front, SocketAddr) {
    let address = free_address();
    let front = Front::start_with(backend.address, |settings| {
        settings.add(&format!("[[listen]]\naddress = \"{address}\"\ntls = true"));
        for name in ["one", "two"] {
            let (certificate, key) = (data(&format!("{name}.pem")), data(&format!("{name}.key")));
            settings.add(&format!(
                "[[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}"
            ));
        }
    })
    .await;
    (front, address)
}

/// A connection to a name, which offers these protocols.
async fn connect(
    address: SocketAddr,
    name: &'static str,
    protocols: &[&str],
) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.pem"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    Ok(timeout(
        PATIENCE,
        connector.connect(ServerName::try_from(name)?, stream),
    )
    .await??)
}

fn presented(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let certificates = stream
        .get_ref()
        .1
        .peer_certificates()
        .expect("the handshake is done");
    certificates[0].clone().into_owned()
}

#[tokio::test]
async fn tls_offers_both_versions_and_chooses_certificates_by_name() {
    let backend = backend().await;
    let (front, address) = tls_front(&backend).await;
    for (name, file) in [("one.test", "one.pem"), ("two.test", "two.pem")] {
        let stream = connect(address, name, &["h2", "http/1.1"]).await.unwrap();
        assert_eq!(presented(&stream), certificate(file));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        let asked = http::Request::builder().uri(format!("https://{name}/cached"));
        let answer = ask(&client, asked, None, None).await.unwrap();
        assert_eq!(answer.text(), "GET /cached 0");
        let stream = connect(address, name, &["http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let mut old = Connection::over(stream);
        let answer = old
            .ask(&Request::get("/cached").field("Host", name))
            .await
            .unwrap();
        assert!(answer.is_hit(), "{answer:?}");
        let silent = connect(address, name, &[]).await.unwrap();
        assert_eq!(
            Connection::over(silent)
                .ask(&Request::get("/cached").field("Host", name))
                .await
                .unwrap()
                .status(),
            200
        );
    }
    // A name that no certificate has gets the first, which the client refuses.
    assert!(connect(address, "three.test", &["h2"]).await.is_err());
    // Plain text on a TLS port is no request.
    let mut plain = Connection::open(address).await.unwrap();
    plain.send(&Request::get("/cached")).await.unwrap();
    assert!(plain.receive("GET").await.is_err());
    // The two hosts are two keys; so are the two schemes.
    let other = front
        .ask(&Request::get("/cached").field("Host", "one.test"))
        .await;
    assert!(!other.is_hit(), "{other:?}");
}

#[tokio::test]
async fn certificates_are_read_again_on_sighup() {
    let backend = backend().await;
    let folder = tempfile::tempdir().unwrap();
    let install = |name: &str| {
        for kind in ["pem", "key"] {
            std::fs::copy(
                data(&format!("{name}.{kind}")),
                folder.path().join(format!("live.{kind}")),
            )
            .unwrap();
        }
    };
    install("one");
    let address = free_address();
    let mut front = Front::start_with(backend.address, |settings| {
        let (certificate, key) = (
            folder.path().join("live.pem"),
            folder.path().join("live.key"),
        );
        settings.add(&format!("[[listen]]\naddress = \"{address}\"\ntls = true"));
        settings.add(&format!(
            "[[tls.certificates]]\ncertificate = {certificate:?}\nkey = {key:?}"
        ));
    })
    .await;
    let mut kept = Connection::over(connect(address, "one.test", &["http/1.1"]).await.unwrap());
    assert_eq!(
        kept.ask(&Request::get("/cached")).await.unwrap().status(),
        200
    );
    install("one-renewed");
    front.process.signal(Signal::SIGHUP);
    let deadline = Instant::now() + Duration::from_secs(10);
    while presented(&connect(address, "one.test", &["h2"]).await.unwrap())
        != certificate("one-renewed.pem")
    {
        assert!(
            Instant::now() < deadline,
            "the renewed certificate is not used"
        );
        sleep(Duration::from_millis(50)).await;
    }
    // Connections and the store outlive a reload.
    assert!(kept.ask(&Request::get("/cached")).await.unwrap().is_hit());
    // A broken file changes nothing, and is said.
    let before = front.process.log().len();
    std::fs::write(folder.path().join("live.pem"), "nonsense").unwrap();
    front.process.signal(Signal::SIGHUP);
    while !front.process.log()[before..].contains("live.pem") {
        assert!(
            Instant::now() < deadline,
            "nobody says what is wrong with the file"
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        presented(&connect(address, "one.test", &["h2"]).await.unwrap()),
        certificate("one-renewed.pem")
    );
}

async fn curl(args: &[&str]) -> Output {
    let mut command = tokio::process::Command::new("curl");
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--noproxy",
            "*",
        ])
        .args(args)
        .kill_on_drop(true);
    command
        .output()
        .await
        .expect("these tests need the program curl")
}

#[tokio::test]
async fn curl_is_served_over_every_version() {
    let backend = backend().await;
    let (front, tls) = tls_front(&backend).await;
    let ca = data("ca.pem").display().to_string();
    let resolve = format!("one.test:{}:{}", tls.port(), tls.ip());
    let (plain, secure) = (
        format!("http://{}/cached", front.address),
        format!("https://one.test:{}/cached", tls.port()),
    );
    let told = ["--write-out", " %{http_version} %{response_code}"];
    let cases: [(&[&str], &str); 6] = [
        (&["--http1.0", &plain], "GET /cached 0 1.1 200"),
        (&["--http1.1", &plain], "GET /cached 0 1.1 200"),
        (&["--http2-prior-knowledge", &plain], "GET /cached 0 2 200"),
        // An upgrade of the old kind (h2c) is not offered any more (RFC 9113 §3.1): it stays HTTP/1.1.
        (&["--http2", &plain], "GET /cached 0 1.1 200"),
        (
            &["--http2", "--cacert", &ca, "--resolve", &resolve, &secure],
            "GET /cached 0 2 200",
        ),
        (
            &["--http1.1", "--cacert", &ca, "--resolve", &resolve, &secure],
            "GET /cached 0 1.1 200",
        ),
    ];
    for (args, expected) in cases {
        let output = curl(&[&told, args].concat()).await;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("large");
    std::fs::write(&file, Pattern::new().bytes(LARGE_BYTES)).unwrap();
    let file = file.display().to_string();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        // curl waits for 100-continue by itself with a body of this size.
        let url = format!("http://{}/up", front.address);
        let output = curl(&[version, "--upload-file", &file, &url]).await;
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("PUT /up {LARGE_BYTES}"),
            "{version}"
        );
    }
}
