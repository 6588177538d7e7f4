//! PostgreSQL: three pools, each dropped to an unprivileged role before its first statement.

use super::{
    db::{DbConfig, Pools},
    error::{DbError, Result},
};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};
use tokio::time::timeout;

pub(super) const APP_ROLE: &str = "tenure_app";
pub(super) const ENGINE_ROLE: &str = "tenure_engine";

/// Look-ups of keys, links and webhooks take a millisecond each.
const EDGE_CONNECTIONS: u32 = 4;

pub(super) async fn connect(config: &DbConfig) -> Result<Pools> {
    let app = pool(config, APP_ROLE, config.app_connections).await?;
    let engine = pool(config, ENGINE_ROLE, config.engine_connections.max(2)).await?;
    let edge = pool(config, ENGINE_ROLE, EDGE_CONNECTIONS).await?;
    Ok(Pools::Postgres { app, engine, edge })
}

/// How every connection to the database is opened, that of the migrations too.
pub(super) fn options(url: &str) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| DbError::Setup(format!("not a postgres address: {error}")))?;
    Ok(options
        .application_name("tenure")
        .statement_cache_capacity(256))
}

/// The server finds out within twenty seconds that a client's machine is gone, and lets go of its locks. It ignores this where it has no
/// such settings, and on a Unix socket.
const KEEPALIVE: &str =
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3;
    SET tcp_user_timeout = 20000";

async fn pool(config: &DbConfig, role: &'static str, connections: u32) -> Result<PgPool> {
    let options = named_options(config, &config.url)?;
    let probing = async {
        let mut probe = PgConnection::connect_with(&options).await?;
        verify_role(&mut probe, role).await?;
        probe.close().await?;
        Ok::<_, DbError>(())
    };
    timeout(config.acquire_timeout, probing)
        .await
        .unwrap_or(Err(DbError::Unavailable(sqlx::Error::PoolTimedOut)))?;
    let pool = pool_options(config, role).max_connections(connections);
    Ok(pool.connect_with(options).await?)
}

/// A pool as `tenure_app` for reading at another address, with no connection yet. Each connection is looked at when it is opened: the
/// address may lead to a server that knows other roles.
pub(super) fn lazy_pool(config: &DbConfig, url: &str) -> Result<PgPool> {
    let settings = settings(config, APP_ROLE);
    let pool = pool_options(config, APP_ROLE)
        .max_connections(config.app_connections)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            Box::pin(async move {
                let verified = verify_role(connection, APP_ROLE).await;
                verified.map_err(|error| sqlx::Error::Configuration(error.into()))?;
                set(connection, settings).await
            })
        });
    Ok(pool.connect_lazy_with(named_options(config, url)?))
}

fn named_options(config: &DbConfig, url: &str) -> Result<PgConnectOptions> {
    let options = options(url)?;
    Ok(match &config.node_name {
        Some(node) => options.application_name(&format!("tenure/{node}")),
        None => options,
    })
}

/// What every connection is told.
///
/// The plans of this program are look-ups by index for a handful of keys: compiling them takes longer than running them. A planner
/// that has no statistics yet (tables that were empty a minute ago) or that counts on all keys of a list to match reads and hashes
/// whole tables instead; that cost a third of the throughput with a step a commit, and four fifths of the time to wake an employee.
/// These settings make such plans the last resort, for where there is no index.
fn settings(config: &DbConfig, role: &'static str) -> String {
    format!(
        "SET ROLE {role}; SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {};
         {KEEPALIVE}; SET jit = off;
         SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off",
        config.statement_timeout.as_millis(),
        config.idle_in_transaction.as_millis(),
    )
}

async fn set(connection: &mut PgConnection, settings: String) -> sqlx::Result<()> {
    let settings = sqlx::raw_sql(AssertSqlSafe(settings));
    connection.execute(settings).await.map(drop)
}

fn pool_options(config: &DbConfig, role: &'static str) -> PgPoolOptions {
    let settings = settings(config, role);
    PgPoolOptions::new()
        .acquire_timeout(config.acquire_timeout)
        // A ping before each use would cost a round trip a transaction; one that sat idle may have been cut off by a firewall.
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > Duration::from_secs(30) {
                    Ok(connection.ping().await.is_ok())
                } else {
                    Ok(true)
                }
            })
        })
        .after_connect(move |connection, _| Box::pin(set(connection, settings.clone())))
}

/// Begins a transaction. In a task of its own, which goes on when the caller gives up: sqlx gives a connection whose BEGIN was not waited
/// for back to the pool with the transaction open.
pub(super) async fn begin(
    pool: &PgPool,
    begin: &str,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    let (pool, begin) = (pool.clone(), AssertSqlSafe(begin.to_owned()));
    tokio::spawn(async move { pool.begin_with(begin).await })
        .await
        .unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Takes the role and refuses it if row-level security would not hold it.
async fn verify_role(connection: &mut PgConnection, role: &'static str) -> Result<()> {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("SET ROLE {role}")))).await.map_err(|error| {
        DbError::Setup(format!(
            "cannot work as database role {role}: {error}; run `tenure migrate` as the owner, then GRANT {APP_ROLE}, {ENGINE_ROLE} to this role"
        ))
    })?;
    let (is_super, bypasses, owns): (bool, bool, bool) = sqlx::query_as(
        "SELECT r.rolsuper, r.rolbypassrls, EXISTS (SELECT 1 FROM pg_class c
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND pg_has_role(r.oid, c.relowner, 'USAGE'))
         FROM pg_roles r WHERE r.rolname = current_user",
    )
    .fetch_one(connection)
    .await?;
    let surplus = [
        (is_super, "is a superuser"),
        (bypasses, "bypasses row-level security"),
        (owns, "owns the tables"),
    ];
    match surplus.into_iter().find(|(held, _)| *held) {
        Some((_, what)) => Err(DbError::Setup(format!(
            "database role {role} {what}: tenure refuses to work with it"
        ))),
        None => Ok(()),
    }
}
