//! Waking up, giving jobs to skills, breaking down and going to sleep.

use super::{
    EmployeeMailbox, Message, State, admission::Admission, handle, live_run::LiveRun,
    memory::Memory, triggers::Taking,
};
use crate::{
    actors::{
        append::new_append,
        core::Core,
        mailbox::Envelope,
        skill::{self, SkillHandle},
        versions::LoadedVersion,
        vitals::Vitals,
    },
    domain::{EmployeeId, ExecutionId, MemoryView, OrgId},
    graph::{Fact, Run, StepId},
    persistence::{EmployeeStatus, RunStatus, SnapshotChange, SnapshotRow, codec, snapshot_kind},
};
use ractor::{ActorId, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// A run that had to wait for its turn for this long says when it began.
const WAITED: Duration = Duration::from_secs(1);
/// How an employee ends that was given away.
pub const MOVED_OUT: &str = "moved out";

/// What an employee keeps over its sleep beside its runs and its memory, which have rows of their own. Version 1 of its snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmployeeState {
    pub accepted: u64,
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl codec::Versioned for EmployeeState {
    const SCHEMA_ID: [u8; 4] = *b"EMPL";
    const VERSION: u16 = 1;
    fn decode_version(_: u16, body: &[u8]) -> Result<Self, codec::CodecError> {
        codec::decode_body(body)
    }
}

/// One unfinished run as it was read.
pub struct WokenRun {
    pub execution: ExecutionId,
    pub version: Arc<LoadedVersion>,
    pub accepted: Option<Arc<Fact>>,
    pub conversation: Option<String>,
    pub status: RunStatus,
    pub context: Arc<MemoryView>,
    /// `None` if its turn has not come.
    pub machine: Option<Run>,
    pub facts: u32,
    pub snapshot_seq: u32,
}

/// An employee as it was read.
pub struct Woken {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub current: Arc<LoadedVersion>,
    /// What the database said of it: whether it takes triggers, and whether it starts anything.
    pub status: EmployeeStatus,
    /// Under which claim it lives here.
    pub epoch: u64,
    /// Cancelled when this life of the employee is over.
    pub alive: CancellationToken,
    pub state: EmployeeState,
    pub memory: MemoryView,
    /// Oldest first.
    pub runs: Vec<WokenRun>,
}

impl State {
    pub(super) fn new(
        core: Arc<Core>,
        org: OrgId,
        id: EmployeeId,
        own: EmployeeMailbox,
        mut woken: Woken,
        vitals: Arc<Vitals>,
    ) -> Self {
        let memory = Memory::new(std::mem::take(&mut woken.memory));
        Self {
            core,
            org,
            id,
            path: handle::path(id),
            own,
            current: woken.current.clone(),
            status: woken.status,
            runs: HashMap::new(),
            unwritable: HashMap::new(),
            admission: Admission::default(),
            taking: Taking::default(),
            memory,
            skills: HashMap::new(),
            skill_of_actor: HashMap::new(),
            accepting: HashMap::new(),
            resumed: HashSet::new(),
            jobs: VecDeque::new(),
            counts: woken.state.clone(),
            counts_written: woken.state.clone(),
            undurable: 0,
            last_work: Instant::now(),
            idle_check_queued: false,
            in_work: HashSet::new(),
            leaving: false,
            epoch: woken.epoch,
            alive: woken.alive.clone(),
            woken: Some(woken),
            vitals,
        }
    }

    /// Takes up every unfinished run where its journal says it is.
    pub(super) async fn begin(
        &mut self,
        _myself: &ActorRef<Envelope<Message>>,
    ) -> Result<(), ActorProcessingErr> {
        let Some(woken) = self.woken.take() else {
            return Ok(());
        };
        let mut open = Vec::new();
        // Started runs first: a queued run of the same conversation waits behind them.
        let (started, queued): (Vec<_>, Vec<_>) = woken
            .runs
            .into_iter()
            .partition(|run| run.machine.is_some());
        for run in started.into_iter().chain(queued) {
            let conversation = run.conversation.as_deref();
            match &run.machine {
                Some(machine) => {
                    self.admission.restore_started(
                        run.execution,
                        conversation,
                        machine.is_parked(),
                    );
                    if !self.is_held() {
                        open.push((run.execution, machine.outstanding()));
                    }
                }
                None => self.admission.enter(run.execution, conversation),
            }
            let live = LiveRun::new(
                self.org,
                run.execution,
                run.version,
                run.accepted,
                run.conversation.clone(),
                run.context,
            )
            .restored(run.machine, run.facts, run.snapshot_seq, run.status);
            self.runs.insert(run.execution, live);
        }
        for (execution, commands) in open {
            self.carry_out_again(execution, commands);
        }
        Ok(())
    }

    /// Starts the runs whose turn has come and gives all queued jobs to their skills.
    pub(super) async fn start_what_may(
        &mut self,
        myself: &ActorRef<Envelope<Message>>,
    ) -> Result<(), ActorProcessingErr> {
        if self.is_held() {
            // Its steps are given again from the journal when it is released.
            self.jobs.clear();
        } else if !self.leaving {
            loop {
                let rules = &self.current.spec.concurrency;
                let Some(execution) = self.admission.next(rules) else {
                    break;
                };
                self.start_run(execution);
            }
        }
        let mut not_begun = VecDeque::new();
        while let Some(job) = self.jobs.pop_front() {
            let Some(run) = self.runs.get(&job.execution) else {
                continue;
            };
            // Pure steps go on: they are short, and what they follow from becomes durable with them.
            if self.leaving && !run.pure.contains(&job.step) {
                not_begun.push_back(job);
                continue;
            }
            let plan = run.version.plan.clone();
            let skill = match self.skills.get(&job.step.skill) {
                Some(skill) => skill,
                None => {
                    self.spawn_skill(job.step.skill, plan.skill_name(job.step), myself)
                        .await?
                }
            };
            let place = (job.execution, job.step);
            // If it is just breaking down, its failure arrives next and the job is given again.
            skill.start(job);
            self.in_work.insert(place);
        }
        self.jobs = not_begun;
        self.answer_unstarted();
        Ok(())
    }

    fn start_run(&mut self, execution: ExecutionId) {
        let (id, at) = (self.id, self.now());
        let Some(run) = self.runs.get_mut(&execution) else {
            return;
        };
        if run.machine.is_some() {
            return;
        }
        let Some(accepted) = &run.accepted else {
            return;
        };
        // What started at once needs no word of its own about that.
        let waited = at.since(accepted.at());
        let begun = (waited >= WAITED && run.facts() == 1).then_some(at);
        let (machine, commands) = run.version.begin(accepted, begun, execution, &run.context);
        if let Some(at) = begun {
            run.record(&Fact::Begun { at });
        }
        run.machine = Some(machine);
        run.mark_started(id, at);
        // The acceptance is no step: the first steps need not wait for its commit.
        self.carry_out(execution, commands);
        self.after(execution);
    }

    /// Who waits for a result hears of the acceptance with the first commit; a run that has to queue has none yet.
    fn answer_unstarted(&mut self) {
        if self.accepting.is_empty() {
            return;
        }
        let unstarted: Vec<ExecutionId> = self
            .accepting
            .keys()
            .copied()
            .filter(|run| self.runs.get(run).is_some_and(|run| run.machine.is_none()))
            .collect();
        for execution in unstarted {
            self.flush(execution);
        }
    }

    async fn spawn_skill(
        &mut self,
        skill: u16,
        name: &str,
        myself: &ActorRef<Envelope<Message>>,
    ) -> Result<&SkillHandle, ActorProcessingErr> {
        let args = skill::Args {
            core: self.core.clone(),
            org: self.org,
            skill,
            path: format!("{}/skill:{name}", self.path),
            employee: self.own.clone(),
            alive: self.alive.child_token(),
        };
        let handle = SkillHandle::spawn(myself.get_cell(), args).await?;
        self.skill_of_actor.insert(handle.cell().get_id(), skill);
        Ok(self.skills.entry(skill).or_insert(handle))
    }

    /// All of its steps in work are given again; the ledger tells what had left already.
    pub(super) fn skill_failed(&mut self, actor: ActorId, why: &str) {
        let Some(skill) = self.skill_of_actor.remove(&actor) else {
            return;
        };
        if let Some(handle) = self.skills.remove(&skill) {
            handle.give_up();
            handle.vitals().record_error(why.to_string(), self.now());
            handle.vitals().record_restart();
        }
        for (execution, step, attempt) in self.running_steps(|step| step.skill == skill) {
            self.queue_again(execution, step, attempt);
        }
    }

    /// Steps that an actor should be working on, as (run, step, attempt).
    pub(super) fn running_steps(
        &self,
        wanted: impl Fn(StepId) -> bool,
    ) -> Vec<(ExecutionId, StepId, u32)> {
        self.runs
            .values()
            .filter_map(|run| run.machine.as_ref().map(|machine| (run.execution, machine)))
            .flat_map(|(execution, machine)| {
                machine
                    .running_steps()
                    .map(move |(step, attempt)| (execution, step, attempt))
            })
            .filter(|(_, step, _)| wanted(*step))
            .collect()
    }

    pub(super) fn show_load(&self) {
        let (working, queued) = (self.admission.working(), self.admission.queued());
        let waiting = self.runs.len().saturating_sub(working + queued);
        self.vitals.set_load(working, waiting, queued);
    }

    pub(super) fn queue_idle_check(&mut self, myself: &ActorRef<Envelope<Message>>) {
        if self.idle_check_queued || !self.is_idle() {
            return;
        }
        self.idle_check_queued = true;
        let wait = self
            .core
            .settings
            .idle_after
            .saturating_sub(self.last_work.elapsed())
            .max(Duration::from_millis(1));
        let (own, cell) = (self.own.clone(), myself.get_cell());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            if cell.get_status() == ractor::ActorStatus::Running {
                let _ = own.tell(Message::Idle);
            }
        });
    }

    /// Nothing is at work and nothing is on its way to the journal.
    fn is_idle(&self) -> bool {
        self.admission.working() == 0
            && !self.admission.has_ready()
            && self.undurable == 0
            && self.jobs.is_empty()
            && self.accepting.is_empty()
            && self.taking.is_idle()
    }

    /// Writes its snapshot and leaves, if nothing has happened for long enough and nothing is in the mailbox. True if it has left.
    pub(super) fn try_to_leave(&mut self, myself: &ActorRef<Envelope<Message>>) -> bool {
        self.idle_check_queued = false;
        if !self.is_idle() || self.last_work.elapsed() < self.core.settings.idle_after {
            return false;
        }
        if self.counts != self.counts_written {
            self.write_snapshot();
            return false;
        }
        if !self.core.host().let_go(self.id, myself.get_id()) {
            return false;
        }
        myself.stop(Some("asleep".into()));
        true
    }

    /// Stops if nothing of it is in work and nothing is on its way to the journal. Its host has taken it out of the directory: what comes
    /// now waits there for its next node.
    pub(super) fn move_out_when_done(&mut self, myself: &ActorRef<Envelope<Message>>) {
        let is_done = self.in_work.is_empty() && self.undurable == 0 && self.accepting.is_empty();
        if !is_done || self.vitals.depth() > 0 {
            return;
        }
        match self.counts == self.counts_written {
            true => myself.stop(Some(MOVED_OUT.into())),
            false => self.write_snapshot(),
        }
    }

    /// The next idle check comes after it is durable.
    fn write_snapshot(&mut self) {
        let (epoch, at) = (self.epoch, self.now());
        let seq = self.counts.accepted;
        self.counts_written = self.counts.clone();
        let body = match codec::encode(&self.counts, codec::Mark { epoch, seq }) {
            Ok(body) => body,
            Err(error) => {
                return tracing::warn!(employee = %self.id, %error, "employee could not be encoded for its snapshot");
            }
        };
        let mut append = new_append(self.org);
        append.snapshots.push(SnapshotChange::Put(SnapshotRow {
            org_id: self.org,
            kind: snapshot_kind::EMPLOYEE.into(),
            entity: self.id.uuid(),
            epoch: epoch as i64,
            seq: seq as i64,
            body,
            at,
        }));
        self.undurable += 1;
        let (own, nobody) = (self.own.clone(), ExecutionId::from_uuid(self.id.uuid()));
        let done = move |result| {
            drop(own.tell(Message::Durable {
                execution: nobody,
                facts: 0,
                result,
            }))
        };
        self.core.journal.submit(None, append, Box::new(done));
    }

    /// The introspection forgets what is not there any more; a broken actor's entry is kept for its restart.
    pub(super) fn forget_vitals(&self) {
        self.core.vitals.remove_tree(&self.path);
    }
}
