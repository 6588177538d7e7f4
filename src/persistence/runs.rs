//! What lists and filters know of runs, and the journals that hold everything else.

use super::{
    body,
    error::{DbError, Result},
    page::{Page, PageRequest, uuid_key},
    tx::{SystemTx, Tx, on_tx},
    words::column_type,
};
use crate::domain::{EmployeeId, ExecutionId, OrgId, Timestamp, TriggerType};
use sqlx::{FromRow, QueryBuilder};

/// Where a run stands; its number in the table is the variant's.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[repr(i16)]
pub enum RunStatus {
    Accepted = 0,
    Running = 1,
    Waiting = 2,
    Completed = 3,
    Failed = 4,
    Cancelled = 5,
}

impl RunStatus {
    pub const ALL: [RunStatus; 6] = [
        Self::Accepted,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == text)
    }
    pub fn is_finished(self) -> bool {
        self >= Self::Completed
    }
}
column_type!(RunStatus => i16, |status| *status as i16, |number| {
    RunStatus::ALL.into_iter().find(|status| *status as i16 == number).ok_or_else(|| format!("unknown run status {number}").into())
});

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct RunRow {
    pub org_id: OrgId,
    pub id: ExecutionId,
    pub employee_id: EmployeeId,
    pub version: i32,
    pub status: RunStatus,
    pub trigger_type: TriggerType,
    pub source: String,
    pub conversation_key: Option<String>,
    #[sqlx(rename = "accepted_us")]
    pub accepted: Timestamp,
    #[sqlx(rename = "finished_us")]
    pub finished: Option<Timestamp>,
    /// JSON, written by the runtime: what it waits for, in words.
    pub waiting_on: Option<String>,
    /// JSON, of a failed run.
    pub error: Option<String>,
}

macro_rules! run_columns {
    () => {
        "org_id, id, employee_id, version, status, trigger_type, source, conversation_key, accepted_us, finished_us, waiting_on, error"
    };
}
pub(super) use run_columns;

pub async fn run_get(tx: &mut Tx, run: ExecutionId) -> Result<Option<RunRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        run_columns!(),
        " FROM run WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(run)
    .fetch_optional(conn)
    .await)?)
}

/// Which runs a list shows; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub employee: Option<EmployeeId>,
    pub status: Option<RunStatus>,
    pub conversation_key: Option<String>,
    pub source: Option<String>,
}

/// Newest first: ids of runs ascend with time.
pub async fn run_list(
    tx: &mut Tx,
    filter: &RunFilter,
    request: &PageRequest,
) -> Result<Page<RunRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?);
    let rows = on_tx!(tx, |conn| {
        let mut query = QueryBuilder::<DB>::new(concat!(
            "SELECT ",
            run_columns!(),
            " FROM run WHERE org_id = "
        ));
        query.push_bind(org);
        if let Some(employee) = filter.employee {
            query.push(" AND employee_id = ").push_bind(employee);
        }
        if let Some(status) = filter.status {
            query.push(" AND status = ").push_bind(status);
        }
        if let Some(key) = &filter.conversation_key {
            query.push(" AND conversation_key = ").push_bind(key);
        }
        if let Some(source) = &filter.source {
            query.push(" AND source = ").push_bind(source);
        }
        if let Some(after) = after {
            query.push(" AND id < ").push_bind(after);
        }
        query
            .push(" ORDER BY id DESC LIMIT ")
            .push_bind(request.fetch());
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(request.page(rows, |run: &RunRow| uuid_key(run.id.uuid())))
}

/// How many runs of an employee are not finished.
pub async fn run_count_unfinished(tx: &mut SystemTx, employee: EmployeeId) -> Result<i64> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT count(*) FROM run WHERE employee_id = $1 AND finished_us IS NULL"
    )
    .bind(employee)
    .fetch_one(conn)
    .await)?)
}

/// The run that a trigger with this key was accepted as.
pub async fn dedupe_find(tx: &mut Tx, source: &str, key: &str) -> Result<Option<ExecutionId>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT run_id FROM dedupe WHERE org_id = $1 AND source = $2 AND key = $3"
    )
    .bind(org)
    .bind(source)
    .bind(key)
    .fetch_optional(conn)
    .await)?)
}

/// One fact of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalFact {
    /// Its place in the run's journal, from 0.
    pub seq: u32,
    /// The JSON that was appended.
    pub json: Box<str>,
}

#[derive(FromRow)]
pub(super) struct JournalRow {
    pub seq: i32,
    pub count: i32,
    pub body: Vec<u8>,
}

impl JournalRow {
    /// The facts from `from` on.
    pub fn facts(&self, from: u32) -> Result<impl Iterator<Item = JournalFact> + use<>> {
        let first =
            u32::try_from(self.seq).map_err(|error| DbError::corrupt("journal row", error))?;
        let facts = body::decode_facts(&self.body, self.count)?;
        Ok((first..)
            .zip(facts)
            .map(|(seq, json)| JournalFact { seq, json })
            .filter(move |fact| fact.seq >= from))
    }
}

/// The run's facts with `seq >= from`, at most `limit` of them (at least one if there is one); empty for another org's run.
///
/// # Errors
/// `Corrupt` if facts are missing between or the rows overlap.
pub async fn run_journal(
    tx: &mut Tx,
    run: ExecutionId,
    from: u32,
    limit: u32,
) -> Result<Vec<JournalFact>> {
    let org = tx.org();
    // Every row holds one fact or more, so that many rows are enough; the row that `from` lies inside may begin before it.
    let rows: Vec<JournalRow> = on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT seq, count, body FROM journal WHERE org_id = $1 AND run_id = $2 AND seq + count > $3 ORDER BY seq LIMIT $4"
    )
    .bind(org)
    .bind(run)
    .bind(i64::from(from))
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?;
    let mut facts = facts_of(&rows, from)?;
    facts.truncate(limit as usize);
    Ok(facts)
}

/// All facts of consecutive rows from `from` on.
pub(super) fn facts_of(rows: &[JournalRow], from: u32) -> Result<Vec<JournalFact>> {
    let mut facts: Vec<JournalFact> = Vec::new();
    for row in rows {
        facts.extend(row.facts(from)?);
    }
    let gap = facts.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1);
    match gap {
        Some(pair) => Err(DbError::corrupt(
            "journal",
            format!("fact {} follows fact {}", pair[1].seq, pair[0].seq),
        )),
        None => Ok(facts),
    }
}
