//! What nodes say to each other. Bodies are JSON: fields that an older release does not know are left out by it, and one that it lacks has a
//! default here, so that two releases beside each other understand one another.

use crate::{
    actors::employee::{Accepted, EmployeeError, FinishedRun, KeyOrigin, ON_THE_WAY, TriggerKey},
    domain::{
        ConnectionId, ContentHash, EmployeeId, ExecutionId, InboxId, MemoryWrite, OrgId, Timestamp,
        Trigger,
    },
    graph::{Decision, StepId, StopKind, TimerKey},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::Arc;
use tenure_cluster::protocol::HandlerError;

/// The kinds of messages.
pub mod kinds {
    pub const EMPLOYEE: &str = "employee.ask";
    pub const WATCH: &str = "employee.watch";
    pub const WAKE: &str = "employees.wake";
    pub const AWAKE: &str = "employees.awake";
    pub const NEWS: &str = "node.news";
    pub const STATUS: &str = "node.status";
    pub const DRAIN: &str = "node.drain";
    pub const REBALANCE: &str = "node.rebalance";
    pub const COMMITS: &str = "node.commits";
    pub const ACTORS: &str = "node.actors";
    pub const TURN: &str = "connector.turn";
    pub const GRANT: &str = "connector.grant";
    pub const CONNECTOR: &str = "connector.ask";
}

pub fn encode<T: Serialize>(words: &T) -> Vec<u8> {
    serde_json::to_vec(words).expect("words hold JSON values with string keys")
}

/// # Errors
/// `Malformed`.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, HandlerError> {
    serde_json::from_slice(body).map_err(|error| HandlerError::Malformed(error.to_string()))
}

/// Something for one employee.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ToEmployee {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub ask: EmployeeAsk,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmployeeAsk {
    Trigger {
        trigger: Trigger,
        conversation: Option<String>,
        skill: Option<String>,
        dedupe: Option<(String, String)>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        payload_hash: Option<ContentHash>,
        /// The key was made on the way: whoever sends the trigger does not know it.
        #[serde(default)]
        made_on_the_way: bool,
        /// The answer may wait a moment for the end of the run.
        watch: bool,
    },
    Decide {
        execution: ExecutionId,
        step: StepId,
        decision: Decision,
        arguments_hash: ContentHash,
        by: String,
        comment: Option<String>,
    },
    Event {
        execution: ExecutionId,
        step: StepId,
        payload: Arc<Value>,
        source: String,
    },
    Resume {
        execution: ExecutionId,
        step: StepId,
    },
    Stop {
        execution: ExecutionId,
        kind: StopKind,
        by: String,
        reason: Option<String>,
    },
    Timer {
        execution: ExecutionId,
        timer: TimerKey,
    },
}

/// The key of a trigger that another node sent.
pub(super) fn key_from_afar(
    (source, key): (String, String),
    payload: Option<ContentHash>,
    made_on_the_way: bool,
) -> TriggerKey {
    let is_made = made_on_the_way || source == ON_THE_WAY;
    TriggerKey {
        payload,
        origin: match is_made {
            true => KeyOrigin::OtherNode,
            false => KeyOrigin::Sender,
        },
        ..TriggerKey::given(source, key)
    }
}

pub type EmployeeAnswer = Result<Answered, EmployeeError>;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    Accepted {
        accepted: Accepted,
        finished: Option<FinishedRun>,
    },
    At(Timestamp),
    Done,
}

/// Who waits for the end of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    pub org: OrgId,
    pub employee: EmployeeId,
    pub execution: ExecutionId,
}

/// What was changed in the database by one node, and may be remembered otherwise by the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// An employee has a new version.
    Version {
        org: OrgId,
        employee: EmployeeId,
        version: i32,
    },
    /// An employee was put on hold, released or dismissed.
    Reread {
        org: OrgId,
        employee: EmployeeId,
    },
    /// One employee's memory was changed from outside.
    Memory {
        employee: EmployeeId,
        writes: Vec<MemoryWrite>,
        skill: Option<String>,
    },
    /// What all employees of an org share was changed.
    OrgMemory {
        org: OrgId,
        writes: Vec<MemoryWrite>,
    },
    Policies {
        org: OrgId,
    },
    Catalog {
        org: OrgId,
        integration: String,
    },
    /// A connection was made, changed or removed.
    Connection {
        org: OrgId,
        integration: String,
        id: ConnectionId,
    },
    /// A connection's credential was renewed.
    Credential {
        org: OrgId,
        integration: String,
        id: ConnectionId,
    },
    /// An endpoint for events was made, changed or removed.
    Door {
        source: String,
        endpoint: String,
    },
    /// Somebody of the org listens to others' results.
    Interest {
        org: OrgId,
        pattern: String,
    },
    /// An event is in the inbox.
    Inbox {
        org: OrgId,
        id: InboxId,
    },
    /// Who is in service has changed: look now.
    Look,
}
