use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SignatureScheme};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::listener::{Protocols, acceptor};
use crate::time::Timestamp;

/// A certificate authority of one test, in a folder of its own.
struct Authority {
    folder: TempDir,
}

const ECDSA: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-newkey", "rsa:2048"];

impl Authority {
    fn new() -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority { folder };
        let mut arguments = vec!["req", "-x509", "-nodes", "-subj", "/CN=test authority"];
        arguments.extend(["-days", "2", "-keyout", "ca.key", "-out", "ca.pem"]);
        arguments.extend(ECDSA);
        authority.openssl(&arguments);
        authority
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {told}");
    }

    /// Issues `file`.pem and `file`.key for these DNS names; over existing ones when called again.
    fn issue(&self, file: &str, algorithm: &[&str], names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let names = format!("subjectAltName={}", names.join(","));
        let (certificate, key) = (format!("{file}.pem"), format!("{file}.key"));
        let mut arguments = vec![
            "req", "-x509", "-nodes", "-CA", "ca.pem", "-CAkey", "ca.key",
        ];
        arguments.extend(["-subj", "/CN=ignored.example", "-days", "2"]);
        arguments.extend(["-addext", "basicConstraints=critical,CA:FALSE"]);
        arguments.extend(["-addext", &names, "-keyout", &key, "-out", &certificate]);
        arguments.extend(algorithm);
        self.openssl(&arguments);
        CertificateFiles::new(self.path(&certificate), self.path(&key))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.path("ca.pem"))).unwrap();
        roots
    }
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// A server on a port of its own that answers each handshake with one byte.
async fn serve(store: &Arc<CertificateStore>) -> std::net::SocketAddr {
    let config = ServerConfig::builder_with_provider(provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(store.clone());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.write_all(b"x").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

/// Shakes hands with verification against `roots`, asking for `name`; gives the certificate that was shown.
async fn handshake(
    address: std::net::SocketAddr,
    config: ClientConfig,
    name: &str,
) -> std::io::Result<CertificateDer<'static>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let shaken = tokio::time::timeout(Duration::from_secs(5), connector.connect(name, stream));
    let mut stream = shaken.await.unwrap()?;
    assert_eq!(stream.read_u8().await?, b'x');
    let shown = stream.get_ref().1.peer_certificates().unwrap();
    Ok(shown[0].clone().into_owned())
}

fn client(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

async fn check(
    address: std::net::SocketAddr,
    authority: &Authority,
    name: &str,
    files: &CertificateFiles,
) {
    let shown = handshake(address, client(authority.roots()), name).await;
    let shown = shown.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(
        shown == certificate(&files.certificate),
        "{name} was shown another certificate"
    );
}

#[tokio::test]
async fn certificate_is_chosen_by_name() {
    let authority = Authority::new();
    let first = authority.issue("first", ECDSA, &["first.example", "*.shop.example"]);
    let second = authority.issue("second", ECDSA, &["Second.Example", "de.shop.example"]);
    let third = authority.issue("third", RSA, &["third.example", "*.site.example"]);
    let files = [first.clone(), second.clone(), third.clone()];
    let store = Arc::new(CertificateStore::load(&files).unwrap());
    let address = serve(&store).await;
    check(address, &authority, "first.example", &first).await;
    check(address, &authority, "second.example", &second).await;
    check(address, &authority, "SECOND.example", &second).await;
    check(address, &authority, "third.example", &third).await;
    check(address, &authority, "fr.shop.example", &first).await;
    check(address, &authority, "de.shop.example", &second).await;
    check(address, &authority, "any.site.example", &third).await;
    // One label and no more; and a name that nobody holds gets the default, which the client then refuses.
    for name in ["a.fr.shop.example", "other.test", "127.0.0.1"] {
        let error = handshake(address, client(authority.roots()), name)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("not valid for name"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn unknown_names_get_the_first_certificate() {
    let authority = Authority::new();
    let first = authority.issue("first", ECDSA, &["first.example"]);
    let second = authority.issue("second", ECDSA, &["second.example"]);
    let store = CertificateStore::load(&[first.clone(), second]).unwrap();
    let table = store.table.load();
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
    for name in [None, Some("other.test"), Some("example"), Some("")] {
        let chosen = table.choose(name, &schemes);
        assert!(
            chosen.cert[0] == certificate(&first.certificate),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn algorithm_decides_between_certificates_of_one_name() {
    let authority = Authority::new();
    let ecdsa = authority.issue("ecdsa", ECDSA, &["a.example"]);
    let rsa = authority.issue("rsa", RSA, &["a.example"]);
    let store = CertificateStore::load(&[ecdsa.clone(), rsa.clone()]).unwrap();
    let table = store.table.load();
    for (schemes, files) in [
        (
            &[
                SignatureScheme::RSA_PSS_SHA256,
                SignatureScheme::ECDSA_NISTP256_SHA256,
            ][..],
            &ecdsa,
        ),
        (&[SignatureScheme::RSA_PSS_SHA256], &rsa),
        (&[SignatureScheme::ED25519], &ecdsa),
    ] {
        let chosen = table.choose(Some("a.example"), schemes);
        assert!(
            chosen.cert[0] == certificate(&files.certificate),
            "{schemes:?}"
        );
    }
}

#[tokio::test]
async fn reload_takes_effect_for_the_next_handshake() {
    let authority = Authority::new();
    let files = authority.issue("site", ECDSA, &["a.example"]);
    let store = Arc::new(CertificateStore::load(std::slice::from_ref(&files)).unwrap());
    let address = serve(&store).await;
    check(address, &authority, "a.example", &files).await;
    let before = certificate(&files.certificate);

    authority.issue("site", ECDSA, &["a.example", "b.example"]);
    let shown = handshake(address, client(authority.roots()), "a.example")
        .await
        .unwrap();
    assert!(shown == before, "a changed file alone changes nothing");
    store.reload().unwrap();
    check(address, &authority, "a.example", &files).await;
    check(address, &authority, "b.example", &files).await;
    assert!(certificate(&files.certificate) != before);

    let other = authority.issue("other", RSA, &["c.example"]);
    store.replace(std::slice::from_ref(&other)).unwrap();
    check(address, &authority, "c.example", &other).await;
    authority.issue("other", RSA, &["d.example"]);
    store.reload().unwrap();
    check(address, &authority, "d.example", &other).await;
}

#[tokio::test]
async fn failed_reload_keeps_every_certificate() {
    let authority = Authority::new();
    let good = authority.issue("good", ECDSA, &["good.example"]);
    let site = authority.issue("site", ECDSA, &["site.example"]);
    let store = Arc::new(CertificateStore::load(&[good.clone(), site.clone()]).unwrap());
    let address = serve(&store).await;
    let before = certificate(&site.certificate);
    let good_before = certificate(&good.certificate);

    authority.issue("good", ECDSA, &["good.example"]);
    authority.issue("foreign", ECDSA, &["site.example"]);
    std::fs::copy(authority.path("foreign.key"), &site.key).unwrap();
    let error = store.reload().unwrap_err();
    assert!(
        matches!(error.0[..], [CertificateError::Mismatch { .. }]),
        "{error}"
    );
    for (name, certificate) in [("site.example", before), ("good.example", good_before)] {
        let shown = handshake(address, client(authority.roots()), name)
            .await
            .unwrap();
        assert!(shown == certificate, "{name}");
    }
    assert!(store.replace(&[]).is_err());
    assert_eq!(store.certificates().len(), 2);
}

#[test]
fn errors_name_the_file_and_the_reason() {
    let authority = Authority::new();
    let good = authority.issue("good", ECDSA, &["a.example"]);
    let other = authority.issue("other", ECDSA, &["a.example"]);
    let write = |name: &str, text: &str| {
        let path = authority.path(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let key_text = std::fs::read_to_string(&good.key).unwrap();
    let certificate_text = std::fs::read_to_string(&good.certificate).unwrap();
    let cut = write("cut.pem", &certificate_text[..certificate_text.len() - 40]);
    let empty = write("empty.pem", "\n");
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let noise = write("noise.pem", noise);
    let noise_key = key_text
        .lines()
        .enumerate()
        .map(|(number, line)| match number {
            1 => "AAAA\n".to_owned(),
            _ => format!("{line}\n"),
        });
    let noise_key = write("noise.key", &noise_key.collect::<String>());
    let huge = write("huge.pem", &"x".repeat(2 << 20));
    let missing = authority.path("missing.pem");
    authority.openssl(&[
        "ec",
        "-aes128",
        "-passout",
        "pass:x",
        "-in",
        "good.key",
        "-out",
        "locked.key",
    ]);
    authority.openssl(&[
        "pkcs8",
        "-topk8",
        "-passout",
        "pass:x",
        "-in",
        "good.key",
        "-out",
        "locked8.key",
    ]);

    let check = |certificate: &Path, key: &Path, expected: &str| {
        let files = CertificateFiles::new(certificate, key);
        let error = CertificateStore::load(&[files]).unwrap_err().to_string();
        let folder = format!("{}/", authority.folder.path().display());
        assert!(error.contains(&folder), "{error}");
        let error = error.replace(&folder, "");
        assert!(error.starts_with(expected), "{error:?} is not {expected:?}");
        assert!(
            !error.contains(key_text.lines().nth(1).unwrap()),
            "no key in messages"
        );
    };
    check(&missing, &good.key, "cannot read missing.pem: No such file");
    check(
        &good.certificate,
        &missing,
        "cannot read missing.pem: No such file",
    );
    check(&empty, &good.key, "no certificate in empty.pem");
    check(&good.key, &good.key, "no certificate in good.key");
    check(
        &cut,
        &good.key,
        "cut.pem is not valid PEM: a section has no end",
    );
    check(
        &noise,
        &good.key,
        "the certificate in noise.pem cannot be used: ",
    );
    check(&huge, &good.key, "huge.pem is larger than 1048576 bytes");
    check(
        &good.certificate,
        &good.certificate,
        "no private key in good.pem",
    );
    check(
        &good.certificate,
        &authority.path("locked8.key"),
        "no private key in locked8.key",
    );
    check(
        &good.certificate,
        &noise_key,
        "the private key in noise.key cannot be used: ",
    );
    let mismatch = "the key in other.key does not belong to the first certificate in good.pem";
    check(&good.certificate, &other.key, mismatch);
    assert!(
        Pair::read(&CertificateFiles::new(
            &good.certificate,
            authority.path("locked.key")
        ))
        .is_err()
    );

    let all = [
        CertificateFiles::new(&missing, &good.key),
        good,
        CertificateFiles::new(&empty, &other.key),
    ];
    let errors = CertificateStore::load(&all).unwrap_err();
    assert_eq!(errors.0.len(), 2, "{errors}");
    let none = CertificateStore::load(&[]).unwrap_err();
    assert_eq!(none.to_string(), "no certificate is configured");
}

#[test]
fn one_file_may_hold_chain_and_key() {
    let authority = Authority::new();
    let files = authority.issue("site", RSA, &["a.example", "*.B.example"]);
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let all = read(&files.key) + &read(&files.certificate) + &read(&authority.path("ca.pem"));
    let path = authority.path("all.pem");
    std::fs::write(&path, all).unwrap();
    let store = CertificateStore::load(&[CertificateFiles::new(&path, &path)]).unwrap();
    let chosen = store.table.load().choose(Some("a.example"), &[]);
    assert_eq!(chosen.cert.len(), 2);
    let certificates = store.certificates();
    assert_eq!(certificates[0].names, ["a.example", "*.b.example"]);
    let life = certificates[0].not_after.since(Timestamp::now());
    assert!(life > Duration::from_secs(86_400) && life <= Duration::from_secs(2 * 86_400));
    let shown = format!("{store:?}");
    assert!(
        shown.contains("a.example") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

/// What a listener runs: the store in its acceptor, HTTP/2 offered, a handshake over a real socket.
#[tokio::test]
async fn a_listeners_acceptor_shakes_hands_with_the_store() {
    let authority = Authority::new();
    let first = authority.issue("first", ECDSA, &["first.example"]);
    let second = authority.issue("second", RSA, &["second.example"]);
    let files = [first, second.clone()];
    let store = Arc::new(CertificateStore::load(&files).unwrap());
    let acceptor = acceptor(store, config::TlsVersion::V1_2, Protocols::Http1AndHttp2);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = pingora_core::protocols::l4::stream::Stream::from(stream);
        let mut stream = acceptor.tls_handshake(stream).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let mut config = client(authority.roots());
    config.alpn_protocols = vec![b"h2".to_vec()];
    let shown = handshake(address, config, "second.example").await.unwrap();
    assert!(shown == certificate(&second.certificate));
    server.await.unwrap();
}

/// A listener's acceptor on a port of its own, for any number of handshakes.
async fn accept(
    store: &Arc<CertificateStore>,
    min_version: config::TlsVersion,
) -> std::net::SocketAddr {
    let acceptor = Arc::new(acceptor(store.clone(), min_version, Protocols::Http1));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = pingora_core::protocols::l4::stream::Stream::from(stream);
            let mut stream = acceptor.tls_handshake(stream).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

/// How a handshake went. Reads to the end of the connection, so that the client has its tickets then.
async fn kind(
    address: std::net::SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> HandshakeKind {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(config.clone());
    let mut stream = connector.connect(name, stream).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"x");
    stream.get_ref().1.handshake_kind().unwrap()
}

#[tokio::test]
async fn sessions_are_taken_up_by_tickets_of_either_version() {
    let authority = Authority::new();
    let first = authority.issue("first", ECDSA, &["first.example"]);
    let second = authority.issue("second", RSA, &["second.example"]);
    let store = Arc::new(CertificateStore::load(&[first, second]).unwrap());
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let address = accept(&store, config::TlsVersion::V1_2).await;
        let client = || {
            let config = ClientConfig::builder_with_provider(provider().into())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(authority.roots())
                .with_no_client_auth();
            Arc::new(config)
        };
        // More clients than any list of sessions would remember.
        let patient = client();
        let name = "first.example";
        let full = kind(address, &patient, name).await;
        assert_eq!(full, HandshakeKind::Full, "{version:?}");
        for _ in 0..300 {
            assert_eq!(kind(address, &client(), name).await, HandshakeKind::Full);
        }
        let resumed = kind(address, &patient, name).await;
        assert_eq!(resumed, HandshakeKind::Resumed, "{version:?}");
        // Another name has sessions of its own, and another listener other keys.
        let other_name = kind(address, &patient, "second.example").await;
        assert_eq!(other_name, HandshakeKind::Full, "{version:?}");
        let other_keys = accept(&store, config::TlsVersion::V1_2).await;
        let full = kind(other_keys, &patient, name).await;
        assert_eq!(full, HandshakeKind::Full, "{version:?}");
    }
}
