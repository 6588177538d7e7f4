//! What an employee is hired with, beside its graphs.

use super::{
    EventFilter,
    recurrence::{Every, NthWorkingDay, OffDays, RecurrenceSpec},
};
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
    /// IANA name of the zone whose calendar its runs go by; absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
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

/// When an employee works of its own accord. JSON has the fields of the recurrence beside the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "FlatSchedule", into = "FlatSchedule")]
pub struct ScheduleSpec {
    /// Unique in the employee.
    pub name: String,
    pub recurrence: RecurrenceSpec,
    /// IANA name, for example `Europe/Zurich`.
    pub time_zone: String,
    pub overlap: Overlap,
    pub misfire: Misfire,
    /// Payload of the triggers that it fires.
    pub payload: Value,
    /// The sentence that it was read from, if it was.
    pub from: Option<String>,
}

/// A schedule as it is written: serde cannot both flatten a part and refuse unknown fields.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlatSchedule {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<Every>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rrule: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    working_day: Option<NthWorkingDay>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    at: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    off_days: Option<OffDays>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<String>,
    #[serde(default = "utc")]
    time_zone: String,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    misfire: Misfire,
    #[serde(default)]
    payload: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

impl From<FlatSchedule> for ScheduleSpec {
    fn from(flat: FlatSchedule) -> Self {
        Self {
            name: flat.name,
            recurrence: RecurrenceSpec {
                cron: flat.cron,
                every: flat.every,
                rrule: flat.rrule,
                working_day: flat.working_day,
                at: flat.at,
                start: flat.start,
                until: flat.until,
                off_days: flat.off_days,
                calendar: flat.calendar,
            },
            time_zone: flat.time_zone,
            overlap: flat.overlap,
            misfire: flat.misfire,
            payload: flat.payload,
            from: flat.from,
        }
    }
}

impl From<ScheduleSpec> for FlatSchedule {
    fn from(spec: ScheduleSpec) -> Self {
        let RecurrenceSpec {
            cron,
            every,
            rrule,
            working_day,
            at,
            start,
            until,
            off_days,
            calendar,
        } = spec.recurrence;
        Self {
            name: spec.name,
            cron,
            every,
            rrule,
            working_day,
            at,
            start,
            until,
            off_days,
            calendar,
            time_zone: spec.time_zone,
            overlap: spec.overlap,
            misfire: spec.misfire,
            payload: spec.payload,
            from: spec.from,
        }
    }
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
