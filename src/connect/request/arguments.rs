//! Holding arguments to a capability's input schema, in words that name the field and say what would be right.

use super::BadParams;
use crate::connect::catalog::{Capability, nearest};
use jsonschema::{ValidationError, error::ValidationErrorKind};
use serde_json::Value;

/// Checks arguments against the capability's input schema.
///
/// # Errors
/// The first field that does not fit, and what would.
pub fn check_arguments(capability: &Capability, arguments: &Value) -> Result<(), BadParams> {
    capability
        .input_validator
        .validate(arguments)
        .map_err(|error| explain(capability, &error))
}

fn explain(capability: &Capability, error: &ValidationError) -> BadParams {
    let at = field_name(error.instance_path().as_str());
    let below = |name: &str| {
        if at == "arguments" {
            name.to_owned()
        } else {
            format!("{at}.{name}")
        }
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            BadParams::new(
                below(name),
                with_hint("is missing", describe(capability, &below(name))),
            )
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let name = unexpected.first().map_or("", String::as_str);
            BadParams::new(below(name), unknown_field(capability, &at, name))
        }
        // The values stay out of the message: they may be long, and messages go into logs.
        _ => {
            let message = error.masked_with("the value").to_string();
            let message = message
                .strip_prefix("the value ")
                .map_or(message.clone(), str::to_owned);
            let hint = describe(capability, &at);
            BadParams::new(at, with_hint(&message, hint))
        }
    }
}

fn with_hint(message: &str, hint: Option<&str>) -> String {
    hint.map_or_else(
        || message.to_owned(),
        |hint| format!("{message}; it is {hint}"),
    )
}

fn describe<'a>(capability: &'a Capability, field: &str) -> Option<&'a str> {
    capability.input["properties"]
        .get(field)?
        .get("description")?
        .as_str()
}

fn unknown_field(capability: &Capability, at: &str, name: &str) -> String {
    let Some(known) = capability.input["properties"]
        .as_object()
        .filter(|_| at == "arguments")
    else {
        return "is not a known field".into();
    };
    match nearest(name, known.keys().map(String::as_str)) {
        Some(meant) => format!("is not a known field; `{meant}` may be meant"),
        None => format!(
            "is not a known field; known are {}",
            known.keys().cloned().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// `/where/0/field` as `where[0].field`.
fn field_name(pointer: &str) -> String {
    let mut name = String::new();
    for part in pointer.split('/').skip(1) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            name.push_str(&format!("[{part}]"));
        } else {
            name.push_str(if name.is_empty() { "" } else { "." });
            name.push_str(part);
        }
    }
    if name.is_empty() {
        "arguments".into()
    } else {
        name
    }
}
