//! A request to a provider and its answer, apart from HTTP.

use crate::domain::Timestamp;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Slack,
    Quickbooks,
    Gmail,
    Github,
    Stripe,
}

impl Provider {
    pub const ALL: [Provider; 5] = [
        Provider::Slack,
        Provider::Quickbooks,
        Provider::Gmail,
        Provider::Github,
        Provider::Stripe,
    ];
    /// Those that the demo company works with, and so those for which [`super::accounts_at`] has an account.
    pub const DEMO: [Provider; 3] = [Provider::Slack, Provider::Quickbooks, Provider::Gmail];
    /// What an error says when a name is none of them.
    pub(super) const MUST_BE: &'static str = "must be slack, quickbooks, gmail, github or stripe";

    /// The integration's id in the catalog, and the first part of the path.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Slack => "slack",
            Provider::Quickbooks => "quickbooks",
            Provider::Gmail => "gmail",
            Provider::Github => "github",
            Provider::Stripe => "stripe",
        }
    }
    /// As people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Provider::Slack => "Slack",
            Provider::Quickbooks => "QuickBooks Online",
            Provider::Gmail => "Gmail",
            Provider::Github => "GitHub",
            Provider::Stripe => "Stripe",
        }
    }
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.name() == name)
    }
    /// The token that the sandbox always takes.
    pub fn token(self) -> &'static str {
        match self {
            Provider::Slack => "sandbox-slack-token",
            Provider::Quickbooks => "sandbox-quickbooks-token",
            Provider::Gmail => "sandbox-gmail-token",
            Provider::Github => "sandbox-github-token",
            Provider::Stripe => "sandbox-stripe-token",
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
    /// For the markers of a quota; never recorded, so no provider's state may depend on them.
    pub headers: HeaderMap,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// Besides the content type; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Value,
}

impl Answer {
    pub fn new(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body,
        }
    }
    pub fn ok(body: Value) -> Self {
        Self::new(200, body)
    }
    pub fn with_header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
    pub fn retry_after(self, seconds: u64) -> Self {
        self.with_header("retry-after", seconds)
    }
}
