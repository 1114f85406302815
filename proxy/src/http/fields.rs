//! An ordered list of header fields in one flat buffer.
//!
//! A head arrives as one run of bytes, is read by position and sent in order, so it is kept that way: its lines
//! lie in one buffer as HTTP/1 writes them, and an entry is two ranges. Reading a head costs two allocations,
//! whatever the number of fields, sending one is a copy, and a cleared list is reused without any.

use std::fmt;
use std::ops::Range;

/// One header field as it was received: the name's case and the value's bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field name in its original case; an RFC 9110 §5.1 token.
    pub name: &'a str,
    /// The field value without surrounding white space. May hold bytes above 0x7f (obs-text).
    pub value: &'a [u8],
}

/// A field that may not stand in a message: RFC 9110 §5.1 and §5.5.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    /// The name is empty or holds a byte that is no token character.
    #[error("invalid field name")]
    Name,
    /// The value holds CR, LF, NUL or another control character than tab.
    #[error("invalid value of field {0}")]
    Value(String),
    /// The list would pass 2^32 bytes, or a name 2^16.
    #[error("too many or too long fields")]
    TooLarge,
    /// More than the bound that was given.
    #[error("too many fields")]
    TooMany,
}

#[derive(Clone, Copy)]
struct Entry {
    name_start: u32,
    value_start: u32,
    value_len: u32,
    name_len: u16,
}

/// Header or trailer fields in order of arrival.
///
/// Names compare without regard to case. Several lines of one name stay apart: [`Fields::get_all`]
/// gives each, and whoever reads a list-valued field reads them all (RFC 9110 §5.3).
#[derive(Clone, Default)]
pub struct Fields {
    /// `name: value CRLF` for each field, and lines that were removed.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    layout: Layout,
    /// Names that came, also of fields that went.
    names: Names,
}

/// A set of names that may say yes where it should say no: most questions about a head are about fields that it has
/// not, and are answered here.
#[derive(Clone, Copy, Debug, Default)]
struct Names(u32);

// Inlined with the questions below, so that the bit of a name that is written in the program is a constant.
impl Names {
    #[inline(always)]
    fn bit(name: &[u8]) -> u32 {
        let (Some(first), Some(last)) = (name.first(), name.last()) else {
            return 0;
        };
        // In lower case, as far as letters go.
        let (first, last) = (u32::from(first | 0x20), u32::from(last | 0x20));
        // Chosen so that the names which every hit is asked for share no bit with those that most heads have; a test
        // lists them.
        let mixed = first
            .wrapping_mul(2_313_052_925)
            .wrapping_add(last.wrapping_mul(3_813_335_403))
            .wrapping_add((name.len() as u32).wrapping_mul(2_706_644_441));
        1 << (mixed >> 27)
    }

    fn note(&mut self, name: &[u8]) {
        self.0 |= Names::bit(name);
    }

    #[inline(always)]
    fn may_hold(self, name: &str) -> bool {
        self.0 & Names::bit(name.as_bytes()) != 0
    }
}

/// Whether the buffer can be sent as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Layout {
    /// It holds the lines of all fields and nothing else.
    #[default]
    Lines,
    /// It holds removed lines too, or white space that is no part of a field.
    Loose,
}

/// What a line takes beside its name and value.
const LINE_OVERHEAD: usize = b": \r\n".len();

impl Fields {
    pub fn new() -> Fields {
        Fields::default()
    }

    /// Room for `fields` fields whose names and values have together `bytes` bytes before anything is allocated
    /// again.
    pub fn with_capacity(fields: usize, bytes: usize) -> Fields {
        Fields {
            bytes: Vec::with_capacity(bytes + fields * LINE_OVERHEAD),
            entries: Vec::with_capacity(fields),
            layout: Layout::Lines,
            names: Names::default(),
        }
    }

    /// Reads lines, each ended by CRLF, up to a blank one, in place of what the list holds. Gives their length, without
    /// the blank one.
    ///
    /// # Errors
    /// The line that is no field, with its end where it has one, and why not; [`InvalidField::TooMany`] at the first
    /// beyond `fields_max`.
    pub(crate) fn read_lines<'a>(
        &mut self,
        lines: &'a [u8],
        fields_max: usize,
    ) -> Result<usize, (&'a [u8], InvalidField)> {
        self.clear();
        if lines.len() > u32::MAX as usize {
            return Err((&[], InvalidField::TooLarge));
        }
        let mut start = 0;
        while !lines[start..].starts_with(b"\r\n") {
            let line = match self.entries.len() {
                count if count == fields_max => Err(InvalidField::TooMany),
                _ => Line::read(&lines[start..]),
            };
            let line = line.map_err(|invalid| (first_line(&lines[start..]), invalid))?;
            self.names.note(&lines[start..start + line.name_len]);
            if !line.is_plain() {
                self.layout = Layout::Loose;
            }
            self.entries.push(Entry {
                name_start: start as u32,
                value_start: (start + line.value.start) as u32,
                value_len: line.value.len() as u32,
                name_len: line.name_len as u16,
            });
            start += line.len;
        }
        // Some more, for a Host or Content-Length that is added later.
        self.bytes.reserve(start + 64);
        self.bytes.extend_from_slice(&lines[..start]);
        Ok(start)
    }

    /// All lines as HTTP/1 writes them, where they lie together. [`Fields::compact`] brings them together.
    pub fn lines(&self) -> Option<&[u8]> {
        (self.layout == Layout::Lines).then_some(&*self.bytes)
    }

    /// Appends the lines of the fields for whose names `keep` says so, as HTTP/1 writes them.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>, keep: impl Fn(&[u8]) -> bool) {
        for (name, value) in self.iter_bytes().filter(|(name, _)| keep(name)) {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Number of field lines.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.layout = Layout::Lines;
        self.names = Names::default();
    }

    /// Bytes held by names and values: what an object that keeps this list costs beyond the struct.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Appends a field whose name and value are known to be valid: parsed by us, or constants.
    ///
    /// # Panics
    /// In debug builds, when they are not. Text from outside goes through [`Fields::try_append`].
    pub fn append(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        self.append_with(name, |out| out.extend_from_slice(value));
    }

    /// [`Fields::append`] of a value that is written where it is to stand.
    ///
    /// # Panics
    /// As there; and `write` must only append.
    #[inline]
    pub fn append_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.append_line(name.as_bytes(), write);
    }

    #[inline(always)]
    fn append_line(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.names.note(name);
        let name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value_start = self.bytes.len();
        write(&mut self.bytes);
        let value = &self.bytes[value_start..];
        debug_assert!(
            is_token(name) && is_field_value(value),
            "{name:?}: {value:?}"
        );
        self.entries.push(Entry {
            name_start: name_start as u32,
            value_start: value_start as u32,
            value_len: value.len() as u32,
            name_len: name.len() as u16,
        });
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Appends a field after checking it.
    ///
    /// # Errors
    /// [`InvalidField`] when the name is no token or the value holds a forbidden byte; nothing changes.
    pub fn try_append(&mut self, name: &[u8], value: &[u8]) -> Result<(), InvalidField> {
        let name = match std::str::from_utf8(name) {
            Ok(text) if is_token(name) => text,
            _ => return Err(InvalidField::Name),
        };
        if !is_field_value(value) {
            return Err(InvalidField::Value(name.to_owned()));
        }
        if name.len() > usize::from(u16::MAX)
            || self.bytes.len() + name.len() + value.len() + LINE_OVERHEAD > u32::MAX as usize
        {
            return Err(InvalidField::TooLarge);
        }
        self.append(name, value);
        Ok(())
    }

    /// Replaces every line of `name` by one; appends it where there was none.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.append(name, value);
    }

    /// Removes every line of `name`. Says whether there was one.
    #[inline]
    pub fn remove(&mut self, name: &str) -> bool {
        self.names.may_hold(name) && self.remove_lines(name)
    }

    fn remove_lines(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        let Fields { bytes, entries, .. } = self;
        entries.retain(|entry| !is_named(bytes, entry, name));
        self.loosen_unless(before)
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let before = self.entries.len();
        let Fields { bytes, entries, .. } = self;
        entries.retain(|entry| keep(field_of(bytes, entry)));
        self.loosen_unless(before);
    }

    /// Whether fields were removed, which leaves their lines behind.
    fn loosen_unless(&mut self, entries_before: usize) -> bool {
        let removed = self.entries.len() != entries_before;
        if removed {
            self.layout = Layout::Loose;
        }
        removed
    }

    /// The first line of `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        match self.names.may_hold(name) {
            true => self.find(name),
            false => None,
        }
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        let entry = self
            .entries
            .iter()
            .find(|entry| is_named(&self.bytes, entry, name))?;
        Some(value_of(&self.bytes, entry))
    }

    /// The first line of `name`, where it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every line of `name` in order.
    #[inline]
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let entries = match self.names.may_hold(name) {
            true => &*self.entries,
            false => &[],
        };
        entries
            .iter()
            .filter(move |entry| is_named(&self.bytes, entry, name))
            .map(|entry| value_of(&self.bytes, entry))
    }

    #[inline]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All lines of `name` joined by `, `, as RFC 9110 §5.3 allows for list-valued fields.
    pub fn get_joined(&self, name: &str) -> Option<Vec<u8>> {
        let mut lines = self.get_all(name);
        let mut joined = lines.next()?.to_vec();
        for line in lines {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(line);
        }
        Some(joined)
    }

    /// The members of a comma-separated field over all its lines, trimmed, empty ones left out.
    /// For fields whose members hold no quoted commas (Connection, Vary, Transfer-Encoding …).
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.get_all(name)
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> + '_ {
        self.entries
            .iter()
            .map(|entry| field_of(&self.bytes, entry))
    }

    /// Names and values as bytes: for those who only compare.
    pub fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.iter_by_name_len(|_| true)
    }

    /// [`Fields::iter_bytes`] of the fields whose names have a length that is `wanted`: that is known without a look at
    /// them.
    pub(crate) fn iter_by_name_len(
        &self,
        wanted: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.entries
            .iter()
            .filter(move |entry| wanted(usize::from(entry.name_len)))
            .map(|entry| (name_bytes(&self.bytes, entry), value_of(&self.bytes, entry)))
    }

    /// Appends every field of `other`.
    pub fn extend_from(&mut self, other: &Fields) {
        for field in other.iter() {
            self.append(field.name, field.value);
        }
    }

    /// A copy with room for the fields that are added on the way to a backend.
    pub(crate) fn clone_with_room(&self) -> Fields {
        const FIELDS: usize = 6;
        const BYTES: usize = 192;
        let mut copy = Fields {
            bytes: Vec::with_capacity(self.bytes.len() + BYTES),
            entries: Vec::with_capacity(self.entries.len() + FIELDS),
            layout: self.layout,
            names: self.names,
        };
        copy.bytes.extend_from_slice(&self.bytes);
        copy.entries.extend_from_slice(&self.entries);
        copy
    }

    /// A copy of the fields for whose names `keep` says so.
    pub fn filtered(&self, mut keep: impl FnMut(&[u8]) -> bool) -> Fields {
        let mut copy = Fields {
            bytes: Vec::with_capacity(self.bytes.len()),
            entries: Vec::with_capacity(self.entries.len()),
            ..Fields::default()
        };
        for (name, value) in self.iter_bytes().filter(|(name, _)| keep(name)) {
            copy.append_line(name, |out| out.extend_from_slice(value));
        }
        copy
    }

    /// A copy that holds no byte of removed fields and no spare capacity, for objects that are kept.
    pub fn compact(&self) -> Fields {
        let bytes = self
            .iter()
            .map(|field| field.name.len() + field.value.len())
            .sum();
        let mut copy = Fields::with_capacity(self.len(), bytes);
        copy.extend_from(self);
        copy
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .zip(other.iter())
                .all(|(a, b)| a.name.eq_ignore_ascii_case(b.name) && a.value == b.value)
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter()
                    .map(|field| (field.name, String::from_utf8_lossy(field.value))),
            )
            .finish()
    }
}

impl fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, String::from_utf8_lossy(self.value))
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Fields {
        let mut fields = Fields::new();
        for (name, value) in pairs {
            fields.append(name.as_ref(), value);
        }
        fields
    }
}

fn name_bytes<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.name_start as usize;
    &bytes[start..start + usize::from(entry.name_len)]
}

/// The length decides for nearly every entry without a look at the name.
fn is_named(bytes: &[u8], entry: &Entry, name: &str) -> bool {
    usize::from(entry.name_len) == name.len()
        && name_bytes(bytes, entry).eq_ignore_ascii_case(name.as_bytes())
}

fn name_of<'a>(bytes: &'a [u8], entry: &Entry) -> &'a str {
    std::str::from_utf8(name_bytes(bytes, entry))
        .expect("a name was checked or given as a str when it was appended")
}

fn value_of<'a>(bytes: &'a [u8], entry: &Entry) -> &'a [u8] {
    let start = entry.value_start as usize;
    &bytes[start..start + entry.value_len as usize]
}

fn field_of<'a>(bytes: &'a [u8], entry: &Entry) -> Field<'a> {
    Field {
        name: name_of(bytes, entry),
        value: value_of(bytes, entry),
    }
}

/// Where the parts of a field line are, counted from its beginning.
struct Line {
    name_len: usize,
    value: Range<usize>,
    /// With CRLF.
    len: usize,
}

impl Line {
    /// Reads the first of `lines`: a name, a colon, a value with or without white space around it, CRLF.
    fn read(lines: &[u8]) -> Result<Line, InvalidField> {
        let name_len = token_len(lines);
        if name_len == 0 || lines.get(name_len) != Some(&b':') {
            return Err(InvalidField::Name);
        }
        if name_len > usize::from(u16::MAX) {
            return Err(InvalidField::TooLarge);
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let behind = &lines[name_len + 1..];
        let leading = behind.iter().take_while(|byte| is_space(byte)).count();
        let value_start = name_len + 1 + leading;
        let line_end = value_start + value_len(&lines[value_start..]);
        if !lines[line_end..].starts_with(b"\r\n") {
            // Names are ASCII by now.
            let name = String::from_utf8_lossy(&lines[..name_len]);
            return Err(InvalidField::Value(name.into()));
        }
        let value = &lines[value_start..line_end];
        let trailing = value.iter().rev().take_while(|byte| is_space(byte)).count();
        Ok(Line {
            name_len,
            value: value_start..line_end - trailing,
            len: line_end + 2,
        })
    }

    /// Written as we write lines: one space before the value, none behind it.
    fn is_plain(&self) -> bool {
        self.name_len + self.value.len() + LINE_OVERHEAD == self.len
            && self.value.start == self.name_len + 2
    }
}

/// The first of `lines` with its end.
fn first_line(lines: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', lines).map_or(lines.len(), |line_feed| line_feed + 1);
    &lines[..end]
}

/// Without optional white space (RFC 9110 §5.6.3: space and tab, nothing else) at both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// RFC 9110 §5.6.2 `token`.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && token_len(bytes) == bytes.len()
}

const TOKEN: [bool; 256] = alphanumeric_or(b"!#$%&'*+-.^_`|~");

/// A table of the ASCII letters, digits and these marks.
pub(crate) const fn alphanumeric_or(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
}

fn token_len(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        start += letters_and_hyphens(&bytes[start..]);
        match bytes.get(start) {
            Some(byte) if TOKEN[usize::from(*byte)] => start += 1,
            _ => return start,
        }
    }
}

/// RFC 9110 §5.5: visible characters, space, tab and obs-text; no CR, LF, NUL or other controls.
fn is_field_value(bytes: &[u8]) -> bool {
    value_len(bytes) == bytes.len()
}

/// How many bytes a field value may have here: up to the first control character but tab.
fn value_len(bytes: &[u8]) -> usize {
    let mut start = 0;
    loop {
        start += non_controls(&bytes[start..]);
        match bytes.get(start) {
            Some(b'\t') => start += 1,
            _ => return start,
        }
    }
}

/// One in each byte of a word.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
const TOP_BITS: u64 = EACH << 7;

/// How many bytes there are before the first control character.
fn non_controls(bytes: &[u8]) -> usize {
    let controls = |word: u64| {
        // Below 0x20 or equal to 0x7f the subtraction sets a top bit that was not there. What it borrows may set those of
        // bytes further up as well.
        let delete = word ^ (EACH * 0x7f);
        let below = word.wrapping_sub(EACH * 0x20) & !word;
        let equal = delete.wrapping_sub(EACH) & !delete;
        (below | equal) & TOP_BITS
    };
    leading(bytes, controls, |byte| byte.is_ascii_control())
}

/// How many bytes there are before the first that is neither letter nor hyphen: most names hold nothing else.
fn letters_and_hyphens(bytes: &[u8]) -> usize {
    let others = |word: u64| {
        // Seven bits and a small sum: nothing is carried from byte to byte.
        let low = (word | (EACH * 0x20)) & !TOP_BITS;
        let from_a = low + EACH * (0x80 - 0x61);
        let behind_z = low + EACH * (0x80 - 0x7b);
        let differs_from_hyphen = ((word ^ (EACH * 0x2d)) & !TOP_BITS) + EACH * 0x7f;
        (word | (!from_a | behind_z) & differs_from_hyphen) & TOP_BITS
    };
    leading(bytes, others, |byte| {
        !byte.is_ascii_alphabetic() && byte != b'-'
    })
}

/// How many bytes there are before the first of the others, eight a step. `others_in` sets the top bit of the lowest of
/// them in a word, and of none below it.
#[inline(always)]
fn leading(bytes: &[u8], others_in: impl Fn(u64) -> u64, is_other: impl Fn(u8) -> bool) -> usize {
    let (words, rest) = bytes.as_chunks();
    let mut start = 0;
    for word in words {
        let others = others_in(u64::from_le_bytes(*word));
        if others != 0 {
            return start + others.trailing_zeros() as usize / 8;
        }
        start += size_of::<u64>();
    }
    let in_rest = rest.iter().position(|byte| is_other(*byte));
    start + in_rest.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Fields {
        [
            ("Host", "a"),
            ("Accept", "x"),
            ("accept", "y, ,z"),
            ("Via", "1.1 p"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_byte_that_does_not_belong_is_found_wherever_it_stands() {
        fn check(len: fn(&[u8]) -> usize, belongs: fn(u8) -> bool, before: u8, behind: u8) {
            for byte in 0..=u8::MAX {
                for length in 0..20 {
                    for place in 0..length {
                        let mut text = vec![before; length];
                        text[place] = byte;
                        // What a borrow or a carry could reach.
                        text[place + 1..].fill(behind);
                        let expected = if belongs(byte) { length } else { place };
                        assert_eq!(len(&text), expected, "{text:?}");
                    }
                }
            }
        }
        let in_value = |byte: u8| byte == b'\t' || !byte.is_ascii_control();
        for (before, behind) in [(b'\xff', b' '), (b' ', b'\x80'), (b'\t', b'~')] {
            check(value_len, in_value, before, behind);
        }
        for (before, behind) in [(b'z', b'A'), (b'-', b'a'), (b'_', b'Z'), (b'0', b'-')] {
            check(token_len, |byte| TOKEN[usize::from(byte)], before, behind);
        }
    }

    #[test]
    fn what_is_asked_of_every_hit_is_answered_without_a_search() {
        fn check(present: &str, asked: &str) {
            let fields = present.split(' ').map(|name| (name, ""));
            let fields: Fields = fields.collect();
            for name in asked.split(' ') {
                assert!(!fields.names.may_hold(name), "{name} in {present}");
            }
        }
        check(
            "date content-type content-length cache-control etag last-modified server vary expires accept-ranges \
             content-encoding",
            "connection keep-alive proxy-connection transfer-encoding age x-cache x-varnish content-range trailer",
        );
        check(
            "host user-agent accept accept-encoding accept-language connection cookie referer dnt priority \
             upgrade-insecure-requests sec-fetch-site sec-fetch-mode sec-fetch-user sec-fetch-dest sec-ch-ua \
             sec-ch-ua-mobile sec-ch-ua-platform x-forwarded-for",
            "cache-control pragma range if-none-match if-modified-since if-match if-unmodified-since if-range \
             x-if-match authorization transfer-encoding expect upgrade content-length te",
        );
    }

    #[test]
    fn names_compare_without_case_and_lines_stay_apart() {
        let fields = sample();
        assert_eq!(fields.get("HOST"), Some(&b"a"[..]));
        assert_eq!(
            fields.get_all("accept").collect::<Vec<_>>(),
            [&b"x"[..], b"y, ,z"]
        );
        assert_eq!(
            fields.list("Accept").collect::<Vec<_>>(),
            [&b"x"[..], b"y", b"z"]
        );
        assert_eq!(
            fields.get_joined("accept").as_deref(),
            Some(&b"x, y, ,z"[..])
        );
    }

    #[test]
    fn set_and_remove_affect_every_line() {
        let mut fields = sample();
        fields.set("ACCEPT", "q");
        assert_eq!(fields.get_all("accept").collect::<Vec<_>>(), [&b"q"[..]]);
        assert!(fields.remove("accept"));
        assert!(!fields.remove("accept"));
        assert_eq!(fields.len(), 2);
        assert_eq!(fields.compact(), fields);
    }

    #[test]
    fn fields_that_could_split_a_message_are_refused() {
        let mut fields = Fields::new();
        for (name, value) in [
            (&b""[..], &b"v"[..]),
            (b"a b", b"v"),
            (b"a:", b"v"),
            (b"\xff", b"v"),
            (b"a", b"v\r\nb: c"),
            (b"a", b"v\0"),
            (b"a", b"\x7f"),
        ] {
            assert!(
                fields.try_append(name, value).is_err(),
                "{name:?} {value:?}"
            );
        }
        assert!(fields.is_empty());
        assert!(fields.try_append(b"a", b"caf\xe9\t!").is_ok());
    }
}
