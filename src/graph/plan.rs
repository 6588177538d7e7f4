//! A compiled employee: what runs work from. Immutable, shared as `Arc<Plan>`.

use super::{
    compile::CapabilityInfo,
    expr::Expr,
    fact::StepId,
    spec::{Durability, Join, OnItemError, RetryPolicy},
    template::Template,
    text::Text,
};
use crate::domain::MemoryLayer;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The `node` of a step that stands for a whole skill.
pub const SKILL_NODE: u16 = u16::MAX;

#[derive(Debug)]
pub struct Plan {
    pub(super) employee: GraphPlan,
    /// By position of the skill node in the employee graph. Skill nodes of the same skill graph share it.
    pub(super) skills: Vec<Arc<GraphPlan>>,
    /// What each skill node was given, by its position.
    pub(super) permissions: Vec<Arc<[String]>>,
    pub(super) durability: Durability,
    pub(super) capabilities: BTreeMap<String, CapabilityInfo>,
    /// Whose days its runs go by. It is part of the version, so that a replay sees the same.
    pub(super) zone: chrono_tz::Tz,
}

#[derive(Debug)]
pub(super) struct GraphPlan {
    pub graph_id: Box<str>,
    pub ids: Box<[Box<str>]>,
    pub nodes: Box<[NodePlan]>,
    pub edges: Box<[EdgePlan]>,
    pub entry: Box<[u16]>,
}

#[derive(Debug)]
pub(super) struct NodePlan {
    pub input: Option<Template>,
    pub limits: Limits,
    pub on_error: Option<u16>,
    pub join: Join,
    pub max_visits: u16,
    /// Positions of edges, in the order of the graph.
    pub edges_in: Box<[u16]>,
    pub edges_out: Box<[u16]>,
    /// Nodes that it can start: by edges and as a handler. Without doubles.
    pub successors: Box<[u16]>,
    pub work: WorkPlan,
}

/// How long one attempt of a step may take and how often it is tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub retry: Option<RetryPolicy>,
    pub timeout_ms: Option<u64>,
}

#[derive(Debug)]
pub(super) struct EdgePlan {
    pub from: u16,
    pub to: u16,
    pub when: Option<Expr>,
}

/// What a `transform` writes to memory: layer, key, value.
pub(super) type Remember = (MemoryLayer, Box<str>, Template);

#[derive(Debug)]
pub(super) enum WorkPlan {
    Skill,
    Transform {
        output: Template,
        remember: Box<[Remember]>,
    },
    Decide {
        cases: Box<[(Expr, Value)]>,
        otherwise: Option<Value>,
    },
    Action {
        capability: Box<str>,
        connection: Option<Box<str>>,
        arguments: Template,
        max_items: Option<u64>,
    },
    Approval {
        title: Option<Text>,
        arguments: Option<Template>,
        /// Capabilities that the question is about.
        approves: Box<[Box<str>]>,
        expires_ms: Option<u64>,
        on_denied: Option<u16>,
        on_expired: Option<u16>,
    },
    Wait(WaitPlan),
    Map(Box<MapPlan>),
}

#[derive(Debug)]
pub(super) enum WaitPlan {
    Duration(u64),
    Until(Expr),
    Event {
        event: Box<str>,
        source: Option<Box<str>>,
        matches: Box<[(Box<str>, Template)]>,
        timeout_ms: Option<u64>,
        on_timeout: Option<u16>,
    },
}

#[derive(Debug)]
pub(super) struct MapPlan {
    pub items: Expr,
    pub name: Box<str>,
    pub width: u32,
    pub max_items: u32,
    pub on_item_error: OnItemError,
    pub body: WorkPlan,
    pub limits: Limits,
}

impl WorkPlan {
    fn name(&self) -> &'static str {
        match self {
            WorkPlan::Skill => "skill",
            WorkPlan::Transform { .. } => "transform",
            WorkPlan::Decide { .. } => "decide",
            WorkPlan::Action { .. } => "action",
            WorkPlan::Approval { .. } => "approval",
            WorkPlan::Wait(_) => "wait",
            WorkPlan::Map(_) => "map",
        }
    }
}

impl Plan {
    /// The plan for an employee that works in this zone; without it, days are those of UTC.
    #[must_use]
    pub fn in_zone(self, zone: chrono_tz::Tz) -> Self {
        Self { zone, ..self }
    }

    /// Whether every step has to be durable before the next one starts.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The `graph_id` of the employee graph.
    pub fn graph_id(&self) -> &str {
        &self.employee.graph_id
    }

    /// Node ids of the skills, by position.
    pub fn skill_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.employee.ids.iter().map(AsRef::as_ref)
    }

    /// Position of a skill node, as in [`StepId::skill`].
    pub fn skill_position(&self, id: &str) -> Option<u16> {
        self.employee
            .ids
            .iter()
            .position(|known| &**known == id)
            .and_then(|place| u16::try_from(place).ok())
    }

    /// Id of the skill node that a step belongs to; empty for a step of another plan.
    pub fn skill_name(&self, step: StepId) -> &str {
        self.employee
            .ids
            .get(usize::from(step.skill))
            .map_or("", AsRef::as_ref)
    }

    /// Id of the micro-agent; empty for a step that stands for a whole skill, and for a step of another plan.
    pub fn node_name(&self, step: StepId) -> &str {
        let graph = self.skills.get(usize::from(step.skill));
        graph
            .and_then(|graph| graph.ids.get(usize::from(step.node)))
            .map_or("", AsRef::as_ref)
    }

    /// `transform`, `decide`, …; of an element of a `map` the type of its body; `skill` for a whole skill.
    pub fn node_type(&self, step: StepId) -> &'static str {
        match self.work(step) {
            Some(work) => work.name(),
            None => "skill",
        }
    }

    pub fn has_skill(&self, id: &str) -> bool {
        self.skill_position(id).is_some()
    }

    /// Whether each step waits for its commit.
    pub fn is_step_durable(&self) -> bool {
        self.durability() == Durability::Step
    }

    /// The capability that an `action` step calls.
    pub fn capability(&self, step: StepId) -> Option<&str> {
        match self.work(step) {
            Some(WorkPlan::Action { capability, .. }) => Some(capability),
            _ => None,
        }
    }

    /// What the skill of a step was given; nothing for a step of another plan.
    pub fn permissions(&self, step: StepId) -> Arc<[String]> {
        self.permissions
            .get(usize::from(step.skill))
            .cloned()
            .unwrap_or_else(|| Arc::from([]))
    }

    /// Whether an approval of the graphs names this capability.
    pub(super) fn approves(&self, capability: &str) -> bool {
        fn names(work: &WorkPlan, capability: &str) -> bool {
            match work {
                WorkPlan::Approval { approves, .. } => {
                    approves.iter().any(|named| &**named == capability)
                }
                WorkPlan::Map(map) => names(&map.body, capability),
                _ => false,
            }
        }
        self.skills
            .iter()
            .flat_map(|graph| &graph.nodes)
            .any(|node| names(&node.work, capability))
    }

    /// What the employee can use, by id of the capability.
    pub fn capabilities(&self) -> &BTreeMap<String, CapabilityInfo> {
        &self.capabilities
    }

    pub(super) fn node(&self, step: StepId) -> Option<&NodePlan> {
        self.skills
            .get(usize::from(step.skill))?
            .nodes
            .get(usize::from(step.node))
    }

    /// The work of a micro-agent, or of the body of a `map` if the step is an element.
    pub(super) fn work(&self, step: StepId) -> Option<&WorkPlan> {
        let work = &self.node(step)?.work;
        match (step.item, work) {
            (None, work) => Some(work),
            (Some(_), WorkPlan::Map(map)) => Some(&map.body),
            (Some(_), _) => None,
        }
    }

    pub(super) fn map(&self, step: StepId) -> Option<&MapPlan> {
        match &self.node(step)?.work {
            WorkPlan::Map(map) => Some(map),
            _ => None,
        }
    }
}
