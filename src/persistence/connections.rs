//! Doors to and from the outside: endpoints that take webhooks, and authorised accounts. Secrets are sealed before they come here.

use super::{
    error::{DbError, Result},
    health::Health,
    page::{Page, PageRequest, WINDOW, uuid_key, windowed_page},
    tx::{SystemTx, Tx, on_tx, one_row},
};
use crate::domain::{ConnectionId, HookId, OrgId, Timestamp};
use sqlx::{FromRow, QueryBuilder};
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

/// What the status of a connection can be.
pub mod connection_status {
    /// Nobody has consented yet.
    pub const PENDING: &str = "pending";
    pub const ACTIVE: &str = "active";
    /// Its grant is dead: a person has to consent again.
    pub const NEEDS_REAUTH: &str = "needs_reauth";
    /// Taken out of use by a person.
    pub const REVOKED: &str = "revoked";
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ConnectionRow {
    pub org_id: OrgId,
    pub id: ConnectionId,
    pub integration: String,
    /// Unique for the integration and the owner.
    pub name: String,
    /// Empty while there is none.
    pub sealed_credential: Sealed,
    /// Where the integration is, if not where the catalog says.
    pub base_url: Option<String>,
    /// JSON object: what the integration must know of the account beside its token.
    pub account: String,
    /// One of [`connection_status`].
    pub status: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
    /// Raised by every new credential, and part of its seal.
    pub credential_version: i64,
    /// By which of the integration's ways it was connected; `token`: a token that somebody pasted.
    pub way: String,
    /// The one user of the org to whom it belongs; `None`: to the org.
    pub owner_user: Option<String>,
    /// The provider's name for the account, for people.
    pub account_name: Option<String>,
    /// The provider's id of the account: a consent for another one is another connection.
    pub account_ref: Option<String>,
    /// JSON array of texts.
    pub scopes: String,
    /// When the token ends, if that is known.
    #[sqlx(rename = "expires_us")]
    pub expires: Option<Timestamp>,
    /// When the token should be renewed, if it can be.
    #[sqlx(rename = "refresh_due_us")]
    pub refresh_due: Option<Timestamp>,
    /// Somebody began to renew the token of this version and has not said how it ended.
    #[sqlx(rename = "refresh_started_us")]
    pub refresh_started: Option<Timestamp>,
    #[sqlx(rename = "refreshed_us")]
    pub refreshed: Option<Timestamp>,
    /// When the verification call was good last.
    #[sqlx(rename = "verified_us")]
    pub verified: Option<Timestamp>,
    #[sqlx(rename = "reauth_since_us")]
    pub reauth_since: Option<Timestamp>,
    /// Why the status is what it is, for people.
    pub status_reason: Option<String>,
    /// What the last probe found. A new credential begins anew.
    pub health: Health,
    #[sqlx(rename = "health_us")]
    pub health_at: Option<Timestamp>,
    pub health_error: Option<String>,
    /// When it is probed next.
    #[sqlx(rename = "probe_due_us")]
    pub probe_due: Option<Timestamp>,
}

impl ConnectionRow {
    /// A connection of the org that has no credential yet.
    pub fn pending(
        org: OrgId,
        id: ConnectionId,
        integration: &str,
        name: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            org_id: org,
            id,
            integration: integration.into(),
            name: name.into(),
            sealed_credential: Sealed(Vec::new()),
            base_url: None,
            account: "{}".into(),
            status: connection_status::PENDING.into(),
            created: now,
            updated: now,
            credential_version: 0,
            way: "token".into(),
            owner_user: None,
            account_name: None,
            account_ref: None,
            scopes: "[]".into(),
            expires: None,
            refresh_due: None,
            refresh_started: None,
            refreshed: None,
            verified: None,
            reauth_since: None,
            status_reason: None,
            health: Health::Unknown,
            health_at: None,
            health_error: None,
            probe_due: None,
        }
    }
}

/// Those that are written with a connection.
macro_rules! connection_written {
    () => {
        "org_id, id, integration, name, sealed_credential, base_url, account, status, created_us, updated_us,
         credential_version, way, owner_user, account_name, account_ref, scopes, expires_us, refresh_due_us, refresh_started_us, refreshed_us,
         verified_us, reauth_since_us, status_reason"
    };
}
macro_rules! connection_columns {
    () => {
        concat!(
            $crate::persistence::connections::connection_written!(),
            ", health, health_us, health_error, probe_due_us"
        )
    };
}
pub(super) use connection_columns;
pub(super) use connection_written;

/// Puts a connection in place, or replaces what is there under its id: its credential must be a later version then.
///
/// # Errors
/// `Stale` if the owner has another connection with this integration and name, or its credential is not older.
pub async fn connection_put(tx: &mut Tx, connection: &ConnectionRow) -> Result<()> {
    let org = tx.org();
    let put = on_tx!(tx, |conn| {
        sqlx::query(concat!(
        "INSERT INTO connection (",
        connection_written!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
         ON CONFLICT (org_id, integration, name, coalesce(owner_user, '')) DO UPDATE SET
             sealed_credential = excluded.sealed_credential, base_url = excluded.base_url, account = excluded.account,
             status = excluded.status, updated_us = excluded.updated_us, credential_version = excluded.credential_version,
             way = excluded.way, account_name = excluded.account_name, account_ref = excluded.account_ref, scopes = excluded.scopes, expires_us = excluded.expires_us,
             refresh_due_us = excluded.refresh_due_us, refresh_started_us = excluded.refresh_started_us,
             refreshed_us = excluded.refreshed_us, verified_us = excluded.verified_us, reauth_since_us = excluded.reauth_since_us,
             status_reason = excluded.status_reason, health = 'unknown', health_us = NULL, health_error = NULL
             WHERE connection.id = excluded.id AND connection.credential_version < excluded.credential_version"
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
    .bind(connection.credential_version)
    .bind(&connection.way)
    .bind(&connection.owner_user)
    .bind(&connection.account_name)
    .bind(&connection.account_ref)
    .bind(&connection.scopes)
    .bind(connection.expires)
    .bind(connection.refresh_due)
    .bind(connection.refresh_started)
    .bind(connection.refreshed)
    .bind(connection.verified)
    .bind(connection.reauth_since)
    .bind(&connection.status_reason)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    match put {
        0 => Err(DbError::Stale("connection")),
        _ => Ok(()),
    }
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

/// Whose connections a reader sees, beside those of the org.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners<'a> {
    /// Those of every user.
    All,
    /// Those of this user.
    User(&'a str),
    /// Nobody's.
    OrgOnly,
}

/// Those of one integration, or all, in the order of their ids.
pub async fn connection_list(
    tx: &mut Tx,
    integration: Option<&str>,
    owners: Owners<'_>,
    request: &PageRequest,
) -> Result<Page<ConnectionRow>> {
    windowed_page!(
        tx,
        request,
        connection_columns!(),
        "connection",
        Ascending,
        WINDOW,
        narrow: |_: &mut QueryBuilder<DB>| {},
        filter: |query: &mut QueryBuilder<DB>| {
            if let Some(integration) = integration {
                query.push(" AND integration = ").push_bind(integration);
            }
            match owners {
                Owners::All => {}
                Owners::User(user) => {
                    query
                        .push(" AND (owner_user IS NULL OR owner_user = ")
                        .push_bind(user)
                        .push(")");
                }
                Owners::OrgOnly => {
                    query.push(" AND owner_user IS NULL");
                }
            }
            integration.is_some() || !matches!(owners, Owners::All)
        },
        key: |row: &ConnectionRow| uuid_key(row.id.uuid()),
    )
}

/// The one that an owner has under this name.
pub async fn connection_find(
    tx: &mut Tx,
    integration: &str,
    name: &str,
    owner: Option<&str>,
) -> Result<Option<ConnectionRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        connection_columns!(),
        " FROM connection WHERE org_id = $1 AND integration = $2 AND name = $3 AND coalesce(owner_user, '') = $4"
    ))
    .bind(org)
    .bind(integration)
    .bind(name)
    .bind(owner.unwrap_or_default())
    .fetch_optional(conn)
    .await
    })?)
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

/// Deletes a connection, and what would bring it back: consents under way and links.
///
/// # Errors
/// `NotFound`.
pub async fn connection_delete(tx: &mut Tx, connection: ConnectionId) -> Result<()> {
    let org = tx.org();
    for statement in [
        "DELETE FROM oauth_state WHERE org_id = $1 AND connection_id = $2",
        "DELETE FROM connect_link WHERE org_id = $1 AND connection_id = $2",
        "DELETE FROM connection_notice WHERE org_id = $1 AND connection_id = $2",
    ] {
        on_tx!(tx, |conn| sqlx::query(statement)
            .bind(org)
            .bind(connection)
            .execute(conn)
            .await
            .map(drop))?;
    }
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
