//! Many rows in one statement, one text for both databases: the statement reads them from a table expression named `t`.
//!
//! PostgreSQL gets one array a column, so the statement is the same for any number of rows and is prepared once. SQLite, which has no
//! arrays, gets `VALUES` in a few fixed sizes, so that few statements are prepared, and few are run: each is a hop to its thread.

use super::{error::Result, storable::storable, tx::Inner};
use sqlx::{AssertSqlSafe, FromRow, Postgres, Sqlite, postgres::PgRow, sqlite::SqliteRow};
use std::{borrow::Cow, fmt::Write};
use uuid::Uuid;

/// One column of `t`, all of its rows.
pub(super) enum Column<'a> {
    Uuid(Vec<Uuid>),
    MaybeUuid(Vec<Option<Uuid>>),
    Short(Vec<i16>),
    Int(Vec<i32>),
    Long(Vec<i64>),
    MaybeLong(Vec<Option<i64>>),
    Text(Vec<&'a str>),
    MaybeText(Vec<Option<&'a str>>),
    /// Of texts, some of which could not be stored as they were. Made by [`Rows::new`].
    Cleaned(Vec<Option<Cow<'a, str>>>),
    Bytes(Vec<&'a [u8]>),
    MaybeBytes(Vec<Option<&'a [u8]>>),
}

impl<'a> Column<'a> {
    /// Whatever texts it holds, the database takes them.
    fn storable(self) -> Self {
        let is_not = |text: &&str| text.contains('\0');
        match self {
            Column::Text(rows) if rows.iter().any(is_not) => {
                Column::Cleaned(rows.into_iter().map(|text| Some(storable(text))).collect())
            }
            Column::MaybeText(rows) if rows.iter().flatten().any(is_not) => {
                Column::Cleaned(rows.into_iter().map(|text| text.map(storable)).collect())
            }
            fine => fine,
        }
    }

    fn len(&self) -> usize {
        match self {
            Column::Uuid(rows) => rows.len(),
            Column::MaybeUuid(rows) => rows.len(),
            Column::Short(rows) => rows.len(),
            Column::Int(rows) => rows.len(),
            Column::Long(rows) => rows.len(),
            Column::MaybeLong(rows) => rows.len(),
            Column::Text(rows) => rows.len(),
            Column::MaybeText(rows) => rows.len(),
            Column::Cleaned(rows) => rows.len(),
            Column::Bytes(rows) => rows.len(),
            Column::MaybeBytes(rows) => rows.len(),
        }
    }
    fn postgres_type(&self) -> &'static str {
        match self {
            Column::Uuid(_) | Column::MaybeUuid(_) => "uuid[]",
            Column::Short(_) => "smallint[]",
            Column::Int(_) => "int[]",
            Column::Long(_) | Column::MaybeLong(_) => "bigint[]",
            Column::Text(_) | Column::MaybeText(_) | Column::Cleaned(_) => "text[]",
            Column::Bytes(_) | Column::MaybeBytes(_) => "bytea[]",
        }
    }
}

/// The rows of `t`.
pub(super) struct Rows<'a> {
    columns: Vec<(&'static str, Column<'a>)>,
}

/// Sizes of the statements for SQLite; with 12 columns the largest stays far below its 32,766 parameters.
const CHUNKS: [usize; 4] = [128, 32, 8, 1];

impl<'a> Rows<'a> {
    pub fn new(columns: Vec<(&'static str, Column<'a>)>) -> Self {
        debug_assert!(
            columns
                .windows(2)
                .all(|pair| pair[0].1.len() == pair[1].1.len()),
            "columns differ in length"
        );
        let columns = columns.into_iter();
        Self {
            columns: columns
                .map(|(name, column)| (name, column.storable()))
                .collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.len())
    }

    /// Runs `statement`, which reads `t`; gives the number of rows that it touched. No rows, no round trip.
    pub async fn execute(&self, inner: &mut Inner, statement: &str) -> Result<u64> {
        if self.len() == 0 {
            return Ok(0);
        }
        match inner {
            Inner::Postgres(tx) => {
                let sql = self.postgres_sql(statement);
                Ok(self
                    .bind_postgres(sqlx::query(AssertSqlSafe(sql)))
                    .execute(&mut **tx)
                    .await?
                    .rows_affected())
            }
            Inner::Sqlite(tx) => {
                let mut touched = 0;
                for (start, size) in chunks(self.len()) {
                    let sql = self.sqlite_sql(statement, size);
                    touched += self
                        .bind_sqlite(sqlx::query(AssertSqlSafe(sql)), start, size)
                        .execute(&mut **tx)
                        .await?
                        .rows_affected();
                }
                Ok(touched)
            }
        }
    }

    /// Runs `statement`, which reads `t`, and gives the rows that it returns.
    pub async fn fetch<T>(&self, inner: &mut Inner, statement: &str) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        if self.len() == 0 {
            return Ok(Vec::new());
        }
        match inner {
            Inner::Postgres(tx) => {
                let sql = self.postgres_sql(statement);
                let rows = self
                    .bind_postgres(sqlx::query(AssertSqlSafe(sql)))
                    .fetch_all(&mut **tx)
                    .await?;
                Ok(rows.iter().map(T::from_row).collect::<sqlx::Result<_>>()?)
            }
            Inner::Sqlite(tx) => {
                let mut found = Vec::new();
                for (start, size) in chunks(self.len()) {
                    let sql = self.sqlite_sql(statement, size);
                    let rows = self
                        .bind_sqlite(sqlx::query(AssertSqlSafe(sql)), start, size)
                        .fetch_all(&mut **tx)
                        .await?;
                    for row in &rows {
                        found.push(T::from_row(row)?);
                    }
                }
                Ok(found)
            }
        }
    }

    fn names(&self) -> String {
        self.columns
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn postgres_sql(&self, statement: &str) -> String {
        let mut sql = format!("WITH t ({}) AS (SELECT * FROM unnest(", self.names());
        for (place, (_, column)) in self.columns.iter().enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let _ = write!(sql, "{comma}${}::{}", place + 1, column.postgres_type());
        }
        sql + ")) " + statement
    }

    fn sqlite_sql(&self, statement: &str, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns.len()].join(", "));
        format!(
            "WITH t ({}) AS (VALUES {}) {statement}",
            self.names(),
            vec![row; rows].join(", ")
        )
    }

    fn bind_postgres<'q>(&'q self, query: PgQuery<'q>) -> PgQuery<'q> {
        self.columns
            .iter()
            .fold(query, |query, (_, column)| match column {
                Column::Uuid(rows) => query.bind(rows),
                Column::MaybeUuid(rows) => query.bind(rows),
                Column::Short(rows) => query.bind(rows),
                Column::Int(rows) => query.bind(rows),
                Column::Long(rows) => query.bind(rows),
                Column::MaybeLong(rows) => query.bind(rows),
                Column::Text(rows) => query.bind(rows),
                Column::MaybeText(rows) => query.bind(rows),
                Column::Cleaned(rows) => {
                    query.bind(rows.iter().map(Option::as_deref).collect::<Vec<_>>())
                }
                Column::Bytes(rows) => query.bind(rows),
                Column::MaybeBytes(rows) => query.bind(rows),
            })
    }

    fn bind_sqlite<'q>(
        &'q self,
        query: SqliteQuery<'q>,
        start: usize,
        size: usize,
    ) -> SqliteQuery<'q> {
        let cells = (start..start + size)
            .flat_map(|row| self.columns.iter().map(move |(_, column)| (row, column)));
        cells.fold(query, |query, (row, column)| match column {
            Column::Uuid(rows) => query.bind(rows[row]),
            Column::MaybeUuid(rows) => query.bind(rows[row]),
            Column::Short(rows) => query.bind(rows[row]),
            Column::Int(rows) => query.bind(rows[row]),
            Column::Long(rows) => query.bind(rows[row]),
            Column::MaybeLong(rows) => query.bind(rows[row]),
            Column::Text(rows) => query.bind(rows[row]),
            Column::MaybeText(rows) => query.bind(rows[row]),
            Column::Cleaned(rows) => query.bind(rows[row].as_deref()),
            Column::Bytes(rows) => query.bind(rows[row]),
            Column::MaybeBytes(rows) => query.bind(rows[row]),
        })
    }
}

type PgQuery<'q> = sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments>;
type SqliteQuery<'q> = sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

/// Cuts `rows` into the fixed sizes, the large ones first: where each begins and how long it is.
fn chunks(rows: usize) -> Vec<(usize, usize)> {
    let mut cuts = Vec::new();
    let mut start = 0;
    for size in CHUNKS {
        while rows - start >= size {
            cuts.push((start, size));
            start += size;
        }
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_all_rows_once() {
        for rows in 0..600 {
            let cuts = chunks(rows);
            let end = cuts.iter().fold(0, |end, (start, size)| {
                assert_eq!(*start, end);
                end + size
            });
            assert_eq!(end, rows);
        }
    }
}
