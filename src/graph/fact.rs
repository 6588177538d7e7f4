//! What can happen to a run (facts, journaled) and what a run asks for (commands, carried out by actors).

use crate::domain::{ContentHash, EmployeeId, MemoryWrite, Timestamp, Trigger};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, sync::Arc};

/// One activation of one micro-agent in a run. JSON: `[skill, skill_visit, node, visit]` or with the item of a `map` as a fifth number.
///
/// `skill` and `node` are positions in the plan of the run's employee version; a visit counts from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId {
    pub skill: u16,
    pub skill_visit: u16,
    pub node: u16,
    pub visit: u16,
    /// Which element of the list, for the body of a `map`; `None` for every other step and for the `map` itself.
    pub item: Option<u32>,
}

impl StepId {
    /// No step of a run, whose visits count from 1: what has no run around it.
    pub const ZERO: StepId = StepId {
        skill: 0,
        skill_visit: 0,
        node: 0,
        visit: 0,
        item: None,
    };

    /// The `map` step that this item step belongs to; itself if it is no item.
    pub fn parent(self) -> StepId {
        StepId { item: None, ..self }
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}.{}",
            self.skill, self.skill_visit, self.node, self.visit
        )?;
        self.item.map_or(Ok(()), |item| write!(f, ".{item}"))
    }
}

impl std::str::FromStr for StepId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let parts: Vec<u32> = text
            .split('.')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map_err(|_| ())?;
        let small = |place: usize| {
            parts
                .get(place)
                .and_then(|part| u16::try_from(*part).ok())
                .ok_or(())
        };
        match parts.len() {
            4 | 5 => Ok(StepId {
                skill: small(0)?,
                skill_visit: small(1)?,
                node: small(2)?,
                visit: small(3)?,
                item: parts.get(4).copied(),
            }),
            _ => Err(()),
        }
    }
}

impl Serialize for StepId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let head = [
            self.skill.into(),
            self.skill_visit.into(),
            self.node.into(),
            self.visit.into(),
            self.item.unwrap_or(0),
        ];
        s.collect_seq(if self.item.is_some() {
            &head[..]
        } else {
            &head[..4]
        })
    }
}
impl<'de> Deserialize<'de> for StepId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let parts = Vec::<u32>::deserialize(d)?;
        let wrong = || serde::de::Error::custom("a step is four or five numbers");
        if !(4..=5).contains(&parts.len()) {
            return Err(wrong());
        }
        let small = |place: usize| u16::try_from(parts[place]).map_err(|_| wrong());
        Ok(StepId {
            skill: small(0)?,
            skill_visit: small(1)?,
            node: small(2)?,
            visit: small(3)?,
            item: parts.get(4).copied(),
        })
    }
}

/// Why a step did not give an output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// Stable word: `expression_failed`, `timeout`, `approval_denied`, `approval_expired`, `provider_error`, `panicked`, …
    pub code: String,
    pub message: String,
    /// Whether the node's retry policy may be used.
    #[serde(default)]
    pub retryable: bool,
    /// When it is worth another try, where that is known: for whoever waits now, and not part of what is stored.
    #[serde(skip)]
    pub later: Option<Later>,
}

/// When something that had no room may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Later {
    pub estimate_ms: u64,
    /// How many had their turn before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<usize>,
}

impl StepError {
    #[must_use]
    pub fn later(self, later: Option<Later>) -> Self {
        Self { later, ..self }
    }

    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: false,
            later: None,
        }
    }
    pub fn retryable(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retryable: true,
            later: None,
        }
    }
}

/// A wait that somebody or something outside the run has to end, told in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedWait {
    /// `effect` (a person has to say whether a write happened), `connection` (an account is missing or needs consent), `hold`.
    pub kind: String,
    /// What it is about: the id of the effect, the integration.
    pub on: String,
    /// One sentence for people.
    pub detail: String,
}

/// A person's answer to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approved,
    Denied,
}

/// How a run ended, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalStatus {
    Completed,
    Failed,
    Cancelled,
}

/// Why a run was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    Cancelled,
    /// A newer trigger of the same conversation took its place.
    Interrupted,
    /// The same, and what it wrote to memory was undone.
    RolledBack,
}

/// One entry of a run's journal. Everything else about a run follows from its facts and its plan.
///
/// JSON, one object a fact, `f` names it, times are microseconds. Fields may be added with a default, never removed or reused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f")]
pub enum Fact {
    /// Always the first.
    #[serde(rename = "accepted")]
    Accepted {
        employee: EmployeeId,
        version: u32,
        trigger: Trigger,
        /// The memory that it reads, in the blob store; absent: empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<ContentHash>,
        /// Start at this skill node instead of at the entry of the graph.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        skill: Option<String>,
        #[serde(with = "micros")]
        at: Timestamp,
    },
    /// The second, of a run that had to wait for its turn: its first steps start now and not when it was accepted.
    #[serde(rename = "begun")]
    Begun {
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    #[serde(rename = "done")]
    StepCompleted {
        #[serde(rename = "s")]
        step: StepId,
        #[serde(rename = "o")]
        output: Arc<Value>,
        #[serde(default, rename = "m", skip_serializing_if = "Vec::is_empty")]
        remember: Vec<MemoryWrite>,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    #[serde(rename = "failed")]
    StepFailed {
        #[serde(rename = "s")]
        step: StepId,
        /// Counts from 1.
        attempt: u32,
        error: StepError,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    /// The step cannot go on until somebody ends `wait`; it is started again, same attempt, by `StepResumed`.
    #[serde(rename = "parked")]
    StepParked {
        #[serde(rename = "s")]
        step: StepId,
        wait: NamedWait,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    /// The step may go on only if a person agrees to exactly `arguments`. Answered by `ApprovalDecided` or its timer.
    #[serde(rename = "asked")]
    StepAsked {
        #[serde(rename = "s")]
        step: StepId,
        title: String,
        arguments: Arc<Value>,
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            with = "maybe_micros"
        )]
        expires: Option<Timestamp>,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    #[serde(rename = "resumed")]
    StepResumed {
        #[serde(rename = "s")]
        step: StepId,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    #[serde(rename = "timer")]
    TimerFired {
        timer: TimerKey,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    #[serde(rename = "decided")]
    ApprovalDecided {
        #[serde(rename = "s")]
        step: StepId,
        decision: Decision,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        comment: Option<String>,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    /// An event that the step waited for.
    #[serde(rename = "event")]
    EventArrived {
        #[serde(rename = "s")]
        step: StepId,
        payload: Arc<Value>,
        source: String,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    #[serde(rename = "stop")]
    StopRequested {
        kind: StopKind,
        by: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    /// The run cannot go on, for a reason that is not in its graph; it fails.
    #[serde(rename = "aborted")]
    Aborted {
        error: StepError,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
    /// Always the last of a run that is over. The machine needs it not; readers of the journal see the end without replaying it.
    #[serde(rename = "finished")]
    Finished {
        status: FinalStatus,
        #[serde(with = "micros", rename = "t")]
        at: Timestamp,
    },
}

impl Fact {
    /// When the run began, if this is the fact that says so: the second of a journal.
    pub fn begun(&self) -> Option<Timestamp> {
        match self {
            Fact::Begun { at } => Some(*at),
            _ => None,
        }
    }

    pub fn at(&self) -> Timestamp {
        match self {
            Fact::Accepted { at, .. }
            | Fact::Begun { at }
            | Fact::StepCompleted { at, .. }
            | Fact::StepFailed { at, .. }
            | Fact::StepParked { at, .. }
            | Fact::StepAsked { at, .. }
            | Fact::StepResumed { at, .. }
            | Fact::TimerFired { at, .. }
            | Fact::ApprovalDecided { at, .. }
            | Fact::EventArrived { at, .. }
            | Fact::StopRequested { at, .. }
            | Fact::Aborted { at, .. }
            | Fact::Finished { at, .. } => *at,
        }
    }
    pub fn step(&self) -> Option<StepId> {
        match self {
            Fact::StepCompleted { step, .. }
            | Fact::StepFailed { step, .. }
            | Fact::StepParked { step, .. }
            | Fact::StepAsked { step, .. }
            | Fact::StepResumed { step, .. }
            | Fact::ApprovalDecided { step, .. }
            | Fact::EventArrived { step, .. } => Some(*step),
            Fact::TimerFired { timer, .. } => Some(timer.step),
            Fact::Accepted { .. }
            | Fact::Begun { .. }
            | Fact::StopRequested { .. }
            | Fact::Aborted { .. }
            | Fact::Finished { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerPurpose {
    /// Start the step again.
    Retry,
    /// The step has taken too long (`timeout_ms`). `attempt` is the attempt that it limits.
    Timeout,
    /// The end of a `wait`.
    Wait,
    /// An approval that nobody decided.
    Expiry,
}

impl TimerPurpose {
    /// Whether the timer must wake a sleeping employee. A step's timeout need not: a step in flight keeps its employee awake.
    pub fn is_durable(self) -> bool {
        self != TimerPurpose::Timeout
    }
}

/// Names a timer of a run; the same key is never set twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TimerKey {
    pub step: StepId,
    pub attempt: u32,
    pub purpose: TimerPurpose,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Completed {
        result: Arc<Value>,
    },
    Failed {
        error: RunError,
    },
    Cancelled {
        kind: StopKind,
        by: String,
        reason: Option<String>,
    },
}

/// Which step broke the run, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunError {
    /// Skill node id and micro-agent id; the latter absent if the skill itself failed (its timeout).
    pub skill: String,
    pub node: Option<String>,
    #[serde(flatten)]
    pub error: StepError,
}

/// What the machine asks its surroundings to do. The order matters: carry them out first to last.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Do the work of a `transform`, `decide` or `action` (also as the body of a `map`); answer with `StepCompleted`, `StepFailed` or
    /// `StepParked`. What it needs is in `Run::step_context(step)`.
    StartStep {
        step: StepId,
        attempt: u32,
    },
    /// Its result is not wanted any more.
    CancelStep {
        step: StepId,
    },
    SetTimer {
        timer: TimerKey,
        due: Timestamp,
    },
    ClearTimer {
        timer: TimerKey,
    },
    AskApproval(ApprovalRequest),
    /// The run does not wait for this approval any more (it was decided, it expired, or the run stops).
    CloseApproval {
        step: StepId,
        how: ApprovalEnd,
    },
    /// Answer with `EventArrived` when an event fits.
    WaitForEvent {
        step: StepId,
        wait: EventWait,
    },
    StopWaiting {
        step: StepId,
    },
    /// The last command of every run, exactly once.
    Finish(Outcome),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ApprovalRequest {
    pub step: StepId,
    /// A short line for people.
    pub title: String,
    /// Exactly what is asked for. A decision names its hash.
    pub arguments: Arc<Value>,
    pub expires: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalEnd {
    Approved,
    Denied,
    Expired,
    /// The run stopped or took another way.
    Withdrawn,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EventWait {
    /// The event's type, for example `invoice.paid`.
    pub event: String,
    /// As in a subscription: exact, or with `*` at the end; absent: any.
    pub source: Option<String>,
    /// Equality on one field of the payload, resolved when the wait began: JSON pointer and value.
    pub matches: Vec<(String, Value)>,
    pub until: Option<Timestamp>,
}

/// Times in facts are plain microseconds: shorter than RFC 3339, and what the database holds.
mod micros {
    use super::{Deserialize, Timestamp};
    pub fn serialize<S: serde::Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(at.micros())
    }
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(d).map(Timestamp::from_micros)
    }
}

/// The same for one that may be absent.
mod maybe_micros {
    use super::{Deserialize, Timestamp};
    pub fn serialize<S: serde::Serializer>(
        at: &Option<Timestamp>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => s.serialize_i64(at.micros()),
            None => s.serialize_none(),
        }
    }
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        d: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Ok(Option::<i64>::deserialize(d)?.map(Timestamp::from_micros))
    }
}
