//! Internal events: one employee's result as another's trigger. The source is `employee:emp_…`, the event `run.completed`, `run.failed`
//! or `run.cancelled`.
//!
//! Invariant: the end of a run that somebody listens to is offered once at least, over restarts, because a timer row that is due at
//! once is written with it; what is offered twice is a duplicate by its key.

use super::{append::new_append, core::Core, inspect, router};
use crate::{
    domain::{EmployeeId, ExecutionId, OrgId, Timestamp, TriggerType},
    graph::Outcome,
    persistence::TimerChange,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The key of the timer row that stands for an offer.
pub const OFFER_KEY: &str = "offer";

/// The row that makes sure that the end of `execution` is offered.
pub fn offer_timer(execution: ExecutionId, employee: EmployeeId, at: Timestamp) -> TimerChange {
    TimerChange::Set {
        owner: execution.uuid(),
        key: OFFER_KEY.into(),
        employee,
        due: at,
    }
}

fn event_of(
    employee: EmployeeId,
    execution: ExecutionId,
    outcome: &Outcome,
) -> (&'static str, Value) {
    let (event, status) = match outcome {
        Outcome::Completed { .. } => ("run.completed", "completed"),
        Outcome::Failed { .. } => ("run.failed", "failed"),
        Outcome::Cancelled { .. } => ("run.cancelled", "cancelled"),
    };
    let (result, error) = match outcome {
        Outcome::Completed { result } => ((**result).clone(), Value::Null),
        Outcome::Failed { error } => (Value::Null, json!(error)),
        Outcome::Cancelled { reason, .. } => (Value::Null, json!(reason)),
    };
    (
        event,
        json!({"employee_id": employee, "execution_id": execution, "status": status, "result": result, "error": error}),
    )
}

/// Offers the end of a run to whoever listens, and deletes the row when everybody has it.
pub async fn offer(core: &Core, org: OrgId, employee: EmployeeId, execution: ExecutionId) {
    let outcome = match inspect::outcome(core, org, execution).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%execution, %error, "result could not be offered, it is tried again");
            return;
        }
    };
    let (event, payload) = event_of(employee, execution, &outcome);
    let event = router::Event {
        kind: TriggerType::InternalEvent,
        source: format!("employee:{employee}"),
        aliases: Vec::new(),
        event: Some(event.into()),
        payload: Arc::new(payload),
        key: Some(execution.to_string()),
        key_from: router::KeyFrom::System,
        conversation: None,
    };
    match router::route(core, org, event).await {
        Ok(routed) if routed.refused.iter().any(|refused| refused.transient) => {}
        Ok(_) => {
            let mut append = new_append(org);
            append.timers.push(TimerChange::Clear {
                owner: execution.uuid(),
                key: OFFER_KEY.into(),
            });
            core.journal
                .submit(Some(execution), append, Box::new(|_| {}));
        }
        Err(error) => {
            tracing::warn!(%execution, %error, "result could not be offered, it is tried again")
        }
    }
}
