//! Recurring triggers and the account of every time that one was due.

use super::{
    error::Result,
    page::{Page, PageRequest, uuid_key},
    rows::{Column, Rows},
    tx::{SystemTx, Tx, on_tx, one_row},
    waits::FIRST,
    words::words,
};
use crate::domain::{EmployeeId, ExecutionId, Misfire, OrgId, Overlap, ScheduleId, Timestamp};
use sqlx::FromRow;
use uuid::Uuid;

words! {
    ScheduleStatus { Active = "active", Paused = "paused" }
}

words! {
    /// What became of a time at which a schedule was due.
    FireOutcome {
        Fired = "fired",
        /// Its last run was not finished.
        SkippedOverlap = "skipped_overlap",
        /// Nothing ran at the time, and the schedule does not catch up.
        SkippedMisfire = "skipped_misfire",
        /// Nothing ran at the time; one later run stands for it.
        Collapsed = "collapsed",
        /// The employee did not take it: queue full, quarantined, dismissed.
        Refused = "refused",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ScheduleRow {
    pub org_id: OrgId,
    pub id: ScheduleId,
    pub employee_id: EmployeeId,
    /// Unique for the employee.
    pub name: String,
    /// Empty if `recurrence` says when.
    pub cron: String,
    /// JSON of a `RecurrenceSpec`; absent: `cron` says all.
    pub recurrence: Option<String>,
    /// The org's calendar that the recurrence names.
    pub calendar: Option<String>,
    pub time_zone: String,
    pub overlap: Overlap,
    pub misfire: Misfire,
    /// JSON.
    pub payload: String,
    pub status: ScheduleStatus,
    /// `None` if it is never due again.
    #[sqlx(rename = "next_due_us")]
    pub next_due: Option<Timestamp>,
    #[sqlx(rename = "last_due_us")]
    pub last_due: Option<Timestamp>,
    pub last_run_id: Option<ExecutionId>,
    /// When it is tried again, if it was due and could not be fired.
    #[sqlx(rename = "retry_us")]
    pub retry: Option<Timestamp>,
    /// How often it could not be fired since it was last.
    pub failures: i32,
}

impl ScheduleRow {
    /// When it is to be looked at; `None` if never.
    pub fn attempt(&self) -> Option<Timestamp> {
        self.next_due.map(|due| self.retry.unwrap_or(due))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct ScheduleFireRow {
    pub org_id: OrgId,
    pub schedule_id: ScheduleId,
    #[sqlx(rename = "due_us")]
    pub due: Timestamp,
    pub outcome: FireOutcome,
    pub run_id: Option<ExecutionId>,
    #[sqlx(rename = "at_us")]
    pub at: Timestamp,
    /// How many due times it stands for, from `due` on; more than one only for what a long outage left behind.
    pub times: i64,
}

macro_rules! schedule_columns {
    () => {
        "org_id, id, employee_id, name, cron, recurrence, calendar, time_zone, overlap, misfire, payload, status, next_due_us, last_due_us, last_run_id, retry_us, failures"
    };
}

/// Makes these the schedules of the employee. One whose name is known keeps its id and what it did; the others go. A time that is due at
/// `at` and was not fired yet stays due, as long as the calendar is the same: a new version accounts for nothing.
pub(super) async fn schedules_replace(
    tx: &mut Tx,
    employee: EmployeeId,
    schedules: &[ScheduleRow],
    at: Timestamp,
) -> Result<()> {
    let org = tx.org();
    let all = || schedules.iter();
    let overlap = |one: &ScheduleRow| {
        if one.overlap == Overlap::Skip {
            "skip"
        } else {
            "enqueue"
        }
    };
    let misfire = |one: &ScheduleRow| {
        if one.misfire == Misfire::RunOnce {
            "run_once"
        } else {
            "skip"
        }
    };
    let stale: Vec<ScheduleId> = on_tx!(tx, |conn| {
        let mut query = sqlx::QueryBuilder::<DB>::new("DELETE FROM schedule WHERE org_id = ");
        query
            .push_bind(org)
            .push(" AND employee_id = ")
            .push_bind(employee);
        for schedule in schedules {
            query.push(" AND name <> ").push_bind(&schedule.name);
        }
        query
            .push(" RETURNING id")
            .build_query_scalar()
            .fetch_all(conn)
            .await
    })?;
    tracing::debug!(%employee, gone = stale.len(), kept = schedules.len(), "schedules replaced");
    let columns = vec![
        ("org_id", Column::Uuid(vec![org.uuid(); schedules.len()])),
        ("id", Column::Uuid(all().map(|one| one.id.uuid()).collect())),
        (
            "employee_id",
            Column::Uuid(vec![employee.uuid(); schedules.len()]),
        ),
        (
            "name",
            Column::Text(all().map(|one| one.name.as_str()).collect()),
        ),
        (
            "cron",
            Column::Text(all().map(|one| one.cron.as_str()).collect()),
        ),
        (
            "recurrence",
            Column::MaybeText(all().map(|one| one.recurrence.as_deref()).collect()),
        ),
        (
            "calendar",
            Column::MaybeText(all().map(|one| one.calendar.as_deref()).collect()),
        ),
        (
            "time_zone",
            Column::Text(all().map(|one| one.time_zone.as_str()).collect()),
        ),
        ("overlap", Column::Text(all().map(overlap).collect())),
        ("misfire", Column::Text(all().map(misfire).collect())),
        (
            "payload",
            Column::Text(all().map(|one| one.payload.as_str()).collect()),
        ),
        (
            "status",
            Column::Text(all().map(|one| one.status.name()).collect()),
        ),
        (
            "next_due_us",
            Column::MaybeLong(
                all()
                    .map(|one| one.next_due.map(Timestamp::micros))
                    .collect(),
            ),
        ),
    ];
    const NAMES: &str = "org_id, id, employee_id, name, cron, recurrence, calendar, time_zone, overlap, misfire, payload, status, next_due_us";
    let statement = format!(
        "INSERT INTO schedule ({NAMES}) SELECT {NAMES} FROM t WHERE true
         ON CONFLICT (employee_id, name) DO UPDATE SET cron = excluded.cron, recurrence = excluded.recurrence, calendar = excluded.calendar,
             time_zone = excluded.time_zone, overlap = excluded.overlap, retry_us = NULL, failures = 0, misfire = excluded.misfire, payload = excluded.payload,
             next_due_us = CASE
                 WHEN schedule.status = 'active' AND schedule.next_due_us <= {now} AND schedule.cron = excluded.cron
                     AND schedule.recurrence IS NOT DISTINCT FROM excluded.recurrence AND schedule.calendar IS NOT DISTINCT FROM excluded.calendar
                     AND schedule.time_zone = excluded.time_zone
                 THEN schedule.next_due_us ELSE excluded.next_due_us END",
        now = at.micros()
    );
    Rows::new(columns)
        .execute(&mut tx.inner, &statement)
        .await
        .map(drop)
}

pub async fn schedule_get(tx: &mut Tx, schedule: ScheduleId) -> Result<Option<ScheduleRow>> {
    let org = tx.org();
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedule WHERE org_id = $1 AND id = $2"
    ))
    .bind(org)
    .bind(schedule)
    .fetch_optional(conn)
    .await)?)
}

/// Those of one employee, or of the whole org, in the order of their ids.
pub async fn schedule_list(
    tx: &mut Tx,
    employee: Option<EmployeeId>,
    request: &PageRequest,
) -> Result<Page<ScheduleRow>> {
    let (org, after) = (tx.org(), request.after_uuid()?.unwrap_or_default());
    let rows = on_tx!(tx, |conn| {
        let mut query = sqlx::QueryBuilder::<DB>::new(concat!(
            "SELECT ",
            schedule_columns!(),
            " FROM schedule WHERE org_id = "
        ));
        query.push_bind(org).push(" AND id > ").push_bind(after);
        if let Some(employee) = employee {
            query.push(" AND employee_id = ").push_bind(employee);
        }
        query.push(" ORDER BY id LIMIT ").push_bind(request.fetch());
        query.build_query_as().fetch_all(conn).await
    })?;
    Ok(request.page(rows, |schedule: &ScheduleRow| uuid_key(schedule.id.uuid())))
}

/// Takes a schedule out of service, or puts it back with the time when it is next due.
///
/// # Errors
/// `NotFound`.
pub async fn schedule_set_status(
    tx: &mut Tx,
    schedule: ScheduleId,
    status: ScheduleStatus,
    next_due: Option<Timestamp>,
) -> Result<()> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE schedule SET status = $3, next_due_us = $4, retry_us = NULL, failures = 0 WHERE org_id = $1 AND id = $2"
    )
    .bind(org)
    .bind(schedule)
    .bind(status)
    .bind(next_due)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    one_row(changed, "schedule")
}

/// Active schedules of all orgs that are to be looked at by `until` ([`ScheduleRow::attempt`]), the earliest first, from after `after` in
/// that order; those of employees that are not dismissed.
pub async fn schedules_due(
    tx: &mut SystemTx,
    until: Timestamp,
    after: Option<(Timestamp, ScheduleId)>,
    limit: u32,
) -> Result<Vec<ScheduleRow>> {
    let (due, id) = after.map_or((FIRST, Uuid::nil()), |(due, id)| (due, id.uuid()));
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedule WHERE status = 'active' AND coalesce(retry_us, next_due_us) <= $1 AND (coalesce(retry_us, next_due_us), id) > ($2, $3)
           AND EXISTS (SELECT 1 FROM employee e WHERE e.id = schedule.employee_id AND e.status <> 'dismissed')
          ORDER BY coalesce(retry_us, next_due_us), id LIMIT $4"
    ))
    .bind(until)
    .bind(due)
    .bind(id)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    })?)
}

/// Lets a schedule that was due and could not be fired wait until `retry`. False if it is not due at `due` any more, or is gone.
#[must_use = "a schedule that was changed meanwhile does not wait"]
pub async fn schedule_defer(
    tx: &mut Tx,
    schedule: ScheduleId,
    due: Timestamp,
    retry: Timestamp,
    failures: i32,
) -> Result<bool> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE schedule SET retry_us = $4, failures = $5 WHERE org_id = $1 AND id = $2 AND next_due_us = $3"
    )
    .bind(org)
    .bind(schedule)
    .bind(due)
    .bind(retry)
    .bind(failures)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Schedules of the org that name a calendar, by id, from after `after`.
pub async fn schedules_of_calendar(
    tx: &mut Tx,
    calendar: &str,
    after: Option<ScheduleId>,
    limit: u32,
) -> Result<Vec<ScheduleRow>> {
    let (org, after) = (tx.org(), after.map_or(Uuid::nil(), ScheduleId::uuid));
    Ok(on_tx!(tx, |conn| sqlx::query_as(concat!(
        "SELECT ",
        schedule_columns!(),
        " FROM schedule WHERE org_id = $1 AND calendar = $2 AND id > $3 ORDER BY id LIMIT $4"
    ))
    .bind(org)
    .bind(calendar)
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await)?)
}

/// Says anew when a schedule is next due, if it still is due when it was; else false.
#[must_use = "a schedule that was fired meanwhile has its next time already"]
pub async fn schedule_set_next(
    tx: &mut Tx,
    schedule: ScheduleId,
    due: Option<Timestamp>,
    next_due: Option<Timestamp>,
) -> Result<bool> {
    let org = tx.org();
    let changed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE schedule SET next_due_us = $4, retry_us = NULL, failures = 0
         WHERE org_id = $1 AND id = $2 AND status = 'active' AND next_due_us IS NOT DISTINCT FROM $3"
    )
    .bind(org)
    .bind(schedule)
    .bind(due)
    .bind(next_due)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// When the next schedule of all is due or tried again.
pub async fn schedules_next(tx: &mut SystemTx) -> Result<Option<Timestamp>> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(
        "SELECT min(coalesce(retry_us, next_due_us)) FROM schedule WHERE status = 'active'"
    )
    .fetch_one(conn)
    .await)?)
}

/// The account of a schedule, the latest first, before `before` if given.
pub async fn schedule_fires(
    tx: &mut Tx,
    schedule: ScheduleId,
    before: Option<Timestamp>,
    limit: u32,
) -> Result<Vec<ScheduleFireRow>> {
    let (org, before) = (tx.org(), before.unwrap_or(Timestamp::from_micros(i64::MAX)));
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        "SELECT org_id, schedule_id, due_us, outcome, run_id, at_us, times FROM schedule_fire
         WHERE org_id = $1 AND schedule_id = $2 AND due_us < $3 ORDER BY due_us DESC LIMIT $4"
    )
    .bind(org)
    .bind(schedule)
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await)?)
}
