//! HAProxy with its small-object cache and one thread a core, connections to the backend shared.
//!
//! The cache keeps at most 4,095 MiB, and by default takes no object above a 256th of its size; here it takes those of
//! the benchmark. It asks for two files a connection, which the machine may not allow: it needs them only for
//! connections that are not answered from the cache.

use anyhow::Result;

use super::{Place, Protocol, Setup};
use crate::bench::child::Call;

const CACHE_MIB_MAX: u64 = 4095;

pub(super) fn call(call: Call, place: &Place<'_>, setup: &Setup) -> Result<Call> {
    let mut bind = format!("{} backlog 4096", place.listen);
    match setup.protocol {
        Protocol::Http1 => {}
        Protocol::Http2 => bind.push_str(" proto h2"),
        Protocol::Tls => {
            let both =
                [&place.certificate.chain, &place.certificate.key].map(std::fs::read_to_string);
            let [chain, key] = both;
            let path = place.write("both.pem", &format!("{}{}", chain?, key?))?;
            bind.push_str(&format!(" ssl crt {}", path.display()));
        }
    }
    let text = format!(
        "\
global
  nbthread {threads}
  maxconn {connections}
  no strict-limits
defaults
  mode http
  no log
  timeout connect 5s
  timeout client 300s
  timeout http-keep-alive 300s
  timeout server 30s
  http-reuse always
cache objects
  total-max-size {memory}
  max-object-size {object}
  max-age 3600
frontend clients
  bind {bind}
  http-request cache-use objects
  http-response cache-store objects
  default_backend origin
backend origin
  server origin {backend} pool-max-conn 256
",
        threads = setup.cores.count(),
        connections = setup.connections_max.saturating_sub(500).max(2_000),
        memory = (setup.memory_bytes >> 20).min(CACHE_MIB_MAX),
        object = (setup.memory_bytes / 4).min(2 << 20),
        backend = place.backend,
    );
    let config = place.write("haproxy.cfg", &text)?;
    Ok(call.arg("-db").arg("-f").arg(config))
}
