//! What an employee does about each message: facts in, commands out. Synchronous; whatever has to be awaited is queued.

use super::{
    Accepted, DecideMessage, EmployeeError, EventMessage, FinishedRun, Message, Reply, State,
    StepAnswer, StepResult, StopMessage, TriggerMessage,
    admission::{Refusal, Verdict},
    carry_out::timer_key,
    live_run::LiveRun,
};
use crate::{
    actors::{journal::JournalError, loader, micro_agent, offers},
    domain::{ConflictPolicy, ContentHash, ExecutionId, MemoryView, event},
    graph::{Command, Fact, NamedWait, Outcome, StepId, StopKind, TimerKey},
    persistence::{
        AppendOutcome, BlobPut, DedupeKey, RunInsert, RunStatus, TimerChange, WaitChange, WaitRow,
    },
};
use ractor::ActorProcessingErr;
use std::sync::Arc;
use tokio::sync::oneshot;

impl State {
    pub(super) fn trigger(&mut self, message: TriggerMessage) {
        let replaced = match self.admit(&message) {
            Ok(replaced) => replaced,
            Err(error) => return drop(message.reply.send(Err(error))),
        };
        let undo = self.current.spec.concurrency.on_conflict == ConflictPolicy::Rollback;
        let kind = if undo {
            StopKind::RolledBack
        } else {
            StopKind::Interrupted
        };
        for run in &replaced {
            if undo {
                let at = self.now();
                if let Some(run) = self.runs.get_mut(run) {
                    let undone = run.execution;
                    run.outbox().undo.push((undone, at));
                }
            }
            self.apply(
                *run,
                self.stop_fact(kind, "tenure".into(), Self::replacement_reason(kind)),
            );
        }
        match replaced.last() {
            // What the new run remembers has to be read after the undo is durable.
            Some(last) if undo => self.accept_after_undo(*last, message),
            _ => self.accept(message),
        }
    }

    fn accept_after_undo(&mut self, undone: ExecutionId, message: TriggerMessage) {
        let (core, own, org, id) = (self.core.clone(), self.own.clone(), self.org, self.id);
        self.undurable += 1;
        self.flush_with(undone, move |result| {
            if let Err(error) = result {
                let _ = message
                    .reply
                    .send(Err(EmployeeError::Journal(error.clone())));
                let _ = own.tell(Message::Reread(None));
                return;
            }
            tokio::spawn(async move {
                let memory = loader::read_memory(&core, org, id).await;
                let _ = own.tell(match memory {
                    Ok(memory) => Message::Reread(Some((memory, Box::new(message)))),
                    Err(error) => {
                        let _ = message
                            .reply
                            .send(Err(EmployeeError::NotWoken(error.to_string().into())));
                        Message::Reread(None)
                    }
                });
            });
        });
    }

    /// An undo is through: what is remembered now, and the trigger that caused it.
    pub(super) fn reread(&mut self, what: Option<(MemoryView, Box<TriggerMessage>)>) {
        self.undurable -= 1;
        if let Some((memory, message)) = what {
            self.memory.replace(memory);
            self.accept(*message);
        }
    }

    /// The runs that have to make way, or why the trigger is not taken.
    fn admit(&self, message: &TriggerMessage) -> Result<Vec<ExecutionId>, EmployeeError> {
        if self.core.journal.overloaded() {
            return Err(EmployeeError::Overloaded);
        }
        if let Some(skill) = message.skill.as_deref()
            && !self.current.plan.has_skill(skill)
        {
            return Err(EmployeeError::UnknownSkill(skill.to_string()));
        }
        match self.admission.check(
            &self.current.spec.concurrency,
            message.conversation.as_deref(),
        ) {
            Ok(Verdict::Take) => Ok(Vec::new()),
            Ok(Verdict::Replace(runs)) => Ok(runs),
            Err(Refusal::ConversationBusy) => Err(EmployeeError::ConversationBusy),
            Err(Refusal::QueueFull) => Err(EmployeeError::QueueFull),
        }
    }

    /// Makes a run of a trigger. With a key it may turn out to be a duplicate, so it starts only when its acceptance is durable; else it
    /// starts at once, since nothing of it leaves the process before the acceptance is durable.
    fn accept(&mut self, message: TriggerMessage) {
        let TriggerMessage {
            trigger,
            conversation,
            skill,
            dedupe,
            reply,
            watcher,
        } = message;
        let (execution, at) = (self.core.clock.execution_id(), self.now());
        let (context, blob) = self.memory.pin();
        let insert = RunInsert {
            version: self.current.version,
            trigger_type: trigger.kind,
            source: trigger.source.clone(),
            conversation_key: conversation.clone(),
            accepted: at,
            dedupe: dedupe
                .clone()
                .map(|(source, key)| DedupeKey { source, key }),
        };
        let fact = Arc::new(Fact::Accepted {
            employee: self.id,
            version: self.current.version.unsigned_abs(),
            trigger,
            context: blob.as_ref().map(|(hash, _)| *hash),
            skill,
            at,
        });
        let mut run = LiveRun::new(
            self.org,
            execution,
            self.current.clone(),
            Some(fact.clone()),
            conversation.clone(),
            context,
        );
        run.record(&fact);
        run.run_append(self.id, execution).insert = Some(insert);
        if let Some((hash, body)) = blob {
            run.outbox().blobs.push(BlobPut {
                owner: execution.uuid(),
                hash,
                body,
                at,
            });
        }
        let waits_for_result = watcher.is_some();
        run.watchers.extend(watcher);
        self.runs.insert(execution, run);
        self.counts.accepted += 1;

        let run_id = event::run_id(self.id, self.current.version.unsigned_abs(), at);
        let keyed = dedupe.is_some();
        if !keyed {
            self.admission.enter(execution, conversation.as_deref());
        }
        // Whoever waits for the result hears of the acceptance with it: one commit less for a run that needs nothing from outside.
        if waits_for_result && !keyed {
            self.accepting.insert(execution, (run_id, reply));
        } else {
            self.flush_accepted(execution, run_id, reply);
        }
    }

    pub(super) fn flush_accepted(
        &mut self,
        execution: ExecutionId,
        run_id: String,
        reply: Reply<Accepted>,
    ) {
        self.flush_with(execution, move |result| {
            let answer = match result {
                Ok(AppendOutcome::Durable) => Ok(Accepted {
                    execution,
                    duplicate: false,
                    run_id: Some(run_id),
                }),
                Ok(AppendOutcome::Duplicate { execution }) => Ok(Accepted {
                    execution: *execution,
                    duplicate: true,
                    run_id: None,
                }),
                Err(error) => Err(EmployeeError::Journal(error.clone())),
            };
            let _ = reply.send(answer);
        });
    }

    pub(super) fn answer(&mut self, answer: StepAnswer) {
        let StepAnswer {
            execution,
            step,
            attempt,
            result,
            effects,
        } = answer;
        let at = self.now();
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
        let fact = match result {
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
        let asked = self
            .runs
            .get(&execution)
            .and_then(|run| run.machine.as_ref())
            .and_then(|machine| machine.open_approval(step));
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
        let at = self.now();
        self.apply_and_answer(
            execution,
            Fact::ApprovalDecided {
                step,
                decision,
                by,
                comment,
                at,
            },
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
        self.apply_and_answer(execution, Fact::StepResumed { step, at }, reply);
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
        self.apply_and_answer(execution, fact, reply);
    }

    fn stop_fact(&self, kind: StopKind, by: String, reason: Option<String>) -> Fact {
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

    /// Applies a fact and answers `reply` when it is durable.
    fn apply_and_answer(&mut self, execution: ExecutionId, fact: Fact, reply: Reply<()>) {
        self.apply(execution, fact);
        self.flush_with(execution, move |result| {
            let _ = reply.send(
                result
                    .as_ref()
                    .map(|_| ())
                    .map_err(|error| EmployeeError::Journal(error.clone())),
            );
        });
    }

    /// The one way in which a fact comes into a run.
    pub(super) fn apply(&mut self, execution: ExecutionId, fact: Fact) {
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        if run.finished.is_some() {
            return;
        }
        let machine = match &mut run.machine {
            Some(machine) => machine,
            // Only a stop can reach a run that has not begun: it begins and ends, and asks for nothing.
            slot @ None => {
                let Some(accepted) = &run.accepted else {
                    return;
                };
                slot.insert(run.version.begin(accepted, execution, &run.context).0)
            }
        };
        let commands = machine.apply(&fact);
        run.record(&fact);
        if let Fact::StepCompleted {
            remember, step, at, ..
        } = &fact
            && !remember.is_empty()
        {
            let skill = run.version.plan.skill_name(*step).to_string();
            let changes = self
                .memory
                .changes(self.id, &skill, remember, execution, *step, *at);
            run.outbox().memory.extend(changes);
            self.memory
                .hold_back(execution, run.facts(), remember.clone(), skill);
        }
        self.carry_out_when_due(execution, commands);
    }

    /// The journal has answered.
    pub(super) fn durable(
        &mut self,
        execution: ExecutionId,
        facts: u32,
        result: Result<AppendOutcome, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        self.undurable -= 1;
        match result {
            Ok(AppendOutcome::Duplicate { .. }) => {
                self.runs.remove(&execution);
                return Ok(());
            }
            Ok(AppendOutcome::Durable) => {}
            // What is in memory is not what the journal says: start again from what it says.
            Err(error) => return Err(error.into()),
        }
        self.memory.release(execution, facts);
        let Some(run) = self.runs.get_mut(&execution) else {
            return Ok(());
        };
        if self.admission.place(execution).is_none() {
            // A keyed trigger, now known to be the first of its key.
            self.admission.enter(execution, run.conversation.as_deref());
        }
        while let Some(commands) = self.pop_held(execution, facts) {
            self.carry_out(execution, commands);
        }
        self.after(execution);
        self.finish_if_over(execution, facts);
        Ok(())
    }

    /// The next commands that waited for a commit and need not any more.
    fn pop_held(&mut self, execution: ExecutionId, facts: u32) -> Option<Vec<Command>> {
        let held = &mut self.runs.get_mut(&execution)?.held;
        held.front()
            .is_some_and(|(needed, _)| *needed <= facts)
            .then(|| held.pop_front())
            .flatten()
            .map(|(_, commands)| commands)
    }

    /// Lets go of a run whose last fact is durable, and tells those who waited for it.
    fn finish_if_over(&mut self, execution: ExecutionId, facts: u32) {
        let over = self.runs.get(&execution).is_some_and(|run| {
            run.finished.is_some() && run.facts() <= facts && !run.has_unwritten()
        });
        if !over {
            return;
        }
        let Some(run) = self.runs.remove(&execution) else {
            return;
        };
        self.admission.leave(execution, run.conversation.as_deref());
        let Some(finished) = run.finished else { return };
        match finished.outcome {
            Outcome::Completed { .. } => self.counts.completed += 1,
            Outcome::Failed { .. } => self.counts.failed += 1,
            Outcome::Cancelled { .. } => self.counts.cancelled += 1,
        }
        crate::telemetry::run_finished(outcome_word(&finished.outcome));
        self.offer_if_wanted(execution);
        for watcher in run.watchers {
            let _ = watcher.send(finished.clone());
        }
    }

    /// The timer's row is durable; this only saves the time until it is read.
    fn offer_if_wanted(&self, execution: ExecutionId) {
        if self.core.interest.wants(self.org, self.id) {
            let (core, org, id) = (self.core.clone(), self.org, self.id);
            tokio::spawn(async move { offers::offer(&core, org, id, execution).await });
        }
    }

    /// Hands over what has gathered, unless pure steps are still at work and more will come in a moment.
    pub(super) fn after(&mut self, execution: ExecutionId) {
        let (id, now) = (self.id, self.now());
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        let Some(machine) = &run.machine else { return };
        if run.finished.is_none() && run.held.is_empty() && run.pure.is_empty() {
            let parked = machine.is_parked();
            self.admission.set_parked(execution, parked);
            let waiting_on =
                parked.then(|| serde_json::to_string(&machine.waiting_on()).unwrap_or_default());
            let status = if parked {
                RunStatus::Waiting
            } else {
                RunStatus::Running
            };
            let unwritten = run.has_unwritten();
            if status != run.status() || (parked && unwritten) {
                run.set_status(id, status, now, waiting_on, None);
            }
        }
        if run.has_unwritten()
            && (run.pure.is_empty() || run.is_full() || run.version.plan.is_step_durable())
        {
            self.flush(execution);
        }
    }
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed { .. } => "completed",
        Outcome::Failed { .. } => "failed",
        Outcome::Cancelled { .. } => "cancelled",
    }
}

/// Under which event name a named wait is stored. No event from outside can have it: their names hold no colon.
pub fn named_wait_event(kind: &str, on: &str) -> String {
    format!("wait:{kind}:{on}")
}
