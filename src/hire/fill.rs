//! Placeholders of skill templates. Values come from untrusted text, so each place has its own way to hold them:
//!
//! - `{"$value": "${x}"}`, or a string that is nothing but `${x}`: the value as JSON; the latter only for numbers and decimals;
//! - inside an expression, in single quotes: escaped as CEL text; unquoted: only for numbers;
//! - inside a rendered text (`$text`, `title`): never.

use super::template::{Parameter, ParameterKind};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A parameter's value as it is filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Filling {
    pub value: Value,
    pub op: Option<String>,
    /// Code of the currency that the text names, of an amount.
    pub currency: Option<String>,
}

pub type Fillings = BTreeMap<String, Filling>;

/// Checks that the placeholders of a template name parameters and stand where they may.
pub fn check(template: &Value, parameters: &BTreeMap<String, Parameter>) -> Result<(), String> {
    each_text(template, &mut |key, text| {
        for name in names(text) {
            let (name, part) = name
                .split_once('.')
                .map_or((name, None), |(name, part)| (name, Some(part)));
            let parameter = parameters
                .get(name)
                .ok_or_else(|| format!("there is no parameter `{name}`"))?;
            let numeric = matches!(parameter.kind, ParameterKind::Money | ParameterKind::Days);
            let whole = text == format!("${{{name}}}");
            if matches!(key, "$text" | "title") {
                return Err(format!("`{name}` stands in a rendered text"));
            }
            if !matches!(
                part,
                None | Some("op" | "bare" | "currency" | "query" | "query_op")
            ) {
                return Err(format!("`{name}` has no such part"));
            }
            let quoted = text.contains(&format!("'${{{name}"));
            if !(numeric
                || quoted
                || (whole && key == "$value")
                || matches!(key, "source" | "event"))
            {
                return Err(format!("`{name}` stands in an expression without quotes"));
            }
        }
        Ok(())
    })
}

/// Whether the template looks at the currency of a parameter.
pub fn reads_currency(template: &Value, parameter: &str) -> bool {
    let wanted = format!("${{{parameter}.currency}}");
    let mut found = false;
    let _ = each_text(template, &mut |_, text| {
        found |= text.contains(&wanted);
        Ok(())
    });
    found
}

/// The template with its placeholders filled. A field whose whole value is a parameter that is not there is left out.
pub fn fill(template: &Value, fillings: &Fillings) -> Value {
    fill_at("", template, fillings).unwrap_or(Value::Null)
}

fn fill_at(key: &str, template: &Value, fillings: &Fillings) -> Option<Value> {
    Some(match template {
        Value::Object(fields) => {
            let filled = fields
                .iter()
                .filter_map(|(key, field)| Some((key.clone(), fill_at(key, field, fillings)?)));
            Value::Object(filled.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .filter_map(|item| fill_at(key, item, fillings))
                .collect(),
        ),
        Value::String(text) if matches!(key, "$value" | "source" | "event") => {
            return literal(text, fillings);
        }
        Value::String(text) => Value::String(expression(text, fillings)),
        other => other.clone(),
    })
}

/// A place that holds text as it is; nothing if it holds a parameter that is not there.
fn literal(text: &str, fillings: &Fillings) -> Option<Value> {
    let all = names(text).iter().all(|name| fillings.contains_key(*name));
    all.then(|| Value::String(replaced(text, fillings, |value| value.to_owned())))
}

fn expression(text: &str, fillings: &Fillings) -> String {
    replaced(text, fillings, escaped)
}

/// One pass, so that a value that looks like a placeholder is not filled itself.
fn replaced(text: &str, fillings: &Fillings, shown: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, (name, after))) = rest
        .split_once("${")
        .and_then(|(before, tail)| Some((before, tail.split_once('}')?)))
    {
        out.push_str(before);
        let (name, part) = name.split_once('.').unwrap_or((name, ""));
        if let Some(filling) = fillings.get(name) {
            let value = plain(&filling.value);
            out.push_str(&match part {
                "op" => filling.op.clone().unwrap_or_else(|| "=".into()),
                // An amount in a currency cannot be a question to books that hold several: all are asked for, and compared here.
                "query" if filling.currency.is_some() => "0".into(),
                "query_op" if filling.currency.is_some() => ">".into(),
                "query_op" => filling.op.clone().unwrap_or_else(|| "=".into()),
                "currency" => shown(filling.currency.as_deref().unwrap_or_default()),
                "bare" => shown(value.trim_start_matches('@')),
                _ => shown(&value),
            });
        }
        rest = after;
    }
    out + rest
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Text for inside a CEL literal in single quotes.
fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => out.push(c),
        }
        out
    })
}

fn names(text: &str) -> Vec<&str> {
    text.split("${")
        .skip(1)
        .filter_map(|tail| tail.split_once('}').map(|(name, _)| name))
        .collect()
}

/// Visits every string with the key of the field that holds it.
fn each_text(
    value: &Value,
    visit: &mut impl FnMut(&str, &str) -> Result<(), String>,
) -> Result<(), String> {
    fn walk(
        key: &str,
        value: &Value,
        visit: &mut impl FnMut(&str, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        match value {
            Value::String(text) => visit(key, text),
            Value::Array(items) => items.iter().try_for_each(|item| walk(key, item, visit)),
            Value::Object(fields) => fields
                .iter()
                .try_for_each(|(key, field)| walk(key, field, visit)),
            _ => Ok(()),
        }
    }
    walk("", value, visit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_cannot_leave_their_quotes() {
        let filling = Filling {
            value: json!("it's {{ 7 }} \\ ' + org.secret + '${b}"),
            op: None,
            currency: None,
        };
        let fillings = Fillings::from([
            ("a".into(), filling),
            (
                "b".into(),
                Filling {
                    value: json!("x"),
                    op: None,
                    currency: None,
                },
            ),
        ]);
        let filled = fill(
            &json!({"one": "'${a}' + 'b'", "two": {"$value": "${a}"}, "three": {"$value": "${c}"}}),
            &fillings,
        );
        assert_eq!(
            filled["one"],
            r"'it\'s {{ 7 }} \\ \' + org.secret + \'${b}' + 'b'"
        );
        assert_eq!(
            filled["two"]["$value"],
            "it's {{ 7 }} \\ ' + org.secret + '${b}"
        );
        assert_eq!(filled["three"], json!({}));
    }
}
