//! Tenants and the keys of their API.

use super::{
    error::Result,
    page::{Page, PageRequest, uuid_key},
    tx::{SystemTx, Tx, on_tx, one_row},
};
use crate::domain::{KeyId, OrgId, Role, Timestamp};
use sqlx::FromRow;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OrgRow {
    #[sqlx(rename = "org_id")]
    pub id: OrgId,
    /// Its subdomain; unique.
    pub name: String,
    /// JSON object: retention and whatever else an org chooses.
    pub settings: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
}

/// # Errors
/// `Duplicate` if the name is taken.
pub async fn org_insert(tx: &mut SystemTx, org: &OrgRow) -> Result<()> {
    on_tx!(tx, |conn| sqlx::query(
        "INSERT INTO org (org_id, name, settings, created_us) VALUES ($1, $2, $3, $4)"
    )
    .bind(org.id)
    .bind(&org.name)
    .bind(&org.settings)
    .bind(org.created)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// The org of the transaction; `None` if it was never made.
pub async fn org_get(tx: &mut Tx) -> Result<Option<OrgRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        "SELECT org_id, name, settings, created_us FROM org WHERE org_id = $1"
    )
    .bind(org)
    .fetch_optional(conn)
    .await)?)
}

pub async fn org_find(tx: &mut SystemTx, name: &str) -> Result<Option<OrgRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        "SELECT org_id, name, settings, created_us FROM org WHERE name = $1"
    )
    .bind(name)
    .fetch_optional(conn)
    .await)?)
}

/// All orgs in the order of their ids.
pub async fn org_list(tx: &mut SystemTx, request: &PageRequest) -> Result<Page<OrgRow>> {
    let after = request.after_uuid()?.unwrap_or_default();
    let rows = on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT org_id, name, settings, created_us FROM org WHERE org_id > $1 ORDER BY org_id LIMIT $2"
    )
    .bind(after)
    .bind(request.fetch())
    .fetch_all(conn)
    .await
    })?;
    Ok(request.page(rows, |org: &OrgRow| uuid_key(org.id.uuid())))
}

/// # Errors
/// `NotFound`.
pub async fn org_set_settings(tx: &mut Tx, settings: &str) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE org SET settings = $2 WHERE org_id = $1"
    )
    .bind(org)
    .bind(settings)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(changed, "org")
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct KeyRow {
    pub org_id: OrgId,
    pub id: KeyId,
    /// SHA-256 of the key, or better; the key itself is never stored.
    pub hash: Vec<u8>,
    pub role: Role,
    pub name: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "revoked_us")]
    pub revoked: Option<Timestamp>,
    /// Who its holder is, if it was given to one person: a name of the org's own, for example a mail address.
    #[sqlx(rename = "user_id")]
    pub user: Option<String>,
    /// Good until then; `None`: until it is revoked.
    #[sqlx(rename = "expires_us")]
    pub expires: Option<Timestamp>,
    /// To the minute, written now and then.
    #[sqlx(rename = "last_used_us")]
    pub last_used: Option<Timestamp>,
    /// Its last four characters, which tell it from others and open nothing; `None`: made before they were kept.
    pub tail: Option<String>,
}

/// The columns of a [`KeyRow`].
macro_rules! select_key {
    ($rest:literal) => {
        concat!(
            "SELECT org_id, id, hash, role, name, created_us, revoked_us, user_id, expires_us, last_used_us, tail FROM api_key ",
            $rest
        )
    };
}

/// # Errors
/// `Duplicate` if the hash is known.
pub async fn key_insert(tx: &mut Tx, key: &KeyRow) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
            "INSERT INTO api_key (org_id, id, hash, role, name, created_us, user_id, expires_us, tail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(org)
        .bind(key.id)
        .bind(&key.hash)
        .bind(key.role)
        .bind(&key.name)
        .bind(key.created)
        .bind(&key.user)
        .bind(key.expires)
        .bind(&key.tail)
        .execute(conn)
        .await
        .map(drop)
    })?;
    Ok(())
}

/// Whose key it is, over all orgs; revoked ones are not found, expired ones are.
pub async fn key_find_by_hash(tx: &mut SystemTx, hash: &[u8]) -> Result<Option<KeyRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(select_key!("WHERE hash = $1 AND revoked_us IS NULL"))
            .bind(hash)
            .fetch_optional(conn)
            .await
    })?)
}

/// All keys of the org, revoked ones too, in the order of their ids.
pub async fn key_list(tx: &mut Tx, request: &PageRequest) -> Result<Page<KeyRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?.unwrap_or_default());
    let rows = on_tx!(tx, |conn| sqlx::query_as(select_key!(
        "WHERE org_id = $1 AND id > $2 ORDER BY id LIMIT $3"
    ))
    .bind(org)
    .bind(after)
    .bind(request.fetch())
    .fetch_all(conn)
    .await)?;
    Ok(request.page(rows, |key: &KeyRow| uuid_key(key.id.uuid())))
}

/// Notes when keys were used; an earlier time than the one that is known changes nothing.
pub async fn keys_used(tx: &mut SystemTx, used: &[(OrgId, KeyId, Timestamp)]) -> Result<()> {
    // Three values a key: SQLite takes 32,766 a statement, and PostgreSQL no more than twice that.
    for part in used.chunks(1_000) {
        on_tx!(tx, |conn| {
            let mut query = sqlx::QueryBuilder::<DB>::new(
                "UPDATE api_key SET last_used_us = used.column3 FROM (",
            );
            query.push_values(part, |mut row, (org, key, at)| {
                row.push_bind(*org).push_bind(*key).push_bind(*at);
            });
            query.push(
                ") AS used WHERE api_key.org_id = used.column1 AND api_key.id = used.column2
                 AND coalesce(api_key.last_used_us, 0) < used.column3",
            );
            query.build().execute(conn).await.map(drop)
        })?;
    }
    Ok(())
}

/// # Errors
/// `NotFound` if there is no such key or it was revoked before.
pub async fn key_revoke(tx: &mut Tx, key: KeyId, at: Timestamp) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE api_key SET revoked_us = $3 WHERE org_id = $1 AND id = $2 AND revoked_us IS NULL"
    )
    .bind(org)
    .bind(key)
    .bind(at)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    one_row(changed, "key")
}
