//! Internal events: one employee's result as another's trigger. The source is `employee:emp_…`, the event `run.completed`, `run.failed`
//! or `run.cancelled`.
//!
//! Invariant: the end of a run that somebody listens to is offered once at least, over restarts and deaths of nodes. A timer row is written with
//! the end, in one commit, if the database has a listener then; the row goes when everybody has taken the result or refused it for good. What
//! is offered twice is a duplicate by its key. The node at which the run ended offers at once; `timers` reads the rows that are left.

use super::{append::new_append, core::Core, inspect, router};
use crate::{
    domain::{EmployeeId, ExecutionId, OrgId, Timestamp, TriggerType},
    graph::Outcome,
    persistence::{
        DbError, OFFER_KEY, RunStatus, TimerChange, TimerRow, result_event, result_source,
        timers_postpone,
    },
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Results that are offered at once: each reads a run and asks its listeners.
const AT_ONCE: usize = 16;
/// When what could not be taken is offered again: at first, and at most. The longest is for what cannot be read.
const AGAIN_FIRST: Duration = Duration::from_secs(5);
const AGAIN_LAST: Duration = Duration::from_secs(60);
const BROKEN_LAST: Duration = Duration::from_secs(3_600);

fn event_of(
    employee: EmployeeId,
    execution: ExecutionId,
    outcome: &Outcome,
) -> (&'static str, Value) {
    let status = match outcome {
        Outcome::Completed { .. } => RunStatus::Completed,
        Outcome::Failed { .. } => RunStatus::Failed,
        Outcome::Cancelled { .. } => RunStatus::Cancelled,
    };
    let event = result_event(status).expect("of a run that has ended");
    let (result, error) = match outcome {
        Outcome::Completed { result } => ((**result).clone(), Value::Null),
        Outcome::Failed { error } => (Value::Null, json!(error)),
        Outcome::Cancelled { reason, .. } => (Value::Null, json!(reason)),
    };
    (
        event,
        json!({"employee_id": employee, "execution_id": execution, "status": status.name(), "result": result, "error": error}),
    )
}

/// What came of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// Everybody has it or does not want it; its row is being deleted.
    Settled,
    /// Somebody may take it later.
    NotYet,
    /// It could not be read.
    Broken,
}

/// Offers the end of a run to whoever listens, and deletes the row when everybody has it.
pub async fn offer(
    core: &Core,
    org: OrgId,
    employee: EmployeeId,
    execution: ExecutionId,
) -> Offered {
    let outcome = match inspect::outcome(core, org, execution).await {
        Ok(Some(outcome)) => outcome,
        // The row is written with the end, so the run was deleted since.
        Ok(None) => {
            settle(core, org, execution);
            return Offered::Settled;
        }
        Err(error) => {
            tracing::warn!(%execution, %error, "result could not be read, it is offered again");
            return Offered::Broken;
        }
    };
    let (event, payload) = event_of(employee, execution, &outcome);
    let event = router::Event {
        kind: TriggerType::InternalEvent,
        source: result_source(employee),
        aliases: Vec::new(),
        event: Some(event.into()),
        payload: Arc::new(payload),
        key: Some(execution.to_string()),
        key_from: router::KeyFrom::System,
        conversation: None,
    };
    match router::route(core, org, event).await {
        Ok(routed) if routed.refused.iter().any(|refused| refused.transient) => Offered::NotYet,
        Ok(_) => {
            settle(core, org, execution);
            Offered::Settled
        }
        Err(error) => {
            tracing::warn!(%execution, %error, "result could not be offered, it is tried again");
            Offered::NotYet
        }
    }
}

fn settle(core: &Core, org: OrgId, execution: ExecutionId) {
    let mut append = new_append(org);
    append.timers.push(TimerChange::Clear {
        owner: execution.uuid(),
        key: OFFER_KEY.into(),
    });
    // If the process ends before, it is offered once more, and known.
    core.journal
        .submit(Some(execution), append, Box::new(|_| {}));
}

/// Offers what is left over of earlier attempts, and puts off what nobody can take yet, each for longer than the last time, so that it holds
/// back nothing else.
///
/// # Errors
/// If they could not be put off; then they come again at once.
pub async fn offer_again(core: &Core, rows: Vec<TimerRow>) -> Result<(), DbError> {
    let offered = futures::stream::iter(rows).map(|row| async move {
        let execution = ExecutionId::from_uuid(row.owner);
        let offered = offer(core, row.org_id, row.employee_id, execution).await;
        (row, offered)
    });
    let now = || core.clock.now();
    let left: Vec<(TimerRow, Timestamp)> = offered
        .buffer_unordered(AT_ONCE)
        .filter_map(|(row, offered)| async move {
            let last = match offered {
                Offered::Settled => return None,
                Offered::NotYet => AGAIN_LAST,
                Offered::Broken => BROKEN_LAST,
            };
            let later = now().after(back_off(row.tries, AGAIN_FIRST, last));
            Some((row, later))
        })
        .collect()
        .await;
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<(&TimerRow, Timestamp)> = left.iter().map(|(row, later)| (row, *later)).collect();
    let mut tx = core
        .db
        .begin_system("results that nobody takes yet")
        .await?;
    timers_postpone(&mut tx, &left).await?;
    tx.commit().await
}

/// How long something is put off that was tried in vain so often: twice as long each time.
pub fn back_off(tries: i32, first: Duration, last: Duration) -> Duration {
    let doublings = tries.clamp(0, 20).unsigned_abs();
    first.saturating_mul(1 << doublings).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_in_vain_is_put_off_for_longer_and_longer() {
        let seconds = |tries| back_off(tries, AGAIN_FIRST, AGAIN_LAST).as_secs();
        assert_eq!(
            [-1, 0, 1, 2, 3, 4, 20, i32::MAX].map(seconds),
            [5, 5, 10, 20, 40, 60, 60, 60]
        );
    }
}
