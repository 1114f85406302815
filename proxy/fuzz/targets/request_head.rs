//! A request head that is accepted, written and read again is the same head; what is refused is refused at once.
#![no_main]

use fuzz::http::Scheme;
use fuzz::http1::{BodyFraming, SentFraming, parse_request, write_request_head};
use fuzz::{LIMITS, end_to_end};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse_request(bytes, &LIMITS, Scheme::Http);
    // A head does not depend on how its bytes arrive: what a beginning is refused for, more bytes do not mend.
    let half = parse_request(&bytes[..bytes.len() / 2], &LIMITS, Scheme::Http);
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
    assert_ne!(parsed.framing, BodyFraming::UntilClose);
    if parsed.head.authority.is_empty() {
        // HTTP/1.0 without Host: the front door answers it itself.
        return;
    }
    let framing = match parsed.framing {
        BodyFraming::Length(length) => SentFraming::Length(length),
        BodyFraming::Chunked => SentFraming::Chunked,
        BodyFraming::Empty | BodyFraming::UntilClose => SentFraming::Nothing,
    };
    let mut written = Vec::new();
    write_request_head(&mut written, &parsed.head, framing);
    let mut limits = LIMITS;
    limits.head_bytes_max *= 2;
    limits.fields_max += 2;
    limits.target_bytes_max += 1;
    let again = parse_request(&written, &limits, Scheme::Http)
        .expect("what is written is sound")
        .expect("and complete");
    assert_eq!(again.consumed, written.len());
    assert_eq!(again.framing, parsed.framing);
    assert_eq!(again.head.method, parsed.head.method);
    assert_eq!(again.head.target, parsed.head.target);
    assert_eq!(again.head.authority, parsed.head.authority);
    assert_eq!(
        end_to_end(&again.head.fields),
        end_to_end(&parsed.head.fields)
    );
});
