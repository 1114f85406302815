//! Ranges that are asked for lie inside the content, do not overlap, and are no more than allowed.
//! The first two bytes are the content's length and the number allowed; the rest is lines of fields.
#![no_main]

use fuzz::rules::range::{Multipart, RangeRequest, requested_range};
use fuzz::{answer, fields, get};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [length, allowed, text @ ..] = input else {
        return;
    };
    // Now and then more than a body can have.
    let complete_len = match length {
        255 => u64::MAX,
        length => u64::from(*length),
    };
    let ranges_max = usize::from(allowed % 16);
    let request = get(fields(text));
    let stored = answer(
        200,
        fields(
            b"ETag: \"a\"\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\nContent-Type: text/plain",
        ),
    );
    let outcome = requested_range(&request, &stored, Some(complete_len), ranges_max);
    let unknown = requested_range(&request, &stored, None, ranges_max);
    if unknown == RangeRequest::Whole {
        assert_eq!(outcome, RangeRequest::Whole);
    } else {
        assert_eq!(unknown, RangeRequest::NeedsLength);
    }
    assert!(request.fields.contains("range") || outcome == RangeRequest::Whole);
    match outcome {
        RangeRequest::Whole | RangeRequest::Unsatisfiable => {}
        RangeRequest::NeedsLength => panic!("the length is known"),
        RangeRequest::Single(part) => assert!(part.start < part.end && part.end <= complete_len),
        RangeRequest::Multiple(parts) => {
            assert!((2..=ranges_max).contains(&parts.len()));
            for (index, part) in parts.iter().enumerate() {
                assert!(part.start < part.end && part.end <= complete_len);
                for other in &parts[..index] {
                    assert!(part.end < other.start || other.end < part.start);
                }
            }
            let bytes: u64 = parts.iter().map(|part| part.end - part.start).sum();
            assert!(bytes <= complete_len);
            let count = parts.len();
            let multipart = Multipart::new(&stored, parts, complete_len, 1);
            let heads: u64 = (0..count)
                .map(|index| multipart.part_head(index).len() as u64)
                .sum();
            if let Some(least) = heads.checked_add(bytes) {
                assert!(multipart.content_len() >= least);
            }
        }
    }
});
