//! Small reads that the actors need beside the bundles of activation.

use super::{
    connections::{ConnectionRow, connection_columns},
    db::Db,
    error::Result,
    memory::MemoryRow,
    tx::{SystemTx, Tx, on_tx},
    writer::Append,
};
use crate::domain::{EmployeeId, MemoryLayer, OrgId, Timestamp};
use sqlx::QueryBuilder;
use std::collections::HashMap;

/// What these employees remember and what their orgs know, by employee; forgotten keys are left out.
pub async fn memory_views(
    tx: &mut SystemTx,
    wanted: &[(OrgId, EmployeeId)],
) -> Result<HashMap<EmployeeId, Vec<MemoryRow>>> {
    let mut orgs: Vec<OrgId> = wanted.iter().map(|(org, _)| *org).collect();
    orgs.sort_unstable();
    orgs.dedup();
    let mut views: HashMap<EmployeeId, Vec<MemoryRow>> = HashMap::new();
    for org in orgs {
        let ids: HashMap<String, EmployeeId> = wanted
            .iter()
            .filter(|(owner, _)| *owner == org)
            .map(|(_, id)| (id.to_string(), *id))
            .collect();
        let rows: Vec<MemoryRow> = on_tx!(tx, |conn| {
            let mut query = QueryBuilder::<DB>::new(
                "SELECT org_id, layer, owner, key, version, value, run_id, step, source, at_us FROM memory WHERE value IS NOT NULL AND org_id = ",
            );
            query
                .push_bind(org)
                .push(" AND ((layer = 'org' AND owner = '')");
            for id in ids.keys() {
                query
                    .push(" OR (layer = 'employee' AND owner = ")
                    .push_bind(id.clone());
                // `0` is the character after `/`.
                query
                    .push(") OR (layer = 'skill' AND owner >= ")
                    .push_bind(format!("{id}/"));
                query
                    .push(" AND owner < ")
                    .push_bind(format!("{id}0"))
                    .push(")");
            }
            query.push(")");
            query
                .build_query_as()
                .persistent(false)
                .fetch_all(conn)
                .await
        })?;
        for row in rows {
            match row.layer {
                MemoryLayer::Org => ids
                    .values()
                    .for_each(|id| views.entry(*id).or_default().push(row.clone())),
                MemoryLayer::Employee | MemoryLayer::Skill => {
                    let owner = row.owner.split('/').next().unwrap_or_default();
                    if let Some(id) = ids.get(owner) {
                        views.entry(*id).or_default().push(row);
                    }
                }
            }
        }
    }
    Ok(views)
}

/// Sources of results that somebody listens to, by org: patterns of subscriptions, and `employee:*` where a run waits for the end of one.
pub async fn internal_interests(tx: &mut SystemTx) -> Result<Vec<(OrgId, String)>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT DISTINCT s.org_id, s.source FROM subscription s WHERE s.source LIKE 'employee:%' OR s.source = '*'
         UNION SELECT DISTINCT w.org_id, 'employee:*' FROM event_wait w WHERE w.event LIKE 'run.%'"
    )
    .fetch_all(conn)
    .await
    })?)
}

/// The org's connections to an integration, the oldest first.
pub async fn connections_of(tx: &mut Tx, integration: &str) -> Result<Vec<ConnectionRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT ",
            connection_columns!(),
            " FROM connection WHERE org_id = $1 AND integration = $2 ORDER BY created_us, id"
        ))
        .bind(org)
        .bind(integration)
        .fetch_all(conn)
        .await
    })?)
}

/// Whether exactly the facts of this append are in the journal already: the connection was lost after the commit and before its answer.
pub async fn already_written(db: &Db, append: &Append) -> Result<bool> {
    let Some(run) = append.run.as_ref().filter(|run| !run.facts.is_empty()) else {
        return Ok(false);
    };
    let mut tx = db.begin_read(append.org).await?;
    let stored = super::runs::run_journal(
        &mut tx,
        run.execution,
        run.first_seq,
        run.facts.len() as u32,
    )
    .await?;
    Ok(stored.len() == run.facts.len()
        && stored
            .iter()
            .zip(&run.facts)
            .all(|(stored, fact)| stored.json.as_bytes() == fact.as_ref()))
}

/// Writes that left for runs that are over and whose answer nobody waits for any more become ambiguous, ones that never left failed: no
/// effect stays between two states for ever. `before`: only those that were touched last before this. Gives how many.
pub async fn effects_abandoned(
    tx: &mut SystemTx,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
        r#"UPDATE effect SET
             status = CASE WHEN status = 'sent' THEN 'ambiguous' ELSE 'failed' END,
             settled_us = CASE WHEN status = 'sent' THEN settled_us ELSE $2 END,
             note = CASE WHEN status = 'sent' THEN '{"why":"the run ended before the answer came","doubt":"nobody has asked the provider"}'
                    ELSE '{"why":"the run ended before it was sent"}' END
           WHERE status IN ('intended', 'sent') AND coalesce(sent_us, intended_us) < $1
             AND EXISTS (SELECT 1 FROM run r WHERE r.org_id = effect.org_id AND r.id = effect.run_id AND r.status >= 3)"#
    )
    .bind(before)
    .bind(now)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?)
}
