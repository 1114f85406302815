//! Adding numbers to the members of an object.

use serde_json::{Map, Number, Value};

use super::PatchError;

/// Adds each number to the member of its name (0 where there is none); null removes the member.
///
/// Integers stay integers, exactly; a sum with a fraction in it is a double.
pub(super) fn apply(value: &mut Value, members: Map<String, Value>) -> Result<(), PatchError> {
    let Value::Object(stored) = value else {
        return Err(PatchError::Conflict {
            reason: "the value is not an object".to_owned(),
        });
    };
    for (member, by) in members {
        match by {
            Value::Number(by) => {
                let sum = match stored.get(&member) {
                    None => by,
                    Some(Value::Number(number)) => {
                        add(number, &by).ok_or_else(|| PatchError::Range {
                            member: member.clone(),
                        })?
                    }
                    Some(_) => {
                        return Err(PatchError::Conflict {
                            reason: format!("{member:?} is not a number"),
                        });
                    }
                };
                stored.insert(member, Value::Number(sum));
            }
            _ => {
                stored.shift_remove(&member);
            }
        }
    }
    Ok(())
}

fn add(a: &Number, b: &Number) -> Option<Number> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Number::from_i128(a.checked_add(b)?),
        _ => Number::from_f64(a.as_f64()? + b.as_f64()?),
    }
}
