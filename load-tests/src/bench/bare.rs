//! The bare loop: what an answer costs when nothing is decided. It parses nothing and writes the same bytes each time,
//! as the limit that every server on this machine has to live with.
//!
//! It is a process of its own (`bench bare-loop`), measured like any peer. Each read counts as one request, so only
//! loads that never have two requests under way on a connection may be put on it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};

use super::serve::{self, Answer, Responder, Then};

/// Serves the bytes of a file until the process is ended.
///
/// # Errors
/// When the file or the address is not to be had.
pub fn run(listen: SocketAddr, response: &Path) -> Result<()> {
    let response =
        std::fs::read(response).with_context(|| format!("cannot read {}", response.display()))?;
    let listener =
        TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    serve::serve(&listener, Same { response }, &AtomicBool::new(false))
}

#[derive(Debug)]
struct Same {
    response: Vec<u8>,
}

impl Responder for Same {
    fn answer(&mut self, input: &[u8], _head: &mut Vec<u8>) -> Option<Answer> {
        (!input.is_empty()).then_some(Answer {
            consumed_bytes: input.len(),
            body_bytes: self.response.len(),
            then: Then::Keep,
        })
    }

    fn body(&self) -> &[u8] {
        &self.response
    }
}
