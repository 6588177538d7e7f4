//! What a step needs to do its work, taken out of the run so that it can be used elsewhere.

use super::{
    Run,
    agreed::Agreed,
    state::{FrameKey, SharedLog},
};
use crate::{
    domain::{ExecutionId, MemoryView, MemoryWrite, Timestamp, Trigger},
    graph::{
        budget::Budget,
        expr::{EvalError, Expr},
        fact::{StepError, StepId},
        markup::Markup,
        plan::{Plan, SKILL_NODE, WorkPlan},
        scope::Data,
        template::Template,
        text::Text,
    },
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// Everything that the expressions of one step can see. `Send + 'static`, a few reference counts to make.
#[derive(Clone)]
pub struct StepContext {
    plan: Arc<Plan>,
    execution: ExecutionId,
    at: Timestamp,
    trigger: Arc<Trigger>,
    memory: Arc<MemoryView>,
    step: StepId,
    input: Arc<Value>,
    /// Of the employee and of the skill; `seen` says how much of them.
    logs: [SharedLog; 2],
    seen: [usize; 2],
    agreed: Agreed,
}

/// What a step turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// It is done: this is its output, to be told as `StepCompleted`.
    Output {
        output: Arc<Value>,
        remember: Vec<MemoryWrite>,
    },
    /// It wants this of the outside.
    Call {
        capability: String,
        connection: Option<String>,
        arguments: Value,
        /// All pages of a list, of which so many items are kept.
        max_items: Option<u64>,
    },
}

impl Run {
    /// The context of a step, also of a finished one. A step that this run does not know gets the trigger's data alone.
    pub fn step_context(&self, id: StepId) -> StepContext {
        let log = |key: FrameKey| {
            self.state
                .frames
                .get(&key)
                .map(|frame| frame.log.clone())
                .unwrap_or_default()
        };
        let step = self.state.steps.get(&id);
        let seen = step.map_or([0, 0], |step| [step.seen.0 as usize, step.seen.1 as usize]);
        StepContext {
            plan: self.plan.clone(),
            execution: self.state.execution,
            at: self.state.accepted_at.into(),
            trigger: self.state.trigger.clone(),
            memory: self.state.memory.clone(),
            step: id,
            input: step.map(|step| step.input.clone()).unwrap_or_default(),
            logs: [
                log(FrameKey::Employee),
                log(FrameKey::Skill(id.skill, id.skill_visit)),
            ],
            seen,
            agreed: self.agreed(id),
        }
    }

    /// The context of the edges that leave a step: they see everything so far.
    pub(super) fn edge_context(&self, id: StepId, output: &Arc<Value>) -> StepContext {
        let context = self.step_context(id);
        let seen = [context.logs[0].len(), context.logs[1].len()];
        StepContext {
            input: output.clone(),
            seen,
            ..context
        }
    }
}

impl StepContext {
    /// What the run was started by.
    pub fn trigger(&self) -> &Trigger {
        &self.trigger
    }

    /// Id of the micro-agent whose work it is.
    pub fn node_name(&self) -> &str {
        self.plan.node_name(self.step)
    }

    pub fn step(&self) -> StepId {
        self.step
    }

    /// What its skill was given.
    pub fn permissions(&self) -> Arc<[String]> {
        self.plan.permissions(self.step)
    }

    /// What people have agreed to in this run, as far as it concerns this step's call.
    pub fn agreed(&self) -> &Agreed {
        &self.agreed
    }

    /// Its default input, or what the node's `input` made of it; the element, in a `map`.
    pub fn input(&self) -> &Arc<Value> {
        &self.input
    }

    /// Does the work of a `transform` or `decide`, and resolves the arguments of an `action`.
    ///
    /// All of it within one budget.
    ///
    /// # Errors
    /// `expression_failed`, `no_case_matched`, `limit_exceeded`; none of them is worth trying again.
    pub fn evaluate(&self, budget: &Budget) -> Result<Work, StepError> {
        match self.plan.work(self.step) {
            Some(WorkPlan::Transform { output, remember }) => {
                let output = Arc::new(self.template(output, budget)?);
                let write = |(layer, key, template): &(_, Box<str>, Template)| {
                    Ok(MemoryWrite {
                        layer: *layer,
                        key: key.to_string(),
                        value: self.template(template, budget)?,
                    })
                };
                let remember = remember
                    .iter()
                    .map(write)
                    .collect::<Result<_, EvalError>>()?;
                Ok(Work::Output { output, remember })
            }
            Some(WorkPlan::Decide { cases, otherwise }) => {
                self.decide(cases, otherwise.as_ref(), budget)
            }
            Some(WorkPlan::Action {
                capability,
                connection,
                arguments,
                max_items,
            }) => Ok(Work::Call {
                capability: capability.to_string(),
                connection: connection.as_deref().map(str::to_string),
                arguments: self.template(arguments, budget)?,
                max_items: *max_items,
            }),
            _ => Err(StepError::new(
                "not_work",
                format!("step {} has no work of its own", self.step),
            )),
        }
    }

    /// The arguments of an `action` whose capability says that they have markup, as the outside has to get them.
    ///
    /// # Errors
    /// As [`StepContext::evaluate`].
    pub fn marked_arguments(
        &self,
        markups: &BTreeMap<String, Markup>,
        budget: &Budget,
    ) -> Result<Vec<(String, Value)>, StepError> {
        match self.plan.work(self.step) {
            Some(WorkPlan::Action { arguments, .. }) => {
                Ok(arguments.marked_arguments(&self.data(None), markups, budget)?)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn decide(
        &self,
        cases: &[(Expr, Value)],
        otherwise: Option<&Value>,
        budget: &Budget,
    ) -> Result<Work, StepError> {
        let data = self.data(None);
        for (when, choice) in cases {
            if when.test(&data, budget)? {
                return Ok(self.chosen(choice));
            }
        }
        otherwise.map(|choice| self.chosen(choice)).ok_or_else(|| {
            StepError::new(
                "no_case_matched",
                format!(
                    "none of the {} cases holds and there is no `otherwise`",
                    cases.len()
                ),
            )
        })
    }

    fn chosen(&self, choice: &Value) -> Work {
        Work::Output {
            output: Arc::new(json!({"choice": choice, "input": &*self.input})),
            remember: Vec::new(),
        }
    }

    pub(super) fn template(
        &self,
        template: &Template,
        budget: &Budget,
    ) -> Result<Value, EvalError> {
        template.evaluate(&self.data(None), budget)
    }
    pub(super) fn value(&self, expr: &Expr, budget: &Budget) -> Result<Value, EvalError> {
        expr.evaluate(&self.data(None), budget)
    }
    pub(super) fn render(&self, text: &Text, budget: &Budget) -> Result<String, EvalError> {
        text.render(&self.data(None), Markup::Plain, budget)
    }
    pub(super) fn test(
        &self,
        when: &Expr,
        output: &Value,
        budget: &Budget,
    ) -> Result<bool, EvalError> {
        when.test(&self.data(Some(output)), budget)
    }

    fn data<'a>(&'a self, output: Option<&'a Value>) -> Data<'a> {
        let seen = |which: usize| &self.logs[which][..self.seen[which].min(self.logs[which].len())];
        let in_skill = self.step.node != SKILL_NODE;
        let skill_graph = self
            .plan
            .skills
            .get(usize::from(self.step.skill))
            .filter(|_| in_skill);
        Data {
            trigger: &self.trigger,
            execution: self.execution,
            at: self.at,
            zone: self.plan.zone,
            input: &self.input,
            skills: seen(0),
            nodes: if in_skill { seen(1) } else { &[] },
            ids: [
                &self.plan.employee.ids,
                skill_graph.map_or(&[], |graph| &graph.ids),
            ],
            memory: &self.memory,
            skill: in_skill.then(|| self.plan.skill_name(self.step)),
            output,
            item: self.step.item.map(|index| (&*self.input, index)),
            item_name: self.plan.map(self.step).map_or("item", |map| &map.name),
            call: None,
        }
    }
}
