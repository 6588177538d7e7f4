//! What only the owner of a database may do, for measurements; requests and the runtime never come here.

use super::{
    db::Backend,
    error::{DbError, Result},
    postgres, sqlite,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

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

/// Transactions that a PostgreSQL database has committed so far, reading ones included; sessions report them up to a second late.
///
/// # Errors
/// As [`stored_bytes`].
pub async fn committed(url: &str) -> Result<u64> {
    let mut connection = PgConnection::connect_with(&postgres::options(url)?).await?;
    let commits: i64 = sqlx::query_scalar(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await?;
    connection.close().await?;
    u64::try_from(commits)
        .map_err(|_| DbError::Setup("database has committed less than nothing".into()))
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

/// Makes an empty PostgreSQL database; `url` names another one of the same cluster.
///
/// # Errors
/// `Setup` for a name that would need quotes; whatever PostgreSQL says against it.
pub async fn database_create(url: &str, name: &str) -> Result<()> {
    on_database(url, name, "CREATE DATABASE", "").await
}

/// Deletes a PostgreSQL database and ends the connections to it, those of its autovacuum too.
///
/// # Errors
/// As [`database_create`].
pub async fn database_drop(url: &str, name: &str) -> Result<()> {
    on_database(url, name, "DROP DATABASE", "WITH (FORCE)").await
}

async fn on_database(url: &str, name: &str, verb: &str, options: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(DbError::Setup(format!(
            "`{name}` is no name for a database"
        )));
    }
    let mut connection = PgConnection::connect_with(&postgres::options(url)?).await?;
    let statement = AssertSqlSafe(format!("{verb} {name} {options}"));
    connection.execute(sqlx::raw_sql(statement)).await?;
    connection.close().await?;
    Ok(())
}
