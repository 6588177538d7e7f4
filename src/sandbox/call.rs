//! A request to a provider and its answer, apart from HTTP.

use crate::domain::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Slack,
    Quickbooks,
    Gmail,
}

impl Provider {
    pub const ALL: [Provider; 3] = [Provider::Slack, Provider::Quickbooks, Provider::Gmail];

    /// The integration's id in the catalog, and the first part of the path.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Slack => "slack",
            Provider::Quickbooks => "quickbooks",
            Provider::Gmail => "gmail",
        }
    }
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }
    /// The token that the sandbox takes.
    pub fn token(self) -> &'static str {
        match self {
            Provider::Slack => "sandbox-slack-token",
            Provider::Quickbooks => "sandbox-quickbooks-token",
            Provider::Gmail => "sandbox-gmail-token",
        }
    }
}

/// A request as a provider sees it.
#[derive(Clone, Debug)]
pub struct Call {
    pub provider: Provider,
    /// In whole milliseconds, as the record keeps it, so that reading it again gives the same state.
    pub at: Timestamp,
    pub method: String,
    /// The provider's own path, decoded only where it is used.
    pub path: String,
    /// As it came, without the question mark.
    pub query: String,
    /// JSON as it is, a form as an object, anything else as text, nothing as null.
    pub body: Value,
    pub idempotency_key: Option<String>,
    /// From the `Authorization` header; never recorded.
    pub token: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub retry_after_seconds: Option<u64>,
    pub body: Value,
}

impl Answer {
    pub fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            retry_after_seconds: None,
            body,
        }
    }
    pub fn ok(body: Value) -> Self {
        Self::new(200, body)
    }
}
