//! What employees know, with provenance: current values, and what each of them replaced.

use super::{
    error::Result,
    memory_write::memory_write,
    page::{Page, PageRequest, text_key},
    tx::{SystemTx, Tx, on_tx},
};
use crate::domain::{EmployeeId, ExecutionId, MemoryLayer, OrgId, Timestamp};
use sqlx::FromRow;
use std::collections::BTreeMap;

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
