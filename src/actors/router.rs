//! The supervisor route: finds the employees and skills that an event concerns, and the runs that wait for it.

use super::{
    core::Core,
    employee::{Accepted, EmployeeError, EventMessage, Message, TriggerMessage},
};
use crate::{
    domain::{EmployeeId, ExecutionId, OrgId, Trigger, TriggerType},
    graph::{EventExpr, StepId},
    persistence::{DbError, SubscriptionRow, WaitRow, subscriptions_find, waits_find},
};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Something that happened and names no employee.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: TriggerType,
    /// Who says so, for example `hook:github/push` or `employee:emp_…`.
    pub source: String,
    /// Other names of the source, by which a subscription or a wait may mean it too.
    pub aliases: Vec<String>,
    /// What happened, for example `invoice.paid`.
    pub event: Option<String>,
    pub payload: Arc<Value>,
    /// The same event is never taken twice.
    pub key: Option<String>,
}

impl Event {
    fn sources(&self) -> impl Iterator<Item = &str> {
        [self.source.as_str()]
            .into_iter()
            .chain(self.aliases.iter().map(String::as_str))
    }
}

/// What became of an event.
#[derive(Debug, Default)]
pub struct Routed {
    pub started: Vec<Started>,
    /// Runs that waited for it and go on.
    pub resumed: Vec<ExecutionId>,
    pub refused: Vec<Refused>,
}

#[derive(Debug)]
pub struct Started {
    pub employee: EmployeeId,
    pub skill: Option<String>,
    pub accepted: Accepted,
}

#[derive(Debug)]
pub struct Refused {
    pub employee: EmployeeId,
    pub reason: String,
    /// It may be taken if it is sent again.
    pub transient: bool,
}

/// Hands an event to everybody whom it concerns; returns when each of them has it durably.
///
/// # Errors
/// If subscriptions could not be read; nobody was told.
pub async fn route(core: &Core, org: OrgId, event: Event) -> Result<Routed, DbError> {
    let (subscriptions, waits) = {
        let mut tx = core.db.begin_read(org).await?;
        let mut subscriptions: Vec<SubscriptionRow> = Vec::new();
        for source in event.sources() {
            for row in subscriptions_find(&mut tx, source, event.event.as_deref()).await? {
                // A pattern may fit two names of one source; it is one subscription still.
                if !subscriptions.contains(&row) {
                    subscriptions.push(row);
                }
            }
        }
        let waits = match &event.event {
            Some(name) => waits_find(&mut tx, name).await?,
            None => Vec::new(),
        };
        (subscriptions, waits)
    };
    let trigger = Trigger {
        kind: event.kind,
        payload: event.payload.clone(),
        source: event.source.clone(),
    };
    let mut routed = Routed::default();
    let told = subscriptions
        .into_iter()
        .filter(|row| concerns(row, &trigger))
        .map(|row| start(core, org, row, &trigger, &event));
    for outcome in futures::future::join_all(told).await {
        match outcome {
            Ok(started) => routed.started.push(started),
            Err(refused) => routed.refused.push(refused),
        }
    }
    for wait in waits.into_iter().filter(|wait| is_waited_for(wait, &event)) {
        match resume(core, org, &wait, &event).await {
            Ok(()) => routed.resumed.push(wait.run_id),
            // It was decided, expired or taken by the same event a moment ago.
            Err(EmployeeError::NotPending) => {}
            Err(error) => routed.refused.push(refusal(wait.employee_id, &error)),
        }
    }
    Ok(routed)
}

/// Whether the subscription's condition holds. One that does not compile any more does not.
fn concerns(row: &SubscriptionRow, trigger: &Trigger) -> bool {
    row.when
        .as_deref()
        .is_none_or(|when| EventExpr::compile(when).is_ok_and(|when| when.holds(trigger)))
}

fn conversation(row: &SubscriptionRow, trigger: &Trigger) -> Option<String> {
    let value = EventExpr::compile(row.conversation_key.as_deref()?)
        .ok()?
        .evaluate(trigger)
        .ok()?;
    match value {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

async fn start(
    core: &Core,
    org: OrgId,
    row: SubscriptionRow,
    trigger: &Trigger,
    event: &Event,
) -> Result<Started, Refused> {
    let conversation = conversation(&row, trigger);
    let (reply, answer) = oneshot::channel();
    let message = TriggerMessage {
        trigger: trigger.clone(),
        conversation,
        skill: row.skill.clone(),
        // Per subscription, since one event may concern two skills of one employee.
        dedupe: event.key.clone().map(|key| {
            (
                format!("{}>{}#{}", event.source, row.employee_id, row.position),
                key,
            )
        }),
        reply,
        watcher: None,
    };
    core.host()
        .tell(org, row.employee_id, Message::Trigger(Box::new(message)));
    match answer.await.unwrap_or(Err(EmployeeError::Stopped)) {
        Ok(accepted) => Ok(Started {
            employee: row.employee_id,
            skill: row.skill,
            accepted,
        }),
        Err(error) => Err(refusal(row.employee_id, &error)),
    }
}

fn refusal(employee: EmployeeId, error: &EmployeeError) -> Refused {
    let transient = matches!(
        error,
        EmployeeError::Overloaded
            | EmployeeError::QueueFull
            | EmployeeError::Journal(_)
            | EmployeeError::NotWoken(_)
            | EmployeeError::Stopped
    );
    Refused {
        employee,
        reason: error.to_string(),
        transient,
    }
}

/// Source as in a subscription, and equality of the fields that the wait names.
fn is_waited_for(wait: &WaitRow, event: &Event) -> bool {
    let source_fits = wait
        .source
        .as_deref()
        .is_none_or(|wanted| match wanted.strip_suffix('*') {
            Some(start) => event.sources().any(|source| source.starts_with(start)),
            None => event.sources().any(|source| source == wanted),
        });
    let matches: Vec<(String, Value)> = serde_json::from_str(&wait.matches).unwrap_or_default();
    source_fits
        && matches
            .iter()
            .all(|(pointer, value)| event.payload.pointer(pointer) == Some(value))
}

async fn resume(
    core: &Core,
    org: OrgId,
    wait: &WaitRow,
    event: &Event,
) -> Result<(), EmployeeError> {
    let step: StepId = wait.step.parse().map_err(|_| EmployeeError::NotPending)?;
    let (reply, answer) = oneshot::channel();
    let message = EventMessage {
        execution: wait.run_id,
        step,
        payload: event.payload.clone(),
        source: event.source.clone(),
        reply,
    };
    core.host()
        .tell(org, wait.employee_id, Message::Event(Box::new(message)));
    answer.await.unwrap_or(Err(EmployeeError::Stopped))
}
