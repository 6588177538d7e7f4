//! Deletes what an org does not want to keep: finished runs with all that is theirs, in batches.

use super::{
    blobs::blobs_delete_unused,
    error::Result,
    tx::{Dialect, Inner, SystemTx, on_tx},
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

/// Rows that go with no run, by table: what is deleted, up to `$3` rows from before `$2` of the org `$1`.
const BY_AGE: [(&str, &str); 3] = [
    (
        "schedule_fire",
        "DELETE FROM schedule_fire WHERE org_id = $1 AND (schedule_id, due_us) IN (
             SELECT schedule_id, due_us FROM schedule_fire WHERE org_id = $1 AND at_us < $2 ORDER BY at_us LIMIT $3)",
    ),
    (
        "org_event",
        "DELETE FROM org_event WHERE org_id = $1 AND (commit_pos, id) IN (
             SELECT commit_pos, id FROM org_event WHERE org_id = $1 AND at_us < $2 ORDER BY at_us LIMIT $3)",
    ),
    // What a run replaced goes with that run. What a client replaced goes by when it was replaced, which is the time of the next version.
    (
        "memory_history",
        "DELETE FROM memory_history WHERE org_id = $1 AND (layer, owner, key, version) IN (
             SELECT h.layer, h.owner, h.key, h.version FROM memory_history h
             WHERE h.org_id = $1 AND h.replaced_by IS NULL AND h.at_us < $2 AND (
                 EXISTS (SELECT 1 FROM memory_history s WHERE s.org_id = h.org_id AND s.layer = h.layer AND s.owner = h.owner
                     AND s.key = h.key AND s.version = h.version + 1 AND s.at_us < $2)
                 OR EXISTS (SELECT 1 FROM memory m WHERE m.org_id = h.org_id AND m.layer = h.layer AND m.owner = h.owner
                     AND m.key = h.key AND m.version = h.version + 1 AND m.at_us < $2))
             ORDER BY h.at_us LIMIT $3)",
    ),
];

/// Deletes what goes with no run, up to `limit` rows of each table from before `before`. Gives the largest number of rows of one table: commit,
/// and go on while it is `limit`.
pub async fn retention_by_age_batch(
    tx: &mut SystemTx,
    org: OrgId,
    before: Timestamp,
    limit: u32,
) -> Result<u64> {
    let mut most = 0;
    for (_, statement) in BY_AGE {
        let gone = on_tx!(tx, |conn| sqlx::query(statement)
            .bind(org)
            .bind(before)
            .bind(i64::from(limit))
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))?;
        most = most.max(gone);
    }
    Ok(most)
}

/// Deletes up to `limit` rows of claims that stood for single calls and are nobody's any more. Nothing compares their epochs: what a call did
/// stands in the ledger. Gives how many.
pub async fn placements_of_calls_delete(tx: &mut SystemTx, kind: &str, limit: u32) -> Result<u64> {
    let over = match tx.inner {
        Inner::Sqlite(_) => {
            "NOT EXISTS (SELECT 1 FROM node o WHERE o.id = placement.node_id AND o.incarnation = placement.incarnation AND o.state <> 'dead')"
        }
        Inner::Postgres(_) => "NOT tenure_in_service(placement.node_id, placement.incarnation)",
    };
    // The condition stands outside too: somebody may have claimed it since the rows were chosen.
    let statement = format!(
        "DELETE FROM placement WHERE kind = $1 AND (node_id IS NULL OR {over}) AND entity IN (
             SELECT entity FROM placement WHERE kind = $1 AND (node_id IS NULL OR {over}) LIMIT $2)"
    );
    Ok(on_tx!(tx, |conn| sqlx::query(sqlx::AssertSqlSafe(
        statement
    ))
    .bind(kind)
    .bind(i64::from(limit))
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?)
}

/// How the rows of a table come to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// With the run that they belong to, by [`retention_delete_batch`].
    WithTheRun,
    /// By age, [`retention_by_age_batch`] or a function of its own.
    ByAge,
    /// When nothing refers to them any more.
    Unused,
    /// When what they stand for is over: it fired, was carried out, is nobody's.
    Done,
    /// Never: there are as many as people have made or asked to keep.
    AsMany(&'static str),
}

/// The rule for each table. A new table needs one; a test compares this with the database.
pub const RULES: [(&str, Retention); 38] = [
    (
        "api_key",
        Retention::AsMany("keys that were made; a revoked one says whose it was"),
    ),
    ("approval", Retention::WithTheRun),
    ("approval_notice", Retention::WithTheRun),
    ("blob", Retention::Unused),
    ("blob_ref", Retention::WithTheRun),
    ("calendar", Retention::AsMany("calendars that were made")),
    ("connect_link", Retention::ByAge),
    (
        "connection",
        Retention::AsMany("accounts that are connected; those to which nobody consented go by age"),
    ),
    ("connection_notice", Retention::ByAge),
    ("dedupe", Retention::ByAge),
    ("effect", Retention::WithTheRun),
    (
        "employee",
        Retention::AsMany("employees that were hired; runs of a dismissed one are read by its row"),
    ),
    (
        "employee_version",
        Retention::AsMany(
            "versions that were made; runs are read under the version that they began with",
        ),
    ),
    ("event_wait", Retention::Done),
    ("hook", Retention::AsMany("endpoints that were made")),
    ("inbox", Retention::ByAge),
    ("incarnation", Retention::AsMany("one row")),
    ("journal", Retention::WithTheRun),
    (
        "memory",
        Retention::AsMany(
            "keys that were written; a forgotten one keeps the number of its version, so that a later one is greater",
        ),
    ),
    ("memory_history", Retention::ByAge),
    ("node", Retention::ByAge),
    (
        "oauth_client",
        Retention::AsMany("apps that were registered"),
    ),
    ("oauth_state", Retention::ByAge),
    ("org", Retention::AsMany("orgs")),
    ("org_event", Retention::ByAge),
    (
        "org_integration",
        Retention::AsMany("integrations that were added"),
    ),
    ("org_key", Retention::Unused),
    ("person", Retention::AsMany("people who were named")),
    (
        "placement",
        Retention::AsMany(
            "employees, connections and duties, whose epochs must only rise; those of calls go when they are nobody's",
        ),
    ),
    ("policy", Retention::AsMany("rules that were made")),
    ("poll_source", Retention::AsMany("sources that were made")),
    ("run", Retention::WithTheRun),
    ("schedule", Retention::AsMany("schedules that were made")),
    ("schedule_fire", Retention::ByAge),
    ("snapshot", Retention::WithTheRun),
    (
        "subscription",
        Retention::AsMany("subscriptions of the employees' versions in force"),
    ),
    ("timer", Retention::Done),
    ("wait_end", Retention::Done),
];

/// The smallest UUID v7 of a moment.
fn first_id_of(time: Timestamp) -> Uuid {
    let millis = u128::try_from(time.micros() / 1_000).unwrap_or(0) & 0xffff_ffff_ffff;
    Uuid::from_u128(millis << 80)
}
