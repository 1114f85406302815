//! A response head that is accepted, written and read again is the same head. The first byte chooses the method.
#![no_main]

use fuzz::http::Method;
use fuzz::http1::{BodyFraming, SentFraming, parse_response, write_response_head};
use fuzz::{LIMITS, end_to_end};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let method =
        [Method::Get, Method::Head, Method::Connect, Method::Post][usize::from(choice % 4)].clone();
    let whole = parse_response(bytes, &LIMITS, &method);
    let half = parse_response(&bytes[..bytes.len() / 2], &LIMITS, &method);
    match (&half, &whole) {
        (Err(_), Ok(_)) => panic!("refused in part and accepted whole"),
        (Ok(Some(half)), Ok(Some(whole))) => assert_eq!(half.consumed, whole.consumed),
        (Ok(Some(_)), _) => panic!("accepted in part and not whole"),
        _ => {}
    }
    let Ok(Some(parsed)) = whole else {
        return;
    };
    assert!(parsed.consumed <= bytes.len());
    assert!((100..=999).contains(&parsed.head.status));
    let framing = match parsed.framing {
        BodyFraming::Length(length) => SentFraming::Length(length),
        BodyFraming::Chunked => SentFraming::Chunked,
        BodyFraming::Empty | BodyFraming::UntilClose => SentFraming::Nothing,
    };
    let mut written = Vec::new();
    write_response_head(&mut written, &parsed.head, framing);
    let mut limits = LIMITS;
    // A reason that is not UTF-8 grows: each such byte becomes three.
    limits.head_bytes_max *= 4;
    limits.fields_max += 2;
    let again = parse_response(&written, &limits, &method)
        .expect("what is written is sound")
        .expect("and complete");
    assert_eq!(again.consumed, written.len());
    assert_eq!(again.framing, parsed.framing);
    assert_eq!(again.head.status, parsed.head.status);
    assert_eq!(again.head.reason, parsed.head.reason);
    assert_eq!(
        end_to_end(&again.head.fields),
        end_to_end(&parsed.head.fields)
    );
});
