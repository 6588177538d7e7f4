//! The integrations that an org has added to the catalog for itself.

use super::{
    error::Result,
    tx::{Tx, on_tx, one_row},
};
use crate::domain::{OrgId, Timestamp};
use sqlx::FromRow;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct IntegrationRow {
    pub org_id: OrgId,
    /// Its name in the catalog, for example `acme_erp`.
    pub id: String,
    /// JSON object, as the published schema of integration files has it.
    pub definition: String,
    #[sqlx(rename = "created_us")]
    pub created: Timestamp,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
}

macro_rules! integration_columns {
    () => {
        "org_id, id, definition, created_us, updated_us"
    };
}

/// Puts an integration in place; one of the same id keeps when it was made and gets the rest. Gives when that was.
pub async fn integration_put(tx: &mut Tx, row: &IntegrationRow) -> Result<Timestamp> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(concat!(
        "INSERT INTO org_integration (",
        integration_columns!(),
        ") VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (org_id, id) DO UPDATE SET definition = excluded.definition, updated_us = excluded.updated_us
         RETURNING created_us"
    ))
    .bind(org)
    .bind(&row.id)
    .bind(&row.definition)
    .bind(row.created)
    .bind(row.updated)
    .fetch_one(conn)
    .await
    })?)
}

pub async fn integration_get(tx: &mut Tx, id: &str) -> Result<Option<IntegrationRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        integration_columns!(),
        " FROM org_integration WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(id)
    .fetch_optional(conn)
    .await)?)
}

/// All of them, in the order of their ids; whoever adds one keeps their number small.
pub async fn integration_list(tx: &mut Tx) -> Result<Vec<IntegrationRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        integration_columns!(),
        " FROM org_integration WHERE org_id = $1 ORDER BY id"
    ))
    .bind(org)
    .fetch_all(conn)
    .await)?)
}

/// # Errors
/// `NotFound`.
pub async fn integration_delete(tx: &mut Tx, id: &str) -> Result<()> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM org_integration WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(id)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    one_row(gone, "integration")
}
