//! OAuth 2: the code flow and client credentials.

use super::parts::{Field, OneOrMore, Placement, Text, Texts, TokenAt, TokenErrors};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long before its end a token is renewed, unless the file says otherwise.
pub(super) const REFRESH_MARGIN_SECONDS: u64 = 300;

/// `oauth2_code`. The app's id and secret are the operator's or the org's, and not part of a connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthCode {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    pub authorize_url: Text,
    pub token_url: Text,
    /// Absent: the token URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_url: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<Text>,
    /// Asked for by default.
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default = "blank")]
    pub scope_separator: String,
    /// The parameter that carries the scopes.
    #[serde(default = "scope")]
    pub scope_param: String,
    /// RFC 7636 with S256; false where the provider refuses it.
    #[serde(default = "yes")]
    pub pkce: bool,
    #[serde(default)]
    pub authorize_params: Texts,
    #[serde(default)]
    pub token_params: Texts,
    #[serde(default)]
    pub refresh_params: Texts,
    /// Sent to the token endpoint.
    #[serde(default)]
    pub token_headers: Texts,
    #[serde(default = "client_id")]
    pub client_id_param: String,
    #[serde(default)]
    pub client_auth: ClientAuth,
    #[serde(default)]
    pub token_body: TokenBody,
    #[serde(default)]
    pub token_at: TokenAt,
    /// When the answer does not say; absent: it never expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_default_seconds: Option<u64>,
    #[serde(default = "margin")]
    pub refresh_margin_seconds: u64,
    /// Whether each refresh gives a new refresh token and ends the old one.
    #[serde(default)]
    pub rotates: bool,
    #[serde(default)]
    pub error: TokenErrors,
    /// Account fields that the consent tells us.
    #[serde(default)]
    pub learn: BTreeMap<String, LearnFrom>,
    #[serde(default = "Placement::bearer")]
    pub send: OneOrMore<Placement>,
}

impl OauthCode {
    pub fn refresh_url(&self) -> &str {
        self.refresh_url.as_deref().unwrap_or(&self.token_url)
    }
}

/// `oauth2_client_credentials`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OauthClient {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    /// Absent: `client_id` and `client_secret`. Those two are the client's; others are for templates.
    #[serde(default = "client_fields")]
    pub fields: Vec<Field>,
    pub token_url: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoke_url: Option<Text>,
    #[serde(default)]
    pub scopes: Vec<String>,
    #[serde(default = "blank")]
    pub scope_separator: String,
    #[serde(default = "scope")]
    pub scope_param: String,
    /// Sent when its value is another than RFC 6749's.
    #[serde(default = "client_credentials")]
    pub grant_type: String,
    /// For example `audience`.
    #[serde(default)]
    pub token_params: Texts,
    #[serde(default)]
    pub token_headers: Texts,
    #[serde(default = "client_id")]
    pub client_id_param: String,
    #[serde(default)]
    pub client_auth: ClientAuth,
    #[serde(default)]
    pub token_body: TokenBody,
    #[serde(default)]
    pub token_at: TokenAt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_default_seconds: Option<u64>,
    #[serde(default = "margin")]
    pub refresh_margin_seconds: u64,
    #[serde(default)]
    pub error: TokenErrors,
    /// Account fields that the token tells us; `query` has nothing to read here.
    #[serde(default)]
    pub learn: BTreeMap<String, LearnFrom>,
    #[serde(default = "Placement::bearer")]
    pub send: OneOrMore<Placement>,
}

/// How the client proves itself at the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_id` and `client_secret` among the parameters.
    #[default]
    Body,
    /// HTTP Basic.
    Basic,
    /// The id alone, among the parameters.
    None,
}

/// How the parameters travel to the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenBody {
    #[default]
    Form,
    Json,
}

/// Where an account field comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum LearnFrom {
    /// A parameter of the callback.
    Query { query: String },
    /// A JSON pointer into the token answer.
    Token { token: String },
    /// A JSON pointer into the answer of a read that is made with the new token, which is then bound to what it says.
    Call { get: Text, at: String },
}

fn blank() -> String {
    " ".into()
}
fn scope() -> String {
    "scope".into()
}
fn client_id() -> String {
    "client_id".into()
}
fn client_credentials() -> String {
    "client_credentials".into()
}
fn yes() -> bool {
    true
}
pub(super) fn margin() -> u64 {
    REFRESH_MARGIN_SECONDS
}
fn client_fields() -> Vec<Field> {
    vec![
        Field::new("client_id", "Client id", false),
        Field::new("client_secret", "Client secret", true),
    ]
}
