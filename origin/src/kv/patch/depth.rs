//! How deep a value may be nested.
//!
//! What is parsed is at most [`DEPTH_MAX`] deep. Operations can put such values into each
//! other, and a value is written, copied and dropped by recursion: one that is too deep
//! would overflow the stack, which ends the process.

use json_patch::PatchOperation;
use serde_json::Value;

/// Arrays and objects within each other; `serde_json` reads no deeper ones.
const DEPTH_MAX: usize = 127;
/// How often a patch may have depths counted, because counting looks through all of a value.
const COUNTS_MAX: usize = 1_000;

/// An upper bound of a value's depth, kept up while operations change the value.
#[derive(Debug)]
pub(super) struct DepthBound {
    at_most: usize,
    counts_left: usize,
}

impl DepthBound {
    /// The bound of a value that was just parsed.
    pub(super) fn new() -> Self {
        Self {
            at_most: DEPTH_MAX,
            counts_left: COUNTS_MAX,
        }
    }

    /// Whether `value` stays shallow enough under the operation.
    pub(super) fn admits(&mut self, value: &Value, operation: &PatchOperation) -> bool {
        let (path, from) = match operation {
            PatchOperation::Add(add) => return self.puts(add.path.as_str(), &add.value),
            PatchOperation::Replace(replace) => {
                return self.puts(replace.path.as_str(), &replace.value);
            }
            PatchOperation::Move(moved) => (moved.path.as_str(), moved.from.as_str()),
            PatchOperation::Copy(copy) => (copy.path.as_str(), copy.from.as_str()),
            PatchOperation::Remove(_) | PatchOperation::Test(_) => return true,
        };
        let down = tokens(path).saturating_sub(tokens(from));
        if self.at_most + down > DEPTH_MAX {
            // The bound may be far above the truth by now.
            let Some(counted) = self.count(value) else {
                return false;
            };
            self.at_most = counted;
        }
        if self.at_most + down <= DEPTH_MAX {
            self.at_most += down;
            return true;
        }
        // The value is deep, but maybe not in the part that goes down.
        match value.pointer(from) {
            Some(part) => match self.count(part) {
                Some(counted) => self.reaches(tokens(path) + counted),
                None => false,
            },
            // Nothing is there: the operation fails by itself.
            None => true,
        }
    }

    fn puts(&mut self, path: &str, value: &Value) -> bool {
        self.reaches(tokens(path) + depth(value))
    }

    fn reaches(&mut self, depth: usize) -> bool {
        self.at_most = self.at_most.max(depth);
        depth <= DEPTH_MAX
    }

    fn count(&mut self, value: &Value) -> Option<usize> {
        self.counts_left = self.counts_left.checked_sub(1)?;
        Some(depth(value))
    }
}

fn tokens(pointer: &str) -> usize {
    pointer.bytes().filter(|byte| *byte == b'/').count()
}

/// Recursive, which [`DEPTH_MAX`] allows.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(members) => members.values().map(depth).max(),
        _ => return 0,
    };
    1 + deepest.unwrap_or(0)
}
