//! Whether a call has left, and what its caller is told of it.
//!
//! The rule: *surely not sent* can be said only of a call that is held. A call is held until the note that it leaves is durable; the note
//! gives out a [`Permit`], and from then on the only thing that can come of the call is an outcome, [`CallOutcome::Unknown`] if nobody tells
//! one: because the connector was stopped or killed, because a task broke down, because a message was lost. It is held again when the
//! provider has surely refused it, and then the note is taken back.

use super::call::{CallRequest, EffectTicket};
use crate::{
    actors::{append::new_append, core::Core},
    connect::CallOutcome,
    domain::Timestamp,
    graph::Later,
    persistence::{Append, EffectChange, EffectStatus, EffectUpdate, Hit, Receipt},
};
use serde::{Deserialize, Serialize};
use std::{fmt, ops::Deref, time::Duration};

/// Why a call is held, or was given back.
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
    /// Only among connectors: the caller looks for it where it is now.
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

/// A call that surely had no effect, and why. Only a [`Fate`] makes one, of a call that is held.
#[derive(Clone, Debug)]
pub struct NotSent(ConnectorError);

impl NotSent {
    pub fn why(self) -> ConnectorError {
        self.0
    }

    /// Whether another connector may have it: this one left, or was ended while it waited there.
    pub(super) fn is_to_go_elsewhere(&self) -> bool {
        matches!(self.0, ConnectorError::Moved | ConnectorError::Stopped)
    }
}
impl Deref for NotSent {
    type Target = ConnectorError;
    fn deref(&self) -> &ConnectorError {
        &self.0
    }
}
impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a caller is told.
pub type Answer = Result<CallOutcome, NotSent>;

/// What is known of a call, for the limits that count it.
pub type Known = Result<CallOutcome, ConnectorError>;

/// What is told of a call if nobody says more.
#[derive(Debug)]
pub(super) struct Fate {
    known: Known,
    is_held: bool,
}

impl Fate {
    /// Of a call that has just come.
    pub fn held() -> Self {
        Self {
            known: Err(ConnectorError::Stopped),
            is_held: true,
        }
    }

    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Why it does not leave. What has left is not refused any more: then its outcome stands.
    pub fn refuse(&mut self, why: ConnectorError) {
        if self.is_held {
            self.known = Err(why);
        }
    }

    /// Whether it may be tried once more without a look at what became of it.
    pub fn may_go_again(&self) -> bool {
        self.is_held
    }

    /// A guest's, which is noted and made on the node of its caller: what that node has told.
    pub fn told(&mut self, known: Known) {
        self.known = known;
    }

    pub fn into_answer(self) -> Answer {
        match self.known {
            Err(why) if self.is_held => Err(NotSent(why)),
            Err(_) => Ok(nobody_told()),
            Ok(outcome) => Ok(outcome),
        }
    }

    /// Makes it durable that the call leaves now, if it writes.
    ///
    /// # Errors
    /// It does not leave: the note is not durable, or the ledger's row is in a state from which nothing is sent.
    pub async fn leave<'a>(
        &'a mut self,
        core: &'a Core,
        call: &CallRequest,
    ) -> Result<Permit<'a>, ConnectorError> {
        let ticket = match call.effect {
            Some(ticket) => {
                ticket.note_sent(core).await?;
                Some(ticket)
            }
            // Nothing that is written outside goes without a row.
            None if call.request.write => return Err(ConnectorError::NotDurable),
            None => None,
        };
        // What reads has no effect, whatever becomes of it.
        self.is_held = !call.request.write;
        self.known = Ok(nobody_told());
        Ok(Permit {
            fate: self,
            core,
            ticket,
        })
    }
}

/// What came of a call that has left, when nobody says so.
pub(super) fn nobody_told() -> CallOutcome {
    CallOutcome::Unknown {
        reason: "nobody told how the call ended".into(),
        status: None,
        retry_after: None,
    }
}

/// The right to send a call once. If it is dropped without an outcome, nobody knows what became of the call.
#[must_use = "what is let go without an outcome is reported as unknown"]
pub(super) struct Permit<'a> {
    fate: &'a mut Fate,
    core: &'a Core,
    ticket: Option<EffectTicket>,
}

impl Permit<'_> {
    /// It came to this. A call that the provider surely did not carry out is held again, and its row says so.
    pub fn spend(self, outcome: CallOutcome) {
        let Self { fate, core, ticket } = self;
        if outcome.is_surely_not_applied() {
            fate.is_held = true;
            if let Some(ticket) = ticket {
                ticket.take_back(core);
            }
        }
        fate.known = Ok(outcome);
    }
}

impl EffectTicket {
    fn update(&self, core: &Core, status: EffectStatus) -> (EffectUpdate, Timestamp) {
        let now = core.clock.now();
        let mut update = EffectUpdate::new(self.effect, status);
        update.attempts = Some(self.attempts);
        update.epoch = Some(core.epoch() as i64);
        update.at = Some(now);
        (update, now)
    }

    fn append(&self, update: EffectUpdate) -> (Append, Receipt) {
        let mut append = new_append(self.org);
        let receipt = update.receipt.clone();
        append.effects.push(EffectChange::Update(Box::new(update)));
        (append, receipt)
    }

    async fn note_sent(&self, core: &Core) -> Result<(), ConnectorError> {
        let (mut update, now) = self.update(core, EffectStatus::Sent);
        update.sent = Some(self.in_doubt_since.unwrap_or(now));
        if self.is_reopened {
            update.from = &[EffectStatus::Reconciled];
        }
        let (append, receipt) = self.append(update);
        let written = core.journal.write(Some(self.execution), append).await;
        match written.map(|_| receipt.read()) {
            Ok(Hit::Row) => Ok(()),
            // Somebody else has sent or settled it.
            Ok(Hit::NoRow) | Err(_) => Err(ConnectorError::NotDurable),
        }
    }

    /// It was surely not carried out: the row is an intention again. Nobody waits for that; the journal keeps the order of what one run
    /// writes. Where an earlier sending is in doubt, the refusal of a later one says nothing, and the row stays as it is.
    fn take_back(&self, core: &Core) {
        if self.in_doubt_since.is_some() {
            return;
        }
        let (update, _) = self.update(core, EffectStatus::Intended);
        let (append, _) = self.append(update);
        let effect = self.effect;
        let done = move |written: Result<_, crate::actors::journal::JournalError>| {
            if let Err(error) = written {
                tracing::warn!(%effect, %error, "that a write was refused is not in the ledger");
            }
        };
        core.journal
            .submit(Some(self.execution), append, Box::new(done));
    }
}
