//! Reading the JSON objects that steer the sandbox, so that a mistake is answered with the field's name.

use super::call::Provider;
use serde_json::{Map, Value};

/// What is wrong with an order to the sandbox.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct BadField {
    pub field: String,
    pub message: String,
}

impl BadField {
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// An object with known fields. A field that is null counts as absent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    /// # Errors
    /// Not an object, or a field that is not in `known`.
    pub fn of(body: &'a Value, known: &[&str]) -> Result<Self, BadField> {
        let object = body
            .as_object()
            .ok_or_else(|| BadField::new("body", "must be a JSON object"))?;
        match object.keys().find(|key| !known.contains(&key.as_str())) {
            Some(odd) => Err(BadField::new(
                odd,
                format!("is not a known field; known are {}", known.join(", ")),
            )),
            None => Ok(Self(object)),
        }
    }

    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }
    /// Also when it is null: for fields of which null means something.
    pub fn is_given(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, BadField> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let text = value.as_str().filter(|text| !text.is_empty());
        text.map(Some)
            .ok_or_else(|| BadField::new(name, "must be a text that is not empty"))
    }
    pub fn needed(&self, name: &str) -> Result<&'a str, BadField> {
        self.text(name)?
            .ok_or_else(|| BadField::new(name, "is missing"))
    }
    pub fn flag(&self, name: &str) -> Result<Option<bool>, BadField> {
        self.value(name)
            .map(|value| {
                value
                    .as_bool()
                    .ok_or_else(|| BadField::new(name, "must be true or false"))
            })
            .transpose()
    }
    pub fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, BadField> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = value
            .as_u64()
            .filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| {
            BadField::new(
                name,
                format!("must be a whole number from {least} to {most}"),
            )
        })
    }
    /// One of several names.
    pub fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, BadField> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let chosen = choices.iter().find(|(known, _)| value == *known);
        chosen.map(|(_, chosen)| Some(*chosen)).ok_or_else(|| {
            let known: Vec<_> = choices.iter().map(|(known, _)| *known).collect();
            BadField::new(name, format!("must be one of {}", known.join(", ")))
        })
    }
    pub fn provider(&self) -> Result<Provider, BadField> {
        let named = self.value("integration").and_then(Value::as_str);
        named
            .and_then(Provider::named)
            .ok_or_else(|| BadField::new("integration", Provider::MUST_BE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_name_the_field() {
        let body = json!({"a": "x", "b": null, "n": 3, "f": true});
        let fields = Fields::of(&body, &["a", "b", "n", "f"]).unwrap();
        assert_eq!(fields.text("a"), Ok(Some("x")));
        assert_eq!(fields.text("b"), Ok(None));
        assert_eq!(fields.needed("b").unwrap_err().field, "b");
        assert_eq!(fields.text("n").unwrap_err().field, "n");
        assert_eq!(fields.whole("n", 1, 3), Ok(Some(3)));
        assert_eq!(fields.whole("n", 1, 2).unwrap_err().field, "n");
        assert_eq!(fields.flag("f"), Ok(Some(true)));
        assert_eq!(fields.choice("a", &[("x", 1), ("y", 2)]), Ok(Some(1)));
        assert_eq!(fields.choice("a", &[("y", 2)]).unwrap_err().field, "a");
        assert_eq!(Fields::of(&body, &["a"]).unwrap_err().field, "b");
        assert_eq!(fields.provider().unwrap_err().field, "integration");
    }
}
