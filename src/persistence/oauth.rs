//! Consents under way: the clients that orgs registered at providers, the states of browsers that are away at one, and connect links.
//!
//! States and links are known here by the SHA-256 of their secret only.

use super::{
    connections::Sealed,
    error::Result,
    tx::{Inner, SystemTx, Tx, on_tx, one_row},
};
use crate::domain::{ConnectionId, LinkId, OauthClientId, OrgId, Timestamp};
use sqlx::FromRow;

/// What an org registered at a provider.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OauthClientRow {
    pub org_id: OrgId,
    pub id: OauthClientId,
    /// Unique in the org.
    pub integration: String,
    pub client_id: String,
    /// Empty for a public client.
    pub sealed_secret: Sealed,
    /// Raised by every change, and part of the seal.
    pub secret_version: i64,
    /// JSON object: addresses in the place of the catalog's.
    pub overrides: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
}

macro_rules! client_columns {
    () => {
        "org_id, id, integration, client_id, sealed_secret, secret_version, overrides, created_us, updated_us"
    };
}

/// Puts the client of an integration in place.
///
/// # Errors
/// `Stale` if the one that is there is not older.
pub async fn oauth_client_put(tx: &mut Tx, client: &OauthClientRow) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(concat!(
        "INSERT INTO oauth_client (",
        client_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (org_id, integration) DO UPDATE SET client_id = excluded.client_id, sealed_secret = excluded.sealed_secret,
             secret_version = excluded.secret_version, overrides = excluded.overrides, updated_us = excluded.updated_us
             WHERE oauth_client.secret_version < excluded.secret_version AND oauth_client.id = excluded.id"
    ))
    .bind(org)
    .bind(client.id)
    .bind(&client.integration)
    .bind(&client.client_id)
    .bind(&client.sealed_secret)
    .bind(client.secret_version)
    .bind(&client.overrides)
    .bind(client.created)
    .bind(client.updated)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    match changed {
        0 => Err(super::error::DbError::Stale("oauth client")),
        _ => Ok(()),
    }
}

pub async fn oauth_client_find(tx: &mut Tx, integration: &str) -> Result<Option<OauthClientRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        client_columns!(),
        " FROM oauth_client WHERE org_id = $1 AND integration = $2"
    ))
    .bind(org)
    .bind(integration)
    .fetch_optional(conn)
    .await)?)
}

/// All of the org's, in the order of the integrations; there are no more than integrations.
pub async fn oauth_client_list(tx: &mut Tx) -> Result<Vec<OauthClientRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        client_columns!(),
        " FROM oauth_client WHERE org_id = $1 ORDER BY integration"
    ))
    .bind(org)
    .fetch_all(conn)
    .await)?)
}

/// # Errors
/// `NotFound`.
pub async fn oauth_client_delete(tx: &mut Tx, integration: &str) -> Result<()> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM oauth_client WHERE org_id = $1 AND integration = $2"
    )
    .bind(org)
    .bind(integration)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(gone, "oauth client")
}

/// A consent that was begun.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OauthStateRow {
    pub org_id: OrgId,
    pub state_hash: Vec<u8>,
    pub connection_id: ConnectionId,
    pub integration: String,
    pub way: String,
    /// Who began it.
    pub user_id: Option<String>,
    /// Of PKCE; empty without.
    pub sealed_verifier: Sealed,
    pub redirect_uri: String,
    /// JSON array of texts: what was asked for.
    pub scopes: String,
    /// JSON object: what was said of the account before.
    pub account: String,
    /// Of the cookie that the browser has which began it, if one did.
    pub browser_hash: Option<Vec<u8>>,
    /// The link through which it was begun.
    pub link_id: Option<LinkId>,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "expires_us")]
    pub expires: Timestamp,
}

macro_rules! state_columns {
    () => {
        "org_id, state_hash, connection_id, integration, way, user_id, sealed_verifier, redirect_uri, scopes, account, browser_hash,
         link_id, created_us, expires_us"
    };
}

pub async fn oauth_state_insert(tx: &mut Tx, state: &OauthStateRow) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| sqlx::query(concat!(
        "INSERT INTO oauth_state (",
        state_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    ))
    .bind(org)
    .bind(&state.state_hash)
    .bind(state.connection_id)
    .bind(&state.integration)
    .bind(&state.way)
    .bind(&state.user_id)
    .bind(&state.sealed_verifier)
    .bind(&state.redirect_uri)
    .bind(&state.scopes)
    .bind(&state.account)
    .bind(&state.browser_hash)
    .bind(state.link_id)
    .bind(state.created)
    .bind(state.expires)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// Takes the state, of whatever org: it is good once and until it expires. A callback names no org; its state does.
pub async fn oauth_state_take(
    tx: &mut SystemTx,
    hash: &[u8],
    now: Timestamp,
) -> Result<Option<OauthStateRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "UPDATE oauth_state SET used_us = $2 WHERE state_hash = $1 AND used_us IS NULL AND expires_us > $2 RETURNING ",
        state_columns!()
    ))
    .bind(hash)
    .bind(now)
    .fetch_optional(conn)
    .await
    })?)
}

/// The newest state of a connection that is still good, for a caller that kept none.
pub async fn oauth_state_newest(
    tx: &mut Tx,
    connection: ConnectionId,
    now: Timestamp,
) -> Result<Option<OauthStateRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        state_columns!(),
        " FROM oauth_state WHERE org_id = $1 AND connection_id = $2 AND used_us IS NULL AND expires_us > $3
         ORDER BY created_us DESC, state_hash LIMIT 1"
    ))
    .bind(org)
    .bind(connection)
    .bind(now)
    .fetch_optional(conn)
    .await
    })?)
}

/// A link by which a person connects an account, once.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ConnectLinkRow {
    pub org_id: OrgId,
    pub id: LinkId,
    pub token_hash: Vec<u8>,
    pub integration: String,
    /// Of a connection that is there, or that will be made.
    pub connection_id: ConnectionId,
    pub name: String,
    /// To whom the connection will belong; `None`: to the org.
    pub owner_user: Option<String>,
    /// JSON array of texts; `None`: what the catalog asks for.
    pub scopes: Option<String>,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "expires_us")]
    pub expires: Timestamp,
    #[sqlx(rename = "used_us")]
    pub used: Option<Timestamp>,
    /// When the connection became active through it.
    #[sqlx(rename = "completed_us")]
    pub completed: Option<Timestamp>,
}

macro_rules! link_columns {
    () => {
        "org_id, id, token_hash, integration, connection_id, name, owner_user, scopes, created_us, expires_us, used_us, completed_us"
    };
}

pub async fn connect_link_insert(tx: &mut Tx, link: &ConnectLinkRow) -> Result<()> {
    let org = tx.org();
    link_insert(&mut tx.inner, org, link).await
}

/// The same for the runtime, which tells of dead grants.
pub async fn connect_link_insert_system(tx: &mut SystemTx, link: &ConnectLinkRow) -> Result<()> {
    link_insert(&mut tx.inner, link.org_id, link).await
}

struct Scope<'a> {
    inner: &'a mut Inner,
}

async fn link_insert(inner: &mut Inner, org: OrgId, link: &ConnectLinkRow) -> Result<()> {
    let mut tx = Scope { inner };
    on_tx!(tx, |conn| sqlx::query(concat!(
        "INSERT INTO connect_link (",
        link_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    ))
    .bind(org)
    .bind(link.id)
    .bind(&link.token_hash)
    .bind(&link.integration)
    .bind(link.connection_id)
    .bind(&link.name)
    .bind(&link.owner_user)
    .bind(&link.scopes)
    .bind(link.created)
    .bind(link.expires)
    .bind(link.used)
    .bind(link.completed)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// Whose link it is: its address names no org.
pub async fn connect_link_find(tx: &mut SystemTx, hash: &[u8]) -> Result<Option<ConnectLinkRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        link_columns!(),
        " FROM connect_link WHERE token_hash = $1"
    ))
    .bind(hash)
    .fetch_optional(conn)
    .await)?)
}

pub async fn connect_link_get(tx: &mut Tx, link: LinkId) -> Result<Option<ConnectLinkRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        link_columns!(),
        " FROM connect_link WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(link)
    .fetch_optional(conn)
    .await)?)
}

/// Uses the link; `false` if it was used or has expired.
pub async fn connect_link_take(tx: &mut Tx, link: LinkId, now: Timestamp) -> Result<bool> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE connect_link SET used_us = $3 WHERE org_id = $1 AND id = $2 AND used_us IS NULL AND expires_us > $3"
    )
    .bind(org)
    .bind(link)
    .bind(now)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Gives the link back, because nothing came of its use: a wrong key was typed, or the consent was declined.
pub async fn connect_link_give_back(tx: &mut Tx, link: LinkId) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE connect_link SET used_us = NULL WHERE org_id = $1 AND id = $2 AND completed_us IS NULL"
    )
    .bind(org)
    .bind(link)
    .execute(conn)
    .await
    .map(drop)
    })?;
    Ok(())
}

/// The connection is active through this link.
pub async fn connect_link_complete(tx: &mut Tx, link: LinkId, now: Timestamp) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE connect_link SET completed_us = $3, used_us = coalesce(used_us, $3) WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(link)
    .bind(now)
    .execute(conn)
    .await
    .map(drop)
    })?;
    Ok(())
}

/// Deletes states and links of all orgs that expired before `before`.
pub async fn oauth_delete_expired(tx: &mut SystemTx, before: Timestamp) -> Result<u64> {
    let mut gone = 0;
    for statement in [
        "DELETE FROM oauth_state WHERE expires_us < $1",
        "DELETE FROM connect_link WHERE expires_us < $1",
    ] {
        gone += on_tx!(tx, |conn| sqlx::query(statement)
            .bind(before)
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))?;
    }
    Ok(gone)
}
