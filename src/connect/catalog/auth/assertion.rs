//! Ways that make or fetch a token without a person: a signed JWT, and credentials that are exchanged.

use super::{
    oauth::{LearnFrom, margin},
    parts::{Field, OneOrMore, Placement, Text, Texts, TokenAt, TokenErrors},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// `jwt_bearer`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtBearer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    pub fields: Vec<Field>,
    pub alg: Algorithm,
    /// The key, for example `{credential.private_key}`.
    pub key: Text,
    #[serde(default)]
    pub key_encoding: KeyEncoding,
    /// Besides `alg` and `typ`, for example `kid`. Strings in it are texts; an empty one is left out.
    #[serde(default)]
    pub header: Map<String, Value>,
    /// Besides `iat` and `exp`. Strings in it are texts; what has no value is left out.
    pub claims: Map<String, Value>,
    #[serde(default = "lifetime")]
    pub lifetime_seconds: u64,
    /// Where the assertion is exchanged; absent: the JWT itself is the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_url: Option<Text>,
    #[serde(default = "jwt_grant")]
    pub grant_type: String,
    #[serde(default)]
    pub token_params: Texts,
    #[serde(default)]
    pub token_headers: Texts,
    #[serde(default)]
    pub token_at: TokenAt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_default_seconds: Option<u64>,
    #[serde(default = "margin")]
    pub refresh_margin_seconds: u64,
    #[serde(default)]
    pub error: TokenErrors,
    #[serde(default = "Placement::bearer")]
    pub send: OneOrMore<Placement>,
}

/// Names as in RFC 7518.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    Rs256,
    Es256,
    Hs256,
}

/// How the key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyEncoding {
    #[default]
    Pem,
    /// The bytes of the text itself (HS256).
    Text,
    /// HS256.
    Base64,
    /// HS256.
    Hex,
}

/// `two_step`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwoStep {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Where calls go that are authorised this way, if not to the integration's base URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<Text>,
    pub fields: Vec<Field>,
    pub request: TokenRequest,
    #[serde(default)]
    pub token_at: TokenAt,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_default_seconds: Option<u64>,
    #[serde(default = "margin")]
    pub refresh_margin_seconds: u64,
    #[serde(default)]
    pub error: TokenErrors,
    /// Account fields that the token answer tells; `query` has nothing to read here.
    #[serde(default)]
    pub learn: BTreeMap<String, LearnFrom>,
    #[serde(default = "Placement::bearer")]
    pub send: OneOrMore<Placement>,
}

/// The request that exchanges credentials for a token. Texts in it may name `{credential.…}` and `{account.…}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    #[serde(default = "post")]
    pub method: String,
    /// The whole URL, or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<Text>,
    /// a path below the base URL; one of the two is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    #[serde(default)]
    pub headers: Texts,
    /// At most one of `json` and `form`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Texts>,
    /// Name and password of HTTP Basic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<(Text, Text)>,
}

fn lifetime() -> u64 {
    300
}
fn jwt_grant() -> String {
    "urn:ietf:params:oauth:grant-type:jwt-bearer".into()
}
fn post() -> String {
    "POST".into()
}
