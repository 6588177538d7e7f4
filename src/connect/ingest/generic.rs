//! Webhooks without rules of their own: the payload is the body, JSON or a form. GitHub also sends its JSON within a form.

use super::{
    Incoming, Unreadable,
    body::{self, Media},
};
use crate::connect::webhook::Verified;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// Characters of an id or a kind that is taken from a body.
const WORD_MAX: usize = 256;

/// What an endpoint says about its events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places<'a> {
    /// The kind of all of them, or as a JSON pointer where in the payload it stands.
    pub kind: Option<&'a str>,
    /// JSON pointer to the id.
    pub id: Option<&'a str>,
    /// The field of a form in which the event stands, as JSON.
    pub form_field: Option<&'a str>,
}

/// Reads an unpacked body.
///
/// # Errors
/// What it is not.
pub fn read(
    headers: &HeaderMap,
    body: &[u8],
    verified: Verified,
    places: Places<'_>,
) -> Result<Incoming, Unreadable> {
    let payload = match (body::media(headers), places.form_field) {
        (Media::Json, _) => body::json(headers, body)?,
        (Media::Form, None) => body::fields(body::form(headers, body)?),
        (Media::Form, Some(field)) => {
            let mut fields = body::form(headers, body)?.into_iter();
            let event = fields.find(|(name, _)| name == field);
            body::json_in(&event.ok_or(Unreadable::NoPayload)?.1)?
        }
        // Some send JSON as text, as bytes, or as nothing in particular.
        (Media::Other(kind), _) => match body::json(headers, body) {
            Err(Unreadable::NotJson(_)) if !matches!(kind.as_str(), "" | "text/plain") => {
                return Err(Unreadable::MediaType(kind));
            }
            read => read?,
        },
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
            let found = read(
                &HeaderMap::new(),
                body,
                verified(),
                Places {
                    kind,
                    id,
                    form_field: None,
                },
            )
            .expect("reads");
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
        for (kind, expected) in [
            ("text/plain", "not JSON"),
            ("application/json", "not JSON"),
            ("application/xml", "application/xml"),
            ("multipart/form-data; boundary=x", "multipart/form-data"),
            ("application/octet-stream", "application/octet-stream"),
            ("application/json; charset=ebcdic-9", "ebcdic-9"),
        ] {
            let found = read(&headers(kind), b"{", Verified::default(), Places::default());
            let error = found.expect_err(kind).to_string();
            assert!(error.contains(expected), "{kind}: {error}");
        }
        for kind in [
            "text/plain",
            "application/octet-stream",
            "application/ld+json",
            "x/y",
        ] {
            let found = read(
                &headers(kind),
                b"{\"a\":1}",
                Verified::default(),
                Places::default(),
            );
            assert_eq!(found.expect(kind).payload, json!({"a": 1}));
        }
        let found = read(
            &HeaderMap::new(),
            b"[1]",
            Verified::default(),
            Places::default(),
        );
        assert_eq!(found.expect("JSON").payload, json!([1]));
    }

    #[test]
    fn an_event_within_a_form_is_read_as_json() {
        let form = headers("application/x-www-form-urlencoded");
        let places = Places {
            form_field: Some("payload"),
            id: Some("/id"),
            ..Places::default()
        };
        let read = |body: &[u8]| read(&form, body, Verified::default(), places);
        let found =
            read(b"payload=%7B%22action%22%3A%22opened%22%2C%22id%22%3A123456789012345678901%7D");
        let found = found.expect("reads");
        assert_eq!(found.payload["action"], "opened");
        assert_eq!(found.external_id.as_deref(), Some("123456789012345678901"));
        assert_eq!(read(b"other=1"), Err(Unreadable::NoPayload));
        assert!(matches!(read(b"payload=%7B"), Err(Unreadable::NotJson(_))));
    }
}
