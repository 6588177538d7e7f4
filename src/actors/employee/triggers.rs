//! Taking triggers: the concurrency policy, what makes way, and the acceptance.

use super::{
    Accepted, Beginning, EmployeeError, Message, ON_THE_WAY, Reply, State, TriggerMessage,
    admission::{Refusal, Verdict},
    live_run::LiveRun,
};
use crate::{
    actors::{journal::JournalError, loader},
    domain::{ConflictPolicy, ExecutionId, MemoryView},
    graph::{Fact, StopKind},
    persistence::{AppendOutcome, BlobPut, DedupeKey, RunInsert},
};
use std::sync::Arc;

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
    /// starts at once, since nothing of it leaves the process before the acceptance is durable. So does one whose key is only for the way
    /// from another node: it is a duplicate once in a lost answer, and is taken back then.
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

        let beginning = Beginning {
            version: self.current.version.unsigned_abs(),
            accepted: at,
        };
        let keyed = dedupe.is_some_and(|(source, _)| source != ON_THE_WAY);
        if !keyed {
            self.admission.enter(execution, conversation.as_deref());
        }
        // Whoever waits for the result hears of the acceptance with it: one commit less for a run that needs nothing from outside.
        if waits_for_result && !keyed {
            self.accepting.insert(execution, (beginning, reply));
        } else {
            self.flush_accepted(execution, beginning, reply);
        }
    }

    pub(super) fn flush_accepted(
        &mut self,
        execution: ExecutionId,
        beginning: Beginning,
        reply: Reply<Accepted>,
    ) {
        self.flush_with(execution, move |result| {
            let _ = reply.send(accepted(execution, beginning, result));
        });
    }
}

/// What whoever sent the trigger is told when the journal has answered.
pub(super) fn accepted(
    execution: ExecutionId,
    beginning: Beginning,
    result: &Result<AppendOutcome, JournalError>,
) -> Result<Accepted, EmployeeError> {
    match result {
        Ok(AppendOutcome::Durable | AppendOutcome::Known { .. }) => Ok(Accepted {
            execution,
            duplicate: false,
            beginning: Some(beginning),
        }),
        Ok(AppendOutcome::Duplicate { execution }) => Ok(Accepted {
            execution: *execution,
            duplicate: true,
            beginning: None,
        }),
        Err(error) => Err(EmployeeError::Journal(error.clone())),
    }
}
