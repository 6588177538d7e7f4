//! Calendars of an org: which days it works. What a calendar says is JSON that this room does not read.

use super::{
    error::Result,
    tx::{Tx, on_tx},
};
use crate::domain::{OrgId, Timestamp};
use sqlx::FromRow;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CalendarRow {
    pub org_id: OrgId,
    /// Unique in the org.
    pub name: String,
    /// JSON object.
    pub body: String,
    #[sqlx(rename = "updated_us")]
    pub updated: Timestamp,
}

/// Stores a calendar in the place of one of the same name.
pub async fn calendar_put(tx: &mut Tx, row: &CalendarRow) -> Result<()> {
    let org = tx.org();
    on_tx!(tx, |conn| {
        sqlx::query(
        "INSERT INTO calendar (org_id, name, body, updated_us) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, name) DO UPDATE SET body = excluded.body, updated_us = excluded.updated_us"
    )
    .bind(org)
    .bind(&row.name)
    .bind(&row.body)
    .bind(row.updated)
    .execute(conn)
    .await
    .map(drop)
    })?;
    Ok(())
}

pub async fn calendar_get(tx: &mut Tx, name: &str) -> Result<Option<CalendarRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        "SELECT org_id, name, body, updated_us FROM calendar WHERE org_id = $1 AND name = $2"
    )
    .bind(org)
    .bind(name)
    .fetch_optional(conn)
    .await)?)
}

/// All of them by name; whoever adds one keeps their number small.
pub async fn calendar_list(tx: &mut Tx) -> Result<Vec<CalendarRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        "SELECT org_id, name, body, updated_us FROM calendar WHERE org_id = $1 ORDER BY name"
    )
    .bind(org)
    .fetch_all(conn)
    .await)?)
}

/// Deletes a calendar that no schedule names; false if there is none of that name or one does.
#[must_use = "a calendar in use is kept"]
pub async fn calendar_delete(tx: &mut Tx, name: &str) -> Result<bool> {
    let org = tx.org();
    let gone = on_tx!(tx, |conn| sqlx::query(
        "DELETE FROM calendar WHERE org_id = $1 AND name = $2
           AND NOT EXISTS (SELECT 1 FROM schedule s WHERE s.org_id = $1 AND s.calendar = $2)"
    )
    .bind(org)
    .bind(name)
    .execute(conn)
    .await
    .map(|done| done.rows_affected()))?;
    Ok(gone > 0)
}
