//! Integers of HPACK (RFC 7541 §5.1).

/// More bytes than a number of 28 bits behind a prefix needs: nothing here is that large.
const CONTINUATIONS_MAX: u32 = 4;

/// Reads the number whose first byte is at the front of `bytes`, in its low `prefix` bits; takes it off.
pub(super) fn read_integer(bytes: &mut &[u8], prefix: u32) -> Option<usize> {
    let (first, mut rest) = bytes.split_first()?;
    let mask = (1_u32 << prefix) - 1;
    let mut value = u32::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, behind) = rest.split_first()?;
            rest = behind;
            value += u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift == CONTINUATIONS_MAX * 7 {
                return None;
            }
        }
    }
    *bytes = rest;
    Some(value as usize)
}

/// Writes a number behind the high bits of `first`, in the low `prefix` bits.
pub(in super::super) fn write_integer(out: &mut Vec<u8>, first: u8, prefix: u32, mut value: usize) {
    let mask = (1_usize << prefix) - 1;
    if value < mask {
        out.push(first | value as u8);
        return;
    }
    out.push(first | mask as u8);
    value -= mask;
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], prefix: u32, expected: Option<usize>) {
        let mut rest = bytes;
        assert_eq!(read_integer(&mut rest, prefix), expected, "{bytes:x?}");
        if let Some(value) = expected {
            assert!(rest.is_empty());
            let mut written = Vec::new();
            write_integer(&mut written, 0, prefix, value);
            let mut rest = &written[..];
            assert_eq!(read_integer(&mut rest, prefix), expected);
            assert!(written.len() <= bytes.len());
        }
    }

    #[test]
    fn integers_of_the_appendix_are_read_and_written() {
        // RFC 7541, C.1.1 to C.1.3.
        check(&[0xea], 5, Some(10));
        check(&[0x1f, 0x9a, 0x0a], 5, Some(1337));
        check(&[42], 8, Some(42));
    }

    #[test]
    fn integers_have_an_end_and_a_limit() {
        check(&[], 7, None);
        check(&[0x7f], 7, None);
        check(&[0x7f, 0x80], 7, None);
        check(&[0x7f, 0x80, 0x80, 0x00], 7, Some(127));
        check(
            &[0x7f, 0xff, 0xff, 0xff, 0x7f],
            7,
            Some((1 << 28) - 1 + 127),
        );
        check(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x00], 7, None);
        check(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 7, None);
    }
}
