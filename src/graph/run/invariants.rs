//! What must be true between two facts.

use super::{
    Run,
    state::{FrameKey, Phase, Step, place_of, step_of},
};
use crate::graph::fact::{StepId, TimerKey, TimerPurpose};

impl Run {
    /// # Errors
    /// The first invariant that does not hold, in words.
    pub fn check_invariants(&self) -> Result<(), String> {
        if !self.dirty.is_empty() {
            return Err("a frame is not settled".into());
        }
        if self.state.order.len() != self.state.steps.len() {
            return Err("a step is missing in the order of steps, or there twice".into());
        }
        self.state
            .steps
            .iter()
            .try_for_each(|(id, step)| self.check_step(*id, step))?;
        self.state
            .timers
            .keys()
            .try_for_each(|timer| self.check_timer(*timer))?;
        if self.state.outcome.is_some() {
            self.check_finished()
        } else {
            self.check_alive()
        }
    }

    /// A finished run leaves nothing behind.
    fn check_finished(&self) -> Result<(), String> {
        match self
            .state
            .steps
            .iter()
            .find(|(_, step)| !step.phase.is_finished())
        {
            Some((id, step)) => Err(format!(
                "the run is finished, step {id} is {:?}",
                step.phase
            )),
            None if !self.state.timers.is_empty() => {
                Err("the run is finished, a timer is set".into())
            }
            None if !self.state.frames.is_empty() => {
                Err("the run is finished, a frame is open".into())
            }
            None => Ok(()),
        }
    }

    /// An unfinished run has something that will move it.
    fn check_alive(&self) -> Result<(), String> {
        let carried = self.state.steps.values().any(|step| {
            matches!(
                step.phase,
                Phase::Running
                    | Phase::Parked(_)
                    | Phase::Approval { .. }
                    | Phase::Event { .. }
                    | Phase::Timer(_)
                    | Phase::Backoff
            )
        });
        if !carried {
            return Err("the run is unfinished and nothing would move it".into());
        }
        self.state.frames.iter().try_for_each(|(key, frame)| {
            if !frame.nodes.iter().any(|node| node.active) {
                return Err(format!(
                    "frame {key:?} is open and nothing in it is at work"
                ));
            }
            (0u16..)
                .zip(&frame.nodes)
                .filter(|(_, node)| node.active)
                .try_for_each(|(node, state)| {
                    match self.state.steps.get(&step_of(*key, node, state.visits)) {
                        Some(step) if !step.phase.is_finished() => Ok(()),
                        _ => Err(format!(
                            "node {node} of frame {key:?} is at work without a step"
                        )),
                    }
                })
        })
    }

    fn check_step(&self, id: StepId, step: &Step) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("step {id}: {what}"));
        let has_timer = |purpose| {
            self.state.timers.contains_key(&TimerKey {
                step: id,
                attempt: step.attempt,
                purpose,
            })
        };
        match &step.phase {
            Phase::New => wrong("was made and not begun"),
            Phase::Completed if step.output.is_none() => wrong("is completed without an output"),
            Phase::Failed if step.error.is_none() => wrong("has failed without an error"),
            Phase::Backoff if !has_timer(TimerPurpose::Retry) => {
                wrong("is to be tried again and has no timer")
            }
            Phase::Timer(_) if !has_timer(TimerPurpose::Wait) => wrong("waits and has no timer"),
            Phase::Frame
                if !self
                    .state
                    .frames
                    .contains_key(&FrameKey::Skill(id.skill, id.skill_visit)) =>
            {
                wrong("has no frame")
            }
            Phase::Mapping { open: 0, .. } => wrong("maps and no element is at work"),
            Phase::Mapping { open, .. } => {
                let first = StepId {
                    item: Some(0),
                    ..id
                };
                let last = StepId {
                    item: Some(u32::MAX),
                    ..id
                };
                let working = self
                    .state
                    .steps
                    .range(first..=last)
                    .filter(|(_, item)| !item.phase.is_finished())
                    .count();
                if working == *open as usize {
                    Ok(())
                } else {
                    wrong("counts its elements wrong")
                }
            }
            phase if !phase.is_finished() && id.item.is_none() => {
                let (key, node) = place_of(id);
                let active = self
                    .state
                    .frames
                    .get(&key)
                    .and_then(|frame| frame.nodes.get(usize::from(node)))
                    .is_some_and(|node| node.active);
                if active {
                    Ok(())
                } else {
                    wrong("is at work and its node is not")
                }
            }
            _ => Ok(()),
        }
    }

    fn check_timer(&self, timer: TimerKey) -> Result<(), String> {
        match self.state.steps.get(&timer.step) {
            Some(step) if step.phase.is_finished() => {
                Err(format!("step {} is finished and has a timer", timer.step))
            }
            Some(step) if step.attempt != timer.attempt => Err(format!(
                "step {} has a timer of another attempt",
                timer.step
            )),
            Some(_) => Ok(()),
            None => Err(format!(
                "a timer belongs to step {}, which does not exist",
                timer.step
            )),
        }
    }
}
