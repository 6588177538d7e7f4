//! Carrying out what a run asks for. Everything is queued or noted for the next commit; nothing is awaited.

use super::{FinishedRun, Message, State, live_run::LiveRun};
use crate::{
    actors::{cluster::words::News, journal::JournalError, micro_agent::Job, timers::TimerTarget},
    domain::{ApprovalId, ContentHash, ExecutionId, Timestamp},
    graph::{
        ApprovalEnd, ApprovalRequest, Command, EventWait, Fact, FinalStatus, Outcome, StepId,
        TimerKey,
    },
    persistence::{
        AppendOutcome, ApprovalChange, ApprovalRow, ApprovalStatus, RunStatus, SnapshotChange,
        SnapshotRow, TimerChange, WaitChange, WaitRow, codec, snapshot_kind, storable_key,
    },
};
use uuid::Uuid;

/// The id of the approval that a step asks for: the same after a replay.
pub fn approval_id(execution: ExecutionId, step: StepId) -> ApprovalId {
    ApprovalId::from_uuid(Uuid::new_v5(
        &execution.uuid(),
        format!("approval:{step}").as_bytes(),
    ))
}

impl State {
    /// Carries commands out now, or holds them until the step's result that they follow from is durable. The end of a run is not
    /// held: it becomes durable with that result, and nobody is told before.
    pub(super) fn carry_out_when_due(&mut self, execution: ExecutionId, commands: Vec<Command>) {
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        let ends = commands
            .iter()
            .any(|command| matches!(command, Command::Finish(_)));
        if run.version.plan.is_step_durable() && !ends {
            let needed = run.facts();
            run.held.push_back((needed, commands));
            self.flush(execution);
        } else {
            self.carry_out(execution, commands);
            self.after(execution);
        }
    }

    /// After a decision. A call that was approved goes on when the decision is durable: whoever sends it reads it in the database.
    pub(super) fn carry_out_decided(
        &mut self,
        execution: ExecutionId,
        decided: StepId,
        commands: Vec<Command>,
    ) {
        let goes_on = |command: &Command| matches!(command, Command::StartStep { step, .. } if *step == decided);
        if !commands.iter().any(goes_on) {
            return self.carry_out_when_due(execution, commands);
        }
        self.resumed.insert((execution, decided));
        let (start, others): (Vec<Command>, Vec<Command>) = commands.into_iter().partition(goes_on);
        self.carry_out(execution, others);
        self.change(execution, |run| {
            let needed = run.facts();
            run.held.push_back((needed, start));
        });
        self.flush(execution);
    }

    pub(super) fn carry_out(&mut self, execution: ExecutionId, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::StartStep { step, attempt } => {
                    let fresh = attempt == 1 && !self.resumed.remove(&(execution, step));
                    self.queue_job(execution, step, attempt, fresh);
                }
                Command::CancelStep { step } => self.cancel_step(execution, step),
                Command::SetTimer { timer, due } => self.set_timer(execution, timer, due),
                Command::ClearTimer { timer } => self.clear_timer(execution, timer),
                Command::AskApproval(request) => self.ask_approval(execution, request),
                Command::CloseApproval { step, how } => self.close_approval(execution, step, how),
                Command::WaitForEvent { step, wait } => self.wait_for_event(execution, step, wait),
                Command::StopWaiting { step } => self.change(execution, |run| {
                    let change = WaitChange::Clear {
                        run: run.execution,
                        step: step.to_string(),
                    };
                    run.outbox().waits.push(change);
                }),
                Command::Finish(outcome) => self.finish(execution, outcome),
            }
        }
    }

    /// Takes up again what was open when the journal was read: rows exist, so only what lives in memory is set up.
    pub(super) fn carry_out_again(&mut self, execution: ExecutionId, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::StartStep { step, attempt } => {
                    self.queue_job(execution, step, attempt, false)
                }
                Command::SetTimer { timer, due } => self.hint_timer(execution, timer, due),
                // The last commit had everything but this: the process ended between the last fact and its end.
                Command::Finish(outcome) => self.finish(execution, outcome),
                // Their rows were written with the facts that they follow from.
                Command::AskApproval(_)
                | Command::WaitForEvent { .. }
                | Command::CancelStep { .. }
                | Command::ClearTimer { .. }
                | Command::CloseApproval { .. }
                | Command::StopWaiting { .. } => {}
            }
        }
        self.after(execution);
    }

    fn change(&mut self, execution: ExecutionId, change: impl FnOnce(&mut LiveRun)) {
        if let Some(run) = self.runs.get_mut(&execution) {
            change(run);
        }
    }

    fn queue_job(&mut self, execution: ExecutionId, step: StepId, attempt: u32, fresh: bool) {
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        let Some(context) = run
            .machine
            .as_ref()
            .map(|machine| machine.step_context(step))
        else {
            return;
        };
        if run.version.plan.capability(step).is_none() {
            run.pure.insert(step);
        }
        self.jobs.push_back(Job {
            org: self.org,
            employee: self.id,
            execution,
            step,
            attempt,
            fresh,
            context,
        });
    }

    /// Gives a step again whose actor was lost.
    pub(super) fn queue_again(&mut self, execution: ExecutionId, step: StepId, attempt: u32) {
        self.in_work.remove(&(execution, step));
        self.queue_job(execution, step, attempt, false);
    }

    fn cancel_step(&mut self, execution: ExecutionId, step: StepId) {
        self.change(execution, |run| {
            run.pure.remove(&step);
        });
        self.jobs
            .retain(|job| (job.execution, job.step) != (execution, step));
        self.in_work.remove(&(execution, step));
        if let Some(skill) = self.skills.get(&step.skill) {
            skill.cancel(execution, step);
        }
        self.change(execution, |run| {
            run.outbox().waits.push(WaitChange::Clear {
                run: execution,
                step: step.to_string(),
            })
        });
    }

    fn set_timer(&mut self, execution: ExecutionId, timer: TimerKey, due: Timestamp) {
        let employee = self.id;
        if timer.purpose.is_durable() {
            self.change(execution, |run| {
                run.outbox().timers.push(TimerChange::Set {
                    owner: execution.uuid(),
                    key: timer_key(&timer),
                    employee,
                    due,
                })
            });
        }
        self.hint_timer(execution, timer, due);
    }

    /// Tells the timers, so that they need not find it in the database first.
    fn hint_timer(&self, execution: ExecutionId, timer: TimerKey, due: Timestamp) {
        // Nobody is at work on the step whose time it limits.
        if self.is_held() && !timer.purpose.is_durable() {
            return;
        }
        self.core.timers().set(
            TimerTarget {
                org: self.org,
                employee: self.id,
                execution,
                timer,
            },
            due,
        );
    }

    fn clear_timer(&mut self, execution: ExecutionId, timer: TimerKey) {
        if timer.purpose.is_durable() {
            self.change(execution, |run| {
                run.outbox().timers.push(TimerChange::Clear {
                    owner: execution.uuid(),
                    key: timer_key(&timer),
                })
            });
        }
        self.core.timers().clear(execution, timer);
    }

    fn ask_approval(&mut self, execution: ExecutionId, request: ApprovalRequest) {
        let (org, employee, asked) = (self.org, self.id, self.now());
        self.change(execution, |run| {
            let arguments = request.arguments.to_string();
            run.outbox()
                .approvals
                .push(ApprovalChange::Ask(Box::new(ApprovalRow {
                    org_id: org,
                    id: approval_id(execution, request.step),
                    run_id: execution,
                    employee_id: employee,
                    step: request.step.to_string(),
                    title: request.title,
                    arguments_hash: ContentHash::of(arguments.as_bytes()),
                    arguments,
                    status: ApprovalStatus::Pending,
                    asked,
                    expires: request.expires,
                    decided: None,
                    decided_by: None,
                    comment: None,
                    asked_by: None,
                    owner_user: None,
                })));
        });
    }

    fn close_approval(&mut self, execution: ExecutionId, step: StepId, how: ApprovalEnd) {
        let at = self.now();
        let status = match how {
            ApprovalEnd::Approved => ApprovalStatus::Approved,
            ApprovalEnd::Denied => ApprovalStatus::Denied,
            ApprovalEnd::Expired => ApprovalStatus::Expired,
            ApprovalEnd::Withdrawn => ApprovalStatus::Withdrawn,
        };
        self.change(execution, |run| {
            let (by, comment) = run
                .decided
                .remove(&step)
                .map_or((None, None), |(by, comment)| (Some(by), comment));
            run.outbox().approvals.push(ApprovalChange::Close {
                id: approval_id(execution, step),
                status,
                at,
                by,
                comment,
            });
        });
    }

    fn wait_for_event(&mut self, execution: ExecutionId, step: StepId, wait: EventWait) {
        let row = WaitRow {
            org_id: self.org,
            run_id: execution,
            step: step.to_string(),
            employee_id: self.id,
            event: storable_key(&wait.event).into_owned(),
            source: wait.source,
            matches: serde_json::to_string(&wait.matches).unwrap_or_else(|_| "[]".into()),
            since: self.now(),
            until: wait.until,
        };
        if row.event.starts_with("run.") {
            let (org, pattern) = (self.org, "employee:*".to_owned());
            self.core.interest.add(org, &pattern);
            self.core.let_others_know(News::Interest { org, pattern });
        }
        self.change(execution, |run| {
            run.outbox().waits.push(WaitChange::Set(Box::new(row)))
        });
    }

    fn finish(&mut self, execution: ExecutionId, outcome: Outcome) {
        let (employee, at) = (self.id, self.now());
        self.jobs.retain(|job| job.execution != execution);
        self.change(execution, |run| {
            let (status, last, error) = match &outcome {
                Outcome::Completed { .. } => (RunStatus::Completed, FinalStatus::Completed, None),
                Outcome::Failed { error } => (
                    RunStatus::Failed,
                    FinalStatus::Failed,
                    serde_json::to_string(error).ok(),
                ),
                Outcome::Cancelled { .. } => (
                    RunStatus::Cancelled,
                    FinalStatus::Cancelled,
                    serde_json::to_string(&outcome).ok(),
                ),
            };
            run.pure.clear();
            run.record(&Fact::Finished { status: last, at });
            run.set_status(employee, status, at, None, error);
            if run.snapshot_seq() > 0 {
                run.outbox().snapshots.push(SnapshotChange::Delete {
                    kind: snapshot_kind::RUN,
                    entity: execution.uuid(),
                });
            }
            run.finished = Some(FinishedRun {
                execution,
                outcome,
                finished: at,
            });
        });
        self.flush(execution);
    }

    pub(super) fn flush(&mut self, execution: ExecutionId) {
        self.flush_with(execution, |_| {});
    }

    /// Hands everything that the run has gathered to the journal; `then` is called when it is durable or cannot become so.
    pub(super) fn flush_with(
        &mut self,
        execution: ExecutionId,
        then: impl FnOnce(&Result<AppendOutcome, JournalError>) + Send + 'static,
    ) {
        self.snapshot_if_due(execution);
        let Some(run) = self.runs.get_mut(&execution) else {
            then(&Err(JournalError::Stopped));
            return;
        };
        let (append, facts) = run.take_outbox(self.id);
        self.undurable += 1;
        let accepting = self.accepting.remove(&execution);
        let own = self.own.clone();
        let done = move |result: Result<AppendOutcome, JournalError>| {
            if let Some((beginning, reply)) = accepting {
                let _ = reply.send(super::triggers::accepted(execution, beginning, &result));
            }
            then(&result);
            let _ = own.tell(Message::Durable {
                execution,
                facts,
                result,
            });
        };
        self.core
            .journal
            .submit(Some(execution), append, Box::new(done));
    }

    fn snapshot_if_due(&mut self, execution: ExecutionId) {
        let (org, epoch, at) = (self.org, self.epoch, self.now());
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        if !run.snapshot_due() {
            return;
        }
        let Some(state) = run.machine.as_ref().map(|machine| machine.to_state()) else {
            return;
        };
        let seq = run.facts();
        match codec::encode(
            &state,
            codec::Mark {
                epoch,
                seq: seq.into(),
            },
        ) {
            Ok(body) => run
                .outbox()
                .snapshots
                .push(SnapshotChange::Put(SnapshotRow {
                    org_id: org,
                    kind: snapshot_kind::RUN.into(),
                    entity: execution.uuid(),
                    epoch: epoch as i64,
                    seq: seq.into(),
                    body,
                    at,
                })),
            // Without it, coming back reads more facts; nothing is lost.
            Err(error) => {
                tracing::warn!(%execution, %error, "run could not be folded into a snapshot")
            }
        }
    }
}

/// The key of a timer's row.
pub(super) fn timer_key(timer: &TimerKey) -> String {
    serde_json::to_string(timer).expect("numbers and words")
}
