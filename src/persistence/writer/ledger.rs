//! Effects, and the account of schedules.

use super::{Append, EffectChange, EffectUpdate, Hit, Receipt};
use crate::{
    domain::{ConnectionId, EffectId, ExecutionId, OrgId, Timestamp},
    persistence::{
        EffectRow,
        error::Result,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

pub(super) async fn write(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    effects_intend(inner, live).await?;
    effects_update(inner, live).await?;
    fires_insert(inner, live).await?;
    schedules_advance(inner, live).await
}

/// A row to be written, and for whom it is looked whether it was.
struct Intended<'a> {
    org: OrgId,
    row: &'a EffectRow,
    of_run: bool,
    receipt: Option<&'a Receipt>,
}

async fn effects_intend(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut rows: Vec<Intended> = Vec::new();
    for append in live {
        rows.extend(append.effects.iter().filter_map(|change| {
            let (row, of_run, receipt) = match change {
                EffectChange::Intend(row) => (&**row, false, None),
                EffectChange::Begin(begun) => (&begun.row, begun.of_run, Some(&begun.receipt)),
                EffectChange::Update(_) => return None,
            };
            Some(Intended {
                org: append.org,
                row,
                of_run,
                receipt,
            })
        }));
    }
    rows.sort_unstable_by(|a, b| (a.org, &a.row.key).cmp(&(b.org, &b.row.key)));
    let written = effects_insert(inner, &rows).await?;
    for Intended {
        org, row, receipt, ..
    } in rows
    {
        if let Some(receipt) = receipt {
            receipt.note(hit(written.contains(&(org, row.id))));
        }
    }
    Ok(())
}

fn hit(found: bool) -> Hit {
    if found { Hit::Row } else { Hit::NoRow }
}

/// Those that were written.
async fn effects_insert(
    inner: &mut Inner,
    rows: &[Intended<'_>],
) -> Result<HashSet<(OrgId, EffectId)>> {
    let uuids = |of: fn(&Intended) -> Uuid| Column::Uuid(rows.iter().map(of).collect());
    let longs =
        |of: fn(&EffectRow) -> i64| Column::Long(rows.iter().map(|one| of(one.row)).collect());
    let ints =
        |of: fn(&EffectRow) -> i32| Column::Int(rows.iter().map(|one| of(one.row)).collect());
    let columns = vec![
        ("org_id", uuids(|one| one.org.uuid())),
        ("id", uuids(|one| one.row.id.uuid())),
        ("run_id", uuids(|one| one.row.run_id.uuid())),
        ("step", texts(rows, |row| &row.step)),
        ("key", bytes(rows, |row| &row.key)),
        ("capability", texts(rows, |row| &row.capability)),
        ("integration", texts(rows, |row| &row.integration)),
        (
            "connection_id",
            Column::MaybeUuid(
                rows.iter()
                    .map(|one| one.row.connection_id.map(ConnectionId::uuid))
                    .collect(),
            ),
        ),
        ("args_hash", bytes(rows, |row| row.args_hash.bytes())),
        ("args", texts(rows, |row| &row.args)),
        ("idempotency_key", texts(rows, |row| &row.idempotency_key)),
        ("status", texts(rows, |row| row.status.name())),
        ("attempts", ints(|row| row.attempts)),
        ("epoch", longs(|row| row.epoch)),
        ("intended_us", longs(|row| row.intended.micros())),
        ("note", maybe_texts(rows, |row| row.note.as_deref())),
        (
            "owner_user",
            maybe_texts(rows, |row| row.owner_user.as_deref()),
        ),
        (
            "of_run",
            Column::Short(rows.iter().map(|one| i16::from(one.of_run)).collect()),
        ),
    ];
    const NAMES: &str = "org_id, id, run_id, step, key, capability, integration, connection_id, args_hash, args, idempotency_key, status, \
                         attempts, epoch, intended_us, note, owner_user";
    let statement = format!(
        "INSERT INTO effect ({NAMES}) SELECT {NAMES} FROM t
         WHERE t.of_run = 0 OR EXISTS (SELECT 1 FROM run r WHERE r.org_id = t.org_id AND r.id = t.run_id)
         ON CONFLICT DO NOTHING RETURNING org_id, id"
    );
    let written: Vec<(OrgId, EffectId)> = Rows::new(columns).fetch(inner, &statement).await?;
    Ok(written.into_iter().collect())
}

fn texts<'a>(rows: &[Intended<'a>], of: impl Fn(&'a EffectRow) -> &'a str) -> Column<'a> {
    Column::Text(rows.iter().map(|one| of(one.row)).collect())
}
fn maybe_texts<'a>(
    rows: &[Intended<'a>],
    of: impl Fn(&'a EffectRow) -> Option<&'a str>,
) -> Column<'a> {
    Column::MaybeText(rows.iter().map(|one| of(one.row)).collect())
}
fn bytes<'a>(rows: &[Intended<'a>], of: impl Fn(&'a EffectRow) -> &'a [u8]) -> Column<'a> {
    Column::Bytes(rows.iter().map(|one| of(one.row)).collect())
}

/// Changes of one effect one after the other: each is held against what the one before has left. A statement may touch a row only once, so
/// the second change of an effect waits for the second statement.
async fn effects_update(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut rounds: Vec<BTreeMap<(OrgId, EffectId), &EffectUpdate>> = Vec::new();
    let mut seen: HashMap<(OrgId, EffectId), usize> = HashMap::new();
    for append in live {
        for change in &append.effects {
            let EffectChange::Update(update) = change else {
                continue;
            };
            let round = seen.entry((append.org, update.id)).or_default();
            if rounds.len() == *round {
                rounds.push(BTreeMap::new());
            }
            rounds[*round].insert((append.org, update.id), update);
            *round += 1;
        }
    }
    for round in rounds {
        update_each(inner, &round).await?;
    }
    Ok(())
}

async fn update_each(
    inner: &mut Inner,
    changes: &BTreeMap<(OrgId, EffectId), &EffectUpdate>,
) -> Result<()> {
    let updates = || changes.values().copied();
    let micros = |of: fn(&EffectUpdate) -> Option<Timestamp>| {
        Column::MaybeLong(
            updates()
                .map(|one| of(one).map(Timestamp::micros))
                .collect(),
        )
    };
    fn text<'a>(
        changes: &BTreeMap<(OrgId, EffectId), &'a EffectUpdate>,
        of: fn(&EffectUpdate) -> &Option<String>,
    ) -> Column<'a> {
        Column::MaybeText(changes.values().map(|one| of(one).as_deref()).collect())
    }
    let origins: Vec<String> = updates()
        .map(|one| {
            one.from
                .iter()
                .map(|from| format!(" {} ", from.name()))
                .collect()
        })
        .collect();
    let columns = vec![
        (
            "org_id",
            Column::Uuid(changes.keys().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(changes.keys().map(|(_, id)| id.uuid()).collect()),
        ),
        (
            "status",
            Column::Text(updates().map(|one| one.status.name()).collect()),
        ),
        (
            "origins",
            Column::Text(origins.iter().map(String::as_str).collect()),
        ),
        (
            "attempts",
            Column::MaybeLong(updates().map(|one| one.attempts.map(i64::from)).collect()),
        ),
        (
            "epoch",
            Column::MaybeLong(updates().map(|one| one.epoch).collect()),
        ),
        ("sent_us", micros(|one| one.sent)),
        ("settled_us", micros(|one| one.settled)),
        ("touched_us", micros(|one| one.at)),
        ("response", text(changes, |one| &one.response)),
        ("error", text(changes, |one| &one.error)),
        ("note", text(changes, |one| &one.note)),
    ];
    // What goes back to an intention was not sent; what leaves is neither settled nor wrong any more. Two sendings are told apart by their
    // number, and a change that was committed before its answer was lost by its epoch besides.
    let statement = "UPDATE effect SET status = t.status, attempts = coalesce(CAST(t.attempts AS int), effect.attempts),
             epoch = coalesce(t.epoch, effect.epoch),
             sent_us = CASE WHEN t.status = 'intended' THEN NULL ELSE coalesce(t.sent_us, effect.sent_us) END,
             settled_us = CASE WHEN t.status IN ('intended', 'sent', 'ambiguous') THEN NULL ELSE coalesce(t.settled_us, effect.settled_us) END,
             touched_us = coalesce(t.touched_us, effect.touched_us), response = coalesce(t.response, effect.response),
             error = CASE WHEN t.status IN ('sent', 'done') THEN NULL ELSE coalesce(t.error, effect.error) END,
             note = coalesce(t.note, effect.note)
         FROM t WHERE effect.org_id = t.org_id AND effect.id = t.id
             AND ((effect.status = t.status AND effect.epoch = t.epoch AND effect.attempts = t.attempts)
               OR (t.origins LIKE '% ' || effect.status || ' %'
                 AND (t.status <> 'sent' OR effect.status <> 'sent' OR effect.attempts < t.attempts)))
         RETURNING effect.org_id, effect.id";
    let found: Vec<(OrgId, EffectId)> = Rows::new(columns).fetch(inner, statement).await?;
    let found: HashSet<(OrgId, EffectId)> = found.into_iter().collect();
    for (key, update) in changes {
        let hit = hit(found.contains(key));
        update.receipt.note(hit);
        if hit == Hit::NoRow {
            tracing::warn!(effect = %update.id, to = update.status.name(), "the ledger's row is in no state from which this leads on");
        }
    }
    Ok(())
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
        (
            "times",
            Column::Long(fires.iter().map(|(_, fire)| fire.times).collect()),
        ),
    ];
    const NAMES: &str = "org_id, schedule_id, due_us, outcome, run_id, at_us, times";
    let statement = format!(
        "INSERT INTO schedule_fire ({NAMES}) SELECT {NAMES} FROM t WHERE true ON CONFLICT (schedule_id, due_us) DO NOTHING"
    );
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}

/// The last one counts if a schedule is advanced twice in a batch. Its next due time moves only if it still is the one that was looked
/// at: one that was paused or changed meanwhile, or advanced by another node, keeps what it was given.
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
            "was_due_us",
            Column::Long(
                advances
                    .values()
                    .map(|advance| advance.was_due.micros())
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
    let statement = "UPDATE schedule SET
             next_due_us = CASE WHEN schedule.next_due_us = t.was_due_us THEN t.next_due_us ELSE schedule.next_due_us END,
             retry_us = CASE WHEN schedule.next_due_us = t.was_due_us THEN NULL ELSE schedule.retry_us END,
             failures = CASE WHEN schedule.next_due_us = t.was_due_us THEN 0 ELSE schedule.failures END,
             last_due_us = CASE WHEN schedule.last_due_us > t.last_due_us THEN schedule.last_due_us ELSE t.last_due_us END,
             last_run_id = coalesce(t.last_run_id, schedule.last_run_id)
         FROM t WHERE schedule.org_id = t.org_id AND schedule.id = t.id";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}
