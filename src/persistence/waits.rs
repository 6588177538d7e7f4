//! Timers: what wakes a sleeping employee at a time. For events that it waits for see [`super::event_waits`].

use super::{
    error::Result,
    rows::{Column, Rows},
    tx::{SystemTx, on_tx},
};
use crate::domain::{EmployeeId, OrgId, Timestamp};
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
    /// How often it was put off because nobody could take it.
    pub tries: i32,
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
        "SELECT org_id, owner, key, employee_id, due_us, tries FROM timer WHERE due_us <= $1 AND (due_us, owner, key) > ($2, $3, $4)
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

/// Puts off timers that nobody could take, so that they do not stand before others: each is due at the time beside it. One that was set or
/// put off meanwhile stays as it is. Gives how many were put off.
pub async fn timers_postpone(tx: &mut SystemTx, stuck: &[(&TimerRow, Timestamp)]) -> Result<u64> {
    let rows = || stuck.iter();
    let columns = vec![
        (
            "owner",
            Column::Uuid(rows().map(|(row, _)| row.owner).collect()),
        ),
        (
            "key",
            Column::Text(rows().map(|(row, _)| row.key.as_str()).collect()),
        ),
        (
            "seen_us",
            Column::Long(rows().map(|(row, _)| row.due.micros()).collect()),
        ),
        (
            "later_us",
            Column::Long(rows().map(|(_, later)| later.micros()).collect()),
        ),
    ];
    let statement = "UPDATE timer SET due_us = t.later_us, tries = timer.tries + 1 FROM t
         WHERE timer.owner = t.owner AND timer.key = t.key AND timer.due_us = t.seen_us";
    Rows::new(columns).execute(&mut tx.inner, statement).await
}
