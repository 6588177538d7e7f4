//! A run that has to note what the database does not take fails, alone: the employee and its other runs go on.
//!
//! What it noted last is in memory and not in the journal, and what follows from that must not go on; so the run is set aside, read again
//! as the journal has it, and ended there with a fact of plain words.

use super::{Message, State, WokenRun, live_run::LiveRun};
use crate::{
    actors::loader,
    domain::ExecutionId,
    graph::{Fact, StepError},
};
use std::{sync::Arc, time::Duration};

/// Pause before the run is read again, where the database cannot be asked.
const AGAIN: Duration = Duration::from_millis(500);

impl State {
    /// Whether a refused write concerns nothing but one run, or nothing that matters: not if the run's own end was refused too.
    pub(super) fn can_fail_alone(&self, execution: ExecutionId) -> bool {
        let run = self.runs.get(&execution);
        run.is_none_or(|run| !run.was_refused)
    }

    /// Stops a run whose facts were refused, and reads what the journal has of it.
    pub(super) fn set_aside(&mut self, execution: ExecutionId, why: &Arc<str>) {
        tracing::error!(employee = %self.id, %execution, %why, "what was to be noted cannot be stored");
        let Some(run) = self.runs.remove(&execution) else {
            return;
        };
        self.drop_work(execution);
        self.accepting.remove(&execution);
        self.unwritable.insert(execution, run);
        self.undurable += 1;
        let (core, own, org, id) = (self.core.clone(), self.own.clone(), self.org, self.id);
        let (alive, why) = (self.alive.clone(), why.clone());
        tokio::spawn(async move {
            // What it handed over after the refused facts is answered then.
            core.journal.barrier().await;
            let stored = loop {
                match loader::load_run(&core, org, id, execution).await {
                    Ok(stored) => break stored,
                    Err(error) => {
                        tracing::warn!(%execution, %error, "run could not be read, it is tried again");
                    }
                }
                tokio::select! {
                    () = alive.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            };
            let _ = own.tell(Message::Unwritable {
                execution,
                why,
                stored: stored.map(Box::new),
            });
        });
    }

    /// Ends a run that was set aside, as the journal has it.
    pub(super) fn end_unwritable(
        &mut self,
        execution: ExecutionId,
        why: &str,
        stored: Option<Box<WokenRun>>,
    ) {
        self.undurable -= 1;
        let Some(aside) = self.unwritable.remove(&execution) else {
            return;
        };
        let Some(stored) = stored else {
            // Not even its acceptance could be stored, and whoever sent it was told so.
            if self.admission.place(execution).is_some() {
                let conversation = aside.conversation.as_deref();
                self.admission.leave(execution, conversation);
            }
            return;
        };
        let WokenRun {
            version,
            accepted,
            conversation,
            status,
            context,
            machine,
            facts,
            snapshot_seq,
            ..
        } = *stored;
        let mut run = LiveRun::new(
            self.org,
            execution,
            version,
            accepted,
            conversation,
            context,
        )
        .restored(machine, facts, snapshot_seq, status);
        run.watchers = aside.watchers;
        run.was_refused = true;
        self.runs.insert(execution, run);
        tracing::warn!(employee = %self.id, %execution, why, "run fails because of what it has to note");
        let error = StepError::new(
            "not_durable",
            "what the run had to note cannot be stored: a text holds a character that the database does not take, or is too long",
        );
        let at = self.now();
        self.apply(execution, Fact::Aborted { error, at });
    }
}
