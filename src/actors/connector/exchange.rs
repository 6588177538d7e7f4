//! One try of a call.

use super::{
    call::CallRequest,
    connections::Connection,
    departure::{ConnectorError, Fate},
    token::{Kept, Lent, placed},
};
use crate::{
    actors::{
        core::Core,
        faults::{CallPoint, FaultPoint},
    },
    connect::{CallOutcome, HttpCaller, ShapedRequest, catalog::PlacedSecret, token::Live},
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

/// One try: token, the durable note that it leaves, the request. What came of it is in `fate`, also when this is dropped or breaks down.
pub(super) async fn exchange(
    core: &Core,
    http: &HttpCaller,
    tokens: &Tokens<'_>,
    connection: &Connection,
    call: &CallRequest,
    fate: &mut Fate,
) {
    let exchange = Exchange {
        core,
        http,
        tokens,
        connection,
        call,
    };
    if let Err(why) = exchange.run(fate).await {
        fate.refuse(why);
    }
}

struct Exchange<'a> {
    core: &'a Core,
    http: &'a HttpCaller,
    tokens: &'a Tokens<'a>,
    connection: &'a Connection,
    call: &'a CallRequest,
}

impl Exchange<'_> {
    /// # Errors
    /// Why it does not leave, or does not leave once more.
    async fn run(&self, fate: &mut Fate) -> Result<(), ConnectorError> {
        let Self {
            core,
            tokens,
            connection,
            ..
        } = *self;
        self.reach(CallPoint::Begun);
        let live = tokens.live(core, connection).await?;
        let secrets = placed(&live, core, connection).await?;
        self.send(&live, &secrets, fate).await?;
        if !matches!(fate.known(), Ok(CallOutcome::Auth { .. })) {
            return Ok(());
        }
        // Refused without being carried out, so it may go once more: tokens are revoked before their time is over, too.
        let Some(another) = tokens.instead_of(&live, core, connection).await? else {
            return Ok(());
        };
        if another.version == live.version || self.call.deadline <= Instant::now() {
            return Ok(());
        }
        let secrets = placed(&another, core, connection).await?;
        // A node that may not act any more leaves it at the refusal.
        if core.placement.may_act() {
            self.send(&another, &secrets, fate).await?;
        }
        Ok(())
    }

    /// The request where the account is now: the answer that brought the token may have told that it moved since the request was shaped.
    async fn moved(&self, live: &Live) -> Option<ShapedRequest> {
        let before = self.connection;
        if live.version == before.credential_version {
            return None;
        }
        let known = self
            .core
            .connectors()
            .known(before.org, &before.integration, before.id);
        let now = known.await.ok()??;
        let (from, to) = (&before.account.base_url, &now.account.base_url);
        self.call.request.moved(from, to)
    }

    async fn send(
        &self,
        live: &Live,
        secrets: &[PlacedSecret],
        fate: &mut Fate,
    ) -> Result<(), ConnectorError> {
        let moved = self.moved(live).await;
        let request = moved.as_ref().unwrap_or(&self.call.request);
        // A node that lost its lease sends nothing more. The client looks again when it is connected.
        if !self.core.placement.may_act() {
            return Err(ConnectorError::Stopped);
        }
        self.reach(CallPoint::Ready);
        let permit = fate.leave(self.core, self.call).await?;
        self.reach(CallPoint::Noted);
        let left = self.call.deadline.saturating_duration_since(Instant::now());
        let time = left.min(self.core.settings.request_timeout);
        let outcome = self.http.call_with(request, secrets, time).await;
        self.reach(CallPoint::Answered);
        permit.spend(outcome);
        Ok(())
    }

    fn reach(&self, at: CallPoint) {
        let connection = self.connection.id;
        self.core.faults.reach(FaultPoint::Call { connection, at });
    }
}
