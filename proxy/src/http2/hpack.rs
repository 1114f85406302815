//! Header compression (RFC 7541).
//!
//! The decoder keeps the table that the client fills, within 4,096 bytes. There is no such table on the way out: see
//! [`super::response`].

mod decoder;
mod huffman;
mod integer;
mod table;

pub use decoder::Decoder;
pub(super) use integer::write_integer;
#[cfg(test)]
pub(super) use {decoder::CompressionError, huffman::encode as huffman_encode};

/// Says that no entry of our own table is in use, which is to be the first of the block after a client has changed
/// its limit (RFC 7541 §4.2).
pub fn write_table_size(out: &mut Vec<u8>) {
    write_integer(out, 0x20, 5, 0);
}
