//! What wakes a sleeping employee: timers that are due and events that it waits for.

use super::{
    error::Result,
    tx::{SystemTx, Tx, on_tx},
};
use crate::domain::{EmployeeId, ExecutionId, OrgId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct TimerRow {
    pub org_id: OrgId,
    /// The run that set it, or another entity with timers of its own.
    pub owner: Uuid,
    /// Unique for its owner.
    pub key: String,
    pub employee_id: EmployeeId,
    #[sqlx(rename = "due_us")]
    pub due: Timestamp,
}

/// Timers of all orgs that are due by `until`, the earliest first; from after `after` in that order.
pub async fn timers_due(
    tx: &mut SystemTx,
    until: Timestamp,
    after: Option<&TimerRow>,
    limit: u32,
) -> Result<Vec<TimerRow>> {
    let (due, owner, key) = after.map_or((FIRST, Uuid::nil(), ""), |row| {
        (row.due, row.owner, row.key.as_str())
    });
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, owner, key, employee_id, due_us FROM timer WHERE due_us <= $1 AND (due_us, owner, key) > ($2, $3, $4)
         ORDER BY due_us, owner, key LIMIT $5"
    )
    .bind(until)
    .bind(due)
    .bind(owner)
    .bind(key)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Before every time.
pub(super) const FIRST: Timestamp = Timestamp::from_micros(i64::MIN);

/// When the earliest timer of all is due.
pub async fn timers_next(tx: &mut SystemTx) -> Result<Option<Timestamp>> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT min(due_us) FROM timer"
    )
    .fetch_one(conn)
    .await)?)
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct WaitRow {
    pub org_id: OrgId,
    pub run_id: ExecutionId,
    /// As `StepId` prints.
    pub step: String,
    pub employee_id: EmployeeId,
    /// The event's type.
    pub event: String,
    /// Exact, or with `*` at its end; `None`: any.
    pub source: Option<String>,
    /// JSON: what fields of the payload must be equal to.
    pub matches: String,
    #[sqlx(rename = "since_us")]
    pub since: Timestamp,
    #[sqlx(rename = "until_us")]
    pub until: Option<Timestamp>,
}

/// The waits of the org for events of this type; whether source and payload fit is for the caller to see.
pub async fn waits_find(tx: &mut Tx, event: &str) -> Result<Vec<WaitRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, run_id, step, employee_id, event, source, matches, since_us, until_us FROM event_wait
         WHERE org_id = $1 AND event = $2 ORDER BY since_us, run_id, step"
    )
    .bind(org)
    .bind(event)
    .fetch_all(conn)
    .await
    })?)
}
