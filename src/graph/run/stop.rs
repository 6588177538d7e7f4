//! Ending things before their time, and the end of the run.

use super::{
    Run,
    state::{FrameKey, Phase, step_of},
};
use crate::graph::fact::{Command, Outcome, StepId};

impl Run {
    /// A step is not wanted any more.
    pub(super) fn cancel(&mut self, id: StepId) {
        if self
            .state
            .steps
            .get(&id)
            .is_none_or(|step| step.phase.is_finished())
        {
            return;
        }
        self.release(id);
        self.end_phase(id, Phase::Cancelled);
    }

    /// Cancels what is at work in a frame, in the order of its graph, and forgets the frame.
    pub(super) fn close_frame(&mut self, key: FrameKey) {
        let Some(frame) = self.state.frames.remove(&key) else {
            return;
        };
        for (node, state) in (0u16..).zip(&frame.nodes).filter(|(_, state)| state.active) {
            self.cancel(step_of(key, node, state.visits));
        }
        self.dirty.remove(&key);
    }

    /// The end, exactly once.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        if self.state.outcome.is_some() {
            return;
        }
        self.close_frame(FrameKey::Employee);
        self.dirty.clear();
        self.state.outcome = Some(outcome.clone());
        self.out.push(Command::Finish(outcome));
    }

    /// What has to be carried out again after a replay: every step at work is started again, every timer set, every question asked,
    /// every wait begun; `Finish` if it is finished. All of them are safe to repeat.
    pub fn outstanding(&self) -> Vec<Command> {
        if let Some(outcome) = &self.state.outcome {
            return vec![Command::Finish(outcome.clone())];
        }
        let steps = self
            .state
            .order
            .iter()
            .filter_map(|id| self.open_command(*id));
        let timers = self
            .state
            .timers
            .iter()
            .map(|(timer, due)| Command::SetTimer {
                timer: *timer,
                due: (*due).into(),
            });
        steps.chain(timers).collect()
    }
}
