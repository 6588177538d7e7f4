//! The ledger's rows that nobody takes up, and those of calls by proxy, which have no run around them. The latter are known by their step,
//! which no run has.

use super::{
    effects::{EffectRow, effect_columns},
    error::Result,
    tx::{SystemTx, on_tx},
};
use crate::domain::{EffectId, OrgId, Timestamp};
use uuid::Uuid;

/// Under which step a write by proxy stands.
pub const PROXIED_STEP: &str = "0.0.0.0";

/// When an effect counts as left alone.
#[derive(Clone, Copy, Debug)]
pub struct LeftAlone {
    /// One whose run is over: touched last before this.
    pub run_over: Timestamp,
    /// One without a run: longer ago than any call takes. One by proxy also if the life of the node that touched it is over.
    pub without_run: Timestamp,
}

/// Effects of all orgs that are between two states and that nobody will take up: their runs are over, or they have none. In the order of
/// their ids, from behind `after`.
pub async fn effects_left_alone(
    tx: &mut SystemTx,
    since: LeftAlone,
    after: Option<(OrgId, EffectId)>,
    limit: u32,
) -> Result<Vec<EffectRow>> {
    let (org, id) = match after {
        Some((org, id)) => (org.uuid(), id.uuid()),
        None => (Uuid::nil(), Uuid::nil()),
    };
    // The first condition is that of the index: SQLite finds it only by its words.
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT ",
            effect_columns!(),
            " FROM effect WHERE status IN ('intended', 'sent', 'ambiguous') AND status IN ('intended', 'sent') AND (org_id, id) > ($1, $2)
               AND CASE (SELECT CASE WHEN r.status < 3 THEN 1 ELSE 2 END FROM run r WHERE r.org_id = effect.org_id AND r.id = effect.run_id)
                 WHEN 1 THEN false
                 WHEN 2 THEN coalesce(touched_us, sent_us, intended_us) < $3
                 ELSE coalesce(touched_us, sent_us, intended_us) < $4
                   OR step = '0.0.0.0' AND NOT EXISTS (SELECT 1 FROM node n WHERE n.incarnation = effect.epoch AND n.state <> 'dead') END
             ORDER BY org_id, id LIMIT $5"
        ))
        .bind(org)
        .bind(id)
        .bind(since.run_over)
        .bind(since.without_run)
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
