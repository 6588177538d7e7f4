//! An integration file as it is written, after the published schema has accepted it.

mod capability;
mod request;

pub(super) use capability::{CapabilityFile, LookupFile, MatchFile, ProbeFile, StepFile};
pub use capability::{Idempotency, Pagination, RetryRule, Risk};
pub(super) use request::{BytesFile, GivenUrlFile, MultipartFile, PartFile, RequestFile};

use super::auth::AuthWay;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::time::Duration;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IntegrationFile {
    pub id: String,
    pub name: String,
    pub base_url: String,
    pub auth: Vec<AuthWay>,
    pub verify: Option<VerifyFile>,
    #[serde(default)]
    pub account: Vec<AccountField>,
    pub quota: QuotaFile,
    #[serde(default)]
    pub answers: AnswerRules,
    /// Sent with every request, for example the version of the API.
    #[serde(default)]
    pub headers: Map<String, Value>,
    #[serde(default)]
    pub retry: RetryRule,
    /// Where people find the provider's own words.
    pub docs: Option<String>,
    #[serde(default)]
    pub capabilities: Vec<CapabilityFile>,
}

/// Something that a connection must know beside its token, for example QuickBooks' realm.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountField {
    pub name: String,
    pub description: String,
    /// What its values look like, as a regular expression for the whole of them. It must be there for values that stand in a URL
    /// before its path and are more than one word of a host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Taken where a connection does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Whether calls can do without it.
    #[serde(default)]
    pub optional: bool,
}

impl AccountField {
    /// Whether a connection must bring it.
    pub fn is_required(&self) -> bool {
        !self.optional && self.default.is_none()
    }
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

/// What is known of a provider's limits besides the rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// How many calls may be open at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    pub per: QuotaPer,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learn: Option<QuotaHeaders>,
}

/// Who shares the quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuotaPer {
    /// Each connected account has its own.
    #[default]
    Account,
    /// All accounts that were connected through the same app.
    App,
}

/// The headers in which answers tell what is left of the quota, where they are not the usual `X-RateLimit-…`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaHeaders {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<String>,
    pub reset_unit: ResetUnit,
}

/// How the reset header counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetUnit {
    /// From now.
    #[default]
    Seconds,
    /// From now.
    Milliseconds,
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// A date as in RFC 3339.
    Iso8601,
}

/// `quota` as it is written: rate and further limits in one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaFile {
    pub requests: u32,
    pub per_seconds: u32,
    pub burst: u32,
    pub concurrency: Option<u32>,
    #[serde(default)]
    pub per: QuotaPer,
    pub learn: Option<QuotaHeaders>,
}

impl QuotaFile {
    pub fn split(self) -> (Quota, Limits) {
        let quota = Quota {
            requests: self.requests,
            per_seconds: self.per_seconds,
            burst: self.burst,
        };
        let limits = Limits {
            concurrency: self.concurrency,
            per: self.per,
            learn: self.learn,
        };
        (quota, limits)
    }
}

/// The call that tells whether a credential works.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyFile {
    pub request: RequestFile,
    pub account_name: Option<String>,
    pub account_id: Option<String>,
    #[serde(default = "ok")]
    pub ok_status: Vec<u16>,
}

fn ok() -> Vec<u16> {
    vec![200]
}

/// How to read a provider's errors. Places are JSON pointers, with `*` for every item or field; names fit whatever their case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnswerRules {
    /// A boolean that makes an error of an answer with status 2xx when it is false.
    pub ok_flag: Option<String>,
    /// What makes an error of an answer with status 2xx. An empty list says that this provider tells of errors by the status alone; `None`
    /// says that nobody has looked.
    pub error: Option<Vec<ErrorAt>>,
    /// Where a part of the result may stand beside an error. A write whose answer has both may have happened.
    pub partial: Vec<String>,
    /// Where the body says how many seconds to stay away.
    pub retry_after: Vec<String>,
    pub code: Vec<String>,
    pub message: Vec<String>,
    /// Codes that mean that the account has to be authorised again.
    pub auth: Vec<String>,
    pub rate_limited: Vec<String>,
    /// Codes after which a write may have happened all the same.
    pub uncertain: Vec<String>,
}

impl AnswerRules {
    pub fn errors(&self) -> impl Iterator<Item = &ErrorAt> {
        self.error.iter().flatten()
    }
}

/// A place that tells of an error: when it is there and not empty, when it is one of `is`, or when it is there and none of `not`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "ErrorAtFile")]
pub struct ErrorAt {
    pub at: String,
    pub is: Option<Vec<Value>>,
    pub not: Option<Vec<Value>>,
}

/// As it is written: the pointer alone, or with values.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorAtFile {
    At(String),
    Value {
        at: String,
        is: Option<Vec<Value>>,
        not: Option<Vec<Value>>,
    },
}

impl From<ErrorAtFile> for ErrorAt {
    fn from(file: ErrorAtFile) -> Self {
        match file {
            ErrorAtFile::At(at) => Self {
                at,
                is: None,
                not: None,
            },
            ErrorAtFile::Value { at, is, not } => Self { at, is, not },
        }
    }
}
