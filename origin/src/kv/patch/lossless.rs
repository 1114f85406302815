//! Which JSON numbers survive being read and written.
//!
//! Numbers are kept as 64-bit integers or doubles. A document with one that does not
//! fit would come back changed in a place the patch never named, so it is refused.

/// Significant digits that a double always keeps when its shortest form is written.
const DOUBLE_DIGITS: usize = 17;

/// Whether each number of a valid JSON text can be kept.
pub(super) fn keeps_its_numbers(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(&byte) = rest.first() {
        match byte {
            b'"' => rest = after_string(&rest[1..]),
            b'-' | b'0'..=b'9' => {
                let end = rest
                    .iter()
                    .position(|byte| {
                        !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                    })
                    .unwrap_or(rest.len());
                if !is_kept(&rest[..end]) {
                    return false;
                }
                rest = &rest[end..];
            }
            _ => rest = &rest[1..],
        }
    }
    true
}

fn after_string(mut rest: &[u8]) -> &[u8] {
    loop {
        match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] => rest = after,
            [_, after @ ..] => rest = after,
            [] => return rest,
        }
    }
}

fn is_kept(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else {
        return false;
    };
    if !text.contains(['.', 'e', 'E']) {
        return text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
    }
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    let Ok(double) = text.parse::<f64>() else {
        return false;
    };
    significant <= DOUBLE_DIGITS && double.is_finite() && (double != 0.0 || significant == 0)
}
