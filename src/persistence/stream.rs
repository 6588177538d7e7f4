//! What happened in an org, in one order that never changes: facts of runs and events of the org, by (commit position, run or event id,
//! place in the journal).
//!
//! On PostgreSQL the position is the number of the transaction, and numbers are given before commits: a reader that has seen 7 may later
//! find a 6. So nothing at or above the oldest transaction that is still open is shown; it comes when that one has ended.
//! That holds for the whole cluster of databases: a transaction with writes that somebody leaves open, in another database too, holds the
//! stream back; it loses nothing. Positions are numbers of one cluster: a database that is restored into another one by pg_dump must be
//! put into one whose transaction numbers are higher (`pg_resetwal -x`).

use super::{
    error::{DbError, Result},
    runs::{JournalFact, JournalRow},
    tx::{Dialect, SystemTx, Tx, on_tx},
};
use crate::domain::{EmployeeId, ExecutionId, OrgId, Timestamp};
use sqlx::FromRow;
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// A place in the stream: after the fact `seq` of `entity` in commit `position`. As text `position.entity.seq`, for `Last-Event-ID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub position: i64,
    /// The run, or the event of the org.
    pub entity: Uuid,
    pub seq: u32,
}

impl Cursor {
    /// Before everything.
    pub const START: Cursor = Cursor {
        position: 0,
        entity: Uuid::nil(),
        seq: 0,
    };
}
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.position, self.entity.simple(), self.seq)
    }
}
impl FromStr for Cursor {
    type Err = DbError;
    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(DbError::Cursor);
        let (position, entity, seq) = (part()?, part()?, part()?);
        let cursor = Cursor {
            position: position.parse().map_err(|_| DbError::Cursor)?,
            entity: Uuid::parse_str(entity).map_err(|_| DbError::Cursor)?,
            seq: seq.parse().map_err(|_| DbError::Cursor)?,
        };
        if parts.next().is_none() {
            Ok(cursor)
        } else {
            Err(DbError::Cursor)
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    Fact {
        cursor: Cursor,
        execution: ExecutionId,
        employee: EmployeeId,
        version: i32,
        accepted: Timestamp,
        fact: JournalFact,
    },
    Event {
        cursor: Cursor,
        id: Uuid,
        kind: String,
        body: String,
        at: Timestamp,
    },
}

impl StreamItem {
    /// The place after it.
    pub fn cursor(&self) -> Cursor {
        match self {
            StreamItem::Fact { cursor, .. } | StreamItem::Event { cursor, .. } => *cursor,
        }
    }
}

#[derive(FromRow)]
struct FactsRow {
    commit_pos: i64,
    run_id: ExecutionId,
    employee_id: EmployeeId,
    version: i32,
    accepted_us: Timestamp,
    #[sqlx(flatten)]
    journal: JournalRow,
}

#[derive(FromRow)]
struct EventRow {
    commit_pos: i64,
    id: Uuid,
    kind: String,
    body: String,
    at_us: Timestamp,
}

/// What a stream follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamScope {
    /// The whole org.
    Org,
    /// One run; no events of the org.
    Run(ExecutionId),
}

/// Up to about `limit` items after a place: whole rows of the journal, so a few more are possible. Empty: nothing new.
pub async fn stream_page(
    tx: &mut Tx,
    scope: StreamScope,
    after: Cursor,
    limit: u32,
) -> Result<Vec<StreamItem>> {
    let facts = facts_page(tx, scope, after, limit).await?;
    let events = match scope {
        StreamScope::Org => events_page(tx, after, limit).await?,
        StreamScope::Run(_) => Vec::new(),
    };
    let mut items = Vec::with_capacity(facts.len() + events.len());
    // Behind the last row of a list that was cut there may be others, which must not be jumped over by the other list.
    let facts_end = (facts.len() >= limit as usize)
        .then(|| facts.last().map(|row| (row.commit_pos, row.run_id.uuid())))
        .flatten();
    let events_end = (events.len() >= limit as usize)
        .then(|| events.last().map(|row| (row.commit_pos, row.id)))
        .flatten();
    for row in &facts {
        items.extend(fact_items(row, after)?);
    }
    items.extend(events.into_iter().map(event_item));
    items.sort_by_key(StreamItem::cursor);
    if let Some(end) = [facts_end, events_end].into_iter().flatten().min() {
        items.retain(|item| (item.cursor().position, item.cursor().entity) <= end);
    }
    Ok(items)
}

/// The place after everything that a reader may see now.
pub async fn stream_tip(tx: &mut Tx) -> Result<Cursor> {
    let position: i64 = on_tx!(tx, |conn| sqlx::query_scalar(DB::pick(
        "SELECT pos FROM commit_counter",
        "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1",
    ))
    .fetch_one(conn)
    .await)?;
    Ok(Cursor {
        position,
        entity: Uuid::max(),
        seq: u32::MAX,
    })
}

/// How far the stream of each of these orgs can be read now: the position of the last commit that is shown, 0 for none.
pub async fn stream_tips(tx: &mut SystemTx, orgs: &[OrgId]) -> Result<Vec<(OrgId, i64)>> {
    let mut tips = Vec::with_capacity(orgs.len());
    for part in orgs.chunks(1_000) {
        let found: Vec<(OrgId, i64)> = on_tx!(tx, |conn| {
            let shown = DB::pick(
                "",
                " AND commit_pos < pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
            );
            let last = |table: &str| {
                format!(
                    "coalesce((SELECT max(commit_pos) FROM {table} WHERE org_id = o.column1{shown}), 0)"
                )
            };
            let later = DB::pick("max", "greatest");
            let mut query = sqlx::QueryBuilder::<DB>::new(format!(
                "SELECT o.column1, {later}({}, {}) FROM (",
                last("journal"),
                last("org_event")
            ));
            query.push_values(part, |mut row, org| {
                row.push_bind(*org);
            });
            query.push(") AS o");
            query.build_query_as().fetch_all(conn).await
        })?;
        tips.extend(found);
    }
    Ok(tips)
}

async fn facts_page(
    tx: &mut Tx,
    scope: StreamScope,
    after: Cursor,
    limit: u32,
) -> Result<Vec<FactsRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        let mut query = sqlx::QueryBuilder::<DB>::new(
            "SELECT j.commit_pos, j.run_id, r.employee_id, r.version, r.accepted_us, j.seq, j.count, j.body
             FROM journal j JOIN run r ON r.org_id = j.org_id AND r.id = j.run_id WHERE j.org_id = ",
        );
        query.push_bind(org);
        if let StreamScope::Run(run) = scope {
            query.push(" AND j.run_id = ").push_bind(run);
        }
        // The first condition is for the index, the second for the rest of the commit that the cursor lies in.
        query
            .push(" AND j.commit_pos >= ")
            .push_bind(after.position);
        query.push(" AND (j.commit_pos, j.run_id, j.seq + j.count - 1) > (");
        query
            .push_bind(after.position)
            .push(", ")
            .push_bind(after.entity)
            .push(", ")
            .push_bind(i64::from(after.seq));
        query.push(DB::pick(
            ")",
            ") AND j.commit_pos < pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
        ));
        query
            .push(" ORDER BY j.commit_pos, j.run_id, j.seq LIMIT ")
            .push_bind(i64::from(limit));
        query.build_query_as().fetch_all(conn).await
    })?)
}

async fn events_page(tx: &mut Tx, after: Cursor, limit: u32) -> Result<Vec<EventRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(DB::pick(
        "SELECT commit_pos, id, kind, body, at_us FROM org_event
         WHERE org_id = $1 AND (commit_pos, id) > ($2, $3) ORDER BY commit_pos, id LIMIT $4",
        "SELECT commit_pos, id, kind, body, at_us FROM org_event
         WHERE org_id = $1 AND (commit_pos, id) > ($2, $3) AND commit_pos < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
         ORDER BY commit_pos, id LIMIT $4",
    ))
    .bind(org)
    .bind(after.position)
    .bind(after.entity)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

fn fact_items(row: &FactsRow, after: Cursor) -> Result<impl Iterator<Item = StreamItem> + use<>> {
    let (position, execution, employee) = (row.commit_pos, row.run_id, row.employee_id);
    let (version, accepted) = (row.version, row.accepted_us);
    Ok(row.journal.facts(0)?.filter_map(move |fact| {
        let cursor = Cursor {
            position,
            entity: execution.uuid(),
            seq: fact.seq,
        };
        (cursor > after).then_some(StreamItem::Fact {
            cursor,
            execution,
            employee,
            version,
            accepted,
            fact,
        })
    }))
}

fn event_item(row: EventRow) -> StreamItem {
    let cursor = Cursor {
        position: row.commit_pos,
        entity: row.id,
        seq: 0,
    };
    StreamItem::Event {
        cursor,
        id: row.id,
        kind: row.kind,
        body: row.body,
        at: row.at_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_print_and_parse() {
        let cursor = Cursor {
            position: 812,
            entity: Uuid::from_u128(7),
            seq: 3,
        };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        for wrong in [
            "",
            "1.2",
            "1.2.3.4",
            "x.00000000000000000000000000000007.3",
            "1.00000000000000000000000000000007.3.4",
        ] {
            assert!(
                matches!(wrong.parse::<Cursor>(), Err(DbError::Cursor)),
                "{wrong}"
            );
        }
    }
}
