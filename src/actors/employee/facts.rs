//! What happens to a run from outside of it, turned into facts. Everything that does not fit the run any more is refused or ignored
//! here, so that the journal holds only what counted.

use super::{
    DecideMessage, EmployeeError, EventMessage, FinishedRun, Reply, State, StepAnswer, StepResult,
    StopMessage, carry_out::timer_key,
};
use crate::{
    actors::micro_agent,
    domain::{ContentHash, ExecutionId},
    graph::{Fact, NamedWait, StepError, StepId, StopKind, TimerKey, budget::Size},
    persistence::{TimerChange, WaitChange, WaitRow},
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An output that is too large to be kept is none, whoever made it.
fn within_limits(result: StepResult) -> StepResult {
    let StepResult::Completed { output, remember } = result else {
        return result;
    };
    match Size::of(&output).check() {
        Ok(()) => StepResult::Completed { output, remember },
        Err(why) => {
            let message = format!("the output is too large: {why}");
            StepResult::Failed(StepError::new("limit_exceeded", message))
        }
    }
}

impl State {
    pub(super) fn answer(&mut self, answer: StepAnswer) {
        let StepAnswer {
            execution,
            step,
            attempt,
            result,
            effects,
        } = answer;
        let at = self.now();
        self.in_work.remove(&(execution, step));
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        run.pure.remove(&step);
        if !effects.is_empty() {
            run.outbox().effects.extend(effects);
        }
        // A step that was cancelled meanwhile: what the ledger learned counts, its result does not.
        if run
            .machine
            .as_ref()
            .is_none_or(|machine| !machine.is_step_running(step))
        {
            if run.has_unwritten() {
                self.flush(execution);
            }
            return;
        }
        let fact = match within_limits(result) {
            StepResult::Completed { output, remember } => Fact::StepCompleted {
                step,
                output,
                remember,
                at,
            },
            StepResult::Failed(error) => Fact::StepFailed {
                step,
                attempt,
                error,
                at,
            },
            StepResult::Parked(wait) => {
                self.note_wait(execution, step, &wait);
                Fact::StepParked { step, wait, at }
            }
            StepResult::Asks(question) => Fact::StepAsked {
                step,
                title: question.title,
                arguments: Arc::new(question.arguments),
                expires: Some(question.expires),
                at,
            },
        };
        self.apply(execution, fact);
    }

    /// A named wait is found again by what it waits for.
    fn note_wait(&mut self, execution: ExecutionId, step: StepId, wait: &NamedWait) {
        let row = WaitRow {
            org_id: self.org,
            run_id: execution,
            step: step.to_string(),
            employee_id: self.id,
            event: named_wait_event(&wait.kind, &wait.on),
            source: None,
            matches: "[]".into(),
            since: self.now(),
            until: None,
        };
        if let Some(run) = self.runs.get_mut(&execution) {
            run.outbox().waits.push(WaitChange::Set(Box::new(row)));
        }
    }

    pub(super) fn timer(&mut self, execution: ExecutionId, timer: TimerKey) {
        let open = self
            .runs
            .get(&execution)
            .and_then(|run| run.machine.as_ref())
            .is_some_and(|machine| machine.has_timer(&timer));
        if open {
            let at = self.now();
            self.apply(execution, Fact::TimerFired { timer, at });
        } else if timer.purpose.is_durable() && !self.runs.contains_key(&execution) {
            // The run is over and its row was left behind: nothing may fire for ever.
            let mut append = crate::actors::append::new_append(self.org);
            append.timers.push(TimerChange::Clear {
                owner: execution.uuid(),
                key: timer_key(&timer),
            });
            self.core
                .journal
                .submit(Some(execution), append, Box::new(|_| {}));
        }
    }

    pub(super) fn decide(&mut self, message: DecideMessage) {
        let DecideMessage {
            execution,
            step,
            decision,
            arguments_hash,
            by,
            comment,
            reply,
        } = message;
        let at = self.now();
        let machine = self
            .runs
            .get(&execution)
            .and_then(|run| run.machine.as_ref());
        let asked = machine.and_then(|machine| machine.open_approval(step));
        let expires = machine.and_then(|machine| machine.approval_expires(step));
        // Its timer may be late, after an outage for example: the time counts, not the timer.
        if expires.is_some_and(|expires| expires <= at) {
            if let Some(timer) = machine.and_then(|machine| machine.approval_timer(step)) {
                self.timer(execution, timer);
            }
            let _ = reply.send(Err(EmployeeError::Expired));
            return;
        }
        let refusal = match asked {
            None => Some(EmployeeError::NotPending),
            Some(arguments) if ContentHash::of_json(arguments) != arguments_hash => {
                Some(EmployeeError::OtherArguments)
            }
            Some(_) => None,
        };
        if let Some(error) = refusal {
            let _ = reply.send(Err(error));
            return;
        }
        if let Some(run) = self.runs.get_mut(&execution) {
            run.decided.insert(step, (by.clone(), comment.clone()));
        }
        self.apply_and_answer(
            execution,
            Fact::ApprovalDecided {
                step,
                decision,
                by,
                comment,
                at,
            },
            at,
            reply,
        );
    }

    pub(super) fn event(&mut self, message: EventMessage) {
        let EventMessage {
            execution,
            step,
            payload,
            source,
            reply,
        } = message;
        let waits = self
            .runs
            .get(&execution)
            .and_then(|run| run.machine.as_ref())
            .is_some_and(|machine| machine.waits_for_event(step));
        if waits {
            let at = self.now();
            self.apply_and_answer(
                execution,
                Fact::EventArrived {
                    step,
                    payload,
                    source,
                    at,
                },
                (),
                reply,
            );
        } else {
            let _ = reply.send(Err(EmployeeError::NotPending));
        }
    }

    pub(super) fn resume(&mut self, execution: ExecutionId, step: StepId, reply: Reply<()>) {
        let parked = self
            .runs
            .get(&execution)
            .and_then(|run| run.machine.as_ref())
            .is_some_and(|machine| machine.is_step_parked(step));
        if !parked {
            let _ = reply.send(Err(EmployeeError::NotPending));
            return;
        }
        if let Some(run) = self.runs.get_mut(&execution) {
            run.outbox().waits.push(WaitChange::Clear {
                run: execution,
                step: step.to_string(),
            });
        }
        self.resumed.insert((execution, step));
        let at = self.now();
        self.apply_and_answer(execution, Fact::StepResumed { step, at }, (), reply);
    }

    pub(super) fn stop(&mut self, message: StopMessage) {
        let StopMessage {
            execution,
            kind,
            by,
            reason,
            reply,
        } = message;
        if self
            .runs
            .get(&execution)
            .is_none_or(|run| run.finished.is_some())
        {
            let _ = reply.send(Err(EmployeeError::RunNotOpen(execution)));
            return;
        }
        let fact = self.stop_fact(kind, by, reason);
        self.apply_and_answer(execution, fact, (), reply);
    }

    pub(super) fn stop_fact(&self, kind: StopKind, by: String, reason: Option<String>) -> Fact {
        Fact::StopRequested {
            kind,
            by,
            reason,
            at: self.now(),
        }
    }

    pub(super) fn watch(&mut self, execution: ExecutionId, watcher: oneshot::Sender<FinishedRun>) {
        // A run that is not here any more is finished: dropping the sender tells the watcher to read it from the database.
        if let Some(run) = self.runs.get_mut(&execution) {
            run.watchers.push(watcher);
        }
    }

    /// The step that was in work when the micro-agent broke down has failed; its other steps are given again.
    pub(super) fn micro_agent_failed(
        &mut self,
        skill: u16,
        node: u16,
        culprit: Option<(ExecutionId, StepId)>,
    ) {
        let lost: Vec<(ExecutionId, StepId, u32)> =
            self.running_steps(|step| step.skill == skill && step.node == node);
        let at = self.now();
        for (execution, step, attempt) in lost {
            self.in_work.remove(&(execution, step));
            if culprit == Some((execution, step)) {
                self.apply(
                    execution,
                    Fact::StepFailed {
                        step,
                        attempt,
                        error: micro_agent::panicked(),
                        at,
                    },
                );
            } else {
                self.queue_again(execution, step, attempt);
            }
        }
    }
}

/// Under which event name a named wait is stored. No event from outside can have it: their names hold no colon.
pub fn named_wait_event(kind: &str, on: &str) -> String {
    format!("wait:{kind}:{on}")
}
