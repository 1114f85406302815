//! A response head on its way to a client: an object's own, and what this answer changes in it.

use std::borrow::Cow;

use super::{Fields, ResponseHead, Version};

/// An object's head with this answer's own fields behind it. The object's is copied only when something in it is
/// taken out or replaced, so that most hits copy nothing.
#[derive(Debug)]
pub struct OutgoingHead<'a> {
    stored: Cow<'a, ResponseHead>,
    /// Fields of names that `stored` may have as well: appended lines.
    added: Fields,
    sent: Sent,
}

/// What of the object's head goes out.
#[derive(Clone, Copy, Debug)]
pub enum Sent {
    Whole,
    /// As a 304, without the fields whose names are for the content alone.
    NotModified {
        is_for_content: fn(&[u8]) -> bool,
    },
}

/// What conditions are held against, and what a connection has a say in: looked for in the head itself, so it goes
/// there wherever it comes from.
const OF_THE_HEAD: [&str; 8] = [
    "ETag",
    "Last-Modified",
    "Date",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
];

impl<'a> OutgoingHead<'a> {
    /// `memory` is emptied.
    pub fn new(stored: &'a ResponseHead, mut memory: Fields) -> OutgoingHead<'a> {
        memory.clear();
        OutgoingHead {
            stored: Cow::Borrowed(stored),
            added: memory,
            sent: Sent::Whole,
        }
    }

    /// The status that goes out.
    pub fn status(&self) -> u16 {
        match self.sent {
            Sent::Whole => self.stored.status,
            Sent::NotModified { .. } => 304,
        }
    }

    /// What goes out of [`OutgoingHead::stored`].
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// Tells the client that it has what is stored (RFC 9110 §15.4.5): a 304 goes out in the head's place.
    pub fn not_modified(&mut self, is_for_content: fn(&[u8]) -> bool) {
        self.sent = Sent::NotModified { is_for_content };
    }

    /// What goes out of [`OutgoingHead::stored`], as a head.
    pub fn to_sent(&self) -> Cow<'_, ResponseHead> {
        match self.sent {
            Sent::Whole => Cow::Borrowed(&*self.stored),
            Sent::NotModified { is_for_content } => Cow::Owned(ResponseHead {
                version: self.stored.version,
                fields: self.stored.fields.filtered(|name| !is_for_content(name)),
                ..ResponseHead::new(304)
            }),
        }
    }

    pub fn version(&self) -> Version {
        self.stored.version
    }

    /// The head without the fields that were added to it.
    pub fn stored(&self) -> &ResponseHead {
        &self.stored
    }

    /// The fields behind those of [`OutgoingHead::stored`].
    pub fn added(&self) -> &Fields {
        &self.added
    }

    /// The first line of `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let stored = self.stored.fields.get(name);
        stored.or_else(|| self.added.get(name))
    }

    /// Another line, behind those that are there.
    #[inline(always)]
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.append_with(name, |out| out.extend_from_slice(value.as_ref()));
    }

    /// [`OutgoingHead::append`] of a value that is written where it is to stand.
    #[inline(always)]
    pub fn append_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        match is_of_the_head(name) {
            true => self.to_mut().fields.append_with(name, write),
            false => self.added.append_with(name, write),
        }
    }

    /// One line in place of all of this name.
    #[inline(always)]
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.append(name, value);
    }

    #[inline(always)]
    pub fn remove(&mut self, name: &str) {
        if self.stored.fields.contains(name) {
            self.to_mut().fields.remove(name);
        }
        self.added.remove(name);
    }

    /// The head without the added fields, to be changed: a copy from now on.
    pub fn to_mut(&mut self) -> &mut ResponseHead {
        self.stored.to_mut()
    }

    /// The memory for the next.
    pub fn into_memory(self) -> Fields {
        self.added
    }
}

#[inline(always)]
fn is_of_the_head(name: &str) -> bool {
    OF_THE_HEAD
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> ResponseHead {
        ResponseHead::new(200)
            .with("ETag", "\"a\"")
            .with("Via", "1.0 b")
            .with("X-Cache", "MISS")
    }

    #[test]
    fn nothing_is_copied_for_what_is_only_added() {
        let stored = stored();
        let mut head = OutgoingHead::new(&stored, Fields::new());
        head.append("Via", "1.1 c");
        head.set("Age", "1");
        head.set("Age", "2");
        head.remove("X-None");
        assert!(matches!(head.stored, Cow::Borrowed(_)));
        assert_eq!(head.get("via"), Some(&b"1.0 b"[..]));
        assert_eq!(head.get("age"), Some(&b"2"[..]));
        let lines = [&head.stored().fields, head.added()];
        let via: Vec<_> = lines.iter().flat_map(|list| list.get_all("Via")).collect();
        assert_eq!(via, [&b"1.0 b"[..], b"1.1 c"]);
    }

    #[test]
    fn what_is_replaced_goes_and_what_others_look_for_stands_in_the_head() {
        let stored = stored();
        let mut head = OutgoingHead::new(&stored, Fields::new());
        head.set("X-Cache", "HIT");
        head.set("etag", "\"b\"");
        head.append("Last-Modified", "?");
        head.append("connection", "close");
        assert_eq!(head.stored().fields.get("ETag"), Some(&b"\"b\""[..]));
        assert!(head.stored().fields.contains("last-modified"));
        assert!(head.stored().fields.contains("connection"));
        assert!(!head.stored().fields.contains("x-cache"));
        assert_eq!(head.added().get("x-cache"), Some(&b"HIT"[..]));
        assert_eq!(stored.fields.get("x-cache"), Some(&b"MISS"[..]));
    }
}
