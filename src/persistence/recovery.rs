//! What has to be looked after: who must be woken at the start, and runs that nothing would ever wake.

use super::{
    error::Result,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, FromRow)]
pub struct StrandedRun {
    pub org_id: OrgId,
    #[sqlx(rename = "employee_id")]
    pub employee: EmployeeId,
    #[sqlx(rename = "id")]
    pub execution: ExecutionId,
}

/// Runs that say that they wait, but for which there is no timer, no open approval, no event wait and no wait that they name. There should
/// be none; the sweeper wakes their employees.
pub async fn unfinished_audit(tx: &mut SystemTx, limit: u32) -> Result<Vec<StrandedRun>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT r.org_id, r.employee_id, r.id FROM run r
         WHERE r.status = 2 AND r.finished_us IS NULL AND (r.waiting_on IS NULL OR r.waiting_on IN ('', '[]', '{}', 'null'))
           AND NOT EXISTS (SELECT 1 FROM timer x WHERE x.owner = r.id)
           AND NOT EXISTS (SELECT 1 FROM approval a WHERE a.run_id = r.id AND a.status = 'pending')
           AND NOT EXISTS (SELECT 1 FROM event_wait w WHERE w.run_id = r.id)
         ORDER BY r.id LIMIT $1"
    )
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// How many runs of all orgs are not finished, by status: accepted, running, waiting.
pub async fn unfinished_count(tx: &mut SystemTx) -> Result<[i64; 3]> {
    let counts: Vec<(i16, i64)> = on_tx!(tx, |conn| sqlx::query_as(
        "SELECT status, count(*) FROM run WHERE finished_us IS NULL GROUP BY status"
    )
    .fetch_all(conn)
    .await)?;
    let mut by_status = [0; 3];
    for (status, count) in counts {
        if let Some(slot) = usize::try_from(status)
            .ok()
            .and_then(|status| by_status.get_mut(status))
        {
            *slot = count;
        }
    }
    Ok(by_status)
}
