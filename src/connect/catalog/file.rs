//! An integration file as it is written, after the published schema has accepted it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntegrationFile {
    pub id: String,
    pub name: String,
    pub base_url: String,
    pub auth: Auth,
    #[serde(default)]
    pub account: Vec<AccountField>,
    pub quota: Quota,
    #[serde(default)]
    pub answers: AnswerRules,
    pub capabilities: Vec<CapabilityFile>,
}

/// How the token travels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Auth {
    /// `Authorization: Bearer …`
    Bearer,
    /// A header of its own.
    Header { name: String },
}

/// Something that a connection must know beside its token, for example QuickBooks' realm.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccountField {
    pub name: String,
    pub description: String,
}

/// `requests` in `per_seconds` on the long run, and `burst` of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    pub requests: u32,
    pub per_seconds: u32,
    pub burst: u32,
}

impl Quota {
    /// The time in which one request's worth comes back.
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.per_seconds.into()) / self.requests.max(1)
    }
}

/// How to read a provider's errors. Places are JSON pointers; the first that exists counts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnswerRules {
    /// A boolean that makes an error of an answer with status 2xx when it is false.
    pub ok_flag: Option<String>,
    pub code: Vec<String>,
    pub message: Vec<String>,
    /// Codes that mean that the account has to be authorised again.
    pub auth: Vec<String>,
    pub rate_limited: Vec<String>,
    /// Codes after which a write may have happened all the same.
    pub uncertain: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    Low,
    Medium,
    High,
}

/// What makes a second sending of the same write harmless.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Nothing: a person has to look.
    #[default]
    None,
    /// A read can tell whether it happened.
    ByProbe,
    /// The provider knows the key, in the header of this name.
    Native(String),
}

/// How to get the next page: which output field to give as which argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pagination {
    /// The output field with the next page's cursor.
    pub cursor: Option<String>,
    /// Or the argument that counts from 1, and the argument with the page's size.
    pub offset: Option<String>,
    pub page: Option<String>,
    pub argument: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CapabilityFile {
    pub id: String,
    pub title: String,
    pub description: String,
    pub permission: String,
    #[serde(default)]
    pub permission_aliases: Vec<String>,
    pub risk: Risk,
    pub write: bool,
    #[serde(default = "one")]
    pub cost: u32,
    pub input: Value,
    pub output: Value,
    pub request: RequestFile,
    pub response: Option<Value>,
    #[serde(default)]
    pub idempotency: Idempotency,
    pub probe: Option<ProbeFile>,
    pub pagination: Option<Pagination>,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RequestFile {
    pub method: String,
    pub path: String,
    #[serde(default)]
    pub query: Map<String, Value>,
    #[serde(default)]
    pub headers: Map<String, Value>,
    pub json: Option<Value>,
    pub form: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchFile {
    pub at: String,
    #[serde(default)]
    pub prefix: String,
    pub equals: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeFile {
    #[serde(default)]
    pub settle_seconds: u64,
    #[serde(default)]
    pub margin_seconds: u64,
    pub lookup: Option<LookupFile>,
    pub request: RequestFile,
    pub instead: Option<InsteadFile>,
    pub items: String,
    #[serde(rename = "match")]
    pub matches: Option<MatchFile>,
    pub take: Value,
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct InsteadFile {
    pub given: String,
    pub request: RequestFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LookupFile {
    pub when: WhenFile,
    pub otherwise: Value,
    pub request: RequestFile,
    pub items: String,
    #[serde(rename = "match")]
    pub matches: MatchFile,
    pub take: Value,
    pub cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenFile {
    pub value: String,
    pub starts_with: String,
}
