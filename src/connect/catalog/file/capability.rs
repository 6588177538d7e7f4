//! Capabilities as they are written.

use super::{ErrorAt, Quota, RequestFile};
use crate::{connect::Backoff, graph::Markup};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    Low,
    Medium,
    High,
}

/// What makes a second sending of the same write harmless.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Idempotency {
    /// Nothing: a person has to look.
    #[default]
    None,
    /// The write itself: two of the same leave what one leaves.
    Natural,
    /// A read can tell whether it happened.
    ByProbe,
    /// The provider knows the key, in the header of this name.
    Native(String),
    /// The provider knows the key, in the parameter or body field of this name; the request template puts it there.
    NativeField(String),
}

impl Idempotency {
    /// Whether the same write may be sent again without a look.
    pub fn is_harmless_to_repeat(&self) -> bool {
        matches!(self, Self::Natural | Self::Native(_) | Self::NativeField(_))
    }
}

/// How long a provider is believed to know a key if its file does not say: some forget within minutes.
const KEY_VALID_FOR: Duration = Duration::from_secs(300);

/// [`Idempotency`] as it is written, with how long the provider remembers a key.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "IdempotencyText")]
pub(in crate::connect::catalog) struct DeclaredIdempotency {
    pub kind: Idempotency,
    /// Of a key that the provider knows.
    pub key_valid_for: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum IdempotencyText {
    Word(String),
    Key(KeyText),
}

#[derive(Deserialize)]
struct KeyText {
    native: Option<String>,
    native_field: Option<String>,
    valid_for_seconds: Option<u64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl TryFrom<IdempotencyText> for DeclaredIdempotency {
    type Error = String;

    fn try_from(text: IdempotencyText) -> Result<Self, String> {
        let key = match text {
            IdempotencyText::Word(word) => {
                let kind = match word.as_str() {
                    "none" => Idempotency::None,
                    "natural" => Idempotency::Natural,
                    "by_probe" => Idempotency::ByProbe,
                    _ => {
                        return Err(format!(
                            "unknown `idempotency` `{word}`, expected none, natural, by_probe, native or native_field"
                        ));
                    }
                };
                return Ok(Self {
                    kind,
                    key_valid_for: None,
                });
            }
            IdempotencyText::Key(key) => key,
        };
        if let Some(name) = key.others.keys().next() {
            return Err(format!(
                "`idempotency` has no field `{name}`, only native, native_field and valid_for_seconds"
            ));
        }
        let kind = match (key.native, key.native_field) {
            (Some(name), None) => Idempotency::Native(name),
            (None, Some(name)) => Idempotency::NativeField(name),
            _ => return Err("`idempotency` needs one of native and native_field".into()),
        };
        if key.valid_for_seconds == Some(0) {
            return Err("`valid_for_seconds` must be at least 1".into());
        }
        let valid_for = key.valid_for_seconds.map(Duration::from_secs);
        Ok(Self {
            kind,
            key_valid_for: Some(valid_for.unwrap_or(KEY_VALID_FOR)),
        })
    }
}

/// How to get the next page. `items` names the output field with the list, `argument` what takes the place of the next page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pagination {
    /// The output field `cursor` goes into the argument; absent or empty on the last page. Where a provider gives one there as well, the output
    /// field `more` says whether it leads anywhere.
    Cursor {
        items: String,
        argument: String,
        cursor: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        more: Option<String>,
    },
    /// The argument counts items from `first`; a page shorter than the argument `size` is the last.
    Offset {
        items: String,
        argument: String,
        #[serde(default)]
        first: u64,
        size: String,
    },
    /// The argument counts pages from `first`; a page shorter than the argument `size` is the last.
    Page {
        items: String,
        argument: String,
        #[serde(default = "one")]
        first: u64,
        size: String,
    },
    /// What stands at the pointer `last` in the last item goes into the argument, while the output field `more` is true.
    Last {
        items: String,
        argument: String,
        last: String,
        more: String,
    },
}

impl Pagination {
    pub fn items(&self) -> &str {
        match self {
            Self::Cursor { items, .. }
            | Self::Offset { items, .. }
            | Self::Page { items, .. }
            | Self::Last { items, .. } => items,
        }
    }
    pub fn argument(&self) -> &str {
        match self {
            Self::Cursor { argument, .. }
            | Self::Offset { argument, .. }
            | Self::Page { argument, .. }
            | Self::Last { argument, .. } => argument,
        }
    }
}

/// How often and how long apart a call is made again that surely had no effect.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryRule {
    /// The first try among them.
    pub max_attempts: u32,
    pub initial_ms: u64,
    pub factor: f64,
    pub max_ms: u64,
    /// Codes of the provider (or `http_<status>`) after which nothing has happened and another try may go well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

impl Default for RetryRule {
    fn default() -> Self {
        let backoff = Backoff::default();
        Self {
            max_attempts: 4,
            initial_ms: backoff.initial.as_millis() as u64,
            factor: backoff.factor,
            max_ms: backoff.longest.as_millis() as u64,
            codes: Vec::new(),
        }
    }
}

impl RetryRule {
    pub fn backoff(&self) -> Backoff {
        Backoff {
            initial: Duration::from_millis(self.initial_ms),
            factor: self.factor,
            longest: Duration::from_millis(self.max_ms),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct CapabilityFile {
    pub id: String,
    pub title: String,
    pub description: String,
    pub permission: String,
    #[serde(default)]
    pub permission_aliases: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub risk: Risk,
    pub write: bool,
    #[serde(default = "one_unit")]
    pub cost: u32,
    pub quota: Option<Quota>,
    pub input: Value,
    /// By argument: what its provider makes of the characters in it.
    #[serde(default)]
    pub markup: BTreeMap<String, Markup>,
    pub output: Value,
    #[serde(default)]
    pub steps: Vec<StepFile>,
    pub request: RequestFile,
    pub response: Option<Value>,
    /// Whether an answer that is no JSON is a result, as a text.
    #[serde(default)]
    pub text_answer: bool,
    #[serde(default)]
    pub already: Vec<String>,
    /// Places that tell of an error besides the integration's.
    #[serde(default)]
    pub error: Vec<ErrorAt>,
    /// Places that every answer of success has.
    pub requires: Option<Vec<String>>,
    #[serde(default)]
    pub idempotency: DeclaredIdempotency,
    pub probe: Option<ProbeFile>,
    pub pagination: Option<Pagination>,
    pub retry: Option<RetryRule>,
}

fn one_unit() -> u32 {
    1
}
fn one() -> u64 {
    1
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct StepFile {
    pub name: String,
    pub request: RequestFile,
    pub take: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct MatchFile {
    pub at: String,
    #[serde(default)]
    pub prefix: String,
    /// This or `contains`.
    pub equals: Option<String>,
    pub contains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct ProbeFile {
    #[serde(default = "settle_seconds")]
    pub settle_seconds: u64,
    #[serde(default)]
    pub margin_seconds: u64,
    pub lookup: Option<LookupFile>,
    pub request: RequestFile,
    pub instead: Option<InsteadFile>,
    pub items: String,
    /// Places that an answer has although it may leave `items` out where there are none. Absent: `items` itself.
    pub requires: Option<Vec<String>>,
    #[serde(rename = "match")]
    pub matches: Option<MatchFile>,
    pub take: Value,
    pub cursor: Option<String>,
}

/// Where the file does not say that the provider shows a write at once.
fn settle_seconds() -> u64 {
    2
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct InsteadFile {
    pub given: String,
    pub request: RequestFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::connect::catalog) struct LookupFile {
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
pub(in crate::connect::catalog) struct WhenFile {
    pub value: String,
    pub starts_with: String,
}
