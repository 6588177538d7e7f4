//! The end of an org: first what opens its secrets, then everything else.

use super::{
    db::{Backend, Db},
    error::{DbError, Result},
    tx::on_tx,
};
use crate::domain::{OrgId, Timestamp};
use sqlx::AssertSqlSafe;

/// What goes at once and together: keys first, so that nothing of the secrets can be read from then on, then what they opened and what let
/// people in.
const SHRED: [&str; 6] = [
    "DELETE FROM org_key WHERE org_id = $1",
    "DELETE FROM connection WHERE org_id = $1",
    "DELETE FROM hook WHERE org_id = $1",
    "DELETE FROM oauth_client WHERE org_id = $1",
    "DELETE FROM oauth_state WHERE org_id = $1",
    "DELETE FROM connect_link WHERE org_id = $1",
];

/// Destroys the org's data keys, and with them every secret of it, in whatever copy of the database; deletes the connections and hooks and
/// revokes the API keys.
pub async fn org_shred(db: &Db, org: OrgId, now: Timestamp) -> Result<()> {
    let mut tx = db.begin_system("an org is shredded").await?;
    for statement in SHRED {
        on_tx!(tx, |conn| sqlx::query(statement)
            .bind(org)
            .execute(conn)
            .await
            .map(drop))?;
    }
    on_tx!(tx, |conn| sqlx::query(
        "UPDATE api_key SET revoked_us = $2 WHERE org_id = $1 AND revoked_us IS NULL"
    )
    .bind(org)
    .bind(now)
    .execute(conn)
    .await
    .map(drop))?;
    tx.commit().await
}

/// Deletes every row of a shredded org, a table a transaction, itself last; gives how many. May be called again after a crash.
///
/// # Errors
/// If the database fails, or a row stays because another one refers to it.
pub async fn org_delete_rows(db: &Db, org: OrgId) -> Result<u64> {
    let mut left = org_tables(db).await?;
    let mut rows = 0;
    // A table that others refer to is tried again after them; each round empties at least one.
    while !left.is_empty() {
        let (before, mut held) = (left.len(), Vec::new());
        for table in left {
            match delete_from(db, &table, org).await {
                Ok(gone) => rows += gone,
                Err(DbError::Sql(error)) if is_referred_to(&error) => held.push(table),
                Err(error) => return Err(error),
            }
        }
        if held.len() == before {
            let detail = format!("rows of {} are still referred to", held.join(", "));
            return Err(DbError::corrupt("org", detail));
        }
        left = held;
    }
    Ok(rows)
}

fn is_referred_to(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|known| known.is_foreign_key_violation())
}

/// Every table with rows of orgs. Asked of the database, so that a new table is not forgotten.
async fn org_tables(db: &Db) -> Result<Vec<String>> {
    let sql = match db.backend() {
        Backend::Sqlite => {
            "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'org_id' WHERE m.type = 'table' ORDER BY 1"
        }
        Backend::Postgres => {
            "SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'
             WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1"
        }
    };
    let mut tx = db.begin_system_read("which tables have orgs").await?;
    let mut tables: Vec<String> = on_tx!(tx, |conn| sqlx::query_scalar(sql).fetch_all(conn).await)?;
    // The org itself goes last: until then its name finds what is left of it.
    tables.retain(|table| table != "org");
    tables.push("org".into());
    Ok(tables)
}

async fn delete_from(db: &Db, table: &str, org: OrgId) -> Result<u64> {
    let mut tx = db.begin_system("an org is deleted").await?;
    // The name is the database's own.
    let sql = AssertSqlSafe(format!("DELETE FROM \"{table}\" WHERE org_id = $1"));
    let gone = on_tx!(tx, |conn| sqlx::query(sql)
        .bind(org)
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    tx.commit().await?;
    Ok(gone)
}
