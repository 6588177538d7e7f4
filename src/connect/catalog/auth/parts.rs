//! The parts that several ways of authorisation share.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::LazyLock};

/// A text that may hold `{account.…}` and `{credential.…}`.
pub type Text = String;
/// Texts by name: parameters or headers.
pub type Texts = BTreeMap<String, Text>;

/// One value, or a list of them; written back as a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OneOrMore<Item>(Vec<Item>);

impl<Item> OneOrMore<Item> {
    pub fn as_slice(&self) -> &[Item] {
        &self.0
    }
    pub fn iter(&self) -> std::slice::Iter<'_, Item> {
        self.0.iter()
    }
}

impl<Item> From<Vec<Item>> for OneOrMore<Item> {
    fn from(items: Vec<Item>) -> Self {
        Self(items)
    }
}

impl<'de, Item: Deserialize<'de>> Deserialize<'de> for OneOrMore<Item> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, bound = "Item: Deserialize<'de>")]
        enum Written<Item> {
            More(Vec<Item>),
            One(Item),
        }
        Ok(Self(match Written::deserialize(from)? {
            Written::More(items) => items,
            Written::One(item) => vec![item],
        }))
    }
}

/// Something that a person types in when an account is connected; read as `{credential.<name>}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub name: String,
    /// What a form calls it.
    pub title: String,
    /// Where a person finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it is never shown again.
    #[serde(default)]
    pub secret: bool,
    #[serde(default)]
    pub optional: bool,
}

impl Field {
    pub(super) fn new(name: &str, title: &str, secret: bool) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            description: None,
            secret,
            optional: false,
        }
    }
}

/// Where a credential travels in a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    #[serde(rename = "in")]
    pub place: super::Place,
    /// The header or the parameter.
    pub name: String,
    /// Stands before the credential, for example `Bearer ` with its blank.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// What travels. Absent: the way's token, which is the first secret field where there is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Text>,
}

impl Placement {
    /// `Authorization: <prefix>…`
    pub fn authorization(prefix: &str) -> Self {
        Self {
            place: super::Place::Header,
            name: "Authorization".into(),
            prefix: prefix.into(),
            value: None,
        }
    }

    pub(super) fn bearer() -> OneOrMore<Self> {
        vec![Self::authorization("Bearer ")].into()
    }

    pub(super) fn basic() -> &'static [Self] {
        static BASIC: LazyLock<[Placement; 1]> =
            LazyLock::new(|| [Placement::authorization("Basic ")]);
        &*BASIC
    }
}

/// JSON pointers into a token endpoint's answer; of several the first that exists counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenAt {
    pub access_token: OneOrMore<String>,
    pub refresh_token: OneOrMore<String>,
    pub expires_in: OneOrMore<String>,
    pub expires_unit: ExpiresUnit,
    /// Seconds until the refresh token itself ends, where the provider says so.
    pub refresh_expires_in: OneOrMore<String>,
    pub scope: OneOrMore<String>,
}

impl Default for TokenAt {
    fn default() -> Self {
        let at = |pointer: &str| OneOrMore::from(vec![pointer.to_owned()]);
        Self {
            access_token: at("/access_token"),
            refresh_token: at("/refresh_token"),
            expires_in: at("/expires_in"),
            expires_unit: ExpiresUnit::S,
            refresh_expires_in: at("/refresh_token_expires_in"),
            scope: at("/scope"),
        }
    }
}

/// How a token answer says when the token ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresUnit {
    /// Seconds from now.
    #[default]
    S,
    /// Milliseconds from now.
    Ms,
    /// Seconds since 1970.
    AtUnixS,
    /// Milliseconds since 1970.
    AtUnixMs,
    /// A date as in RFC 3339.
    AtRfc3339,
}

/// How a token endpoint says no, besides RFC 6749's status 400 and `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenErrors {
    /// A boolean that makes an error of an answer with status 2xx when it is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok_flag: Option<String>,
    /// Where the code is; in an answer with status 2xx and no token it is looked for as well.
    pub code: OneOrMore<String>,
    /// Codes that mean: a person must consent again. Every other failure is taken for a passing one.
    pub dead_grant: Vec<String>,
}

impl Default for TokenErrors {
    fn default() -> Self {
        Self {
            ok_flag: None,
            code: vec!["/error".to_owned()].into(),
            dead_grant: vec!["invalid_grant".into()],
        }
    }
}
