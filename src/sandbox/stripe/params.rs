//! Parameters as Stripe takes them: a form in which `metadata[order]=7` and `expand[]=customer` make objects and lists.

use super::{Answer, invalid, missing};
use crate::sandbox::{call::Call, urlencoded};
use serde_json::{Map, Value, json};

/// Objects within objects; more is nobody's request.
const DEEPEST: usize = 8;

#[derive(Debug)]
pub(super) struct Params(Map<String, Value>);

impl Params {
    /// The body's, or a GET's from the query.
    pub fn of(call: &Call) -> Self {
        let mut params = Map::new();
        let query = urlencoded::pairs(&call.query);
        let body = call.body.as_object().into_iter().flatten();
        let body = body.map(|(name, value)| (name.clone(), value.clone()));
        let query = query
            .into_iter()
            .map(|(name, value)| (name, Value::String(value)));
        for (name, value) in query.chain(body) {
            let path = split(&name);
            if path.len() <= DEEPEST {
                put(&mut params, &path, value);
            }
        }
        Self(params)
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    }
    pub fn needed(&self, name: &str) -> Result<&str, Answer> {
        self.text(name).ok_or_else(|| missing(name))
    }
    /// A whole number, written as text or as a number.
    pub fn whole(&self, name: &str) -> Result<Option<i64>, Answer> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let number = value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        let message = format!("Invalid integer: {name}");
        number
            .map(Some)
            .ok_or_else(|| invalid(Some(name), &message))
    }
    pub fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| value == "true" || value == &json!(true))
    }
    /// What is there under these names, to be put into an object as it is. An empty text stands for null.
    pub fn copy_into(&self, target: &mut Value, names: &[&str]) {
        for name in names {
            match self.0.get(*name) {
                Some(Value::String(text)) if text.is_empty() => target[*name] = Value::Null,
                Some(value) => target[*name] = value.clone(),
                None => {}
            }
        }
    }
    /// Adds to an object's metadata; an empty text removes a key.
    pub fn merge_metadata(&self, target: &mut Value) {
        if !target["metadata"].is_object() {
            target["metadata"] = json!({});
        }
        let given = self.0.get("metadata").and_then(Value::as_object);
        let Some(metadata) = target["metadata"].as_object_mut() else {
            return;
        };
        for (key, value) in given.into_iter().flatten() {
            if value == "" {
                metadata.remove(key);
            } else {
                metadata.insert(key.clone(), value.clone());
            }
        }
    }
}

/// `a[b][]` as `a`, `b` and an empty part.
fn split(name: &str) -> Vec<&str> {
    let (first, rest) = name.split_once('[').unwrap_or((name, ""));
    let mut path = vec![first];
    if !rest.is_empty() {
        let inner = rest.strip_suffix(']').unwrap_or(rest);
        path.extend(inner.split("]["));
    }
    path
}

fn put(object: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        object.insert((*first).to_owned(), value);
        return;
    }
    let place = object.entry(*first).or_insert_with(|| json!({}));
    if let Some(inner) = place.as_object_mut() {
        put(inner, rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_make_objects() {
        assert_eq!(split("metadata[order]"), ["metadata", "order"]);
        assert_eq!(split("items[0][price]"), ["items", "0", "price"]);
        assert_eq!(split("expand[]"), ["expand", ""]);
        assert_eq!(split("email"), ["email"]);
        let mut object = Map::new();
        put(&mut object, &split("a[b][c]"), json!("1"));
        put(&mut object, &split("a[d]"), json!("2"));
        put(&mut object, &split("e"), json!("3"));
        assert_eq!(
            Value::Object(object),
            json!({"a": {"b": {"c": "1"}, "d": "2"}, "e": "3"})
        );
    }
}
