//! How much of the disk a database takes: for measurements, not for requests.

use super::{
    db::Backend,
    error::{DbError, Result},
    postgres, sqlite,
};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

/// Bytes of all tables with their indexes, out-of-line values and dead rows, after a checkpoint.
///
/// `url` is the owner's: on PostgreSQL a checkpoint needs a superuser or `pg_checkpoint`. SQLite: the size of the file when its log is
/// written back.
///
/// # Errors
/// `Unavailable` and `Setup` as for every connection.
pub async fn stored_bytes(url: &str) -> Result<u64> {
    let bytes = match Backend::of(url)? {
        Backend::Postgres => postgres_bytes(url).await?,
        Backend::Sqlite => sqlite_bytes(url).await?,
    };
    u64::try_from(bytes).map_err(|_| DbError::Setup("database has a negative size".into()))
}

async fn postgres_bytes(url: &str) -> Result<i64> {
    let mut connection = PgConnection::connect_with(&postgres::options(url)?).await?;
    connection.execute("CHECKPOINT").await?;
    let bytes = sqlx::query_scalar(
        "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
             WHERE c.relkind IN ('r', 'm') AND c.relnamespace = current_schema()::regnamespace",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(bytes)
}

async fn sqlite_bytes(url: &str) -> Result<i64> {
    let mut connection = sqlite::options(url)?.connect().await?;
    connection
        .execute("PRAGMA wal_checkpoint(TRUNCATE)")
        .await?;
    let bytes = sqlx::query_scalar(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    Ok(bytes)
}
