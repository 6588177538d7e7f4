//! Facts about steps: what came back.

use super::{Run, start::limits_of, state::Phase};
use crate::domain::Timestamp;
use crate::graph::{
    fact::{ApprovalEnd, Command, Decision, NamedWait, StepError, StepId, TimerPurpose},
    plan::WorkPlan,
};
use serde_json::{Value, json};
use std::sync::Arc;

impl Run {
    fn phase(&self, id: StepId) -> Option<&Phase> {
        self.state.steps.get(&id).map(|step| &step.phase)
    }

    pub(super) fn step_completed(&mut self, id: StepId, output: Arc<Value>) {
        if let Some(Phase::Running | Phase::Parked(_)) = self.phase(id) {
            self.complete(id, output);
        }
    }

    pub(super) fn step_failed(&mut self, id: StepId, attempt: u32, error: StepError) {
        let current = self
            .state
            .steps
            .get(&id)
            .is_some_and(|step| step.attempt == attempt);
        if let (true, Some(Phase::Running | Phase::Parked(_))) = (current, self.phase(id)) {
            // It has stopped by itself: nothing to cancel.
            self.end_phase(id, Phase::Backoff);
            self.fail(id, error);
        }
    }

    /// A parked step has no timeout any more: how long a person or an account takes is not its fault, and the limits of the
    /// connection hold again once it goes on.
    pub(super) fn step_parked(&mut self, id: StepId, wait: NamedWait) {
        if let Some(Phase::Running | Phase::Parked(_)) = self.phase(id) {
            self.clear_timers(id);
            self.end_phase(id, Phase::Parked(wait));
        }
    }

    /// A step that a person has to agree to first. As of a parked one, the time that this takes is not the step's.
    pub(super) fn step_asked(
        &mut self,
        id: StepId,
        title: &str,
        arguments: &Arc<Value>,
        expires: Option<Timestamp>,
    ) {
        if let Some(Phase::Running | Phase::Parked(_)) = self.phase(id) {
            self.clear_timers(id);
            self.ask(
                id,
                title.to_owned(),
                arguments.clone(),
                expires.map(Into::into),
            );
        }
    }

    pub(super) fn step_resumed(&mut self, id: StepId) {
        if let Some(Phase::Parked(_)) = self.phase(id) {
            self.run_step(id);
        }
    }

    pub(super) fn decided(
        &mut self,
        id: StepId,
        decision: Decision,
        by: &str,
        comment: Option<&str>,
    ) {
        let Some(Phase::Approval { arguments, .. }) = self.phase(id) else {
            return;
        };
        let arguments = arguments.clone();
        match decision {
            Decision::Approved => {
                self.out.push(Command::CloseApproval {
                    step: id,
                    how: ApprovalEnd::Approved,
                });
                // A call that was asked about goes on; an approval of the graph is done.
                if !matches!(self.plan.work(id), Some(WorkPlan::Approval { .. })) {
                    self.clear_timers(id);
                    return self.run_step(id);
                }
                let output = json!({"decision": "approved", "by": by, "comment": comment, "arguments": &*arguments});
                self.complete(id, Arc::new(output));
            }
            Decision::Denied => {
                let handler = self.approval_handlers(id).0;
                let extra = json!({"decision": "denied", "by": by, "comment": comment, "arguments": &*arguments});
                let message = comment.map_or_else(
                    || format!("{by} denied it"),
                    |comment| format!("{by} denied it: {comment}"),
                );
                self.end_approval(
                    id,
                    ApprovalEnd::Denied,
                    StepError::new("approval_denied", message),
                    (handler, extra),
                );
            }
        }
    }

    pub(super) fn approval_expired(&mut self, id: StepId) {
        let Some(Phase::Approval { arguments, .. }) = self.phase(id) else {
            return;
        };
        let extra = json!({"decision": "expired", "arguments": &**arguments});
        let handler = self.approval_handlers(id).1;
        let error = StepError::new("approval_expired", "nobody decided in time");
        self.end_approval(id, ApprovalEnd::Expired, error, (handler, extra));
    }

    fn end_approval(
        &mut self,
        id: StepId,
        how: ApprovalEnd,
        error: StepError,
        handler: (Option<u16>, Value),
    ) {
        self.out.push(Command::CloseApproval { step: id, how });
        self.clear_timers(id);
        self.fail_for_good(id, error, Some(handler));
    }

    /// `on_denied` and `on_expired`.
    fn approval_handlers(&self, id: StepId) -> (Option<u16>, Option<u16>) {
        match self.plan.work(id) {
            Some(WorkPlan::Approval {
                on_denied,
                on_expired,
                ..
            }) => (*on_denied, *on_expired),
            _ => (None, None),
        }
    }

    pub(super) fn event_arrived(&mut self, id: StepId, payload: &Value, source: &str) {
        if let Some(Phase::Event { .. }) = self.phase(id) {
            self.out.push(Command::StopWaiting { step: id });
            self.complete(id, Arc::new(json!({"event": payload, "source": source})));
        }
    }

    /// A step has failed: it is tried again, or that was it.
    pub(super) fn fail(&mut self, id: StepId, error: StepError) {
        self.release(id);
        let policy = limits_of(&self.plan, id).retry;
        let attempt = self
            .state
            .steps
            .get(&id)
            .map_or(u32::MAX, |step| step.attempt);
        let repeatable = error.retryable || matches!(error.code.as_str(), "timeout" | "panicked");
        match policy.filter(|policy| repeatable && attempt < policy.max_attempts) {
            Some(policy) => {
                let due = self.now().after_ms(super::timers::delay_ms(
                    &policy,
                    self.state.execution,
                    id,
                    attempt,
                ));
                self.end_phase(id, Phase::Backoff);
                if let Some(step) = self.state.steps.get_mut(&id) {
                    step.error = Some(error);
                }
                self.set_timer(id, TimerPurpose::Retry, due);
            }
            None => self.fail_for_good(id, error, None),
        }
    }
}
