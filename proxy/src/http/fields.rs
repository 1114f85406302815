//! An ordered list of header fields in one block of memory.
//!
//! A head arrives as one run of bytes, is read by position and sent in order, so it is kept that way: its lines
//! lie together as HTTP/1 writes them, behind a small index of where each begins and how long its name is. Reading a
//! head costs one allocation, whatever the number of fields, sending one is a copy, and a cleared list is reused
//! without any.

mod lines;
mod scan;

use std::fmt;
use std::iter;

use lines::{Line, PLACE_BYTES, short_length};
use scan::{Parts, first_line, is_field_value};
pub(crate) use scan::{alphanumeric_or, is_token, trim};

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
    /// More than the bound that was given, or 60,000.
    #[error("too many fields")]
    TooMany,
}

/// Most fields of a list that come from outside. Its numbers are 16 bits wide, and what we add needs some as well.
const FIELDS_MAX: usize = 60_000;

/// Header or trailer fields in order of arrival.
///
/// Names compare without regard to case. Several lines of one name stay apart: [`Fields::get_all`]
/// gives each, and whoever reads a list-valued field reads them all (RFC 9110 §5.3).
#[derive(Clone, Default)]
pub struct Fields {
    /// First the index, then `name: value CRLF` for each field and nothing else. The index has `index_room` places for
    /// lengths of names, and behind them as many for where lines begin.
    block: Vec<u8>,
    /// Names that came, also of fields that went.
    names: Names,
    index_room: u16,
    count: u16,
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

/// How often a name stands in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines<'a> {
    None,
    /// Once, with this value.
    One(&'a [u8]),
    Several,
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
        let lines_bytes = bytes + fields * LINE_OVERHEAD;
        Fields::with_room(index_room(fields), lines_bytes)
    }

    fn with_room(index_room: u16, lines_bytes: usize) -> Fields {
        let index_bytes = usize::from(index_room) * PLACE_BYTES;
        let mut block = Vec::with_capacity(index_bytes + lines_bytes);
        block.resize(index_bytes, 0);
        Fields {
            block,
            names: Names::default(),
            index_room,
            count: 0,
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
        let mut start = 0;
        while let Some(line) = self.next_line(&lines[start..], fields_max)? {
            if !line.is_plain {
                return self.read_loose_lines(lines, fields_max);
            }
            self.names.note(&lines[start..start + line.name_len]);
            self.enter(line.name_len, start);
            start += line.len;
        }
        // Some more, for a Host or Content-Length that is added later.
        self.block.reserve(start + 64);
        self.block.extend_from_slice(&lines[..start]);
        Ok(start)
    }

    /// The same where some white space is other than we write it.
    #[cold]
    fn read_loose_lines<'a>(
        &mut self,
        lines: &'a [u8],
        fields_max: usize,
    ) -> Result<usize, (&'a [u8], InvalidField)> {
        self.clear();
        let mut start = 0;
        while let Some(parts) = self.next_line(&lines[start..], fields_max)? {
            let line = &lines[start..start + parts.len];
            let value = &line[parts.value];
            self.append_line(&line[..parts.name_len], |out| out.extend_from_slice(value));
            start += parts.len;
        }
        Ok(start)
    }

    /// The parts of the first of `lines`, if it is not the blank one. There is room for it in the index then.
    fn next_line<'a>(
        &mut self,
        lines: &'a [u8],
        fields_max: usize,
    ) -> Result<Option<Parts>, (&'a [u8], InvalidField)> {
        if lines.starts_with(b"\r\n") {
            return Ok(None);
        }
        let parts = match self.len() {
            count if count >= fields_max.min(FIELDS_MAX) => Err(InvalidField::TooMany),
            _ => Parts::read(lines),
        };
        if self.count == self.index_room {
            self.grow_index();
        }
        parts
            .map(Some)
            .map_err(|invalid| (first_line(lines), invalid))
    }

    #[inline(always)]
    fn starts_start(&self) -> usize {
        usize::from(self.index_room)
    }

    #[inline(always)]
    fn lines_start(&self) -> usize {
        usize::from(self.index_room) * PLACE_BYTES
    }

    /// All lines as HTTP/1 writes them.
    #[inline]
    pub fn lines(&self) -> &[u8] {
        &self.block[self.lines_start()..]
    }

    /// Appends the lines of the fields for whose names `keep` says so, as HTTP/1 writes them.
    pub(crate) fn write_lines(&self, out: &mut Vec<u8>, keep: impl Fn(&[u8]) -> bool) {
        let lines = self.lines();
        // Lines that follow each other are copied together.
        let (mut kept_from, mut start) = (0, 0);
        let mut at = 0;
        while let Some((line, end)) = self.line(at, start) {
            if !keep(line.name) {
                out.extend_from_slice(&lines[kept_from..start]);
                kept_from = end;
            }
            at += 1;
            start = end;
        }
        out.extend_from_slice(&lines[kept_from..]);
    }

    /// Number of field lines.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Forgets all fields and keeps the memory.
    pub fn clear(&mut self) {
        self.block.truncate(self.lines_start());
        self.names = Names::default();
        self.count = 0;
    }

    /// Bytes on the heap: what an object that keeps this list costs beyond the struct.
    pub fn heap_bytes(&self) -> usize {
        self.block.capacity()
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
        if self.count == self.index_room {
            self.grow_index();
        }
        self.names.note(name);
        let line_start = self.block.len();
        self.block.extend_from_slice(name);
        self.block.extend_from_slice(b": ");
        let value_start = self.block.len();
        write(&mut self.block);
        let value = &self.block[value_start..];
        debug_assert!(
            is_token(name) && is_field_value(value),
            "{name:?}: {value:?}"
        );
        self.block.extend_from_slice(b"\r\n");
        self.enter(name.len(), line_start - self.lines_start());
    }

    /// Takes the next place of the index, which has one, for a line.
    fn enter(&mut self, name_bytes: usize, line_start: usize) {
        self.write_place(self.len(), short_length(name_bytes), line_start);
        self.count += 1;
    }

    fn write_place(&mut self, at: usize, name_length: u8, line_start: usize) {
        self.block[at] = name_length;
        let start = self.starts_start() + 2 * at;
        // Too high ones are cut; with those, nobody looks at it.
        self.block[start..start + 2].copy_from_slice(&(line_start as u16).to_le_bytes());
    }

    #[cold]
    fn grow_index(&mut self) {
        let (room, lines_start) = (usize::from(self.index_room), self.lines_start());
        self.index_room = index_room((2 * room).max(16));
        let added = usize::from(self.index_room) - room;
        assert!(added > 0, "what comes from outside is bounded far below");
        let end = self.block.len();
        self.block.resize(end + added * PLACE_BYTES, 0);
        let moved_to = self.lines_start();
        self.block.copy_within(lines_start..end, moved_to);
        self.block.copy_within(room..lines_start, room + added);
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
        if self.len() >= FIELDS_MAX {
            return Err(InvalidField::TooMany);
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
        let found = self.contains(name);
        if found {
            self.retain_lines(|line| !line.is_named(name));
        }
        found
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        self.retain_lines(|line| keep(line.field()));
    }

    fn retain_lines(&mut self, mut keep: impl FnMut(Line<'_>) -> bool) {
        let lines_start = self.lines_start();
        let (mut kept, mut kept_end) = (0, 0);
        let mut at = 0;
        let mut start = 0;
        while let Some((line, end)) = self.line(at, start) {
            if keep(line) {
                if at != kept {
                    let name_length = self.block[at];
                    self.block.copy_within(
                        lines_start + start..lines_start + end,
                        lines_start + kept_end,
                    );
                    self.write_place(kept, name_length, kept_end);
                }
                kept += 1;
                kept_end += end - start;
            }
            at += 1;
            start = end;
        }
        self.block.truncate(lines_start + kept_end);
        self.count = kept as u16;
    }

    /// The first line of `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        match self.names.may_hold(name) {
            true => self.find(name),
            false => None,
        }
    }

    /// The line of `name`, for fields that may stand in a head once.
    #[inline]
    pub(crate) fn get_only(&self, name: &str) -> Lines<'_> {
        match self.names.may_hold(name) {
            true => self.find_only(name),
            false => Lines::None,
        }
    }

    /// The first line of `name`, where it is UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every line of `name` in order.
    #[inline]
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        let mut lines = self.names.may_hold(name).then(|| self.each());
        iter::from_fn(move || lines.as_mut()?.next_named(name))
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
        self.each().map(Line::field)
    }

    /// Names and values as bytes: for those who only compare.
    pub fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], &[u8])> + '_ {
        self.each().map(|line| (line.name, line.value))
    }

    /// [`Fields::iter_bytes`] of the fields whose names have a length that is `wanted`: that is known without a look at
    /// them.
    pub(crate) fn iter_by_name_len(
        &self,
        wanted: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.each_by_name_len(wanted)
            .map(|line| (line.name, line.value))
    }

    /// Appends every field of `other`, as far as there is room for more.
    pub fn extend_from(&mut self, other: &Fields) {
        for line in other.each().take(FIELDS_MAX.saturating_sub(self.len())) {
            self.append_line(line.name, |out| out.extend_from_slice(line.value));
        }
    }

    /// A copy with room for the fields that are added on the way to a backend.
    pub(crate) fn clone_with_room(&self) -> Fields {
        const FIELDS: usize = 6;
        const BYTES: usize = 192;
        self.copy(self.len() + FIELDS, BYTES)
    }

    fn copy(&self, fields: usize, more_bytes: usize) -> Fields {
        let mut copy = Fields::with_room(index_room(fields), self.lines().len() + more_bytes);
        let (count, from, to) = (self.len(), self.starts_start(), copy.starts_start());
        copy.block[..count].copy_from_slice(&self.block[..count]);
        copy.block[to..to + 2 * count].copy_from_slice(&self.block[from..from + 2 * count]);
        copy.block.extend_from_slice(self.lines());
        copy.names = self.names;
        copy.count = self.count;
        copy
    }

    /// A copy of the fields for whose names `keep` says so.
    pub fn filtered(&self, mut keep: impl FnMut(&[u8]) -> bool) -> Fields {
        let mut copy = Fields::with_room(self.count, self.lines().len());
        for line in self.each().filter(|line| keep(line.name)) {
            copy.append_line(line.name, |out| out.extend_from_slice(line.value));
        }
        copy
    }

    /// A copy without spare room, for objects that are kept.
    pub fn compact(&self) -> Fields {
        let mut copy = self.copy(self.len(), 0);
        copy.names = Names::default();
        self.each().for_each(|line| copy.names.note(line.name));
        copy
    }

    /// The same for a list that may be so already.
    pub fn into_compact(self) -> Fields {
        match self.index_room == self.count && self.block.capacity() == self.block.len() {
            true => self,
            false => self.compact(),
        }
    }
}

/// As many places of an index, as far as it can have them.
fn index_room(fields: usize) -> u16 {
    u16::try_from(fields).unwrap_or(u16::MAX)
}

impl PartialEq for Fields {
    fn eq(&self, other: &Fields) -> bool {
        let same = |(a, b): (Line<'_>, Line<'_>)| {
            a.name.eq_ignore_ascii_case(b.name) && a.value == b.value
        };
        self.count == other.count && self.each().zip(other.each()).all(same)
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

#[cfg(test)]
mod tests;
