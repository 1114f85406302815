//! `lacquer` in its defaults: only addresses, and what a line needs, are set. Its access log is off by default.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Place, Protocol, Setup};
use crate::bench::child::Call;
use crate::bench::probe::Probe;
use crate::settings::Settings;

/// The release build: what `LACQUER_BIN` names, or the one beside this program.
///
/// # Errors
/// When it has not been built.
pub fn program() -> Result<PathBuf> {
    let path = match std::env::var_os("LACQUER_BIN") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe().context("this program's own path")?;
            // target/PROFILE/bench, or target/PROFILE/deps/test.
            let target = own
                .ancestors()
                .find(|folder| folder.join("release").is_dir())
                .context("this program does not lie in a target folder with a release build")?;
            target.join("release").join("lacquer")
        }
    };
    ensure!(
        path.is_file(),
        "no {}: `cargo build --release -p proxy` builds it, LACQUER_BIN names another",
        path.display()
    );
    Ok(path)
}

/// How [`program`] was built, as far as its folder tells.
///
/// # Errors
/// As there.
pub fn build() -> Result<&'static str> {
    let program = program()?;
    let folder = program.parent().and_then(Path::file_name);
    Ok(match folder.and_then(OsStr::to_str) {
        Some("dist") => "`make release`: optimised with a profile of its own work",
        Some("release") => "`make build`: optimised without a profile",
        _ => "unknown, named by LACQUER_BIN",
    })
}

pub(super) fn call(call: Call, place: &Place<'_>, setup: &Setup) -> Result<Call> {
    let default = Setup::default();
    let mut settings = Settings::default();
    settings
        .set("backend.servers", &format!("[\"{}\"]", place.backend))
        .set_text("metrics.address", place.control)
        .set_text(
            "server.upgrade_socket",
            place.folder.join("upgrade.sock").display(),
        )
        // Only its end is the sooner for it.
        .set_text("server.drain_timeout", "1s");
    if setup.memory_bytes != default.memory_bytes {
        settings.set_text("cache.memory", format!("{}MiB", setup.memory_bytes >> 20));
    }
    if setup.connections_max != default.connections_max {
        settings.set("limits.connections_max", &setup.connections_max.to_string());
    }
    let tls = setup.protocol == Protocol::Tls;
    settings.add(&format!(
        "[[listen]]\naddress = \"{}\"\ntls = {tls}",
        place.listen
    ));
    if tls {
        settings.add(&format!(
            "[[tls.certificates]]\ncertificate = {:?}\nkey = {:?}",
            place.certificate.chain, place.certificate.key
        ));
    }
    let config = place.write("lacquer.toml", &settings.to_toml())?;
    Ok(call.arg("--config").arg(config))
}

/// `BAN` requests, as `lacquer ban` sends them.
pub(super) fn ban(address: SocketAddr, count: usize) -> Result<()> {
    let mut probe = Probe::connect(address)?;
    for number in 0..count {
        let request = format!(
            "BAN / HTTP/1.1\r\nHost: bench.test\r\nLacquer-Ban: req.url == /nothing/{number}\r\n\r\n"
        );
        let answer = probe.ask(request.as_bytes())?;
        ensure!(
            answer.status == 200,
            "a ban was answered with {}: {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
    Ok(())
}
