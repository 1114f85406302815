//! Frames and header blocks of a client. A request that is accepted reads the same as one of HTTP/1; what is written
//! from it is decoded as it was; and nothing grows beyond its bounds.
#![no_main]

use fuzz::http::{Fields, Method, RequestHead, Scheme};
use fuzz::http1::{SentFraming, parse_request, write_request_head};
use fuzz::http2::{
    Decoder, FRAME_HEAD_BYTES, Frame, FrameHead, HeadMemory, ListLimits, StatedLength,
    read_request, read_trailers, write_response,
};
use fuzz::{LIMITS, end_to_end};
use libfuzzer_sys::fuzz_target;

const LIST_BYTES_MAX: usize = 4096;
const LIST: ListLimits<'_> = ListLimits {
    head: &LIMITS,
    list_bytes_max: LIST_BYTES_MAX,
};

/// Longer ones are of HTTP/2 only.
const METHOD_BYTES_MAX: usize = 64;

/// Bytes that names and values take together.
fn bytes_of(fields: &Fields) -> usize {
    let fields = fields.iter();
    fields
        .map(|field| field.name.len() + field.value.len())
        .sum()
}

/// To a backend it goes as HTTP/1: what that reads has to be what was meant here.
fn check_head(head: &RequestHead, content_length: Option<u64>) {
    assert!(head.fields.len() <= LIMITS.fields_max + 2);
    assert!(bytes_of(&head.fields) <= LIST_BYTES_MAX);
    for field in head.fields.iter() {
        assert!(!field.name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    if head.method == Method::Connect || head.method.as_str().len() > METHOD_BYTES_MAX {
        return;
    }
    let framing = match content_length {
        Some(length) => SentFraming::Length(length),
        None => SentFraming::Nothing,
    };
    let mut written = Vec::new();
    write_request_head(&mut written, head, framing);
    let mut limits = LIMITS;
    limits.head_bytes_max = 2 * LIST_BYTES_MAX;
    limits.fields_max += 4;
    let parsed = parse_request(&written, &limits, Scheme::Http)
        .expect("what is written is sound")
        .expect("and complete");
    assert_eq!(parsed.consumed, written.len());
    assert_eq!(parsed.head.method, head.method);
    assert_eq!(parsed.head.target, head.target);
    assert_eq!(parsed.head.authority, head.authority);
    assert_eq!(end_to_end(&parsed.head.fields), end_to_end(&head.fields));
}

/// As the fields of a response they come out as they went in.
fn check_written(fields: &Fields) {
    let mut block = Vec::new();
    let lists = [fields, &Fields::new()];
    write_response(&mut block, 200, lists, StatedLength::Kept, Some(b"now"));
    let mut read = Fields::new();
    let decoded = Decoder::new().decode(&block, |name, value| {
        let _ = read.try_append(name, value);
    });
    assert!(decoded.is_ok());
    let mut expected = fields.clone();
    if !fields.contains("date") {
        expected.append("date", "now");
    }
    assert_eq!(read, expected);
}

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut decoder = Decoder::new();
    let mut memory = HeadMemory::default();
    let mut head = RequestHead::default();
    while let Some(frame) = FrameHead::read(rest) {
        let Some(payload) = rest[FRAME_HEAD_BYTES..].get(..frame.length) else {
            return;
        };
        rest = &rest[FRAME_HEAD_BYTES + frame.length..];
        let Ok(Frame::Headers {
            fragment, is_end, ..
        }) = Frame::read(frame, payload)
        else {
            continue;
        };
        if is_end {
            let read = read_request(
                &mut decoder,
                fragment,
                &mut head,
                &mut memory,
                LIST,
                Scheme::Http,
            );
            assert!(bytes_of(&head.fields) <= LIST_BYTES_MAX);
            if let Ok(parsed) = read {
                check_head(&head, parsed.content_length);
                check_written(&head.fields);
            }
        } else if let Ok(trailers) = read_trailers(&mut decoder, fragment, LIST) {
            assert!(trailers.len() <= LIMITS.fields_max && !trailers.contains("host"));
            assert!(bytes_of(&trailers) <= LIST_BYTES_MAX);
            check_written(&trailers);
        }
    }
});
