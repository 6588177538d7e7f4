//! A replica of the database for what may be read a little late. It is a help, never needed: while it is away the primary is read.

use super::{
    db::DbConfig,
    error::{DbError, Result},
    postgres,
    tx::{Inner, Tx},
};
use crate::domain::OrgId;
use sqlx::PgPool;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// What a replica may take to begin; the primary is read then.
const PATIENCE: Duration = Duration::from_millis(500);
/// A replica that was away is not asked for so long.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// A transaction that reads what may be old.
#[derive(Debug)]
pub struct StaleRead {
    pub tx: Tx,
    /// `None`: it reads the primary.
    pub replica: Option<ReplicaLag>,
}

/// How old a replica's state is at most: the time since the last transaction that it has replayed, in milliseconds; `None`: it has
/// replayed none since its start. It grows while the primary has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaLag(pub Option<u64>);

#[derive(Debug)]
pub(super) struct Replica {
    pool: PgPool,
    away_until: Mutex<Option<Instant>>,
}

impl Replica {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// `Setup`: the address is none.
    pub fn open(config: &DbConfig, url: &str) -> Result<Self> {
        Ok(Self {
            pool: postgres::lazy_pool(config, url)?,
            away_until: Mutex::default(),
        })
    }

    /// A transaction there that sees rows of `org`, and how late it is; `None`: the replica is away.
    pub async fn begin(&self, org: OrgId, begin: &str) -> Option<StaleRead> {
        if self.is_left_alone() {
            return None;
        }
        let begun = timeout(PATIENCE, self.try_begin(org, begin)).await;
        let error = match begun {
            Ok(Ok(read)) => return Some(read),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".into(),
        };
        tracing::warn!(error, "the replica is away, the primary is read");
        *self.away_until() = Some(Instant::now() + LEFT_ALONE);
        None
    }

    async fn try_begin(&self, org: OrgId, begin: &str) -> Result<StaleRead, DbError> {
        let mut tx = postgres::begin(&self.pool, begin).await?;
        let lag: Option<i64> = sqlx::query_scalar(
            "SELECT CASE WHEN pg_is_in_recovery()
                 THEN (extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint ELSE 0 END",
        )
        .fetch_one(&mut *tx)
        .await?;
        let inner = Inner::Postgres(tx);
        Ok(StaleRead {
            tx: Tx { org, inner },
            replica: Some(ReplicaLag(lag.and_then(|lag| lag.try_into().ok()))),
        })
    }

    fn is_left_alone(&self) -> bool {
        self.away_until()
            .is_some_and(|until| Instant::now() < until)
    }

    fn away_until(&self) -> MutexGuard<'_, Option<Instant>> {
        let until = self.away_until.lock();
        until.unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }
}
