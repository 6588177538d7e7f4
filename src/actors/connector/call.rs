//! A call as it comes to a connector, and why one did not leave.

use super::{
    Waiter,
    connections::Connection,
    exchange::{Tokens, exchange},
    queue::Claim,
    token::Kept,
    turns::Guest,
};
use crate::{
    actors::core::Core,
    connect::{CallOutcome, HttpCaller, ShapedRequest},
    domain::{EffectId, EmployeeId, ExecutionId, OrgId},
    graph::Later,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::Instant};

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
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
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
    /// Only among nodes: the caller looks for it where it is now.
    #[error("the connector has moved to another node")]
    Moved,
    #[error("the connection's node cannot be reached at the moment")]
    Unreachable,
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
            Self::Stopped | Self::Moved | Self::Unreachable => "unavailable",
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

/// A call in a connector's queue, and who waits for it.
pub(super) struct Call {
    work: Work,
    pub attempts: u32,
    /// Which limit counts for it.
    pub lane: usize,
    pub waiter: Option<Waiter>,
}

enum Work {
    Here {
        request: Arc<CallRequest>,
        reply: oneshot::Sender<Answer>,
    },
    /// The caller lives on another node, and makes the call there when it is its turn.
    Elsewhere(Box<Guest>),
}

impl Call {
    pub fn new(
        request: Arc<CallRequest>,
        waiter: Option<Waiter>,
    ) -> (Box<Self>, oneshot::Receiver<Answer>) {
        let (reply, answer) = oneshot::channel();
        let work = Work::Here { request, reply };
        (Box::new(Self::of(work, waiter)), answer)
    }

    pub fn of_guest(guest: Guest, waiter: Option<Waiter>) -> Box<Self> {
        Box::new(Self::of(Work::Elsewhere(Box::new(guest)), waiter))
    }

    const fn of(work: Work, waiter: Option<Waiter>) -> Self {
        Self {
            work,
            attempts: 0,
            lane: 0,
            waiter,
        }
    }

    pub fn claim(&self) -> Claim {
        let cost = match &self.work {
            Work::Here { request, .. } => request.cost,
            Work::Elsewhere(guest) => guest.asks.cost,
        };
        Claim {
            employee: self.employee(),
            cost,
            lane: self.lane,
        }
    }

    pub fn employee(&self) -> EmployeeId {
        match &self.work {
            Work::Here { request, .. } => request.employee,
            Work::Elsewhere(guest) => guest.asks.employee,
        }
    }

    pub fn capability(&self) -> &str {
        match &self.work {
            Work::Here { request, .. } => &request.request.capability,
            Work::Elsewhere(guest) => &guest.asks.capability,
        }
    }

    pub fn write(&self) -> bool {
        match &self.work {
            Work::Here { request, .. } => request.request.write,
            Work::Elsewhere(guest) => guest.asks.write,
        }
    }

    /// Whether the ledger has a row of it.
    pub fn has_effect(&self) -> bool {
        match &self.work {
            Work::Here { request, .. } => request.effect.is_some(),
            Work::Elsewhere(guest) => guest.asks.effect,
        }
    }

    pub fn deadline(&self) -> Instant {
        match &self.work {
            Work::Here { request, .. } => request.deadline,
            Work::Elsewhere(guest) => guest.deadline,
        }
    }

    /// Whether nobody waits for it any more.
    pub fn is_given_up(&self) -> bool {
        match &self.work {
            Work::Here { reply, .. } => reply.is_closed(),
            Work::Elsewhere(guest) => guest.is_gone(),
        }
    }

    /// It is its turn.
    pub async fn go(
        &mut self,
        core: &Arc<Core>,
        http: &HttpCaller,
        kept: &Kept,
        connection: &Arc<Connection>,
    ) -> Answer {
        match &mut self.work {
            Work::Here { request, reply } => {
                let tokens = Tokens::Own(kept);
                tokio::select! {
                    // First: of a step that was cancelled or given up nothing may leave any more.
                    biased;
                    () = reply.closed() => Err(ConnectorError::Stopped),
                    answer = exchange(core, http, &tokens, connection, request) => answer,
                }
            }
            Work::Elsewhere(guest) => guest.have_turn(core, kept, connection).await,
        }
    }

    /// It waits for another turn.
    pub fn is_to_go_again(&self) {
        if let Work::Elsewhere(guest) = &self.work {
            guest.hears(true);
        }
    }

    /// It is over.
    pub fn end(self, answer: Answer) {
        match self.work {
            Work::Here { reply, .. } => drop(reply.send(answer)),
            Work::Elsewhere(guest) => guest.end(answer),
        }
    }
}
