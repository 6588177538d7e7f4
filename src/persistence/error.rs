//! What can go wrong between the runtime and its database, in the terms that a caller can act on.

use crate::domain::ExecutionId;

/// Why a persistence function gave no answer. Nothing of its transaction was kept.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Somebody else changed the row first; read it again.
    #[error("stale write: {0} was changed by somebody else")]
    Stale(&'static str),
    /// A row with the same unique name or key exists; `0` is the constraint or the column list, as the database says it.
    #[error("already exists: {0}")]
    Duplicate(String),
    /// The row that was to be changed does not exist in this org.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The node's row is not alive with this incarnation: it must stop and give up all that it owned.
    #[error("this node was declared dead or replaced by a newer incarnation")]
    Fenced,
    /// No connection in time, connection lost, database busy or shutting down; may be tried again.
    #[error("database unavailable: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// Stored bytes that cannot be what this program wrote.
    #[error("corrupt {what}: {detail}")]
    Corrupt { what: &'static str, detail: String },
    /// A value that the database does not take: a text with U+0000, a key that is too long for an index, a number out of range.
    #[error("cannot be stored: {0}")]
    Unstorable(String),
    /// A page cursor that this list did not hand out.
    #[error("not a cursor of this list")]
    Cursor,
    /// The database is not what this binary needs: address, migrations, roles, rights. An operator has to act.
    #[error("{0}")]
    Setup(String),
    #[error("database error: {0}")]
    Sql(#[source] sqlx::Error),
}

pub type Result<T, E = DbError> = std::result::Result<T, E>;

impl DbError {
    pub(super) fn corrupt(what: &'static str, detail: impl ToString) -> Self {
        Self::Corrupt {
            what,
            detail: detail.to_string(),
        }
    }
    /// As a database that cannot be reached.
    #[cfg(test)]
    pub(crate) fn from_outage() -> Self {
        Self::Unavailable(sqlx::Error::PoolTimedOut)
    }
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match &error {
            E::Database(known) if known.is_unique_violation() => Self::Duplicate(
                known
                    .constraint()
                    .map_or_else(|| known.message().to_owned(), str::to_owned),
            ),
            // Raised by the function `tenure_fence`.
            E::Database(known) if known.code().as_deref() == Some("TN001") => Self::Fenced,
            E::Database(known) if known.code().is_some_and(|code| is_transient_code(&code)) => {
                Self::Unavailable(error)
            }
            E::Database(known) if known.code().is_some_and(|code| is_unstorable(&code)) => {
                Self::Unstorable(known.message().to_owned())
            }
            E::PoolTimedOut
            | E::PoolClosed
            | E::WorkerCrashed
            | E::Io(_)
            | E::Tls(_)
            | E::BeginFailed
            | E::Protocol(_) => Self::Unavailable(error),
            _ => Self::Sql(error),
        }
    }
}

/// Codes of errors that pass without anything being changed in the statement or in the data.
///
/// PostgreSQL's have five characters: connection lost (08), out of resources such as disk, memory and connections (53), shutdown (57P),
/// trouble of the system below it such as a disk that cannot be written (58), cancelled by a timeout, ended while it was idle in a
/// transaction, serialization failure, deadlock, lock not available. SQLite's are numbers, whose low byte is the primary code.
fn is_transient_code(code: &str) -> bool {
    if code.len() == 5 {
        return matches!(code.get(..2), Some("08" | "53" | "58"))
            || code.starts_with("57P")
            || matches!(code, "57014" | "25P03" | "40001" | "40P01" | "55P03");
    }
    // SQLITE_BUSY, SQLITE_LOCKED, SQLITE_NOMEM, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN (no descriptor or no room for the file of the
    // shared memory), SQLITE_PROTOCOL (the locks of the write-ahead log were contended).
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 7 | 10 | 13 | 14 | 15))
}

/// PostgreSQL: a character that the encoding does not have, a text or a number that is out of range, an entry of an index that is too long.
fn is_unstorable(code: &str) -> bool {
    matches!(code, "22021" | "22P05" | "22001" | "22003" | "54000")
}

/// Why a batch of the journal writer was not committed; none of it is durable.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// These runs are not where the writer believes: they exist already, they have facts that it does not know of or lack some, or they
    /// are finished. Without them the batch can be tried again. Empty if it could not be found out which.
    #[error("stale append: runs {runs:?} are not where their writer believes")]
    Stale { runs: Vec<ExecutionId> },
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for CommitError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::is_transient_code;

    #[test]
    fn codes_of_what_passes_are_told_from_those_of_what_stays() {
        // The disk is full, memory, connections, an error of the disk, a deadlock; FULL, IOERR and its kinds, BUSY, CANTOPEN.
        for code in [
            "53100", "53000", "53200", "53300", "53400", "58030", "58000", "40P01", "08006",
            "57P03", "13", "10", "266", "522", "778", "1034", "3338", "4874", "5", "261", "517",
            "6", "14", "1038", "7",
        ] {
            assert!(is_transient_code(code), "{code}");
        }
        // A constraint, a zero character, a number out of range, a row too long for an index; CONSTRAINT and its kinds, CORRUPT, MISMATCH.
        for code in [
            "23505", "22021", "22003", "54000", "42501", "TN001", "19", "2067", "1555", "11", "20",
            "1", "8", "",
        ] {
            assert!(!is_transient_code(code), "{code}");
        }
    }
}
