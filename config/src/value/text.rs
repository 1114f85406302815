//! Text with a grammar: what goes into HTTP fields, URLs and file names is checked when it is read, so that the code
//! that sends it need not be careful.

use std::fmt;
use std::str::FromStr;

use super::{ValueError, string_leaf};

/// Defines a text that must satisfy a rule.
macro_rules! text {
    ($(
        $(#[doc = $about:literal])*
        pub struct $name:ident: $expected:literal, $rule:expr;
    )*) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<$name, ValueError> {
                let rule: fn(&str) -> bool = $rule;
                match rule(text) {
                    true => Ok($name(text.to_owned())),
                    false => Err(ValueError::new(text, $expected)),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        string_leaf!($name, $expected);
    )*};
}

text! {
    /// A token (RFC 9110 §5.6.2), such as a field name.
    pub struct Token: "a token: letters, digits and any of !#$%&'*+-.^_`|~, such as \"CDN-Cache-Control\"", is_token;

    /// The value of a field (RFC 9110 §5.5): visible characters, with spaces between them, on one line.
    pub struct FieldText: "the value of an HTTP field: visible ASCII on one line, such as \"max-age=60\"", is_field_text;

    /// A host name or IP address, without a port. IPv6 addresses come without brackets.
    pub struct HostName: "a host name or an address without port, such as \"example.org\"", is_host;

    /// The path of a URL, with its query if any: begins with `/`, visible ASCII only.
    pub struct UrlPath: "a path that begins with \"/\", such as \"/ready\"",
        |text| text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');

    /// The name of one directory, without separators.
    pub struct DirectoryName: "the name of one directory, such as \"postgres\"",
        |text| !matches!(text, "" | "." | "..") && !text.contains(['/', '\0']);
}

/// For defaults, whose text is known to be right.
pub(crate) fn known<T: FromStr<Err = ValueError>>(text: &str) -> T {
    text.parse()
        .expect("the text of a default follows its own rule")
}

fn is_token(text: &str) -> bool {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn is_field_text(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
}

/// The length limit is DNS's (RFC 1035 §2.3.4); underscores are no host names' but common in containers' networks.
pub(crate) fn is_host(text: &str) -> bool {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return true;
    }
    const BYTES_MAX: usize = 253;
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= BYTES_MAX
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr>(right: &[&str], wrong: &[&str]) {
        for text in right {
            assert!(text.parse::<T>().is_ok(), "{text:?} is right");
        }
        for text in wrong {
            assert!(text.parse::<T>().is_err(), "{text:?} is wrong");
        }
    }

    #[test]
    fn texts_follow_their_grammar() {
        check::<Token>(&["CDN-Cache-Control", "lacquer"], &["", "a b", "a:b", "é"]);
        check::<FieldText>(
            &["no-cache", "max-age=60, public", "a"],
            &["", " a", "a ", "a\r\nb", "a\nSet-Cookie: x", "é", "a\0"],
        );
        check::<HostName>(
            &[
                "localhost",
                "example.org",
                "example.org.",
                "127.0.0.1",
                "::1",
                "my_service",
            ],
            &[
                "",
                ".",
                "a..b",
                "-a",
                "a b",
                "host:80",
                "[::1]",
                "a/b",
                "user@host",
            ],
        );
        check::<UrlPath>(
            &["/", "/ready?x=1"],
            &["", "ready", "/a b", "/a#b", "/\r\n", "/é"],
        );
        check::<DirectoryName>(&["postgres", "pg 15"], &["", ".", "..", "a/b", "/a", "a\0"]);
    }
}
