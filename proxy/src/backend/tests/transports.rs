//! TLS and Unix sockets.

use std::path::Path;
use std::process::Command;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::*;

/// A certificate authority and a certificate of its for `backend.test`, made by the `openssl` tool.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:backend.test\n";
    std::fs::write(folder.path().join("leaf.ext"), extensions).expect("a writable folder");
    for arguments in [
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other -keyout other.key -out other.pem",
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=leaf -keyout leaf.key -out leaf.csr",
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out leaf.pem",
    ] {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(folder.path())
            .output()
            .expect("openssl is installed");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
    folder
}

/// Answers with the server name that the client asked for.
async fn serve_tls(folder: &Path) -> SocketAddr {
    let chain = CertificateDer::pem_file_iter(folder.join("leaf.pem"))
        .expect("a certificate")
        .collect::<Result<Vec<_>, _>>()
        .expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that ring knows")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a key that fits");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(socket) = acceptor.accept(socket).await else {
                    return;
                };
                let name = socket.get_ref().1.server_name().unwrap_or("-").to_owned();
                let mut peer = Peer::new(socket);
                while peer.head().await.is_some() {
                    let length = name.len();
                    peer.send(format!(
                        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{name}"
                    ))
                    .await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn certificates_are_verified_as_set() {
    let folder = certificates();
    let address = serve_tls(folder.path()).await;
    let check =
        async |ca: &str, name: &str, verification, expected: Result<&str, ConnectFailure>| {
            let mut server = server(address);
            server.tls = Some(TlsSettings {
                server_name: Some(name.to_owned()),
                verification,
            });
            let pool = build(vec![server], |settings| {
                settings.ca_file = Some(folder.path().join(ca));
            });
            let mut answers = Vec::new();
            for _ in 0..2 {
                answers.push(match fetch(&pool, "/").await {
                    Ok(body) => Ok(body),
                    Err(BackendError::Connect { failure, .. }) => Err(failure),
                    Err(error) => panic!("{error:?}"),
                });
            }
            for answer in &answers {
                assert_eq!(
                    answer.as_deref().map_err(|failure| *failure),
                    expected,
                    "{ca} {name}"
                );
            }
            let counters = counters(&pool, 0);
            match expected {
                Ok(_) => assert_eq!((counters.connected, counters.reused), (1, 1)),
                Err(_) => assert_eq!((counters.fail, counters.fail_other), (2, 2)),
            }
        };
    let failed = Err(ConnectFailure::Tls);
    check(
        "ca.pem",
        "backend.test",
        Verification::Full,
        Ok("backend.test"),
    )
    .await;
    check("ca.pem", "wrong.test", Verification::Full, failed).await;
    check("other.pem", "backend.test", Verification::Full, failed).await;
    check(
        "ca.pem",
        "wrong.test",
        Verification::ChainOnly,
        Ok("wrong.test"),
    )
    .await;
    check("other.pem", "wrong.test", Verification::ChainOnly, failed).await;
    check(
        "other.pem",
        "wrong.test",
        Verification::Off,
        Ok("wrong.test"),
    )
    .await;
}

#[tokio::test]
async fn missing_trust_file_is_an_error_of_the_settings() {
    let address = refusing().await;
    let mut settings = PoolSettings::new("main", vec![server(address)]);
    settings.ca_file = Some("/nonexistent/ca.pem".into());
    let error = BackendPool::new(settings, Arc::new(SystemResolver)).expect_err("no file");
    assert!(matches!(error, PoolError::TrustFile { .. }), "{error:?}");
}

#[tokio::test]
async fn plain_server_fails_the_handshake() {
    let (address, asked) = serve_hello("ok").await;
    let folder = certificates();
    let mut server = server(address);
    server.tls = Some(TlsSettings {
        server_name: Some("backend.test".to_owned()),
        verification: Verification::Full,
    });
    let pool = build(vec![server], |settings| {
        settings.ca_file = Some(folder.path().join("ca.pem"));
        settings.timeouts.connect = Duration::from_millis(300);
    });
    let error = fetch(&pool, "/").await.expect_err("no TLS");
    assert_eq!(error.kind(), "connect");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn unix_socket_serves_as_well() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("backend.sock");
    let listener = UnixListener::bind(&path).expect("a writable folder");
    let (heads, mut seen) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut peer = Peer::new(socket);
            let heads = heads.clone();
            tokio::spawn(async move {
                while let Some(head) = peer.head().await {
                    let _ = heads.send(head);
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
                        .await;
                }
            });
        }
    });
    let present = ServerSettings::new(ServerAddress::Unix(path));
    let missing = ServerSettings::new(ServerAddress::Unix(folder.path().join("missing.sock")));
    let pool = build(vec![present, missing.clone()], |settings| {
        settings.balance = Balance::ConsistentHash;
    });
    for _ in 0..2 {
        let mut head = get("/");
        head.fields.clear();
        head.authority.clear();
        let mut response = send(&pool, &head, RequestBody::Empty)
            .await
            .expect("an answer");
        assert_eq!(read(&mut response).await.expect("a body"), "unix");
        assert!(heard(&mut seen).await.contains("\r\nHost: localhost\r\n"));
    }
    assert_eq!(
        (counters(&pool, 0).connected, counters(&pool, 0).reused),
        (1, 1)
    );

    let pool = build(vec![missing], |_| {});
    let error = fetch(&pool, "/").await.expect_err("no such file");
    assert!(
        matches!(
            error,
            BackendError::Connect {
                failure: ConnectFailure::Other,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        (counters(&pool, 0).fail, counters(&pool, 0).fail_other),
        (1, 1)
    );
}
