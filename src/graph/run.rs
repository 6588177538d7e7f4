//! A run as a synchronous machine: facts in, commands out, no io and no clock.
//!
//! The same facts in the same order give the same state, so replaying a journal is the live run once more. Facts that do not fit —
//! about steps that are unknown or finished, timers that are not set — are ignored, because a crash may repeat them.
//!
//! # Semantics
//! - Dataflow. The employee graph is the outer frame; each visit of a skill node opens a frame of its skill graph.
//! - A completed node fires its edges whose `when` holds; a token with the node's output waits at the far end. A node starts when its
//!   `join` is met, one visit at a time, at most `max_visits` times; a token that comes later is dropped, and its edge has not fired.
//! - Entry nodes and handlers (`on_error`, `on_denied`, `on_expired`, `on_timeout`) start by a token of their own, without a join.
//! - `join: all` waits for every incoming edge that can still fire: whose source is at work, or can be reached from a node at work or
//!   with tokens through nodes with visits left, on a way that does not lead through the joining node. If nothing is at work and only
//!   joins that wait for each other remain, the first in the order of the graph starts with what it has. Ready nodes start in the
//!   order of the graph, and all of a frame before a frame inside of it moves on.
//! - A frame with nothing at work and no tokens is done. Its output is that of its last nodes: those completed, none of whose edges
//!   fired then. A step that fails for good goes to its handler, else its frame fails, else the run.

mod agreed;
mod context;
mod held;
mod invariants;
mod join;
mod map;
mod queries;
mod results;
mod settle;
mod start;
mod state;
mod stop;
mod timers;
mod view;

pub use agreed::Agreed;
pub use context::{StepContext, Work};
pub use held::{Apart, in_place};
pub use state::RunState;
pub use view::{RunStatus, SkillView, StepStatus, StepView, Waiting};

use super::{
    fact::{Command, Fact, Outcome, RunError, StepError},
    plan::Plan,
};
use crate::domain::{ExecutionId, MemoryView, Timestamp};
use state::{At, Frame, FrameKey, Token};
use std::{borrow::Borrow, collections::BTreeSet, sync::Arc};

pub struct Run {
    plan: Arc<Plan>,
    state: RunState,
    /// Frames in which something happened since they were last settled. Empty between facts.
    dirty: BTreeSet<FrameKey>,
    /// Commands of the fact at hand. Empty between facts.
    out: Vec<Command>,
    limits: held::Limits,
    apart: Apart,
}

impl Run {
    /// Starts a run. `accepted` is the first fact of its journal, `context` the memory that it reads to its end.
    pub fn start(
        plan: Arc<Plan>,
        accepted: &Fact,
        execution: ExecutionId,
        context: MemoryView,
    ) -> (Run, Vec<Command>) {
        Self::start_at(plan, accepted, None, execution, context, in_place)
    }

    /// The same for a run that had to wait for its turn: `begun` is when that came ([`Fact::Begun`]). What is expensive goes `apart`.
    pub fn start_at(
        plan: Arc<Plan>,
        accepted: &Fact,
        begun: Option<Timestamp>,
        execution: ExecutionId,
        context: MemoryView,
        apart: Apart,
    ) -> (Run, Vec<Command>) {
        let state = RunState::new(execution, accepted.at(), context);
        let mut run = Run::restore(plan, state, apart);
        match accepted {
            Fact::Accepted { trigger, skill, .. } => {
                if let Some(begun) = begun {
                    run.state.now = begun.into();
                }
                run.state.trigger = Arc::new(trigger.clone());
                run.enter(skill.as_deref());
            }
            other => run.broken(format!(
                "the journal begins with {other:?} instead of `accepted`"
            )),
        }
        let commands = run.settled();
        (run, commands)
    }

    /// Takes one fact. Facts that do not fit are ignored and give no commands; so does everything after the end.
    pub fn apply(&mut self, fact: &Fact) -> Vec<Command> {
        if self.state.outcome.is_some() {
            return Vec::new();
        }
        self.state.now = fact.at().into();
        self.limits.renew();
        match fact {
            Fact::Accepted { .. } | Fact::Begun { .. } | Fact::Finished { .. } => {}
            Fact::StepCompleted { step, output, .. } => self.step_completed(*step, output.clone()),
            Fact::StepFailed {
                step,
                attempt,
                error,
                ..
            } => self.step_failed(*step, *attempt, error.clone()),
            Fact::StepParked { step, wait, .. } => self.step_parked(*step, wait.clone()),
            Fact::StepAsked {
                step,
                title,
                arguments,
                expires,
                ..
            } => self.step_asked(*step, title, arguments, *expires),
            Fact::StepResumed { step, .. } => self.step_resumed(*step),
            Fact::TimerFired { timer, .. } => self.timer_fired(*timer),
            Fact::ApprovalDecided {
                step,
                decision,
                by,
                comment,
                ..
            } => self.decided(*step, *decision, by, comment.as_deref()),
            Fact::EventArrived {
                step,
                payload,
                source,
                ..
            } => self.event_arrived(*step, payload, source),
            Fact::StopRequested {
                kind, by, reason, ..
            } => {
                self.finish(Outcome::Cancelled {
                    kind: *kind,
                    by: by.clone(),
                    reason: reason.clone(),
                });
            }
            Fact::Aborted { error, .. } => self.finish(Outcome::Failed {
                error: RunError {
                    skill: String::new(),
                    node: None,
                    error: error.clone(),
                },
            }),
        }
        self.settled()
    }

    /// Rebuilds a run from its journal, `accepted` first. What it would have to do again is in [`Run::outstanding`].
    pub fn replay<F: Borrow<Fact>>(
        plan: Arc<Plan>,
        facts: impl IntoIterator<Item = F>,
        execution: ExecutionId,
        context: MemoryView,
    ) -> Run {
        let mut facts = facts.into_iter();
        let Some(first) = facts.next() else {
            let at = Timestamp::default();
            let state = RunState::new(execution, at, context);
            let mut run = Run::restore(plan, state, in_place);
            run.broken("the journal is empty".into());
            run.out.clear();
            return run;
        };
        let mut facts = facts.peekable();
        let begun = facts.peek().and_then(|second| second.borrow().begun());
        let (mut run, _) = Run::start_at(plan, first.borrow(), begun, execution, context, in_place);
        for fact in facts {
            run.apply(fact.borrow());
        }
        run
    }

    /// Everything but the plan, to be encoded.
    pub fn to_state(&self) -> RunState {
        self.state.clone()
    }

    /// A run as it was. `plan` must be the plan that it ran with. What is expensive goes `apart`.
    pub fn restore(plan: Arc<Plan>, state: RunState, apart: Apart) -> Run {
        Run {
            plan,
            limits: held::Limits::of(&state),
            state,
            dirty: BTreeSet::new(),
            out: Vec::new(),
            apart,
        }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub fn execution(&self) -> ExecutionId {
        self.state.execution
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.state.outcome.as_ref()
    }

    /// When the trigger was accepted.
    pub fn accepted_at(&self) -> Timestamp {
        self.state.accepted_at.into()
    }

    /// Time of the last fact; of a finished run, its end.
    pub fn last_at(&self) -> Timestamp {
        self.state.now.into()
    }

    /// Opens the outer frame.
    fn enter(&mut self, skill: Option<&str>) {
        let plan = self.plan.clone();
        let entry = match skill.map(|id| (id, plan.skill_position(id))) {
            None => plan.employee.entry.clone(),
            Some((_, Some(place))) => Box::from([place]),
            Some((id, None)) => {
                let error =
                    StepError::new("unknown_skill", format!("the employee has no skill `{id}`"));
                return self.finish(Outcome::Failed {
                    error: RunError {
                        skill: id.into(),
                        node: None,
                        error,
                    },
                });
            }
        };
        let payload = self.state.trigger.payload.clone();
        self.open_frame(
            FrameKey::Employee,
            &entry,
            plan.employee.nodes.len(),
            payload,
        );
    }

    fn open_frame(
        &mut self,
        key: FrameKey,
        entry: &[u16],
        nodes: usize,
        input: Arc<serde_json::Value>,
    ) {
        let mut frame = Frame::new(nodes);
        for node in entry {
            if let Some(node) = frame.nodes.get_mut(usize::from(*node)) {
                node.tokens.push(Token {
                    edge: None,
                    value: input.clone(),
                });
            }
        }
        self.state.frames.insert(key, frame);
        self.dirty.insert(key);
    }

    fn broken(&mut self, message: String) {
        let error = StepError::new("journal_broken", message);
        self.finish(Outcome::Failed {
            error: RunError {
                skill: String::new(),
                node: None,
                error,
            },
        });
    }

    fn settled(&mut self) -> Vec<Command> {
        self.settle();
        debug_assert_eq!(self.check_invariants(), Ok(()));
        std::mem::take(&mut self.out)
    }

    fn now(&self) -> At {
        self.state.now
    }
}

#[cfg(test)]
mod tests;
