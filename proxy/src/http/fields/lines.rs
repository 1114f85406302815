//! The lines of a list, as its index tells them apart.
//!
//! The index lies before the lines: a byte for the length of each name, then two for where each line begins. Most
//! questions are about fields that a list has not, and eight lengths are compared in one step.

use std::iter;

use super::{Field, Fields, Lines};

/// Bytes of a place in the index.
pub(super) const PLACE_BYTES: usize = 3;

/// Stands in the index for names of this length and above: those end at their colon.
const LONG_NAME: u8 = u8::MAX;

/// The starts in the index hold as long as the lines take no more than this. Those of a longer list are looked for.
const INDEXED_BYTES_MAX: usize = u16::MAX as usize;

/// The length of a name as the index has it.
pub(super) fn short_length(bytes: usize) -> u8 {
    bytes.min(usize::from(LONG_NAME)) as u8
}

/// A field whose name is known to be ASCII.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Line<'a> {
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.name.len() == name.len() && self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    pub(super) fn field(self) -> Field<'a> {
        Field {
            name: std::str::from_utf8(self.name)
                .expect("a name was checked or given as a str when it was appended"),
            value: self.value,
        }
    }
}

/// Walks a list from its first line.
pub(super) struct Walk<'a> {
    fields: &'a Fields,
    at: usize,
    start: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Line<'a>;

    // Inlined, as its parts are, since a loop over all fields is written where it has to be quick.
    #[inline(always)]
    fn next(&mut self) -> Option<Line<'a>> {
        let (line, end) = self.fields.line(self.at, self.start)?;
        self.at += 1;
        self.start = end;
        Some(line)
    }
}

impl<'a> Walk<'a> {
    /// The value of the next line of this name.
    pub(super) fn next_named(&mut self, name: &str) -> Option<&'a [u8]> {
        if self.fields.has_long_lines() {
            return Some(self.find(|line| line.is_named(name))?.value);
        }
        let (at, value) = self.fields.find_from(self.at, name)?;
        self.at = at + 1;
        Some(value)
    }
}

impl Fields {
    pub(super) fn each(&self) -> Walk<'_> {
        Walk {
            fields: self,
            at: 0,
            start: 0,
        }
    }

    /// The lines whose names have a length that is `wanted`, and those of very long names.
    pub(super) fn each_by_name_len(
        &self,
        wanted: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = Line<'_>> {
        let is_wanted = move |at: usize| match self.block[at] {
            LONG_NAME => true,
            length => wanted(usize::from(length)),
        };
        // Where the starts are not known, each line is walked through.
        let mut all = self.has_long_lines().then(|| self.each());
        let mut at = 0;
        iter::from_fn(move || {
            if let Some(all) = &mut all {
                return all.next();
            }
            while at < self.len() {
                at += 1;
                if is_wanted(at - 1) {
                    let start = self.start(at - 1);
                    return self.line(at - 1, start).map(|(line, _)| line);
                }
            }
            None
        })
    }

    pub(super) fn find_only(&self, name: &str) -> Lines<'_> {
        if self.has_long_lines() {
            let mut lines = self.each();
            return match (lines.next_named(name), lines.next_named(name)) {
                (None, _) => Lines::None,
                (Some(value), None) => Lines::One(value),
                (Some(_), Some(_)) => Lines::Several,
            };
        }
        match self.find_from(0, name) {
            None => Lines::None,
            Some((at, value)) => match self.find_from(at + 1, name) {
                None => Lines::One(value),
                Some(_) => Lines::Several,
            },
        }
    }

    #[inline(always)]
    fn has_long_lines(&self) -> bool {
        self.lines().len() > INDEXED_BYTES_MAX
    }

    /// Where a line begins, as the index has it.
    #[inline(always)]
    fn start(&self, at: usize) -> usize {
        let place = self.starts_start() + 2 * at;
        let start = self.block[place..].first_chunk();
        usize::from(u16::from_le_bytes(*start.expect("lines follow")))
    }

    /// Where a line ends that begins at `start`.
    #[inline(always)]
    fn end(&self, at: usize, start: usize) -> usize {
        match self.has_long_lines() {
            true => end_of_line(self.lines(), start),
            false => self.indexed_end(at),
        }
    }

    /// The same as the index has it.
    #[inline(always)]
    fn indexed_end(&self, at: usize) -> usize {
        match at + 1 < self.len() {
            true => self.start(at + 1),
            false => self.lines().len(),
        }
    }

    /// The line at this place, which begins at `start`, and where it ends.
    #[inline(always)]
    pub(super) fn line(&self, at: usize, start: usize) -> Option<(Line<'_>, usize)> {
        if at >= self.len() {
            return None;
        }
        let end = self.end(at, start);
        let line = &self.lines()[start..end - 2];
        let name_bytes = match self.block[at] {
            LONG_NAME => end_of_name(line),
            length => usize::from(length),
        };
        let (name, value) = (&line[..name_bytes], &line[name_bytes + 2..]);
        Some((Line { name, value }, end))
    }

    /// The first line of this name.
    pub(super) fn find(&self, name: &str) -> Option<&[u8]> {
        match self.has_long_lines() {
            true => self.each().next_named(name),
            false => Some(self.find_from(0, name)?.1),
        }
    }

    /// The first line of this name at `from` or behind, where lines have their starts in the index.
    #[inline(always)]
    fn find_from(&self, from: usize, name: &str) -> Option<(usize, &[u8])> {
        const EACH: u64 = u64::from_le_bytes([1; 8]);
        const HIGHEST: u64 = EACH << 7;
        let count = self.len();
        let wanted = EACH * u64::from(short_length(name.len()));
        let mut step = from / 8 * 8;
        let mut looked_at = u64::MAX << (from % 8 * 8);
        while step < count {
            // A line has five bytes at least and three in the index: eight for each, so the block does not end here.
            let eight = self.block[step..].first_chunk()?;
            let different = u64::from_le_bytes(*eight) ^ wanted;
            // The highest bit of each byte that is zero. Others behind the first may have it too.
            let mut candidates = different.wrapping_sub(EACH) & !different & HIGHEST & looked_at;
            while candidates != 0 {
                let at = step + candidates.trailing_zeros() as usize / 8;
                if at >= count {
                    return None;
                }
                if let Some(value) = self.value_at(at, name) {
                    return Some((at, value));
                }
                candidates &= candidates - 1;
            }
            looked_at = u64::MAX;
            step += 8;
        }
        None
    }

    /// The value at this place, if it has this name.
    #[inline(always)]
    fn value_at(&self, at: usize, name: &str) -> Option<&[u8]> {
        let start = self.start(at);
        let lines = self.lines();
        let line = &lines[start..];
        if line.get(name.len()) != Some(&b':')
            || !line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
        {
            return None;
        }
        Some(&lines[start + name.len() + 2..self.indexed_end(at) - 2])
    }
}

#[cold]
fn end_of_line(lines: &[u8], start: usize) -> usize {
    memchr::memchr(b'\n', &lines[start..]).map_or(lines.len(), |length| start + length + 1)
}

#[cold]
fn end_of_name(line: &[u8]) -> usize {
    memchr::memchr(b':', line).expect("each line was written with a colon")
}
