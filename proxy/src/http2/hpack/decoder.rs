//! Header blocks to fields (RFC 7541 §6).

use super::huffman;
use super::integer::read_integer;
use super::table::Table;

/// The block is none, and the table is of no use any more: the connection ends (RFC 9113 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid header block")]
pub struct CompressionError;

/// Decodes the header blocks of one connection, in their order.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// A field that is written out: its name, then its value.
    scratch: Vec<u8>,
}

/// Whether a field goes into the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Indexing {
    Yes,
    No,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder::new()
    }
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder {
            table: Table::new(),
            scratch: Vec::new(),
        }
    }

    /// Calls `field` with each name and value of a whole block. A field has at most 4,096 bytes more than the block,
    /// but a block can name it once for each of its bytes: whoever keeps fields has to count them.
    ///
    /// # Errors
    /// [`CompressionError`]; fields before it have been given out.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), CompressionError> {
        let mut may_resize = true;
        while let Some(first) = block.first() {
            match first {
                0x80.. => {
                    let index = read_integer(&mut block, 7).ok_or(CompressionError)?;
                    let (name, value) = self.table.get(index).ok_or(CompressionError)?;
                    field(name, value);
                }
                0x40.. => self.literal(&mut block, 6, Indexing::Yes, &mut field)?,
                0x20.. => {
                    // Only before the first field (RFC 7541 §4.2).
                    let bytes = read_integer(&mut block, 5).ok_or(CompressionError)?;
                    if !may_resize {
                        return Err(CompressionError);
                    }
                    self.table.resize(bytes).ok_or(CompressionError)?;
                    continue;
                }
                _ => self.literal(&mut block, 4, Indexing::No, &mut field)?,
            }
            may_resize = false;
        }
        Ok(())
    }

    fn literal(
        &mut self,
        block: &mut &[u8],
        prefix: u32,
        indexing: Indexing,
        field: &mut impl FnMut(&[u8], &[u8]),
    ) -> Result<(), CompressionError> {
        self.scratch.clear();
        match read_integer(block, prefix).ok_or(CompressionError)? {
            0 => self.string(block)?,
            index => {
                let (name, _) = self.table.get(index).ok_or(CompressionError)?;
                self.scratch.extend_from_slice(name);
            }
        }
        let name_len = self.scratch.len();
        self.string(block)?;
        let (name, value) = self.scratch.split_at(name_len);
        field(name, value);
        if indexing == Indexing::Yes {
            self.table.insert(&self.scratch, name_len);
        }
        Ok(())
    }

    /// RFC 7541 §5.2.
    fn string(&mut self, block: &mut &[u8]) -> Result<(), CompressionError> {
        let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
        let length = read_integer(block, 7).ok_or(CompressionError)?;
        let (text, rest) = block.split_at_checked(length).ok_or(CompressionError)?;
        match is_coded {
            true => huffman::decode(text, &mut self.scratch).ok_or(CompressionError)?,
            false => self.scratch.extend_from_slice(text),
        }
        *block = rest;
        Ok(())
    }

    /// Gives up memory that a large field has claimed.
    pub fn shrink(&mut self) {
        const KEPT_BYTES_MAX: usize = 16 * 1024;
        if self.scratch.capacity() > KEPT_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    #[cfg(test)]
    pub(in super::super) fn table(&self) -> &Table {
        &self.table
    }
}
