//! Fires one schedule that is due, or says when it is tried again.

use super::super::{
    append::new_append,
    core::Core,
    employee::{Accepted, EmployeeError, Message as EmployeeMessage, TriggerKey, TriggerMessage},
};
use super::plan::plan_fire;
use crate::{
    domain::{
        ExecutionId, Overlap, Timestamp, Trigger, TriggerType,
        recurrence::{Due, Recurrence, RecurrenceError, RecurrenceSpec, WorkingCalendar},
    },
    persistence::{
        DbError, FireOutcome, ScheduleAdvance, ScheduleFireRow, ScheduleRow, Tx, calendar_get,
        run_get, schedule_defer,
    },
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Due times that get a row each; older ones of a long outage are summed up in the first.
const ACCOUNTED_MAX: usize = 100;
/// How long firing one schedule may take: longer than an employee is looked for over nodes.
const FIRE_TIME: Duration = Duration::from_secs(30);
/// After the first failure it is tried again so much later, then twice as late each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(600);
/// A span whose due times are counted on a thread where it may take a while.
const LONG: Duration = Duration::from_secs(86_400);

#[derive(Debug, thiserror::Error)]
pub enum FireError {
    #[error("its recurrence cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Recurrence(#[from] RecurrenceError),
    #[error("there is no calendar `{0}`")]
    NoCalendar(String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Employee(#[from] EmployeeError),
    #[error("its employee did not answer within {} s", FIRE_TIME.as_secs())]
    TookTooLong,
    #[error("its due times could not be counted")]
    Counting(#[from] tokio::task::JoinError),
}

/// What a stored schedule says about when.
///
/// # Errors
/// It was written by a newer or a broken program.
pub fn spec_of(schedule: &ScheduleRow) -> Result<RecurrenceSpec, serde_json::Error> {
    match &schedule.recurrence {
        Some(json) => serde_json::from_str(json),
        None => Ok(RecurrenceSpec::cron(schedule.cron.as_str())),
    }
}

/// The recurrence of a stored schedule, with the calendar that it names.
///
/// # Errors
/// It cannot be read or is wrong, its calendar is not there, the database does not answer.
pub async fn recurrence_of(tx: &mut Tx, schedule: &ScheduleRow) -> Result<Recurrence, FireError> {
    let spec = spec_of(schedule)?;
    let calendar = match &spec.calendar {
        None => Arc::default(),
        Some(name) => {
            let row = calendar_get(tx, name).await?;
            let row = row.ok_or_else(|| FireError::NoCalendar(name.clone()))?;
            Arc::new(serde_json::from_str::<WorkingCalendar>(&row.body)?)
        }
    };
    Ok(Recurrence::parse(&spec, &schedule.time_zone, calendar)?)
}

pub async fn fire_or_defer(core: &Core, schedule: &ScheduleRow) {
    let fired = tokio::time::timeout(FIRE_TIME, fire(core, schedule)).await;
    let Err(error) = fired.unwrap_or(Err(FireError::TookTooLong)) else {
        return;
    };
    let failures = schedule.failures.saturating_add(1);
    let pause = retry_after(failures);
    tracing::warn!(
        schedule = %schedule.id, %error, failures, retry_in_ms = pause.as_millis() as u64,
        "schedule could not be fired, it is tried again"
    );
    if let Err(error) = defer(core, schedule, failures, pause).await {
        tracing::warn!(schedule = %schedule.id, %error, "that a schedule waits could not be stored");
        // As long as the database is away nothing is looked at either.
        tokio::time::sleep(RETRY_FIRST).await;
    }
}

async fn defer(
    core: &Core,
    schedule: &ScheduleRow,
    failures: i32,
    pause: Duration,
) -> Result<(), DbError> {
    let Some(due) = schedule.next_due else {
        return Ok(());
    };
    let mut tx = core.db.begin(schedule.org_id).await?;
    let retry = core.clock.now().after(pause);
    let waits = schedule_defer(&mut tx, schedule.id, due, retry, failures).await?;
    tx.commit().await?;
    if !waits {
        tracing::debug!(schedule = %schedule.id, "schedule was changed while it was fired");
    }
    Ok(())
}

fn retry_after(failures: i32) -> Duration {
    let doubled = u32::try_from(failures - 1).unwrap_or(0).min(16);
    (RETRY_FIRST * 2_u32.pow(doubled)).min(RETRY_LAST)
}

async fn fire(core: &Core, schedule: &ScheduleRow) -> Result<(), FireError> {
    let Some(first) = schedule.next_due else {
        return Ok(());
    };
    let mut tx = core.db.begin_read(schedule.org_id).await?;
    let recurrence = Arc::new(recurrence_of(&mut tx, schedule).await?);
    let busy = match schedule.last_run_id {
        Some(run) if schedule.overlap == Overlap::Skip => run_get(&mut tx, run)
            .await?
            .is_some_and(|run| !run.status.is_finished()),
        _ => false,
    };
    drop(tx);
    let now = core.clock.now();
    let Some(due) = due_until(&recurrence, first, now).await? else {
        return Ok(());
    };
    let plan = plan_fire(&due, now, schedule.overlap, schedule.misfire, busy);
    let row = |due: Timestamp, times: u64, outcome, run_id| ScheduleFireRow {
        org_id: schedule.org_id,
        schedule_id: schedule.id,
        due,
        outcome,
        run_id,
        at: now,
        times: i64::try_from(times).unwrap_or(i64::MAX),
    };
    let skipped = plan.skipped.iter();
    let mut rows: Vec<ScheduleFireRow> = skipped
        .map(|one| row(one.at, one.times, one.outcome, None))
        .collect();
    let mut last_run = None;
    if let Some(at) = plan.fire {
        let (outcome, run) = fired(trigger(core, schedule, at).await)?;
        last_run = run;
        rows.push(row(at, 1, outcome, run));
    }
    let mut append = new_append(schedule.org_id);
    append.fires = rows;
    append.schedules.push(ScheduleAdvance {
        id: schedule.id,
        was_due: first,
        next_due: recurrence.next_after(now),
        last_due: due.last.last().copied().unwrap_or(first),
        last_run,
    });
    let written = core.journal.write(None, append).await;
    written.map_err(|error| FireError::Employee(error.into()))?;
    Ok(())
}

async fn due_until(
    recurrence: &Arc<Recurrence>,
    first: Timestamp,
    now: Timestamp,
) -> Result<Option<Due>, FireError> {
    if now.since(first) < LONG {
        return Ok(recurrence.due(first, now, ACCOUNTED_MAX));
    }
    let recurrence = recurrence.clone();
    let count = move || recurrence.due(first, now, ACCOUNTED_MAX);
    Ok(tokio::task::spawn_blocking(count).await?)
}

/// What became of a time, from what its employee answered.
fn fired(
    answer: Result<Accepted, EmployeeError>,
) -> Result<(FireOutcome, Option<ExecutionId>), EmployeeError> {
    match answer {
        Ok(accepted) => Ok((FireOutcome::Fired, Some(accepted.execution))),
        // Busy or full is a reason to skip; anything else is tried again.
        Err(EmployeeError::ConversationBusy | EmployeeError::QueueFull) => {
            Ok((FireOutcome::SkippedOverlap, None))
        }
        Err(
            EmployeeError::NotFound | EmployeeError::Dismissed | EmployeeError::UnknownSkill(_),
        ) => Ok((FireOutcome::SkippedMisfire, None)),
        Err(error) => Err(error),
    }
}

async fn trigger(
    core: &Core,
    schedule: &ScheduleRow,
    due: Timestamp,
) -> Result<Accepted, EmployeeError> {
    let said = json!({"name": schedule.name, "due": due});
    let payload = match serde_json::from_str::<Value>(&schedule.payload) {
        Ok(Value::Object(mut fields)) => {
            fields.entry("schedule").or_insert(said);
            Value::Object(fields)
        }
        _ => json!({"schedule": said}),
    };
    let source = format!("schedule:{}", schedule.id);
    let message = |reply| {
        EmployeeMessage::Trigger(Box::new(TriggerMessage {
            trigger: Trigger {
                kind: TriggerType::Schedule,
                payload: Arc::new(payload),
                source: source.clone(),
            },
            conversation: None,
            skill: None,
            dedupe: Some(TriggerKey::given(source, due.micros().to_string())),
            reply,
            watcher: None,
        }))
    };
    core.ask(schedule.org_id, schedule.employee_id, message)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_tried_later_each_time() {
        let pauses: Vec<u64> = [1, 2, 3, 9, 10, 11, 1_000, i32::MAX]
            .map(|failures| retry_after(failures).as_secs())
            .into();
        assert_eq!(pauses, [1, 2, 4, 256, 512, 600, 600, 600]);
    }
}
