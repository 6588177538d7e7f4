//! The supervisor route: finds the employees and skills that an event concerns, and the runs that wait for it.

use super::{
    core::Core,
    employee::{Accepted, EmployeeError, EventMessage, Message, TriggerMessage},
};
use crate::{
    domain::{EmployeeId, EventFilter, ExecutionId, OrgId, Trigger, TriggerType},
    graph::{EventExpr, StepId},
    persistence::{DbError, SubscriptionRow, WaitRow, subscriptions_find, waits_find},
};
use serde_json::Value;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

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
    /// The conversation that it is part of, for subscriptions that do not say.
    pub conversation: Option<String>,
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
    /// Subscriptions to the source that did not want this event.
    pub passed_over: usize,
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
    let audience = Audience::read(core, org, std::slice::from_ref(&event)).await?;
    Ok(audience.tell(core, &event).await)
}

/// Who listens to some events of an org, read once for all of them.
pub struct Audience {
    org: OrgId,
    listeners: Vec<Listener>,
    waits: HashMap<String, Vec<WaitRow>>,
}

/// A subscription that is ready to be asked.
struct Listener {
    row: SubscriptionRow,
    filter: EventFilter,
    /// `Some(None)`: a condition that does not compile any more, and so does not hold.
    when: Option<Option<EventExpr>>,
    conversation_key: Option<EventExpr>,
}

impl Audience {
    /// # Errors
    /// If the database cannot be read.
    pub async fn read(core: &Core, org: OrgId, events: &[Event]) -> Result<Self, DbError> {
        let sources: BTreeSet<&str> = events.iter().flat_map(Event::sources).collect();
        let sources: Vec<&str> = sources.into_iter().collect();
        let names: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| event.event.as_deref())
            .collect();
        let mut tx = core.db.begin_read(org).await?;
        let rows = subscriptions_find(&mut tx, &sources).await?;
        let mut waits = HashMap::new();
        for name in names {
            let found = waits_find(&mut tx, name).await?;
            if !found.is_empty() {
                waits.insert(name.to_owned(), found);
            }
        }
        Ok(Self {
            org,
            listeners: rows.into_iter().map(Listener::new).collect(),
            waits,
        })
    }

    /// Whether somebody means channels by their names, which events do not tell.
    pub fn names_channels(&self) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.filter.names_channels())
    }

    /// Hands one of the events to everybody whom it concerns; returns when each of them has it durably.
    pub async fn tell(&self, core: &Core, event: &Event) -> Routed {
        let trigger = Trigger {
            kind: event.kind,
            payload: event.payload.clone(),
            source: event.source.clone(),
        };
        let near: Vec<&Listener> = self
            .listeners
            .iter()
            .filter(|listener| {
                event
                    .sources()
                    .any(|source| fits(&listener.row.source, source))
            })
            .collect();
        let told: Vec<_> = near
            .iter()
            .filter(|listener| listener.wants(&trigger, event.event.as_deref()))
            .map(|listener| start(core, self.org, listener, &trigger, event))
            .collect();
        let mut routed = Routed {
            passed_over: near.len() - told.len(),
            ..Routed::default()
        };
        for outcome in futures::future::join_all(told).await {
            match outcome {
                Ok(started) => routed.started.push(started),
                Err(refused) => routed.refused.push(refused),
            }
        }
        let waits = event.event.as_ref().and_then(|name| self.waits.get(name));
        for wait in waits
            .into_iter()
            .flatten()
            .filter(|wait| is_waited_for(wait, event))
        {
            match resume(core, self.org, wait, event).await {
                Ok(()) => routed.resumed.push(wait.run_id),
                // It was decided, expired or taken by the same event a moment ago.
                Err(EmployeeError::NotPending) => {}
                Err(error) => routed.refused.push(refusal(wait.employee_id, &error)),
            }
        }
        routed
    }
}

impl Listener {
    fn new(row: SubscriptionRow) -> Self {
        let filter = row
            .filter
            .as_deref()
            .map(|text| serde_json::from_str(text).unwrap_or_default());
        Self {
            filter: filter.unwrap_or_default(),
            when: row
                .when
                .as_deref()
                .map(|when| EventExpr::compile(when).ok()),
            conversation_key: row
                .conversation_key
                .as_deref()
                .and_then(|key| EventExpr::compile(key).ok()),
            row,
        }
    }

    fn wants(&self, trigger: &Trigger, event: Option<&str>) -> bool {
        let holds =
            |when: &Option<EventExpr>| when.as_ref().is_some_and(|when| when.holds(trigger));
        self.row.is_for(event)
            && self.filter.admits(&trigger.payload)
            && self.when.as_ref().is_none_or(holds)
    }

    /// The key that the subscription makes of the event; where it says nothing, the event's own.
    fn conversation(&self, trigger: &Trigger, event: &Event) -> Option<String> {
        let Some(key) = &self.conversation_key else {
            return event.conversation.clone();
        };
        match key.evaluate(trigger).ok()? {
            Value::String(text) => Some(text),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }
}

/// Whether a subscription's source means this one: exactly, or by its beginning before a `*`.
fn fits(wanted: &str, source: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(start) => source.starts_with(start),
        None => source == wanted,
    }
}

async fn start(
    core: &Core,
    org: OrgId,
    listener: &Listener,
    trigger: &Trigger,
    event: &Event,
) -> Result<Started, Refused> {
    let row = &listener.row;
    let conversation = listener.conversation(trigger, event);
    let message = |reply| {
        Message::Trigger(Box::new(TriggerMessage {
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
        }))
    };
    match core.ask(org, row.employee_id, message).await {
        Ok(accepted) => Ok(Started {
            employee: row.employee_id,
            skill: row.skill.clone(),
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
            | EmployeeError::NotHere
            | EmployeeError::Unreachable
            | EmployeeError::Suspended
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
        .is_none_or(|wanted| event.sources().any(|source| fits(wanted, source)));
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
    let message = |reply| {
        Message::Event(Box::new(EventMessage {
            execution: wait.run_id,
            step,
            payload: event.payload.clone(),
            source: event.source.clone(),
            reply,
        }))
    };
    core.ask(org, wait.employee_id, message).await
}
