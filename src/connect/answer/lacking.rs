//! Whether a result has what its schema requires. Pure.
//!
//! Not a validation: providers add fields, and give a number as a text here and there. What is required and absent is another thing, because
//! whoever goes on with the result goes on with nothing.

use serde_json::Value;

/// The pointer of the first thing that `schema` requires and `value` lacks.
pub(super) fn lacking(schema: &Value, value: &Value) -> Option<String> {
    if value.is_null() && schema["required"].as_array().is_none_or(Vec::is_empty) {
        // An answer without a body, of which nothing is wanted.
        return None;
    }
    let mut at = String::new();
    find(schema, value, &mut at).then_some(at)
}

/// Leaves the pointer in `at` if something is lacking.
fn find(schema: &Value, value: &Value, at: &mut String) -> bool {
    if !allows(schema, value) {
        return true;
    }
    match value {
        Value::Object(fields) => {
            let required = schema["required"].as_array().into_iter().flatten();
            for name in required.filter_map(Value::as_str) {
                let of_field = &schema["properties"][name];
                let is_there = match fields.get(name) {
                    None => false,
                    // A field of which nothing is said may be null.
                    Some(Value::Null) => allows(of_field, &Value::Null),
                    Some(_) => true,
                };
                if !is_there {
                    push(at, name);
                    return true;
                }
            }
            let properties = schema["properties"].as_object().into_iter().flatten();
            for (name, of_field) in properties {
                let Some(one) = fields.get(name).filter(|one| !one.is_null()) else {
                    continue;
                };
                if down(of_field, one, at, name) {
                    return true;
                }
            }
            false
        }
        Value::Array(items) => {
            let of_item = &schema["items"];
            let mut items = items.iter().enumerate();
            of_item.is_object()
                && items.any(|(place, one)| down(of_item, one, at, &place.to_string()))
        }
        _ => false,
    }
}

fn down(schema: &Value, value: &Value, at: &mut String, name: &str) -> bool {
    let before = at.len();
    push(at, name);
    let found = find(schema, value, at);
    if !found {
        at.truncate(before);
    }
    found
}

fn push(at: &mut String, name: &str) {
    at.push('/');
    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Whether a value can be what the schema says, as far as lists, objects and nothing at all are told apart.
fn allows(schema: &Value, value: &Value) -> bool {
    let is_any = |known: &[&str]| match &schema["type"] {
        Value::String(kind) => known.contains(&kind.as_str()),
        Value::Array(kinds) => kinds
            .iter()
            .filter_map(Value::as_str)
            .any(|kind| known.contains(&kind)),
        _ => true,
    };
    match value {
        Value::Null => is_any(&["null"]),
        Value::Array(_) => is_any(&["array"]),
        Value::Object(_) => is_any(&["object"]),
        _ => is_any(&["string", "number", "integer", "boolean", "null"]),
    }
}
