//! The modules that the targets feed, compiled from the front door's own files, and what several targets need.
//!
//! Only these five, since they use no runtime and no TLS: a fuzzer of all of `proxy` would instrument pingora, moka
//! and rustls, for minutes, and none of their code is under test. They know each other by `crate::`, so they stand
//! at this crate's root too. That they compile here is also the proof that they need nothing else of `proxy`.

#[path = "../../src"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "what the rest of the front door uses of them is not here"
)]
mod proxy {
    pub mod http;
    pub mod http1;
    pub mod http2;
    pub mod rules;
    pub mod time;
}

pub use proxy::{http, http1, http2, rules, time};

use http::{Fields, Method, RequestHead, ResponseHead, Scheme, Version};

/// Limits that small inputs can reach.
pub const LIMITS: http1::HeadLimits = http1::HeadLimits {
    head_bytes_max: 2048,
    fields_max: 24,
    target_bytes_max: 512,
};

/// Lines of `name: value`, as far as they can stand in a message.
pub fn fields(text: &[u8]) -> Fields {
    let mut fields = Fields::new();
    for line in text.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':');
        if let Some(colon) = colon {
            let _ = fields.try_append(&line[..colon], line[colon + 1..].trim_ascii());
        }
    }
    fields
}

pub fn get(fields: Fields) -> RequestHead {
    RequestHead {
        method: Method::Get,
        target: "/".to_owned(),
        authority: "a".to_owned(),
        scheme: Scheme::Http,
        version: Version::Http11,
        fields,
    }
}

pub fn answer(status: u16, fields: Fields) -> ResponseHead {
    ResponseHead {
        fields,
        ..ResponseHead::new(status)
    }
}

/// The fields that a writer of heads passes on as they are.
pub fn end_to_end(fields: &Fields) -> Fields {
    let mut fields = fields.clone();
    fields.retain(|field| {
        !["content-length", "transfer-encoding"]
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name))
    });
    fields.compact()
}
