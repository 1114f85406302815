//! Hostile clients and unlucky moments, on real sockets against a front door in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::{BackendAddress, Config, ListenAddress};
use parking_lot::Mutex;
use proxy::front::Front;
use proxy::listener::handover::Inherited;
use proxy::server::{Control, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// Longer than anything takes, so that a hang fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Request heads as a backend has seen them.
type Seen = Arc<Mutex<Vec<String>>>;

/// Serves one request a connection, by whatever `answer` writes.
async fn backend<F>(answer: impl Fn(String, TcpStream) -> F + Send + 'static) -> (SocketAddr, Seen)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = read_head(&mut stream).await;
            log.lock().push(head.clone());
            tokio::spawn(answer(head, stream));
        }
    });
    (address, seen)
}

/// A backend that gives every request the same bytes and closes.
async fn answering(answer: &'static str) -> (SocketAddr, Seen) {
    backend(move |_, mut stream| async move {
        // The front door may have hung up.
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).expect("a head in ASCII")
}

struct Door {
    address: SocketAddr,
    front: Arc<Front>,
    control: Control,
    config: Config,
}

async fn door(backend: SocketAddr, change: impl FnOnce(&mut Config)) -> Door {
    let mut config = Config::default();
    config.listen[0].address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
    config.metrics.enabled = false;
    config.backend.servers = vec![BackendAddress::Host {
        host: backend.ip().to_string(),
        port: backend.port(),
    }];
    config.backend.retries_max = 0;
    change(&mut config);
    config.validate().expect("sound settings");
    let bound = Server::bind(config.clone(), Inherited::default()).await;
    let server = bound.expect("a free port");
    let address = match server.addresses().next() {
        Some(ListenAddress::Tcp(address)) => *address,
        other => panic!("no TCP listener: {other:?}"),
    };
    let control = server.control();
    tokio::spawn(server.run(std::future::pending::<()>()));
    Door {
        address,
        front: Arc::clone(control.front()),
        control,
        config,
    }
}

impl Door {
    /// Sends bytes, says that no more come, and reads until the front door closes.
    async fn talk(&self, bytes: &str) -> String {
        self.talk_from([127, 0, 0, 1], bytes).await
    }

    async fn talk_from(&self, client: [u8; 4], bytes: &str) -> String {
        let talk = async {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind((client, 0).into()).expect("a loopback address");
            let mut stream = socket.connect(self.address).await.expect("listening");
            stream.write_all(bytes.as_bytes()).await.expect("open");
            stream.shutdown().await.expect("open");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.expect("no reset");
            String::from_utf8(answer).expect("an answer in ASCII")
        };
        timeout(PATIENCE, talk).await.expect("an answer in time")
    }

    /// One GET with these field lines.
    async fn get(&self, target: &str, fields: &str) -> String {
        self.talk(&format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"
        ))
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_fills_at_once_keep_no_more_than_the_cache_may_hold() {
    const BODY: usize = 200_000;
    const CLIENTS: usize = 20;
    const MEMORY: u64 = 1 << 20;
    let (finish, finished) = watch::channel(false);
    let (address, seen) = backend(move |_, mut stream| {
        let mut finished = finished.clone();
        async move {
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
            let body = vec![b'~'; BODY];
            stream.write_all(head.as_bytes()).await.expect("open");
            let chunk = format!("{BODY:x}\r\n");
            stream.write_all(chunk.as_bytes()).await.expect("open");
            stream.write_all(&body).await.expect("open");
            finished.wait_for(|finish| *finish).await.expect("the test runs");
            stream.write_all(b"\r\n0\r\n\r\n").await.expect("open");
        }
    })
    .await;
    let door = Arc::new(
        door(address, |config| {
            config.cache.memory = config::ByteSize::mebibytes(1);
            config.cache.object_bytes_max = config::ByteSize::mebibytes(1);
        })
        .await,
    );
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let door = Arc::clone(&door);
        clients.spawn(async move { door.get(&format!("/{number}"), "").await });
    }
    let transit = door.front.settings().transit.clone();
    let full = async {
        // All but what is still on its way from the backend.
        while transit.kept_bytes() + transit.held_bytes() < MEMORY / 2
            || seen.lock().len() < CLIENTS
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    timeout(PATIENCE, full).await.expect("the fills begin");
    assert!(transit.kept_bytes() <= MEMORY, "{}", transit.kept_bytes());
    finish.send_replace(true);
    while let Some(answer) = clients.join_next().await {
        let answer = answer.expect("no panic");
        assert_eq!(
            answer.matches('~').count(),
            BODY,
            "everybody gets the whole"
        );
    }
    assert_eq!(transit.kept_bytes(), 0);
}

/// A backend that answers with the value of one request field, and says so in Vary.
async fn echoing(name: &'static str) -> SocketAddr {
    let (address, _) = backend(move |head, mut stream| async move {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        let value = line.map_or("none", |rest| rest.trim_start_matches(": "));
        let length = value.len() + 2;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nVary: {name}\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n\r\n<{value}>"
        );
        stream.write_all(answer.as_bytes()).await.expect("open");
    })
    .await;
    address
}

#[tokio::test]
async fn field_that_connection_takes_away_does_not_choose_a_variant() {
    let door = door(echoing("Accept-Language").await, |_| {}).await;
    let poison = "Accept-Language: de\r\nConnection: Accept-Language\r\n";
    let answer = door.get("/", poison).await;
    assert!(answer.ends_with("<none>"), "{answer}");
    let answer = door.get("/", "Accept-Language: de\r\n").await;
    assert!(answer.ends_with("<de>"), "{answer}");
}

#[tokio::test]
async fn answer_that_varies_on_the_clients_address_is_not_for_other_addresses() {
    let door = door(echoing("X-Forwarded-For").await, |_| {}).await;
    for address in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1]] {
        let get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = door.talk_from(address, get).await;
        let own = format!("<127.0.0.{}>", address[3]);
        assert!(answer.ends_with(&own), "{answer}");
    }
}

const STORABLE: &str =
    "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn backend_is_not_asked_to_speak_http2_with_a_client() {
    let (address, seen) = answering(STORABLE).await;
    let door = door(address, |_| {}).await;
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n";
    for _ in 0..2 {
        let answer = door.get("/", h2c).await;
        assert!(answer.ends_with("hello"), "{answer}");
    }
    let seen = seen.lock();
    assert_eq!(seen.len(), 1, "it is a GET like others");
    assert!(
        !seen[0].to_ascii_lowercase().contains("upgrade"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn protocols_are_not_switched_behind_a_body() {
    let (address, seen) =
        answering("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
    let door = door(address, |_| {}).await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: x\r\nContent-Length: 5\r\n\r\n";
    let answer = door.talk(&format!("{post}12345")).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let seen = seen.lock();
    assert!(
        !seen[0].to_ascii_lowercase().contains("upgrade"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn empty_lines_behind_the_last_request_do_not_swallow_its_answer() {
    // Slow enough for the front door to read what follows the request, its end included.
    let (address, _) = backend(|_, mut stream| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(STORABLE.as_bytes()).await.expect("open");
    })
    .await;
    let door = door(address, |_| {}).await;
    let answer = door.talk("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn soft_purge_by_key_reaches_what_is_being_fetched() {
    let (open, gate) = watch::channel(false);
    let (address, seen) = backend(move |_, mut stream| {
        let mut gate = gate.clone();
        async move {
            let body = if *gate.borrow() { "new" } else { "old" };
            gate.wait_for(|open| *open).await.expect("the test runs");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nSurrogate-Key: k\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.expect("open");
        }
    })
    .await;
    let door = Arc::new(door(address, |_| {}).await);
    let first = tokio::spawn({
        let door = Arc::clone(&door);
        async move { door.get("/", "").await }
    });
    let asked = async {
        while seen.lock().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, asked)
        .await
        .expect("the backend is asked");
    let purge = "PURGE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nSurrogate-Key: k\r\nLacquer-Purge: soft\r\n\r\n";
    let answer = door.talk(purge).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    open.send_replace(true);
    let answer = first.await.expect("no panic");
    assert!(
        answer.ends_with("old"),
        "it asked before the purge: {answer}"
    );
    let answer = door.get("/", "").await;
    assert!(answer.ends_with("new"), "{answer}");
}

#[tokio::test]
async fn reload_takes_a_new_limit_for_the_heads_of_backends() {
    let (address, _) = backend(|_, mut stream| async move {
        let long = "x".repeat(8000);
        let answer = format!("HTTP/1.1 200 OK\r\nLong: {long}\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("open");
    })
    .await;
    let door = door(address, |_| {}).await;
    let answer = door.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut config = door.config.clone();
    config.limits.backend_header_bytes_max = config::ByteSize::kibibytes(4);
    door.control.reload(config).expect("sound settings");
    let answer = door.get("/", "").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn clients_that_leave_at_once_do_not_heap_up_fetches() {
    const FETCHES: usize = 6;
    let (address, seen) = backend(|head, mut stream| async move {
        if head.starts_with("GET /slow") {
            tokio::time::sleep(PATIENCE).await;
        }
        // Whoever did not wait is gone.
        let _ = stream.write_all(STORABLE.as_bytes()).await;
    })
    .await;
    let door = door(address, |config| {
        config.limits.connections_max = FETCHES.try_into().expect("not zero");
    })
    .await;
    assert!(door.get("/stored", "").await.ends_with("hello"));
    for number in 0..3 * FETCHES {
        let mut stream = TcpStream::connect(door.address).await.expect("listening");
        let get = format!("GET /slow/{number} HTTP/1.1\r\nHost: a\r\n\r\n");
        stream.write_all(get.as_bytes()).await.expect("open");
        // Long enough to be served: the request is then with the backend, or refused.
        let mut answer = [0; 12];
        if let Ok(read) = timeout(Duration::from_millis(100), stream.read_exact(&mut answer)).await
        {
            read.expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 503");
            assert!(number >= FETCHES, "the first have room");
        }
        // A reset: the client is gone and not only silent.
        stream.set_zero_linger().expect("an open socket");
    }
    let asked = seen.lock().len();
    assert_eq!(asked, 1 + FETCHES);
    assert!(
        door.get("/stored", "").await.ends_with("hello"),
        "hits need no fetch"
    );
}

#[tokio::test]
async fn if_match_is_judged_by_the_origin_when_the_stored_answer_has_to_be_confirmed() {
    let (change, changed) = watch::channel(1);
    let (address, _) = backend(move |head, mut stream| {
        let now = *changed.borrow();
        async move {
            let mismatch = head.contains("If-Match: \"1\"") && now != 1;
            let answer = match mismatch {
                true => "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n".to_owned(),
                false => format!(
                    "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"{now}\"\r\nContent-Length: 1\r\n\r\n{now}"
                ),
            };
            stream.write_all(answer.as_bytes()).await.expect("open");
        }
    })
    .await;
    let door = door(address, |_| {}).await;
    assert!(door.get("/", "").await.ends_with('1'));
    change.send_replace(2);
    let answer = door
        .get("/", "If-Match: \"1\"\r\nCache-Control: no-cache\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 412 "), "{answer}");
    let answer = door.get("/", "Cache-Control: no-cache\r\n").await;
    assert!(answer.ends_with('2'), "{answer}");
    assert!(answer.contains("; fwd=request;"), "{answer}");
}

/// Stores an answer, then sends a write that the backend does and does not answer, over two connections.
async fn write_that_is_done_and_not_answered(write: &str) -> (String, String) {
    let done = Arc::new(AtomicBool::new(false));
    let answer = move |head: String, mut stream: TcpStream| {
        let done = Arc::clone(&done);
        async move {
            let is_write = !head.starts_with("GET ");
            let answer = match (is_write, done.fetch_or(is_write, Ordering::SeqCst)) {
                (true, false) => return,
                (true, true) if head.contains("If-Match") => {
                    "HTTP/1.1 412 Changed\r\nContent-Length: 0\r\n\r\n"
                }
                (_, true) => "HTTP/1.1 404 Gone by now\r\nContent-Length: 0\r\n\r\n",
                (false, false) => STORABLE,
            };
            stream.write_all(answer.as_bytes()).await.expect("open");
        }
    };
    let (first, _) = backend(answer.clone()).await;
    let (second, _) = backend(answer).await;
    let door = door(first, |config| {
        config.backend.servers.push(BackendAddress::Host {
            host: second.ip().to_string(),
            port: second.port(),
        });
        config.backend.retries_max = 1;
    })
    .await;
    assert!(door.get("/", "").await.ends_with("hello"));
    let answer = door.talk(write).await;
    (answer, door.get("/", "").await)
}

#[tokio::test]
async fn repeated_delete_that_finds_nothing_ends_what_is_stored() {
    let delete = "DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (answer, later) = write_that_is_done_and_not_answered(delete).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert!(later.starts_with("HTTP/1.1 404 "), "{later}");
}

#[tokio::test]
async fn write_with_a_condition_is_not_repeated() {
    let put = "PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIf-Match: \"1\"\r\nContent-Length: 0\r\n\r\n";
    let (answer, later) = write_that_is_done_and_not_answered(put).await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(later.starts_with("HTTP/1.1 404 "), "{later}");
}
