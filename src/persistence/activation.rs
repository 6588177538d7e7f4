//! What an employee needs to wake: read for many employees at once in a constant number of queries.

use super::{
    blobs::checked,
    employees::{EmployeeRow, employee_columns},
    error::Result,
    rows::{Column, Rows},
    runs::{JournalFact, JournalRow, RunRow, facts_of, run_columns},
    snapshots::{SnapshotRow, kind},
    tx::{Dialect, SystemTx, on_tx},
};
use crate::domain::{ContentHash, EmployeeId, ExecutionId, OrgId};
use bytes::Bytes;
use sqlx::FromRow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// An employee as it was when it fell asleep or its process ended.
#[derive(Clone, Debug)]
pub struct EmployeeBundle {
    pub employee: EmployeeRow,
    /// The current version and each that an open run has.
    pub versions: BTreeMap<i32, StoredSpec>,
    /// Of the employee itself.
    pub snapshot: Option<SnapshotRow>,
    /// Not finished, in the order in which they were accepted.
    pub open_runs: Vec<OpenRun>,
}

/// The spec of a version. Equal specs share their bytes.
#[derive(Clone, Debug)]
pub struct StoredSpec {
    pub hash: ContentHash,
    /// JSON; `None` if the caller has it already.
    pub body: Option<Bytes>,
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
struct CurrentRow {
    #[sqlx(flatten)]
    employee: EmployeeRow,
    spec_hash: ContentHash,
}

#[derive(FromRow)]
struct SpecRow {
    employee_id: EmployeeId,
    version: i32,
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

type Bodies = HashMap<(OrgId, ContentHash), Bytes>;

/// The bundles of those employees that exist, in the order of their ids. `has_spec` says of which specs the caller needs no text.
///
/// The transaction must be one of `begin_system_read`, so that all queries see the same moment.
pub async fn activation_load(
    tx: &mut SystemTx,
    employees: &[EmployeeId],
    mut has_spec: impl FnMut(ContentHash) -> bool,
) -> Result<Vec<EmployeeBundle>> {
    let ids: Vec<Uuid> = employees.iter().map(|id| id.uuid()).collect();
    let current = employees_of(tx, &ids).await?;
    let runs = open_runs_of(tx, &ids).await?;
    let run_ids: Vec<Uuid> = runs.iter().map(|run| run.id.uuid()).collect();
    let mut snapshots = snapshots_of(tx, &[ids.as_slice(), &run_ids].concat()).await?;
    let mut journals = journals_of(tx, &runs, &snapshots).await?;
    let references = references_of(tx, &run_ids).await?;
    let versions = versions_of(tx, &current, &runs).await?;

    let specs = versions
        .values()
        .flat_map(|versions| versions.iter().map(|(org, row)| (*org, row.spec_hash)))
        .filter(|(_, hash)| !has_spec(*hash));
    let needed: BTreeSet<_> = specs
        .chain(references.iter().map(|row| (row.org_id, row.hash)))
        .collect();
    let bodies = bodies_of(tx, &needed).await?;

    let mut blobs: HashMap<Uuid, HashMap<ContentHash, Bytes>> = HashMap::new();
    for row in references {
        if let Some(body) = bodies.get(&(row.org_id, row.hash)) {
            let of_owner = blobs.entry(row.owner).or_default();
            of_owner.insert(row.hash, body.clone());
        }
    }
    let mut open: HashMap<EmployeeId, Vec<OpenRun>> = HashMap::new();
    for run in runs {
        let id = run.id.uuid();
        let snapshot = snapshots.remove(&(id, kind::RUN.to_owned()));
        let from = snapshot.as_ref().map_or(0, covered);
        let facts = facts_of(&journals.remove(&run.id).unwrap_or_default(), from)?;
        let blobs = blobs.remove(&id).unwrap_or_default();
        open.entry(run.employee_id).or_default().push(OpenRun {
            run,
            snapshot,
            facts,
            blobs,
        });
    }
    let mut specs = stored_specs(versions, &bodies);
    Ok(current
        .into_iter()
        .map(|CurrentRow { employee, .. }| EmployeeBundle {
            versions: specs.remove(&employee.id).unwrap_or_default(),
            snapshot: snapshots.remove(&(employee.id.uuid(), kind::EMPLOYEE.to_owned())),
            open_runs: open.remove(&employee.id).unwrap_or_default(),
            employee,
        })
        .collect())
}

fn stored_specs(
    versions: HashMap<EmployeeId, Vec<(OrgId, SpecRow)>>,
    bodies: &Bodies,
) -> HashMap<EmployeeId, BTreeMap<i32, StoredSpec>> {
    let of_one = |versions: Vec<(OrgId, SpecRow)>| {
        let stored = versions.into_iter().map(|(org, row)| {
            let hash = row.spec_hash;
            let body = bodies.get(&(org, hash)).cloned();
            (row.version, StoredSpec { hash, body })
        });
        stored.collect()
    };
    versions
        .into_iter()
        .map(|(employee, versions)| (employee, of_one(versions)))
        .collect()
}

/// How many facts a run's snapshot stands for.
fn covered(snapshot: &SnapshotRow) -> u32 {
    u32::try_from(snapshot.seq).unwrap_or(0)
}

/// With the hash of the spec that each has now.
async fn employees_of(tx: &mut SystemTx, employees: &[Uuid]) -> Result<Vec<CurrentRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(DB::adapt(concat!(
        "SELECT ",
        employee_columns!(),
        ", (SELECT v.spec_hash FROM employee_version v WHERE v.employee_id = employee.id AND v.version = employee.version) AS spec_hash
         FROM employee WHERE id = ANY($1) ORDER BY id"
    )))
    .bind(DB::uuid_list(employees))
    .fetch_all(conn)
    .await
    })?)
}

async fn open_runs_of(tx: &mut SystemTx, employees: &[Uuid]) -> Result<Vec<RunRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(DB::adapt(concat!(
        "SELECT ",
        run_columns!(),
        " FROM run WHERE employee_id = ANY($1) AND finished_us IS NULL ORDER BY id"
    )))
    .bind(DB::uuid_list(employees))
    .fetch_all(conn)
    .await)?)
}

type Snapshots = HashMap<(Uuid, String), SnapshotRow>;

async fn snapshots_of(tx: &mut SystemTx, entities: &[Uuid]) -> Result<Snapshots> {
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
    runs: &[RunRow],
    snapshots: &Snapshots,
) -> Result<HashMap<ExecutionId, Vec<JournalRow>>> {
    let from = |run: &RunRow| {
        let snapshot = snapshots.get(&(run.id.uuid(), kind::RUN.to_owned()));
        snapshot.map_or(0, |snapshot| covered(snapshot).into())
    };
    let rows: Vec<RunJournalRow> = Rows::new(vec![
        (
            "run_id",
            Column::Uuid(runs.iter().map(|run| run.id.uuid()).collect()),
        ),
        ("first", Column::Long(runs.iter().map(from).collect())),
    ])
    .fetch(
        &mut tx.inner,
        "SELECT j.run_id, j.seq, j.count, j.body FROM t JOIN journal j ON j.run_id = t.run_id
         WHERE j.seq + j.count > t.first ORDER BY j.run_id, j.seq",
    )
    .await?;
    let mut journals: HashMap<ExecutionId, Vec<JournalRow>> = HashMap::new();
    for row in rows {
        journals.entry(row.run_id).or_default().push(row.journal);
    }
    Ok(journals)
}

/// The current version of each employee and those others that open runs have, which are few.
async fn versions_of(
    tx: &mut SystemTx,
    current: &[CurrentRow],
    runs: &[RunRow],
) -> Result<HashMap<EmployeeId, Vec<(OrgId, SpecRow)>>> {
    let orgs: HashMap<EmployeeId, (OrgId, i32)> = current
        .iter()
        .map(|row| {
            let employee = &row.employee;
            (employee.id, (employee.org_id, employee.version))
        })
        .collect();
    let older: BTreeSet<(EmployeeId, i32)> = runs
        .iter()
        .map(|run| (run.employee_id, run.version))
        .filter(|(id, version)| orgs.get(id).is_some_and(|(_, current)| current != version))
        .collect();
    let older: Vec<SpecRow> = Rows::new(vec![
        (
            "employee_id",
            Column::Uuid(older.iter().map(|(id, _)| id.uuid()).collect()),
        ),
        (
            "version",
            Column::Int(older.iter().map(|(_, version)| *version).collect()),
        ),
    ])
    .fetch(
        &mut tx.inner,
        "SELECT v.employee_id, v.version, v.spec_hash FROM t
         JOIN employee_version v ON v.employee_id = t.employee_id AND v.version = t.version",
    )
    .await?;
    let now = current.iter().map(|row| SpecRow {
        employee_id: row.employee.id,
        version: row.employee.version,
        spec_hash: row.spec_hash,
    });
    let mut versions: HashMap<EmployeeId, Vec<(OrgId, SpecRow)>> = HashMap::new();
    for row in now.chain(older) {
        if let Some((org, _)) = orgs.get(&row.employee_id) {
            let of_one = versions.entry(row.employee_id).or_default();
            of_one.push((*org, row));
        }
    }
    Ok(versions)
}

async fn references_of(tx: &mut SystemTx, owners: &[Uuid]) -> Result<Vec<RefRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(DB::adapt(
        "SELECT org_id, owner, hash FROM blob_ref WHERE owner = ANY($1)"
    ))
    .bind(DB::uuid_list(owners))
    .fetch_all(conn)
    .await)?)
}

async fn bodies_of(tx: &mut SystemTx, needed: &BTreeSet<(OrgId, ContentHash)>) -> Result<Bodies> {
    let rows: Vec<BodyRow> = Rows::new(vec![
        (
            "org_id",
            Column::Uuid(needed.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "hash",
            Column::Bytes(
                needed
                    .iter()
                    .map(|(_, hash)| hash.bytes().as_slice())
                    .collect(),
            ),
        ),
    ])
    .fetch(
        &mut tx.inner,
        "SELECT b.org_id, b.hash, b.body FROM t JOIN blob b ON b.org_id = t.org_id AND b.hash = t.hash",
    )
    .await?;
    rows.into_iter()
        .map(|row| Ok(((row.org_id, row.hash), checked(row.hash, &row.body)?.into())))
        .collect()
}
