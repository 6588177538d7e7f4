//! Transactions, and the macro that runs one SQL text on either database.

use super::{DbError, error::Result, sqlite::SqliteTx};
use crate::domain::OrgId;
use sqlx::{Postgres, Sqlite, Transaction};
use std::borrow::Cow;
use uuid::Uuid;

#[derive(Debug)]
pub(super) enum Inner {
    Sqlite(SqliteTx),
    Postgres(Transaction<'static, Postgres>),
}

impl Inner {
    async fn commit(self) -> Result<()> {
        match self {
            Inner::Sqlite(tx) => tx.commit().await?,
            Inner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// A transaction in which one org is in force: the only way to that org's rows from a request. On PostgreSQL it runs as
/// `tenure_app` and row-level security sees that org only. Dropped without `commit`, it is rolled back.
#[derive(Debug)]
pub struct Tx {
    pub(super) org: OrgId,
    pub(super) inner: Inner,
}

impl Tx {
    pub fn org(&self) -> OrgId {
        self.org
    }
    pub async fn commit(self) -> Result<()> {
        self.inner.commit().await
    }
}

/// A transaction of the runtime itself, over all orgs. On PostgreSQL it runs as `tenure_engine`. Never made from a request.
#[derive(Debug)]
pub struct SystemTx {
    pub(super) reason: &'static str,
    pub(super) inner: Inner,
}

impl SystemTx {
    /// Why it was opened.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
    pub async fn commit(self) -> Result<()> {
        tracing::trace!(reason = self.reason, "system transaction commits");
        self.inner.commit().await
    }
}

/// Expands the body once per back-end; in it `$conn` is the connection and `DB` its `sqlx::Database`.
macro_rules! on_tx {
    ($tx:expr, |$conn:ident| $body:expr) => {
        match &mut $tx.inner {
            $crate::persistence::tx::Inner::Sqlite(tx) => {
                #[allow(dead_code, reason = "not every body names the database")]
                type DB = sqlx::Sqlite;
                let $conn = &mut **tx;
                $body
            }
            $crate::persistence::tx::Inner::Postgres(tx) => {
                #[allow(dead_code, reason = "not every body names the database")]
                type DB = sqlx::Postgres;
                let $conn = &mut **tx;
                $body
            }
        }
    };
}
pub(super) use on_tx;

/// What differs between the two databases, and nothing else.
pub(super) trait Dialect: sqlx::Database {
    /// How a list of ids is bound: an array in PostgreSQL, a JSON text in SQLite.
    type UuidList;
    fn uuid_list(ids: &[Uuid]) -> Self::UuidList;
    /// Chooses between two texts.
    fn pick(sqlite: &'static str, postgres: &'static str) -> &'static str;
    /// Turns every `= ANY($n)` over a list of ids into what the database understands.
    fn adapt(sql: &'static str) -> sqlx::AssertSqlSafe<Cow<'static, str>>;
}

impl Dialect for Postgres {
    type UuidList = Vec<Uuid>;
    fn uuid_list(ids: &[Uuid]) -> Vec<Uuid> {
        ids.to_vec()
    }
    fn pick(_: &'static str, postgres: &'static str) -> &'static str {
        postgres
    }
    fn adapt(sql: &'static str) -> sqlx::AssertSqlSafe<Cow<'static, str>> {
        sqlx::AssertSqlSafe(Cow::Borrowed(sql))
    }
}

impl Dialect for Sqlite {
    type UuidList = String;
    fn uuid_list(ids: &[Uuid]) -> String {
        let quoted: Vec<String> = ids
            .iter()
            .map(|id| format!("\"{}\"", id.simple()))
            .collect();
        format!("[{}]", quoted.join(","))
    }
    fn pick(sqlite: &'static str, _: &'static str) -> &'static str {
        sqlite
    }
    fn adapt(sql: &'static str) -> sqlx::AssertSqlSafe<Cow<'static, str>> {
        let mut adapted = String::with_capacity(sql.len() + 64);
        let mut rest = sql;
        while let Some((before, after)) = rest.split_once("= ANY(") {
            let (parameter, after) = after.split_once(')').unwrap_or((after, ""));
            adapted += before;
            adapted += "IN (SELECT unhex(value) FROM json_each(";
            adapted += parameter;
            adapted += "))";
            rest = after;
        }
        adapted += rest;
        sqlx::AssertSqlSafe(Cow::Owned(adapted))
    }
}

/// The answer to an update that must have hit exactly one row.
pub(super) fn one_row(affected: u64, what: &'static str) -> Result<()> {
    if affected == 0 {
        Err(DbError::NotFound(what))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::SqlSafeStr;

    #[test]
    fn lists_of_ids_are_rewritten_for_sqlite() {
        let sql = Sqlite::adapt("DELETE FROM a WHERE b = ANY($2) AND c = $1").into_sql_str();
        assert_eq!(
            sql.as_str(),
            "DELETE FROM a WHERE b IN (SELECT unhex(value) FROM json_each($2)) AND c = $1"
        );
    }
}
