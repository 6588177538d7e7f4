//! Effects, and the account of schedules.

use super::{Append, EffectChange, EffectUpdate};
use crate::{
    domain::{ConnectionId, EffectId, ExecutionId, OrgId, Timestamp},
    persistence::{
        EffectRow,
        error::Result,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use std::collections::BTreeMap;

pub(super) async fn write(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    effects_intend(inner, live).await?;
    effects_update(inner, live).await?;
    fires_insert(inner, live).await?;
    schedules_advance(inner, live).await
}

async fn effects_intend(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut rows: Vec<(OrgId, &EffectRow)> = Vec::new();
    for append in live {
        rows.extend(append.effects.iter().filter_map(|change| match change {
            EffectChange::Intend(row) => Some((append.org, &**row)),
            EffectChange::Update(_) => None,
        }));
    }
    rows.sort_unstable_by(|(org_a, a), (org_b, b)| (org_a, &a.key).cmp(&(org_b, &b.key)));
    let columns = vec![
        (
            "org_id",
            Column::Uuid(rows.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(rows.iter().map(|(_, row)| row.id.uuid()).collect()),
        ),
        (
            "run_id",
            Column::Uuid(rows.iter().map(|(_, row)| row.run_id.uuid()).collect()),
        ),
        (
            "step",
            Column::Text(rows.iter().map(|(_, row)| row.step.as_str()).collect()),
        ),
        (
            "key",
            Column::Bytes(rows.iter().map(|(_, row)| row.key.as_slice()).collect()),
        ),
        (
            "capability",
            Column::Text(
                rows.iter()
                    .map(|(_, row)| row.capability.as_str())
                    .collect(),
            ),
        ),
        (
            "integration",
            Column::Text(
                rows.iter()
                    .map(|(_, row)| row.integration.as_str())
                    .collect(),
            ),
        ),
        (
            "connection_id",
            Column::MaybeUuid(
                rows.iter()
                    .map(|(_, row)| row.connection_id.map(ConnectionId::uuid))
                    .collect(),
            ),
        ),
        (
            "args_hash",
            Column::Bytes(
                rows.iter()
                    .map(|(_, row)| row.args_hash.bytes().as_slice())
                    .collect(),
            ),
        ),
        (
            "args",
            Column::Text(rows.iter().map(|(_, row)| row.args.as_str()).collect()),
        ),
        (
            "idempotency_key",
            Column::Text(
                rows.iter()
                    .map(|(_, row)| row.idempotency_key.as_str())
                    .collect(),
            ),
        ),
        (
            "status",
            Column::Text(rows.iter().map(|(_, row)| row.status.name()).collect()),
        ),
        (
            "attempts",
            Column::Int(rows.iter().map(|(_, row)| row.attempts).collect()),
        ),
        (
            "epoch",
            Column::Long(rows.iter().map(|(_, row)| row.epoch).collect()),
        ),
        (
            "intended_us",
            Column::Long(rows.iter().map(|(_, row)| row.intended.micros()).collect()),
        ),
        (
            "note",
            Column::MaybeText(rows.iter().map(|(_, row)| row.note.as_deref()).collect()),
        ),
        (
            "owner_user",
            Column::MaybeText(
                rows.iter()
                    .map(|(_, row)| row.owner_user.as_deref())
                    .collect(),
            ),
        ),
    ];
    const NAMES: &str = "org_id, id, run_id, step, key, capability, integration, connection_id, args_hash, args, idempotency_key, status, \
                         attempts, epoch, intended_us, note, owner_user";
    let statement = format!(
        "INSERT INTO effect ({NAMES}) SELECT {NAMES} FROM t WHERE true ON CONFLICT DO NOTHING"
    );
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}

/// Several changes of one effect come to one, for a statement may touch a row only once.
async fn effects_update(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut merged: BTreeMap<(OrgId, EffectId), EffectUpdate> = BTreeMap::new();
    for append in live {
        for change in &append.effects {
            if let EffectChange::Update(update) = change {
                let so_far = merged
                    .entry((append.org, update.id))
                    .or_insert_with(|| EffectUpdate::new(update.id, update.status));
                lay_over(so_far, update);
            }
        }
    }
    let updates = || merged.values();
    let micros = |time: Option<Timestamp>| time.map(Timestamp::micros);
    let columns = vec![
        (
            "org_id",
            Column::Uuid(merged.keys().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(merged.keys().map(|(_, id)| id.uuid()).collect()),
        ),
        (
            "status",
            Column::Text(updates().map(|update| update.status.name()).collect()),
        ),
        (
            "attempts",
            Column::MaybeLong(
                updates()
                    .map(|update| update.attempts.map(i64::from))
                    .collect(),
            ),
        ),
        (
            "epoch",
            Column::MaybeLong(updates().map(|update| update.epoch).collect()),
        ),
        (
            "sent_us",
            Column::MaybeLong(updates().map(|update| micros(update.sent)).collect()),
        ),
        (
            "settled_us",
            Column::MaybeLong(updates().map(|update| micros(update.settled)).collect()),
        ),
        (
            "response",
            Column::MaybeText(updates().map(|update| update.response.as_deref()).collect()),
        ),
        (
            "error",
            Column::MaybeText(updates().map(|update| update.error.as_deref()).collect()),
        ),
        (
            "note",
            Column::MaybeText(updates().map(|update| update.note.as_deref()).collect()),
        ),
    ];
    let statement = "UPDATE effect SET status = t.status, attempts = coalesce(CAST(t.attempts AS int), effect.attempts),
             epoch = coalesce(t.epoch, effect.epoch), sent_us = coalesce(t.sent_us, effect.sent_us),
             settled_us = coalesce(t.settled_us, effect.settled_us), response = coalesce(t.response, effect.response),
             error = coalesce(t.error, effect.error), note = coalesce(t.note, effect.note)
         FROM t WHERE effect.org_id = t.org_id AND effect.id = t.id AND effect.status NOT IN ('done', 'reconciled')";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

fn lay_over(so_far: &mut EffectUpdate, update: &EffectUpdate) {
    so_far.status = update.status;
    so_far.attempts = update.attempts.or(so_far.attempts);
    so_far.epoch = update.epoch.or(so_far.epoch);
    so_far.sent = update.sent.or(so_far.sent);
    so_far.settled = update.settled.or(so_far.settled);
    so_far.response = update.response.clone().or(so_far.response.take());
    so_far.error = update.error.clone().or(so_far.error.take());
    so_far.note = update.note.clone().or(so_far.note.take());
}

/// A time that was accounted for stays as it is: two nodes that look at the same schedule agree on the first.
async fn fires_insert(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut fires: Vec<_> = live
        .iter()
        .flat_map(|append| append.fires.iter().map(|fire| (append.org, fire)))
        .collect();
    fires.sort_unstable_by_key(|(_, fire)| (fire.schedule_id, fire.due));
    let columns = vec![
        (
            "org_id",
            Column::Uuid(fires.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "schedule_id",
            Column::Uuid(
                fires
                    .iter()
                    .map(|(_, fire)| fire.schedule_id.uuid())
                    .collect(),
            ),
        ),
        (
            "due_us",
            Column::Long(fires.iter().map(|(_, fire)| fire.due.micros()).collect()),
        ),
        (
            "outcome",
            Column::Text(fires.iter().map(|(_, fire)| fire.outcome.name()).collect()),
        ),
        (
            "run_id",
            Column::MaybeUuid(
                fires
                    .iter()
                    .map(|(_, fire)| fire.run_id.map(ExecutionId::uuid))
                    .collect(),
            ),
        ),
        (
            "at_us",
            Column::Long(fires.iter().map(|(_, fire)| fire.at.micros()).collect()),
        ),
    ];
    const NAMES: &str = "org_id, schedule_id, due_us, outcome, run_id, at_us";
    let statement = format!(
        "INSERT INTO schedule_fire ({NAMES}) SELECT {NAMES} FROM t WHERE true ON CONFLICT (schedule_id, due_us) DO NOTHING"
    );
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}

/// The last one counts if a schedule is advanced twice in a batch; a schedule never goes back in time.
async fn schedules_advance(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let advances: BTreeMap<_, _> = live
        .iter()
        .flat_map(|append| {
            append
                .schedules
                .iter()
                .map(|advance| ((append.org, advance.id), advance))
        })
        .collect();
    let columns = vec![
        (
            "org_id",
            Column::Uuid(advances.keys().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(advances.keys().map(|(_, id)| id.uuid()).collect()),
        ),
        (
            "next_due_us",
            Column::MaybeLong(
                advances
                    .values()
                    .map(|advance| advance.next_due.map(Timestamp::micros))
                    .collect(),
            ),
        ),
        (
            "last_due_us",
            Column::Long(
                advances
                    .values()
                    .map(|advance| advance.last_due.micros())
                    .collect(),
            ),
        ),
        (
            "last_run_id",
            Column::MaybeUuid(
                advances
                    .values()
                    .map(|advance| advance.last_run.map(ExecutionId::uuid))
                    .collect(),
            ),
        ),
    ];
    let statement = "UPDATE schedule SET next_due_us = t.next_due_us, last_due_us = t.last_due_us,
             last_run_id = coalesce(t.last_run_id, schedule.last_run_id)
         FROM t WHERE schedule.org_id = t.org_id AND schedule.id = t.id
             AND (schedule.last_due_us IS NULL OR schedule.last_due_us <= t.last_due_us)";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}
