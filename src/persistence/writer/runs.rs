//! Runs and their journals: what the appends of a batch come to, and how it is written in three statements.

use super::{Append, Failure, RunAppend, RunInsert, RunStatusChange, offers};
use crate::{
    domain::{EmployeeId, ExecutionId, OrgId},
    persistence::{
        RunStatus, body,
        db::Db,
        error::{DbError, Result},
        events, result_event, result_source,
        rows::{Column, Rows},
        tx::Inner,
        words::trigger_number,
    },
};
use bytes::Bytes;
use sqlx::FromRow;
use std::collections::{HashMap, HashSet};

/// All that a batch does to one run.
struct RunChange<'a> {
    org: OrgId,
    execution: ExecutionId,
    employee: EmployeeId,
    insert: Option<&'a RunInsert>,
    /// Facts that follow each other, normally one piece.
    pieces: Vec<(u32, Vec<&'a Bytes>)>,
    /// The last one.
    status: Option<&'a RunStatusChange>,
}

impl<'a> RunChange<'a> {
    fn add(&mut self, run: &'a RunAppend) {
        self.insert = self.insert.or(run.insert.as_ref());
        self.status = run.status.as_ref().or(self.status);
        if run.facts.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some((first, facts)) if *first as usize + facts.len() == run.first_seq as usize => {
                facts.extend(&run.facts)
            }
            _ => self
                .pieces
                .push((run.first_seq, run.facts.iter().collect())),
        }
    }
}

/// What a batch does to its runs, each once.
pub(super) struct RunChanges<'a> {
    runs: Vec<RunChange<'a>>,
    inserted: HashSet<ExecutionId>,
}

impl<'a> RunChanges<'a> {
    pub fn collect(live: &[&'a Append]) -> Self {
        let mut runs: Vec<RunChange<'a>> = Vec::with_capacity(live.len());
        let mut places: HashMap<ExecutionId, usize> = HashMap::with_capacity(live.len());
        for append in live {
            let Some(run) = &append.run else { continue };
            let place = *places.entry(run.execution).or_insert_with(|| {
                runs.push(RunChange {
                    org: append.org,
                    execution: run.execution,
                    employee: run.employee,
                    insert: None,
                    pieces: Vec::with_capacity(1),
                    status: None,
                });
                runs.len() - 1
            });
            runs[place].add(run);
        }
        let inserted = runs
            .iter()
            .filter(|run| run.insert.is_some())
            .map(|run| run.execution)
            .collect();
        Self { runs, inserted }
    }

    pub fn has_facts(&self) -> bool {
        self.runs.iter().any(|run| !run.pieces.is_empty())
    }

    /// Whether the run begins in this batch, so that no table can have rows of it.
    pub fn is_new(&self, run: uuid::Uuid) -> bool {
        self.inserted.contains(&ExecutionId::from_uuid(run))
    }

    pub async fn write(&self, inner: &mut Inner, position: Option<i64>) -> Result<(), Failure> {
        self.insert(inner).await.map_err(stale_if_duplicate)?;
        self.append(inner, position).await?;
        self.update(inner).await
    }

    /// A run that is finished in the batch that accepts it is one row with its last status.
    async fn insert(&self, inner: &mut Inner) -> Result<()> {
        let new: Vec<(&RunChange<'_>, &RunInsert)> = self
            .runs
            .iter()
            .filter_map(|run| Some((run, run.insert?)))
            .collect();
        let statuses = || new.iter().map(|(run, _)| run.status);
        let ends: Vec<Option<Finished>> = new
            .iter()
            .map(|(run, _)| Finished::of(run, run.status?))
            .collect();
        let mut columns = vec![
            (
                "org_id",
                Column::Uuid(new.iter().map(|(run, _)| run.org.uuid()).collect()),
            ),
            (
                "id",
                Column::Uuid(new.iter().map(|(run, _)| run.execution.uuid()).collect()),
            ),
            (
                "employee_id",
                Column::Uuid(new.iter().map(|(run, _)| run.employee.uuid()).collect()),
            ),
            (
                "accepted_us",
                Column::Long(
                    new.iter()
                        .map(|(_, insert)| insert.accepted.micros())
                        .collect(),
                ),
            ),
            (
                "finished_us",
                Column::MaybeLong(statuses().map(|status| status.and_then(finished)).collect()),
            ),
            (
                "version",
                Column::Int(new.iter().map(|(_, insert)| insert.version).collect()),
            ),
            (
                "status",
                Column::Short(
                    statuses()
                        .map(|status| {
                            status.map_or(RunStatus::Accepted, |status| status.status) as i16
                        })
                        .collect(),
                ),
            ),
            (
                "trigger_type",
                Column::Short(
                    new.iter()
                        .map(|(_, insert)| trigger_number(insert.trigger_type))
                        .collect(),
                ),
            ),
            (
                "source",
                Column::Text(
                    new.iter()
                        .map(|(_, insert)| insert.source.as_str())
                        .collect(),
                ),
            ),
            (
                "conversation_key",
                Column::MaybeText(
                    new.iter()
                        .map(|(_, insert)| insert.conversation_key.as_deref())
                        .collect(),
                ),
            ),
            (
                "waiting_on",
                Column::MaybeText(
                    statuses()
                        .map(|status| status?.waiting_on.as_deref())
                        .collect(),
                ),
            ),
            (
                "error",
                Column::MaybeText(statuses().map(|status| error_of(status?)).collect()),
            ),
        ];
        const NAMES: &str = "org_id, id, employee_id, accepted_us, finished_us, version, status, trigger_type, source, conversation_key, waiting_on, error";
        let insert = format!("INSERT INTO run ({NAMES}) SELECT {NAMES} FROM t");
        if ends.iter().all(Option::is_none) {
            return Rows::new(columns).execute(inner, &insert).await.map(drop);
        }
        columns.extend(offers::columns(ends.iter().map(Option::as_ref)));
        let (rows, offer) = (Rows::new(columns), offers::insert_offers());
        match inner {
            Inner::Postgres(_) => {
                let both = format!(", new AS ({insert}) {offer}");
                rows.execute(inner, &both).await.map(drop)
            }
            // It knows no statement within a statement, and is no round trip away.
            Inner::Sqlite(_) => {
                rows.execute(inner, &insert).await?;
                rows.execute(inner, &offer).await.map(drop)
            }
        }
    }

    /// One row a run. The primary key alone would let a row begin inside another one, for a row holds several facts; so a row must begin
    /// where the journal ends, or it is not written.
    async fn append(&self, inner: &mut Inner, position: Option<i64>) -> Result<(), Failure> {
        let pieces: Vec<(&RunChange<'_>, u32, &[&Bytes])> = self
            .runs
            .iter()
            .flat_map(|run| {
                run.pieces
                    .iter()
                    .map(move |(first, facts)| (run, *first, facts.as_slice()))
            })
            .collect();
        let bodies: Vec<Vec<u8>> = pieces
            .iter()
            .map(|(.., facts)| body::encode_facts(facts.iter().map(|fact| fact.as_ref())))
            .collect();
        let mut columns = vec![
            (
                "org_id",
                Column::Uuid(pieces.iter().map(|(run, ..)| run.org.uuid()).collect()),
            ),
            (
                "run_id",
                Column::Uuid(
                    pieces
                        .iter()
                        .map(|(run, ..)| run.execution.uuid())
                        .collect(),
                ),
            ),
            (
                "seq",
                Column::Int(pieces.iter().map(|(_, first, _)| *first as i32).collect()),
            ),
            (
                "count",
                Column::Int(
                    pieces
                        .iter()
                        .map(|(.., facts)| facts.len() as i32)
                        .collect(),
                ),
            ),
            (
                "body",
                Column::Bytes(bodies.iter().map(Vec::as_slice).collect()),
            ),
        ];
        let names = events::positioned(
            &mut columns,
            "org_id, run_id, seq, count, body",
            position,
            pieces.len(),
        );
        let statement = format!(
            "INSERT INTO journal ({names}) SELECT {names} FROM t
             WHERE t.seq = 0 OR t.seq = (SELECT j.seq + j.count FROM journal j WHERE j.run_id = t.run_id ORDER BY j.seq DESC LIMIT 1)"
        );
        let written = Rows::new(columns)
            .execute(inner, &statement)
            .await
            .map_err(stale_if_duplicate)?;
        if written == pieces.len() as u64 {
            Ok(())
        } else {
            Err(Failure::Stale)
        }
    }

    async fn update(&self, inner: &mut Inner) -> Result<(), Failure> {
        let mut changed: Vec<(&RunChange<'_>, &RunStatusChange)> = self
            .runs
            .iter()
            .filter(|run| run.insert.is_none())
            .filter_map(|run| Some((run, run.status?)))
            .collect();
        changed.sort_unstable_by_key(|(run, _)| run.execution);
        let ends: Vec<Option<Finished>> = changed
            .iter()
            .map(|(run, status)| Finished::of(run, status))
            .collect();
        let mut columns = vec![
            (
                "org_id",
                Column::Uuid(changed.iter().map(|(run, _)| run.org.uuid()).collect()),
            ),
            (
                "id",
                Column::Uuid(
                    changed
                        .iter()
                        .map(|(run, _)| run.execution.uuid())
                        .collect(),
                ),
            ),
            (
                "status",
                Column::Short(
                    changed
                        .iter()
                        .map(|(_, status)| status.status as i16)
                        .collect(),
                ),
            ),
            (
                "finished_us",
                Column::MaybeLong(changed.iter().map(|(_, status)| finished(status)).collect()),
            ),
            (
                "waiting_on",
                Column::MaybeText(
                    changed
                        .iter()
                        .map(|(_, status)| status.waiting_on.as_deref())
                        .collect(),
                ),
            ),
            (
                "error",
                Column::MaybeText(changed.iter().map(|(_, status)| error_of(status)).collect()),
            ),
        ];
        const UPDATE: &str = "UPDATE run SET status = t.status, finished_us = t.finished_us, waiting_on = t.waiting_on, error = t.error
             FROM t WHERE run.org_id = t.org_id AND run.id = t.id AND run.status < 3";
        let updated = if ends.iter().all(Option::is_none) {
            Rows::new(columns).execute(inner, UPDATE).await?
        } else {
            columns.push((
                "employee_id",
                Column::Uuid(changed.iter().map(|(run, _)| run.employee.uuid()).collect()),
            ));
            columns.extend(offers::columns(ends.iter().map(Option::as_ref)));
            let (rows, offer) = (Rows::new(columns), offers::insert_offers());
            match inner {
                Inner::Postgres(_) => {
                    let both = format!(
                        ", changed AS ({UPDATE} RETURNING run.id), offered AS ({offer}) SELECT count(*) FROM changed"
                    );
                    let counts: Vec<(i64,)> = rows.fetch(inner, &both).await?;
                    counts.first().map_or(0, |(count,)| count.unsigned_abs())
                }
                Inner::Sqlite(_) => {
                    let updated = rows.execute(inner, UPDATE).await?;
                    rows.execute(inner, &offer).await?;
                    updated
                }
            }
        };
        if updated == changed.len() as u64 {
            Ok(())
        } else {
            Err(Failure::Stale)
        }
    }
}

/// A run that has ended, as others hear of it.
pub(super) struct Finished {
    /// Whose event it is.
    pub source: String,
    pub event: &'static str,
}

impl Finished {
    fn of(run: &RunChange<'_>, status: &RunStatusChange) -> Option<Self> {
        Some(Self {
            event: result_event(status.status)?,
            source: result_source(run.employee),
        })
    }
}

/// What did not succeed always has an error, by which it is found.
fn error_of(status: &RunStatusChange) -> Option<&str> {
    let failed = matches!(status.status, RunStatus::Failed | RunStatus::Cancelled);
    status.error.as_deref().or(failed.then_some("null"))
}

fn finished(status: &RunStatusChange) -> Option<i64> {
    status.status.is_finished().then(|| status.at.micros())
}

fn stale_if_duplicate(error: DbError) -> Failure {
    match error {
        DbError::Duplicate(_) => Failure::Stale,
        other => other.into(),
    }
}

#[derive(FromRow)]
struct Stand {
    id: ExecutionId,
    status: RunStatus,
    ends: i64,
}

/// The runs of a batch that are not where it believes.
pub(super) async fn stale(db: &Db, batch: &[Append]) -> Result<Vec<ExecutionId>> {
    let live: Vec<&Append> = batch.iter().collect();
    let changes = RunChanges::collect(&live);
    let mut tx = db.begin_system_read("stale append").await?;
    let stands: Vec<Stand> = Rows::new(vec![
        ("org_id", Column::Uuid(changes.runs.iter().map(|run| run.org.uuid()).collect())),
        ("id", Column::Uuid(changes.runs.iter().map(|run| run.execution.uuid()).collect())),
    ])
    .fetch(
        &mut tx.inner,
        "SELECT run.id, run.status, CAST(coalesce((SELECT j.seq + j.count FROM journal j WHERE j.run_id = run.id
             ORDER BY j.seq DESC LIMIT 1), 0) AS bigint) AS ends
         FROM t JOIN run ON run.org_id = t.org_id AND run.id = t.id",
    )
    .await?;
    let stands: HashMap<ExecutionId, Stand> =
        stands.into_iter().map(|stand| (stand.id, stand)).collect();
    Ok(changes
        .runs
        .iter()
        .filter(|run| is_stale(run, stands.get(&run.execution)))
        .map(|run| run.execution)
        .collect())
}

fn is_stale(run: &RunChange<'_>, stand: Option<&Stand>) -> bool {
    let scattered = run.pieces.len() > 1;
    let elsewhere = |ends: i64| {
        run.pieces
            .first()
            .is_some_and(|(first, _)| i64::from(*first) != ends)
    };
    scattered
        || match stand {
            None => run.insert.is_none() || elsewhere(0),
            Some(stand) => {
                run.insert.is_some()
                    || elsewhere(stand.ends)
                    || (run.status.is_some() && stand.status.is_finished())
            }
        }
}
