//! What employees know, with provenance: current values, and what each of them replaced.

use super::{
    error::Result,
    page::{Page, PageRequest, text_key},
    rows::{Column, Rows},
    tx::{Inner, SystemTx, Tx, on_tx},
};
use crate::domain::{EmployeeId, ExecutionId, MemoryLayer, OrgId, Timestamp};
use sqlx::FromRow;
use std::collections::{BTreeMap, BTreeSet};

/// Where a value lives: the layer's owner is the employee's id, the employee's id with `/` and the skill node's id, or empty for
/// what the whole org knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemoryOwner {
    pub layer: MemoryLayer,
    pub owner: String,
}

impl MemoryOwner {
    pub fn employee(employee: EmployeeId) -> Self {
        Self {
            layer: MemoryLayer::Employee,
            owner: employee.to_string(),
        }
    }
    pub fn skill(employee: EmployeeId, skill: &str) -> Self {
        Self {
            layer: MemoryLayer::Skill,
            owner: format!("{employee}/{skill}"),
        }
    }
    pub fn org() -> Self {
        Self {
            layer: MemoryLayer::Org,
            owner: String::new(),
        }
    }
    /// The skill node's id of an owner in the skill layer.
    pub fn skill_of(owner: &str) -> Option<&str> {
        owner.split_once('/').map(|(_, skill)| skill)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct MemoryRow {
    pub org_id: OrgId,
    pub layer: MemoryLayer,
    pub owner: String,
    pub key: String,
    /// Counts the writes of this key from 1.
    pub version: i64,
    /// JSON; `None` if it was forgotten.
    pub value: Option<String>,
    pub run_id: Option<ExecutionId>,
    pub step: Option<String>,
    /// Who wrote it when it was no run: `api:key_…`, `undo`.
    pub source: String,
    #[sqlx(rename = "at_us")]
    pub at: Timestamp,
}

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryChange {
    pub place: MemoryOwner,
    pub key: String,
    /// JSON; `None` forgets the key.
    pub value: Option<String>,
    pub run: Option<ExecutionId>,
    pub step: Option<String>,
    pub source: String,
    pub at: Timestamp,
}

/// What is known in one place, or in all of the org; forgotten keys are left out.
pub async fn memory_list(
    tx: &mut Tx,
    place: Option<&MemoryOwner>,
    request: &PageRequest,
) -> Result<Page<MemoryRow>> {
    let (org, after) = (tx.org(), request.after_texts(3)?);
    let rows = on_tx!(tx, |conn| {
        let mut query = sqlx::QueryBuilder::<DB>::new(
            "SELECT org_id, layer, owner, key, version, value, run_id, step, source, at_us FROM memory WHERE value IS NOT NULL AND org_id = ",
        );
        query.push_bind(org);
        if let Some(place) = place {
            query
                .push(" AND layer = ")
                .push_bind(place.layer)
                .push(" AND owner = ")
                .push_bind(&place.owner);
        }
        if let Some([layer, owner, key]) = after.as_deref() {
            query
                .push(" AND (layer, owner, key) > (")
                .push_bind(layer)
                .push(", ")
                .push_bind(owner)
                .push(", ")
                .push_bind(key)
                .push(")");
        }
        query
            .push(" ORDER BY layer, owner, key LIMIT ")
            .push_bind(request.fetch());
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(request.page(rows, |row: &MemoryRow| {
        text_key(&[row.layer.name(), &row.owner, &row.key])
    }))
}

/// All that a run of this employee may read, in one query: its own layer, its skills' and the org's. Forgotten keys are left out.
pub async fn memory_view(tx: &mut Tx, employee: EmployeeId) -> Result<Vec<MemoryRow>> {
    let (org, owner) = (tx.org(), employee.to_string());
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        // `0` is the character after `/`: the range holds what begins with the id and a slash, whatever the collation of LIKE.
        "SELECT org_id, layer, owner, key, version, value, run_id, step, source, at_us FROM memory
         WHERE org_id = $1 AND value IS NOT NULL
           AND ((layer = 'org' AND owner = '') OR (layer = 'employee' AND owner = $2)
             OR (layer = 'skill' AND owner >= $3 AND owner < $4))
         ORDER BY layer, owner, key"
    )
    .bind(org)
    .bind(&owner)
    .bind(format!("{owner}/"))
    .bind(format!("{owner}0"))
    .fetch_all(conn)
    .await)?)
}

/// Earlier values of a key, the latest first.
pub async fn memory_history(
    tx: &mut Tx,
    place: &MemoryOwner,
    key: &str,
    limit: u32,
) -> Result<Vec<MemoryRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, layer, owner, key, version, value, run_id, step, source, at_us FROM memory_history
         WHERE org_id = $1 AND layer = $2 AND owner = $3 AND key = $4 AND version > 0 ORDER BY version DESC LIMIT $5"
    )
    .bind(org)
    .bind(place.layer)
    .bind(&place.owner)
    .bind(key)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Writes on behalf of a person.
pub async fn memory_put(tx: &mut Tx, change: &MemoryChange) -> Result<()> {
    let org = tx.org();
    memory_write(&mut tx.inner, &[(org, change)]).await
}

/// Takes back what a run wrote: each key that nobody has written since gets the value from before the run, as a new version.
/// Gives the number of keys that were restored.
pub async fn memory_undo_run(
    tx: &mut SystemTx,
    org: OrgId,
    run: ExecutionId,
    at: Timestamp,
) -> Result<usize> {
    let replaced: Vec<MemoryRow> = on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT h.org_id, h.layer, h.owner, h.key, h.version, h.value, h.run_id, h.step, h.source, h.at_us
         FROM memory_history h JOIN memory m ON m.org_id = h.org_id AND m.layer = h.layer AND m.owner = h.owner AND m.key = h.key
         WHERE h.replaced_by = $2 AND h.org_id = $1 AND m.run_id = $2 ORDER BY h.version DESC"
    )
    .bind(org)
    .bind(run)
    .fetch_all(conn)
    .await
    })?;
    // The lowest version is what was there before the run's first write; it comes last.
    let before: BTreeMap<(MemoryLayer, String, String), Option<String>> = replaced
        .into_iter()
        .map(|row| ((row.layer, row.owner, row.key), row.value))
        .collect();
    let changes: Vec<MemoryChange> = before
        .into_iter()
        .map(|((layer, owner, key), value)| MemoryChange {
            place: MemoryOwner { layer, owner },
            key,
            value,
            run: None,
            step: None,
            source: format!("undo:{run}"),
            at,
        })
        .collect();
    memory_write(
        &mut tx.inner,
        &changes
            .iter()
            .map(|change| (org, change))
            .collect::<Vec<_>>(),
    )
    .await?;
    Ok(changes.len())
}

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
