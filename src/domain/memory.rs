//! What an employee knows, in three layers. A run reads one consistent view at its start; what it writes are facts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemoryLayer {
    /// Of one employee.
    Employee,
    /// Of one skill of one employee.
    Skill,
    /// Of the whole org.
    Org,
}

impl MemoryLayer {
    pub fn name(self) -> &'static str {
        match self {
            MemoryLayer::Employee => "employee",
            MemoryLayer::Skill => "skill",
            MemoryLayer::Org => "org",
        }
    }
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Employee, Self::Skill, Self::Org]
            .into_iter()
            .find(|layer| layer.name() == text)
    }
}

/// What a run saw when it started: the `context` of `runIntent`.
///
/// In expressions `memory` is `employee_memory` with the current skill's context under `memory.skill`, and `org` is `org_knowledge`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryView {
    #[serde(default)]
    pub employee_memory: Arc<Map<String, Value>>,
    /// By skill node id.
    #[serde(default)]
    pub skill_contexts: BTreeMap<String, Arc<Map<String, Value>>>,
    #[serde(default)]
    pub org_knowledge: Arc<Map<String, Value>>,
}

impl MemoryView {
    pub fn is_empty(&self) -> bool {
        self.employee_memory.is_empty()
            && self.skill_contexts.is_empty()
            && self.org_knowledge.is_empty()
    }
}

/// One value that a step asked to be remembered; `Value::Null` forgets the key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryWrite {
    pub layer: MemoryLayer,
    pub key: String,
    pub value: Value,
}
