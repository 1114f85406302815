//! The Date field (RFC 9110 §6.6.1), formatted once a second.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use crate::time::Timestamp;

/// Bytes of an IMF-fixdate, as in `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) const DATE_BYTES: usize = 29;

thread_local! {
    static CACHED: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [0; DATE_BYTES])) };
}

/// The present time as Date carries it.
pub(super) fn http_date() -> [u8; DATE_BYTES] {
    let now = Timestamp::now().as_secs();
    let (second, text) = CACHED.get();
    if second == now {
        return text;
    }
    let text = format(now);
    CACHED.set((now, text));
    text
}

fn format(second: u64) -> [u8; DATE_BYTES] {
    let time = UNIX_EPOCH + Duration::from_secs(second);
    let mut text = [b' '; DATE_BYTES];
    let formatted = httpdate::fmt_http_date(time);
    if formatted.len() == DATE_BYTES {
        text.copy_from_slice(formatted.as_bytes());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdate() {
        assert_eq!(&format(784_111_777), b"Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            httpdate::parse_http_date(std::str::from_utf8(&http_date()).expect("ascii"))
                .map(Timestamp::from)
                .expect("a date")
                .since(Timestamp::now()),
            Duration::ZERO
        );
    }
}
