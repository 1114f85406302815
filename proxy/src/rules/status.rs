//! What caching rules know about status codes.

/// Whether an answer without explicit freshness may be given a heuristic one (RFC 9110 §15.1).
pub fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// 400, 413 and 431: the origin could not or would not read the message, so its answer says nothing about the
/// target (RFC 9110 §15.5.1, §15.5.14; RFC 6585 §5). Of 414 the target itself is the cause, and that is in the key.
pub fn is_about_the_message(status: u16) -> bool {
    matches!(status, 400 | 413 | 431)
}

/// Statuses about one client or one network, whose own text forbids every cache to store them, whatever the
/// answer says (RFC 6585 §3 to §6).
pub fn is_never_stored(status: u16) -> bool {
    matches!(status, 428 | 429 | 431 | 511)
}

/// Whether the caching requirements of a status are known and met here, which is what must-understand
/// asks (RFC 9111 §5.2.2.3). 206 and 304 have requirements of their own and are decided before this,
/// as are those of [`is_never_stored`].
pub fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200..=205 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 451 | 500..=505
    )
}

/// An answer that tells of success or of another place (RFC 9111 §4.4: "non-error").
pub fn is_non_error(status: u16) -> bool {
    (200..400).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_classed() {
        /// Heuristically cacheable, understood, non-error.
        fn check(status: u16, expected: [bool; 3]) {
            assert_eq!(
                [
                    is_heuristically_cacheable(status),
                    is_understood(status),
                    is_non_error(status)
                ],
                expected,
                "{status}"
            );
        }
        check(100, [false, false, false]);
        check(200, [true, true, true]);
        check(201, [false, true, true]);
        check(299, [false, false, true]);
        check(302, [false, true, true]);
        check(308, [true, true, true]);
        check(399, [false, false, true]);
        check(404, [true, true, false]);
        check(499, [false, false, false]);
        check(429, [false, false, false]);
        check(501, [true, true, false]);
        check(503, [false, true, false]);
        check(599, [false, false, false]);
    }
}
