//! Several parts of a value in one body (RFC 9110 §14.6).

use bytes::Bytes;
use rand::Rng;

use crate::kv::ByteRange;

/// A `multipart/byteranges` body and its Content-Type.
#[derive(Debug)]
pub(super) struct Multipart {
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

/// Puts the parts together. `data` is the whole value.
pub(super) fn assemble(content_type: &str, data: &Bytes, parts: &[ByteRange]) -> Multipart {
    // 128 random bits do not occur in the value by chance, and nobody can foresee them.
    let boundary = format!("{:032x}", rand::rng().random::<u128>());
    let mut body = Vec::new();
    for part in parts {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
            part.first,
            part.last,
            data.len()
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&data[part.first as usize..=part.last as usize]);
    }
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Multipart {
        content_type: format!("multipart/byteranges; boundary={boundary}"),
        body,
    }
}
