//! Ways whose secret travels as it is: API keys, Basic, pasted tokens.

use super::parts::{Field, OneOrMore, Placement, Text};
use serde::{Deserialize, Serialize};

/// `api_key`: one or more secrets in headers or parameters.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    pub send: OneOrMore<Placement>,
    #[serde(default = "key_field")]
    pub fields: Vec<Field>,
}

/// `basic`: a name and a password, either of which may be made from other fields, as where an API key is the name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    #[serde(default = "basic_fields")]
    pub fields: Vec<Field>,
    #[serde(default = "username")]
    pub username: Text,
    #[serde(default = "password")]
    pub password: Text,
}

/// `bearer`: a token that a person pastes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    #[serde(default = "token_field")]
    pub field: Field,
    #[serde(default = "Placement::bearer")]
    pub send: OneOrMore<Placement>,
}

fn key_field() -> Vec<Field> {
    vec![Field::new("api_key", "API key", true)]
}
fn token_field() -> Field {
    Field::new("token", "Token", true)
}
fn basic_fields() -> Vec<Field> {
    vec![
        Field::new("username", "User name", false),
        Field::new("password", "Password", true),
    ]
}
fn username() -> Text {
    "{credential.username}".into()
}
fn password() -> Text {
    "{credential.password}".into()
}
