//! Writes that were sent and for which nobody waits any more.

use super::{
    Behalf, Prepared,
    ledger::{GONE, Ledger, StillWanted, was_accepted},
};
use crate::{
    actors::{connector::connections::CONNECTION_ACTIVE, core::Core, gate::Authority},
    domain::{ContentHash, EmployeeId},
    graph::StepId,
    persistence::{DbError, EffectChange, EffectRow, EffectStatus, EffectUpdate, connection_get},
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Finds out what became of a write that was sent and for which nobody waits any more: whoever asked for it was cut off with the process
/// that sent it (`by_client`), or its run is over. Not for the effects of runs that go on, which their employees take up.
pub async fn settle_orphan(core: &Core, row: EffectRow, by_client: bool) -> Vec<EffectChange> {
    let job = Behalf {
        org: row.org_id,
        // It queues for the connection on its own.
        employee: EmployeeId::from_uuid(row.run_id.uuid()),
        execution: row.run_id,
        step: row.step.parse().unwrap_or(StepId::ZERO),
        fresh: false,
        of_run: false,
    };
    let call = match locate(core, &row).await {
        Ok(Some(call)) => call,
        Ok(None) => {
            let mut update = EffectUpdate::new(row.id, EffectStatus::Ambiguous);
            let note = json!({"why": GONE, "doubt": "its connection or what was sent is not there any more"});
            update.note = Some(note.to_string());
            return vec![EffectChange::Update(Box::new(update))];
        }
        // Another time.
        Err(_) => return Vec::new(),
    };
    let mut ledger = Ledger {
        core,
        job: &job,
        call,
        id: row.id,
        is_accepted: was_accepted(&row),
        key: row.idempotency_key,
        attempts: row.attempts,
        sent: row.sent,
        is_reopened: false,
        wanted: match by_client {
            true => StillWanted::ByKeyAlone,
            false => StillWanted::No,
        },
    };
    ledger.resolve(GONE).await.1
}

/// What a row of the ledger was made from.
async fn locate(core: &Core, row: &EffectRow) -> Result<Option<Prepared>, DbError> {
    let capability = core
        .catalogs
        .capability(row.org_id, &row.capability)
        .await?;
    let arguments: Value = serde_json::from_str(&row.args).unwrap_or_default();
    // The ledger keeps no secret: what it has may be less than what was sent.
    let is_whole = ContentHash::of_json(&arguments) == row.args_hash;
    let mut tx = core.db.begin_read(row.org_id).await?;
    let connection = match row.connection_id.filter(|_| is_whole) {
        Some(id) => connection_get(&mut tx, id).await?,
        None => None,
    };
    drop(tx);
    // Whoever owns it: it was theirs to use when the write left.
    let connection = match connection {
        Some(row) if row.status == CONNECTION_ACTIVE => core.connectors().of_row(&row).await?,
        _ => None,
    };
    Ok(capability
        .zip(connection)
        .map(|(capability, connection)| Prepared {
            capability,
            connection,
            arguments,
            marked: None,
            authority: Authority::Runtime,
            max_items: None,
            deadline: Instant::now() + core.settings.action_deadline,
            sink: None,
        }))
}
