//! Dead grants of which somebody is told: by which way, how far that is.

use super::{
    connections::{ConnectionRow, Sealed},
    error::Result,
    event_waits::WaitRow,
    tx::{SystemTx, Tx, on_tx},
    words::words,
};
use crate::domain::{ConnectionId, LinkId, OrgId, Timestamp};
use sqlx::FromRow;

words! {
    ToldBy {
        Slack = "slack",
        Mail = "mail",
    }
}

words! {
    TellingStatus {
        /// To be told, or to be told again.
        Telling = "telling",
        Told = "told",
        /// There is nothing to tell any more, or nobody wants to be told this way.
        Closed = "closed",
        /// It was given up; the connection shows its state everywhere else.
        Failed = "failed",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ConnectionNoticeRow {
    pub org_id: OrgId,
    pub connection_id: ConnectionId,
    /// The credential whose grant is dead.
    pub credential_version: i64,
    pub way: ToldBy,
    pub status: TellingStatus,
    pub link_id: Option<LinkId>,
    /// The link's token, as long as the message may have to be sent again; else empty.
    pub sealed_link: Sealed,
    /// JSON: the message without the link, stored before it leaves.
    pub message: Option<String>,
    pub attempts: i64,
    /// When it may be tried again.
    #[sqlx(rename = "due_us")]
    pub due: Timestamp,
    pub error: Option<String>,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
}

/// Opens a notice for each way of telling that the grant of this version is dead.
pub async fn connection_notices_open(
    tx: &mut SystemTx,
    row: &ConnectionRow,
    now: Timestamp,
) -> Result<()> {
    for way in [ToldBy::Slack, ToldBy::Mail] {
        on_tx!(tx, |conn| {
            sqlx::query(
                "INSERT INTO connection_notice (org_id, connection_id, credential_version, way, status, sealed_link, attempts, due_us, created_us)
                 VALUES ($1, $2, $3, $4, 'telling', $5, 0, $6, $6)
                 ON CONFLICT (org_id, connection_id, credential_version, way) DO NOTHING",
            )
            .bind(row.org_id)
            .bind(row.id)
            .bind(row.credential_version)
            .bind(way)
            .bind(Sealed(Vec::new()))
            .bind(now)
            .execute(conn)
            .await
            .map(drop)
        })?;
    }
    Ok(())
}

/// Notices of all orgs that are due, the oldest first.
pub async fn connection_notices_due(
    tx: &mut SystemTx,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<ConnectionNoticeRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
            "SELECT org_id, connection_id, credential_version, way, status, link_id, sealed_link, message, attempts, due_us, error, created_us
             FROM connection_notice WHERE status = 'telling' AND due_us <= $1 ORDER BY due_us, connection_id, way LIMIT $2",
        )
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
    })?)
}

/// Writes how a notice stands now; one that was closed stays closed.
pub async fn connection_notice_put(tx: &mut SystemTx, notice: &ConnectionNoticeRow) -> Result<()> {
    on_tx!(tx, |conn| {
        sqlx::query(
            "UPDATE connection_notice SET status = $5, link_id = $6, sealed_link = $7, message = $8, attempts = $9, due_us = $10, error = $11
             WHERE org_id = $1 AND connection_id = $2 AND credential_version = $3 AND way = $4 AND status <> 'closed'",
        )
        .bind(notice.org_id)
        .bind(notice.connection_id)
        .bind(notice.credential_version)
        .bind(notice.way)
        .bind(notice.status)
        .bind(notice.link_id)
        .bind(&notice.sealed_link)
        .bind(&notice.message)
        .bind(notice.attempts)
        .bind(notice.due)
        .bind(&notice.error)
        .execute(conn)
        .await
        .map(drop)
    })?;
    Ok(())
}

/// The account was connected again: nobody is told any more, and the links by which they were told lead nowhere.
pub async fn connection_notices_close(
    tx: &mut Tx,
    connection: ConnectionId,
    now: Timestamp,
) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
            "UPDATE connect_link SET expires_us = $3 WHERE org_id = $1 AND used_us IS NULL AND expires_us > $3 AND id IN
                 (SELECT link_id FROM connection_notice WHERE org_id = $1 AND connection_id = $2 AND link_id IS NOT NULL)",
        )
        .bind(org)
        .bind(connection)
        .bind(now)
        .execute(conn)
        .await
        .map(drop)
    })?;
    on_tx!(tx, |conn| {
        sqlx::query(
            "UPDATE connection_notice SET status = 'closed', sealed_link = $3
             WHERE org_id = $1 AND connection_id = $2 AND status = 'telling'",
        )
        .bind(org)
        .bind(connection)
        .bind(Sealed(Vec::new()))
        .execute(conn)
        .await
        .map(drop)
    })?;
    Ok(())
}

/// Deletes notices of all orgs that are over and were opened before `before`.
pub async fn connection_notices_delete(tx: &mut SystemTx, before: Timestamp) -> Result<u64> {
    Ok(on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM connection_notice WHERE status <> 'telling' AND created_us < $1"
    )
    .bind(before)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?)
}

/// Steps that wait for a connection although one became active since, or shortly before (`slack_us`, for those that began to wait at that
/// very moment). `prefix` and the integration's id name what they wait for.
pub async fn waits_overtaken(
    tx: &mut SystemTx,
    prefix: &str,
    slack_us: i64,
    limit: u32,
) -> Result<Vec<WaitRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
            "SELECT w.org_id, w.run_id, w.step, w.employee_id, w.event, w.source, w.matches, w.since_us, w.until_us
             FROM connection c JOIN event_wait w ON w.org_id = c.org_id AND w.event = $1 || c.integration
             WHERE c.status = 'active' AND c.updated_us > w.since_us - $2 ORDER BY w.since_us, w.run_id, w.step LIMIT $3",
        )
        .bind(prefix)
        .bind(slack_us)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
    })?)
}
