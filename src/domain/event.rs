//! The events that come out of the journal, in the shapes that clients of the first source system know: `runIntent`,
//! `executionResult`, `agentEvent`, `GraphDefined`. Field names and order are a contract; add nothing to them. `connection.needs_reauth` is our
//! own.

use super::{ConnectionId, EmployeeId, ExecutionId, MemoryView, OrgId, Timestamp, Trigger};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// One event of the stream. `type` tells which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum PlatformEvent {
    #[serde(rename = "runIntent")]
    RunIntent(Box<RunIntent>),
    #[serde(rename = "executionResult")]
    ExecutionResult(Box<ExecutionResult>),
    #[serde(rename = "agentEvent")]
    AgentEvent(Box<AgentEvent>),
    #[serde(rename = "GraphDefined")]
    GraphDefined(Box<GraphDefined>),
    #[serde(rename = "connection.needs_reauth")]
    ConnectionNeedsReauth(Box<ConnectionNeedsReauth>),
}

impl PlatformEvent {
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunIntent(_) => "runIntent",
            Self::ExecutionResult(_) => "executionResult",
            Self::AgentEvent(_) => "agentEvent",
            Self::GraphDefined(_) => "GraphDefined",
            Self::ConnectionNeedsReauth(_) => "connection.needs_reauth",
        }
    }
}

/// A run was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunIntent {
    /// Derived from the fact, so that a re-read gives the same id.
    pub event_id: Uuid,
    pub org_id: OrgId,
    pub employee_id: EmployeeId,
    pub execution_id: ExecutionId,
    pub run_id: String,
    pub auth_context: AuthContext,
    pub trigger: Trigger,
    pub context: IntentContext,
    /// The employee graph as it was given.
    pub graph_spec: Value,
    pub timestamp: Timestamp,
}

/// Identities at the outside authentication service; `null` until an org is bound to one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AuthContext {
    pub auth0_org_id: Option<String>,
    pub employee_m2m_app_id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IntentContext {
    #[serde(flatten)]
    pub memory: MemoryView,
    /// What an interrupted run had done when this one took its place; else empty.
    pub execution_state: serde_json::Map<String, Value>,
}

/// A run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionResult {
    pub event_id: Uuid,
    pub org_id: OrgId,
    pub employee_id: EmployeeId,
    pub execution_id: ExecutionId,
    pub run_id: String,
    /// `completed`, `failed` or `interrupted` (a cancelled run is `interrupted`: the contract knows no fourth word).
    pub status: String,
    pub result: Value,
    pub error: Option<String>,
    /// Skill node ids in the order in which they first ran.
    pub skills_executed: Vec<String>,
    pub execution_time_ms: u64,
    pub capabilities_used: Vec<String>,
    pub hierarchical_events: Vec<SkillEvent>,
    pub timestamp: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SkillEvent {
    /// The run's id, `:skill:` and the skill node's id.
    pub run_id: String,
    pub status: String,
    /// Ids of the micro-agents that ran, in order.
    pub micro_agents: Vec<String>,
}

/// Something happened inside a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentEvent {
    pub event_id: Uuid,
    pub org_id: OrgId,
    pub employee_id: EmployeeId,
    pub execution_id: ExecutionId,
    /// Of the skill where there is one.
    pub run_id: String,
    /// `step.completed`, `step.failed`, `step.parked`, `approval.decided`, `timer.fired`, `event.arrived`, `run.cancel_requested`.
    pub event: String,
    /// The micro-agent's node id, where there is one.
    pub micro_agent: Option<String>,
    pub data: Value,
    pub timestamp: Timestamp,
}

/// The grant of a connection is dead: a person has to connect the account again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConnectionNeedsReauth {
    pub event_id: Uuid,
    pub org_id: OrgId,
    pub connection_id: ConnectionId,
    pub integration: String,
    /// The connection's.
    pub name: String,
    /// The one user to whom it belongs; `null`: to the org. Another user's connection is not told of.
    pub owner: Option<String>,
    /// The provider's name for the account.
    pub account_name: Option<String>,
    pub reason: String,
    pub timestamp: Timestamp,
}

/// An employee was hired or got a new version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphDefined {
    pub event_id: Uuid,
    pub org_id: OrgId,
    pub employee_id: EmployeeId,
    pub version: u32,
    pub graph_spec: Value,
    pub timestamp: Timestamp,
}

/// `emp:<id>_v<version>:<time>`: readable, and what the source system shows. The execution id is what identifies.
pub fn run_id(employee: EmployeeId, version: u32, accepted: Timestamp) -> String {
    format!("emp:{}_v{version}:{accepted}", employee.suffix())
}

/// The id of a skill's part of a run.
pub fn skill_run_id(run_id: &str, skill: &str) -> String {
    format!("{run_id}:skill:{skill}")
}
