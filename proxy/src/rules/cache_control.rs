//! Cache directives as values: Cache-Control (RFC 9111 §5.2) and the fields targeted at us (RFC 9213).
//!
//! This module reads; what the directives permit is decided in [`super::storability`] and
//! [`super::freshness`]. Whatever is malformed or contradicts itself is read so that less is reused.

mod request;
mod response;

pub use request::{MaxStale, RequestDirectives};
pub use response::{ResponseDirectives, Scope, Source};

use std::time::Duration;

use super::syntax::{self, Member, is_token};

/// One directive as written: its name in any case, and what follows the equals sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Directive<'a> {
    name: &'a [u8],
    argument: Argument<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Argument<'a> {
    Absent,
    /// A token or the content of a quoted string: recipients accept both (RFC 9111 §5.2).
    Text(&'a [u8]),
    /// Neither, or in a place where its end is not known.
    Malformed,
}

impl Argument<'_> {
    fn delta_seconds(self) -> Option<Duration> {
        match self {
            Argument::Text(text) => syntax::delta_seconds(text),
            Argument::Absent | Argument::Malformed => None,
        }
    }
}

/// The directives of one line of Cache-Control.
fn directives(line: &[u8]) -> impl Iterator<Item = Directive<'_>> {
    syntax::members(line).map(|member| match member {
        Member::Sound(text) => directive(text),
        Member::Broken(text) => Directive {
            argument: Argument::Malformed,
            ..directive(text)
        },
    })
}

fn directive(text: &[u8]) -> Directive<'_> {
    let Some(equals) = memchr::memchr(b'=', text) else {
        return Directive {
            name: text,
            argument: Argument::Absent,
        };
    };
    let (name, argument) = (&text[..equals], &text[equals + 1..]);
    let argument = match argument {
        // White space around the equals sign is outside the grammar, but whose argument it spoils is plain.
        _ if name.ends_with(b" ") || name.ends_with(b"\t") => Argument::Malformed,
        [b'"', content @ .., b'"'] if syntax::quoted_len(argument) == Some(argument.len()) => {
            Argument::Text(content)
        }
        token if is_token(token) => Argument::Text(token),
        _ => Argument::Malformed,
    };
    Directive {
        name: name.trim_ascii_end(),
        argument,
    }
}
