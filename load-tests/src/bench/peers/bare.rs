//! The bare loop: this program itself, see [`crate::bench::bare`].

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Result;

use crate::bench::child::Call;

pub(super) fn call(call: Call, folder: &Path, listen: SocketAddr, response: &[u8]) -> Result<Call> {
    let path = folder.join("response");
    std::fs::write(&path, response)?;
    Ok(call
        .args(["bare-loop", "--listen", &listen.to_string(), "--response"])
        .arg(path))
}
