//! Beginning attempts: what each type of node asks its surroundings for.

use super::{
    Run,
    state::{At, FrameKey, Phase},
};
use crate::{
    domain::Timestamp,
    graph::{
        expr::EvalError,
        fact::{ApprovalRequest, Command, EventWait, StepError, StepId, TimerPurpose},
        plan::{Limits, Plan, SKILL_NODE, WaitPlan, WorkPlan},
        template::Template,
    },
};
use serde_json::Value;
use std::sync::Arc;

/// Code of a step that met a limit of work or size; its message names the limit.
pub(super) const LIMIT_EXCEEDED: &str = "limit_exceeded";

impl From<EvalError> for StepError {
    fn from(error: EvalError) -> StepError {
        let message = error.to_string();
        match error {
            // Another time it may be fast enough.
            EvalError::Stopped => StepError::retryable(LIMIT_EXCEEDED, message),
            error if error.is_limit() => StepError::new(LIMIT_EXCEEDED, message),
            _ => StepError::new("expression_failed", message),
        }
    }
}

/// How long a step may take and how often it is tried.
pub(super) fn limits_of(plan: &Plan, step: StepId) -> Limits {
    if step.node == SKILL_NODE {
        return plan
            .employee
            .nodes
            .get(usize::from(step.skill))
            .map(|node| node.limits)
            .unwrap_or_default();
    }
    match step.item {
        Some(_) => plan.map(step).map(|map| map.limits).unwrap_or_default(),
        None => plan.node(step).map(|node| node.limits).unwrap_or_default(),
    }
}

/// What a person decides on: the question's arguments, and the capabilities that the answer stands for.
fn with_approves(arguments: Arc<Value>, approves: &[Box<str>]) -> Result<Arc<Value>, StepError> {
    if approves.is_empty() {
        return Ok(arguments);
    }
    match Value::clone(&arguments) {
        Value::Object(mut fields) => {
            fields.insert("approves".into(), approves.iter().map(|id| &**id).collect());
            Ok(Arc::new(Value::Object(fields)))
        }
        other => Err(StepError::new(
            "expression_failed",
            format!(
                "`arguments` of an approval with `approves` must be an object, found {}",
                crate::graph::expr::kind_of(&other)
            ),
        )),
    }
}

impl Run {
    /// Replaces the default input, if the node says so, and begins.
    pub(super) fn first_attempt(&mut self, id: StepId) -> Result<(), StepError> {
        let plan = self.plan.clone();
        let node = if id.node == SKILL_NODE {
            plan.employee.nodes.get(usize::from(id.skill))
        } else {
            plan.node(id)
        };
        if let (Some(template), None) = (node.and_then(|node| node.input.as_ref()), id.item) {
            let input = self.evaluate(id, template).map_err(|error| StepError {
                message: format!("`input`: {}", error.message),
                ..error
            })?;
            let before = self.input_of(id);
            self.let_go(&before);
            self.hold(&input);
            if let Some(step) = self.state.steps.get_mut(&id) {
                step.input = Arc::new(input);
            }
        }
        self.check_held(&self.input_of(id))?;
        self.begin_attempt(id)
    }

    pub(super) fn begin_attempt(&mut self, id: StepId) -> Result<(), StepError> {
        let plan = self.plan.clone();
        match if id.node == SKILL_NODE {
            Some(&WorkPlan::Skill)
        } else {
            plan.work(id)
        } {
            Some(WorkPlan::Skill) => self.begin_skill(&plan, id),
            Some(
                WorkPlan::Transform { .. } | WorkPlan::Decide { .. } | WorkPlan::Action { .. },
            ) => self.run_step(id),
            Some(WorkPlan::Approval {
                title,
                arguments,
                approves,
                expires_ms,
                ..
            }) => {
                let title = match title {
                    Some(title) => {
                        let context = self.step_context(id);
                        self.within(|budget| context.render(title, budget))?
                    }
                    None => format!("{} asks for approval", plan.node_name(id)),
                };
                let arguments = match arguments {
                    Some(arguments) => Arc::new(self.evaluate(id, arguments)?),
                    None => self.input_of(id),
                };
                let arguments = with_approves(arguments, approves)?;
                let expires = expires_ms.map(|millis| self.now().after_ms(millis));
                self.ask(id, title, arguments, expires);
            }
            Some(WorkPlan::Wait(wait)) => self.wait(id, wait)?,
            Some(WorkPlan::Map(map)) => {
                // Its elements may end it at once, so the timeout comes first.
                let items = self.map_items(id, map)?;
                self.set_timeout(id);
                self.begin_map(id, items);
                return Ok(());
            }
            None => {
                return Err(StepError::new(
                    "plan_mismatch",
                    "the plan of this run has no such node",
                ));
            }
        }
        self.set_timeout(id);
        Ok(())
    }

    fn begin_skill(&mut self, plan: &Plan, id: StepId) {
        let Some(graph) = plan.skills.get(usize::from(id.skill)) else {
            return;
        };
        let input = self.input_of(id);
        self.end_phase(id, Phase::Frame);
        self.open_frame(
            FrameKey::Skill(id.skill, id.skill_visit),
            &graph.entry,
            graph.nodes.len(),
            input,
        );
    }

    /// Asks for the work of a step to be done; also again, after it was parked.
    pub(super) fn run_step(&mut self, id: StepId) {
        self.end_phase(id, Phase::Running);
        if let Some(step) = self.state.steps.get(&id) {
            self.out.push(Command::StartStep {
                step: id,
                attempt: step.attempt,
            });
        }
    }

    pub(super) fn ask(
        &mut self,
        id: StepId,
        title: String,
        arguments: Arc<Value>,
        expires: Option<At>,
    ) {
        self.end_phase(
            id,
            Phase::Approval {
                title: title.clone(),
                arguments: arguments.clone(),
                expires,
            },
        );
        self.out.push(Command::AskApproval(ApprovalRequest {
            step: id,
            title,
            arguments,
            expires: expires.map(Timestamp::from),
        }));
        if let Some(due) = expires {
            self.set_timer(id, TimerPurpose::Expiry, due);
        }
    }

    fn wait(&mut self, id: StepId, wait: &WaitPlan) -> Result<(), StepError> {
        match wait {
            WaitPlan::Duration(millis) => {
                let due = self.now().after_ms(*millis);
                self.end_phase(id, Phase::Timer(due));
                self.set_timer(id, TimerPurpose::Wait, due);
            }
            WaitPlan::Until(until) => {
                let value = {
                    let context = self.step_context(id);
                    self.within(|budget| context.value(until, budget))?
                };
                let due = value.as_str().and_then(Timestamp::parse).ok_or_else(|| {
                    StepError::new(
                        "expression_failed",
                        format!("`until` gave {value}, not an RFC 3339 time"),
                    )
                })?;
                self.end_phase(id, Phase::Timer(due.into()));
                self.set_timer(id, TimerPurpose::Wait, due.into());
            }
            WaitPlan::Event {
                event,
                source,
                matches,
                timeout_ms,
                ..
            } => {
                let matches = matches.iter().map(|(pointer, template)| {
                    Ok((pointer.to_string(), self.evaluate(id, template)?))
                });
                let matches = matches.collect::<Result<Vec<_>, StepError>>()?;
                let until = timeout_ms.map(|millis| self.now().after_ms(millis));
                let source = source.as_deref().map(str::to_string);
                self.end_phase(
                    id,
                    Phase::Event {
                        event: event.to_string(),
                        source,
                        matches,
                        until,
                    },
                );
                self.out.extend(self.open_command(id));
                if let Some(due) = until {
                    self.set_timer(id, TimerPurpose::Wait, due);
                }
            }
        }
        Ok(())
    }

    /// The command that an unfinished step stands for; `None` if it is carried by timers or other steps.
    pub(super) fn open_command(&self, id: StepId) -> Option<Command> {
        let step = self.state.steps.get(&id)?;
        match &step.phase {
            Phase::Running => Some(Command::StartStep {
                step: id,
                attempt: step.attempt,
            }),
            Phase::Approval {
                title,
                arguments,
                expires,
            } => Some(Command::AskApproval(ApprovalRequest {
                step: id,
                title: title.clone(),
                arguments: arguments.clone(),
                expires: expires.map(Timestamp::from),
            })),
            Phase::Event {
                event,
                source,
                matches,
                until,
            } => Some(Command::WaitForEvent {
                step: id,
                wait: EventWait {
                    event: event.clone(),
                    source: source.clone(),
                    matches: matches.clone(),
                    until: until.map(Timestamp::from),
                },
            }),
            _ => None,
        }
    }

    fn evaluate(&self, id: StepId, template: &Template) -> Result<Value, StepError> {
        let context = self.step_context(id);
        Ok(self.within(|budget| context.template(template, budget))?)
    }

    pub(super) fn input_of(&self, id: StepId) -> Arc<Value> {
        self.state
            .steps
            .get(&id)
            .map(|step| step.input.clone())
            .unwrap_or_default()
    }
}
