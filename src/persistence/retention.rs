//! Deletes what an org does not want to keep: finished runs with all that is theirs, in batches.

use super::{
    blobs::blobs_delete_unused,
    error::Result,
    tx::{Dialect, SystemTx, on_tx},
};
use crate::domain::{ContentHash, OrgId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

/// What a batch deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionBatch {
    /// Fewer than the limit: nothing more is due.
    pub runs: usize,
    pub blobs: u64,
}

#[derive(FromRow)]
struct Due {
    id: Uuid,
}

/// Tables that hold rows of a run, and the column that names it. What the run itself is comes last.
const OF_A_RUN: [&str; 9] = [
    "DELETE FROM journal WHERE org_id = $1 AND run_id = ANY($2)",
    "DELETE FROM effect WHERE org_id = $1 AND run_id = ANY($2)",
    "DELETE FROM approval_notice WHERE org_id = $1 AND approval_id IN (SELECT id FROM approval WHERE org_id = $1 AND run_id = ANY($2))",
    "DELETE FROM approval WHERE org_id = $1 AND run_id = ANY($2)",
    "DELETE FROM timer WHERE org_id = $1 AND owner = ANY($2)",
    "DELETE FROM event_wait WHERE org_id = $1 AND run_id = ANY($2)",
    "DELETE FROM snapshot WHERE org_id = $1 AND entity = ANY($2)",
    "DELETE FROM memory_history WHERE org_id = $1 AND replaced_by = ANY($2)",
    "DELETE FROM run WHERE org_id = $1 AND id = ANY($2)",
];

/// The keys by which repetitions of a run's trigger are known: they go with it, unless one has come since.
const KEYS_OF_A_RUN: [&str; 2] = [
    "DELETE FROM dedupe WHERE org_id = $1 AND run_id = ANY($2) AND last_us < $3",
    "UPDATE dedupe SET outlived = 1 WHERE org_id = $1 AND run_id = ANY($2) AND last_us >= $3",
];

/// Deletes up to `limit` runs of the org that were finished before `before` and have no effect that is still uncertain, the oldest first,
/// with everything that is theirs, then the bodies that nobody needs any more. Commit, and go on while `runs` is `limit`.
///
/// Runs are found through their ids, which begin with the time of their acceptance: no run accepted after `before` is looked at.
pub async fn retention_delete_batch(
    tx: &mut SystemTx,
    org: OrgId,
    before: Timestamp,
    now: Timestamp,
    limit: u32,
) -> Result<RetentionBatch> {
    let due: Vec<Due> = on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT id FROM run WHERE org_id = $1 AND id < $2 AND status >= 3 AND finished_us < $3
           AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.run_id = run.id AND e.status IN ('intended', 'sent', 'ambiguous'))
         ORDER BY id LIMIT $4"
    )
    .bind(org)
    .bind(first_id_of(before))
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?;
    let runs: Vec<Uuid> = due.into_iter().map(|due| due.id).collect();
    if runs.is_empty() {
        return Ok(RetentionBatch::default());
    }
    let hashes: Vec<ContentHash> = on_tx!(tx, |conn| sqlx::query_scalar(DB::adapt(
        "DELETE FROM blob_ref WHERE org_id = $1 AND owner = ANY($2) RETURNING hash"
    ))
    .bind(org)
    .bind(DB::uuid_list(&runs))
    .fetch_all(conn)
    .await)?;
    for statement in OF_A_RUN {
        on_tx!(tx, |conn| sqlx::query(DB::adapt(statement))
            .bind(org)
            .bind(DB::uuid_list(&runs))
            .execute(conn)
            .await
            .map(drop))?;
    }
    for statement in KEYS_OF_A_RUN {
        on_tx!(tx, |conn| sqlx::query(DB::adapt(statement))
            .bind(org)
            .bind(DB::uuid_list(&runs))
            .bind(before)
            .execute(conn)
            .await
            .map(drop))?;
    }
    let hashes: Vec<ContentHash> = std::collections::BTreeSet::from_iter(hashes)
        .into_iter()
        .collect();
    let blobs = blobs_delete_unused(&mut tx.inner, org, &hashes, now).await?;
    Ok(RetentionBatch {
        runs: runs.len(),
        blobs,
    })
}

/// Deletes up to `limit` keys of deleted runs that came for the last time before `before`; gives their number.
pub async fn dedupe_delete_batch(
    tx: &mut SystemTx,
    org: OrgId,
    before: Timestamp,
    limit: u32,
) -> Result<u64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
        "DELETE FROM dedupe WHERE org_id = $1 AND (source, key) IN (
             SELECT source, key FROM dedupe WHERE org_id = $1 AND outlived = 1 AND last_us < $2 ORDER BY last_us LIMIT $3)"
    )
    .bind(org)
    .bind(before)
    .bind(i64::from(limit))
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?)
}

/// The smallest UUID v7 of a moment.
fn first_id_of(time: Timestamp) -> Uuid {
    let millis = u128::try_from(time.micros() / 1_000).unwrap_or(0) & 0xffff_ffff_ffff;
    Uuid::from_u128(millis << 80)
}
