//! Values that must not reach a log.

use std::convert::Infallible;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use toml::de::DeValue;

use super::leaf::{Leaf, Refusal};

/// A text that is used but never shown: neither `Debug` nor an error message contains it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Reads a file that holds the secret alone; white space around it is dropped.
    pub fn from_file(path: &Path) -> std::io::Result<Secret> {
        let text = crate::reader::read_bounded(path)?;
        match text.trim() {
            "" => Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                "the file is empty",
            )),
            text => Ok(Secret::new(text)),
        }
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Secret, Infallible> {
        Ok(Secret::new(text))
    }
}

impl Leaf for Secret {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_toml(value: &DeValue<'_>) -> Result<Self, Refusal> {
        value
            .as_str()
            .map(Secret::new)
            .ok_or_else(|| Refusal::wrong_kind::<Self>(value))
    }

    fn to_toml(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_secret() {
        let secret = Secret::new("postgresql://user:hunter2@host/db");
        assert!(!format!("{secret:?} {:#?}", Some(&secret)).contains("hunter2"));
        assert_eq!(secret.expose(), "postgresql://user:hunter2@host/db");
    }
}
