//! Writes by proxy that a crash, or a task that was dropped, left between two states. Nobody waits for them in this process, so the sweeper
//! settles them: what never left has failed, of what was sent the provider is asked, and what nobody can tell is a person's.
//!
//! Whoever tries again with the same idempotency key meets what was found out; what was found not to have happened is sent then.

use super::under_way::Placed;
use crate::{
    actors::{append::new_append, core::Core, effects::settle_orphan},
    domain::Timestamp,
    persistence::{DbError, EffectChange, EffectRow, EffectStatus, EffectUpdate, effects_orphaned},
};
use serde_json::json;
use std::time::Duration;

/// How many are settled in one round.
const BATCH: u32 = 100;

/// # Errors
/// If they cannot be read.
pub async fn settle(core: &Core) -> Result<usize, DbError> {
    let longest = core.settings.action_deadline * 2;
    let now = core.clock.now();
    let before = Timestamp::from_micros(now.micros() - longest.as_micros() as i64);
    let mut tx = core
        .db
        .begin_system_read("writes by proxy that nobody waits for")
        .await?;
    let rows = effects_orphaned(&mut tx, before, BATCH).await?;
    drop(tx);
    let mut settled = 0;
    for row in rows {
        // A client has come back for it, and finds out itself.
        if core.proxied.is_under_way(row.run_id) {
            continue;
        }
        let _alone = core.proxied.enter(row.run_id).await;
        let Ok(_placed) = Placed::claim(core, row.run_id, Duration::ZERO).await else {
            continue;
        };
        let (org, run, id) = (row.org_id, row.run_id, row.id);
        let changes = match row.status {
            EffectStatus::Intended => vec![never_sent(&row, now)],
            _ => settle_orphan(core, row).await,
        };
        if changes.is_empty() {
            continue;
        }
        let mut append = new_append(org);
        append.effects = changes;
        match core.journal.write(Some(run), append).await {
            Ok(_) => settled += 1,
            Err(error) => tracing::warn!(effect = %id, %error, "a write by proxy is not settled"),
        }
    }
    if settled > 0 {
        tracing::warn!(
            settled,
            "writes by proxy were left between two states and are settled"
        );
    }
    Ok(settled)
}

fn never_sent(row: &EffectRow, now: Timestamp) -> EffectChange {
    let mut update = EffectUpdate::new(row.id, EffectStatus::Failed);
    update.settled = Some(now);
    update.note = Some(json!({"why": "the call ended before it was sent"}).to_string());
    EffectChange::Update(Box::new(update))
}
