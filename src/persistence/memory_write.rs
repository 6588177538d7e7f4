//! How memory is written: what a key was goes into its history, what it is takes its place, and writers of one place take turns.

use super::{
    error::Result,
    memory::{MemoryChange, MemoryRow},
    rows::{Column, Rows},
    tx::Inner,
};
use crate::domain::{ExecutionId, MemoryLayer, OrgId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

type Key<'a> = (OrgId, MemoryLayer, &'a str, &'a str);

/// The state of a key while the changes of a batch are laid over it.
#[derive(Clone)]
struct State<'a> {
    version: i64,
    value: Option<&'a str>,
    run: Option<ExecutionId>,
    step: Option<&'a str>,
    source: &'a str,
    at: Timestamp,
}

const NEVER: State<'static> = State {
    version: 0,
    value: None,
    run: None,
    step: None,
    source: "",
    at: Timestamp::from_micros(0),
};

/// Applies changes in their order; several to one key are several versions.
pub(super) async fn memory_write(
    inner: &mut Inner,
    changes: &[(OrgId, &MemoryChange)],
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let keys: BTreeSet<Key<'_>> = changes
        .iter()
        .map(|(org, change)| key_of(*org, change))
        .collect();
    places_lock(inner, &keys).await?;
    let stored = current(inner, &keys).await?;
    let mut states: BTreeMap<Key<'_>, State<'_>> = stored
        .iter()
        .map(|row| (row_key(row), row_state(row)))
        .collect();
    let mut replaced: Vec<(Key<'_>, State<'_>, Option<ExecutionId>)> =
        Vec::with_capacity(changes.len());
    for (org, change) in changes {
        let key = key_of(*org, change);
        let before = states.get(&key).cloned().unwrap_or(NEVER);
        let after = State {
            version: before.version + 1,
            value: change.value.as_deref(),
            run: change.run,
            step: change.step.as_deref(),
            source: &change.source,
            at: change.at,
        };
        replaced.push((key, before, change.run));
        states.insert(key, after);
    }
    let now: Vec<(Key<'_>, State<'_>)> = states
        .into_iter()
        .filter(|(key, _)| keys.contains(key))
        .collect();
    history_insert(inner, &replaced).await?;
    current_upsert(inner, &now).await
}

fn key_of(org: OrgId, change: &MemoryChange) -> Key<'_> {
    (org, change.place.layer, &change.place.owner, &change.key)
}
fn row_key(row: &MemoryRow) -> Key<'_> {
    (row.org_id, row.layer, &row.owner, &row.key)
}
fn row_state(row: &MemoryRow) -> State<'_> {
    State {
        version: row.version,
        value: row.value.as_deref(),
        run: row.run_id,
        step: row.step.as_deref(),
        source: &row.source,
        at: row.at,
    }
}

/// Serialises the writers of a place until the end of the transaction, so that what is read below is still true when it is replaced: a
/// row lock cannot do that for a key that does not exist yet. Sorted, so that two batches cannot wait for each other. SQLite has one
/// writer anyway.
async fn places_lock(inner: &mut Inner, keys: &BTreeSet<Key<'_>>) -> Result<()> {
    let Inner::Postgres(tx) = inner else {
        return Ok(());
    };
    let places: BTreeSet<i64> = keys
        .iter()
        .map(|(org, layer, owner, _)| {
            let hash = crate::domain::ContentHash::of(
                format!("memory {org} {} {owner}", layer.name()).as_bytes(),
            );
            let [a, b, c, d, e, f, g, h, ..] = *hash.bytes();
            i64::from_be_bytes([a, b, c, d, e, f, g, h])
        })
        .collect();
    let places: Vec<i64> = places.into_iter().collect();
    sqlx::query("SELECT pg_advisory_xact_lock(place) FROM unnest($1::bigint[]) AS t (place)")
        .bind(&places)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn key_columns<'a>(keys: impl Iterator<Item = Key<'a>> + Clone) -> Vec<(&'static str, Column<'a>)> {
    vec![
        (
            "org_id",
            Column::Uuid(keys.clone().map(|(org, ..)| org.uuid()).collect()),
        ),
        (
            "layer",
            Column::Text(keys.clone().map(|(_, layer, ..)| layer.name()).collect()),
        ),
        (
            "owner",
            Column::Text(keys.clone().map(|(_, _, owner, _)| owner).collect()),
        ),
        ("key", Column::Text(keys.map(|(.., key)| key).collect())),
    ]
}

fn state_columns<'a>(
    states: impl Iterator<Item = &'a State<'a>> + Clone,
) -> Vec<(&'static str, Column<'a>)> {
    vec![
        (
            "version",
            Column::Long(states.clone().map(|state| state.version).collect()),
        ),
        (
            "value",
            Column::MaybeText(states.clone().map(|state| state.value).collect()),
        ),
        (
            "run_id",
            Column::MaybeUuid(
                states
                    .clone()
                    .map(|state| state.run.map(ExecutionId::uuid))
                    .collect(),
            ),
        ),
        (
            "step",
            Column::MaybeText(states.clone().map(|state| state.step).collect()),
        ),
        (
            "source",
            Column::Text(states.clone().map(|state| state.source).collect()),
        ),
        (
            "at_us",
            Column::Long(states.map(|state| state.at.micros()).collect()),
        ),
    ]
}

async fn current(inner: &mut Inner, keys: &BTreeSet<Key<'_>>) -> Result<Vec<MemoryRow>> {
    Rows::new(key_columns(keys.iter().copied()))
        .fetch(
            inner,
            "SELECT m.org_id, m.layer, m.owner, m.key, m.version, m.value, m.run_id, m.step, m.source, m.at_us
             FROM t JOIN memory m ON m.org_id = t.org_id AND m.layer = t.layer AND m.owner = t.owner AND m.key = t.key",
        )
        .await
}

async fn history_insert(
    inner: &mut Inner,
    replaced: &[(Key<'_>, State<'_>, Option<ExecutionId>)],
) -> Result<()> {
    let mut columns = key_columns(replaced.iter().map(|(key, ..)| *key));
    columns.extend(state_columns(replaced.iter().map(|(_, state, _)| state)));
    columns.push((
        "replaced_by",
        Column::MaybeUuid(
            replaced
                .iter()
                .map(|(.., run)| run.map(ExecutionId::uuid))
                .collect(),
        ),
    ));
    let statement = "INSERT INTO memory_history (org_id, layer, owner, key, version, value, run_id, step, source, at_us, replaced_by)
         SELECT org_id, layer, owner, key, version, value, run_id, step, source, at_us, replaced_by FROM t";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}

async fn current_upsert(inner: &mut Inner, now: &[(Key<'_>, State<'_>)]) -> Result<()> {
    let mut columns = key_columns(now.iter().map(|(key, _)| *key));
    columns.extend(state_columns(now.iter().map(|(_, state)| state)));
    let statement = "INSERT INTO memory (org_id, layer, owner, key, version, value, run_id, step, source, at_us)
         SELECT org_id, layer, owner, key, version, value, run_id, step, source, at_us FROM t WHERE true
         ON CONFLICT (org_id, layer, owner, key) DO UPDATE SET version = excluded.version, value = excluded.value,
             run_id = excluded.run_id, step = excluded.step, source = excluded.source, at_us = excluded.at_us";
    Rows::new(columns).execute(inner, statement).await.map(drop)
}
