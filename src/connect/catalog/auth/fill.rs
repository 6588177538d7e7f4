//! Filling the texts of an auth section, and placing a credential into a call. The only part of the catalog that sees a secret.

use super::{AuthWay, parts::Placement};
use crate::connect::{
    request::BadParams,
    template::{Scope, Template},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Where in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    Header,
    Query,
}

/// A header or parameter with a secret in it, ready for a call.
#[derive(Clone, Debug)]
pub struct PlacedSecret {
    pub place: Place,
    pub name: String,
    pub value: SecretString,
}

impl Placement {
    /// A token at this place.
    pub fn with(&self, token: &str) -> PlacedSecret {
        PlacedSecret {
            place: self.place,
            name: self.name.clone(),
            value: format!("{}{token}", self.prefix).into(),
        }
    }
}

/// Fills a text; `None` if a value that it names does not exist.
///
/// # Errors
/// A text that is no template, which the catalog's check has made impossible for texts of loaded files.
pub fn fill_text(
    text: &str,
    credential: &Map<String, Value>,
    account: &Map<String, Value>,
) -> Result<Option<String>, BadParams> {
    Ok(
        fill_value(&Value::String(text.into()), credential, account)?.map(|value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        }),
    )
}

/// As [`fill_text`], for any JSON: strings in it are filled, and what does not exist is left out.
///
/// # Errors
/// As [`fill_text`].
pub fn fill_value(
    template: &Value,
    credential: &Map<String, Value>,
    account: &Map<String, Value>,
) -> Result<Option<Value>, BadParams> {
    let template = Template::parse(template).map_err(|message| BadParams::new("auth", message))?;
    // Maps are small here, and a credential is placed once per refresh, not once per call.
    let (credential, account) = (credential.clone().into(), account.clone().into());
    let scope = Scope::new()
        .with("credential", &credential)
        .with("account", &account);
    template.render(&scope)
}

/// What a call carries under `way`. `credential` holds the sealed fields by name; `token` is what was fetched or signed for the
/// ways that do so.
///
/// # Errors
/// Names the field that is missing.
pub fn place(
    way: &AuthWay,
    credential: &Map<String, Value>,
    account: &Map<String, Value>,
    token: Option<&SecretString>,
) -> Result<Vec<PlacedSecret>, BadParams> {
    let default = || match (token, way) {
        (Some(token), _) => Ok(token.expose_secret().to_owned()),
        (None, AuthWay::Basic(basic)) => {
            let part = |text: &str| {
                fill_text(text, credential, account)?.ok_or_else(|| {
                    BadParams::new("credential", format!("has no value for `{text}`"))
                })
            };
            Ok(STANDARD.encode(format!(
                "{}:{}",
                part(&basic.username)?,
                part(&basic.password)?
            )))
        }
        (None, _) => first_secret(way, credential),
    };
    let mut placed = Vec::with_capacity(way.send().len());
    for placement in way.send() {
        let value = match &placement.value {
            Some(text) => fill_text(text, credential, account)?.ok_or_else(|| {
                BadParams::new("credential", format!("has no value for `{text}`"))
            })?,
            None => default()?,
        };
        placed.push(placement.with(&value));
    }
    Ok(placed)
}

fn first_secret(way: &AuthWay, credential: &Map<String, Value>) -> Result<String, BadParams> {
    if !way.is_static() {
        return Err(BadParams::new("credential", "has no token yet"));
    }
    let field = way
        .fields()
        .iter()
        .find(|field| field.secret)
        .ok_or_else(|| BadParams::new("credential", "has no secret field"))?;
    credential
        .get(&field.name)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| BadParams::new(format!("credential.{}", field.name), "is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn placed(way: Value, credential: Value, token: Option<&str>) -> Result<Vec<String>, String> {
        let way: AuthWay = serde_json::from_value(way).unwrap();
        let token = token.map(SecretString::from);
        place(
            &way,
            credential.as_object().unwrap(),
            &Map::new(),
            token.as_ref(),
        )
        .map(|placed| {
            placed
                .iter()
                .map(|one| {
                    format!(
                        "{:?} {}: {}",
                        one.place,
                        one.name,
                        one.value.expose_secret()
                    )
                })
                .collect()
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn each_way_has_its_place() {
        let oauth = json!({"type": "oauth2_code", "authorize_url": "https://a.example", "token_url": "https://t.example"});
        let two_keys = json!({
            "type": "api_key",
            "fields": [{"name": "api", "title": "API key", "secret": true}, {"name": "app", "title": "App key", "secret": true}],
            "send": [{"in": "header", "name": "DD-API-KEY"}, {"in": "query", "name": "app", "value": "{credential.app}"}],
        });
        let key_as_name = json!({
            "type": "basic",
            "fields": [{"name": "api_key", "title": "API key", "secret": true}],
            "username": "{credential.api_key}",
            "password": "",
        });
        let cases = [
            (
                oauth.clone(),
                json!({}),
                Some("t"),
                vec!["Header Authorization: Bearer t"],
            ),
            (
                json!({"type": "bearer"}),
                json!({"token": "t"}),
                None,
                vec!["Header Authorization: Bearer t"],
            ),
            (
                json!({"type": "basic"}),
                json!({"username": "a", "password": "b"}),
                None,
                vec!["Header Authorization: Basic YTpi"],
            ),
            (
                key_as_name,
                json!({"api_key": "k"}),
                None,
                vec!["Header Authorization: Basic azo="],
            ),
            (
                two_keys,
                json!({"api": "1", "app": "2"}),
                None,
                vec!["Header DD-API-KEY: 1", "Query app: 2"],
            ),
        ];
        for (way, credential, token, expected) in cases {
            assert_eq!(
                placed(way.clone(), credential, token).unwrap(),
                expected,
                "{way}"
            );
        }
        assert_eq!(
            placed(oauth, json!({}), None).unwrap_err(),
            "`credential` has no token yet"
        );
        assert_eq!(
            placed(json!({"type": "bearer"}), json!({}), None).unwrap_err(),
            "`credential.token` is missing"
        );
    }
}
