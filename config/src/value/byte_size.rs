//! Sizes in bytes.

use std::fmt;
use std::str::FromStr;

use toml::de::DeValue;

use super::leaf::{Leaf, Refusal, quoted};
use super::{ValueError, shortened};

const EXPECTED: &str = "a size in bytes, such as \"64MiB\", \"1GB\", \"512k\" or 4096";

/// A number of bytes: `512`, `"64MiB"`, `"1GB"`, `"512k"`.
///
/// `KiB`, `MiB`, `GiB`, `TiB` count in 1,024s, `kB`, `MB`, `GB`, `TB` in 1,000s, and Varnish's `k`, `m`, `g`, `t` in
/// 1,024s as they do there. Case does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    pub const fn new(bytes: u64) -> ByteSize {
        ByteSize(bytes)
    }

    /// Saturates.
    pub const fn kibibytes(kibibytes: u64) -> ByteSize {
        ByteSize(kibibytes.saturating_mul(1 << 10))
    }

    /// Saturates.
    pub const fn mebibytes(mebibytes: u64) -> ByteSize {
        ByteSize(mebibytes.saturating_mul(1 << 20))
    }

    /// Saturates.
    pub const fn gibibytes(gibibytes: u64) -> ByteSize {
        ByteSize(gibibytes.saturating_mul(1 << 30))
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as the machine counts what it has in memory; saturates on narrow machines.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Units by their lower-case names. The first that divides a size evenly prints it.
const UNITS: [(&str, u64); 13] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("t", 1 << 40),
    ("g", 1 << 30),
    ("m", 1 << 20),
    ("k", 1 << 10),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<ByteSize, ValueError> {
        let refuse = || ValueError::new(text, EXPECTED);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let unit = unit.trim_start();
        let factor = match unit {
            "" => 1,
            _ => UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
                .map(|(_, factor)| *factor)
                .ok_or_else(refuse)?,
        };
        number.checked_mul(factor).map(ByteSize).ok_or_else(refuse)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        match unit {
            Some((name, factor)) if *factor > 1 => write!(f, "{}{name}", self.0 / factor),
            _ => write!(f, "{}", self.0),
        }
    }
}

impl Leaf for ByteSize {
    fn expected() -> String {
        EXPECTED.to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value {
            DeValue::String(text) => Ok(text.parse()?),
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map(ByteSize)
                .map_err(|_| ValueError::new(&shortened(number.as_str()), EXPECTED).into()),
            _ => Err(Refusal::wrong_kind::<Self>(value)),
        }
    }

    fn to_toml(&self) -> Option<String> {
        let text = self.to_string();
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        Some(if plain { text } else { quoted(&text) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        let parsed = text.parse::<ByteSize>().ok();
        assert_eq!(parsed.map(ByteSize::bytes), expected, "{text:?}");
        if let Some(size) = parsed {
            assert_eq!(size.to_string().parse(), Ok(size), "{text:?} printed");
        }
    }

    #[test]
    fn sizes_have_binary_decimal_and_varnish_units() {
        check("0", Some(0));
        check("512", Some(512));
        check("7B", Some(7));
        check("64KiB", Some(65_536));
        check("64 kib", Some(65_536));
        check("64MiB", Some(67_108_864));
        check("2GiB", Some(2_147_483_648));
        check("1TiB", Some(1_099_511_627_776));
        check("3kB", Some(3_000));
        check("3KB", Some(3_000));
        check("1MB", Some(1_000_000));
        check("1GB", Some(1_000_000_000));
        check("256m", Some(268_435_456));
        check("1G", Some(1_073_741_824));
        check("10k", Some(10_240));
        check("18446744073709551615", Some(u64::MAX));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        check("", None);
        check("MiB", None);
        check("-1", None);
        check("1.5GiB", None);
        check("1MiB ", None);
        check(" 1MiB", None);
        check("1Mib/s", None);
        check("16777216TiB", None);
        check("18446744073709551616", None);
        check("１MiB", None);
    }

    #[test]
    fn sizes_print_in_the_largest_even_unit() {
        assert_eq!(ByteSize::mebibytes(256).to_string(), "256MiB");
        assert_eq!(ByteSize::gibibytes(1).to_string(), "1GiB");
        assert_eq!(ByteSize::kibibytes(96).to_string(), "96KiB");
        assert_eq!(ByteSize::new(5_000_000).to_string(), "5MB");
        assert_eq!(ByteSize::new(1_001).to_string(), "1001");
        assert_eq!(ByteSize::new(0).to_string(), "0");
    }
}
