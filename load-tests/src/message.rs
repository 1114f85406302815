//! Heads of HTTP/1 messages, kept as they came.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// Field lines in their order, names in their own case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    pub fn new() -> Fields {
        Fields::default()
    }

    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push((name.to_owned(), value.as_ref().to_vec()));
    }

    /// The value of the first line of this name, as text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .0
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(as_text(value))
    }

    /// The values of all lines of this name.
    pub fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self
            .0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| as_text(value))
    }

    /// All lines of this name as one list (RFC 9110 §5.3).
    pub fn joined(&self, name: &str) -> String {
        self.lines(name).collect::<Vec<_>>().join(", ")
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether the list of this name has this member, without regard to case or parameters.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.joined(name)
            .split(',')
            .any(|member| member.trim().eq_ignore_ascii_case(token))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
    }
}

fn as_text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or("(not UTF-8)")
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            write!(f, "\n    {name}: {}", value.escape_ascii())?;
        }
        Ok(())
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(lines: I) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in lines {
            fields.append(name.as_ref(), value);
        }
        fields
    }
}

/// The head of a request, as a backend received it.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
}

impl RequestHead {
    pub fn parse(bytes: &[u8]) -> Result<RequestHead> {
        let (line, fields) = split_head(bytes)?;
        let mut words = line.split(' ');
        let mut word = || {
            words
                .next()
                .map(str::to_owned)
                .with_context(|| format!("request line {line:?}"))
        };
        let (method, target, version) = (word()?, word()?, word()?);
        Ok(RequestHead {
            method,
            target,
            version,
            fields,
        })
    }
}

/// The head of a response, as a client received it.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub fields: Fields,
}

impl ResponseHead {
    pub fn parse(bytes: &[u8]) -> Result<ResponseHead> {
        let (line, fields) = split_head(bytes)?;
        let (version, rest) = line
            .split_once(' ')
            .with_context(|| format!("status line {line:?}"))?;
        let (status, reason) = rest
            .split_once(' ')
            .with_context(|| format!("no space after the status: {line:?}"))?;
        ensure!(
            matches!(version, "HTTP/1.1" | "HTTP/1.0"),
            "version in {line:?}"
        );
        ensure!(status.len() == 3, "status in {line:?}");
        let status = status
            .parse()
            .with_context(|| format!("status in {line:?}"))?;
        Ok(ResponseHead {
            version: version.to_owned(),
            status,
            reason: reason.to_owned(),
            fields,
        })
    }
}

/// Start line and fields of a head that ends with its blank line. As strict as a server of this age should be.
fn split_head(bytes: &[u8]) -> Result<(String, Fields)> {
    let text = bytes
        .strip_suffix(b"\r\n\r\n")
        .context("the head has no blank line")?;
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let start = lines.next().unwrap_or_default();
    let start = std::str::from_utf8(start)
        .context("the start line is not UTF-8")?
        .to_owned();
    let mut fields = Fields::new();
    for line in lines {
        fields.0.push(parse_field(line)?);
    }
    Ok((start, fields))
}

pub(crate) fn parse_field(line: &[u8]) -> Result<(String, Vec<u8>)> {
    let shown = line.escape_ascii();
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        bail!("field line without a colon: {shown}");
    };
    let name =
        std::str::from_utf8(&line[..colon]).with_context(|| format!("field name in {shown}"))?;
    ensure!(
        !name.is_empty() && !name.contains([' ', '\t']),
        "field name in {shown}"
    );
    Ok((name.to_owned(), line[colon + 1..].trim_ascii().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_kept_as_they_came() {
        let head =
            ResponseHead::parse(b"HTTP/1.1 200 OK\r\nETag: \"1\"\r\nvary:  a\r\nVary: B\r\n\r\n")
                .unwrap();
        assert_eq!((head.status, head.reason.as_str()), (200, "OK"));
        assert_eq!(head.fields.get("etag"), Some("\"1\""));
        assert_eq!(head.fields.joined("Vary"), "a, B");
        assert!(head.fields.has_token("VARY", "b") && !head.fields.has_token("vary", "c"));
        let head = RequestHead::parse(b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert_eq!(
            (head.method.as_str(), head.target.as_str()),
            ("GET", "/a?b")
        );
    }

    #[test]
    fn broken_heads_are_refused() {
        for head in [
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\n",
        ] {
            assert!(ResponseHead::parse(head.as_bytes()).is_err(), "{head:?}");
        }
    }
}
