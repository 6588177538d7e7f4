//! What probes found of connections, and when they are asked again.

use super::{
    connections::{ConnectionRow, connection_columns},
    error::Result,
    tx::{SystemTx, on_tx},
    words::words,
};
use crate::domain::{ConnectionId, OrgId, Timestamp};

words! {
    Health {
        /// Nobody has asked yet, or the provider has nothing to ask.
        Unknown = "unknown",
        /// The verification call was good.
        Healthy = "healthy",
        /// It was not: calls of employees would fail too.
        Failing = "failing",
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// The credential that was tried; what is known of another one stays as it is.
    pub version: i64,
    pub health: Health,
    /// For people; holds no secret.
    pub error: Option<&'a str>,
    pub at: Timestamp,
}

/// Notes what a probe found. `false`, and nothing changed, if there is another credential by now.
pub async fn connection_health_put(
    tx: &mut SystemTx,
    org: OrgId,
    connection: ConnectionId,
    found: &Found<'_>,
) -> Result<bool> {
    let verified = (found.health == Health::Healthy).then_some(found.at);
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
            "UPDATE connection SET health = $4, health_us = $5, health_error = $6, verified_us = coalesce($7, verified_us)
             WHERE org_id = $1 AND id = $2 AND credential_version = $3",
        )
        .bind(org)
        .bind(connection)
        .bind(found.version)
        .bind(found.health)
        .bind(found.at)
        .bind(found.error)
        .bind(verified)
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Active connections of all orgs that are to be probed by `until`, and those for which no time was chosen yet; these first.
pub async fn connections_probe_due(
    tx: &mut SystemTx,
    until: Timestamp,
    limit: u32,
) -> Result<Vec<ConnectionRow>> {
    // Each by the index; one condition for both, in one order, would read and sort all connections.
    let mut due: Vec<ConnectionRow> = on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT ",
            connection_columns!(),
            " FROM connection WHERE status = 'active' AND probe_due_us IS NULL LIMIT $1"
        ))
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await
    })?;
    let room = i64::from(limit) - due.len() as i64;
    let chosen: Vec<ConnectionRow> = on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
            "SELECT ",
            connection_columns!(),
            " FROM connection WHERE status = 'active' AND probe_due_us <= $1 ORDER BY probe_due_us LIMIT $2"
        ))
        .bind(until)
        .bind(room)
        .fetch_all(conn)
        .await
    })?;
    due.extend(chosen);
    Ok(due)
}

/// Says when a connection is probed next. `false` if another node has chosen since `row` was read: then it is that one's.
pub async fn connection_probe_plan(
    tx: &mut SystemTx,
    row: &ConnectionRow,
    next: Timestamp,
) -> Result<bool> {
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
            "UPDATE connection SET probe_due_us = $4
             WHERE org_id = $1 AND id = $2 AND coalesce(probe_due_us, -1) = $3",
        )
        .bind(row.org_id)
        .bind(row.id)
        .bind(row.probe_due.map_or(-1, Timestamp::micros))
        .bind(next)
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}
