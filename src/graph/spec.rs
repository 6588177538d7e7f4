//! The JSON shape of graphs as types, before anything is looked up or compiled. `catalog/schema/graph.schema.json` describes the same.

mod agents;
mod node;
mod read;

use super::error::CompileErrors;
use read::Reader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most nodes of one graph.
pub const MAX_NODES: usize = 1_000;
/// Most edges of one graph.
pub const MAX_EDGES: usize = 10_000;
/// Longest time that a graph may ask for (timeouts, waits, expiries): 366 days.
pub const MAX_MS: u64 = 366 * 24 * 3_600_000;
/// Items of a list that an `action` may keep.
pub const MAX_LIST_ITEMS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GraphType {
    /// Its nodes are skills.
    Employee,
    /// Its nodes are micro-agents.
    Skill,
}

/// When a step's fact must be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Before any effect that depends on it.
    #[default]
    Default,
    /// Before the next step starts.
    Step,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GraphSpec {
    pub graph_id: String,
    pub kind: GraphType,
    pub nodes: Vec<NodeSpec>,
    pub edges: Vec<EdgeSpec>,
    /// Where it starts; `None`: at the nodes without incoming edges.
    pub entry: Option<Vec<String>>,
    pub durability: Durability,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct EdgeSpec {
    pub from: String,
    pub to: String,
    /// CEL; absent: always.
    pub when: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// When every incoming edge has fired or cannot fire any more.
    #[default]
    All,
    /// When the first one fires.
    Any,
}

/// A node of a graph: what all nodes have in common, and its work.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    pub id: String,
    pub description: Option<String>,
    /// Template that takes the place of the default input.
    pub input: Option<Value>,
    pub retry: Option<RetryPolicy>,
    pub timeout_ms: Option<u64>,
    pub on_error: Option<String>,
    pub join: Join,
    /// 1 if it is not given.
    pub max_visits: Option<u16>,
    pub work: WorkSpec,
}

/// How a failed attempt is repeated: after `initial_ms * factor^(n-1)`, at most `max_ms`, less a part of up to `jitter`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The first attempt counts.
    pub max_attempts: u32,
    pub initial_ms: u64,
    pub factor: f64,
    pub max_ms: u64,
    /// 0 to 1.
    pub jitter: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WorkSpec {
    Skill {
        skill_graph: String,
        permissions: Vec<String>,
    },
    Transform {
        output: Value,
        remember: RememberSpec,
    },
    Decide {
        cases: Vec<(String, String)>,
        otherwise: Option<String>,
    },
    Action {
        capability: String,
        connection: Option<String>,
        arguments: Value,
        /// The capability's list is read to its end, and so many of its items are kept.
        max_items: Option<u64>,
    },
    Approval {
        title: Option<String>,
        arguments: Option<Value>,
        /// Capabilities that the question is about: what the run calls of them afterwards is not asked again by default.
        approves: Vec<String>,
        expires_ms: Option<u64>,
        on_denied: Option<String>,
        on_expired: Option<String>,
    },
    Wait {
        until: WaitSpec,
    },
    Map {
        items: String,
        name: String,
        width: u32,
        max_items: u32,
        on_item_error: OnItemError,
        body: BodySpec,
    },
}

/// Templates by key, for each layer of memory: employee, skill, org.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RememberSpec {
    pub employee: Vec<(String, Value)>,
    pub skill: Vec<(String, Value)>,
    pub org: Vec<(String, Value)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum WaitSpec {
    Duration(u64),
    /// CEL that gives an RFC 3339 time.
    Until(String),
    Event {
        event: String,
        source: Option<String>,
        matches: Vec<(String, Value)>,
        timeout_ms: Option<u64>,
        on_timeout: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnItemError {
    #[default]
    Fail,
    Skip,
    Collect,
}

/// The work that a `map` does for each element.
#[derive(Clone, Debug, PartialEq)]
pub struct BodySpec {
    pub work: Box<WorkSpec>,
    pub retry: Option<RetryPolicy>,
    pub timeout_ms: Option<u64>,
}

impl WorkSpec {
    /// The word that `type` takes.
    pub fn name(&self) -> &'static str {
        match self {
            WorkSpec::Skill { .. } => "skill",
            WorkSpec::Transform { .. } => "transform",
            WorkSpec::Decide { .. } => "decide",
            WorkSpec::Action { .. } => "action",
            WorkSpec::Approval { .. } => "approval",
            WorkSpec::Wait { .. } => "wait",
            WorkSpec::Map { .. } => "map",
        }
    }
}

impl GraphSpec {
    /// Reads a graph from JSON.
    ///
    /// # Errors
    /// Every unknown, missing or wrong field, with graph, node and field.
    pub fn parse(value: &Value) -> Result<GraphSpec, CompileErrors> {
        let mut reader = Reader::new(value);
        let graph = reader.graph(value);
        match (graph, reader.errors) {
            (Some(graph), errors) if errors.is_empty() => Ok(graph),
            (_, errors) => Err(CompileErrors(errors)),
        }
    }

    /// The nodes that a graph starts with, if nothing else is said: those without incoming edges.
    pub fn default_entry(&self) -> impl Iterator<Item = &NodeSpec> {
        self.nodes
            .iter()
            .filter(|node| !self.edges.iter().any(|edge| edge.to == node.id))
    }
}

/// Reads YAML as JSON, for people.
///
/// # Errors
/// One sentence with line and column.
pub fn yaml_to_value(text: &str) -> Result<Value, String> {
    crate::domain::yaml::from_str(text).map_err(|error| format!("the YAML cannot be read: {error}"))
}

/// Whether a text can be the id of a graph or a node.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Milliseconds of `PT10M`, `P1DT2H`, `10m`, `1h30m`, `500ms`.
pub fn parse_duration(text: &str) -> Option<u64> {
    let iso = text.strip_prefix('P');
    let body = iso.unwrap_or(text);
    let (mut total, mut digits, mut in_time, mut rest) = (0u64, String::new(), iso.is_none(), body);
    if body.is_empty() || body.ends_with('T') {
        return None;
    }
    while let Some(letter) = rest.chars().next() {
        if letter.is_ascii_digit() {
            digits.push(letter);
            rest = &rest[1..];
            continue;
        }
        if letter == 'T' && iso.is_some() && !in_time && digits.is_empty() {
            in_time = true;
            rest = &rest[1..];
            continue;
        }
        let units: &[(&str, u64)] = match (iso.is_some(), in_time) {
            (true, false) => &[("W", 604_800_000), ("D", 86_400_000)],
            (true, true) => &[("H", 3_600_000), ("M", 60_000), ("S", 1_000)],
            (false, _) => &[
                ("ms", 1),
                ("s", 1_000),
                ("m", 60_000),
                ("h", 3_600_000),
                ("d", 86_400_000),
                ("w", 604_800_000),
            ],
        };
        let (unit, factor) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        total = total.checked_add(digits.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        digits.clear();
        rest = &rest[unit.len()..];
    }
    digits.is_empty().then_some(total)
}

#[cfg(test)]
mod tests;
