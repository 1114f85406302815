//! The servers behind the front door.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::server::nonzero_u32;
use crate::setting::settings;
use crate::value::{BackendAddress, FieldText, HostName, UrlPath, choice, known};

settings! {
    /// The servers behind the front door, and how it speaks to them.
    pub struct BackendConfig {
        /// Servers that all give the same answers: `host:port`, `host` (port 80) or `unix:PATH`. Names are looked up
        /// again as `dns_interval` says, and every address of a name takes part.
        pub servers: Vec<BackendAddress> = vec![BackendAddress::Host {
            host: "127.0.0.1".to_owned(),
            port: 8081,
        }];
        /// How a server is chosen: `round_robin`, `random`, `least_connections`, or `consistent_hash` (the same URL to
        /// the same server, for servers that cache by themselves).
        pub balance: Balance = Balance::RoundRobin;
        /// Speak TLS to the servers. Then each needs its port, as in `host:443`.
        pub tls: bool = false;
        /// Check the servers' certificates. Turn it off only for tests: anyone in between can read and change what passes.
        pub tls_verify: bool = true;
        /// Name to ask for and to check certificates against. Without it: the host as it stands in `servers`.
        pub sni: Option<HostName> = None, example r#""app.example""#;
        /// PEM file with the authorities that may sign the servers' certificates. Without it: those of the system.
        pub ca_file: Option<PathBuf> = None, example r#""/etc/lacquer/backend-ca.pem""#;
        /// How long to wait for a connection.
        pub connect_timeout: Duration = Duration::from_millis(3_500);
        /// How long to wait for the head of an answer. Raise it for servers that compute long; beyond it: 504.
        pub first_byte_timeout: Duration = Duration::from_secs(60);
        /// Longest pause between two pieces of an answer.
        pub between_bytes_timeout: Duration = Duration::from_secs(60);
        /// How long an unused connection is kept. Keep it below the servers' own limit.
        pub idle_timeout: Duration = Duration::from_secs(60);
        /// Most connections to one server at once; 0 means any number.
        pub connections_max: u32 = 0;
        /// Most unused connections kept for each server.
        pub idle_connections_max: u32 = 128;
        /// How often host names are looked up again, so that changes of their records are followed.
        pub dns_interval: Duration = Duration::from_secs(10);
        /// How often a request that may be repeated is tried on another server after a failure.
        pub retries_max: u32 = 1;
        /// `Host` that the servers see. Without it: the client's own, as it came.
        pub host_header: Option<FieldText> = None, example r#""app.example""#;
        /// Health checks.
        pub probe: ProbeConfig = ProbeConfig::default();
    }
}

choice! {
    /// How a server is chosen.
    pub enum Balance {
        /// One after the other.
        RoundRobin = "round_robin",
        /// By chance.
        Random = "random",
        /// The one with the fewest connections in use.
        LeastConnections = "least_connections",
        /// By the URL, so that few URLs move when a server comes or goes.
        ConsistentHash = "consistent_hash",
    }
}

settings! {
    /// Health checks of the servers. A sick server gets no requests while another is well.
    pub struct ProbeConfig {
        /// Ask the servers at intervals whether they are well.
        pub enabled: bool = false;
        /// What to ask for, with GET.
        pub path: UrlPath = known("/ready");
        /// Time from one probe to the next.
        pub interval: Duration = Duration::from_secs(5);
        /// How long a probe may take.
        pub timeout: Duration = Duration::from_secs(2);
        /// How many of the last probes count, at most 64.
        pub window: NonZeroU32 = nonzero_u32(8);
        /// How many of them must have succeeded for a server to be well.
        pub threshold: NonZeroU32 = nonzero_u32(3);
        /// How many count as succeeded at the start. One below `threshold`: a server is well after its first good answer.
        pub initial: u32 = 2;
        /// Status of a good answer.
        pub expected_status: u16 = 200;
    }
}
