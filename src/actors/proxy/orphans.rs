//! Writes that a crash, a dropped task or the end of their run left between two states. Nobody waits for them in this process, so the sweeper
//! settles them: what never left has failed, of what was sent the provider is asked, and what nobody can tell is a person's.
//!
//! Whoever tries again with the same idempotency key meets what was found out; what was found not to have happened is sent then. What a run
//! wanted that is over is never sent.

use super::under_way::Placed;
use crate::{
    actors::{append::new_append, core::Core, effects::settle_orphan},
    domain::Timestamp,
    persistence::{
        DbError, EffectChange, EffectRow, EffectStatus, EffectUpdate, Hit, LeftAlone, PROXIED_STEP,
        effects_left_alone,
    },
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

/// How many are read at once.
const PAGE: u32 = 100;
/// How many are settled at once: a provider that does not answer holds back its own.
const AT_ONCE: usize = 16;

/// Settles what is left alone, page after page, so that those of which nothing can be found out hold back none behind them. Gives how many.
///
/// # Errors
/// If they cannot be read.
pub async fn settle(core: &Core) -> Result<usize, DbError> {
    let now = core.clock.now();
    let ago = |time: Duration| Timestamp::from_micros(now.micros() - time.as_micros() as i64);
    let since = LeftAlone {
        run_over: ago(core.settings.request_timeout * 2),
        without_run: ago(core.settings.action_deadline * 2),
    };
    let (settled, mut after) = (AtomicUsize::new(0), None);
    loop {
        let mut tx = core
            .db
            .begin_system_read("writes that nobody waits for")
            .await?;
        let rows = effects_left_alone(&mut tx, since, after, PAGE).await?;
        drop(tx);
        let Some(last) = rows.last() else { break };
        after = Some((last.org_id, last.id));
        let each = stream::iter(rows).for_each_concurrent(AT_ONCE, async |row| {
            if settle_one(core, row, now).await == Some(Hit::Row) {
                settled.fetch_add(1, Ordering::Relaxed);
            }
        });
        each.await;
    }
    let settled = settled.into_inner();
    if settled > 0 {
        tracing::warn!(
            settled,
            "writes were left between two states and are settled"
        );
    }
    Ok(settled)
}

/// `None`: another time, or somebody else is at it.
async fn settle_one(core: &Core, row: EffectRow, now: Timestamp) -> Option<Hit> {
    // A client has come back for it, and finds out itself.
    if core.proxied.is_under_way(row.run_id) {
        return None;
    }
    let _alone = core.proxied.enter(row.run_id).await;
    let by_client = row.step == PROXIED_STEP;
    let _placed = match by_client {
        true => Some(Placed::claim(core, row.run_id, Duration::ZERO).await.ok()?),
        false => None,
    };
    let (org, run, id) = (row.org_id, row.run_id, row.id);
    let changes = match row.status {
        EffectStatus::Intended => vec![never_sent(core, &row, by_client, now)],
        _ => settle_orphan(core, row, by_client).await,
    };
    let receipt = changes.iter().rev().find_map(|change| match change {
        EffectChange::Update(update) => Some(update.receipt.clone()),
        _ => None,
    })?;
    let mut append = new_append(org);
    append.effects = changes;
    match core.journal.write(Some(run), append).await {
        Ok(_) => Some(receipt.read()),
        Err(error) => {
            tracing::warn!(effect = %id, %error, "a write that nobody waits for is not settled");
            None
        }
    }
}

fn never_sent(core: &Core, row: &EffectRow, by_client: bool, now: Timestamp) -> EffectChange {
    let mut update = EffectUpdate::new(row.id, EffectStatus::Failed);
    // Nothing else: a client may come back and send it just now.
    update.from = &[EffectStatus::Intended];
    update.attempts = Some(row.attempts);
    update.epoch = Some(core.epoch() as i64);
    update.settled = Some(now);
    update.at = Some(now);
    // What is known already, a person's word for example, stays beside it.
    let known = row.note.as_deref().map(serde_json::from_str);
    let mut note = match known {
        Some(Ok(Value::Object(known))) => Value::Object(known),
        _ => json!({}),
    };
    note["why"] = match by_client {
        true => "the call ended before it was sent",
        false => "the run ended before it was sent",
    }
    .into();
    update.note = Some(note.to_string());
    EffectChange::Update(Box::new(update))
}
