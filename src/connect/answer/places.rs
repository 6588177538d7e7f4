//! Places in an answer: JSON pointers whose parts may be `*` for every item or field, and whose names may differ in case. Pure.

use serde_json::Value;

/// Whether a text is a pointer that [`places`] can follow.
pub(crate) fn is_pointer(text: &str) -> bool {
    text.is_empty() || text.starts_with('/')
}

/// All values at a pointer. A name fits exactly, or else whatever its case: providers write `Fault` here and `fault` there.
pub(super) fn places<'a>(body: &'a Value, pointer: &str) -> Vec<&'a Value> {
    let mut found = vec![body];
    for part in parts(pointer) {
        found = found
            .into_iter()
            .flat_map(|value| below(value, &part))
            .collect();
    }
    found
}

fn parts(pointer: &str) -> impl Iterator<Item = String> {
    let parts = pointer.split('/').skip(1);
    parts.map(|part| part.replace("~1", "/").replace("~0", "~"))
}

fn below<'a>(value: &'a Value, part: &str) -> Vec<&'a Value> {
    match value {
        Value::Array(items) if part == "*" => items.iter().collect(),
        Value::Object(fields) if part == "*" => fields.values().collect(),
        Value::Array(items) => part
            .parse::<usize>()
            .ok()
            .and_then(|place| items.get(place))
            .into_iter()
            .collect(),
        Value::Object(fields) => {
            let alike = || {
                let mut fields = fields.iter();
                let found = fields.find(|(name, _)| name.eq_ignore_ascii_case(part));
                found.map(|(_, value)| value)
            };
            fields.get(part).or_else(alike).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Whether a place that tells of errors tells of none: `null`, `false`, zero, a blank text, `"0"`, `"false"`, `"null"`, and whatever is made
/// of such alone.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => {
            let text = text.trim();
            let words = ["", "0", "false", "null"];
            words.iter().any(|word| text.eq_ignore_ascii_case(word))
        }
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// Whether nothing is at a pointer but what the `errors` pointers name.
pub(super) fn is_empty_but(body: &Value, pointer: &str, errors: &[&str]) -> bool {
    let errors: Vec<Vec<String>> = errors.iter().map(|error| parts(error).collect()).collect();
    let wanted: Vec<String> = parts(pointer).collect();
    let mut path = Vec::new();
    !shows(body, &wanted, &mut path, &errors)
}

/// Whether something is at `wanted` below `value`, which itself is at `path`, or anywhere deeper.
fn shows<'a>(
    value: &'a Value,
    wanted: &[String],
    path: &mut Vec<&'a str>,
    errors: &[Vec<String>],
) -> bool {
    if errors.iter().any(|error| is_at(path, error)) {
        return false;
    }
    let is_wanted = |path: &[&str]| {
        let fits = |(part, wanted): (&&str, &String)| is_part(part, wanted);
        path.iter().zip(wanted).all(fits)
    };
    let mut through = |name: &'a str, one: &'a Value| {
        path.push(name);
        let shown = is_wanted(path) && shows(one, wanted, path, errors);
        path.pop();
        shown
    };
    match value {
        Value::Object(fields) => fields.iter().any(|(name, one)| through(name, one)),
        // Places in lists are not told apart: pointers into results name fields.
        Value::Array(items) => items.iter().any(|one| through("*", one)),
        scalar => path.len() >= wanted.len() && !is_empty(scalar),
    }
}

fn is_at(path: &[&str], pointer: &[String]) -> bool {
    let fits = |(part, wanted): (&&str, &String)| is_part(part, wanted);
    !pointer.is_empty() && path.len() == pointer.len() && path.iter().zip(pointer).all(fits)
}

/// Whether a part of a path, `*` for any place in a list, is what a part of a pointer wants.
fn is_part(part: &str, wanted: &str) -> bool {
    let is_place = || part == "*" && wanted.bytes().all(|byte| byte.is_ascii_digit());
    wanted == "*" || part.eq_ignore_ascii_case(wanted) || is_place()
}
