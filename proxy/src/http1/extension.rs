//! Extensions of chunks (RFC 9112 §7.1.1). They mean nothing to us; how they are written does.
//!
//! Where an extension ends is where the data of its chunk begins, so two readers that see the end of a quoted string, or of
//! a line, in different places see different chunks.

/// Whether the bytes between a chunk's size and its CRLF are
/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
pub(super) fn is_extension(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some(rest) = one_extension(bytes) else {
            return false;
        };
        bytes = rest;
    }
    true
}

/// What is left behind the first extension.
fn one_extension(bytes: &[u8]) -> Option<&[u8]> {
    let rest = skip_space(bytes).strip_prefix(b";")?;
    let rest = skip_token(skip_space(rest))?;
    let Some(value) = skip_space(rest).strip_prefix(b"=") else {
        return Some(rest);
    };
    match skip_space(value) {
        [b'"', quoted @ ..] => skip_quoted(quoted),
        token => skip_token(token),
    }
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
    &bytes[start.unwrap_or(bytes.len())..]
}

fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| !is_token_byte(*byte));
    let (token, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
    (!token.is_empty()).then_some(rest)
}

/// RFC 9110 §5.6.4, from behind the opening quote to behind the closing one.
fn skip_quoted(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        bytes = match bytes {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', escaped, rest @ ..] if is_text(*escaped) => rest,
            [byte, rest @ ..] if is_text(*byte) && *byte != b'\\' => rest,
            _ => return None,
        };
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: bool) {
        assert_eq!(is_extension(bytes), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn extensions_are_read_as_they_are_defined() {
        check(b"", true);
        check(b";a", true);
        check(b";a=b", true);
        check(b";a;b=c;d=\"e\"", true);
        check(b" \t; a = b ;c", true);
        check(b";a=\"\"", true);
        check(b";a=\"; \\\" \\\\\xff\"", true);
        check(b";chunk-signature=0f", true);
    }

    #[test]
    fn other_texts_are_refused() {
        for bytes in [
            &b";"[..],
            b" ",
            b"a",
            b",a",
            b";;a",
            b";=a",
            b";a=",
            b";a b",
            b";a=b c",
            b";a=\"b",
            b";a=\"b\\",
            b";a=\"b\\\"",
            b";a=\"b\"c",
            b";a=b\"",
            b";a\r",
            b";a=\"\r\"",
            b";a=\"\n\"",
            b";a=\"\0\"",
            b";a=\"\\\x7f\"",
            b";\xe9",
            b";a ",
        ] {
            check(bytes, false);
        }
    }
}
