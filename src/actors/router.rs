//! The supervisor route: finds the employees and skills that an event concerns, and the runs that wait for it.

use super::{
    core::Core,
    employee::{
        Accepted, EmployeeError, EventMessage, Message, TriggerKey, TriggerMessage, known_triggers,
    },
    evaluation::in_place,
};
use crate::{
    domain::{ContentHash, EmployeeId, EventFilter, ExecutionId, OrgId, Trigger, TriggerType},
    graph::{
        EventExpr, StepId,
        budget::{Budget, INLINE_FUEL},
        expr::EvalError,
    },
    persistence::{DbError, EventFacts, SubscriptionRow, WaitRow, subscriptions_find, waits_find},
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
    pub key_from: KeyFrom,
    /// The conversation that it is part of, for subscriptions that do not say.
    pub conversation: Option<String>,
}

/// Who has named an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyFrom {
    /// The system that it comes from. It may say more of it the second time.
    #[default]
    System,
    /// A client, which keeps to one payload for each key.
    Client,
    /// This node, for a client that gave none.
    ThisNode,
}

/// Why an event was given to nobody.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error("the idempotency key was used with another payload, for run {0}")]
    OtherPayload(ExecutionId),
    #[error(transparent)]
    Db(#[from] DbError),
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

/// The same for an event that a client names, whose key is for one payload only.
///
/// # Errors
/// `OtherPayload`, or as [`route`]; nobody was told.
pub async fn route_of_client(core: &Core, org: OrgId, event: Event) -> Result<Routed, RouteError> {
    let audience = Audience::read(core, org, std::slice::from_ref(&event)).await?;
    if event.key_from == KeyFrom::Client {
        audience.refuse_other_payload(core, &event).await?;
    }
    Ok(audience.tell(core, &event).await)
}

/// Who listens to some events of an org, read once for all of them.
pub struct Audience {
    org: OrgId,
    listeners: Vec<Arc<Listener>>,
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
        let named: Vec<(&str, Vec<&str>, &Value)> = events
            .iter()
            .filter_map(|event| {
                let name = event.event.as_deref()?;
                Some((name, event.sources().collect(), &*event.payload))
            })
            .collect();
        let named: Vec<EventFacts<'_>> = named
            .iter()
            .map(|(event, sources, payload)| EventFacts {
                event,
                sources,
                payload,
            })
            .collect();
        let mut tx = core.db.begin_read(org).await?;
        let rows = subscriptions_find(&mut tx, &sources).await?;
        let mut waits: HashMap<String, Vec<WaitRow>> = HashMap::new();
        if !named.is_empty() {
            for wait in waits_find(&mut tx, &named).await? {
                waits.entry(wait.event.clone()).or_default().push(wait);
            }
        }
        Ok(Self {
            org,
            listeners: rows.into_iter().map(Listener::new).map(Arc::new).collect(),
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
        let near: Vec<&Arc<Listener>> = self.near(event).collect();
        let mut routed = Routed::default();
        let mut wanting = Vec::new();
        for (listener, wants) in self.ask(core, &near, &trigger, event).await {
            match wants {
                Ok(true) => wanting.push(listener),
                Ok(false) => routed.passed_over += 1,
                Err(error) => routed.refused.push(Refused {
                    employee: listener.row.employee_id,
                    reason: format!("the condition of its subscription: {error}"),
                    transient: false,
                }),
            }
        }
        let told = wanting
            .into_iter()
            .map(|listener| start(core, self.org, listener, &trigger, event));
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

    /// Which of them want the event. Conditions that are cheap are evaluated in place, all of them within one small budget.
    async fn ask<'l>(
        &self,
        core: &Core,
        near: &[&'l Arc<Listener>],
        trigger: &Trigger,
        event: &Event,
    ) -> Vec<(&'l Arc<Listener>, Result<bool, String>)> {
        let first: Vec<_> = {
            let small = Budget::new(INLINE_FUEL);
            near.iter()
                .map(|listener| listener.wants(trigger, event.event.as_deref(), &small))
                .collect()
        };
        let mut asked = Vec::with_capacity(near.len());
        for (listener, wants) in near.iter().zip(first) {
            let wants = match wants {
                Ok(wants) => Ok(wants),
                Err(_) => {
                    let (own, trigger) = (Arc::clone(listener), trigger.clone());
                    let name = event.event.clone();
                    let again = core.evaluations.apart(self.org, move |budget| {
                        own.wants(&trigger, name.as_deref(), budget)
                    });
                    match again.await {
                        Ok(wants) => wants.map_err(|error| error.to_string()),
                        Err(error) => Err(error.to_string()),
                    }
                }
            };
            asked.push((*listener, wants));
        }
        asked
    }

    /// Those who listen to where the event comes from.
    fn near(&self, event: &Event) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.iter().filter(|listener| {
            let mut sources = event.sources();
            sources.any(|source| fits(&listener.row.source, source))
        })
    }

    /// Looks before anybody is told: of two listeners one may have had the key's first payload, and the other would take the second one.
    async fn refuse_other_payload(&self, core: &Core, event: &Event) -> Result<(), RouteError> {
        let keys: Vec<TriggerKey> = self
            .near(event)
            .filter_map(|listener| listener.key(event))
            .collect();
        let keys: Vec<&TriggerKey> = keys.iter().collect();
        let payload = ContentHash::of_json(&event.payload);
        let known = known_triggers(core, self.org, &keys).await?;
        let other = known
            .values()
            .find(|known| known.payload.is_some_and(|its| its != payload));
        match other {
            Some(known) => Err(RouteError::OtherPayload(known.run)),
            None => Ok(()),
        }
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

    /// # Errors
    /// If a limit was met before it was known.
    fn wants(
        &self,
        trigger: &Trigger,
        event: Option<&str>,
        budget: &Budget,
    ) -> Result<bool, EvalError> {
        if !self.row.is_for(event) || !self.filter.admits(&trigger.payload) {
            return Ok(false);
        }
        match &self.when {
            None => Ok(true),
            Some(None) => Ok(false),
            Some(Some(when)) => when.holds(trigger, budget),
        }
    }

    /// The name of the event for this subscription: one event may concern two skills of one employee.
    fn key(&self, event: &Event) -> Option<TriggerKey> {
        let row = &self.row;
        let source = format!("{}>{}#{}", event.source, row.employee_id, row.position);
        let key = event.key.as_ref()?;
        Some(match event.key_from {
            KeyFrom::System => TriggerKey::given(source, key),
            KeyFrom::Client => TriggerKey::given(source, key).for_payload(&event.payload),
            KeyFrom::ThisNode => TriggerKey::made(source, key),
        })
    }

    /// The key that the subscription makes of the event; where it says nothing, the event's own.
    ///
    /// # Errors
    /// If a limit was met before it was known.
    fn conversation(
        &self,
        trigger: &Trigger,
        event: Option<&str>,
        budget: &Budget,
    ) -> Result<Option<String>, EvalError> {
        let Some(key) = &self.conversation_key else {
            return Ok(event.map(str::to_owned));
        };
        match key.evaluate(trigger, budget) {
            Ok(Value::String(text)) => Ok(Some(text)),
            Ok(Value::Null) => Ok(None),
            Ok(other) => Ok(Some(other.to_string())),
            Err(error) if error.is_limit() => Err(error),
            Err(_) => Ok(None),
        }
    }
}

/// As [`Listener::conversation`], wherever it takes.
async fn conversation(
    core: &Core,
    org: OrgId,
    listener: &Arc<Listener>,
    trigger: &Trigger,
    event: &Event,
) -> Result<Option<String>, String> {
    let own = event.conversation.as_deref();
    if let Some(found) = in_place(|budget| listener.conversation(trigger, own, budget)) {
        return found.map_err(|error| error.to_string());
    }
    let (listener, trigger, own) = (listener.clone(), trigger.clone(), own.map(str::to_owned));
    let found = core
        .evaluations
        .apart(org, move |budget| {
            listener.conversation(&trigger, own.as_deref(), budget)
        })
        .await;
    match found {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
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
    listener: &Arc<Listener>,
    trigger: &Trigger,
    event: &Event,
) -> Result<Started, Refused> {
    let row = &listener.row;
    let conversation = conversation(core, org, listener, trigger, event).await;
    let conversation = conversation.map_err(|error| Refused {
        employee: row.employee_id,
        reason: format!("the conversation key of its subscription: {error}"),
        transient: false,
    })?;
    let message = |reply| {
        Message::Trigger(Box::new(TriggerMessage {
            trigger: trigger.clone(),
            conversation,
            skill: row.skill.clone(),
            dedupe: listener.key(event),
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
