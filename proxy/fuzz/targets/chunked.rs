//! A chunked body is the same however its bytes are divided, and what is written from it reads as it.
//! The first byte chooses the size of the pieces.
#![no_main]

use bytes::BytesMut;
use fuzz::LIMITS;
use fuzz::http::Fields;
use fuzz::http1::{
    BadBody, BodyFraming, CHUNK_END, Decoded, Decoder, write_chunk_head, write_last_chunk,
};
use libfuzzer_sys::fuzz_target;

/// What a body came to.
#[derive(Debug, PartialEq)]
struct Read {
    body: Vec<u8>,
    /// Bytes that belong to the next message; `None` while the body has no end.
    left: Option<usize>,
    trailers: Option<Fields>,
}

/// Reads from pieces. With an error, how much of the body had come before it depends on the pieces.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Read, BadBody> {
    let mut decoder = Decoder::new(BodyFraming::Chunked, &LIMITS);
    let mut buffer = BytesMut::new();
    let mut read = Read {
        body: Vec::new(),
        left: None,
        trailers: None,
    };
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while read.left.is_none() {
            match decoder.decode(&mut buffer)? {
                Decoded::NeedMore => break,
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    read.body.extend_from_slice(&data);
                }
                Decoded::End(trailers) => {
                    assert!(decoder.is_done() && decoder.end_of_input().is_ok());
                    read.trailers = trailers;
                    read.left = Some(0);
                }
            }
        }
    }
    match read.left {
        Some(_) => read.left = Some(buffer.len()),
        None => assert_eq!(decoder.end_of_input(), Err(BadBody::Truncated)),
    }
    Ok(read)
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let whole = read(std::iter::once(bytes));
    let pieces = read(bytes.chunks(usize::from(*choice).max(1)));
    let single = read(bytes.chunks(1));
    assert_eq!(whole.is_ok(), pieces.is_ok());
    assert_eq!(whole.is_ok(), single.is_ok());
    let Ok(whole) = whole else {
        return;
    };
    assert_eq!(pieces.as_ref().ok(), Some(&whole));
    assert_eq!(single.as_ref().ok(), Some(&whole));
    assert!(whole.body.len() <= bytes.len());

    let mut written = Vec::new();
    for chunk in whole.body.chunks(usize::from(*choice).max(1)) {
        write_chunk_head(&mut written, chunk.len());
        written.extend_from_slice(chunk);
        written.extend_from_slice(CHUNK_END);
    }
    write_last_chunk(&mut written, whole.trailers.as_ref());
    let again = read(std::iter::once(&written[..])).expect("what is written is sound");
    assert_eq!(again.body, whole.body);
    assert_eq!(again.left, Some(0));
    assert_eq!(again.trailers, whole.trailers);
});
