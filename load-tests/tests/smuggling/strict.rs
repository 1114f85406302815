//! RFC 9112 to the letter, and where the letter leaves a choice: doubt, which ends the connection.
//!
//! This is the back-end that takes nothing in good part, and the oracle that says what a client's bytes mean. It shares
//! no line with the front door's own parser.

use crate::reading::{Doubt, Fields, Framing, Head, Reader};

#[derive(Clone, Debug)]
pub(crate) struct Strict;

impl Reader for Strict {
    fn head(&self, bytes: &[u8]) -> Result<Option<Head>, Doubt> {
        let mut at = 0;
        // §2.2: empty lines before a request are ignored.
        while bytes[at..].starts_with(b"\r\n") {
            at += 2;
        }
        let Some((start, next)) = line(bytes, at)? else {
            return Ok(None);
        };
        let (method, target, minor) = request_line(start)?;
        let Some((fields, end)) = fields(bytes, next)? else {
            return Ok(None);
        };
        let host = host(&fields, minor)?;
        let (target, authority) = origin_form(&method, target)?;
        let framing = framing(&fields, minor)?;
        Ok(Some(Head {
            method,
            target,
            host: authority.or(host).unwrap_or_default(),
            fields,
            framing,
            bytes: end,
        }))
    }

    fn chunks(&self, bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, Doubt> {
        let (mut body, mut at) = (Vec::new(), 0);
        loop {
            let Some((shown, next)) = line(bytes, at)? else {
                return Ok(None);
            };
            let size = chunk_size(shown)?;
            if size == 0 {
                at = next;
                break;
            }
            let end = next
                .checked_add(size)
                .ok_or("a chunk size beyond all bounds")?;
            let Some(data) = bytes.get(next..end) else {
                return Ok(None);
            };
            body.extend(data);
            match &bytes[end..] {
                [b'\r', b'\n', ..] => at = end + 2,
                [] | [b'\r'] => return Ok(None),
                _ => return Err("a chunk without its end".into()),
            }
        }
        let Some((trailers, end)) = fields(bytes, at)? else {
            return Ok(None);
        };
        // RFC 9110 §6.5.1.
        for (name, _) in &trailers {
            let late = ["content-length", "transfer-encoding", "host", "trailer"];
            if late.iter().any(|late| name.eq_ignore_ascii_case(late)) {
                return Err(format!("{name} in trailers"));
            }
        }
        Ok(Some((body, end)))
    }
}

/// The line that begins at `at`, without its CRLF, and where the next one begins (§2.2).
fn line(bytes: &[u8], at: usize) -> Result<Option<(&[u8], usize)>, Doubt> {
    let rest = &bytes[at..];
    for (index, byte) in rest.iter().enumerate() {
        match (byte, rest.get(index + 1)) {
            (b'\r', Some(b'\n')) => return Ok(Some((&rest[..index], at + index + 2))),
            (b'\r', None) => return Ok(None),
            (b'\r', Some(_)) => return Err("a bare CR".into()),
            (b'\n', _) => return Err("a bare LF".into()),
            _ => {}
        }
    }
    Ok(None)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn token(bytes: &[u8]) -> Option<String> {
    let valid = !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte));
    valid.then(|| String::from_utf8_lossy(bytes).into_owned())
}

/// §3: one space between the parts and none in them. Gives the minor version.
fn request_line(line: &[u8]) -> Result<(String, String, u8), Doubt> {
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts[..] else {
        return Err("a request line that is not three words".into());
    };
    let method = token(method).ok_or("a method that is no token")?;
    if target.is_empty() || !target.iter().all(u8::is_ascii_graphic) || target.contains(&b'#') {
        return Err("a bad target".into());
    }
    let minor = match version {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ b'0'..=b'9',
        ] => minor - b'0',
        _ => return Err("a bad version".into()),
    };
    Ok((method, String::from_utf8_lossy(target).into_owned(), minor))
}

/// §3.2: the target as a path, and the authority it names.
fn origin_form(method: &str, target: String) -> Result<(String, Option<String>), Doubt> {
    if method == "CONNECT" || (method == "OPTIONS" && target == "*") || target.starts_with('/') {
        return Ok((target, None));
    }
    let rest = target
        .strip_prefix("http://")
        .ok_or("a target of no known form")?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    check_authority(authority.as_bytes())?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok((format!("{slash}{path}"), Some(authority.to_owned())))
}

/// §5: field lines up to and with the blank line.
fn fields(bytes: &[u8], mut at: usize) -> Result<Option<(Fields, usize)>, Doubt> {
    let mut fields = Vec::new();
    loop {
        let Some((line, next)) = line(bytes, at)? else {
            return Ok(None);
        };
        at = next;
        if line.is_empty() {
            return Ok(Some((fields, at)));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or("a field line without a colon")?;
        let name = token(&line[..colon]).ok_or("a field name that is no token")?;
        let value = &line[colon + 1..];
        let first = value.iter().position(|byte| !b" \t".contains(byte));
        let last = value.iter().rposition(|byte| !b" \t".contains(byte));
        let value = match (first, last) {
            (Some(first), Some(last)) => &value[first..=last],
            _ => b"",
        };
        if !value
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
        {
            return Err(format!("a control character in {name}"));
        }
        fields.push((name, value.to_vec()));
    }
}

fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    let named = fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_slice()).collect()
}

/// §3.2.
fn host(fields: &Fields, minor: u8) -> Result<Option<String>, Doubt> {
    match values(fields, "Host")[..] {
        [] if minor == 0 => Ok(None),
        [] => Err("no Host".into()),
        [host] => {
            check_authority(host)?;
            Ok(Some(String::from_utf8_lossy(host).into_owned()))
        }
        _ => Err("several Hosts".into()),
    }
}

/// RFC 3986 §3.2.2 and §3.2.3: a host and perhaps a port; no user.
fn check_authority(authority: &[u8]) -> Result<(), Doubt> {
    let (host, port) = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority.ends_with(b"]") => authority.split_at(colon),
        _ => (authority, &b""[..]),
    };
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%[]:".contains(byte);
    let is_port = port.is_empty() || port[1..].iter().all(u8::is_ascii_digit);
    match !host.is_empty() && host.iter().all(is_host) && is_port {
        true => Ok(()),
        false => Err("a bad host".into()),
    }
}

/// §6.1 to §6.3.
fn framing(fields: &Fields, minor: u8) -> Result<Framing, Doubt> {
    let (codings, lengths) = (
        values(fields, "Transfer-Encoding"),
        values(fields, "Content-Length"),
    );
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(Framing::Empty),
        ([], [length]) => decimal(length).map(Framing::Length),
        ([], _) => Err("several lengths".into()),
        (_, [_, ..]) => Err("both lengths".into()),
        _ if minor == 0 => Err("a transfer coding in HTTP/1.0".into()),
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => Err("transfer codings other than one chunked".into()),
    }
}

fn decimal(digits: &[u8]) -> Result<u64, Doubt> {
    let text = std::str::from_utf8(digits).unwrap_or("");
    match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().map_err(|_| format!("the length {text:?}")),
        false => Err(format!("the length {text:?}")),
    }
}

/// §7.1 and §7.1.1: `1*HEXDIG *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn chunk_size(line: &[u8]) -> Result<usize, Doubt> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
    let (digits, mut rest) = line.split_at(digits.count());
    let digits = String::from_utf8_lossy(digits);
    let size = usize::from_str_radix(&digits, 16).map_err(|_| "a bad chunk size")?;
    while !rest.is_empty() {
        rest = skip_space(rest);
        rest = rest
            .strip_prefix(b";")
            .ok_or("something behind a chunk size")?;
        rest = skip_token(skip_space(rest))?;
        if let Some(value) = skip_space(rest).strip_prefix(b"=") {
            let value = skip_space(value);
            rest = match value.strip_prefix(b"\"") {
                Some(quoted) => skip_quoted(quoted)?,
                None => skip_token(value)?,
            };
        }
    }
    Ok(size)
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let space = bytes.iter().take_while(|byte| b" \t".contains(byte));
    &bytes[space.count()..]
}

fn skip_token(bytes: &[u8]) -> Result<&[u8], Doubt> {
    match bytes
        .iter()
        .take_while(|byte| is_token_byte(**byte))
        .count()
    {
        0 => Err("a chunk extension that is none".into()),
        count => Ok(&bytes[count..]),
    }
}

/// Behind the opening quote; RFC 9110 §5.6.4.
fn skip_quoted(bytes: &[u8]) -> Result<&[u8], Doubt> {
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(&bytes[at + 1..]),
            Some(b'\\') => at += 2,
            Some(byte) if *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f) => at += 1,
            _ => return Err("a quoted string without its end".into()),
        }
    }
}
