//! The embedded database: WAL, every commit synced, one connection that writes and a few that only read.

use super::{
    db::{DbConfig, Pools},
    error::{DbError, Result},
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use std::{path::Path, str::FromStr};

pub(super) async fn connect(config: &DbConfig) -> Result<Pools> {
    let options = options(&config.url)?.busy_timeout(config.statement_timeout);
    if !Path::new(options.get_filename()).exists() {
        return Err(DbError::Setup(format!(
            "{} does not exist: run `tenure migrate`",
            options.get_filename().display()
        )));
    }
    // A second writer would only wait for the first; here it waits in the pool, fairly and with a timeout.
    let write = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .connect_with(options.clone())
        .await?;
    let read = SqlitePoolOptions::new()
        .max_connections(config.app_connections.clamp(1, 16))
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .connect_with(options.read_only(true))
        .await?;
    Ok(Pools::Sqlite { read, write })
}

/// How every connection to the file is opened, that of the migrations too.
pub(super) fn options(url: &str) -> Result<SqliteConnectOptions> {
    if url.contains(":memory:") || url.contains("mode=memory") {
        return Err(DbError::Setup(
            "a database in memory cannot keep what it accepted: name a file".into(),
        ));
    }
    Ok(SqliteConnectOptions::from_str(url)
        .map_err(|error| DbError::Setup(format!("not a sqlite address: {error}")))?
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .statement_cache_capacity(256)
        .pragma("cache_size", "-32768") // 32 MiB
        .pragma("temp_store", "memory"))
}
