//! One try of a call.

use super::{
    call::{Answer, CallRequest, ConnectorError},
    connections::Connection,
    token::{Kept, Lent, placed},
};
use crate::{
    actors::{append::new_append, core::Core},
    connect::{CallOutcome, HttpCaller, token::Live},
    persistence::{EffectChange, EffectStatus, EffectUpdate},
};
use std::sync::Arc;
use tokio::time::Instant;

/// Where the credential comes from.
pub enum Tokens<'a> {
    /// The connector is here.
    Own(&'a Kept),
    /// It is on another node, which has seen to it that the credential is good.
    Lent(&'a Lent),
}

impl Tokens<'_> {
    async fn live(
        &self,
        core: &Core,
        connection: &Connection,
    ) -> Result<Arc<Live>, ConnectorError> {
        match self {
            Self::Own(kept) => kept.live(core, connection).await,
            Self::Lent(lent) => lent.live(core, connection).await,
        }
    }

    async fn instead_of(
        &self,
        live: &Live,
        core: &Core,
        connection: &Connection,
    ) -> Result<Option<Arc<Live>>, ConnectorError> {
        match self {
            Self::Own(kept) => kept.instead_of(live, core, connection).await,
            Self::Lent(lent) => lent.instead_of(live, core, connection).await,
        }
    }
}

/// One try: token, the durable note that it leaves, the request.
pub async fn exchange(
    core: &Core,
    http: &HttpCaller,
    tokens: &Tokens<'_>,
    connection: &Connection,
    call: &CallRequest,
) -> Answer {
    let live = tokens.live(core, connection).await?;
    let secrets = placed(&live, core, connection).await?;
    if let Some(ticket) = call.effect {
        let mut update = EffectUpdate::new(ticket.effect, EffectStatus::Sent);
        update.attempts = Some(ticket.attempts);
        update.epoch = Some(core.epoch() as i64);
        update.sent = Some(core.clock.now());
        let mut append = new_append(ticket.org);
        append.effects.push(EffectChange::Update(Box::new(update)));
        core.journal
            .write(Some(ticket.execution), append)
            .await
            .map_err(|_| ConnectorError::NotDurable)?;
    }
    // Looked at last: a node that lost its lease sends nothing more.
    if !core.placement.may_act() {
        return Err(ConnectorError::Stopped);
    }
    let left = call.deadline.saturating_duration_since(Instant::now());
    let time = left.min(core.settings.request_timeout);
    let outcome = http.call_with(&call.request, &secrets, time).await;
    if !matches!(outcome, CallOutcome::Auth { .. }) {
        return Ok(outcome);
    }
    // Refused without being carried out, so it may go once more: tokens are revoked before their time is over, too.
    let Some(another) = tokens.instead_of(&live, core, connection).await? else {
        return Ok(outcome);
    };
    let left = call.deadline.saturating_duration_since(Instant::now());
    if another.version == live.version || left.is_zero() {
        return Ok(outcome);
    }
    let secrets = placed(&another, core, connection).await?;
    if !core.placement.may_act() {
        return Ok(outcome);
    }
    let time = left.min(core.settings.request_timeout);
    Ok(http.call_with(&call.request, &secrets, time).await)
}
