//! Events of an org that belong to no run, in one order with the journal, and the position that gives both their order.

use super::{
    error::Result,
    rows::{Column, Rows},
    tx::{Inner, SystemTx, Tx},
};
use crate::domain::{OrgId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OrgEventRow {
    pub id: Uuid,
    /// For example `GraphDefined`.
    pub kind: String,
    /// JSON.
    pub body: String,
    #[sqlx(rename = "at_us")]
    pub at: Timestamp,
}

pub async fn org_event_insert(tx: &mut Tx, event: &OrgEventRow) -> Result<()> {
    let position = position(&mut tx.inner, true).await?;
    events_insert(&mut tx.inner, &[(tx.org, event)], position).await
}

/// The same for the runtime.
pub async fn org_event_insert_system(
    tx: &mut SystemTx,
    org: OrgId,
    event: &OrgEventRow,
) -> Result<()> {
    let position = position(&mut tx.inner, true).await?;
    events_insert(&mut tx.inner, &[(org, event)], position).await
}

/// The commit position of this transaction: on SQLite the next number, if it is needed; on PostgreSQL `None`, for there each row takes
/// the number of its transaction by default.
pub(super) async fn position(inner: &mut Inner, needed: bool) -> Result<Option<i64>> {
    match inner {
        Inner::Sqlite(tx) if needed => Ok(Some(
            sqlx::query_scalar("UPDATE commit_counter SET pos = pos + 1 RETURNING pos")
                .fetch_one(&mut **tx)
                .await?,
        )),
        _ => Ok(None),
    }
}

pub(super) async fn events_insert(
    inner: &mut Inner,
    events: &[(OrgId, &OrgEventRow)],
    position: Option<i64>,
) -> Result<()> {
    let mut columns = vec![
        (
            "org_id",
            Column::Uuid(events.iter().map(|(org, _)| org.uuid()).collect()),
        ),
        (
            "id",
            Column::Uuid(events.iter().map(|(_, event)| event.id).collect()),
        ),
        (
            "kind",
            Column::Text(
                events
                    .iter()
                    .map(|(_, event)| event.kind.as_str())
                    .collect(),
            ),
        ),
        (
            "body",
            Column::Text(
                events
                    .iter()
                    .map(|(_, event)| event.body.as_str())
                    .collect(),
            ),
        ),
        (
            "at_us",
            Column::Long(events.iter().map(|(_, event)| event.at.micros()).collect()),
        ),
    ];
    let names = positioned(
        &mut columns,
        "org_id, id, kind, body, at_us",
        position,
        events.len(),
    );
    Rows::new(columns)
        .execute(
            inner,
            &format!("INSERT INTO org_event ({names}) SELECT {names} FROM t"),
        )
        .await
        .map(drop)
}

/// Adds the commit position to the columns of rows that have one to be written.
pub(super) fn positioned(
    columns: &mut Vec<(&'static str, Column<'_>)>,
    names: &str,
    position: Option<i64>,
    rows: usize,
) -> String {
    match position {
        Some(position) => {
            columns.push(("commit_pos", Column::Long(vec![position; rows])));
            format!("{names}, commit_pos")
        }
        None => names.to_owned(),
    }
}
