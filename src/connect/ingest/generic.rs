//! Webhooks without rules of their own: the payload is the body, JSON or a form.

use super::{FORM, Incoming, Unreadable, json, media_type};
use crate::connect::{form, webhook::Verified};
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};

/// Characters of an id or a kind that is taken from a body.
const WORD_MAX: usize = 256;

/// What an endpoint says about its events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The kind of all of them, or as a JSON pointer where in the payload it stands.
    pub kind: Option<&'a str>,
    /// JSON pointer to the id.
    pub id: Option<&'a str>,
}

/// # Errors
/// `NotJson`.
pub fn read(
    headers: &HeaderMap,
    body: &[u8],
    verified: Verified,
    places: Places<'_>,
) -> Result<Incoming, Unreadable> {
    let payload = match media_type(headers).as_str() {
        FORM => from_form(&String::from_utf8_lossy(body)),
        _ => json(body)?,
    };
    let kind = match places.kind {
        Some(place) if place.starts_with('/') => word_at(&payload, place),
        Some(word) => Some(word.to_owned()),
        None => verified.kind,
    };
    let external_id = places
        .id
        .and_then(|place| word_at(&payload, place))
        .or(verified.id);
    Ok(Incoming {
        external_id,
        kind,
        conversation: None,
        payload,
        echo: None,
    })
}

fn word_at(payload: &Value, pointer: &str) -> Option<String> {
    let word = match payload.pointer(pointer)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let fits = !word.is_empty() && word.chars().count() <= WORD_MAX && !word.contains('\0');
    fits.then_some(word)
}

/// The fields of a form as texts; of one that is there more than once, a list.
fn from_form(text: &str) -> Value {
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in form::pairs(text) {
        match fields.get_mut(&name) {
            None => drop(fields.insert(name, Value::String(value))),
            Some(Value::Array(all)) => all.push(Value::String(value)),
            Some(one) => *one = Value::Array(vec![one.take(), Value::String(value)]),
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;
    use serde_json::json;

    fn headers(kind: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static(kind),
        )])
    }

    #[test]
    fn kind_and_id_are_words_or_places() {
        let body = br#"{"type": "invoice.paid", "n": 5, "id": "e1"}"#;
        let verified = || Verified {
            id: Some("h1".into()),
            kind: Some("told".into()),
            at: None,
        };
        for (kind, id, expected) in [
            (None, None, (Some("told"), Some("h1"))),
            (Some("push"), Some("/id"), (Some("push"), Some("e1"))),
            (Some("/type"), Some("/n"), (Some("invoice.paid"), Some("5"))),
            (Some("/n"), Some("/none"), (Some("5"), Some("h1"))),
            (Some("/none"), None, (None, Some("h1"))),
        ] {
            let found =
                read(&HeaderMap::new(), body, verified(), Places { kind, id }).expect("reads");
            assert_eq!(
                (found.kind.as_deref(), found.external_id.as_deref()),
                expected,
                "{kind:?} {id:?}"
            );
        }
    }

    #[test]
    fn forms_and_json_are_read_and_nothing_else() {
        let form = headers("application/x-www-form-urlencoded; charset=utf-8");
        let found = read(
            &form,
            b"a=1&b=x+y&a=2",
            Verified::default(),
            Places::default(),
        );
        assert_eq!(
            found.expect("reads").payload,
            json!({"a": ["1", "2"], "b": "x y"})
        );
        let found = read(
            &headers("text/plain"),
            b"{",
            Verified::default(),
            Places::default(),
        );
        assert!(matches!(found, Err(Unreadable::NotJson(_))));
    }
}
