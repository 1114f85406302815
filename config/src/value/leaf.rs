//! Single values in TOML: reading one, and writing one for the reference.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use ipnet::IpNet;
use toml::de::DeValue;

use super::{ValueError, shortened};

/// A setting that is one value, or a list of such.
pub(crate) trait Leaf: Sized {
    /// What the setting takes, as it ends the sentence "must be …".
    fn expected() -> String;

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal>;

    /// The value as TOML text; `None` when it is absent (or secret), which TOML cannot say.
    fn to_toml(&self) -> Option<String>;
}

/// Why a value was refused.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) found: String,
    pub(crate) expected: String,
    pub(crate) suggestion: Option<&'static str>,
    /// Byte offset in the file, where the culprit is an element of a list.
    pub(crate) offset: Option<usize>,
}

impl Refusal {
    /// A value of another kind than `T` takes.
    pub(crate) fn wrong_kind<T: Leaf>(value: &DeValue<'_>) -> Refusal {
        Refusal::with_expected(value, T::expected())
    }

    pub(crate) fn with_expected(value: &DeValue<'_>, expected: String) -> Refusal {
        Refusal {
            found: found(value),
            expected,
            suggestion: None,
            offset: None,
        }
    }
}

impl From<ValueError> for Refusal {
    fn from(error: ValueError) -> Refusal {
        Refusal {
            found: quoted(&error.found),
            expected: error.expected.into_owned(),
            suggestion: error.suggestion,
            offset: None,
        }
    }
}

/// What stands in the file, as it ends the sentence "…, not".
fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(&shortened(text)),
        DeValue::Integer(number) => format!("the number {}", shortened(number.as_str())),
        DeValue::Float(number) => format!("the number {}", shortened(number.as_str())),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Text as a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if control.is_control() => {
                out.push_str(&format!("\\u{:04X}", u32::from(control)));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

/// Makes a type that reads itself from text and prints itself a [`Leaf`].
macro_rules! string_leaf {
    ($type:ty, $expected:expr) => {
        impl $crate::value::Leaf for $type {
            fn expected() -> String {
                $expected.into()
            }

            fn from_toml(value: &toml::de::DeValue<'_>) -> Result<Self, $crate::value::Refusal> {
                let Some(text) = value.as_str() else {
                    return Err($crate::value::Refusal::wrong_kind::<Self>(value));
                };
                Ok(text.parse::<Self>()?)
            }

            fn to_toml(&self) -> Option<String> {
                Some($crate::value::quoted(&self.to_string()))
            }
        }
    };
}
pub(crate) use string_leaf;

impl Leaf for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        value
            .as_bool()
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))
    }

    fn to_toml(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Whole numbers in any base TOML knows, within the type's range.
macro_rules! number_leaf {
    ($($type:ty, $expected:literal, $narrow:expr;)*) => {$(
        impl Leaf for $type {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
                value
                    .as_integer()
                    .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
                    .and_then($narrow)
                    .ok_or_else(|| Refusal::wrong_kind::<Self>(value))
            }

            fn to_toml(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

number_leaf! {
    u16, "a whole number from 0 to 65535", |number| u16::try_from(number).ok();
    u32, "a whole number from 0 to 4294967295", |number| u32::try_from(number).ok();
    usize, "a whole number, 0 or more", |number| usize::try_from(number).ok();
    NonZeroU32, "a whole number from 1 to 4294967295",
        |number| u32::try_from(number).ok().and_then(NonZeroU32::new);
    NonZeroUsize, "a whole number, 1 or more",
        |number| usize::try_from(number).ok().and_then(NonZeroUsize::new);
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// `None` when the number is not from 0 to 1.
    pub fn new(number: f64) -> Option<Fraction> {
        (0.0..=1.0).contains(&number).then_some(Fraction(number))
    }

    pub fn get(self) -> f64 {
        self.0
    }
}

impl Leaf for Fraction {
    fn expected() -> String {
        "a number from 0 to 1, such as 0.1".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let text = match value {
            DeValue::Integer(number) => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => return Err(Refusal::wrong_kind::<Self>(value)),
        };
        text.parse()
            .ok()
            .and_then(Fraction::new)
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))
    }

    fn to_toml(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

/// Any text but an empty one. A default may be empty: it stands for a setting that must be given.
impl Leaf for PathBuf {
    fn expected() -> String {
        "the path of a file, as text".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some(text) if !text.is_empty() && !text.contains('\0') => Ok(PathBuf::from(text)),
            _ => Err(Refusal::wrong_kind::<Self>(value)),
        }
    }

    fn to_toml(&self) -> Option<String> {
        self.to_str().filter(|path| !path.is_empty()).map(quoted)
    }
}

impl Leaf for SocketAddr {
    fn expected() -> String {
        SOCKET_ADDRESS.to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let text = value
            .as_str()
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))?;
        Ok(socket_address(text)?)
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

const SOCKET_ADDRESS: &str =
    "an IP address and a port, such as \"127.0.0.1:8081\", or \":8081\" for all addresses";

/// Reads `127.0.0.1:80`, `[::1]:80`, or `:80` for all addresses of both families.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, ValueError> {
    let parsed = match text.strip_prefix(':') {
        Some(port) => port
            .parse()
            .ok()
            .map(|port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| ValueError::new(text, SOCKET_ADDRESS))
}

/// A network, or a single address for the network of it alone.
impl Leaf for IpNet {
    fn expected() -> String {
        "a network or an address, such as \"10.0.0.0/8\" or \"::1\"".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        value
            .as_str()
            .and_then(|text| {
                let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
                text.parse().ok().or_else(address)
            })
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))
    }

    fn to_toml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// A setting whose absence means something. Empty text says "absent" aloud, for settings that have a value by default.
impl<T: Leaf> Leaf for Option<T> {
    fn expected() -> String {
        format!("{}, or \"\" for none", T::expected())
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        match value.as_str() {
            Some("") => Ok(None),
            _ => T::from_toml(value).map(Some),
        }
    }

    fn to_toml(&self) -> Option<String> {
        self.as_ref().and_then(T::to_toml)
    }
}

impl<T: Leaf> Leaf for Vec<T> {
    fn expected() -> String {
        format!("a list in brackets, each of them {}", T::expected())
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        let list = value
            .as_array()
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))?;
        list.iter()
            .map(|element| {
                T::from_toml(element.get_ref()).map_err(|refusal| Refusal {
                    offset: Some(element.span().start),
                    ..refusal
                })
            })
            .collect()
    }

    fn to_toml(&self) -> Option<String> {
        let elements: Vec<String> = self.iter().filter_map(T::to_toml).collect();
        Some(format!("[{}]", elements.join(", ")))
    }
}
