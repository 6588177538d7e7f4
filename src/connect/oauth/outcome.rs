//! What a token endpoint's answer means for the grant.

use super::secret::Secret;
use crate::domain::Timestamp;
use serde_json::{Map, Value};
use std::time::Duration;

/// How asking for a token ended. No text in it holds a secret.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenOutcome {
    Granted(Box<Granted>),
    /// The provider will never renew this grant: a person must consent again, or give other credentials.
    DeadGrant {
        reason: String,
    },
    /// It may work in a moment; the grant stays.
    Transient {
        reason: String,
        retry_after: Option<Duration>,
        /// Whether the provider may have acted all the same, so that a refresh token may have been used up.
        unsure: bool,
    },
    /// It will not work until somebody changes the app or the catalog; the grant stays.
    Misconfigured {
        detail: String,
    },
}

/// A token and what came with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    pub access_token: Secret,
    /// `None`: the one before stays good.
    pub refresh_token: Option<Secret>,
    /// `None`: never, or nobody knows.
    pub expires_at: Option<Timestamp>,
    /// `None`: as asked.
    pub scopes: Option<Vec<String>>,
    /// Fields of the account that the answer told.
    pub learned: Map<String, Value>,
}

impl TokenOutcome {
    pub(super) fn misconfigured(detail: impl Into<String>) -> Self {
        Self::Misconfigured {
            detail: detail.into(),
        }
    }
}
