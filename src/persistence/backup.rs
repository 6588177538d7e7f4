//! Copies of a whole database while it is in use, and a new database from such a copy.
//!
//! SQLite copies itself (`VACUUM INTO`, one snapshot, without holding up the writer). PostgreSQL is copied by its own `pg_dump` and
//! brought back by `pg_restore` in one transaction, so that what is half restored is not there at all. Rows are guarded by row-level security
//! that binds the owner too: a role that may pass it by dumps as it is, any other dumps as the engine's role, whose policies show every row.

use super::{
    db::Backend,
    error::{DbError, Result},
    migrate,
    postgres::{self, ENGINE_ROLE},
    sqlite,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};
use tokio::process::Command;

/// What a copy is called in its directory.
pub fn file_name(backend: Backend) -> &'static str {
    match backend {
        Backend::Sqlite => "database.sqlite",
        Backend::Postgres => "database.dump",
    }
}

/// Writes a copy of the database to `file`, which must not be there. Gives the newest migration that the copy has.
///
/// # Errors
/// `Setup` with what an operator can do about it, or what the database said.
pub async fn backup(url: &str, file: &Path) -> Result<i64> {
    match Backend::of(url)? {
        Backend::Sqlite => backup_sqlite(url, file).await,
        Backend::Postgres => backup_postgres(url, file).await,
    }
}

/// Makes the database at `url` what the copy in `file` is, brought to the tables of this binary. The database must be empty: there is no
/// file yet (SQLite), or no table (PostgreSQL). Effects that the copy knows as not sent may have been sent after it was made, so they are marked as
/// sent without an answer: the provider is asked, or a person, before anything is repeated. Gives how many those are.
///
/// # Errors
/// `Setup` if the target is not empty or the copy cannot be read; nothing has changed then.
pub async fn restore(url: &str, file: &Path) -> Result<u64> {
    let doubted = match Backend::of(url)? {
        Backend::Sqlite => restore_sqlite(url, file).await?,
        Backend::Postgres => restore_postgres(url, file).await?,
    };
    Ok(doubted)
}

/// What a copy may have missed: a write that its process sent after the copy was made.
const DOUBT: &str = "UPDATE effect SET status = 'sent', sent_us = coalesce(sent_us, intended_us),
        attempts = CASE WHEN attempts = 0 THEN 1 ELSE attempts END
     WHERE status = 'intended'";

async fn backup_sqlite(url: &str, file: &Path) -> Result<i64> {
    let options = sqlite::options(url)?;
    let source = options.get_filename().to_owned();
    if !source.is_file() {
        return Err(DbError::Setup(format!(
            "{} does not exist",
            source.display()
        )));
    }
    let Some(target) = file.to_str() else {
        return Err(DbError::Setup(format!("{} is not UTF-8", file.display())));
    };
    let mut connection = SqliteConnection::connect_with(&options.read_only(true)).await?;
    sqlx::query("VACUUM INTO $1")
        .bind(target)
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    check_sqlite(file).await
}

/// Whether the file is a database without damage, and the newest migration that it has.
async fn check_sqlite(file: &Path) -> Result<i64> {
    let damaged = |reason: String| DbError::Setup(format!("{}: {reason}", file.display()));
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .immutable(true);
    let mut copy = SqliteConnection::connect_with(&options)
        .await
        .map_err(|error| damaged(error.to_string()))?;
    let found: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut copy)
        .await
        .map_err(|error| damaged(error.to_string()))?;
    if found != "ok" {
        return Err(damaged(found));
    }
    let version: Option<i64> = sqlx::query_scalar(APPLIED)
        .fetch_one(&mut copy)
        .await
        .map_err(|error| damaged(error.to_string()))?;
    copy.close().await?;
    version.ok_or_else(|| damaged("it has no migration".into()))
}

const APPLIED: &str = "SELECT max(version) FROM _sqlx_migrations WHERE success";

async fn restore_sqlite(url: &str, file: &Path) -> Result<u64> {
    check_sqlite(file).await?;
    let target = sqlite::options(url)?.get_filename().to_owned();
    let beside = |suffix: &str| {
        let mut name = target.clone().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    // A log of another database beside the new file would be applied to it.
    for taken in [
        target.clone(),
        beside("-wal"),
        beside("-shm"),
        beside("-journal"),
    ] {
        if taken.exists() {
            return Err(DbError::Setup(format!(
                "{} is there already: a backup is restored to a new file only",
                taken.display()
            )));
        }
    }
    let unfinished = beside(".restoring");
    let copied = copy_and_sync(file, &unfinished);
    copied.map_err(|error| DbError::Setup(format!("{}: {error}", unfinished.display())))?;
    let finish = async {
        let at = format!("sqlite:{}", unfinished.display());
        migrate::migrate(&at).await?;
        let mut connection = SqliteConnection::connect_with(&sqlite::options(&at)?).await?;
        let doubted = sqlx::query(DOUBT).execute(&mut connection).await?;
        // Everything into the one file that is going to be renamed.
        connection
            .execute("PRAGMA wal_checkpoint(TRUNCATE)")
            .await?;
        connection.close().await?;
        Ok::<_, DbError>(doubted.rows_affected())
    };
    let finished = finish.await;
    for suffix in [".restoring-wal", ".restoring-shm"] {
        // Not there after a clean close.
        let _ = std::fs::remove_file(beside(suffix));
    }
    match finished {
        Ok(doubted) => {
            std::fs::rename(&unfinished, &target)
                .map_err(|error| DbError::Setup(format!("{}: {error}", target.display())))?;
            Ok(doubted)
        }
        Err(error) => {
            let _ = std::fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

fn copy_and_sync(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut source = std::fs::File::open(from)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut target = options.open(to)?;
    std::io::copy(&mut source, &mut target)?;
    target.sync_all()
}

async fn backup_postgres(url: &str, file: &Path) -> Result<i64> {
    let mut connection = PgConnection::connect_with(&postgres::options(url)?).await?;
    let version: Option<i64> = sqlx::query_scalar(APPLIED)
        .fetch_one(&mut connection)
        .await
        .map_err(|error| DbError::Setup(format!("the database is not migrated ({error})")))?;
    let version = version.ok_or_else(|| {
        DbError::Setup("the database is not migrated: run `tenure migrate`".into())
    })?;
    let sees_all = passes_row_security(&mut connection).await?;
    if !sees_all {
        everything_is_the_engines(&mut connection).await?;
    }
    connection.close().await?;
    let mut dump = program("pg_dump", url)?;
    dump.args(["--format=custom", "--no-password", "--file"])
        .arg(file);
    if !sees_all {
        dump.args(["--enable-row-security", "--role", ENGINE_ROLE]);
    }
    run(dump, "pg_dump").await?;
    Ok(version)
}

async fn passes_row_security(connection: &mut PgConnection) -> Result<bool> {
    let passes = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user";
    Ok(sqlx::query_scalar(passes).fetch_one(connection).await?)
}

/// A table that the engine's role does not see as a whole would be dumped without the rest, and nobody would be told.
async fn everything_is_the_engines(connection: &mut PgConnection) -> Result<()> {
    let hidden: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND n.nspname = current_schema()
            AND (NOT has_table_privilege('tenure_engine', c.oid, 'SELECT')
                OR (c.relrowsecurity AND NOT EXISTS (
                    SELECT 1 FROM pg_policies p
                    WHERE p.schemaname = n.nspname AND p.tablename = c.relname
                        AND 'tenure_engine' = ANY (p.roles) AND p.cmd IN ('ALL', 'SELECT') AND p.qual = 'true')))
         ORDER BY c.relname",
    )
    .fetch_all(connection)
    .await?;
    if hidden.is_empty() {
        return Ok(());
    }
    Err(DbError::Setup(format!(
        "the role of the address does not see every row of {}: use a superuser or a role with BYPASSRLS",
        hidden.join(", ")
    )))
}

/// A table that stands in a PostgreSQL database from before its tables come back until what had not left is in doubt: what broke off in between
/// looks whole, and nothing may work with it.
const UNFINISHED: &str = "restore_unfinished";

/// Refuses a database that a backup was restored to, but not to the end.
///
/// # Errors
/// `Setup`.
pub(super) async fn refuse_unfinished(pool: &sqlx::PgPool) -> Result<()> {
    let is_unfinished: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .bind(UNFINISHED)
        .fetch_one(pool)
        .await?;
    match is_unfinished {
        false => Ok(()),
        true => Err(DbError::Setup(
            "restoring a backup to this database was broken off: drop the database, make it anew and run `tenure restore` again".into(),
        )),
    }
}

async fn restore_postgres(url: &str, file: &Path) -> Result<u64> {
    let mut connection = PgConnection::connect_with(&postgres::options(url)?).await?;
    let tables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname = current_schema() AND c.relname <> $1",
    )
    .bind(UNFINISHED)
    .fetch_one(&mut connection)
    .await?;
    if tables > 0 {
        return Err(DbError::Setup(
            "the database has tables already: a backup is restored to an empty one only".into(),
        ));
    }
    // The policies in the copy name the roles.
    migrate::roles_ensure(&mut connection).await?;
    let begin = format!("CREATE TABLE IF NOT EXISTS {UNFINISHED} ()");
    connection.execute(AssertSqlSafe(begin)).await?;
    let end = format!("DROP TABLE {UNFINISHED}");
    let mut restore = program("pg_restore", url)?;
    restore
        .args([
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
            "--no-password",
        ])
        .arg(file);
    if let Err(error) = run(restore, "pg_restore").await {
        // Nothing came back: it is as empty as it was.
        connection.execute(AssertSqlSafe(end)).await?;
        return Err(error);
    }
    migrate::migrate(url).await?;
    // The owner is bound by row-level security as well, and belongs to the role that sees all.
    let mut transaction = connection.begin().await?;
    transaction.execute(AssertSqlSafe(end)).await?;
    transaction.execute("SET LOCAL ROLE tenure_engine").await?;
    let doubted = sqlx::query(DOUBT).execute(&mut *transaction).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(doubted.rows_affected())
}

/// One of PostgreSQL's programs for the database at `url`. The password goes by the environment: arguments can be read by everybody on the machine.
fn program(name: &str, url: &str) -> Result<Command> {
    let found = super::private_postgres::program(name).ok_or_else(|| {
        DbError::Setup(format!(
            "{name} was not found: install PostgreSQL's client programs (Debian: postgresql-client), at least as new as the server"
        ))
    })?;
    let (place, password) = without_password(url);
    let mut command = Command::new(found);
    command.arg("--dbname").arg(place);
    if let Some(password) = password {
        command.env("PGPASSWORD", password);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    Ok(command)
}

/// The address without the password, and the password, decoded.
fn without_password(url: &str) -> (String, Option<String>) {
    let Some((scheme, rest)) = url.split_once("://") else {
        return (url.to_owned(), None);
    };
    let (authority_end, _) = rest
        .char_indices()
        .find(|(_, c)| matches!(c, '/' | '?'))
        .unwrap_or((rest.len(), ' '));
    let (authority, tail) = rest.split_at(authority_end);
    let Some((user, host)) = authority.rsplit_once('@') else {
        return (url.to_owned(), None);
    };
    match user.split_once(':') {
        None => (url.to_owned(), None),
        Some((user, password)) => {
            let decoded = percent_decoded(password);
            (format!("{scheme}://{user}@{host}{tail}"), Some(decoded))
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let digit = |place: usize| char::from(*tail.get(place)?).to_digit(16);
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn run(mut command: Command, name: &str) -> Result<()> {
    let Output { status, stderr, .. } = command
        .output()
        .await
        .map_err(|error| DbError::Setup(format!("{name}: {error}")))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(DbError::Setup(format!("{name} failed: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_does_not_stay_in_the_address() {
        for (url, place, password) in [
            ("postgres://db/tenure", "postgres://db/tenure", None),
            (
                "postgres://owner@db/tenure",
                "postgres://owner@db/tenure",
                None,
            ),
            (
                "postgres://owner:s%40cret%25@db:5433/tenure?sslmode=require",
                "postgres://owner@db:5433/tenure?sslmode=require",
                Some("s@cret%"),
            ),
            ("postgres://o:a:b@db", "postgres://o@db", Some("a:b")),
            ("postgres://o:@db/x@y", "postgres://o@db/x@y", Some("")),
        ] {
            let (found, secret) = without_password(url);
            assert_eq!(
                (found.as_str(), secret.as_deref()),
                (place, password),
                "{url}"
            );
        }
    }
}
