//! A run as people and interfaces see it.

use super::{
    Run,
    state::{Phase, Step},
};
use crate::{
    domain::Timestamp,
    graph::{
        fact::{Outcome, StepError, StepId, TimerKey, TimerPurpose},
        plan::SKILL_NODE,
    },
};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Durable, not started: known to its employee only, the machine never says it.
    Accepted,
    Running,
    /// Nothing is at work; approvals, timers, events or named waits are open.
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl RunStatus {
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Accepted => "accepted",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
        }
    }
    pub fn is_finished(self) -> bool {
        matches!(
            self,
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled
        )
    }
}

/// One thing that a run waits for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// `approval`, `timer`, `event`, or the kind of a named wait: `effect`, `connection`, `hold`.
    pub kind: String,
    pub step: StepId,
    pub skill: String,
    pub node: String,
    /// The title of the approval, the type of the event, the subject of the named wait, the purpose of the timer.
    pub on: String,
    pub since: Timestamp,
    pub until: Option<Timestamp>,
    /// One sentence for people.
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    Running,
    /// For an approval, a timer, an event, a named wait, or its next attempt.
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    pub step: StepId,
    pub skill: String,
    pub skill_visit: u16,
    pub node: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub visit: u16,
    pub item: Option<u32>,
    pub attempt: u32,
    pub status: StepStatus,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    pub output: Option<Arc<Value>>,
    /// The last one, also while the step is tried again.
    pub error: Option<StepError>,
}

/// One visit of a skill.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SkillView {
    pub skill: String,
    pub skill_visit: u16,
    pub status: StepStatus,
    pub started_at: Timestamp,
    pub finished_at: Option<Timestamp>,
    /// Ids in the order of their first start.
    pub micro_agents: Vec<String>,
    pub output: Option<Arc<Value>>,
    pub error: Option<StepError>,
}

impl Step {
    fn status(&self) -> StepStatus {
        match self.phase {
            Phase::New | Phase::Running | Phase::Mapping { .. } | Phase::Frame => {
                StepStatus::Running
            }
            Phase::Backoff
            | Phase::Parked(_)
            | Phase::Approval { .. }
            | Phase::Event { .. }
            | Phase::Timer(_) => StepStatus::Waiting,
            Phase::Completed => StepStatus::Completed,
            Phase::Failed => StepStatus::Failed,
            Phase::Cancelled => StepStatus::Cancelled,
        }
    }
    fn finished_at(&self) -> Option<Timestamp> {
        self.phase.is_finished().then(|| self.since.into())
    }
}

impl Run {
    pub fn status(&self) -> RunStatus {
        match &self.state.outcome {
            Some(Outcome::Completed { .. }) => RunStatus::Completed,
            Some(Outcome::Failed { .. }) => RunStatus::Failed,
            Some(Outcome::Cancelled { .. }) => RunStatus::Cancelled,
            None if self.is_parked() => RunStatus::Waiting,
            None => RunStatus::Running,
        }
    }

    /// Whether the run is unfinished and nothing of it is at work: everything that is open is an approval, a timer, an event or a
    /// named wait.
    pub fn is_parked(&self) -> bool {
        self.state.outcome.is_none()
            && !self
                .state
                .steps
                .values()
                .any(|step| matches!(step.phase, Phase::Running))
    }

    /// What the run waits for, in the order in which the steps started.
    pub fn waiting_on(&self) -> Vec<Waiting> {
        self.known_steps()
            .filter_map(|(id, step)| self.waiting(id, step))
            .collect()
    }

    /// Steps of micro-agents and of elements, in the order in which they started.
    pub fn steps(&self) -> Vec<StepView> {
        self.known_steps()
            .filter(|(id, _)| id.node != SKILL_NODE)
            .map(|(id, step)| self.step_view(id, step))
            .collect()
    }

    /// One step of [`Run::steps`].
    pub fn step(&self, id: StepId) -> Option<StepView> {
        self.state
            .steps
            .get(&id)
            .map(|step| self.step_view(id, step))
    }

    /// Visits of skills, in the order in which they started.
    pub fn skills(&self) -> Vec<SkillView> {
        let mut views: Vec<SkillView> = Vec::new();
        for (id, step) in self.known_steps() {
            let skill = self.plan.skill_name(id);
            if id.node == SKILL_NODE {
                views.push(SkillView {
                    skill: skill.into(),
                    skill_visit: id.skill_visit,
                    status: step.status(),
                    started_at: step.started.into(),
                    finished_at: step.finished_at(),
                    micro_agents: Vec::new(),
                    output: step.output.clone(),
                    error: step.error.clone(),
                });
                continue;
            }
            let node = self.plan.node_name(id);
            let view = views
                .iter_mut()
                .find(|view| view.skill == skill && view.skill_visit == id.skill_visit);
            if let Some(view) =
                view.filter(|view| !view.micro_agents.iter().any(|known| known == node))
            {
                view.micro_agents.push(node.into());
            }
        }
        views
    }

    /// Ids of the capabilities whose actions have started, sorted.
    pub fn capabilities_used(&self) -> Vec<String> {
        let used: BTreeSet<&str> = self
            .known_steps()
            .filter_map(|(id, _)| self.plan.capability(id))
            .collect();
        used.into_iter().map(str::to_string).collect()
    }

    fn known_steps(&self) -> impl Iterator<Item = (StepId, &Step)> {
        self.state
            .order
            .iter()
            .filter_map(|id| Some((*id, self.state.steps.get(id)?)))
    }

    fn step_view(&self, id: StepId, step: &Step) -> StepView {
        StepView {
            step: id,
            skill: self.plan.skill_name(id).into(),
            skill_visit: id.skill_visit,
            node: self.plan.node_name(id).into(),
            kind: self.plan.node_type(id),
            visit: id.visit,
            item: id.item,
            attempt: step.attempt,
            status: step.status(),
            started_at: step.started.into(),
            finished_at: step.finished_at(),
            output: step.output.clone(),
            error: step.error.clone(),
        }
    }

    fn waiting(&self, id: StepId, step: &Step) -> Option<Waiting> {
        let timer = |purpose| {
            self.state
                .timers
                .get(&TimerKey {
                    step: id,
                    attempt: step.attempt,
                    purpose,
                })
                .map(|due| (*due).into())
        };
        let until = |at: Option<super::state::At>| at.map(Timestamp::from);
        let (kind, on, until, detail) = match &step.phase {
            Phase::Approval { title, expires, .. } => (
                "approval",
                title.clone(),
                until(*expires),
                format!("a person has to decide: {title}"),
            ),
            Phase::Event {
                event,
                source,
                until: end,
                ..
            } => {
                let from = source
                    .as_ref()
                    .map_or_else(String::new, |source| format!(" from {source}"));
                (
                    "event",
                    event.clone(),
                    until(*end),
                    format!("waits for the event {event}{from}"),
                )
            }
            Phase::Timer(due) => (
                "timer",
                "wait".into(),
                Some((*due).into()),
                format!("waits until {}", Timestamp::from(*due)),
            ),
            Phase::Backoff => {
                let code = step.error.as_ref().map_or("", |error| error.code.as_str());
                let detail = format!(
                    "attempt {} failed ({code}) and is tried again",
                    step.attempt
                );
                ("timer", "retry".into(), timer(TimerPurpose::Retry), detail)
            }
            Phase::Parked(wait) => (
                wait.kind.as_str(),
                wait.on.clone(),
                None,
                wait.detail.clone(),
            ),
            _ => return None,
        };
        Some(Waiting {
            kind: kind.into(),
            step: id,
            skill: self.plan.skill_name(id).into(),
            node: self.plan.node_name(id).into(),
            on,
            since: step.since.into(),
            until,
            detail,
        })
    }
}
