//! Outside systems that are asked for news now and then: what to ask, how far has been read, and when it is due again.

use super::{
    error::Result,
    page::{Page, PageRequest, uuid_key},
    tx::{SystemTx, Tx, on_tx, one_row},
    waits::FIRST,
    words::words,
};
use crate::domain::{OrgId, SourceId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

words! {
    PollStatus {
        Active = "active",
        Paused = "paused",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PollSourceRow {
    pub org_id: OrgId,
    pub id: SourceId,
    /// Unique in the org; its events come from `poll:{name}`.
    pub name: String,
    pub capability: String,
    /// Name of the connection; `None`: the oldest of the integration.
    pub connection: Option<String>,
    /// JSON, with the cursor's place in it.
    pub arguments: String,
    /// JSON: where the items are, what tells them apart, how the cursor moves.
    pub rule: String,
    pub every_us: i64,
    pub status: PollStatus,
    /// How far has been read; everything up to here is in the inbox.
    pub cursor: Option<String>,
    #[sqlx(rename = "next_due_us")]
    pub next_due: Timestamp,
    #[sqlx(rename = "last_us")]
    pub last: Option<Timestamp>,
    /// Why it could not be read the last time.
    pub error: Option<String>,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
}

macro_rules! poll_columns {
    () => {
        "org_id, id, name, capability, connection, arguments, rule, every_us, status, cursor, next_due_us, last_us, error, created_us"
    };
}

/// # Errors
/// `Duplicate` if the name is taken.
pub async fn poll_source_insert(tx: &mut Tx, source: &PollSourceRow) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| sqlx::query(concat!(
        "INSERT INTO poll_source (",
        poll_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    ))
    .bind(org)
    .bind(source.id)
    .bind(&source.name)
    .bind(&source.capability)
    .bind(&source.connection)
    .bind(&source.arguments)
    .bind(&source.rule)
    .bind(source.every_us)
    .bind(source.status)
    .bind(&source.cursor)
    .bind(source.next_due)
    .bind(source.last)
    .bind(&source.error)
    .bind(source.created)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

pub async fn poll_source_get(tx: &mut Tx, source: SourceId) -> Result<Option<PollSourceRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        poll_columns!(),
        " FROM poll_source WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(source)
    .fetch_optional(conn)
    .await)?)
}

/// In the order of their ids.
pub async fn poll_source_list(tx: &mut Tx, request: &PageRequest) -> Result<Page<PollSourceRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?.unwrap_or_default());
    let rows = on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        poll_columns!(),
        " FROM poll_source WHERE org_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    ))
    .bind(org)
    .bind(after)
    .bind(request.fetch())
    .fetch_all(conn)
    .await)?;
    Ok(request.page(rows, |source: &PollSourceRow| uuid_key(source.id.uuid())))
}

/// # Errors
/// `NotFound`.
pub async fn poll_source_set_status(
    tx: &mut Tx,
    source: SourceId,
    status: PollStatus,
    next_due: Timestamp,
) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE poll_source SET status = $3, next_due_us = $4 WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(source)
    .bind(status)
    .bind(next_due)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(changed, "source")
}

/// # Errors
/// `NotFound`.
pub async fn poll_source_delete(tx: &mut Tx, source: SourceId) -> Result<()> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM poll_source WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(source)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(gone, "source")
}

/// Active sources of all orgs that are due, the longest due first, from after `after` in that order.
pub async fn poll_sources_due(
    tx: &mut SystemTx,
    now: Timestamp,
    after: Option<(Timestamp, SourceId)>,
    limit: u32,
) -> Result<Vec<PollSourceRow>> {
    let (due, id) = after.map_or((FIRST, Uuid::nil()), |(due, id)| (due, id.uuid()));
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        poll_columns!(),
        " FROM poll_source WHERE status = 'active' AND next_due_us <= $1 AND (next_due_us, id) > ($2, $3)
         ORDER BY next_due_us, id LIMIT $4"
    ))
    .bind(now)
    .bind(due)
    .bind(id)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// A source was read up to `cursor`, or could not be read. Gives whether it stands where the reader believed: if not, somebody else has
/// read it meanwhile, and nothing is changed.
pub async fn poll_source_advance(
    tx: &mut SystemTx,
    source: &PollSourceRow,
    cursor: Option<&str>,
    next_due: Timestamp,
    at: Timestamp,
    error: Option<&str>,
) -> Result<bool> {
    Ok(on_tx!(tx, |conn| sqlx::query(
        "UPDATE poll_source SET cursor = $4, next_due_us = $5, last_us = $6, error = $7
         WHERE org_id = $1 AND id = $2 AND next_due_us = $3"
    )
    .bind(source.org_id)
    .bind(source.id)
    .bind(source.next_due)
    .bind(cursor)
    .bind(next_due)
    .bind(at)
    .bind(error)
    .execute(conn)
    .await
    .map(|done| done.rows_affected() == 1))?)
}
