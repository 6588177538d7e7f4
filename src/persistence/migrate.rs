//! Brings a database to the tables that this binary works with. The files are compiled in; a new file needs this one to be touched.

use super::{
    backup,
    db::{Backend, Db, Pools},
    error::{DbError, Result},
    postgres::{self, APP_ROLE, ENGINE_ROLE},
    sqlite,
};
use sqlx::{
    AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection,
    migrate::{MigrateError, Migrator},
    sqlite::SqliteConnectOptions,
};
use std::time::{Duration, Instant};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Applies what is missing, as the role of the address. Several processes may do so at once; each returns when all is applied.
///
/// On PostgreSQL it makes the two roles of the runtime and makes the address's role a member of them, which needs CREATEROLE unless an
/// operator has done both before. SQLite creates its file.
///
/// # Errors
/// `Setup` if a migration fails or the database is newer than this binary.
pub async fn migrate(url: &str) -> Result<()> {
    match Backend::of(url)? {
        Backend::Sqlite => {
            sqlite_run(&sqlite::options(url)?.create_if_missing(true)).await?;
        }
        Backend::Postgres => {
            let mut connection = PgConnection::connect_with(&postgres::options(url)?).await?;
            roles_ensure(&mut connection).await?;
            POSTGRES
                .run_direct(None, &mut connection, false)
                .await
                .map_err(failed)?;
            grants_ensure(&mut connection).await?;
            connection.close().await?;
        }
    }
    Ok(())
}

/// SQLite has no advisory lock, so two processes can try the same migration; the loser sees that it is there and goes on. Opening can
/// lose as well: while another process turns the new file to WAL, SQLite answers "locked" at once, whatever the busy timeout is.
async fn sqlite_run(options: &SqliteConnectOptions) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let began = Instant::now();
    loop {
        let error = match sqlite_attempt(options).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if began.elapsed() > PATIENCE || !error.is_transient() {
            return Err(error);
        }
        tracing::debug!(%error, "migration is tried again");
        tokio::time::sleep(Duration::from_millis(rand::random_range(20..120))).await;
    }
}

async fn sqlite_attempt(options: &SqliteConnectOptions) -> Result<()> {
    let mut connection = SqliteConnection::connect_with(options).await?;
    SQLITE
        .run_direct(None, &mut connection, false)
        .await
        .map_err(lost_or_failed)?;
    connection.close().await?;
    Ok(())
}

/// What a migration says that met another one half-way: busy, or the row, table or column of the other is there already.
fn lost_or_failed(error: MigrateError) -> DbError {
    match error {
        MigrateError::Execute(inner) | MigrateError::ExecuteMigration(inner, _) => {
            let met = inner.as_database_error().is_some_and(|known| {
                let is_there = ["already exists", "duplicate column name"];
                known.is_unique_violation()
                    || is_there.iter().any(|text| known.message().contains(text))
            });
            match DbError::from(inner) {
                DbError::Sql(inner) if met => DbError::Unavailable(inner),
                DbError::Sql(inner) => DbError::Setup(format!("migration failed: {inner}")),
                other => other,
            }
        }
        other => failed(other),
    }
}

fn failed(error: sqlx::migrate::MigrateError) -> DbError {
    DbError::Setup(format!("migration failed: {error}"))
}

/// Roles belong to the whole cluster, so another database's migration can make them at the same moment: that is no error.
pub(super) async fn roles_ensure(connection: &mut PgConnection) -> Result<()> {
    for role in [APP_ROLE, ENGINE_ROLE] {
        const ATTEMPTS: usize = 5;
        for attempt in 1..=ATTEMPTS {
            let statement = format!(
                "DO $$ BEGIN
                    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '{role}') THEN
                        CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS NOINHERIT;
                    END IF;
                    IF NOT pg_has_role(current_user, '{role}', 'MEMBER') THEN
                        EXECUTE format('GRANT {role} TO %I', current_user);
                    END IF;
                 END $$"
            );
            match connection
                .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
                .await
            {
                Ok(_) => break,
                Err(error) if attempt == ATTEMPTS => {
                    return Err(DbError::Setup(format!(
                        "cannot make database role {role}: {error}"
                    )));
                }
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_millis(20 * attempt as u64)).await
                }
            }
        }
    }
    Ok(())
}

/// What the roles need beside their tables: the schema, and to see which migrations are applied.
async fn grants_ensure(connection: &mut PgConnection) -> Result<()> {
    let statement = format!(
        "DO $$ BEGIN
            IF NOT has_schema_privilege('{APP_ROLE}', current_schema(), 'USAGE')
                OR NOT has_schema_privilege('{ENGINE_ROLE}', current_schema(), 'USAGE') THEN
                EXECUTE format('GRANT USAGE ON SCHEMA %I TO {APP_ROLE}, {ENGINE_ROLE}', current_schema());
            END IF;
            IF NOT has_table_privilege('{APP_ROLE}', '_sqlx_migrations', 'SELECT')
                OR NOT has_table_privilege('{ENGINE_ROLE}', '_sqlx_migrations', 'SELECT') THEN
                GRANT SELECT ON _sqlx_migrations TO {APP_ROLE}, {ENGINE_ROLE};
            END IF;
         END $$"
    );
    // Two processes that grant the same at once: one of them is told that the row changed under it, and finds it done when it looks again.
    if connection
        .execute(sqlx::raw_sql(AssertSqlSafe(statement.clone())))
        .await
        .is_err()
    {
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
            .await?;
    }
    Ok(())
}

/// Refuses a database whose migrations are not exactly those of this binary, and one that is half restored.
pub(super) async fn verify(db: &Db) -> Result<()> {
    const APPLIED: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";
    let (applied, wanted) = match &db.pools {
        Pools::Sqlite { read, .. } => (
            sqlx::query_scalar::<_, Option<i64>>(APPLIED)
                .fetch_one(read)
                .await,
            newest(&SQLITE),
        ),
        Pools::Postgres { engine, .. } => (
            sqlx::query_scalar(APPLIED).fetch_one(engine).await,
            newest(&POSTGRES),
        ),
    };
    match applied {
        Ok(Some(applied)) if applied == wanted => match &db.pools {
            Pools::Sqlite { .. } => Ok(()),
            Pools::Postgres { engine, .. } => backup::refuse_unfinished(engine).await,
        },
        Ok(Some(applied)) if applied > wanted => Err(DbError::Setup(format!(
            "database has migration {applied}, this binary knows {wanted}: use a newer binary"
        ))),
        Ok(applied) => Err(DbError::Setup(format!(
            "database has migration {}, this binary needs {wanted}: run `tenure migrate`",
            applied.unwrap_or(0)
        ))),
        Err(sqlx::Error::Database(error)) => Err(DbError::Setup(format!(
            "database is not migrated ({error}): run `tenure migrate`"
        ))),
        Err(error) => Err(error.into()),
    }
}

/// The number of the newest migration that this binary knows; a database that it opens has exactly this one.
pub fn schema_version(backend: Backend) -> i64 {
    newest(match backend {
        Backend::Sqlite => &SQLITE,
        Backend::Postgres => &POSTGRES,
    })
}

fn newest(migrator: &Migrator) -> i64 {
    migrator
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}
