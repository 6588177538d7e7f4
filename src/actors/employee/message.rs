//! What an employee can be told, and what it answers.

use super::{TriggerKey, live_run::FinishedRun};
use crate::{
    actors::{gate::Question, journal::JournalError, mailbox::Named, versions::LoadedVersion},
    domain::{
        ContentHash, EmployeeId, ExecutionId, MemoryView, MemoryWrite, Timestamp, Trigger, event,
    },
    graph::{Decision, StepError, StepId, StopKind, TimerKey},
    persistence::{AppendOutcome, EffectChange, KnownTrigger},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Why an employee did not do what it was told. Nothing of it was done.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum EmployeeError {
    #[error("employee not found")]
    NotFound,
    #[error("employee has been dismissed")]
    Dismissed,
    #[error("run {0} is not open")]
    RunNotOpen(ExecutionId),
    #[error("the idempotency key was used with another payload, for run {0}")]
    OtherPayload(ExecutionId),
    #[error("the conversation has an unfinished run")]
    ConversationBusy,
    #[error("too many runs wait for this employee")]
    QueueFull,
    #[error("the node takes no new work at the moment")]
    Overloaded,
    #[error("skill {0} is not in this employee's graph")]
    UnknownSkill(String),
    #[error("the approval is not pending any more")]
    NotPending,
    #[error("the approval has expired")]
    Expired,
    #[error("these are not the arguments that are asked for")]
    OtherArguments,
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the employee could not be woken: {0}")]
    NotWoken(Arc<str>),
    #[error("the employee stopped before it answered")]
    Stopped,
    /// Only among nodes: whoever asked looks for it elsewhere.
    #[error("the employee lives on another node")]
    NotHere,
    #[error("the employee's node cannot be reached at the moment")]
    Unreachable,
    #[error("this node has lost touch with the database and has stopped its employees")]
    Suspended,
    #[error("a message of {size} bytes cannot be sent to the employee's node, {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
}

pub type Reply<T> = oneshot::Sender<Result<T, EmployeeError>>;

/// A trigger that became durable.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Accepted {
    pub execution: ExecutionId,
    /// A trigger with the same key had been accepted before; this is its run.
    pub duplicate: bool,
    /// Absent for a duplicate, whose version is not at hand.
    pub beginning: Option<Beginning>,
}

/// Which version of its employee a run has, and when it was accepted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Beginning {
    pub version: u32,
    pub accepted: Timestamp,
}

impl Beginning {
    /// The readable id of the run.
    pub fn run_id(self, employee: EmployeeId) -> String {
        event::run_id(employee, self.version, self.accepted)
    }
}

/// The source of the keys that triggers get for the way to another node. Nobody else has such a key, so that a trigger that has one is no
/// duplicate, unless its own first sending had arrived.
pub const ON_THE_WAY: &str = "way";

pub struct TriggerMessage {
    pub trigger: Trigger,
    pub conversation: Option<String>,
    pub skill: Option<String>,
    /// Under which the same trigger is never accepted twice.
    pub dedupe: Option<TriggerKey>,
    pub reply: Reply<Accepted>,
    /// Told when the run has ended and that is durable.
    pub watcher: Option<oneshot::Sender<FinishedRun>>,
}

pub struct DecideMessage {
    pub execution: ExecutionId,
    pub step: StepId,
    pub decision: Decision,
    /// Hash of the arguments that the person saw.
    pub arguments_hash: ContentHash,
    pub by: String,
    pub comment: Option<String>,
    /// When it was decided.
    pub reply: Reply<Timestamp>,
}

pub struct EventMessage {
    pub execution: ExecutionId,
    pub step: StepId,
    pub payload: Arc<Value>,
    pub source: String,
    pub reply: Reply<()>,
}

pub struct StopMessage {
    pub execution: ExecutionId,
    pub kind: StopKind,
    pub by: String,
    pub reason: Option<String>,
    pub reply: Reply<()>,
}

/// What came of a step.
pub enum StepResult {
    Completed {
        output: Arc<Value>,
        remember: Vec<MemoryWrite>,
    },
    Failed(StepError),
    Parked(crate::graph::NamedWait),
    /// A person has to agree first.
    Asks(Box<Question>),
}

pub struct StepAnswer {
    pub execution: ExecutionId,
    pub step: StepId,
    pub attempt: u32,
    pub result: StepResult,
    /// Changes of the effect ledger that become durable together with the fact.
    pub effects: Vec<EffectChange>,
}

/// A trigger whose key was looked for, and what was found.
pub struct Looked {
    pub message: Box<TriggerMessage>,
    pub known: Result<Option<KnownTrigger>, Arc<str>>,
}

pub enum Message {
    /// Sent by an employee to itself: take up what the journal says.
    Begin,
    Trigger(Box<TriggerMessage>),
    Answer(Box<StepAnswer>),
    Timer {
        execution: ExecutionId,
        timer: TimerKey,
    },
    Decide(Box<DecideMessage>),
    Event(Box<EventMessage>),
    /// A named wait is over.
    Resume {
        execution: ExecutionId,
        step: StepId,
        reply: Reply<()>,
    },
    Stop(Box<StopMessage>),
    Watch {
        execution: ExecutionId,
        watcher: oneshot::Sender<FinishedRun>,
    },
    MicroAgentFailed {
        skill: u16,
        node: u16,
        culprit: Option<(ExecutionId, StepId)>,
    },
    Durable {
        execution: ExecutionId,
        facts: u32,
        result: Result<AppendOutcome, JournalError>,
    },
    /// New runs use this version from now on.
    NewVersion(Arc<LoadedVersion>),
    /// What it remembers was changed by somebody else.
    Remember(Vec<MemoryWrite>, Option<String>),
    /// Which of these triggers had been accepted before.
    Looked(Vec<Looked>),
    /// An undo is through; with what is remembered now and the trigger that caused it.
    Reread {
        conversation: Option<String>,
        then: Option<(MemoryView, Box<TriggerMessage>)>,
    },
    /// What the journal has of a run, some facts of which it refused.
    Unwritable {
        execution: ExecutionId,
        why: Arc<str>,
        stored: Option<Box<super::WokenRun>>,
    },
    Idle,
    /// It is given away to another node.
    Leave,
}

impl Named for Message {
    fn name(&self) -> &'static str {
        match self {
            Message::Begin => "begin",
            Message::Trigger(_) => "trigger",
            Message::Answer(_) => "answer",
            Message::Timer { .. } => "timer",
            Message::Decide(_) => "decide",
            Message::Event(_) => "event",
            Message::Resume { .. } => "resume",
            Message::Stop(_) => "stop",
            Message::Watch { .. } => "watch",
            Message::MicroAgentFailed { .. } => "micro_agent_failed",
            Message::Durable { .. } => "durable",
            Message::NewVersion(_) => "new_version",
            Message::Remember(..) => "remember",
            Message::Looked(_) => "looked",
            Message::Reread { .. } => "reread",
            Message::Unwritable { .. } => "unwritable",
            Message::Idle => "idle",
            Message::Leave => "leave",
        }
    }
}

impl Message {
    /// Answers whoever waits for this message that nothing will come of it.
    pub fn refuse(self, error: EmployeeError) {
        match self {
            Message::Trigger(message) => drop(message.reply.send(Err(error))),
            Message::Decide(message) => drop(message.reply.send(Err(error))),
            Message::Event(message) => drop(message.reply.send(Err(error))),
            Message::Stop(message) => drop(message.reply.send(Err(error))),
            Message::Resume { reply, .. } => drop(reply.send(Err(error))),
            _ => {}
        }
    }
}
