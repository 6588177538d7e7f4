//! A call as it comes to a connector, and why one did not leave.

use crate::{
    connect::{CallOutcome, ShapedRequest},
    domain::{EffectId, EmployeeId, ExecutionId, OrgId},
    graph::Later,
};
use std::time::Duration;
use tokio::time::Instant;

/// The ledger's row of a write, for the note that it leaves now.
#[derive(Clone, Copy, Debug)]
pub struct EffectTicket {
    pub org: OrgId,
    pub execution: ExecutionId,
    pub effect: EffectId,
    pub attempts: i32,
}

/// One call.
pub struct CallRequest {
    pub request: ShapedRequest,
    /// What it takes from the quota.
    pub cost: u32,
    /// When the caller stops waiting: for its turn, for retries, for the answer.
    pub deadline: Instant,
    pub employee: EmployeeId,
    /// Of a write.
    pub effect: Option<EffectTicket>,
}

/// Why a call did not leave. It surely had no effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectorError {
    #[error("too many calls wait for this connection")]
    Overloaded,
    /// The same, by a connector that knows when there may be room.
    #[error("too many calls wait for this connection")]
    Full(Later),
    #[error("the call's turn did not come in time: it waited for {reason}")]
    Late { reason: String, later: Later },
    #[error("the provider has failed too often, calls are held back for {}s", .0.as_secs().max(1))]
    BreakerOpen(Duration),
    #[error("the connection's token cannot be used: {0}")]
    Token(String),
    /// A person has to connect the account again.
    #[error("the account has to be connected again: {0}")]
    NeedsConsent(String),
    #[error("the connection's token cannot be had now: {reason}")]
    TokenLater {
        reason: String,
        retry_after: Option<Duration>,
    },
    #[error("the write could not be made durable before it left")]
    NotDurable,
    #[error("the connector has stopped")]
    Stopped,
}

impl ConnectorError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Overloaded | Self::Full(_) => "overloaded",
            Self::Late { .. } => "rate_limited",
            Self::BreakerOpen(_) => "breaker_open",
            Self::Token(_) | Self::NeedsConsent(_) => "auth_error",
            Self::TokenLater { .. } => "token_unavailable",
            Self::NotDurable => "not_durable",
            Self::Stopped => "unavailable",
        }
    }

    /// When it is worth another try, where that is known.
    pub fn later(&self) -> Option<Later> {
        let after = |wait: &Duration| Later {
            estimate_ms: wait.as_millis() as u64,
            place: None,
        };
        match self {
            Self::Full(later) | Self::Late { later, .. } => Some(*later),
            Self::BreakerOpen(wait) => Some(after(wait)),
            Self::TokenLater { retry_after, .. } => retry_after.as_ref().map(after),
            _ => None,
        }
    }
}

pub type Answer = Result<CallOutcome, ConnectorError>;
