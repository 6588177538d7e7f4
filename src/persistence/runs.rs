//! What lists and filters know of runs, and the journals that hold everything else.

use super::{
    body,
    error::{DbError, Result},
    page::{Page, PageRequest, WINDOW, uuid_key, windowed_page},
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
/// What the end of a run is called as an event to which others listen; `None`: it has not ended.
pub fn result_event(status: RunStatus) -> Option<&'static str> {
    match status {
        RunStatus::Completed => Some("run.completed"),
        RunStatus::Failed => Some("run.failed"),
        RunStatus::Cancelled => Some("run.cancelled"),
        RunStatus::Accepted | RunStatus::Running | RunStatus::Waiting => None,
    }
}

/// The source of the events of an employee's runs.
pub fn result_source(employee: EmployeeId) -> String {
    format!("employee:{employee}")
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
///
/// One condition narrows what is read by an index, the one that fits least as a rule; a window bounds how many rows are asked for the rest.
/// No index has the status: changing from running to waiting is to change no index. What failed or was cancelled has an error.
pub async fn run_list(
    tx: &mut Tx,
    filter: &RunFilter,
    request: &PageRequest,
) -> Result<Page<RunRow>> {
    let by = Narrowing::of(filter);
    windowed_page!(
        tx,
        request,
        run_columns!(),
        "run",
        Descending,
        WINDOW,
        narrow: |query: &mut QueryBuilder<DB>| match by {
            Narrowing::Conversation(key) => {
                query
                    .push(" AND conversation_key IS NOT NULL AND substr(conversation_key, 1, 200) = substr(")
                    .push_bind(key)
                    .push(", 1, 200)");
            }
            Narrowing::Source(source) => {
                query
                    .push(" AND source <> 'api' AND substr(source, 1, 200) = substr(")
                    .push_bind(source)
                    .push(", 1, 200)");
            }
            Narrowing::Error => {
                query.push(" AND error IS NOT NULL");
            }
            Narrowing::Open => {
                query.push(" AND finished_us IS NULL");
            }
            Narrowing::Employee(employee) => {
                query.push(" AND employee_id = ").push_bind(employee);
            }
            Narrowing::Nothing => {}
        },
        filter: |query: &mut QueryBuilder<DB>| {
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
            // An index over the employee's runs, or over all, leaves nothing else to be asked.
            filter.status.is_some() || filter.conversation_key.is_some() || filter.source.is_some()
        },
        key: |run: &RunRow| uuid_key(run.id.uuid()),
    )
}

/// By which index a list of runs is read.
#[derive(Clone, Copy, Debug)]
enum Narrowing<'a> {
    Conversation(&'a str),
    Source(&'a str),
    Error,
    Open,
    Employee(EmployeeId),
    Nothing,
}

impl<'a> Narrowing<'a> {
    fn of(filter: &'a RunFilter) -> Self {
        // What a client triggers directly is the rule, and the only source that has no index.
        const COMMON: &str = "api";
        if let Some(key) = &filter.conversation_key {
            return Self::Conversation(key);
        }
        if let Some(source) = filter.source.as_deref().filter(|source| *source != COMMON) {
            return Self::Source(source);
        }
        match (filter.status, filter.employee) {
            (Some(RunStatus::Failed | RunStatus::Cancelled), _) => Self::Error,
            (Some(status), _) if !status.is_finished() => Self::Open,
            (_, Some(employee)) => Self::Employee(employee),
            (_, None) => Self::Nothing,
        }
    }
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
