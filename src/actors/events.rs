//! From the journal to the events that clients know: `runIntent`, `agentEvent`, `executionResult`, `GraphDefined`.
//!
//! Nothing is stored for them: an event is made from its fact whenever it is read, with an id that follows from the fact, so that whoever
//! reads twice sees the same.

use super::{
    core::Core,
    inspect::{InspectError, Inspected, inspect},
    versions::Compiled,
};
use crate::{
    domain::{
        EmployeeId, ExecutionId, MemoryView, OrgId, Timestamp,
        event::{
            AgentEvent, AuthContext, ExecutionResult, IntentContext, PlatformEvent, RunIntent,
            SkillEvent, run_id, skill_run_id,
        },
    },
    graph::{Fact, Outcome, SKILL_NODE, StepId, StopKind},
    persistence::{
        Cursor, DbError, StreamItem, StreamScope, blob_get, employee_version_get, stream_page,
    },
};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Compiled versions that a reader keeps; a stream of an org sees the same few again and again.
const KEPT_MAX: usize = 256;

/// Reads one org's stream, or one run's.
pub struct EventReader {
    core: Arc<Core>,
    org: OrgId,
    scope: StreamScope,
    versions: HashMap<(EmployeeId, i32), Compiled>,
}

/// An event and the place after it.
pub type Placed = (Cursor, PlatformEvent);

/// What a fact belongs to.
struct Place {
    execution: ExecutionId,
    employee: EmployeeId,
    version: i32,
    run_id: String,
    event_id: Uuid,
}

impl EventReader {
    pub fn new(core: Arc<Core>, org: OrgId, scope: StreamScope) -> Self {
        Self {
            core,
            org,
            scope,
            versions: HashMap::new(),
        }
    }

    /// About `limit` events after a place, and the place up to which was read; empty if there is nothing new. What cannot be read any more
    /// is logged and left out, since a stream that stops there would stop for ever.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn page(
        &mut self,
        after: Cursor,
        limit: u32,
    ) -> Result<(Vec<Placed>, Cursor), DbError> {
        let mut tx = self.core.db.begin_read(self.org).await?;
        let items = stream_page(&mut tx, self.scope, after, limit).await?;
        drop(tx);
        let end = items.last().map_or(after, StreamItem::cursor);
        let mut events = Vec::with_capacity(items.len());
        for item in items {
            let cursor = item.cursor();
            match self.event(item).await {
                Ok(event) => events.push((cursor, event)),
                Err(InspectError::Db(error)) => return Err(error),
                Err(error) => tracing::warn!(%cursor, %error, "event left out"),
            }
        }
        Ok((events, end))
    }

    async fn event(&mut self, item: StreamItem) -> Result<PlatformEvent, InspectError> {
        match item {
            StreamItem::Event { body, id, .. } => {
                serde_json::from_str(&body).map_err(|error| InspectError::Broken {
                    execution: ExecutionId::from_uuid(id),
                    reason: error.to_string(),
                })
            }
            StreamItem::Fact {
                execution,
                employee,
                version,
                accepted,
                fact,
                ..
            } => {
                let place = Place {
                    execution,
                    employee,
                    version,
                    run_id: run_id(employee, version.unsigned_abs(), accepted),
                    event_id: Uuid::new_v5(&execution.uuid(), &fact.seq.to_be_bytes()),
                };
                let fact = serde_json::from_str(&fact.json)
                    .map_err(|error| place.broken(error.to_string()))?;
                self.fact_event(place, fact, accepted).await
            }
        }
    }

    async fn fact_event(
        &mut self,
        place: Place,
        fact: Fact,
        accepted: Timestamp,
    ) -> Result<PlatformEvent, InspectError> {
        match fact {
            Fact::Accepted { .. } => self.intent(place, fact).await,
            Fact::Finished { at, .. } => {
                let run = inspect(&self.core, self.org, place.execution)
                    .await?
                    .ok_or_else(|| place.broken("it is gone".into()))?;
                Ok(result(self.org, place, &run, accepted, at))
            }
            fact => self.agent_event(place, &fact).await,
        }
    }

    async fn intent(&mut self, place: Place, fact: Fact) -> Result<PlatformEvent, InspectError> {
        let Fact::Accepted {
            trigger,
            context,
            at,
            ..
        } = fact
        else {
            return Err(place.broken("its first fact is another".into()));
        };
        let memory = match context {
            None => MemoryView::default(),
            Some(hash) => {
                let mut tx = self.core.db.begin_read(self.org).await?;
                let body = blob_get(&mut tx, hash)
                    .await?
                    .ok_or_else(|| place.broken(format!("its memory {hash} is missing")))?;
                serde_json::from_slice(&body).map_err(|error| place.broken(error.to_string()))?
            }
        };
        let compiled = self.version(&place).await?;
        Ok(PlatformEvent::RunIntent(Box::new(RunIntent {
            event_id: place.event_id,
            org_id: self.org,
            employee_id: place.employee,
            execution_id: place.execution,
            run_id: place.run_id,
            auth_context: AuthContext::default(),
            trigger,
            context: IntentContext {
                memory,
                execution_state: Default::default(),
            },
            graph_spec: compiled.spec.graph.clone(),
            timestamp: at,
        })))
    }

    async fn agent_event(
        &mut self,
        place: Place,
        fact: &Fact,
    ) -> Result<PlatformEvent, InspectError> {
        let (event, data) = described(fact);
        let (mut run_id, mut micro_agent) = (place.run_id.clone(), None);
        if let Some(step) = fact.step() {
            let plan = self.version(&place).await?.plan;
            run_id = skill_run_id(&place.run_id, plan.skill_name(step));
            micro_agent = (step.node != SKILL_NODE).then(|| plan.node_name(step).to_owned());
        }
        Ok(PlatformEvent::AgentEvent(Box::new(AgentEvent {
            event_id: place.event_id,
            org_id: self.org,
            employee_id: place.employee,
            execution_id: place.execution,
            run_id,
            event: event.into(),
            micro_agent,
            data,
            timestamp: fact.at(),
        })))
    }

    async fn version(&mut self, place: &Place) -> Result<Compiled, InspectError> {
        let key = (place.employee, place.version);
        if let Some(known) = self.versions.get(&key) {
            return Ok(known.clone());
        }
        let mut tx = self.core.db.begin_read(self.org).await?;
        let row = employee_version_get(&mut tx, place.employee, place.version)
            .await?
            .ok_or_else(|| place.broken("its version is missing".into()))?;
        let compiled = match self.core.versions.get(row.spec_hash) {
            Some(known) => known,
            None => {
                let text = blob_get(&mut tx, row.spec_hash)
                    .await?
                    .ok_or_else(|| place.broken("its spec is missing".into()))?;
                self.core
                    .versions
                    .load(row.spec_hash, &text)
                    .map_err(|error| place.broken(error.to_string()))?
            }
        };
        if self.versions.len() >= KEPT_MAX {
            self.versions.clear();
        }
        self.versions.insert(key, compiled.clone());
        Ok(compiled)
    }
}

impl Place {
    fn broken(&self, reason: String) -> InspectError {
        InspectError::Broken {
            execution: self.execution,
            reason,
        }
    }
}

/// Name and data of an `agentEvent`.
fn described(fact: &Fact) -> (&'static str, Value) {
    let step = |step: &StepId| step.to_string();
    match fact {
        Fact::StepCompleted {
            step: id, output, ..
        } => (
            "step.completed",
            json!({"step": step(id), "item": id.item, "output": output}),
        ),
        Fact::StepFailed {
            step: id,
            attempt,
            error,
            ..
        } => (
            "step.failed",
            json!({"step": step(id), "item": id.item, "attempt": attempt, "error": error}),
        ),
        Fact::StepParked { step: id, wait, .. } => (
            "step.parked",
            json!({"step": step(id), "item": id.item, "wait": wait}),
        ),
        Fact::StepAsked {
            step: id,
            title,
            arguments,
            expires,
            ..
        } => (
            "approval.requested",
            json!({"step": step(id), "item": id.item, "title": title, "arguments": arguments, "expires": expires}),
        ),
        Fact::StepResumed { step: id, .. } => {
            ("step.resumed", json!({"step": step(id), "item": id.item}))
        }
        Fact::TimerFired { timer, .. } => (
            "timer.fired",
            json!({"step": step(&timer.step), "purpose": timer.purpose}),
        ),
        Fact::ApprovalDecided {
            step: id,
            decision,
            by,
            comment,
            ..
        } => (
            "approval.decided",
            json!({"step": step(id), "decision": decision, "by": by, "comment": comment}),
        ),
        Fact::EventArrived {
            step: id,
            payload,
            source,
            ..
        } => (
            "event.arrived",
            json!({"step": step(id), "payload": payload, "source": source}),
        ),
        Fact::StopRequested {
            kind, by, reason, ..
        } => (
            "run.cancel_requested",
            json!({"kind": kind, "by": by, "reason": reason}),
        ),
        Fact::Aborted { error, .. } => ("run.aborted", json!({"error": error})),
        // These two are `runIntent` and `executionResult`.
        Fact::Accepted { .. } => ("run.accepted", Value::Null),
        Fact::Begun { .. } => ("run.begun", Value::Null),
        Fact::Finished { .. } => ("run.finished", Value::Null),
    }
}

fn result(
    org: OrgId,
    place: Place,
    run: &Inspected,
    accepted: Timestamp,
    finished: Timestamp,
) -> PlatformEvent {
    let (status, value, error) = match run.machine.outcome() {
        Some(Outcome::Completed { result }) => ("completed", Value::clone(result), None),
        Some(Outcome::Failed { error }) => {
            ("failed", Value::Null, Some(error.error.message.clone()))
        }
        Some(Outcome::Cancelled { kind, by, reason }) => (
            "interrupted",
            Value::Null,
            Some(stopped(*kind, by, reason.as_deref())),
        ),
        None => ("failed", Value::Null, Some("the run has no outcome".into())),
    };
    let skills = run.machine.skills();
    let mut executed: Vec<String> = Vec::new();
    for skill in &skills {
        if !executed.contains(&skill.skill) {
            executed.push(skill.skill.clone());
        }
    }
    let hierarchical_events = skills
        .into_iter()
        .map(|skill| SkillEvent {
            run_id: skill_run_id(&place.run_id, &skill.skill),
            status: word(&skill.status),
            micro_agents: skill.micro_agents,
        })
        .collect();
    PlatformEvent::ExecutionResult(Box::new(ExecutionResult {
        event_id: place.event_id,
        org_id: org,
        employee_id: place.employee,
        execution_id: place.execution,
        run_id: place.run_id,
        status: status.into(),
        result: value,
        error,
        skills_executed: executed,
        execution_time_ms: u64::try_from(finished.since(accepted).as_millis()).unwrap_or(u64::MAX),
        capabilities_used: run.machine.capabilities_used(),
        hierarchical_events,
        timestamp: finished,
    }))
}

/// Why a run was stopped, in a sentence.
pub fn stopped(kind: StopKind, by: &str, reason: Option<&str>) -> String {
    let what = match kind {
        StopKind::Cancelled => "cancelled",
        StopKind::Interrupted => "interrupted",
        StopKind::RolledBack => "rolled back",
    };
    match reason {
        Some(reason) => format!("{what} by {by}: {reason}"),
        None => format!("{what} by {by}"),
    }
}

fn word(status: &crate::graph::StepStatus) -> String {
    match serde_json::to_value(status) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}
