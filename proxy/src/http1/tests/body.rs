use bytes::BytesMut;

use super::*;
use crate::http::Fields;

/// What a body came to: its bytes, its trailers, and what was left in the buffer.
type Outcome = Result<(Vec<u8>, Option<Fields>, Vec<u8>), BadBody>;

/// Decodes pieces as they arrive and then the end of the connection.
fn decode<'a>(framing: BodyFraming, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(framing, &limits());
    let mut buffer = BytesMut::new();
    let mut body = Vec::new();
    let mut end = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while end.is_none() {
            match decoder.decode(&mut buffer)? {
                Decoded::NeedMore => break,
                Decoded::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Decoded::End(trailers) => end = Some(trailers),
            }
        }
    }
    let Some(trailers) = end else {
        assert!(!decoder.is_done());
        decoder.end_of_input()?;
        return Ok((body, None, buffer.to_vec()));
    };
    assert!(decoder.is_done());
    decoder.end_of_input()?;
    Ok((body, trailers, buffer.to_vec()))
}

/// Decodes in one piece, in two at every boundary, and byte by byte: always the same.
#[track_caller]
fn decode_split(framing: BodyFraming, input: &[u8]) -> Outcome {
    let whole = decode(framing, std::iter::once(input));
    for middle in 0..=input.len() {
        let (front, back) = input.split_at(middle);
        let split = decode(framing, [front, back].into_iter());
        assert_eq!(
            split,
            whole,
            "split at {middle} of {}",
            input.escape_ascii()
        );
    }
    assert_eq!(
        decode(framing, input.chunks(1)),
        whole,
        "{}",
        input.escape_ascii()
    );
    whole
}

#[track_caller]
fn check(framing: BodyFraming, input: &str, body: &str, rest: &str) {
    let (found, trailers, left) =
        decode_split(framing, input.as_bytes()).unwrap_or_else(|bad| panic!("{input:?}: {bad}"));
    assert_eq!(String::from_utf8_lossy(&found), body, "{input:?}");
    assert_eq!(trailers, None, "{input:?}");
    assert_eq!(String::from_utf8_lossy(&left), rest, "{input:?}");
}

#[track_caller]
fn check_bad(input: &str, expected: BadBody) {
    match decode_split(BodyFraming::Chunked, input.as_bytes()) {
        Err(bad) => assert_eq!(bad, expected, "{input:?}"),
        Ok(outcome) => panic!("{input:?} was read as {outcome:?}"),
    }
}

#[test]
fn bodies_end_where_their_framing_says() {
    check(BodyFraming::Empty, "GET", "", "GET");
    check(BodyFraming::Length(0), "GET", "", "GET");
    check(BodyFraming::Length(5), "helloGET", "hello", "GET");
    check(BodyFraming::UntilClose, "hello", "hello", "");
    check(BodyFraming::UntilClose, "", "", "");
    check(BodyFraming::Chunked, "0\r\n\r\nGET", "", "GET");
    check(
        BodyFraming::Chunked,
        "5\r\nhello\r\n0\r\n\r\nGET",
        "hello",
        "GET",
    );
    check(
        BodyFraming::Chunked,
        "3\r\nhel\r\n2\r\nlo\r\n000\r\n\r\n",
        "hello",
        "",
    );
    check(
        BodyFraming::Chunked,
        "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
        "01234567890123456789",
        "",
    );
    check(
        BodyFraming::Chunked,
        "5;a=b;c=\"d\"\r\nhello\r\n0 ; x\r\n\r\n",
        "hello",
        "",
    );
    check(
        BodyFraming::Chunked,
        "0000000000000002\r\n\r\n\r\n0\r\n\r\n",
        "\r\n",
        "",
    );
}

#[test]
fn trailers_are_read_after_the_last_chunk() {
    let input = b"1\r\nx\r\n0\r\nA: b\r\nDigest:  c \r\n\r\nGET";
    let (body, trailers, rest) = decode_split(BodyFraming::Chunked, input).expect("sound");
    assert_eq!(body, b"x");
    assert_eq!(
        trailers,
        Some([("A", "b"), ("Digest", "c")].into_iter().collect())
    );
    assert_eq!(rest, b"GET");
}

#[test]
fn bad_chunks_are_refused() {
    for size in [
        "",
        "g",
        "-1",
        "+1",
        " 1",
        "0x1",
        "1 ",
        "1\t",
        "1,1",
        "1\0",
        "00000000000000001",
        "fffffffffffffffff",
    ] {
        check_bad(&format!("{size}\r\nx\r\n0\r\n\r\n"), BadBody::ChunkSize);
    }
    check_bad("1\nx\r\n0\r\n\r\n", BadBody::ChunkSize);
    check_bad("1\rx\r\n0\r\n\r\n", BadBody::ChunkSize);
    check_bad("1\r\nxy\r\n0\r\n\r\n", BadBody::ChunkEnd);
    check_bad("1\r\nx\n0\r\n\r\n", BadBody::ChunkEnd);
    check_bad("1\r\nx0\r\n\r\n", BadBody::ChunkEnd);
    check_bad("1\r\nx\r0\r\n\r\n", BadBody::ChunkEnd);
    check_bad("1;a\rb\r\nx\r\n0\r\n\r\n", BadBody::ChunkExtension);
    check_bad("1;a\0\r\nx\r\n0\r\n\r\n", BadBody::ChunkExtension);
    check_bad("1;a=\"\r\nx\r\n0\r\n\r\n", BadBody::ChunkExtension);
    check_bad("ffffffffffffffff\r\nx", BadBody::Truncated);
    check_bad("1\r\nx\r\n", BadBody::Truncated);
    check_bad("1\r\nx\r\n0\r\n", BadBody::Truncated);
    check_bad("", BadBody::Truncated);
}

#[test]
fn extensions_are_bounded_each_and_together() {
    let long = format!("1;{}", "e".repeat(1024));
    assert_eq!(
        decode(BodyFraming::Chunked, std::iter::once(long.as_bytes())),
        Err(BadBody::ChunkExtension)
    );
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(999));
    let sound = format!("{}0\r\n\r\n", chunk.repeat(16));
    assert!(decode(BodyFraming::Chunked, std::iter::once(sound.as_bytes())).is_ok());
    let many = format!("{}0\r\n\r\n", chunk.repeat(17));
    assert_eq!(
        decode(BodyFraming::Chunked, std::iter::once(many.as_bytes())),
        Err(BadBody::ChunkExtension)
    );
}

#[test]
fn bad_trailers_are_refused() {
    for (lines, expected) in [
        ("A : b\r\n", BadBody::Trailers(Malformed::FieldName)),
        ("A: b\r\n c\r\n", BadBody::Trailers(Malformed::FoldedField)),
        ("A: b\n", BadBody::Trailers(Malformed::LineEnd)),
        ("A: \0\r\n", BadBody::Trailers(Malformed::FieldValue)),
        ("Content-Length: 1\r\n", BadBody::ForbiddenTrailer),
        ("transfer-encoding: chunked\r\n", BadBody::ForbiddenTrailer),
        ("Host: a\r\n", BadBody::ForbiddenTrailer),
        ("Connection: close\r\n", BadBody::ForbiddenTrailer),
        ("Content_Length: 1\r\n", BadBody::ForbiddenTrailer),
    ] {
        check_bad(&format!("0\r\n{lines}\r\n"), expected);
    }
    let many = format!("0\r\n{}", "A: b\r\n".repeat(9));
    check_bad(&many, BadBody::Trailers(Malformed::TooManyFields(8)));
    let large = format!("0\r\nA: {}", "b".repeat(512));
    assert_eq!(
        decode(BodyFraming::Chunked, std::iter::once(large.as_bytes())),
        Err(BadBody::Trailers(Malformed::HeadTooLarge(512)))
    );
}

#[test]
fn a_connection_that_ends_early_truncates_the_body() {
    assert_eq!(
        decode_split(BodyFraming::Length(5), b"hell"),
        Err(BadBody::Truncated)
    );
}

#[test]
fn mutated_bodies_never_panic_and_read_the_same_in_any_pieces() {
    let seeds: [&[u8]; 2] = [
        b"5\r\nhello\r\n3;x\r\nabc\r\n0\r\nA: b\r\n\r\nnext",
        b"f\r\n0123456789abcde\r\n0\r\n\r\n",
    ];
    for input in mutations(&seeds, 3_000) {
        let whole = decode(BodyFraming::Chunked, std::iter::once(&input[..]));
        let bytewise = decode(BodyFraming::Chunked, input.chunks(1));
        assert_eq!(whole.is_ok(), bytewise.is_ok(), "{}", input.escape_ascii());
        if whole.is_ok() {
            assert_eq!(whole, bytewise, "{}", input.escape_ascii());
        }
    }
}

#[test]
fn data_is_cut_out_of_the_buffer_without_copying() {
    let mut buffer = BytesMut::from(&b"5\r\nhello\r\n0\r\n\r\n"[..]);
    let place = buffer[3..].as_ptr();
    let mut decoder = Decoder::new(BodyFraming::Chunked, &limits());
    match decoder.decode(&mut buffer) {
        Ok(Decoded::Data(data)) => {
            assert_eq!(&data[..], b"hello");
            assert_eq!(data.as_ptr(), place);
        }
        other => panic!("{other:?}"),
    }
}
