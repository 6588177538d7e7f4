//! What an employee is hired with, beside its graphs.

use super::EventFilter;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything that a version of an employee is made of. The graphs are kept as the JSON that was given, so that a version can
/// be shown as it was written; `graph::compile` turns them into a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmployeeSpec {
    /// The employee graph (`type: employee`).
    pub graph: Value,
    /// The skill graphs that it names, by `graph_id`.
    #[serde(default)]
    pub skill_graphs: BTreeMap<String, Value>,
    #[serde(default)]
    pub schedules: Vec<ScheduleSpec>,
    #[serde(default)]
    pub subscriptions: Vec<SubscriptionSpec>,
    #[serde(default)]
    pub concurrency: Concurrency,
    /// The text that it was hired from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_description: Option<String>,
}

/// What happens to a trigger whose conversation already has an unfinished run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// It waits for its turn, in order.
    #[default]
    Enqueue,
    /// It is refused (`409 conversation_busy`) and nothing is stored.
    Reject,
    /// The unfinished run is stopped, what it did stays, the new one starts.
    Interrupt,
    /// The unfinished run is stopped and what it wrote to memory is undone; the new one starts.
    Rollback,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Concurrency {
    /// Runs that may be at work at once, those that only wait not counted; 1 to 10,000.
    pub max_runs: u32,
    /// Accepted runs that may wait for their turn; beyond it triggers get 429. 0 to 100,000.
    pub max_queued: u32,
    /// For triggers with the same `conversation_key`.
    pub on_conflict: ConflictPolicy,
}
impl Default for Concurrency {
    fn default() -> Self {
        Self {
            max_runs: 1_000,
            max_queued: 10_000,
            on_conflict: ConflictPolicy::Enqueue,
        }
    }
}

/// What a schedule does when it is due and its last run is not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    #[default]
    Skip,
    Enqueue,
}

/// What a schedule does about the times that passed while nothing ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// One run for all that was missed.
    #[default]
    RunOnce,
    Skip,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Unique in the employee.
    pub name: String,
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// IANA name, for example `Europe/Zurich`.
    #[serde(default = "utc")]
    pub time_zone: String,
    #[serde(default)]
    pub overlap: Overlap,
    #[serde(default)]
    pub misfire: Misfire,
    /// Payload of the triggers that it fires.
    #[serde(default)]
    pub payload: Value,
    /// The sentence that it was read from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

fn utc() -> String {
    "UTC".into()
}

/// Which events wake the employee without naming it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionSpec {
    /// The event's source, exactly, for example `hook:github/push` or `employee:emp_…`; `*` at the end stands for any rest.
    pub source: String,
    /// The event's type, for example `invoice.updated`; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// Which of them, by channel, keyword and sender; absent: all.
    #[serde(default, skip_serializing_if = "EventFilter::is_empty")]
    pub filter: EventFilter,
    /// CEL over `event` (the payload) and `trigger` (its `type` and `source`); absent: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The skill node that should handle it; absent: the whole graph runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skill: Option<String>,
    /// CEL that gives the conversation key, a string; absent: the event's own, which is the thread for one from Slack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_key: Option<String>,
}
