//! Hiring: from a job description to a graph. Pure: no io, no clock, no model.
//!
//! The invariant: nothing that the text does not say is invented. What is not understood is reported, clause by clause, and a
//! clause that is only partly understood reports the rest. A doubt is always resolved towards doing less.

mod clause;
mod condition;
mod entity;
mod fill;
mod flow;
mod graph;
mod limits;
mod matching;
mod naming;
mod planner;
mod schedule;
mod template;
mod text;
mod words;
mod zone;

#[cfg(test)]
mod tests;

pub use planner::TemplatePlanner;
pub use template::{Template, TemplateError};

use crate::domain::{ScheduleSpec, SubscriptionSpec};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The longest job description, in bytes.
pub const MAX_TEXT_BYTES: usize = 32 * 1024;

/// What an employee is hired from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobDescription {
    /// Goes before a name that the text says.
    #[serde(default)]
    pub name: Option<String>,
    pub text: String,
    /// IANA name, for times that the text gives without a zone; absent: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
}

/// What a planner has to know about the integration catalog.
pub trait CatalogView: Send + Sync {
    /// The integration that offers a capability; `None` if no integration does.
    fn integration_of(&self, capability: &str) -> Option<String>;
    /// Whether an integration of this id (lower case, for example `slack`) exists.
    fn has_integration(&self, id: &str) -> bool;
}

/// Turns a job description into graphs.
#[async_trait]
pub trait Planner: Send + Sync {
    /// `connected` are the ids of the integrations that the org has a connection to.
    ///
    /// # Errors
    /// The text is empty or too long, the time zone is unknown, or no clause of the text was understood.
    async fn plan(
        &self,
        request: &JobDescription,
        catalog: &dyn CatalogView,
        connected: &[String],
    ) -> Result<HirePlan, HireError>;
}

/// What would be hired. Everything of `EmployeeSpec` that a text can say, and how the text was read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HirePlan {
    pub name: String,
    /// The employee graph.
    pub graph: Value,
    /// By `graph_id`.
    pub skill_graphs: BTreeMap<String, Value>,
    pub schedules: Vec<ScheduleSpec>,
    pub subscriptions: Vec<SubscriptionSpec>,
    pub understood: Vec<Understood>,
    pub not_understood: Vec<NotUnderstood>,
    pub missing_connections: Vec<MissingConnection>,
}

/// A clause and the skill that it became.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Understood {
    /// As it was written, white space folded.
    pub sentence: String,
    /// Id of the skill node in the employee graph.
    pub skill: String,
    /// What was read out of the clause, by name; defaults are not listed. Amounts are decimal text (`"1200.50"`), with
    /// the code of a currency that was told under `<name>_currency`; days are numbers.
    pub parameters: BTreeMap<String, Value>,
}

/// A clause, or the rest of one, that nothing will be done about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotUnderstood {
    pub sentence: String,
    pub reason: String,
}

/// An account that the org has to connect before the skills can work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissingConnection {
    pub integration: String,
    /// Ids of skill nodes.
    pub needed_by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HireError {
    #[error("job_description is empty")]
    Empty,
    #[error("job_description has {bytes} bytes, the limit is {MAX_TEXT_BYTES}")]
    TooLong { bytes: usize },
    #[error("time_zone `{0}` is not an IANA name")]
    UnknownTimeZone(String),
    /// With what was said, and why it is not understood.
    #[error("nothing in job_description was understood")]
    NothingUnderstood { not_understood: Vec<NotUnderstood> },
}

impl HireError {
    /// The field of the request that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            HireError::UnknownTimeZone(_) => "time_zone",
            HireError::Empty | HireError::TooLong { .. } | HireError::NothingUnderstood { .. } => {
                "job_description"
            }
        }
    }
}
