//! The handle on the database and its doors: `begin` for one org, `begin_system` for the runtime itself.

use super::{
    error::{DbError, Result},
    migrate,
    nodes::Fence,
    outage::Outage,
    postgres,
    replica::{Replica, StaleRead},
    sqlite::{self, SqliteTx},
    tx::{Inner, SystemTx, Tx},
};
use crate::domain::OrgId;
use sqlx::{PgPool, SqlitePool};
use std::{fmt, sync::Arc, time::Duration};

/// Where the database is and how much of it may be used.
#[derive(Clone)]
pub struct DbConfig {
    /// `sqlite:PATH` or `postgres://…`. It may hold a password: `Debug` shows its scheme only.
    pub url: String,
    /// Connections for requests (PostgreSQL) or for reading (SQLite).
    pub app_connections: u32,
    /// Connections for the runtime itself, PostgreSQL only: two for the journal writer, the rest for timers, activation and sweeps.
    pub engine_connections: u32,
    /// How long to wait for the beginning of a transaction before `Unavailable`: for a free connection, and for an answer.
    pub acquire_timeout: Duration,
    /// How long one statement may take in PostgreSQL; SQLite: how long to wait for a lock of another process.
    pub statement_timeout: Duration,
    /// PostgreSQL: how long a transaction may wait for its next statement. What a node that is stopped in the middle of one holds, its own
    /// row's share lock among it, others wait for no longer than this: half of a lease at most. Nobody does anything but asking the
    /// database between two statements.
    pub idle_in_transaction: Duration,
    /// PostgreSQL shows it as the connections' `application_name`, after `tenure/`.
    pub node_name: Option<String>,
    /// A replica of the database, PostgreSQL only: for reading what may be a little old.
    pub read_url: Option<String>,
}

impl DbConfig {
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            app_connections: 16,
            engine_connections: 8,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            idle_in_transaction: Duration::from_secs(5),
            node_name: None,
            read_url: None,
        }
    }
}

impl DbConfig {
    /// Where the database is, without user and password: for logs.
    pub fn place(&self) -> String {
        let (scheme, rest) = self.url.split_once(':').unwrap_or((&self.url, ""));
        // Up to the last @, since a password may hold one; a query may hold a password too.
        let rest = rest.split('?').next().unwrap_or_default();
        let host = rest.rsplit('@').next().unwrap_or_default();
        let slashes = if rest.starts_with("//") && !host.starts_with("//") {
            "//"
        } else {
            ""
        };
        format!("{scheme}:{slashes}{host}")
    }
}

impl fmt::Debug for DbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DbConfig")
            .field(
                "url",
                &format_args!("{}:…", self.url.split(':').next().unwrap_or_default()),
            )
            .field("app_connections", &self.app_connections)
            .field("engine_connections", &self.engine_connections)
            .field("acquire_timeout", &self.acquire_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("idle_in_transaction", &self.idle_in_transaction)
            .field("node_name", &self.node_name)
            .field("has_replica", &self.read_url.is_some())
            .finish()
    }
}

/// Which of the two databases an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// # Errors
    /// `Setup` for an address of another kind.
    pub fn of(url: &str) -> Result<Self> {
        match url.split(':').next() {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres),
            _ => Err(DbError::Setup(
                "database address must begin with sqlite: or postgres://".into(),
            )),
        }
    }
}

/// How long a request waits for the beginning of a transaction: its client gives up soon, and can be told so before.
const EDGE_PATIENCE: Duration = Duration::from_secs(3);

/// Pools of connections to one database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pub(super) pools: Pools,
    /// What every transaction that writes proves first.
    fence: Option<Fence>,
    /// How long the beginning of a transaction is waited for.
    patience: Duration,
    outage: Arc<Outage>,
    replica: Option<Arc<Replica>>,
}

#[derive(Clone, Debug)]
pub(super) enum Pools {
    /// One connection writes; the others cannot.
    Sqlite { read: SqlitePool, write: SqlitePool },
    /// Connections as `tenure_app` and as `tenure_engine`; and a few more as the latter for what strangers may ask, so that no number of them
    /// holds back the journal or the lease.
    Postgres {
        app: PgPool,
        engine: PgPool,
        edge: PgPool,
    },
}

impl Db {
    /// Opens the pools and checks that the migrations of this binary are applied and that its roles have no more rights than they
    /// should.
    ///
    /// # Errors
    /// `Setup` if an operator has to act, `Unavailable` if the database cannot be reached.
    pub async fn connect(config: &DbConfig) -> Result<Db> {
        let pools = match Backend::of(&config.url)? {
            Backend::Sqlite => sqlite::connect(config).await?,
            Backend::Postgres => postgres::connect(config).await?,
        };
        let replica = match &config.read_url {
            Some(url) => Some(Arc::new(replica_of(config, url)?)),
            None => None,
        };
        let db = Db {
            pools,
            fence: None,
            patience: config.acquire_timeout,
            outage: Arc::default(),
            replica,
        };
        migrate::verify(&db).await?;
        Ok(db)
    }

    pub fn backend(&self) -> Backend {
        match self.pools {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::Postgres { .. } => Backend::Postgres,
        }
    }

    /// The same database for all that this life of a node does: each transaction that writes share-locks the node's row until its end
    /// and sees it in service with this incarnation, and is `Fenced` otherwise. Whoever declares the node dead waits for that lock;
    /// after that no write of the node gets past its beginning.
    pub fn fenced(&self, fence: Fence) -> Db {
        Db {
            fence: Some(fence),
            ..self.clone()
        }
    }

    /// The same database for what has to be written whatever has become of the node: its own row, and those of others.
    pub fn unfenced(&self) -> Db {
        Db {
            fence: None,
            ..self.clone()
        }
    }

    /// The same database for whoever answers requests: what is asked over all orgs there goes over connections of its own, and nobody waits
    /// for the beginning of a transaction longer than three seconds. One handle has both, so that no look-up has one without the other.
    pub fn at_the_edge(&self) -> Db {
        let mut db = Db {
            patience: EDGE_PATIENCE,
            ..self.clone()
        };
        if let Pools::Postgres { engine, edge, .. } = &mut db.pools {
            engine.clone_from(edge);
        }
        db
    }

    /// Ready when the database has not answered anybody for `patience` since this call. Never for SQLite.
    pub async fn outage_lasts(&self, patience: Duration) {
        self.outage.lasts(patience).await;
    }

    /// Ready when the database is not known to be away.
    pub async fn outage_is_over(&self) {
        self.outage.is_over().await;
    }

    async fn begin_postgres(&self, pool: &PgPool, begin: &str) -> Result<Inner> {
        let begin = || postgres::begin(pool, begin);
        let tx = self.outage.begin(self.patience, begin).await?;
        Ok(Inner::Postgres(tx))
    }

    /// A transaction that writes rows of `org`.
    ///
    /// # Errors
    /// `Fenced` where the handle is, see [`Db::fenced`].
    pub async fn begin(&self, org: OrgId) -> Result<Tx> {
        let inner = match &self.pools {
            Pools::Sqlite { write, .. } => sqlite_write(write, self.fence).await?,
            Pools::Postgres { app, .. } => {
                let begin = format!("{}; {}", begin_write(self.fence), org_in_force(org));
                self.begin_postgres(app, &begin).await?
            }
        };
        Ok(Tx { org, inner })
    }

    /// A transaction that reads rows of `org` as they were at its first statement.
    pub async fn begin_read(&self, org: OrgId) -> Result<Tx> {
        let inner = match &self.pools {
            Pools::Sqlite { read, .. } => Inner::Sqlite(SqliteTx::begin(read, "BEGIN").await?),
            Pools::Postgres { app, .. } => {
                let begin = format!("{READ}; {}", org_in_force(org));
                self.begin_postgres(app, &begin).await?
            }
        };
        Ok(Tx { org, inner })
    }

    /// Like `begin_read`, for what may be a little old: reads a replica, if there is one and it answers.
    pub async fn begin_stale_read(&self, org: OrgId) -> Result<StaleRead> {
        if let Some(replica) = &self.replica {
            let begin = format!("{READ}; {}", org_in_force(org));
            if let Some(read) = replica.begin(org, &begin).await {
                return Ok(read);
            }
        }
        Ok(StaleRead {
            tx: self.begin_read(org).await?,
            replica: None,
        })
    }

    /// A transaction of the runtime over all orgs; `reason` says what for, in logs.
    ///
    /// # Errors
    /// `Fenced` where the handle is, see [`Db::fenced`].
    pub async fn begin_system(&self, reason: &'static str) -> Result<SystemTx> {
        self.begin_system_as(reason, self.fence).await
    }

    /// Like `begin_system` of the handle [`Db::fenced`] with this fence.
    ///
    /// # Errors
    /// `Fenced`.
    pub async fn begin_fenced(&self, reason: &'static str, fence: Fence) -> Result<SystemTx> {
        self.begin_system_as(reason, Some(fence)).await
    }

    async fn begin_system_as(
        &self,
        reason: &'static str,
        fence: Option<Fence>,
    ) -> Result<SystemTx> {
        let inner = match &self.pools {
            Pools::Sqlite { write, .. } => sqlite_write(write, fence).await?,
            Pools::Postgres { engine, .. } => {
                self.begin_postgres(engine, &begin_write(fence)).await?
            }
        };
        Ok(SystemTx { reason, inner })
    }

    /// Like `begin_system`, reading only, everything as it was at the first statement.
    pub async fn begin_system_read(&self, reason: &'static str) -> Result<SystemTx> {
        let inner = match &self.pools {
            Pools::Sqlite { read, .. } => Inner::Sqlite(SqliteTx::begin(read, "BEGIN").await?),
            Pools::Postgres { engine, .. } => self.begin_postgres(engine, READ).await?,
        };
        Ok(SystemTx { reason, inner })
    }

    /// Runs statements as the owner of a SQLite database: what a test has to do to it that no program would.
    #[cfg(test)]
    pub(crate) async fn tamper(&self, statements: &'static str) -> Result<()> {
        match &self.pools {
            Pools::Sqlite { write, .. } => {
                sqlx::raw_sql(statements).execute(write).await?;
                Ok(())
            }
            Pools::Postgres { .. } => Err(DbError::Setup("only for SQLite".into())),
        }
    }

    /// Closes all connections; what is in use is waited for.
    pub async fn close(&self) {
        if let Some(replica) = &self.replica {
            replica.close().await;
        }
        match &self.pools {
            Pools::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Pools::Postgres { app, engine, edge } => {
                app.close().await;
                edge.close().await;
                engine.close().await;
            }
        }
    }
}

fn replica_of(config: &DbConfig, url: &str) -> Result<Replica> {
    for url in [&config.url, url] {
        if Backend::of(url)? == Backend::Sqlite {
            return Err(DbError::Setup("sqlite has no replica to read".into()));
        }
    }
    Replica::open(config, url)
}

/// One snapshot for all statements, so that rows of several queries fit together.
const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// What begins a transaction that writes, in one round trip with the proof that the node may.
///
/// The statement before BEGIN becomes part of the transaction that BEGIN opens (PostgreSQL's documentation of multiple statements in a
/// simple query); the other way round a node that is fenced would leave an aborted one to the pool. An id prints as hexadecimal digits
/// and hyphens, so nothing can be injected.
fn begin_write(fence: Option<Fence>) -> String {
    match fence {
        None => "BEGIN".into(),
        Some(Fence {
            node_id,
            incarnation,
        }) => format!("SELECT tenure_fence('{node_id}', {incarnation}); BEGIN"),
    }
}

fn org_in_force(org: OrgId) -> String {
    format!("SET LOCAL app.org_id = '{}'", org.uuid())
}

/// SQLite has one writer at a time: what is seen at the beginning stays so.
async fn sqlite_write(write: &SqlitePool, fence: Option<Fence>) -> Result<Inner> {
    let mut tx = SqliteTx::begin(write, "BEGIN IMMEDIATE").await?;
    if let Some(fence) = fence {
        sqlx::query_scalar::<_, i32>(
            "SELECT 1 FROM node WHERE id = $1 AND incarnation = $2 AND state <> 'dead'",
        )
        .bind(fence.node_id)
        .bind(fence.incarnation)
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(DbError::Fenced)?;
    }
    Ok(Inner::Sqlite(tx))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// It takes connections and says nothing.
    #[tokio::test]
    async fn who_asks_a_hung_database_at_the_edge_is_told_soon() {
        let hung = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://x@{}/x", hung.local_addr().unwrap());
        let pool = PgPool::connect_lazy(&url).unwrap();
        let db = Db {
            pools: Pools::Postgres {
                app: pool.clone(),
                engine: pool.clone(),
                edge: pool,
            },
            fence: None,
            patience: Duration::from_secs(20),
            outage: Arc::default(),
            replica: None,
        };
        let (edge, began) = (db.at_the_edge(), Instant::now());
        let (over_all, of_one) = tokio::join!(
            edge.begin_system_read("a look-up"),
            edge.begin_read(OrgId::from_uuid(uuid::Uuid::nil()))
        );
        assert!(over_all.is_err_and(|error| error.is_transient()));
        assert!(of_one.is_err_and(|error| error.is_transient()));
        assert!(began.elapsed() < 2 * EDGE_PATIENCE, "{:?}", began.elapsed());
    }

    #[test]
    fn place_of_database_shows_neither_user_nor_password() {
        for (url, place) in [
            ("sqlite:/var/lib/tenure.db", "sqlite:/var/lib/tenure.db"),
            ("sqlite:data/tenure.db?mode=rwc", "sqlite:data/tenure.db"),
            ("postgres://db/tenure", "postgres://db/tenure"),
            (
                "postgres://owner:pa@ss@db:5433/tenure",
                "postgres://db:5433/tenure",
            ),
            ("postgres://owner@db/t?password=secret", "postgres://db/t"),
            (
                "postgres:///tenure?host=/run&password=x",
                "postgres:///tenure",
            ),
        ] {
            assert_eq!(DbConfig::new(url).place(), place, "{url}");
        }
    }
}
