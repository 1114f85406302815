//! Types of single settings: each reads itself from text and refuses what it could not mean.
//!
//! Text becomes a value through `FromStr`, for the file and the command line alike; [`leaf`] adds what TOML has besides text.

mod address;
mod byte_size;
mod choice;
mod duration;
mod leaf;
mod secret;
mod text;

use std::borrow::Cow;

pub(crate) use choice::{choice, one_of};
pub(crate) use leaf::{Leaf, Refusal, quoted, string_leaf};

pub use address::{BackendAddress, HostPort, ListenAddress};
pub use byte_size::ByteSize;
pub use leaf::Fraction;
pub use secret::Secret;
pub(crate) use text::known;

pub use text::{DirectoryName, FieldText, HostName, Token, UrlPath};

/// A text that is not what a setting or an argument takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}{}", did_you_mean(.suggestion))]
pub struct ValueError {
    /// The text, cut to a readable length.
    pub found: String,
    /// What would have been right, with an example.
    pub expected: Cow<'static, str>,
    /// The nearest right spelling, where there is a list to choose from.
    pub suggestion: Option<&'static str>,
}

impl ValueError {
    pub(crate) fn new(found: &str, expected: impl Into<Cow<'static, str>>) -> ValueError {
        ValueError {
            found: shortened(found),
            expected: expected.into(),
            suggestion: None,
        }
    }
}

fn did_you_mean(suggestion: &Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean {name:?}?"))
}

/// A text as a message may carry it: at most 80 characters.
pub(crate) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    if text.chars().count() <= CHARACTERS_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    short.push('…');
    short
}
