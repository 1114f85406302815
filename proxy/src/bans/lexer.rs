//! Words of a ban expression, with their places, and the errors that point at them.

/// Longest expression accepted, in bytes. A ban is typed or built from one URL; what is longer is a mistake,
/// and each listed ban keeps its text.
pub(super) const EXPRESSION_BYTES_MAX: usize = 8 * 1024;

/// Why a ban expression was not understood. Positions are byte offsets from 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanSyntaxError {
    /// Something else stood where `expected` should.
    #[error("at byte {position}: expected {expected}, found {found:?}")]
    Unexpected {
        position: usize,
        expected: String,
        found: String,
    },
    /// The text ended where `expected` should stand.
    #[error("at byte {position}: expected {expected}, found the end")]
    End { position: usize, expected: String },
    /// The regular expression does not compile, or would grow beyond what one ban may cost.
    #[error("at byte {position}: expected a regular expression: {reason}")]
    Regex { position: usize, reason: String },
    /// The whole is longer than any ban may be.
    #[error("expected at most {max} bytes, found {bytes}")]
    TooLong { bytes: usize, max: usize },
}

/// One word: its text with quotes taken off, and where it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    pub(super) position: usize,
    pub(super) quoting: Quoting,
}

/// Whether a word stood in quotes: a quoted `&&` is an argument, a bare one joins conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quoting {
    Bare,
    Quoted,
}

/// Splits at white space. A word that begins with `"` runs to the next `"` that is not escaped by a backslash;
/// every other backslash is kept, since regular expressions are full of them.
pub(super) fn words(text: &str) -> Result<Vec<Word>, BanSyntaxError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(BanSyntaxError::TooLong {
            bytes: text.len(),
            max: EXPRESSION_BYTES_MAX,
        });
    }
    let mut words = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let position = text.len() - rest.len();
        let word = match rest.strip_prefix('"') {
            Some(body) => quoted(body, position)?,
            None => bare(rest, position)?,
        };
        let (word, after) = word;
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

fn bare(rest: &str, position: usize) -> Result<(Word, &str), BanSyntaxError> {
    let end = rest
        .find(|letter: char| letter.is_ascii_whitespace())
        .unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    refuse_controls(word, position)?;
    let word = Word {
        text: word.to_owned(),
        position,
        quoting: Quoting::Bare,
    };
    Ok((word, after))
}

/// `body` starts behind the opening quote, which stands at `position`.
fn quoted(body: &str, position: usize) -> Result<(Word, &str), BanSyntaxError> {
    let mut text = String::new();
    let mut letters = body.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => {
                let after = &body[at + 1..];
                if let Some(next) = after.chars().next()
                    && !next.is_ascii_whitespace()
                {
                    return Err(BanSyntaxError::Unexpected {
                        position: position + 1 + at + 1,
                        expected: "white space after a closing quote".to_owned(),
                        found: next.to_string(),
                    });
                }
                refuse_controls(&text, position + 1)?;
                let word = Word {
                    text,
                    position,
                    quoting: Quoting::Quoted,
                };
                return Ok((word, after));
            }
            '\\' => match letters.next() {
                Some((_, '"')) => text.push('"'),
                Some((_, other)) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            other => text.push(other),
        }
    }
    Err(BanSyntaxError::End {
        position: position + 1 + body.len(),
        expected: "a closing quote".to_owned(),
    })
}

/// Control characters can match no field or URL that was let in, and would garble listings and logs.
fn refuse_controls(text: &str, position: usize) -> Result<(), BanSyntaxError> {
    match text.char_indices().find(|(_, letter)| letter.is_control()) {
        None => Ok(()),
        Some((at, letter)) => Err(BanSyntaxError::Unexpected {
            position: position + at,
            expected: "no control character".to_owned(),
            found: letter.to_string(),
        }),
    }
}

/// The word as it may be typed again: quoted where it has to be.
pub(super) fn quote(text: &str) -> String {
    let plain = !text.is_empty()
        && text != "&&"
        && !text.starts_with('"')
        && !text.contains(|letter: char| letter.is_ascii_whitespace());
    match plain {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('"', "\\\"")),
    }
}
