//! From a fact to its being durable: the one way into a run, and what follows when the journal has answered.

use super::{EmployeeError, Message, Reply, State};
use crate::{
    actors::{cluster::words::News, journal::JournalError, offers},
    domain::ExecutionId,
    graph::{Command, Fact, Outcome},
    persistence::{AppendOutcome, RunStatus},
};
use ractor::ActorProcessingErr;

impl State {
    /// Applies a fact and answers `reply` with `answer` when it is durable.
    pub(super) fn apply_and_answer<T: Send + 'static>(
        &mut self,
        execution: ExecutionId,
        fact: Fact,
        answer: T,
        reply: Reply<T>,
    ) {
        self.apply(execution, fact);
        self.flush_with(execution, move |result| {
            let _ = reply.send(
                result
                    .as_ref()
                    .map(|_| answer)
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
                slot.insert(run.version.begin(accepted, None, execution, &run.context).0)
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
        match &fact {
            Fact::ApprovalDecided { step, .. } => {
                self.carry_out_decided(execution, *step, commands)
            }
            _ => self.carry_out_when_due(execution, commands),
        }
    }

    /// The journal has answered.
    pub(super) fn durable(
        &mut self,
        execution: ExecutionId,
        facts: u32,
        result: Result<AppendOutcome, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        self.undurable -= 1;
        let mut taken = Ok(());
        self.settle_acceptance(execution, &result, |state| {
            taken = state.take_answer(execution, facts, &result);
        });
        taken
    }

    fn take_answer(
        &mut self,
        execution: ExecutionId,
        facts: u32,
        result: &Result<AppendOutcome, JournalError>,
    ) -> Result<(), ActorProcessingErr> {
        match result {
            Ok(AppendOutcome::Duplicate { .. } | AppendOutcome::OtherPayload { .. }) => {
                self.take_back(execution);
                return Ok(());
            }
            Ok(AppendOutcome::Durable | AppendOutcome::Known { .. }) => {}
            // It followed on the acceptance of a run that was taken back, or on facts that were refused.
            Err(JournalError::Stale(run)) if !self.runs.contains_key(run) => return Ok(()),
            // What it says cannot be stored: that is this run's fault alone.
            Err(JournalError::Rejected(why)) if self.can_fail_alone(execution) => {
                self.set_aside(execution, why);
                return Ok(());
            }
            // What is in memory is not what the journal says: start again from what it says.
            Err(error) => return Err(error.clone().into()),
        }
        let shared = self.memory.release(execution, facts);
        if !shared.is_empty() {
            self.core
                .host()
                .tell_awake_of(self.org, || Message::Remember(shared.clone(), None));
            let (org, writes) = (self.org, shared);
            self.core.let_others_know(News::OrgMemory { org, writes });
        }
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

    /// A run whose trigger had been accepted before. Nothing of it has left: it follows on an acceptance that is not durable.
    fn take_back(&mut self, execution: ExecutionId) {
        let Some(run) = self.runs.remove(&execution) else {
            return;
        };
        if self.admission.place(execution).is_some() {
            self.admission.leave(execution, run.conversation.as_deref());
        }
        self.drop_work(execution);
    }

    /// Ends what is at work for a run, and what waits to be.
    pub(super) fn drop_work(&mut self, execution: ExecutionId) {
        self.memory.forget_held(execution);
        self.jobs.retain(|job| job.execution != execution);
        for (_, step) in self.in_work.extract_if(|(run, _)| *run == execution) {
            if let Some(skill) = self.skills.get(&step.skill) {
                skill.cancel(execution, step);
            }
        }
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

    /// If somebody listens, the commit has written a row for it; this only saves the time until that is read.
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
        if run.has_unwritten() && (run.pure.is_empty() || run.is_full()) {
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
