//! Doors to and from the outside: endpoints that take webhooks, and authorised accounts. Secrets are sealed before they come here.

use super::{
    error::Result,
    page::{Page, PageRequest, uuid_key},
    tx::{SystemTx, Tx, on_tx, one_row},
};
use crate::domain::{ConnectionId, HookId, OrgId, Timestamp};
use sqlx::FromRow;
use std::fmt;

/// Bytes that only the vault can open; `Debug` shows their number.
#[derive(Clone, PartialEq, Eq, sqlx::Type)]
#[sqlx(transparent)]
pub struct Sealed(pub Vec<u8>);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct HookRow {
    pub org_id: OrgId,
    pub id: HookId,
    /// First part of the path `/hooks/{source}/{endpoint}`.
    pub source: String,
    /// Second part; cannot be guessed; unique with the source over all orgs.
    pub endpoint: String,
    /// How requests are signed, for example `standard_webhooks`.
    pub scheme: String,
    pub sealed_secrets: Sealed,
    /// What kind of event it gives, or where in the request that stands.
    pub event_type: Option<String>,
    /// JSON object: what was chosen of the scheme.
    pub options: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
}

macro_rules! hook_columns {
    () => {
        "org_id, id, source, endpoint, scheme, sealed_secrets, event_type, options, created_us"
    };
}

/// # Errors
/// `Duplicate` if source and endpoint are taken, in whatever org.
pub async fn hook_insert(tx: &mut Tx, hook: &HookRow) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| sqlx::query(concat!(
        "INSERT INTO hook (",
        hook_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    ))
    .bind(org)
    .bind(hook.id)
    .bind(&hook.source)
    .bind(&hook.endpoint)
    .bind(&hook.scheme)
    .bind(&hook.sealed_secrets)
    .bind(&hook.event_type)
    .bind(&hook.options)
    .bind(hook.created)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// Whose endpoint it is: the path of a webhook names no org.
pub async fn hook_find(tx: &mut SystemTx, source: &str, endpoint: &str) -> Result<Option<HookRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        hook_columns!(),
        " FROM hook WHERE source = $1 AND endpoint = $2"
    ))
    .bind(source)
    .bind(endpoint)
    .fetch_optional(conn)
    .await)?)
}

pub async fn hook_list(tx: &mut Tx, request: &PageRequest) -> Result<Page<HookRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?.unwrap_or_default());
    let rows = on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        hook_columns!(),
        " FROM hook WHERE org_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    ))
    .bind(org)
    .bind(after)
    .bind(request.fetch())
    .fetch_all(conn)
    .await)?;
    Ok(request.page(rows, |hook: &HookRow| uuid_key(hook.id.uuid())))
}

/// # Errors
/// `NotFound`.
pub async fn hook_set_secrets(tx: &mut Tx, hook: HookId, secrets: &Sealed) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE hook SET sealed_secrets = $3 WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(hook)
    .bind(secrets)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(changed, "hook")
}

/// # Errors
/// `NotFound`.
pub async fn hook_delete(tx: &mut Tx, hook: HookId) -> Result<()> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM hook WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(hook)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(gone, "hook")
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ConnectionRow {
    pub org_id: OrgId,
    pub id: ConnectionId,
    pub integration: String,
    /// Unique in the org for the integration.
    pub name: String,
    pub sealed_credential: Sealed,
    /// Where the integration is, if not where the catalog says.
    pub base_url: Option<String>,
    /// JSON object: what the integration must know of the account beside its token.
    pub account: String,
    /// A word of the connector's.
    pub status: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
}

macro_rules! connection_columns {
    () => {
        "org_id, id, integration, name, sealed_credential, base_url, account, status, created_us, updated_us"
    };
}

/// Puts a connection in place; one with the same integration and name keeps its id and gets the rest. Gives the id.
pub async fn connection_put(tx: &mut Tx, connection: &ConnectionRow) -> Result<ConnectionId> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(concat!(
        "INSERT INTO connection (",
        connection_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (org_id, integration, name) DO UPDATE SET sealed_credential = excluded.sealed_credential,
             base_url = excluded.base_url, account = excluded.account, status = excluded.status, updated_us = excluded.updated_us
         RETURNING id"
    ))
    .bind(org)
    .bind(connection.id)
    .bind(&connection.integration)
    .bind(&connection.name)
    .bind(&connection.sealed_credential)
    .bind(&connection.base_url)
    .bind(&connection.account)
    .bind(&connection.status)
    .bind(connection.created)
    .bind(connection.updated)
    .fetch_one(conn)
    .await
    })?)
}

pub async fn connection_get(
    tx: &mut Tx,
    connection: ConnectionId,
) -> Result<Option<ConnectionRow>> {
    let org = tx.org();
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

/// Those of one integration, or all, in the order of their ids.
pub async fn connection_list(
    tx: &mut Tx,
    integration: Option<&str>,
    request: &PageRequest,
) -> Result<Page<ConnectionRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?.unwrap_or_default());
    let rows = on_tx!(tx, |conn| {
        let mut query = sqlx::QueryBuilder::<DB>::new(concat!(
            "SELECT ",
            connection_columns!(),
            " FROM connection WHERE org_id = "
        ));
        query.push_bind(org).push(" AND id > ").push_bind(after);
        if let Some(integration) = integration {
            query.push(" AND integration = ").push_bind(integration);
        }
        query.push(" ORDER BY id LIMIT ").push_bind(request.fetch());
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(request.page(rows, |connection: &ConnectionRow| {
        uuid_key(connection.id.uuid())
    }))
}

/// # Errors
/// `NotFound`.
pub async fn connection_set_status(
    tx: &mut Tx,
    connection: ConnectionId,
    status: &str,
    at: Timestamp,
) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE connection SET status = $3, updated_us = $4 WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(connection)
    .bind(status)
    .bind(at)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(changed, "connection")
}

/// # Errors
/// `NotFound`.
pub async fn connection_delete(tx: &mut Tx, connection: ConnectionId) -> Result<()> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM connection WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(connection)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(gone, "connection")
}
