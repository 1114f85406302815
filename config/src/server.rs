//! The front door's process, its listeners, and what it grants to clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use crate::setting::{listed, settings};
use crate::value::{ByteSize, ListenAddress, choice};

settings! {
    /// The process of the front door; `log_level` and `log_format` hold for the origin too.
    pub struct ServerConfig {
        /// Threads that serve connections; 0 means one for each core. Lower it to leave cores to others.
        pub threads: usize = 0;
        /// How long connections may finish what they do after SIGTERM, before they are cut. Raise it for long downloads.
        pub drain_timeout: Duration = Duration::from_secs(30);
        /// File that receives the process id while the front door runs, for service managers that ask for one.
        pub pid_file: Option<PathBuf> = None, example r#""/run/lacquer/lacquer.pid""#;
        /// Unix socket over which a new process takes over the listeners (`--upgrade`). Without it:
        /// `lacquer-upgrade.sock` in `$XDG_RUNTIME_DIR`, or else in `/run` for root and `/tmp` for others. Set it where
        /// several front doors run on one machine.
        pub upgrade_socket: Option<PathBuf> = None, example r#""/run/lacquer/upgrade.sock""#;
        /// What goes to standard error: `error`, `warn`, `info`, `debug` or `trace`. `debug` tells each decision of the
        /// cache and costs speed.
        pub log_level: LogLevel = LogLevel::Info;
        /// `text` for people, `json` for collectors.
        pub log_format: LogFormat = LogFormat::Text;
    }
}

impl ServerConfig {
    /// [`ServerConfig::upgrade_socket`], or where it is without one.
    pub fn upgrade_socket_path(&self, runtime_dir: Option<PathBuf>, is_root: bool) -> PathBuf {
        let folder = || match (runtime_dir, is_root) {
            (Some(folder), _) => folder,
            (None, true) => PathBuf::from("/run"),
            (None, false) => PathBuf::from("/tmp"),
        };
        self.upgrade_socket
            .clone()
            .unwrap_or_else(|| folder().join("lacquer-upgrade.sock"))
    }
}

choice! {
    /// How much the programs say on standard error.
    pub enum LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }
}

choice! {
    /// The form of what they say.
    pub enum LogFormat {
        Text = "text",
        Json = "json",
    }
}

settings! {
    /// A listener of the front door; repeat the table for more. A file that has one replaces the default listener.
    pub struct ListenConfig {
        /// Address and port, `:PORT` for all addresses of both families, or `unix:PATH`. The default takes connections
        /// from this machine only.
        pub address: ListenAddress = ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6081)));
        /// Speak TLS, with the certificates of `[tls]`.
        pub tls: bool = false;
        /// Offer HTTP/2: by ALPN with TLS, by prior knowledge in plain text.
        pub http2: bool = true;
    }
}
listed!(ListenConfig);

settings! {
    /// TLS of the listeners that have `tls = true`. SIGHUP reads the certificates again.
    pub struct TlsConfig {
        /// Certificates to choose from by the server name that the client asks for (SNI).
        pub certificates: Vec<CertificateConfig> = Vec::new();
        /// Oldest version that clients may speak: `1.2` or `1.3`.
        pub min_version: TlsVersion = TlsVersion::V1_2;
    }
}

choice! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// RFC 5246.
        V1_2 = "1.2",
        /// RFC 8446.
        V1_3 = "1.3",
    }
}

settings! {
    /// A certificate and its key; repeat the table for more. Clients that ask for a name which no certificate has, or
    /// for none, get the first.
    pub struct CertificateConfig {
        /// PEM file with the certificate, then the ones between it and its root.
        pub certificate: PathBuf = PathBuf::new(), example r#""/etc/lacquer/example.org.pem""#;
        /// PEM file with the private key.
        pub key: PathBuf = PathBuf::new(), example r#""/etc/lacquer/example.org.key""#;
    }
}
listed!(CertificateConfig);

settings! {
    /// Bounds on what clients and backends may send. Each protects the process from one peer; a client that goes beyond
    /// gets the status named.
    pub struct LimitsConfig {
        /// Most bytes of a request's head, the request line counted (431). Raise it for large cookies.
        pub header_bytes_max: ByteSize = ByteSize::kibibytes(32);
        /// Most header fields in a request (431).
        pub header_count_max: NonZeroUsize = nonzero(100);
        /// Longest request target (414). The default has room for the origin's longest key in any script.
        pub target_bytes_max: ByteSize = ByteSize::kibibytes(16);
        /// Largest request body (413). Bodies are not held in memory, so this is a matter of policy.
        pub request_body_bytes_max: ByteSize = ByteSize::gibibytes(1);
        /// Most connections of clients at once. Each takes up to two file descriptors: `lacquer` takes all that the hard limit
        /// allows (`ulimit -Hn`), and warns at the start where that is less than twice this number.
        pub connections_max: NonZeroUsize = nonzero(10_000);
        /// Requests after which a connection is closed; 0 means any number.
        pub requests_per_connection_max: u32 = 0;
        /// Most HTTP/2 streams open at once on a connection (RFC 9113 §5.1.2).
        pub http2_streams_max: NonZeroU32 = nonzero_u32(100);
        /// Most bytes of an HTTP/2 request's header list, uncompressed (RFC 9113 §6.5.2).
        pub http2_header_list_bytes_max: ByteSize = ByteSize::kibibytes(32);
        /// Most streams that an HTTP/2 client may reset before their answers are complete, beyond those it waits for
        /// and one for each second; then the connection is closed ("rapid reset", CVE-2023-44487).
        pub http2_resets_max: NonZeroUsize = nonzero(100);
        /// Most streams that errors of an HTTP/2 client may make us reset before the connection is closed ("made you
        /// reset", CVE-2025-8671).
        pub http2_stream_errors_max: NonZeroUsize = nonzero(100);
        /// Most PING, SETTINGS, PRIORITY, GOAWAY and unknown frames, empty DATA frames, streams above the limit and
        /// header blocks of streams that were reset that an HTTP/2 client may send within ten seconds before the
        /// connection is closed.
        pub http2_control_frames_max: NonZeroU32 = nonzero_u32(1000);
        /// Fewest bytes of an answer that an HTTP/2 client has to take within `timeouts.write`; a client that takes
        /// fewer of a longer answer loses the stream. Zero: any byte will do.
        pub http2_progress_bytes_min: ByteSize = ByteSize::kibibytes(4);
        /// Most bytes of a backend's response head; beyond it the answer is a 502.
        pub backend_header_bytes_max: ByteSize = ByteSize::kibibytes(64);
    }
}

settings! {
    /// How long the front door waits for clients. A slow client costs its connection and nothing else.
    pub struct TimeoutsConfig {
        /// How long a connection may stay open between two requests.
        pub idle: Duration = Duration::from_secs(60);
        /// How long a request's head may take from its first byte to its last.
        pub header_read: Duration = Duration::from_secs(10);
        /// Longest pause between two pieces of a request's body.
        pub body_read: Duration = Duration::from_secs(30);
        /// How long a client may take no byte of its answer.
        pub write: Duration = Duration::from_secs(60);
        /// How long an upgraded connection (WebSocket) may be quiet in both directions.
        pub pipe_idle: Duration = Duration::from_secs(60);
        /// How long a TLS handshake may take.
        pub tls_handshake: Duration = Duration::from_secs(10);
    }
}

pub(crate) fn nonzero(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).expect("defaults of such settings are not zero")
}

pub(crate) fn nonzero_u32(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("defaults of such settings are not zero")
}
