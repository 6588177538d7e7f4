//! The ledger's rows of calls by proxy, which have no run around them. They are known by their step, which no run has.

use super::{
    effects::{EffectRow, effect_columns},
    error::Result,
    tx::{SystemTx, on_tx},
};
use crate::domain::{OrgId, Timestamp};

/// Writes by proxy of all orgs that are not settled and that nobody can be at: the life of the node that touched them last is over, or it
/// is longer ago than any call takes (`before`).
pub async fn effects_orphaned(
    tx: &mut SystemTx,
    before: Timestamp,
    limit: u32,
) -> Result<Vec<EffectRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        effect_columns!(),
        " FROM effect WHERE status IN ('intended', 'sent') AND step = '0.0.0.0'
           AND (coalesce(sent_us, intended_us) < $1
                OR NOT EXISTS (SELECT 1 FROM node n WHERE n.incarnation = effect.epoch AND n.state <> 'dead'))
         ORDER BY org_id, id LIMIT $2"
    ))
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Deletes up to `limit` writes by proxy of the org, and what was posted to ask about them, that were settled before `before`. Ambiguous ones stay until a person has said what
/// happened. Gives how many; commit, and go on while it is `limit`.
pub async fn effects_proxied_delete(
    tx: &mut SystemTx,
    org: OrgId,
    before: Timestamp,
    limit: u32,
) -> Result<u64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
        "DELETE FROM effect WHERE org_id = $1 AND id IN (
           SELECT id FROM effect WHERE org_id = $1 AND step IN ('0.0.0.0', '0.0.1.0') AND settled_us < $2 ORDER BY settled_us LIMIT $3)"
    )
    .bind(org)
    .bind(before)
    .bind(i64::from(limit))
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?)
}
