//! Arguments that fit an input schema: its own examples, or the least that it asks for. For tests and for `lint`.

use super::AccountField;
use crate::connect::Account;
use serde_json::{Map, Value, json};

/// At least one.
pub(super) fn arguments(schema: &Value) -> Vec<Value> {
    match schema["examples"].as_array() {
        Some(examples) if !examples.is_empty() => examples.clone(),
        _ => vec![least(schema)],
    }
}

/// The least value of a schema. It knows what the catalog uses of JSON Schema, and no patterns: a schema with one has examples.
fn least(schema: &Value) -> Value {
    if let Some(fixed) = schema
        .get("const")
        .or_else(|| schema.get("default"))
        .or_else(|| schema["enum"].get(0))
        .or_else(|| schema["examples"].get(0))
    {
        return fixed.clone();
    }
    if let Some(choice) = schema["anyOf"].get(0).or_else(|| schema["oneOf"].get(0))
        && schema.get("type").is_none()
    {
        return least(choice);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten();
            let fields: Map<String, Value> = required
                .filter_map(Value::as_str)
                .map(|name| (name.to_owned(), least(&schema["properties"][name])))
                .collect();
            Value::Object(fields)
        }
        Some("array") => {
            let length = schema["minItems"].as_u64().unwrap_or(0);
            (0..length).map(|_| least(&schema["items"])).collect()
        }
        Some("integer" | "number") => {
            let above = schema["exclusiveMinimum"].as_f64().map(|least| least + 1.0);
            match above.or(schema["minimum"].as_f64()) {
                Some(least) => json!(least.ceil() as i64),
                None => json!(1),
            }
        }
        Some("boolean") => json!(true),
        Some("string") => text(schema).into(),
        _ => json!("x"),
    }
}

fn text(schema: &Value) -> String {
    // A mail address fits wherever a text of some length is asked for.
    let address = "ann@example.org";
    let length = schema["minLength"].as_u64().unwrap_or(1) as usize;
    let longest = schema["maxLength"].as_u64().unwrap_or(u64::MAX) as usize;
    if (length..=longest).contains(&address.len()) {
        address.into()
    } else {
        "x".repeat(length.max(1))
    }
}

/// An account that has every field.
pub(super) fn account(fields: &[AccountField]) -> Account {
    let data = fields
        .iter()
        .map(|field| {
            let value = field.default.as_deref().unwrap_or("example");
            (field.name.clone(), value.into())
        })
        .collect();
    Account {
        base_url: "https://provider.example".into(),
        data,
        quota: None,
    }
}
