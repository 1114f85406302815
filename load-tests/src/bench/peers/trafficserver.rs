//! Apache Traffic Server with its memory cache above a store on the tmpfs, one event thread, and no logs.
//!
//! It has no HTTP/2 in plain text.

use anyhow::{Result, bail};
use nix::unistd::{User, chown, geteuid};

use super::{Place, Protocol, Setup};
use crate::bench::child::Call;

const USER: &str = "trafficserver";
/// The store must hold what the memory cache holds, and is not to be had smaller.
const STORE_BYTES_MIN: u64 = 512 << 20;

pub(super) fn call(call: Call, place: &Place<'_>, setup: &Setup) -> Result<Call> {
    let folder = place.folder.display();
    for name in ["etc", "run", "log", "cache"] {
        place.make_folder(name)?;
    }
    let port = match setup.protocol {
        Protocol::Http1 | Protocol::Http2 => "",
        Protocol::Tls => ":ssl",
    };
    // As root it refuses to serve; Debian's package brings a user for it.
    let own_user = User::from_name(USER)?;
    let user = match (&own_user, geteuid().is_root()) {
        (Some(_), true) => USER,
        (None, true) => bail!("there is no user {USER}"),
        (_, false) => "#-1",
    };
    let records = [
        format!(
            "http.server_ports STRING {}:ip-in={}{port}",
            place.listen.port(),
            place.listen.ip()
        ),
        format!("admin.user_id STRING {user}"),
        "crash_log_helper STRING NULL".to_owned(),
        "exec_thread.autoconfig INT 0".to_owned(),
        format!("exec_thread.limit INT {}", setup.cores.count()),
        "exec_thread.affinity INT 0".to_owned(),
        "accept_threads INT 0".to_owned(),
        "task_threads INT 1".to_owned(),
        "cache.threads_per_disk INT 2".to_owned(),
        "log.logging_enabled INT 0".to_owned(),
        "diags.debug.enabled INT 0".to_owned(),
        "diags.logfile.filename STRING stderr".to_owned(),
        "http.cache.http INT 1".to_owned(),
        "url_remap.remap_required INT 1".to_owned(),
        "url_remap.pristine_host_hdr INT 1".to_owned(),
        format!("cache.ram_cache.size INT {}", setup.memory_bytes),
        "cache.ram_cache.algorithm INT 1".to_owned(),
        "cache.ram_cache.use_seen_filter INT 0".to_owned(),
        "cache.ram_cache_cutoff INT 4194304".to_owned(),
        "cache.min_average_object_size INT 2048".to_owned(),
        "net.connections_throttle INT 30000".to_owned(),
        "http.keep_alive_no_activity_timeout_in INT 300".to_owned(),
        "http.transaction_no_activity_timeout_in INT 300".to_owned(),
        "net.default_inactivity_timeout INT 300".to_owned(),
        format!("ssl.server.cert.path STRING {folder}"),
        format!("ssl.server.private_key.path STRING {folder}"),
    ];
    let records: String = records
        .iter()
        .map(|record| format!("CONFIG proxy.config.{record}\n"))
        .collect();
    place.write("etc/records.config", &records)?;
    place.write(
        "etc/remap.config",
        &format!("map / http://{}/\n", place.backend),
    )?;
    place.write("etc/plugin.config", "")?;
    place.write(
        "etc/storage.config",
        &format!(
            "{folder}/cache {}\n",
            (setup.memory_bytes * 2).max(STORE_BYTES_MIN)
        ),
    )?;
    // Without it, clients are let in from 127.0.0.1 alone.
    place.write(
        "etc/ip_allow.yaml",
        "ip_allow:\n  - apply: in\n    ip_addrs: 127.0.0.0/8\n    action: allow\n    methods: ALL\n",
    )?;
    if setup.protocol == Protocol::Tls {
        place.write(
            "etc/ssl_multicert.config",
            "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n",
        )?;
    }
    let layout = place.write(
        "runroot.yaml",
        &format!(
            "prefix: {folder}\nexec_prefix: {folder}\nbindir: /usr/bin\nsbindir: /usr/bin\n\
             sysconfdir: {folder}/etc\ndatadir: {folder}/cache\nlibdir: /usr/lib/trafficserver\n\
             libexecdir: /usr/lib/trafficserver/modules\nlocalstatedir: {folder}/run\n\
             runtimedir: {folder}/run\nlogdir: {folder}/log\ncachedir: {folder}/cache\n"
        ),
    )?;
    if let (Some(user), true) = (own_user, geteuid().is_root()) {
        for name in ["run", "log", "cache", "cert.pem", "key.pem"] {
            let path = place.folder.join(name);
            if path.exists() {
                chown(&path, Some(user.uid), Some(user.gid))?;
            }
        }
    }
    Ok(call.arg(format!("--run-root={}", layout.display())))
}
