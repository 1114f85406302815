//! Varnish with malloc storage, threads at hand for every connection, the built-in VCL, and nobody reading its log.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Place, Protocol, Setup};
use crate::bench::child::{self, Call};

const BAN_TIMEOUT: Duration = Duration::from_secs(60);
/// Bans that one call of `varnishadm` lists.
const BANS_AT_ONCE: usize = 250;

pub(super) fn call(call: Call, place: &Place<'_>, setup: &Setup) -> Result<Call> {
    let vcl = place.write(
        "default.vcl",
        &format!(
            "vcl 4.1;\nbackend default {{ .host = \"{}\"; .port = \"{}\"; }}\n",
            place.backend.ip(),
            place.backend.port()
        ),
    )?;
    // A thread for each request under way; idle connections take none.
    let mut call = call
        .arg("-F")
        // A process that changes its user is no longer told of its parent's end.
        .args(["-j", "none"])
        .arg("-n")
        .arg(place.folder.join("work"))
        .arg("-f")
        .arg(vcl)
        .args(["-a", &place.listen.to_string()])
        .args(["-T", &place.control.to_string()])
        .args(["-s", &format!("malloc,{}M", setup.memory_bytes >> 20)])
        // One pool a core is faster than the two that it has by default.
        .args(["-p", &format!("thread_pools={}", setup.cores.count())])
        .args(["-p", "thread_pool_min=200"])
        .args(["-p", "thread_pool_max=2000", "-p", "timeout_idle=300"]);
    if setup.protocol == Protocol::Http2 {
        call = call.args(["-p", "feature=+http2"]);
    }
    Ok(call)
}

pub(super) fn ban(folder: &Path, count: usize) -> Result<()> {
    let work = folder.join("work");
    for from in (0..count).step_by(BANS_AT_ONCE) {
        let orders: String = (from..count.min(from + BANS_AT_ONCE))
            .map(|number| format!("varnishadm -n \"$1\" ban req.url == /nothing/{number}\n"))
            .collect();
        let call = Call::new("sh", "0-1")
            .args(["-ec", &orders, "sh"])
            .arg(&work);
        child::output_of("varnishadm", &call, folder, BAN_TIMEOUT)?;
    }
    Ok(())
}
