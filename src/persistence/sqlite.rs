//! The embedded database: WAL, every commit synced, one connection that writes and a few that only read.

use super::{
    db::{DbConfig, Pools},
    error::{DbError, Result},
};
use sqlx::{
    Executor, Sqlite, SqliteConnection, SqlitePool,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    ops::{Deref, DerefMut},
    path::Path,
    str::FromStr,
};

/// 2 MiB a connection that reads: there are many, and each would keep its own copy of large rows. The system's cache serves them all.
const READ_CACHE: &str = "-2048";

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
        .connect_with(options.read_only(true).pragma("cache_size", READ_CACHE))
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

/// A transaction. SQLite ends one by itself when the disk is full or cannot be read or written, of which sqlx's own transactions, which
/// count how deep they are, learn nothing: their connection counts as inside a transaction for ever. So none of them is used here.
///
/// Invariant: a connection goes back to the pool only if SQLite itself has said that the transaction is over, by taking `COMMIT` or
/// `ROLLBACK`. Every other is closed, and the pool opens a new one.
pub(super) struct SqliteTx {
    /// Empty only while it is dropped.
    connection: Option<PoolConnection<Sqlite>>,
    is_open: bool,
}

impl SqliteTx {
    /// Begins by `statement`.
    pub async fn begin(pool: &SqlitePool, statement: &'static str) -> sqlx::Result<Self> {
        let connection = pool.acquire().await?;
        // Open already: if BEGIN fails, or nobody waits for its answer, what became of it has to be found out.
        let mut tx = Self {
            connection: Some(connection),
            is_open: true,
        };
        tx.execute(sqlx::raw_sql(statement)).await?;
        Ok(tx)
    }

    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.execute(sqlx::raw_sql("COMMIT")).await?;
        self.is_open = false;
        Ok(())
    }
}

impl Deref for SqliteTx {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        self.connection.as_deref().expect("taken by drop alone")
    }
}
impl DerefMut for SqliteTx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.connection.as_deref_mut().expect("taken by drop alone")
    }
}

impl std::fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteTx")
            .field("is_open", &self.is_open)
            .finish_non_exhaustive()
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take().filter(|_| self.is_open) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return connection.close_on_drop();
        };
        // Until then the pool does not have it: nobody can be given a connection with somebody else's transaction.
        runtime.spawn(async move {
            if let Err(error) = connection.execute(sqlx::raw_sql("ROLLBACK")).await {
                tracing::debug!(%error, "a connection to the database is replaced");
                let _ = connection.close().await;
            }
        });
    }
}
