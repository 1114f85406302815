//! nginx with `proxy_cache` on a tmpfs, as the guides to its content cache and to its tuning have it: one worker, open
//! files cached, connections to the backend kept, no log, no limit on requests per connection.
//!
//! sendfile is on for large bodies and off for small ones: there it costs a second system call and two changes of
//! TCP_CORK an answer, and nginx is a third faster without it.

use anyhow::Result;

use super::{Bodies, Place, Protocol, Setup};
use crate::bench::child::Call;

pub(super) fn call(call: Call, place: &Place<'_>, setup: &Setup) -> Result<Call> {
    let folder = place.folder.display();
    let memory_mib = setup.memory_bytes >> 20;
    // A megabyte of the zone holds about 8,000 keys.
    let keys_mib = (memory_mib / 8).max(32);
    let listen = match setup.protocol {
        Protocol::Http1 => format!("listen {} backlog=4096;", place.listen),
        Protocol::Http2 => format!("listen {} http2 backlog=4096;", place.listen),
        Protocol::Tls => format!(
            "listen {} ssl backlog=4096;\n    ssl_certificate {};\n    ssl_certificate_key {};\n    \
             ssl_session_cache shared:tls:10m;\n    ssl_protocols TLSv1.2 TLSv1.3;",
            place.listen,
            place.certificate.chain.display(),
            place.certificate.key.display(),
        ),
    };
    let text = format!(
        "\
daemon off;
user root;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes {workers};
worker_rlimit_nofile 20000;
events {{
  worker_connections {connections};
  use epoll;
  multi_accept on;
}}
http {{
  access_log off;
  sendfile {sendfile};
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 300s;
  client_header_timeout 300s;
  keepalive_requests 1000000000;
  open_file_cache max=12000 inactive=300s;
  open_file_cache_valid 300s;
  open_file_cache_min_uses 1;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/temp;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=cache:{keys_mib}m max_size={memory_mib}m
                   inactive=1h use_temp_path=off;
  upstream backend {{
    server {backend};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    {listen}
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_cache cache;
      proxy_cache_key $request_uri;
    }}
  }}
}}
",
        workers = setup.cores.count(),
        sendfile = match setup.bodies {
            Bodies::Small => "off",
            Bodies::Large => "on",
        },
        // Those to the backend count too.
        connections = setup.connections_max.saturating_add(512),
        backend = place.backend,
    );
    let config = place.write("nginx.conf", &text)?;
    place.make_folder("cache")?;
    Ok(call
        .arg("-c")
        .arg(config)
        .arg("-p")
        .arg(place.folder)
        .args(["-e", "stderr"]))
}
