//! What a run is between two facts.
//!
//! Encoded by a positional codec, so: no untagged or internally tagged enums, nothing flattened or skipped; JSON is carried as text.

use crate::{
    domain::{ExecutionId, MemoryView, Timestamp, Trigger, TriggerType},
    graph::{
        fact::{NamedWait, Outcome, StepError, StepId, TimerKey},
        plan::SKILL_NODE,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The state of a run, without its plan. Opaque: its fields are the machine's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    pub(super) execution: ExecutionId,
    #[serde(with = "text")]
    pub(super) trigger: Arc<Trigger>,
    #[serde(with = "text")]
    pub(super) memory: Arc<MemoryView>,
    pub(super) accepted_at: At,
    /// Time of the last fact.
    pub(super) now: At,
    pub(super) frames: BTreeMap<FrameKey, Frame>,
    pub(super) steps: BTreeMap<StepId, Step>,
    /// Steps in the order in which they started.
    pub(super) order: Vec<StepId>,
    /// Timers that are set, with when they are due.
    pub(super) timers: BTreeMap<TimerKey, At>,
    #[serde(with = "text")]
    pub(super) outcome: Option<Outcome>,
}

/// A time in microseconds: the human form of `Timestamp` would lose three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct At(i64);

impl From<Timestamp> for At {
    fn from(time: Timestamp) -> At {
        At(time.micros())
    }
}
impl From<At> for Timestamp {
    fn from(at: At) -> Timestamp {
        Timestamp::from_micros(at.0)
    }
}
impl At {
    pub fn after_ms(self, millis: u64) -> At {
        Timestamp::from(self).after_ms(millis).into()
    }
}

/// Skills before the employee, so that inner frames settle first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum FrameKey {
    /// Position and visit of the skill node.
    Skill(u16, u16),
    Employee,
}

/// Completed nodes in order, with their outputs. Shared with the contexts of steps in flight.
pub(super) type SharedLog = Arc<Vec<(u16, Arc<Value>)>>;

/// A graph at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    #[serde(with = "text")]
    pub log: SharedLog,
    pub nodes: Vec<NodeState>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct NodeState {
    /// Visits begun.
    pub visits: u16,
    /// Whether the last visit is at work.
    pub active: bool,
    pub tokens: Vec<Token>,
    /// Its output, if its last visit completed and none of its edges fired then.
    #[serde(with = "text")]
    pub last: Option<Arc<Value>>,
}

/// Something that arrived at a node. `edge: None`: it starts the node by itself (entry, handler).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Token {
    pub edge: Option<u16>,
    #[serde(with = "text")]
    pub value: Arc<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    /// From 1.
    pub attempt: u32,
    pub phase: Phase,
    pub started: At,
    /// When its phase began.
    pub since: At,
    #[serde(with = "text")]
    pub input: Arc<Value>,
    #[serde(with = "text")]
    pub output: Option<Arc<Value>>,
    /// The last one; stays while it is tried again.
    pub error: Option<StepError>,
    /// How much of the logs (employee, skill) it sees: what was completed when it started. So its arguments are the same
    /// whenever they are evaluated.
    pub seen: (u32, u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Between its creation and its first attempt.
    New,
    Running,
    /// Failed, to be tried again.
    Backoff,
    Parked(NamedWait),
    Approval {
        title: String,
        #[serde(with = "text")]
        arguments: Arc<Value>,
        expires: Option<At>,
    },
    Event {
        event: String,
        source: Option<String>,
        #[serde(with = "text")]
        matches: Vec<(String, Value)>,
        until: Option<At>,
    },
    Timer(At),
    Mapping {
        #[serde(with = "text")]
        items: Arc<Vec<Arc<Value>>>,
        /// The next element to start.
        next: u32,
        /// Elements at work.
        open: u32,
    },
    /// A skill at work.
    Frame,
    Completed,
    Failed,
    Cancelled,
}

impl Phase {
    pub fn is_finished(&self) -> bool {
        matches!(self, Phase::Completed | Phase::Failed | Phase::Cancelled)
    }
}

impl Frame {
    pub fn new(nodes: usize) -> Frame {
        Frame {
            log: Arc::default(),
            nodes: vec![NodeState::default(); nodes],
        }
    }
}

impl RunState {
    pub fn new(execution: ExecutionId, at: Timestamp, memory: MemoryView) -> RunState {
        let trigger = Trigger {
            kind: TriggerType::DirectCommand,
            payload: Arc::default(),
            source: String::new(),
        };
        RunState {
            execution,
            trigger: Arc::new(trigger),
            memory: Arc::new(memory),
            accepted_at: at.into(),
            now: at.into(),
            frames: BTreeMap::new(),
            steps: BTreeMap::new(),
            order: Vec::new(),
            timers: BTreeMap::new(),
            outcome: None,
        }
    }
}

/// The frame and the node that a step works for.
pub(super) fn place_of(step: StepId) -> (FrameKey, u16) {
    if step.node == SKILL_NODE {
        (FrameKey::Employee, step.skill)
    } else {
        (FrameKey::Skill(step.skill, step.skill_visit), step.node)
    }
}

/// The step of a node's visit.
pub(super) fn step_of(frame: FrameKey, node: u16, visit: u16) -> StepId {
    match frame {
        FrameKey::Employee => StepId {
            skill: node,
            skill_visit: visit,
            node: SKILL_NODE,
            visit: 1,
            item: None,
        },
        FrameKey::Skill(skill, skill_visit) => StepId {
            skill,
            skill_visit,
            node,
            visit,
            item: None,
        },
    }
}

/// JSON as text inside a positional encoding.
mod text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

    pub fn serialize<T: Serialize, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = serde_json::to_string(value).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(&text)
    }
    pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(serde::de::Error::custom)
    }
}
