//! What stands beside the journal so that it can be found without reading it: approvals, timers, waits.

use super::{Append, ApprovalChange, TimerChange, WaitChange, runs::RunChanges};
use crate::{
    domain::{ApprovalId, EmployeeId, OrgId, Timestamp},
    persistence::{
        ApprovalRow, ApprovalStatus, WaitMatch, WaitRow,
        error::Result,
        rows::{Column, Rows},
        tx::Inner,
    },
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

pub(super) async fn write(
    inner: &mut Inner,
    live: &[&Append],
    runs: &RunChanges<'_>,
) -> Result<()> {
    approvals_ask(inner, live).await?;
    approvals_close(inner, live).await?;
    timers_write(inner, live, runs).await?;
    waits_write(inner, live, runs).await
}

async fn approvals_ask(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    let mut asked: Vec<(OrgId, &ApprovalRow)> = Vec::new();
    for append in live {
        asked.extend(append.approvals.iter().filter_map(|change| match change {
            ApprovalChange::Ask(row) => Some((append.org, &**row)),
            ApprovalChange::Close { .. } => None,
        }));
    }
    let columns = vec![
        (
            "org_id",
            Column::Uuid(asked.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(asked.iter().map(|(_, row)| row.id.uuid()).collect()),
        ),
        (
            "run_id",
            Column::Uuid(asked.iter().map(|(_, row)| row.run_id.uuid()).collect()),
        ),
        (
            "employee_id",
            Column::Uuid(
                asked
                    .iter()
                    .map(|(_, row)| row.employee_id.uuid())
                    .collect(),
            ),
        ),
        (
            "step",
            Column::Text(asked.iter().map(|(_, row)| row.step.as_str()).collect()),
        ),
        (
            "title",
            Column::Text(asked.iter().map(|(_, row)| row.title.as_str()).collect()),
        ),
        (
            "arguments",
            Column::Text(
                asked
                    .iter()
                    .map(|(_, row)| row.arguments.as_str())
                    .collect(),
            ),
        ),
        (
            "arguments_hash",
            Column::Bytes(
                asked
                    .iter()
                    .map(|(_, row)| row.arguments_hash.bytes().as_slice())
                    .collect(),
            ),
        ),
        (
            "status",
            Column::Text(asked.iter().map(|(_, row)| row.status.name()).collect()),
        ),
        (
            "asked_us",
            Column::Long(asked.iter().map(|(_, row)| row.asked.micros()).collect()),
        ),
        (
            "expires_us",
            Column::MaybeLong(
                asked
                    .iter()
                    .map(|(_, row)| row.expires.map(Timestamp::micros))
                    .collect(),
            ),
        ),
        (
            "asked_by",
            Column::MaybeText(
                asked
                    .iter()
                    .map(|(_, row)| row.asked_by.as_deref())
                    .collect(),
            ),
        ),
        (
            "owner_user",
            Column::MaybeText(
                asked
                    .iter()
                    .map(|(_, row)| row.owner_user.as_deref())
                    .collect(),
            ),
        ),
    ];
    const NAMES: &str = "org_id, id, run_id, employee_id, step, title, arguments, arguments_hash, status, asked_us, expires_us, asked_by, owner_user";
    // The same question can be asked again after a crash: it stands as it was.
    let statement = format!(
        "INSERT INTO approval ({NAMES}) SELECT {NAMES} FROM t WHERE true ON CONFLICT (org_id, id) DO NOTHING"
    );
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}

/// The first end of an approval is the one that counts.
async fn approvals_close(inner: &mut Inner, live: &[&Append]) -> Result<()> {
    type End<'a> = (ApprovalStatus, Timestamp, Option<&'a str>, Option<&'a str>);
    let mut ends: BTreeMap<(OrgId, ApprovalId), End<'_>> = BTreeMap::new();
    for append in live {
        for change in &append.approvals {
            if let ApprovalChange::Close {
                id,
                status,
                at,
                by,
                comment,
            } = change
            {
                ends.entry((append.org, *id)).or_insert((
                    *status,
                    *at,
                    by.as_deref(),
                    comment.as_deref(),
                ));
            }
        }
    }
    let columns = vec![
        (
            "org_id",
            Column::Uuid(ends.keys().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(ends.keys().map(|(_, id)| id.uuid()).collect()),
        ),
        (
            "status",
            Column::Text(ends.values().map(|end| end.0.name()).collect()),
        ),
        (
            "decided_us",
            Column::Long(ends.values().map(|end| end.1.micros()).collect()),
        ),
        (
            "decided_by",
            Column::MaybeText(ends.values().map(|end| end.2).collect()),
        ),
        (
            "comment",
            Column::MaybeText(ends.values().map(|end| end.3).collect()),
        ),
    ];
    // Not "status = 'pending'": that would invite the index over all pending ones, where the key is to be looked up.
    let statement = "UPDATE approval SET status = t.status, decided_us = t.decided_us, decided_by = t.decided_by, comment = t.comment
         FROM t WHERE approval.org_id = t.org_id AND approval.id = t.id AND approval.decided_us IS NULL";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

/// Deletes the rows of `table` that have one of these keys.
pub(super) async fn delete_keys(
    inner: &mut Inner,
    table: &str,
    owner: &'static str,
    key: &'static str,
    gone: &[(Uuid, &str)],
) -> Result<()> {
    let columns = vec![
        (
            owner,
            Column::Uuid(gone.iter().map(|(owner, _)| *owner).collect()),
        ),
        (
            key,
            Column::Text(gone.iter().map(|(_, key)| *key).collect()),
        ),
    ];
    let statement =
        format!("DELETE FROM {table} WHERE ({owner}, {key}) IN (SELECT {owner}, {key} FROM t)");
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}

/// Deletes all rows of `table` that belong to one of these owners.
async fn delete_owners(
    inner: &mut Inner,
    table: &str,
    owner: &'static str,
    gone: &BTreeSet<Uuid>,
) -> Result<()> {
    let columns = vec![(owner, Column::Uuid(gone.iter().copied().collect()))];
    Rows::new(columns)
        .execute(
            inner,
            &format!("DELETE FROM {table} WHERE {owner} IN (SELECT {owner} FROM t)"),
        )
        .await
        .map(drop)
}

/// A timer as it stands at the end of a batch.
type TimerSet = (OrgId, EmployeeId, Timestamp);

async fn timers_write(inner: &mut Inner, live: &[&Append], runs: &RunChanges<'_>) -> Result<()> {
    let mut last: BTreeMap<(Uuid, &str), Option<TimerSet>> = BTreeMap::new();
    let mut cleared: BTreeSet<Uuid> = BTreeSet::new();
    for append in live {
        for change in &append.timers {
            match change {
                TimerChange::Set {
                    owner,
                    key,
                    employee,
                    due,
                } => {
                    last.insert((*owner, key), Some((append.org, *employee, *due)));
                }
                TimerChange::Clear { owner, key } => {
                    last.insert((*owner, key), None);
                }
                TimerChange::ClearAll { owner } => {
                    last.retain(|(set, _), _| set != owner);
                    cleared.insert(*owner);
                }
            }
        }
    }
    cleared.retain(|owner| !runs.is_new(*owner));
    delete_owners(inner, "timer", "owner", &cleared).await?;
    let gone: Vec<(Uuid, &str)> = last
        .iter()
        .filter(|((owner, _), set)| {
            set.is_none() && !runs.is_new(*owner) && !cleared.contains(owner)
        })
        .map(|(key, _)| *key)
        .collect();
    delete_keys(inner, "timer", "owner", "key", &gone).await?;
    let set: Vec<_> = last
        .iter()
        .filter_map(|(key, set)| set.map(|set| (key, set)))
        .collect();
    let columns = vec![
        (
            "org_id",
            Column::Uuid(set.iter().map(|(_, (org, ..))| org.uuid()).collect()),
        ),
        (
            "owner",
            Column::Uuid(set.iter().map(|((owner, _), _)| *owner).collect()),
        ),
        (
            "key",
            Column::Text(set.iter().map(|((_, key), _)| *key).collect()),
        ),
        (
            "employee_id",
            Column::Uuid(
                set.iter()
                    .map(|(_, (_, employee, _))| employee.uuid())
                    .collect(),
            ),
        ),
        (
            "due_us",
            Column::Long(set.iter().map(|(_, (.., due))| due.micros()).collect()),
        ),
    ];
    let statement = "INSERT INTO timer (org_id, owner, key, employee_id, due_us) SELECT org_id, owner, key, employee_id, due_us FROM t
         WHERE true ON CONFLICT (owner, key) DO UPDATE SET due_us = excluded.due_us, tries = 0";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

async fn waits_write(inner: &mut Inner, live: &[&Append], runs: &RunChanges<'_>) -> Result<()> {
    let mut last: BTreeMap<(Uuid, &str), Option<(OrgId, &WaitRow)>> = BTreeMap::new();
    let mut cleared: BTreeSet<Uuid> = BTreeSet::new();
    for append in live {
        for change in &append.waits {
            match change {
                WaitChange::Set(row) => {
                    last.insert((row.run_id.uuid(), &row.step), Some((append.org, row)));
                }
                WaitChange::Clear { run, step } => {
                    last.insert((run.uuid(), step), None);
                }
                WaitChange::ClearAll { run } => {
                    last.retain(|(set, _), _| *set != run.uuid());
                    cleared.insert(run.uuid());
                }
            }
        }
    }
    cleared.retain(|run| !runs.is_new(*run));
    delete_owners(inner, "event_wait", "run_id", &cleared).await?;
    let gone: Vec<(Uuid, &str)> = last
        .iter()
        .filter(|((run, _), set)| set.is_none() && !runs.is_new(*run) && !cleared.contains(run))
        .map(|(key, _)| *key)
        .collect();
    delete_keys(inner, "event_wait", "run_id", "step", &gone).await?;
    let set: Vec<(OrgId, &WaitRow)> = last.into_values().flatten().collect();
    let matches: Vec<WaitMatch> = set.iter().map(|(_, row)| WaitMatch::of(row)).collect();
    let columns = vec![
        (
            "org_id",
            Column::Uuid(set.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "run_id",
            Column::Uuid(set.iter().map(|(_, row)| row.run_id.uuid()).collect()),
        ),
        (
            "step",
            Column::Text(set.iter().map(|(_, row)| row.step.as_str()).collect()),
        ),
        (
            "employee_id",
            Column::Uuid(set.iter().map(|(_, row)| row.employee_id.uuid()).collect()),
        ),
        (
            "event",
            Column::Text(set.iter().map(|(_, row)| row.event.as_str()).collect()),
        ),
        (
            "source",
            Column::MaybeText(set.iter().map(|(_, row)| row.source.as_deref()).collect()),
        ),
        (
            "matches",
            Column::Text(set.iter().map(|(_, row)| row.matches.as_str()).collect()),
        ),
        (
            "since_us",
            Column::Long(set.iter().map(|(_, row)| row.since.micros()).collect()),
        ),
        (
            "until_us",
            Column::MaybeLong(
                set.iter()
                    .map(|(_, row)| row.until.map(Timestamp::micros))
                    .collect(),
            ),
        ),
        (
            "match_shape",
            Column::Text(matches.iter().map(|one| one.shape.as_str()).collect()),
        ),
        (
            "match_hash",
            Column::Long(matches.iter().map(|one| one.hash).collect()),
        ),
    ];
    const NAMES: &str = "org_id, run_id, step, employee_id, event, source, matches, since_us, until_us, match_shape, match_hash";
    let statement = format!(
        "INSERT INTO event_wait ({NAMES}) SELECT {NAMES} FROM t WHERE true ON CONFLICT (run_id, step) DO NOTHING"
    );
    Rows::new(columns)
        .execute(inner, &statement)
        .await
        .map(drop)
}
