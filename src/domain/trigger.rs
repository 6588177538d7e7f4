//! Why an employee wakes.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerType {
    /// Somebody told the employee to work.
    DirectCommand,
    /// Its own calendar.
    Schedule,
    /// Something happened outside: a webhook.
    ExternalEvent,
    /// Something happened inside: another employee's result.
    InternalEvent,
}

impl TriggerType {
    pub fn name(self) -> &'static str {
        match self {
            TriggerType::DirectCommand => "direct_command",
            TriggerType::Schedule => "schedule",
            TriggerType::ExternalEvent => "external_event",
            TriggerType::InternalEvent => "internal_event",
        }
    }
}

/// `source` says who fired it: `api`, `schedule:sched_…`, `hook:github/push`, `employee:emp_…`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    #[serde(rename = "type")]
    pub kind: TriggerType,
    pub payload: Arc<Value>,
    pub source: String,
}
