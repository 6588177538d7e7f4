//! What nobody waits for: rotations that were cut off, states and links that have expired, connections to which nobody consented.

use super::keys::{KeysError, finish_rotations};
use crate::{
    actors::{cluster::duty, core::Core},
    domain::Timestamp,
    persistence::{connection_notices_delete, connections_delete_pending, oauth_delete_expired},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(900);
/// How long after their expiry states and links are kept, so that a person who comes late is told so.
const EXPIRED_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// How long it is known that somebody was told of a dead grant.
const NOTICE_KEPT: Duration = Duration::from_secs(30 * 86_400);
/// How long a connection waits for its first consent.
const PENDING_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// Runs until the process ends.
pub async fn run(core: Arc<Core>) {
    let mut rounds = interval(EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        if !core.has_duty(duty::HOUSEKEEPING).await {
            continue;
        }
        if let Err(error) = round(&core).await {
            tracing::warn!(%error, "housekeeping of connections");
        }
    }
}

async fn round(core: &Core) -> Result<(), KeysError> {
    let now = core.clock.now();
    let ago = |span: Duration| Timestamp::from_micros(now.micros() - span.as_micros() as i64);
    let mut tx = core.db.begin_system("what has expired is deleted").await?;
    oauth_delete_expired(&mut tx, ago(EXPIRED_KEPT)).await?;
    connections_delete_pending(&mut tx, ago(PENDING_KEPT)).await?;
    connection_notices_delete(&mut tx, ago(NOTICE_KEPT)).await?;
    tx.commit().await?;
    finish_rotations(&core.db, &core.vault, now).await
}
