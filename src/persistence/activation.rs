//! What an employee needs to wake: read for many employees at once in a constant number of queries.

use super::{
    blobs::checked,
    employees::{EmployeeRow, employee_columns},
    error::Result,
    runs::{JournalFact, JournalRow, RunRow, facts_of, run_columns},
    snapshots::{SnapshotRow, kind},
    tx::{Dialect, SystemTx, on_tx},
};
use crate::domain::{ContentHash, EmployeeId, ExecutionId, OrgId};
use bytes::Bytes;
use sqlx::FromRow;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// An employee as it was when it fell asleep or its process ended.
#[derive(Clone, Debug)]
pub struct EmployeeBundle {
    pub employee: EmployeeRow,
    /// JSON of the spec of the current version and of each version that an open run has. Equal specs share their bytes.
    pub specs: BTreeMap<i32, Bytes>,
    /// Of the employee itself.
    pub snapshot: Option<SnapshotRow>,
    /// Not finished, in the order in which they were accepted.
    pub open_runs: Vec<OpenRun>,
}

#[derive(Clone, Debug)]
pub struct OpenRun {
    pub run: RunRow,
    pub snapshot: Option<SnapshotRow>,
    /// From where the snapshot ends; without one, all.
    pub facts: Vec<JournalFact>,
    /// Every body that its facts refer to. Equal bodies of several runs share their bytes.
    pub blobs: HashMap<ContentHash, Bytes>,
}

#[derive(FromRow)]
struct SpecRow {
    employee_id: EmployeeId,
    version: i32,
    org_id: OrgId,
    spec_hash: ContentHash,
}

#[derive(FromRow)]
struct RunJournalRow {
    run_id: ExecutionId,
    #[sqlx(flatten)]
    journal: JournalRow,
}

#[derive(FromRow)]
struct RefRow {
    org_id: OrgId,
    owner: Uuid,
    hash: ContentHash,
}

#[derive(FromRow)]
struct BodyRow {
    org_id: OrgId,
    hash: ContentHash,
    body: Vec<u8>,
}

/// The bundles of those employees that exist, in the order of their ids. The transaction must be one of `begin_system_read`, so that all
/// queries see the same moment.
pub async fn activation_load(
    tx: &mut SystemTx,
    employees: &[EmployeeId],
) -> Result<Vec<EmployeeBundle>> {
    let ids: Vec<Uuid> = employees.iter().map(|id| id.uuid()).collect();
    let rows = employees_of(tx, &ids).await?;
    let runs = open_runs_of(tx, &ids).await?;
    let run_ids: Vec<Uuid> = runs.iter().map(|run| run.id.uuid()).collect();
    let mut snapshots = snapshots_of(tx, &[ids.as_slice(), &run_ids].concat()).await?;
    let mut journals = journals_of(tx, &run_ids).await?;
    let versions = versions_of(tx, &ids).await?;
    let references = references_of(tx, &run_ids).await?;
    let bodies = bodies_of(tx, &ids, &run_ids).await?;

    let mut specs: HashMap<EmployeeId, BTreeMap<i32, Bytes>> = HashMap::new();
    for row in versions {
        if let Some(body) = bodies.get(&(row.org_id, row.spec_hash)) {
            specs
                .entry(row.employee_id)
                .or_default()
                .insert(row.version, body.clone());
        }
    }
    let mut blobs: HashMap<Uuid, HashMap<ContentHash, Bytes>> = HashMap::new();
    for row in references {
        if let Some(body) = bodies.get(&(row.org_id, row.hash)) {
            blobs
                .entry(row.owner)
                .or_default()
                .insert(row.hash, body.clone());
        }
    }
    let mut open: HashMap<EmployeeId, Vec<OpenRun>> = HashMap::new();
    for run in runs {
        let id = run.id.uuid();
        let snapshot = snapshots.remove(&(id, kind::RUN.to_owned()));
        let from = snapshot
            .as_ref()
            .map_or(0, |snapshot| u32::try_from(snapshot.seq).unwrap_or(0));
        let facts = facts_of(&journals.remove(&run.id).unwrap_or_default(), from)?;
        let blobs = blobs.remove(&id).unwrap_or_default();
        open.entry(run.employee_id).or_default().push(OpenRun {
            run,
            snapshot,
            facts,
            blobs,
        });
    }
    Ok(rows
        .into_iter()
        .map(|employee| EmployeeBundle {
            specs: specs.remove(&employee.id).unwrap_or_default(),
            snapshot: snapshots.remove(&(employee.id.uuid(), kind::EMPLOYEE.to_owned())),
            open_runs: open.remove(&employee.id).unwrap_or_default(),
            employee,
        })
        .collect())
}

async fn employees_of(tx: &mut SystemTx, employees: &[Uuid]) -> Result<Vec<EmployeeRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(DB::adapt(concat!(
        "SELECT ",
        employee_columns!(),
        " FROM employee WHERE id = ANY($1) ORDER BY id"
    )))
    .bind(DB::uuid_list(employees))
    .fetch_all(conn)
    .await)?)
}

async fn open_runs_of(tx: &mut SystemTx, employees: &[Uuid]) -> Result<Vec<RunRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(DB::adapt(concat!(
        "SELECT ",
        run_columns!(),
        " FROM run WHERE employee_id = ANY($1) AND status < 3 ORDER BY id"
    )))
    .bind(DB::uuid_list(employees))
    .fetch_all(conn)
    .await)?)
}

async fn snapshots_of(
    tx: &mut SystemTx,
    entities: &[Uuid],
) -> Result<HashMap<(Uuid, String), SnapshotRow>> {
    let rows: Vec<SnapshotRow> = on_tx!(tx, |conn| {
        sqlx::query_as(DB::adapt(
        "SELECT org_id, kind, entity, epoch, seq, body, at_us FROM snapshot WHERE entity = ANY($1)"
    ))
    .bind(DB::uuid_list(entities))
    .fetch_all(conn)
    .await
    })?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.entity, row.kind.clone()), row))
        .collect())
}

/// The journals from where the runs' snapshots end.
async fn journals_of(
    tx: &mut SystemTx,
    runs: &[Uuid],
) -> Result<HashMap<ExecutionId, Vec<JournalRow>>> {
    let rows: Vec<RunJournalRow> = on_tx!(tx, |conn| {
        sqlx::query_as(DB::adapt(
        "SELECT j.run_id, j.seq, j.count, j.body FROM journal j LEFT JOIN snapshot s ON s.entity = j.run_id AND s.kind = 'run'
         WHERE j.run_id = ANY($1) AND j.seq + j.count > coalesce(s.seq, 0) ORDER BY j.run_id, j.seq"
    ))
    .bind(DB::uuid_list(runs))
    .fetch_all(conn)
    .await
    })?;
    let mut journals: HashMap<ExecutionId, Vec<JournalRow>> = HashMap::new();
    for row in rows {
        journals.entry(row.run_id).or_default().push(row.journal);
    }
    Ok(journals)
}

/// The current version of each employee and those of its open runs.
async fn versions_of(tx: &mut SystemTx, employees: &[Uuid]) -> Result<Vec<SpecRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(DB::adapt(
        "SELECT v.employee_id, v.version, v.org_id, v.spec_hash FROM employee_version v JOIN employee e ON e.id = v.employee_id
         WHERE v.employee_id = ANY($1) AND (v.version = e.version
            OR v.version IN (SELECT r.version FROM run r WHERE r.employee_id = v.employee_id AND r.status < 3))"
    ))
    .bind(DB::uuid_list(employees))
    .fetch_all(conn)
    .await
    })?)
}

async fn references_of(tx: &mut SystemTx, owners: &[Uuid]) -> Result<Vec<RefRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(DB::adapt(
        "SELECT org_id, owner, hash FROM blob_ref WHERE owner = ANY($1)"
    ))
    .bind(DB::uuid_list(owners))
    .fetch_all(conn)
    .await)?)
}

/// Each body that one of the employees or runs refers to, once.
async fn bodies_of(
    tx: &mut SystemTx,
    employees: &[Uuid],
    runs: &[Uuid],
) -> Result<HashMap<(OrgId, ContentHash), Bytes>> {
    let owners = [employees, runs].concat();
    let rows: Vec<BodyRow> = on_tx!(tx, |conn| {
        sqlx::query_as(DB::adapt(
        "SELECT b.org_id, b.hash, b.body FROM blob b
         JOIN (SELECT DISTINCT org_id, hash FROM blob_ref WHERE owner = ANY($1)) needed ON needed.org_id = b.org_id AND needed.hash = b.hash"
    ))
    .bind(DB::uuid_list(&owners))
    .fetch_all(conn)
    .await
    })?;
    rows.into_iter()
        .map(|row| Ok(((row.org_id, row.hash), checked(row.hash, &row.body)?.into())))
        .collect()
}
