//! Tokens are renewed before they end, so that no call waits for a token endpoint, and a grant that died in the night is known in the
//! morning and not with the first run.
//!
//! Invariants: a token that is due is renewed by one node, and there by the one flight that callers join too; at most [`AT_ONCE`] are renewed at
//! once. What is due stands in the database, so that a restart goes on with it. What fails is due again later (`connect::oauth::refresh`).

use super::HubError;
use crate::{
    actors::{cluster::words::News, core::Core, vitals::Waiting},
    connect::token::TokenError,
    domain::{ConnectionId, Timestamp},
    persistence::{ConnectionRow, DbError, connection_refresh_claim, connections_refresh_due},
};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Token endpoints that are asked at once: each is another provider's or account's, and none of them is in a hurry.
const AT_ONCE: usize = 16;
/// Connections that are read at once.
const PAGE: u32 = 200;
/// When a refresh of which nothing was heard is due again. Longer than a token endpoint is waited for.
const AGAIN: Duration = Duration::from_secs(60);

/// Runs until the process ends.
pub async fn run(core: Arc<Core>) {
    let vitals = core.vitals.register("node/renewing", "renewing", None, 1);
    let mut rounds = interval(core.settings.renew_every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut under_way, mut flights) = (HashSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            _ = rounds.tick() => {
                if let Err(error) = start_due(&core, &mut under_way, &mut flights).await {
                    vitals.record_error(error.to_string(), core.clock.now());
                    tracing::warn!(%error, "tokens that are due could not be read");
                }
            }
            Some(landed) = flights.join_next(), if !flights.is_empty() => match landed {
                Ok(id) => drop(under_way.remove(&id)),
                // A panic: which one it was is not known, and reading them all again does no harm.
                Err(_) if flights.is_empty() => under_way.clear(),
                Err(_) => {}
            },
        }
        vitals.set_load(flights.len(), 0, 0);
        vitals.set_waiting(Some(Waiting {
            on: "a token that is due".into(),
            since: core.clock.now(),
        }));
    }
}

async fn start_due(
    core: &Arc<Core>,
    under_way: &mut HashSet<ConnectionId>,
    flights: &mut JoinSet<ConnectionId>,
) -> Result<(), DbError> {
    let room = AT_ONCE.saturating_sub(under_way.len());
    if room == 0 || !core.placement.may_act() {
        return Ok(());
    }
    let now = core.clock.now();
    let (mut after, mut room) = (None::<ConnectionRow>, room);
    // Past those that are another node's, which stay due until that one renews them: however many they are, they hold back nothing here.
    loop {
        let mut tx = core.db.begin_system_read("tokens that are due").await?;
        let page = connections_refresh_due(&mut tx, now, after.as_ref(), PAGE).await?;
        drop(tx);
        after = page.last().cloned();
        let is_last = page.len() < PAGE as usize;
        for row in page {
            if room == 0 {
                return Ok(());
            }
            // By the node where its connector lives, whose calls join the same flight.
            if under_way.contains(&row.id) || !core.connectors().has(&row).await {
                continue;
            }
            room -= 1;
            under_way.insert(row.id);
            let core = core.clone();
            flights.spawn(async move {
                renew(&core, &row, now).await;
                row.id
            });
        }
        if is_last {
            return Ok(());
        }
    }
}

async fn renew(core: &Core, row: &ConnectionRow, now: Timestamp) {
    match claimed(core, row, now).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => {
            tracing::warn!(connection = %row.id, %error, "a token that is due could not be claimed");
            return;
        }
    }
    let (org, seen) = (row.org_id, row.credential_version);
    match core.hub.renewed(org, row.id, seen).await {
        Ok(live) => {
            let (integration, id) = (row.integration.clone(), row.id);
            core.connectors().renewed(org, &integration, id, live);
            let news = News::Credential {
                org,
                integration,
                id,
            };
            core.let_others_know(news);
        }
        // Its owner is told; see `telling`.
        Err(TokenError::NeedsConsent { .. }) => {}
        Err(error) => {
            tracing::info!(connection = %row.id, %error, "a token was not renewed ahead of its end");
        }
    }
}

async fn claimed(core: &Core, row: &ConnectionRow, now: Timestamp) -> Result<bool, HubError> {
    let reason = "a token is renewed ahead of its end";
    let mut tx = core.db.begin_fenced(reason, core.fence()).await?;
    let claimed = connection_refresh_claim(&mut tx, row, now.after(AGAIN)).await?;
    tx.commit().await?;
    Ok(claimed)
}
