//! What the journal writer is given: everything that one actor wants durable together.

use crate::{
    domain::{
        ApprovalId, ContentHash, EffectId, EmployeeId, ExecutionId, InboxId, OrgId, ScheduleId,
        Timestamp, TriggerType,
    },
    persistence::{
        ApprovalRow, ApprovalStatus, EffectRow, EffectStatus, InboxRow, InboxVerdict, MemoryChange,
        OrgEventRow, RunStatus, ScheduleFireRow, SnapshotRow, WaitRow, storable_key,
    },
};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use uuid::Uuid;

/// Durable as a whole or not at all, together with the other appends of its batch.
#[derive(Clone, Debug)]
pub struct Append {
    pub org: OrgId,
    pub run: Option<RunAppend>,
    pub blobs: Vec<BlobPut>,
    pub approvals: Vec<ApprovalChange>,
    pub timers: Vec<TimerChange>,
    pub waits: Vec<WaitChange>,
    pub effects: Vec<EffectChange>,
    pub memory: Vec<MemoryChange>,
    /// Runs whose writes to memory are taken back.
    pub undo: Vec<(ExecutionId, Timestamp)>,
    pub snapshots: Vec<SnapshotChange>,
    pub fires: Vec<ScheduleFireRow>,
    pub schedules: Vec<ScheduleAdvance>,
    pub events: Vec<OrgEventRow>,
    pub inbox: Vec<InboxChange>,
}

impl Append {
    /// Nothing yet; fill in what there is.
    pub fn new(org: OrgId) -> Self {
        Self {
            org,
            run: None,
            blobs: Vec::new(),
            approvals: Vec::new(),
            timers: Vec::new(),
            waits: Vec::new(),
            effects: Vec::new(),
            memory: Vec::new(),
            undo: Vec::new(),
            snapshots: Vec::new(),
            fires: Vec::new(),
            schedules: Vec::new(),
            events: Vec::new(),
            inbox: Vec::new(),
        }
    }
    pub fn of_run(org: OrgId, run: RunAppend) -> Self {
        Self {
            run: Some(run),
            ..Self::new(org)
        }
    }
}

/// What happened to one run.
#[derive(Clone, Debug)]
pub struct RunAppend {
    pub execution: ExecutionId,
    pub employee: EmployeeId,
    /// Of the append that accepts it.
    pub insert: Option<RunInsert>,
    /// Place of the first of `facts` in the run's journal; of no meaning without facts.
    pub first_seq: u32,
    /// The JSON of each.
    pub facts: Vec<Bytes>,
    pub status: Option<RunStatusChange>,
}

#[derive(Clone, Debug)]
pub struct RunInsert {
    pub version: i32,
    pub trigger_type: TriggerType,
    pub source: String,
    pub conversation_key: Option<String>,
    pub accepted: Timestamp,
    /// A second trigger with the same source and key is no new run.
    pub dedupe: Option<DedupeKey>,
    /// Of a key that is kept to one payload: its hash. A second trigger with another one is a mistake of its sender.
    pub payload_hash: Option<ContentHash>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupeKey {
    pub source: String,
    pub key: String,
}

impl DedupeKey {
    /// Both in the form in which they are stored.
    pub fn new(source: &str, key: &str) -> Self {
        Self {
            source: storable_key(source).into_owned(),
            key: storable_key(key).into_owned(),
        }
    }
}

/// The whole of the run's visible state: what is `None` becomes empty.
#[derive(Clone, Debug)]
pub struct RunStatusChange {
    pub status: RunStatus,
    pub at: Timestamp,
    /// JSON.
    pub waiting_on: Option<String>,
    /// JSON.
    pub error: Option<String>,
}

/// A body that `owner` (a run, an employee) refers to.
#[derive(Clone, Debug)]
pub struct BlobPut {
    pub owner: Uuid,
    pub hash: ContentHash,
    pub body: Bytes,
    pub at: Timestamp,
}

#[derive(Clone, Debug)]
pub enum ApprovalChange {
    Ask(Box<ApprovalRow>),
    /// Of a pending one; nothing happens to one that is closed.
    Close {
        id: ApprovalId,
        status: ApprovalStatus,
        at: Timestamp,
        by: Option<String>,
        comment: Option<String>,
    },
}

#[derive(Clone, Debug)]
pub enum TimerChange {
    /// Sets it, or moves it.
    Set {
        owner: Uuid,
        key: String,
        employee: EmployeeId,
        due: Timestamp,
    },
    Clear {
        owner: Uuid,
        key: String,
    },
    /// All of this owner.
    ClearAll {
        owner: Uuid,
    },
}

#[derive(Clone, Debug)]
pub enum WaitChange {
    Set(Box<WaitRow>),
    Clear {
        run: ExecutionId,
        step: String,
    },
    /// All of this run.
    ClearAll {
        run: ExecutionId,
    },
}

/// What a conditional change of the ledger found.
#[must_use = "a change that found no row did nothing"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    Row,
    /// There is none, or it is in a state from which this change does not go on. Nothing was written.
    NoRow,
}

/// Where the writer says what a conditional change found. To be read when the append is durable; until then it says [`Hit::NoRow`].
#[derive(Clone, Debug, Default)]
pub struct Receipt(Arc<AtomicBool>);

impl Receipt {
    pub fn read(&self) -> Hit {
        match self.0.load(Ordering::Acquire) {
            true => Hit::Row,
            false => Hit::NoRow,
        }
    }

    pub(super) fn note(&self, hit: Hit) {
        self.0.store(hit == Hit::Row, Ordering::Release);
    }
}

#[derive(Clone, Debug)]
pub enum EffectChange {
    /// Nothing happens if the org has one with this key.
    Intend(Box<EffectRow>),
    /// The same, for somebody who acts on it.
    Begin(Box<Intention>),
    /// Of one that is in a state from which this one leads on; see [`EffectUpdate::from`].
    Update(Box<EffectUpdate>),
}

/// A row for a write that is about to be made.
#[derive(Clone, Debug)]
pub struct Intention {
    pub row: EffectRow,
    /// It is a step of a run: if the run is not there, because its trigger turned out to be a duplicate, nothing is written.
    pub of_run: bool,
    pub receipt: Receipt,
}

/// What is `None` stays as it is.
#[derive(Clone, Debug)]
pub struct EffectUpdate {
    pub id: EffectId,
    pub status: EffectStatus,
    /// The states from which it goes on. In any other one the row stays as it is, unless this very change (by epoch and attempts) has been
    /// written already.
    pub from: &'static [EffectStatus],
    pub attempts: Option<i32>,
    pub epoch: Option<i64>,
    /// When the first sending left that may have happened.
    pub sent: Option<Timestamp>,
    pub settled: Option<Timestamp>,
    /// When it is made: what nobody has touched for long is looked after.
    pub at: Option<Timestamp>,
    /// JSON, as the next two.
    pub response: Option<String>,
    pub error: Option<String>,
    pub note: Option<String>,
    pub receipt: Receipt,
}

impl EffectUpdate {
    /// From every state that usually leads to this one.
    pub fn new(id: EffectId, status: EffectStatus) -> Self {
        use EffectStatus::{Ambiguous, Done, Failed, Intended, Reconciled, Sent};
        Self {
            id,
            status,
            from: match status {
                Intended => &[Sent],
                Sent => &[Intended, Failed, Sent],
                Failed => &[Intended, Sent, Failed],
                Ambiguous => &[Intended, Sent, Ambiguous],
                // Who knows that it happened knows more than anybody who doubts it.
                Done | Reconciled => &[Intended, Sent, Failed, Ambiguous],
            },
            attempts: None,
            epoch: None,
            sent: None,
            settled: None,
            at: None,
            response: None,
            error: None,
            note: None,
            receipt: Receipt::default(),
        }
    }
}

#[derive(Clone, Debug)]
pub enum SnapshotChange {
    /// Takes the place of the one before, unless that is of a later epoch or covers more.
    Put(SnapshotRow),
    Delete {
        kind: &'static str,
        entity: Uuid,
    },
}

/// A schedule was due.
#[derive(Clone, Debug)]
pub struct ScheduleAdvance {
    pub id: ScheduleId,
    /// The next due time as it was read; if it is another one by now, only the account is kept.
    pub was_due: Timestamp,
    pub next_due: Option<Timestamp>,
    pub last_due: Timestamp,
    /// `None` leaves the last one.
    pub last_run: Option<ExecutionId>,
}

#[derive(Clone, Debug)]
pub enum InboxChange {
    /// An event has arrived. Its append holds nothing else; if the event is known already, only its deliveries are counted.
    Receive(Arc<InboxRow>),
    /// Of a pending one; nothing happens to one that is settled.
    Settle(InboxSettle),
}

/// What became of an event.
#[derive(Clone, Debug)]
pub struct InboxSettle {
    pub id: InboxId,
    pub verdict: InboxVerdict,
    pub detail: Option<String>,
    /// JSON list of all runs that it started or resumed, those of earlier replays included.
    pub triggered: String,
}

/// What became of an append in a batch that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    Durable,
    /// Its trigger was accepted before as `execution`; nothing of this append was written.
    Duplicate {
        execution: ExecutionId,
    },
    /// Its key was used with another payload before, for `execution`; nothing of this append was written.
    OtherPayload {
        execution: ExecutionId,
    },
    /// Its event had arrived before, as `entry`.
    Known {
        entry: InboxId,
    },
}
