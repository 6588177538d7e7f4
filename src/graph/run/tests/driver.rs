//! Plans and facts for tests.

use crate::{
    domain::{EmployeeId, ExecutionId, MemoryView, Timestamp, Trigger, TriggerType},
    graph::{
        Apart, Budget, CapabilityInfo, CapabilityLookup, Plan, Run, Work, budget, compile,
        fact::{Command, Decision, Fact, StepError, StepId, TimerKey},
        run::in_place,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// Knows every capability whose id starts with `test.`.
pub struct Catalog;

impl CapabilityLookup for Catalog {
    fn capability(&self, id: &str) -> Option<CapabilityInfo> {
        let integration = id
            .split('.')
            .next()
            .filter(|integration| *integration == "test")?;
        let permission = format!("{integration}.write");
        Some(CapabilityInfo {
            id: id.into(),
            permission,
            integration: integration.into(),
            write: true,
        })
    }
}

/// An employee of one skill `s`.
pub fn one_skill(nodes: Value, edges: Value) -> Arc<Plan> {
    let skill = json!({"graph_id": "sg", "type": "skill", "nodes": nodes, "edges": edges});
    let node = json!({"id": "s", "type": "skill", "skill_graph": "sg", "permissions": ["test.*"]});
    plan(
        json!({"graph_id": "e", "type": "employee", "nodes": [node]}),
        [skill],
    )
}

pub fn plan<const N: usize>(employee: Value, skills: [Value; N]) -> Arc<Plan> {
    let skills: BTreeMap<String, Value> = skills
        .into_iter()
        .map(|skill| {
            (
                skill["graph_id"].as_str().unwrap_or_default().to_string(),
                skill,
            )
        })
        .collect();
    Arc::new(compile(&employee, &skills, &Catalog).unwrap_or_else(|errors| panic!("{errors}")))
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000 + second * 1_000)
}

pub fn execution() -> ExecutionId {
    ExecutionId::from_uuid(Uuid::from_u128(0x0192_f0c4_7b1e_7abc_8def_0123_4567_89ab))
}

pub fn accepted(payload: Value, skill: Option<&str>) -> Fact {
    let trigger = Trigger {
        kind: TriggerType::DirectCommand,
        payload: Arc::new(payload),
        source: "api".into(),
    };
    Fact::Accepted {
        employee: EmployeeId::from_uuid(Uuid::nil()),
        version: 1,
        trigger,
        context: None,
        skill: skill.map(Into::into),
        at: at(0),
    }
}

/// A run with its journal and the commands that nobody has answered.
pub struct Driver {
    pub plan: Arc<Plan>,
    pub run: Run,
    pub facts: Vec<Fact>,
    /// All commands so far.
    pub log: Vec<Command>,
    clock: i64,
}

impl Driver {
    pub fn new(plan: &Arc<Plan>, payload: Value) -> Driver {
        Driver::from(plan, accepted(payload, None))
    }

    pub fn from(plan: &Arc<Plan>, accepted: Fact) -> Driver {
        Driver::apart(plan, accepted, in_place)
    }

    /// One whose expensive work goes `apart`.
    pub fn apart(plan: &Arc<Plan>, accepted: Fact, apart: Apart) -> Driver {
        let (context, plan_of_run) = (MemoryView::default(), plan.clone());
        let (run, log) = Run::start_at(plan_of_run, &accepted, None, execution(), context, apart);
        Driver {
            plan: plan.clone(),
            run,
            facts: vec![accepted],
            log,
            clock: 0,
        }
    }

    pub fn next_at(&mut self) -> Timestamp {
        self.clock += 1;
        at(self.clock)
    }

    pub fn apply(&mut self, fact: Fact) -> Vec<Command> {
        let commands = self.run.apply(&fact);
        self.facts.push(fact);
        self.log.extend(commands.iter().cloned());
        commands
    }

    /// All commands of the facts that another run had after its first.
    pub fn work_of(mut self, facts: &[Fact]) -> Vec<Command> {
        for fact in &facts[1..] {
            self.apply(fact.clone());
        }
        self.log
    }

    /// The step of a node's only visit that is at work, of skill `s`.
    pub fn step(&self, node: &str) -> StepId {
        let open = self
            .run
            .steps()
            .into_iter()
            .rev()
            .find(|view| view.node == node && view.item.is_none());
        open.unwrap_or_else(|| panic!("no step of {node}")).step
    }

    pub fn running(&self) -> Vec<String> {
        let open = self
            .run
            .outstanding()
            .into_iter()
            .filter_map(|command| match command {
                Command::StartStep { step, .. } => Some(step),
                _ => None,
            });
        open.map(|step| {
            step.item.map_or_else(
                || self.plan.node_name(step).to_string(),
                |item| format!("{}#{item}", self.plan.node_name(step)),
            )
        })
        .collect()
    }

    pub fn done(&mut self, step: StepId, output: Value) -> Vec<Command> {
        let at = self.next_at();
        self.apply(Fact::StepCompleted {
            step,
            output: Arc::new(output),
            remember: Vec::new(),
            at,
        })
    }

    pub fn failed(&mut self, step: StepId, attempt: u32, error: StepError) -> Vec<Command> {
        let at = self.next_at();
        self.apply(Fact::StepFailed {
            step,
            attempt,
            error,
            at,
        })
    }

    pub fn fire(&mut self, timer: TimerKey) -> Vec<Command> {
        let at = self.next_at();
        self.apply(Fact::TimerFired { timer, at })
    }

    pub fn decide(&mut self, step: StepId, decision: Decision) -> Vec<Command> {
        let at = self.next_at();
        self.apply(Fact::ApprovalDecided {
            step,
            decision,
            by: "ann".into(),
            comment: None,
            at,
        })
    }

    /// The only timer of a purpose that is set.
    pub fn timer(&self, purpose: crate::graph::fact::TimerPurpose) -> TimerKey {
        let mut set = self
            .run
            .outstanding()
            .into_iter()
            .filter_map(|command| match command {
                Command::SetTimer { timer, .. } if timer.purpose == purpose => Some(timer),
                _ => None,
            });
        set.next().unwrap_or_else(|| panic!("no {purpose:?} timer"))
    }

    /// Does all work that can be done without anybody, actions answered with their arguments.
    pub fn work(&mut self) -> &mut Self {
        while let Some((step, attempt)) =
            self.run
                .outstanding()
                .into_iter()
                .find_map(|command| match command {
                    Command::StartStep { step, attempt } => Some((step, attempt)),
                    _ => None,
                })
        {
            match self
                .run
                .step_context(step)
                .evaluate(&Budget::new(budget::FUEL))
            {
                Ok(Work::Output { output, .. }) => self.done(step, (*output).clone()),
                Ok(Work::Call { arguments, .. }) => self.done(step, arguments),
                Err(error) => self.failed(step, attempt, error),
            };
        }
        self
    }

    /// The result, or the code of the error, or how it stands.
    pub fn end(&self) -> Value {
        use crate::graph::fact::Outcome;
        match self.run.outcome() {
            Some(Outcome::Completed { result }) => (**result).clone(),
            Some(Outcome::Failed { error }) => json!(format!("failed: {}", error.error.code)),
            Some(Outcome::Cancelled { .. }) => json!("cancelled"),
            None => json!(self.run.status().name()),
        }
    }
}
