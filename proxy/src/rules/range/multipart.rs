//! The framing of a 206 with several parts: `multipart/byteranges` (RFC 9110 §14.6).

use std::ops::Range;

use super::{content_range, drop_digests};
use crate::http::{Fields, ResponseHead};

/// What stands between the parts of one answer. The parts' bytes are the caller's.
#[derive(Clone, Debug)]
pub struct Multipart {
    boundary: String,
    /// Of the stored answer, repeated in each part.
    content_type: Option<Vec<u8>>,
    parts: Vec<Range<u64>>,
    complete_len: u64,
}

impl Multipart {
    /// `nonce` makes the boundary; drawn at random, it occurs in no content by chance or intent.
    pub fn new(
        stored: &ResponseHead,
        parts: Vec<Range<u64>>,
        complete_len: u64,
        nonce: u128,
    ) -> Multipart {
        Multipart {
            boundary: format!("{nonce:032x}"),
            content_type: stored.fields.get("content-type").map(<[u8]>::to_vec),
            parts,
            complete_len,
        }
    }

    pub fn parts(&self) -> &[Range<u64>] {
        &self.parts
    }

    /// Turns the fields of the 200 into those of this 206 (RFC 9110 §15.3.7.2).
    pub fn set_fields(&self, fields: &mut Fields) {
        fields.remove("content-range");
        drop_digests(fields);
        fields.set(
            "Content-Type",
            format!("multipart/byteranges; boundary={}", self.boundary),
        );
        fields.set("Content-Length", self.content_len().to_string());
    }

    /// What goes before the bytes of a part: the end of the part before it, the boundary, its fields.
    ///
    /// # Panics
    /// When `index` is not below the number of parts.
    pub fn part_head(&self, index: usize) -> Vec<u8> {
        let mut head = Vec::with_capacity(160);
        if index > 0 {
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"--");
        head.extend_from_slice(self.boundary.as_bytes());
        if let Some(content_type) = &self.content_type {
            head.extend_from_slice(b"\r\nContent-Type: ");
            head.extend_from_slice(content_type);
        }
        head.extend_from_slice(b"\r\nContent-Range: ");
        head.extend_from_slice(content_range(&self.parts[index], self.complete_len).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        head
    }

    /// What goes after the bytes of the last part.
    pub fn closing(&self) -> Vec<u8> {
        format!("\r\n--{}--\r\n", self.boundary).into_bytes()
    }

    /// Length of heads, parts and closing together, in bytes. Saturates, for lengths that only a
    /// Content-Length can have.
    pub fn content_len(&self) -> u64 {
        let closing = self.closing().len() as u64;
        let parts = self.parts.iter().enumerate();
        parts.fold(closing, |sum, (index, part)| {
            sum.saturating_add(self.part_head(index).len() as u64)
                .saturating_add(part.end - part.start)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_framed_and_counted() {
        let content = b"0123456789";
        let stored = ResponseHead::new(200)
            .with("Content-Type", "text/plain")
            .with("Content-Length", "10");
        let multipart = Multipart::new(&stored, vec![0..2, 7..10], 10, 0xabc);
        let mut body = Vec::new();
        for (index, part) in multipart.parts().iter().enumerate() {
            body.extend(multipart.part_head(index));
            body.extend(&content[part.start as usize..part.end as usize]);
        }
        body.extend(multipart.closing());
        let boundary = "00000000000000000000000000000abc";
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
             \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-9/10\r\n\r\n789\
             \r\n--{boundary}--\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&body), expected);

        let mut fields = stored.fields.clone();
        multipart.set_fields(&mut fields);
        assert_eq!(
            fields.get_str("content-type"),
            Some(format!("multipart/byteranges; boundary={boundary}").as_str())
        );
        assert_eq!(
            fields.get_str("content-length"),
            Some(expected.len().to_string().as_str())
        );
    }

    #[test]
    fn a_part_without_a_type_has_none() {
        let multipart = Multipart::new(&ResponseHead::new(200), vec![0..1, 2..3], 3, 1);
        let head = multipart.part_head(0);
        assert!(!String::from_utf8_lossy(&head).contains("Content-Type"));
    }

    #[test]
    fn lengths_near_the_largest_do_not_overflow() {
        let parts = vec![0..442, 443..u64::MAX];
        let multipart = Multipart::new(&ResponseHead::new(200), parts, u64::MAX, 1);
        assert_eq!(multipart.content_len(), u64::MAX);
    }
}
