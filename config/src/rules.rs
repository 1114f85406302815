//! Rules that span settings, or that a setting's type does not say. Each problem says what to change.

use std::time::Duration;

use crate::Config;
use crate::error::Problem;
use crate::value::{BackendAddress, ByteSize, ListenAddress};

/// Probes are remembered as the bits of one word.
const PROBE_WINDOW_MAX: u32 = 64;
/// More attempts turn an outage of the backends into a storm.
const RETRIES_MAX: u32 = 10;
const THREADS_MAX: usize = 1024;
/// Heads are held in memory, for each connection.
const HEAD_BYTES: (ByteSize, ByteSize) = (ByteSize::new(512), ByteSize::mebibytes(16));
/// Less would cut bodies into crumbs.
const TRANSIT_BYTES_MIN: ByteSize = ByteSize::kibibytes(4);
/// PostgreSQL takes no field or message of 1 GiB.
const VALUE_BYTES_MAX: ByteSize = ByteSize::mebibytes(1000);
/// PostgreSQL's own minimum for `shared_buffers`.
const SHARED_BUFFERS_MIN: ByteSize = ByteSize::kibibytes(128);
/// Connections of the origin besides those that read and write: one writes large values, two do the rest.
const CONNECTIONS_OTHERS: u32 = 3;
/// Connections that PostgreSQL keeps for its superuser.
const CONNECTIONS_RESERVED: u32 = 3;
const BUCKET_CHARACTERS_MAX: usize = 256;

/// Everything that is wrong with the settings as a whole.
pub(crate) fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    server(config, &mut problems);
    listeners(config, &mut problems);
    backend(config, &mut problems);
    cache(config, &mut problems);
    limits(config, &mut problems);
    origin(config, &mut problems);
    durations(config, &mut problems);
    problems
}

fn server(config: &Config, problems: &mut Vec<Problem>) {
    if config.server.threads > THREADS_MAX {
        problems.push(Problem::rule(
            "server.threads",
            format!("is above {THREADS_MAX}"),
        ));
    }
}

fn listeners(config: &Config, problems: &mut Vec<Problem>) {
    if config.listen.is_empty() {
        problems.push(Problem::rule(
            "listen",
            "is empty: name at least one address",
        ));
    }
    for (index, listener) in config.listen.iter().enumerate() {
        let taken = config.listen[..index]
            .iter()
            .any(|earlier| same_socket(&earlier.address, &listener.address));
        if taken {
            let message = format!("repeats {}, which another listener has", listener.address);
            problems.push(Problem::rule(format!("listen[{index}].address"), message));
        }
        if listener.tls && config.tls.certificates.is_empty() {
            problems.push(Problem::rule(
                format!("listen[{index}].tls"),
                "needs a certificate: add a table [[tls.certificates]]",
            ));
        }
        let metrics = ListenAddress::Tcp(config.metrics.address);
        if config.metrics.enabled && same_socket(&listener.address, &metrics) {
            problems.push(Problem::rule(
                "metrics.address",
                format!("repeats {metrics}, which a listener has"),
            ));
        }
    }
    for (index, pair) in config.tls.certificates.iter().enumerate() {
        for (name, path) in [("certificate", &pair.certificate), ("key", &pair.key)] {
            if path.as_os_str().is_empty() {
                problems.push(Problem::rule(
                    format!("tls.certificates[{index}].{name}"),
                    "is missing: name a PEM file",
                ));
            }
        }
    }
}

/// Whether two listeners would want one socket; ports that the kernel chooses never collide.
fn same_socket(one: &ListenAddress, other: &ListenAddress) -> bool {
    let chosen_later =
        |address: &ListenAddress| matches!(address, ListenAddress::Tcp(tcp) if tcp.port() == 0);
    one == other && !chosen_later(one)
}

fn backend(config: &Config, problems: &mut Vec<Problem>) {
    let backend = &config.backend;
    if backend.servers.is_empty() {
        problems.push(Problem::rule(
            "backend.servers",
            "is empty: name at least one server",
        ));
    }
    if backend.tls {
        for server in &backend.servers {
            match server {
                BackendAddress::Host { port: 80, .. } => problems.push(Problem::rule(
                    "backend.servers",
                    format!(
                        "has {server}, where nobody speaks TLS: write the port, as in host:443"
                    ),
                )),
                BackendAddress::Unix(_) if backend.sni.is_none() => problems.push(Problem::rule(
                    "backend.sni",
                    format!("is missing: {server} has no host name to ask for"),
                )),
                _ => {}
            }
        }
    } else {
        for (key, is_set) in [
            ("backend.sni", backend.sni.is_some()),
            ("backend.ca_file", backend.ca_file.is_some()),
        ] {
            if is_set {
                problems.push(Problem::rule(
                    key,
                    "has no effect unless backend.tls = true",
                ));
            }
        }
    }
    if backend.retries_max > RETRIES_MAX {
        let message = format!("is above {RETRIES_MAX}");
        problems.push(Problem::rule("backend.retries_max", message));
    }
    let probe = &backend.probe;
    let window = probe.window.get();
    if window > PROBE_WINDOW_MAX {
        let message = format!("is above {PROBE_WINDOW_MAX}");
        problems.push(Problem::rule("backend.probe.window", message));
    }
    for (key, probes) in [
        ("backend.probe.threshold", probe.threshold.get()),
        ("backend.probe.initial", probe.initial),
    ] {
        if probes > window {
            let message = format!("is {probes}, more than backend.probe.window, {window}");
            problems.push(Problem::rule(key, message));
        }
    }
    if !(200..600).contains(&probe.expected_status) {
        problems.push(Problem::rule(
            "backend.probe.expected_status",
            "is no final status, which is 200 to 599",
        ));
    }
}

fn cache(config: &Config, problems: &mut Vec<Problem>) {
    let cache = &config.cache;
    if cache.object_bytes_max > cache.memory {
        let message = format!(
            "is {}, more than cache.memory, {}",
            cache.object_bytes_max, cache.memory
        );
        problems.push(Problem::rule("cache.object_bytes_max", message));
    }
    if cache.transit_bytes < TRANSIT_BYTES_MIN {
        let message = format!("is below {TRANSIT_BYTES_MIN}");
        problems.push(Problem::rule("cache.transit_bytes", message));
    }
}

fn limits(config: &Config, problems: &mut Vec<Problem>) {
    let limits = &config.limits;
    let (least, most) = HEAD_BYTES;
    for (key, size) in [
        ("limits.header_bytes_max", limits.header_bytes_max),
        ("limits.target_bytes_max", limits.target_bytes_max),
        (
            "limits.http2_header_list_bytes_max",
            limits.http2_header_list_bytes_max,
        ),
        (
            "limits.backend_header_bytes_max",
            limits.backend_header_bytes_max,
        ),
    ] {
        if !(least..=most).contains(&size) {
            let message = format!("is {size}, not from {least} to {most}");
            problems.push(Problem::rule(key, message));
        }
    }
}

fn origin(config: &Config, problems: &mut Vec<Problem>) {
    let origin = &config.origin;
    if origin.value_bytes_max > VALUE_BYTES_MAX {
        let message = format!("is above {VALUE_BYTES_MAX}");
        problems.push(Problem::rule("origin.value_bytes_max", message));
    }
    if origin.metrics_address == Some(origin.listen) && origin.listen.port() != 0 {
        let message = format!("repeats {}, which is origin.listen", origin.listen);
        problems.push(Problem::rule("origin.metrics_address", message));
    }
    let postgres = &origin.postgres;
    if postgres.dsn.is_some() && postgres.dsn_file.is_some() {
        problems.push(Problem::rule(
            "origin.postgres.dsn_file",
            "is set beside origin.postgres.dsn: keep one of them",
        ));
    }
    let (read, write, all) = (
        postgres.read_connections.get(),
        postgres.write_connections.get(),
        postgres.connections.get(),
    );
    let needed = read
        .saturating_add(write)
        .saturating_add(CONNECTIONS_OTHERS);
    if needed > all {
        let message = format!(
            "is {all}, less than read_connections + write_connections + {CONNECTIONS_OTHERS} for batches, lists and large values"
        );
        problems.push(Problem::rule("origin.postgres.connections", message));
    }
    let cluster = &origin.cluster;
    let is_private = postgres.dsn.is_none() && postgres.dsn_file.is_none();
    if is_private && all.saturating_add(CONNECTIONS_RESERVED) > cluster.max_connections.get() {
        let message = format!(
            "is {}; origin.postgres.connections and {CONNECTIONS_RESERVED} reserved ones do not fit",
            cluster.max_connections
        );
        problems.push(Problem::rule("origin.cluster.max_connections", message));
    }
    if cluster.shared_buffers < SHARED_BUFFERS_MIN {
        let message = format!("is below {SHARED_BUFFERS_MIN}");
        problems.push(Problem::rule("origin.cluster.shared_buffers", message));
    }
    for (name, bucket) in &origin.buckets {
        let is_name = (1..=BUCKET_CHARACTERS_MAX).contains(&name.chars().count())
            && !name.chars().any(char::is_control);
        if !is_name {
            let message = format!(
                "is no name of a bucket: 1 to {BUCKET_CHARACTERS_MAX} characters, none of them control characters"
            );
            let key = format!("origin.buckets.{}", name.escape_debug());
            problems.push(Problem::rule(key, message));
        }
        if bucket.default_ttl == Some(Duration::ZERO) {
            problems.push(Problem::rule(
                format!("origin.buckets.{name}.default_ttl"),
                "is zero: nothing could be read back",
            ));
        }
    }
}

/// Durations that would make everything fail, or spin, when they are zero.
fn durations(config: &Config, problems: &mut Vec<Problem>) {
    let (backend, timeouts, origin) = (&config.backend, &config.timeouts, &config.origin);
    for (key, duration) in [
        ("backend.connect_timeout", backend.connect_timeout),
        ("backend.first_byte_timeout", backend.first_byte_timeout),
        (
            "backend.between_bytes_timeout",
            backend.between_bytes_timeout,
        ),
        ("backend.dns_interval", backend.dns_interval),
        ("backend.probe.interval", backend.probe.interval),
        ("backend.probe.timeout", backend.probe.timeout),
        ("purge.lurker_interval", config.purge.lurker_interval),
        ("timeouts.idle", timeouts.idle),
        ("timeouts.header_read", timeouts.header_read),
        ("timeouts.body_read", timeouts.body_read),
        ("timeouts.write", timeouts.write),
        ("timeouts.tls_handshake", timeouts.tls_handshake),
        ("origin.purge_timeout", origin.purge_timeout),
        ("origin.timeout", origin.timeout),
        ("origin.body_read_timeout", origin.body_read_timeout),
        ("origin.expiry_interval", origin.expiry_interval),
        (
            "origin.postgres.connect_timeout",
            origin.postgres.connect_timeout,
        ),
        ("origin.cluster.start_timeout", origin.cluster.start_timeout),
        ("origin.cluster.stop_timeout", origin.cluster.stop_timeout),
    ] {
        if duration.is_zero() {
            problems.push(Problem::rule(key, "is zero, which leaves no time at all"));
        }
    }
}
