//! The life of a connection's credential: every new one is a compare-and-swap of its version, so that of two who renew it one loses.

use super::{
    connections::{ConnectionRow, Sealed, connection_columns, connection_status},
    error::Result,
    tx::{Inner, SystemTx, Tx, on_tx},
    waits::FIRST,
};
use crate::domain::{ConnectionId, OrgId, Timestamp};
use uuid::Uuid;

/// A new credential. What is `None` stays as it is, where nothing else is said.
#[derive(Clone, Debug)]
pub struct CredentialSwap<'a> {
    /// The version that it follows; the new one is one more.
    pub expected: i64,
    /// Sealed for the new version.
    pub sealed: &'a Sealed,
    /// `None`: it never ends, or nobody knows when.
    pub expires: Option<Timestamp>,
    /// `None`: it cannot be renewed.
    pub refresh_due: Option<Timestamp>,
    /// JSON array of texts.
    pub scopes: Option<&'a str>,
    /// JSON object, whole: what is known of the account, where a refresh has told something of it. A consent brings its own.
    pub account: Option<&'a str>,
    pub at: Timestamp,
    /// Only if nobody has begun another refresh since the one that began then.
    pub begun: Option<Timestamp>,
    /// Set by a consent, not by a refresh.
    pub consent: Option<Consented<'a>>,
}

/// What a person's consent brings beside the credential.
#[derive(Clone, Copy, Debug)]
pub struct Consented<'a> {
    pub way: &'a str,
    /// JSON object, whole.
    pub account: &'a str,
    pub account_name: Option<&'a str>,
    pub account_ref: Option<&'a str>,
    pub base_url: Option<&'a str>,
    /// When the verification call was good.
    pub verified: Option<Timestamp>,
}

/// Puts a new credential in place and makes the connection active. `false`, and nothing changed, if its version is another than was
/// expected, or the connection is gone.
pub async fn connection_credential_swap(
    tx: &mut Tx,
    connection: ConnectionId,
    new: &CredentialSwap<'_>,
) -> Result<bool> {
    let org = tx.org();
    swap(&mut tx.inner, org, connection, new).await
}

/// The same for the runtime, which refreshes for all orgs.
pub async fn connection_credential_swap_system(
    tx: &mut SystemTx,
    org: OrgId,
    connection: ConnectionId,
    new: &CredentialSwap<'_>,
) -> Result<bool> {
    swap(&mut tx.inner, org, connection, new).await
}

struct Scope<'a> {
    inner: &'a mut Inner,
}

async fn swap(
    inner: &mut Inner,
    org: OrgId,
    connection: ConnectionId,
    new: &CredentialSwap<'_>,
) -> Result<bool> {
    let mut tx = Scope { inner };
    let consent = new.consent.as_ref();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE connection SET sealed_credential = $4, credential_version = credential_version + 1, status = $5, expires_us = $6,
             refresh_due_us = $7, scopes = coalesce($8, scopes), updated_us = $9, refreshed_us = $9, refresh_started_us = NULL,
             reauth_since_us = NULL, status_reason = NULL, way = coalesce($10, way), account = coalesce($11, account),
             account_name = coalesce($12, account_name), base_url = coalesce($13, base_url), verified_us = coalesce(CAST($14 AS BIGINT), verified_us),
             account_ref = coalesce($15, account_ref),
             health = CASE WHEN CAST($16 AS BIGINT) IS NULL THEN health WHEN CAST($14 AS BIGINT) IS NULL THEN 'unknown' ELSE 'healthy' END,
             health_us = CASE WHEN CAST($16 AS BIGINT) IS NULL THEN health_us ELSE CAST($14 AS BIGINT) END, health_error = CASE WHEN CAST($16 AS BIGINT) IS NULL THEN health_error END
         WHERE org_id = $1 AND id = $2 AND credential_version = $3 AND (CAST($17 AS BIGINT) IS NULL OR refresh_started_us = $17)"
    )
    .bind(org)
    .bind(connection)
    .bind(new.expected)
    .bind(new.sealed)
    .bind(connection_status::ACTIVE)
    .bind(new.expires)
    .bind(new.refresh_due)
    .bind(new.scopes)
    .bind(new.at)
    .bind(consent.map(|consent| consent.way))
    .bind(consent.map(|consent| consent.account).or(new.account))
    .bind(consent.and_then(|consent| consent.account_name))
    .bind(consent.and_then(|consent| consent.base_url))
    .bind(consent.and_then(|consent| consent.verified))
    .bind(consent.and_then(|consent| consent.account_ref))
    .bind(consent.map(|_| 1_i64))
    .bind(new.begun)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Notes that the token of this version is about to be renewed, before the provider is asked: after a crash it is known that the refresh
/// token may have been used. `false` if the version is another by now or the connection is not active.
pub async fn connection_refresh_begin(
    tx: &mut SystemTx,
    org: OrgId,
    connection: ConnectionId,
    version: i64,
    at: Timestamp,
) -> Result<bool> {
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE connection SET refresh_started_us = $4
         WHERE org_id = $1 AND id = $2 AND credential_version = $3 AND status = $5"
    )
    .bind(org)
    .bind(connection)
    .bind(version)
    .bind(at)
    .bind(connection_status::ACTIVE)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    Ok(changed > 0)
}

/// Takes the note back, since the provider surely has not renewed anything, and says when to try again.
pub async fn connection_refresh_failed(
    tx: &mut SystemTx,
    org: OrgId,
    connection: ConnectionId,
    version: i64,
    next: Timestamp,
) -> Result<()> {
    on_tx!(tx, |conn| sqlx::query(
        "UPDATE connection SET refresh_started_us = NULL, refresh_due_us = $4
         WHERE org_id = $1 AND id = $2 AND credential_version = $3 AND refresh_due_us IS NOT NULL"
    )
    .bind(org)
    .bind(connection)
    .bind(version)
    .bind(next)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// The grant of this version is dead: a person has to consent again. `false` if there is a newer one or it was known already.
pub async fn connection_needs_reauth(
    tx: &mut SystemTx,
    org: OrgId,
    connection: ConnectionId,
    version: i64,
    reason: &str,
    at: Timestamp,
) -> Result<bool> {
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE connection SET status = $4, status_reason = $5, reauth_since_us = $6, updated_us = $6, refresh_due_us = NULL,
             refresh_started_us = NULL, health = 'failing', health_us = $6, health_error = $5
         WHERE org_id = $1 AND id = $2 AND credential_version = $3 AND status = $7"
    )
    .bind(org)
    .bind(connection)
    .bind(version)
    .bind(connection_status::NEEDS_REAUTH)
    .bind(reason)
    .bind(at)
    .bind(connection_status::ACTIVE)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Takes a refresh that is due upon oneself; when nothing comes of it, it is due again at `again`. `false` if another node was faster.
pub async fn connection_refresh_claim(
    tx: &mut SystemTx,
    row: &ConnectionRow,
    again: Timestamp,
) -> Result<bool> {
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE connection SET refresh_due_us = $5
         WHERE org_id = $1 AND id = $2 AND credential_version = $3 AND refresh_due_us = $4"
    )
    .bind(row.org_id)
    .bind(row.id)
    .bind(row.credential_version)
    .bind(row.refresh_due)
    .bind(again)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    Ok(changed > 0)
}

/// Active connections of all orgs whose token should be renewed by `until`, the most urgent first; from after `after` in that order.
pub async fn connections_refresh_due(
    tx: &mut SystemTx,
    until: Timestamp,
    after: Option<&ConnectionRow>,
    limit: u32,
) -> Result<Vec<ConnectionRow>> {
    let (due, id) = after.map_or((FIRST, Uuid::nil()), |row| {
        (row.refresh_due.unwrap_or(FIRST), row.id.uuid())
    });
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        connection_columns!(),
        " FROM connection WHERE refresh_due_us < $1 AND status = $2 AND (refresh_due_us, id) > ($3, $4)
          ORDER BY refresh_due_us, id LIMIT $5"
    ))
    .bind(until)
    .bind(connection_status::ACTIVE)
    .bind(due)
    .bind(id)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// A connection of whatever org, as the runtime sees it.
pub async fn connection_get_system(
    tx: &mut SystemTx,
    org: OrgId,
    connection: ConnectionId,
) -> Result<Option<ConnectionRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        connection_columns!(),
        " FROM connection WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(connection)
    .fetch_optional(conn)
    .await)?)
}

/// Deletes connections of all orgs to which nobody has consented since `before`.
pub async fn connections_delete_pending(tx: &mut SystemTx, before: Timestamp) -> Result<u64> {
    Ok(on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM connection WHERE status = $1 AND updated_us < $2"
    )
    .bind(connection_status::PENDING)
    .bind(before)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?)
}
