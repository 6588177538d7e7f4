//! After a fact: nodes that may start start, frames that are done close, tokens move on.

use super::{
    Run,
    join::{begin_visit, frame_output, next_ready},
    state::{FrameKey, NodeState, Phase, Step, Token, place_of, step_of},
};
use crate::graph::{
    fact::{Outcome, RunError, StepError, StepId},
    plan::GraphPlan,
};
use serde_json::{Value, json};
use std::sync::Arc;

impl Run {
    pub(super) fn settle(&mut self) {
        while let Some(key) = self.dirty.pop_first() {
            self.settle_frame(key);
        }
    }

    fn settle_frame(&mut self, key: FrameKey) {
        let plan = self.plan.clone();
        let Some(graph) = graph_of(&plan, key) else {
            return;
        };
        // Starting a node may fail the frame, and with it the run.
        while let Some(frame) = self.state.frames.get(&key) {
            let idle = !frame.nodes.iter().any(|node| node.active);
            let first_pending = || {
                (0u16..)
                    .zip(&frame.nodes)
                    .find(|(_, node)| node.is_pending())
                    .map(|(node, _)| node)
            };
            match next_ready(graph, frame) {
                Some(node) => self.start_node(key, graph, node),
                None if !idle => return,
                None => match first_pending() {
                    Some(node) => self.start_node(key, graph, node),
                    None => return self.frame_done(key, graph),
                },
            }
        }
    }

    fn start_node(&mut self, key: FrameKey, graph: &GraphPlan, node: u16) {
        let Some(frame) = self.state.frames.get_mut(&key) else {
            return;
        };
        let input = begin_visit(graph, frame, node);
        let step = step_of(key, node, frame.nodes[usize::from(node)].visits);
        self.new_step(step, input);
        if let Err(error) = self.first_attempt(step) {
            self.fail(step, error);
        }
    }

    pub(super) fn new_step(&mut self, id: StepId, input: Arc<Value>) {
        let length = |key: FrameKey| {
            self.state.frames.get(&key).map_or(0, |frame| {
                u32::try_from(frame.log.len()).unwrap_or(u32::MAX)
            })
        };
        let seen = (
            length(FrameKey::Employee),
            length(FrameKey::Skill(id.skill, id.skill_visit)),
        );
        let now = self.now();
        self.hold(&input);
        let step = Step {
            attempt: 1,
            phase: Phase::New,
            started: now,
            since: now,
            input,
            output: None,
            error: None,
            seen,
        };
        self.state.steps.insert(id, step);
        self.state.order.push(id);
    }

    fn frame_done(&mut self, key: FrameKey, graph: &GraphPlan) {
        let Some(frame) = self.state.frames.remove(&key) else {
            return;
        };
        let output = frame_output(graph, &frame);
        match key {
            FrameKey::Employee => self.finish(Outcome::Completed { result: output }),
            FrameKey::Skill(skill, visit) => {
                self.complete(step_of(FrameKey::Employee, skill, visit), output)
            }
        }
    }

    /// A step has its output.
    pub(super) fn complete(&mut self, id: StepId, output: Arc<Value>) {
        self.clear_timers(id);
        self.end_phase(id, Phase::Completed);
        let Some(step) = self.state.steps.get_mut(&id) else {
            return;
        };
        step.output = Some(output.clone());
        self.hold(&output);
        if let Err(error) = self.check_held(&output) {
            return self.fail_for_good(id, error, None);
        }
        if id.item.is_some() {
            self.item_done(id, None)
        } else {
            self.node_completed(id, output)
        }
    }

    fn node_completed(&mut self, id: StepId, output: Arc<Value>) {
        let (key, node) = place_of(id);
        let plan = self.plan.clone();
        let Some(graph) = graph_of(&plan, key) else {
            return;
        };
        let Some(frame) = self.state.frames.get_mut(&key) else {
            return;
        };
        Arc::make_mut(&mut frame.log).push((node, output.clone()));
        let fired = match self.fired(id, graph, node, &output) {
            Ok(fired) => fired,
            Err(error) => {
                if let Some(frame) = self.state.frames.get_mut(&key) {
                    Arc::make_mut(&mut frame.log).pop();
                }
                return self.fail_for_good(id, error, None);
            }
        };
        let Some(frame) = self.state.frames.get_mut(&key) else {
            return;
        };
        let mut moved = false;
        for edge in fired {
            let to = usize::from(graph.edges[usize::from(edge)].to);
            // A visit at work has been counted, so its node needs another one left.
            if frame.nodes[to].visits < graph.nodes[to].max_visits {
                frame.nodes[to].tokens.push(Token {
                    edge: Some(edge),
                    value: output.clone(),
                });
                moved = true;
            }
        }
        let state = &mut frame.nodes[usize::from(node)];
        state.active = false;
        state.last = (!moved).then_some(output);
        self.dirty.insert(key);
    }

    /// The edges whose condition holds.
    fn fired(
        &self,
        id: StepId,
        graph: &GraphPlan,
        node: u16,
        output: &Arc<Value>,
    ) -> Result<Vec<u16>, StepError> {
        let mut fired = Vec::new();
        for edge in graph.nodes[usize::from(node)].edges_out.iter().copied() {
            let plan = &graph.edges[usize::from(edge)];
            let holds = match &plan.when {
                None => Ok(true),
                Some(when) => {
                    let context = self.edge_context(id, output);
                    self.within(|budget| context.test(when, output, budget))
                }
            };
            if holds.map_err(|error| edge_error(graph, plan.to, error))? {
                fired.push(edge);
            }
        }
        Ok(fired)
    }

    /// A step has failed and is not tried again. `handler`: the node that takes this failure and what it learns beside the error.
    pub(super) fn fail_for_good(
        &mut self,
        id: StepId,
        error: StepError,
        handler: Option<(Option<u16>, Value)>,
    ) {
        self.end_phase(id, Phase::Failed);
        let Some(step) = self.state.steps.get_mut(&id) else {
            return;
        };
        step.error = Some(error.clone());
        // An output whose edges could not be evaluated does not count.
        if let Some(output) = step.output.take() {
            self.let_go(&output);
        }
        if id.item.is_some() {
            return self.item_done(id, Some(error));
        }
        self.node_failed(id, error, handler, None);
    }

    /// `broke`: the micro-agent inside a skill that made the skill fail.
    pub(super) fn node_failed(
        &mut self,
        id: StepId,
        error: StepError,
        handler: Option<(Option<u16>, Value)>,
        broke: Option<String>,
    ) {
        let (key, node) = place_of(id);
        let plan = self.plan.clone();
        let Some(graph) = graph_of(&plan, key) else {
            return;
        };
        let Some(frame) = self.state.frames.get_mut(&key) else {
            return;
        };
        let state = &mut frame.nodes[usize::from(node)];
        state.active = false;
        state.last = None;
        self.dirty.insert(key);
        let (special, extra) = handler.unwrap_or((None, Value::Null));
        let handlers = special
            .into_iter()
            .chain(graph.nodes[usize::from(node)].on_error);
        let taker = handlers
            .into_iter()
            .find(|taker| has_room(graph, &frame.nodes, *taker));
        match taker {
            Some(taker) => {
                let input = self
                    .state
                    .steps
                    .get(&id)
                    .map(|step| step.input.clone())
                    .unwrap_or_default();
                let told = told(&graph.ids[usize::from(node)], &error, &input, extra);
                if let Some(frame) = self.state.frames.get_mut(&key) {
                    frame.nodes[usize::from(taker)].tokens.push(Token {
                        edge: None,
                        value: Arc::new(told),
                    });
                }
            }
            None => self.frame_failed(key, graph, node, error, broke),
        }
    }

    fn frame_failed(
        &mut self,
        key: FrameKey,
        graph: &GraphPlan,
        node: u16,
        error: StepError,
        broke: Option<String>,
    ) {
        let name = graph.ids[usize::from(node)].to_string();
        match key {
            FrameKey::Employee => self.finish(Outcome::Failed {
                error: RunError {
                    skill: name,
                    node: broke,
                    error,
                },
            }),
            FrameKey::Skill(skill, visit) => {
                let id = step_of(FrameKey::Employee, skill, visit);
                self.close_frame(key);
                self.clear_timers(id);
                self.end_phase(id, Phase::Failed);
                if let Some(step) = self.state.steps.get_mut(&id) {
                    step.error = Some(error.clone());
                }
                self.node_failed(id, error, None, Some(name));
            }
        }
    }

    pub(super) fn end_phase(&mut self, id: StepId, phase: Phase) {
        let now = self.now();
        if let Some(step) = self.state.steps.get_mut(&id) {
            step.phase = phase;
            step.since = now;
        }
    }
}

pub(super) fn graph_of(plan: &crate::graph::plan::Plan, key: FrameKey) -> Option<&GraphPlan> {
    match key {
        FrameKey::Employee => Some(&plan.employee),
        FrameKey::Skill(skill, _) => plan.skills.get(usize::from(skill)).map(AsRef::as_ref),
    }
}

/// A handler takes a failure only if it will have a visit for it: a failure must not get lost.
fn has_room(graph: &GraphPlan, nodes: &[NodeState], taker: u16) -> bool {
    let state = &nodes[usize::from(taker)];
    let queued = state
        .tokens
        .iter()
        .filter(|token| token.edge.is_none())
        .count();
    usize::from(state.visits) + queued < usize::from(graph.nodes[usize::from(taker)].max_visits)
}

fn edge_error(graph: &GraphPlan, to: u16, error: crate::graph::expr::EvalError) -> StepError {
    let error = StepError::from(error);
    StepError {
        message: format!(
            "`when` of the edge to `{}`: {}",
            graph.ids[usize::from(to)],
            error.message
        ),
        ..error
    }
}

/// The input of a handler.
fn told(node: &str, error: &StepError, input: &Value, extra: Value) -> Value {
    let mut told = json!({"error": {"code": error.code, "message": error.message}, "node": node, "input": input});
    if let (Value::Object(told), Value::Object(extra)) = (&mut told, extra) {
        told.extend(extra);
    }
    told
}
