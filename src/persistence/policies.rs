//! The rules of an org about what may be called. What a rule says is JSON that this room does not read.

use super::{
    error::Result,
    tx::{Tx, on_tx, one_row},
};
use crate::domain::{OrgId, PolicyId, Timestamp};
use sqlx::FromRow;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PolicyRow {
    pub org_id: OrgId,
    pub id: PolicyId,
    /// Unique in the org.
    pub name: String,
    /// JSON object.
    pub rule: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
}

macro_rules! policy_columns {
    () => {
        "org_id, id, name, rule, created_us, updated_us"
    };
}

/// # Errors
/// `Duplicate` if the org has a rule of that name.
pub async fn policy_insert(tx: &mut Tx, row: &PolicyRow) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| sqlx::query(concat!(
        "INSERT INTO policy (",
        policy_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6)"
    ))
    .bind(org)
    .bind(row.id)
    .bind(&row.name)
    .bind(&row.rule)
    .bind(row.created)
    .bind(row.updated)
    .execute(conn)
    .await
    .map(drop))?;
    Ok(())
}

/// Gives a rule another name and content.
///
/// # Errors
/// `NotFound`; `Duplicate` if another rule of the org has that name.
pub async fn policy_update(tx: &mut Tx, row: &PolicyRow) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| sqlx::query(
        "UPDATE policy SET name = $3, rule = $4, updated_us = $5 WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(row.id)
    .bind(&row.name)
    .bind(&row.rule)
    .bind(row.updated)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(changed, "policy")
}

pub async fn policy_get(tx: &mut Tx, id: PolicyId) -> Result<Option<PolicyRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        policy_columns!(),
        " FROM policy WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(id)
    .fetch_optional(conn)
    .await)?)
}

/// All of them, the oldest first; whoever adds one keeps their number small.
pub async fn policy_list(tx: &mut Tx) -> Result<Vec<PolicyRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        policy_columns!(),
        " FROM policy WHERE org_id = $1 ORDER BY created_us, id"
    ))
    .bind(org)
    .fetch_all(conn)
    .await)?)
}

/// # Errors
/// `NotFound`.
pub async fn policy_delete(tx: &mut Tx, id: PolicyId) -> Result<()> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM policy WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(id)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(gone, "policy")
}

/// To whom the connections of this name belong, of whatever integration: `None` for the org.
pub async fn connection_owners(tx: &mut Tx, name: &str) -> Result<Vec<Option<String>>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT DISTINCT owner_user FROM connection WHERE org_id = $1 AND name = $2"
    )
    .bind(org)
    .bind(name)
    .fetch_all(conn)
    .await)?)
}
