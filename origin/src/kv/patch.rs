//! Patch documents: what a PATCH makes of a stored JSON value.
//!
//! Pure: bytes and bytes in, bytes out. Who reads, writes and retries is the
//! handlers' and the store's affair.

mod depth;
mod increment;
mod lossless;

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use depth::DepthBound;

/// Most operations in one JSON patch document.
const OPERATIONS_MAX: usize = 10_000;

/// The kinds of patch documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// `application/merge-patch+json` (RFC 7396).
    Merge,
    /// `application/json-patch+json` (RFC 6902).
    Operations,
    /// `application/vnd.lacquer.increment+json`: an object of numbers to add; null removes.
    Increment,
}

/// Why a patch was not applied. The texts may be shown to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch document is not what its media type promises.
    #[error("the patch document is not valid: {reason}")]
    Document {
        /// What is wrong with it.
        reason: String,
    },
    /// The stored value is not JSON, or JSON that cannot be written back unchanged.
    #[error("the stored value cannot be patched: {reason}")]
    Stored {
        /// What is in the way.
        reason: String,
    },
    /// The document is fine and does not fit the stored value: a failed `test`, a path that is not there.
    #[error("the patch does not fit the stored value: {reason}")]
    Conflict {
        /// What does not fit.
        reason: String,
    },
    /// The sum of an increment cannot be expressed.
    #[error("the sum for {member:?} is out of range")]
    Range {
        /// The member of the object.
        member: String,
    },
    /// The result, or the way to it, is larger than a value may be.
    #[error("the patched value would be larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: usize,
    },
}

/// Applies a patch document to a stored JSON value; the result is compact JSON of at most `bytes_max`.
pub fn apply_patch(
    format: PatchFormat,
    stored: &[u8],
    patch: &[u8],
    bytes_max: usize,
) -> Result<Vec<u8>, PatchError> {
    let patch = Document::parse(format, patch)?;
    let mut value: Value = serde_json::from_slice(stored).map_err(|_| PatchError::Stored {
        reason: "it is not JSON".to_owned(),
    })?;
    if !lossless::keeps_its_numbers(stored) {
        return Err(PatchError::Stored {
            reason: "it holds a number that neither 64-bit integers nor doubles can keep"
                .to_owned(),
        });
    }
    match patch {
        Document::Merge(patch) => json_patch::merge(&mut value, &patch),
        Document::Operations(operations) => apply_operations(&mut value, &operations, bytes_max)?,
        Document::Increment(members) => increment::apply(&mut value, members)?,
    }
    let patched = serde_json::to_vec(&value).map_err(|error| PatchError::Conflict {
        reason: error.to_string(),
    })?;
    if patched.len() > bytes_max {
        return Err(PatchError::TooLarge { bytes_max });
    }
    Ok(patched)
}

enum Document {
    Merge(Value),
    Operations(Vec<PatchOperation>),
    Increment(serde_json::Map<String, Value>),
}

impl Document {
    fn parse(format: PatchFormat, patch: &[u8]) -> Result<Self, PatchError> {
        let invalid = |reason: String| PatchError::Document { reason };
        let value: Value =
            serde_json::from_slice(patch).map_err(|error| invalid(error.to_string()))?;
        if !lossless::keeps_its_numbers(patch) {
            return Err(invalid(
                "a number is beyond 64-bit integers and doubles".to_owned(),
            ));
        }
        match format {
            PatchFormat::Merge => Ok(Self::Merge(value)),
            PatchFormat::Operations => {
                let patch: json_patch::Patch =
                    serde_json::from_value(value).map_err(|error| invalid(error.to_string()))?;
                if patch.0.len() > OPERATIONS_MAX {
                    return Err(invalid(format!(
                        "it has more than {OPERATIONS_MAX} operations"
                    )));
                }
                Ok(Self::Operations(patch.0))
            }
            PatchFormat::Increment => match value {
                Value::Object(members) => match members
                    .iter()
                    .find(|(_, by)| !by.is_number() && !by.is_null())
                {
                    None => Ok(Self::Increment(members)),
                    Some((member, _)) => {
                        Err(invalid(format!("{member:?} is neither a number nor null")))
                    }
                },
                _ => Err(invalid("it is not an object".to_owned())),
            },
        }
    }
}

/// Applies one operation after the other. A `copy` may double the value each time, in size
/// and in depth, so both are counted before they happen.
fn apply_operations(
    value: &mut Value,
    operations: &[PatchOperation],
    bytes_max: usize,
) -> Result<(), PatchError> {
    let mut copied_bytes = 0_usize;
    let mut depth = DepthBound::new();
    for (number, operation) in operations.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation
            && let Some(source) = value.pointer(copy.from.as_str())
        {
            copied_bytes = copied_bytes.saturating_add(json_bytes(source));
            if copied_bytes > bytes_max {
                return Err(PatchError::TooLarge { bytes_max });
            }
        }
        let conflict = |what: &str| PatchError::Conflict {
            reason: format!(
                "operation {number} at {:?}: {what}",
                operation.path().as_str()
            ),
        };
        if !depth.admits(value, operation) {
            return Err(conflict("the value would be nested too deeply"));
        }
        // The value is our own copy and dropped on an error, so nothing has to be undone.
        json_patch::patch_unsafe(value, std::slice::from_ref(operation)).map_err(|error| {
            let what = match error.kind {
                PatchErrorKind::TestFailed => "test failed",
                PatchErrorKind::InvalidFromPointer => "there is nothing at \"from\"",
                PatchErrorKind::InvalidPointer => "there is no such path",
                PatchErrorKind::CannotMoveInsideItself => "a value cannot move into itself",
                _ => "it cannot be applied",
            };
            conflict(what)
        })?;
    }
    Ok(())
}

/// Size of a value as compact JSON, without writing it.
fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value)
        .expect("a JSON value has string keys, and counting does not fail");
    count.0
}

#[cfg(test)]
mod tests;
