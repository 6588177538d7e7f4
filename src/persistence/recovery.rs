//! What has to be looked after: who must be woken at the start, and runs that nothing would ever wake.

use super::{
    error::Result,
    runs::RunStatus,
    tx::{SystemTx, on_tx},
};
use crate::domain::{EmployeeId, ExecutionId, OrgId};
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct EmployeeRef {
    pub org_id: OrgId,
    #[sqlx(rename = "employee_id")]
    pub employee: EmployeeId,
}

/// Employees with runs that are accepted or at work, quarantined ones left out: they have to be woken when the runtime starts. A run that
/// only waits is woken by what it waits for. In the order of their ids, from after `after`.
pub async fn recovery_list(
    tx: &mut SystemTx,
    after: Option<EmployeeId>,
    limit: u32,
) -> Result<Vec<EmployeeRef>> {
    let after = after.map_or_else(Uuid::nil, EmployeeId::uuid);
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT DISTINCT r.org_id, r.employee_id FROM run r
         WHERE r.employee_id > $1 AND r.finished_us IS NULL AND r.status < 2
           AND NOT EXISTS (SELECT 1 FROM employee e WHERE e.id = r.employee_id AND e.status = 'quarantined')
         ORDER BY r.employee_id LIMIT $2"
    )
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// The same without those whose placement of kind `kind` belongs to another node in service: that one looks after them.
pub async fn recovery_list_besides(
    tx: &mut SystemTx,
    node: Uuid,
    kind: &str,
    after: Option<EmployeeId>,
    limit: u32,
) -> Result<Vec<EmployeeRef>> {
    let after = after.map_or_else(Uuid::nil, EmployeeId::uuid);
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT DISTINCT r.org_id, r.employee_id FROM run r
         WHERE r.employee_id > $1 AND r.finished_us IS NULL AND r.status < 2
           AND NOT EXISTS (SELECT 1 FROM employee e WHERE e.id = r.employee_id AND e.status = 'quarantined')
           AND NOT EXISTS (SELECT 1 FROM placement p
               JOIN node o ON o.id = p.node_id AND o.incarnation = p.incarnation AND o.state <> 'dead'
               WHERE p.entity = r.employee_id AND p.kind = $2 AND p.node_id <> $3)
         ORDER BY r.employee_id LIMIT $4"
    )
    .bind(after)
    .bind(kind)
    .bind(node)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Where an unfinished run stands in the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnfinishedPlace {
    employee: EmployeeId,
    execution: ExecutionId,
}

/// An unfinished run, and what may be wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct UnfinishedRun {
    pub org_id: OrgId,
    #[sqlx(rename = "employee_id")]
    pub employee: EmployeeId,
    #[sqlx(rename = "id")]
    pub execution: ExecutionId,
    pub status: RunStatus,
    /// It is accepted or at work, its employee is not in quarantine, and no other node in service has its employee: somebody here has to be
    /// at it.
    pub is_at_hand: bool,
    /// It says that it waits, but there is no timer, no open approval, no event wait and no wait that it names. There should be none.
    pub is_stranded: bool,
}

impl UnfinishedRun {
    pub fn place(&self) -> UnfinishedPlace {
        UnfinishedPlace {
            employee: self.employee,
            execution: self.execution,
        }
    }
}

/// The next `limit` unfinished runs of all orgs after `after`, in the order of their employees. Of employees whose placement of kind `kind`
/// belongs to another node in service than `node`, none is at hand; `None`: there are no others.
pub async fn unfinished_share(
    tx: &mut SystemTx,
    node: Option<Uuid>,
    kind: &str,
    after: Option<UnfinishedPlace>,
    limit: u32,
) -> Result<Vec<UnfinishedRun>> {
    let (employee, execution) = after.map_or((Uuid::nil(), Uuid::nil()), |place| {
        (place.employee.uuid(), place.execution.uuid())
    });
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
            "SELECT r.org_id, r.employee_id, r.id, r.status,
                 r.status < 2
                     AND NOT EXISTS (SELECT 1 FROM employee e WHERE e.id = r.employee_id AND e.status = 'quarantined')
                     AND ($1 IS NULL OR NOT EXISTS (SELECT 1 FROM placement p
                         JOIN node o ON o.id = p.node_id AND o.incarnation = p.incarnation AND o.state <> 'dead'
                         WHERE p.entity = r.employee_id AND p.kind = $2 AND p.node_id <> $1)) AS is_at_hand,
                 r.status = 2 AND (r.waiting_on IS NULL OR r.waiting_on IN ('', '[]', '{}', 'null'))
                     AND NOT EXISTS (SELECT 1 FROM timer x WHERE x.owner = r.id)
                     AND NOT EXISTS (SELECT 1 FROM approval a WHERE a.run_id = r.id AND a.status = 'pending')
                     AND NOT EXISTS (SELECT 1 FROM event_wait w WHERE w.run_id = r.id) AS is_stranded
             FROM (SELECT org_id, employee_id, id, status, waiting_on FROM run
                   WHERE finished_us IS NULL AND (employee_id, id) > ($3, $4) ORDER BY employee_id, id LIMIT $5) r
             ORDER BY r.employee_id, r.id",
        )
        .bind(node)
        .bind(kind)
        .bind(employee)
        .bind(execution)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
    })?)
}
