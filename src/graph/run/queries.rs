//! What the employee asks its runs before it takes something from outside.

use super::{Run, state::Phase};
use crate::{
    domain::Timestamp,
    graph::fact::{StepId, TimerKey, TimerPurpose},
};
use serde_json::Value;

impl Run {
    /// Whether this timer is set.
    pub fn has_timer(&self, timer: &TimerKey) -> bool {
        self.state.timers.contains_key(timer)
    }

    /// The arguments that the step asks approval for; `None` if it does not ask, or not any more.
    pub fn open_approval(&self, step: StepId) -> Option<&Value> {
        match &self.state.steps.get(&step)?.phase {
            Phase::Approval { arguments, .. } => Some(arguments),
            _ => None,
        }
    }

    /// When the approval that the step asks for ends undecided, if it does.
    pub fn approval_expires(&self, step: StepId) -> Option<Timestamp> {
        match &self.state.steps.get(&step)?.phase {
            Phase::Approval { expires, .. } => expires.map(Into::into),
            _ => None,
        }
    }

    /// The timer that ends it.
    pub fn approval_timer(&self, step: StepId) -> Option<TimerKey> {
        let mut timers = self.state.timers.keys();
        timers
            .find(|timer| timer.step == step && timer.purpose == TimerPurpose::Expiry)
            .copied()
    }

    pub fn waits_for_event(&self, step: StepId) -> bool {
        matches!(
            self.state.steps.get(&step).map(|step| &step.phase),
            Some(Phase::Event { .. })
        )
    }

    /// Whether the step is in a named wait.
    pub fn is_step_parked(&self, step: StepId) -> bool {
        matches!(
            self.state.steps.get(&step).map(|step| &step.phase),
            Some(Phase::Parked(_))
        )
    }

    /// Whether somebody is to be at work on the step.
    pub fn is_step_running(&self, step: StepId) -> bool {
        matches!(
            self.state.steps.get(&step).map(|step| &step.phase),
            Some(Phase::Running)
        )
    }

    /// Steps that somebody is to be at work on, with their attempts.
    pub fn running_steps(&self) -> impl Iterator<Item = (StepId, u32)> + '_ {
        self.state
            .steps
            .iter()
            .filter(|(_, step)| matches!(step.phase, Phase::Running))
            .map(|(id, step)| (*id, step.attempt))
    }
}
