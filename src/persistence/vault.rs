//! The wrapped data keys of the orgs, and the sealed values that are sealed anew when a key changes.

use super::{
    connections::Sealed,
    error::Result,
    tx::{SystemTx, Tx, on_tx},
};
use crate::domain::{OrgId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

/// A data key. Only a master key, which is not in the database, can open it.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct OrgKeyRow {
    pub org_id: OrgId,
    /// From 1; the greatest one that is not retired seals.
    pub version: i64,
    pub wrapped: Sealed,
    /// The master key that wraps it.
    pub master_id: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "retired_us")]
    pub retired: Option<Timestamp>,
}

macro_rules! key_columns {
    () => {
        "org_id, version, wrapped, master_id, created_us, retired_us"
    };
}

/// The newest key that is not retired.
pub async fn org_key_current(tx: &mut Tx) -> Result<Option<OrgKeyRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM org_key WHERE org_id = $1 AND retired_us IS NULL ORDER BY version DESC LIMIT 1"
    ))
    .bind(org)
    .fetch_optional(conn)
    .await)?)
}

pub async fn org_key_get(tx: &mut Tx, version: i64) -> Result<Option<OrgKeyRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM org_key WHERE org_id = $1 AND version = $2"
    ))
    .bind(org)
    .bind(version)
    .fetch_optional(conn)
    .await)?)
}

/// All keys of the org, the newest first.
pub async fn org_key_list(tx: &mut Tx) -> Result<Vec<OrgKeyRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM org_key WHERE org_id = $1 ORDER BY version DESC"
    ))
    .bind(org)
    .fetch_all(conn)
    .await)?)
}

/// Adds a key and retires those before it. `false`, and nothing changed, if there is one of this version already.
pub async fn org_key_add(tx: &mut Tx, key: &OrgKeyRow) -> Result<bool> {
    let org = tx.org();
    let added = on_tx!(tx, |conn| {
        sqlx::query(
        "INSERT INTO org_key (org_id, version, wrapped, master_id, created_us) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (org_id, version) DO NOTHING"
    )
    .bind(org)
    .bind(key.version)
    .bind(&key.wrapped)
    .bind(&key.master_id)
    .bind(key.created)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    if added == 0 {
        return Ok(false);
    }
    on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE org_key SET retired_us = $3 WHERE org_id = $1 AND version < $2 AND retired_us IS NULL"
    )
    .bind(org)
    .bind(key.version)
    .bind(key.created)
    .execute(conn)
    .await
    .map(drop)
    })?;
    Ok(true)
}

/// A page of the keys of all orgs, after the one of this org and version.
pub async fn org_keys_all(
    tx: &mut SystemTx,
    after: (OrgId, i64),
    limit: u32,
) -> Result<Vec<OrgKeyRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM org_key WHERE (org_id, version) > ($1, $2) ORDER BY org_id, version LIMIT $3"
    ))
    .bind(after.0)
    .bind(after.1)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await)?)
}

/// One data key for each master key that any data key is wrapped by.
pub async fn org_keys_by_master(tx: &mut SystemTx) -> Result<Vec<OrgKeyRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        key_columns!(),
        " FROM (SELECT *, row_number() OVER (PARTITION BY master_id ORDER BY created_us DESC, org_id, version) AS place
                FROM org_key) AS numbered
         WHERE place = 1 ORDER BY master_id"
    ))
    .fetch_all(conn)
    .await
    })?)
}

/// Puts the key as another master key wraps it in the place of `wrapped_before`; `false` if somebody else was faster.
pub async fn org_key_rewrap(
    tx: &mut SystemTx,
    key: &OrgKeyRow,
    wrapped_before: &Sealed,
) -> Result<bool> {
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE org_key SET wrapped = $3, master_id = $4 WHERE org_id = $1 AND version = $2 AND wrapped = $5"
    )
    .bind(key.org_id)
    .bind(key.version)
    .bind(&key.wrapped)
    .bind(&key.master_id)
    .bind(wrapped_before)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Orgs with a key that was retired before `before`.
pub async fn org_keys_retired(tx: &mut SystemTx, before: Timestamp) -> Result<Vec<OrgId>> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT DISTINCT org_id FROM org_key WHERE retired_us < $1"
    )
    .bind(before)
    .fetch_all(conn)
    .await)?)
}

/// Deletes a key that was retired before `before` and that no value begins with any more; `false` if it is still needed. `prefix` is how
/// what it sealed begins.
pub async fn org_key_drop_unused(
    tx: &mut Tx,
    version: i64,
    prefix: &[u8],
    before: Timestamp,
) -> Result<bool> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| {
        sqlx::query(
        "DELETE FROM org_key WHERE org_id = $1 AND version = $2 AND retired_us < $4
           AND NOT EXISTS (SELECT 1 FROM connection WHERE org_id = $1 AND substr(sealed_credential, 1, 5) = $3)
           AND NOT EXISTS (SELECT 1 FROM hook WHERE org_id = $1 AND substr(sealed_secrets, 1, 5) = $3)
           AND NOT EXISTS (SELECT 1 FROM oauth_client WHERE org_id = $1 AND substr(sealed_secret, 1, 5) = $3)
           AND NOT EXISTS (SELECT 1 FROM oauth_state WHERE org_id = $1 AND substr(sealed_verifier, 1, 5) = $3)"
    )
    .bind(org)
    .bind(version)
    .bind(prefix)
    .bind(before)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(gone > 0)
}

/// The tables whose sealed values last, and so are sealed anew under a new key. A new one must stand in `org_key_drop_unused` too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedTable {
    Connection,
    Hook,
    OauthClient,
}

impl SealedTable {
    pub const ALL: [SealedTable; 3] = [Self::Connection, Self::Hook, Self::OauthClient];
}

/// A sealed value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct SealedRow {
    pub id: Uuid,
    /// Of the row, as its seal has it; 0 in tables without.
    pub version: i64,
    pub sealed: Sealed,
}

/// Values of the org that do not begin with `prefix`, so are not sealed with the key that it names, in the order of their ids.
pub async fn sealed_otherwise(
    tx: &mut Tx,
    table: SealedTable,
    prefix: &[u8],
    after: Uuid,
    limit: u32,
) -> Result<Vec<SealedRow>> {
    macro_rules! select {
        ($table:literal, $version:literal, $sealed:literal) => {
            concat!(
                "SELECT id, ",
                $version,
                " AS version, ",
                $sealed,
                " AS sealed FROM ",
                $table,
                " WHERE org_id = $1 AND id > $3 AND length(",
                $sealed,
                ") > 0 AND substr(",
                $sealed,
                ", 1, 5) <> $2 ORDER BY id LIMIT $4"
            )
        };
    }
    let org = tx.org();
    let sql = match table {
        SealedTable::Connection => select!("connection", "credential_version", "sealed_credential"),
        SealedTable::Hook => select!("hook", "CAST(0 AS BIGINT)", "sealed_secrets"),
        SealedTable::OauthClient => select!("oauth_client", "secret_version", "sealed_secret"),
    };
    Ok(on_tx!(tx, |conn| sqlx::query_as(sql)
        .bind(org)
        .bind(prefix)
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await)?)
}

/// Puts the same value under another key in the place of exactly these bytes; `false` if the row was written meanwhile, and then it is
/// sealed with a newer key already.
pub async fn sealed_swap(
    tx: &mut Tx,
    table: SealedTable,
    id: Uuid,
    before: &Sealed,
    sealed: &Sealed,
) -> Result<bool> {
    let org = tx.org();
    let sql = match table {
        SealedTable::Connection => {
            "UPDATE connection SET sealed_credential = $4 WHERE org_id = $1 AND id = $2 AND sealed_credential = $3"
        }
        SealedTable::Hook => {
            "UPDATE hook SET sealed_secrets = $4 WHERE org_id = $1 AND id = $2 AND sealed_secrets = $3"
        }
        SealedTable::OauthClient => {
            "UPDATE oauth_client SET sealed_secret = $4 WHERE org_id = $1 AND id = $2 AND sealed_secret = $3"
        }
    };
    let changed = on_tx!(tx, |conn| sqlx::query(sql)
        .bind(org)
        .bind(id)
        .bind(before)
        .bind(sealed)
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(changed > 0)
}
