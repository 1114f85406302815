//! A date that is read is one that can be written, and reads as the same; in any case, and with nothing around it.
#![no_main]

use fuzz::rules::date::{format_http_date, parse_http_date};
use fuzz::time::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Some(moment) = parse_http_date(text) {
        // Its last second may be a leap second, and the year after that has five digits.
        if moment.as_secs() <= 253_402_300_799 {
            assert_eq!(parse_http_date(&format_http_date(moment)), Some(moment));
        }
        assert_eq!(parse_http_date(&text.to_ascii_lowercase()), Some(moment));
        assert_eq!(parse_http_date(&text.to_ascii_uppercase()), Some(moment));
        assert!((24..=33).contains(&text.len()));
        assert_eq!(parse_http_date(&[text, b" "].concat()), None);
        assert_eq!(parse_http_date(&[b" ", text].concat()), None);
    }
    if let Some(seconds) = text.first_chunk() {
        let seconds = u64::from_le_bytes(*seconds) % 253_402_300_800;
        let moment = Timestamp::from_secs(seconds);
        assert_eq!(parse_http_date(&format_http_date(moment)), Some(moment));
    }
});
