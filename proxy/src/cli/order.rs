//! Orders to a front door that runs already: what they say in HTTP, and what came of them.
//!
//! A small blocking client, because a command line waits anyway: one connection, one request, HTTP/1.1 in plain text.

mod exchange;

use std::fmt;
use std::io;
use std::str::FromStr;

use config::BackendAddress;

use crate::http::Scheme;
use exchange::read_answer;

pub(super) use exchange::{Connection, read_body};

/// Something for a front door to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drop what is stored for a URL, all variants of it.
    PurgeUrl { url: TargetUrl, mode: PurgeMode },
    /// Drop every answer that has one of these keys in its Surrogate-Key.
    PurgeKeys { keys: Vec<String>, mode: PurgeMode },
    /// Drop every answer that an expression matches.
    Ban { expression: String },
}

/// What becomes of purged answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeMode {
    /// They are gone.
    Hard,
    /// They are stale: served within their grace while they are fetched anew.
    Soft,
}

impl Order {
    /// The request, in bytes. `to` is the host of targets that name none.
    fn request(&self, to: &BackendAddress) -> String {
        let own_host = match to {
            BackendAddress::Host { .. } => to.to_string(),
            BackendAddress::Unix(_) => "localhost".to_owned(),
        };
        let (method, target, host) = match self {
            Order::PurgeUrl { url, .. } => {
                let host = url.authority.clone().unwrap_or(own_host);
                ("PURGE", url.target(), host)
            }
            Order::PurgeKeys { .. } => ("PURGE", "/", own_host),
            Order::Ban { .. } => ("BAN", "/", own_host),
        };
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lacquer/{}\r\n\
             Accept: text/plain\r\nConnection: close\r\n",
            env!("CARGO_PKG_VERSION")
        );
        match self {
            Order::PurgeUrl { mode, .. } => request.push_str(mode.field()),
            Order::PurgeKeys { keys, mode } => {
                request.push_str(&format!("Surrogate-Key: {}\r\n", keys.join(" ")));
                request.push_str(mode.field());
            }
            Order::Ban { expression } => {
                request.push_str(&format!("Lacquer-Ban: {expression}\r\n"));
            }
        }
        request.push_str("\r\n");
        request
    }
}

impl PurgeMode {
    fn field(self) -> &'static str {
        match self {
            PurgeMode::Hard => "",
            PurgeMode::Soft => "Lacquer-Purge: soft\r\n",
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::PurgeUrl { url, .. } => write!(f, "purge {url}"),
            Order::PurgeKeys { keys, .. } => write!(f, "purge key {}", keys.join(" ")),
            Order::Ban { expression } => write!(f, "ban {expression}"),
        }
    }
}

/// A URL that an order or a question is about: absolute, or a path alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    scheme: Scheme,
    /// Host and port, as typed; `None` for a path alone.
    authority: Option<String>,
    /// Path and query, as typed.
    path: String,
}

/// A text that is no such URL.
#[derive(Debug, thiserror::Error)]
pub enum TargetUrlError {
    #[error("begin with http://, https:// or /")]
    Scheme,
    #[error("it has no host, or one with characters that no host has")]
    Host,
    #[error("leave out the part after #, which browsers never send")]
    Fragment,
    #[error("write characters beyond visible ASCII as %XX, as browsers send them")]
    Character,
}

impl TargetUrl {
    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port, as typed; `None` for a path alone.
    pub(super) fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The request target. The front door purges the path for both schemes, so none is sent.
    pub(super) fn target(&self) -> &str {
        &self.path
    }
}

impl FromStr for TargetUrl {
    type Err = TargetUrlError;

    fn from_str(text: &str) -> Result<TargetUrl, TargetUrlError> {
        if text.contains('#') {
            return Err(TargetUrlError::Fragment);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TargetUrlError::Character);
        }
        if text.starts_with('/') {
            return Ok(TargetUrl {
                scheme: Scheme::Http,
                authority: None,
                path: text.to_owned(),
            });
        }
        let (scheme, rest) = text.split_once("://").ok_or(TargetUrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(TargetUrlError::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // The rules for hosts are those of servers; a Unix socket is no host.
        match BackendAddress::parse(authority, scheme.default_port()) {
            Ok(BackendAddress::Host { .. }) => {}
            _ => return Err(TargetUrlError::Host),
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(TargetUrl {
            scheme,
            authority: Some(authority.to_owned()),
            path: format!("{slash}{path}"),
        })
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(authority) = &self.authority {
            write!(f, "{}://{authority}", self.scheme.as_str())?;
        }
        f.write_str(&self.path)
    }
}

/// Text that may be the value of a field: one line, not empty.
pub(super) fn field_text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        text if text.chars().any(char::is_control) => {
            Err("it has a line break or another control character".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

/// What the front door said when it did as told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    /// First line of the body, if it has one.
    pub text: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.reason)?;
        match self.text.as_str() {
            text if text.is_empty() || text == self.reason => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("no front door answers at {to}; is it running? --to ADDR names another")]
    Connect {
        to: BackendAddress,
        source: io::Error,
    },
    #[error("the front door at {to} did not answer")]
    Exchange {
        to: BackendAddress,
        source: io::Error,
    },
    #[error("what answers at {to} does not speak HTTP/1.1 in plain text")]
    NotHttp { to: BackendAddress },
    #[error("the front door at {to} refused: {answer}{}", advice(.answer.status))]
    Refused { to: BackendAddress, answer: Answer },
}

fn advice(status: u16) -> &'static str {
    match status {
        403 => " (purge.allow lists the networks that may purge)",
        405 | 501 => " (purge.enabled is false there, or it is no lacquer)",
        _ => "",
    }
}

/// Sends an order and waits for the answer.
pub fn send(order: &Order, to: &BackendAddress) -> Result<Answer, OrderError> {
    let mut connection = Connection::open(to).map_err(|source| OrderError::Connect {
        to: to.clone(),
        source,
    })?;
    let reply = connection
        .exchange(order.request(to).as_bytes())
        .map_err(|source| OrderError::Exchange {
            to: to.clone(),
            source,
        })?;
    let answer = read_answer(&reply).ok_or_else(|| OrderError::NotHttp { to: to.clone() })?;
    match answer.status {
        200..300 => Ok(answer),
        _ => Err(OrderError::Refused {
            to: to.clone(),
            answer,
        }),
    }
}

#[cfg(test)]
mod tests;
