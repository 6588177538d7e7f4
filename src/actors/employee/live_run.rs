//! One unfinished run in the memory of its employee: the machine, and what of it is not yet handed to the journal.
//!
//! Invariant: `next_seq` facts exist, of which the first `next_seq - outbox facts` were handed over, in order.

use crate::{
    actors::{append::new_append, versions::LoadedVersion},
    domain::{EmployeeId, ExecutionId, MemoryView, OrgId, Timestamp},
    graph::{Command, Fact, Outcome, Run, StepId},
    persistence::{Append, RunAppend, RunStatus, RunStatusChange},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};
use tokio::sync::oneshot;

/// Facts after which a snapshot of the run is written, so that coming back never reads more of them.
const SNAPSHOT_EVERY: u32 = 256;
/// Facts that a run of pure steps may gather before they are handed to the journal.
const BUFFER_MAX: usize = 64;

/// A finished run, as far as somebody who waited for it needs it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FinishedRun {
    pub execution: ExecutionId,
    pub outcome: Outcome,
    pub finished: Timestamp,
}

pub struct LiveRun {
    pub execution: ExecutionId,
    pub version: Arc<LoadedVersion>,
    /// `None` for a run that was restored from a snapshot: it has begun.
    pub accepted: Option<Arc<Fact>>,
    pub conversation: Option<String>,
    pub context: Arc<MemoryView>,
    /// `None` until its turn comes.
    pub machine: Option<Run>,
    /// Steps in work that need nothing from outside: their results come at once and may share a commit.
    pub pure: HashSet<StepId>,
    /// Commands that wait for the commit of the fact that they follow from (`durability: step`), by the number of facts that must be durable.
    pub held: VecDeque<(u32, Vec<Command>)>,
    /// Who decided, until the approval's row is closed.
    pub decided: HashMap<StepId, (String, Option<String>)>,
    pub watchers: Vec<oneshot::Sender<FinishedRun>>,
    pub finished: Option<FinishedRun>,
    /// The journal has refused facts of it before: it is being ended for that.
    pub was_refused: bool,
    next_seq: u32,
    snapshot_seq: u32,
    status: RunStatus,
    outbox: Append,
    facts: Vec<Bytes>,
    dirty: bool,
}

impl LiveRun {
    pub fn new(
        org: OrgId,
        execution: ExecutionId,
        version: Arc<LoadedVersion>,
        accepted: Option<Arc<Fact>>,
        conversation: Option<String>,
        context: Arc<MemoryView>,
    ) -> Self {
        Self {
            execution,
            version,
            accepted,
            conversation,
            context,
            machine: None,
            pure: HashSet::new(),
            held: VecDeque::new(),
            decided: HashMap::new(),
            watchers: Vec::new(),
            finished: None,
            was_refused: false,
            next_seq: 0,
            snapshot_seq: 0,
            status: RunStatus::Accepted,
            outbox: new_append(org),
            facts: Vec::new(),
            dirty: false,
        }
    }

    /// As it is in the database: `facts` of them, the last snapshot after `snapshot_seq`.
    pub fn restored(
        mut self,
        machine: Option<Run>,
        facts: u32,
        snapshot_seq: u32,
        status: RunStatus,
    ) -> Self {
        self.machine = machine;
        self.next_seq = facts;
        self.snapshot_seq = snapshot_seq;
        self.status = status;
        self
    }

    pub fn facts(&self) -> u32 {
        self.next_seq
    }
    pub fn snapshot_seq(&self) -> u32 {
        self.snapshot_seq
    }

    /// Its turn has come; said with the next commit, in one row with the acceptance if that is not written yet.
    pub fn mark_started(&mut self, employee: EmployeeId, at: Timestamp) {
        self.set_status(employee, RunStatus::Running, at, None, None);
    }

    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// Notes a fact for the journal.
    pub fn record(&mut self, fact: &Fact) {
        let json =
            serde_json::to_vec(fact).expect("facts hold only JSON values and have string keys");
        self.facts.push(Bytes::from(json));
        self.next_seq += 1;
    }

    /// What has to become durable together with the facts.
    pub fn outbox(&mut self) -> &mut Append {
        self.dirty = true;
        &mut self.outbox
    }

    /// Notes a change of status, if it is one.
    pub fn set_status(
        &mut self,
        employee: EmployeeId,
        status: RunStatus,
        at: Timestamp,
        waiting_on: Option<String>,
        error: Option<String>,
    ) {
        if self.status == status && status != RunStatus::Waiting {
            return;
        }
        self.status = status;
        let execution = self.execution;
        self.run_append(employee, execution).status = Some(RunStatusChange {
            status,
            at,
            waiting_on,
            error,
        });
    }

    pub fn run_append(&mut self, employee: EmployeeId, execution: ExecutionId) -> &mut RunAppend {
        self.dirty = true;
        self.outbox.run.get_or_insert_with(|| RunAppend {
            execution,
            employee,
            insert: None,
            first_seq: 0,
            facts: Vec::new(),
            status: None,
        })
    }

    pub fn has_unwritten(&self) -> bool {
        self.dirty || !self.facts.is_empty()
    }
    pub fn is_full(&self) -> bool {
        self.facts.len() >= BUFFER_MAX
    }

    /// Whether enough happened since the last snapshot for a new one; if so, it is taken as taken.
    pub fn snapshot_due(&mut self) -> bool {
        let due = self.next_seq - self.snapshot_seq >= SNAPSHOT_EVERY
            && self.machine.is_some()
            && self.finished.is_none();
        if due {
            self.snapshot_seq = self.next_seq;
        }
        due
    }

    /// Everything that is not yet handed over, for the journal; and how many facts there are with it.
    pub fn take_outbox(&mut self, employee: EmployeeId) -> (Append, u32) {
        let (execution, next_seq) = (self.execution, self.next_seq);
        let facts = std::mem::take(&mut self.facts);
        if !facts.is_empty() {
            let first_seq = next_seq - facts.len() as u32;
            let run = self.run_append(employee, execution);
            run.first_seq = first_seq;
            run.facts = facts;
        }
        self.dirty = false;
        let org = self.outbox.org;
        (
            std::mem::replace(&mut self.outbox, new_append(org)),
            next_seq,
        )
    }
}
