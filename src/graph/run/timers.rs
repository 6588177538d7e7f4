//! Timers: setting, clearing, and what happens when they fire.

use super::{
    Run,
    start::limits_of,
    state::{At, FrameKey, Phase, place_of},
};
use crate::{
    domain::ExecutionId,
    graph::{
        fact::{Command, StepError, StepId, TimerKey, TimerPurpose},
        plan::{SKILL_NODE, WaitPlan, WorkPlan},
        spec::RetryPolicy,
    },
};
use serde_json::Value;

impl Run {
    pub(super) fn set_timer(&mut self, step: StepId, purpose: TimerPurpose, due: At) {
        let attempt = self.state.steps.get(&step).map_or(1, |step| step.attempt);
        let timer = TimerKey {
            step,
            attempt,
            purpose,
        };
        self.state.timers.insert(timer, due);
        self.out.push(Command::SetTimer {
            timer,
            due: due.into(),
        });
    }

    pub(super) fn set_timeout(&mut self, id: StepId) {
        if let Some(millis) = limits_of(&self.plan, id).timeout_ms {
            self.set_timer(id, TimerPurpose::Timeout, self.now().after_ms(millis));
        }
    }

    pub(super) fn clear_timers(&mut self, id: StepId) {
        let first = TimerKey {
            step: id,
            attempt: 0,
            purpose: TimerPurpose::Retry,
        };
        let open: Vec<TimerKey> = self
            .state
            .timers
            .range(first..)
            .map(|(key, _)| *key)
            .take_while(|key| key.step == id)
            .collect();
        for timer in open {
            self.state.timers.remove(&timer);
            self.out.push(Command::ClearTimer { timer });
        }
    }

    pub(super) fn timer_fired(&mut self, timer: TimerKey) {
        if self.state.timers.remove(&timer).is_none() {
            return;
        }
        match timer.purpose {
            TimerPurpose::Retry => self.retry(timer.step),
            TimerPurpose::Timeout => self.timed_out(timer.step),
            TimerPurpose::Wait => self.wait_ended(timer.step),
            TimerPurpose::Expiry => self.approval_expired(timer.step),
        }
    }

    fn retry(&mut self, id: StepId) {
        let Some(step) = self.state.steps.get_mut(&id) else {
            return;
        };
        step.attempt = step.attempt.saturating_add(1);
        if let Err(error) = self.begin_attempt(id) {
            self.fail(id, error);
        }
    }

    fn timed_out(&mut self, id: StepId) {
        let millis = limits_of(&self.plan, id).timeout_ms.unwrap_or_default();
        let what = if id.node == SKILL_NODE {
            "the skill"
        } else {
            "the step"
        };
        self.fail(
            id,
            StepError::new("timeout", format!("{what} took longer than {millis} ms")),
        );
    }

    fn wait_ended(&mut self, id: StepId) {
        match self.state.steps.get(&id).map(|step| &step.phase) {
            Some(Phase::Timer(_)) => self.complete(id, self.input_of(id)),
            Some(Phase::Event { event, .. }) => {
                let error = StepError::new("wait_timeout", format!("no `{event}` came in time"));
                let handler = match self.plan.work(id) {
                    Some(WorkPlan::Wait(WaitPlan::Event { on_timeout, .. })) => *on_timeout,
                    _ => None,
                };
                self.release(id);
                self.fail_for_good(id, error, Some((handler, Value::Null)));
            }
            _ => {}
        }
    }

    /// Takes back what a step has asked for, and what is inside it.
    pub(super) fn release(&mut self, id: StepId) {
        self.clear_timers(id);
        let Some(step) = self.state.steps.get(&id) else {
            return;
        };
        match &step.phase {
            Phase::Running | Phase::Parked(_) => self.out.push(Command::CancelStep { step: id }),
            Phase::Approval { .. } => {
                self.out.push(Command::CloseApproval {
                    step: id,
                    how: crate::graph::fact::ApprovalEnd::Withdrawn,
                });
            }
            Phase::Event { .. } => self.out.push(Command::StopWaiting { step: id }),
            Phase::Mapping { next, .. } => {
                for item in 0..*next {
                    self.cancel(StepId {
                        item: Some(item),
                        ..id
                    });
                }
            }
            Phase::Frame => self.close_frame(FrameKey::Skill(id.skill, id.skill_visit)),
            _ => {}
        }
        self.dirty.insert(place_of(id).0);
    }
}

/// How long to wait after attempt `attempt`, in milliseconds. The jitter comes from a hash, so that a replay waits as long.
pub(super) fn delay_ms(
    policy: &RetryPolicy,
    execution: ExecutionId,
    step: StepId,
    attempt: u32,
) -> u64 {
    let power = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let full = (policy.initial_ms as f64 * policy.factor.powi(power)).min(policy.max_ms as f64);
    let item = step.item.map_or(u64::MAX, u64::from);
    let place = [step.skill, step.skill_visit, step.node, step.visit]
        .into_iter()
        .fold(0u64, |all, part| (all << 16) | u64::from(part));
    let id = execution.uuid().as_u128();
    let seed = [
        id as u64,
        (id >> 64) as u64,
        place,
        item,
        u64::from(attempt),
    ]
    .into_iter()
    .fold(0, |seed, part| mix(seed ^ part));
    // 53 bits are what a double holds.
    let unit = (seed >> 11) as f64 / (1u64 << 53) as f64;
    (full * (1.0 - policy.jitter * unit)) as u64
}

/// The finalizer of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
