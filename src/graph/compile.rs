//! From graphs as JSON to a plan: everything that can be known before a run is checked here.

mod checks;
mod nodes;
mod work;

use super::{
    error::{CompileError, CompileErrors},
    plan::Plan,
    scope::StepRef,
    spec::{Durability, GraphSpec, GraphType, WorkSpec},
    text::TextSet,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// What the catalog says of a capability, as far as a graph is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityInfo {
    /// For example `slack.chat.post`.
    pub id: String,
    /// The permission that the catalog declares for it, for example `slack.write`.
    pub permission: String,
    /// For example `slack`.
    pub integration: String,
    /// Whether it changes something outside.
    pub write: bool,
}

/// The catalog, as the compiler sees it.
pub trait CapabilityLookup {
    fn capability(&self, id: &str) -> Option<CapabilityInfo>;

    /// Ids that somebody who wrote `id` may have meant, best first.
    fn suggestions(&self, id: &str) -> Vec<String> {
        let _ = id;
        Vec::new()
    }

    /// Whether ids that it does not know are let through, as in a graph that was checked when it was stored: what it names may have
    /// left the catalog since, and only the action that uses it shall fail then.
    fn lets_unknown_pass(&self) -> bool {
        false
    }
}

/// Compiles an employee's graphs. Skill graphs that the employee graph does not name are read (so that what is wrong is told) and
/// not used.
///
/// # Errors
/// All that is wrong, with graph, node and field.
pub fn compile(
    employee: &Value,
    skills: &BTreeMap<String, Value>,
    lookup: &dyn CapabilityLookup,
) -> Result<Plan, CompileErrors> {
    let mut compiler = Compiler {
        lookup,
        errors: Vec::new(),
        texts: TextSet::default(),
        capabilities: BTreeMap::new(),
    };
    let employee = compiler.read(employee, GraphType::Employee);
    let skills: BTreeMap<String, GraphSpec> = skills
        .iter()
        .filter_map(|(id, value)| {
            Some((
                id.clone(),
                compiler
                    .read(value, GraphType::Skill)
                    .filter(|spec| compiler.named(id, spec))?,
            ))
        })
        .collect();
    let plan = employee.and_then(|employee| compiler.plan(&employee, &skills));
    compiler.texts.finish();
    match plan {
        Some(plan) if compiler.errors.is_empty() => Ok(plan),
        _ => Err(CompileErrors(compiler.errors)),
    }
}

struct Compiler<'l> {
    lookup: &'l dyn CapabilityLookup,
    errors: Vec<CompileError>,
    texts: TextSet,
    capabilities: BTreeMap<String, CapabilityInfo>,
}

/// Where an error belongs.
#[derive(Clone, Copy)]
struct At<'a> {
    graph: &'a str,
    node: Option<&'a str>,
}

impl Compiler<'_> {
    fn refuse(&mut self, at: At<'_>, field: &str, message: impl Into<String>) {
        let field = Some(field.to_string()).filter(|field| !field.is_empty());
        self.errors.push(CompileError {
            graph: at.graph.into(),
            node: at.node.map(str::to_string),
            field,
            message: message.into(),
        });
    }

    fn read(&mut self, value: &Value, wanted: GraphType) -> Option<GraphSpec> {
        match GraphSpec::parse(value) {
            Ok(spec) if spec.kind == wanted => Some(spec),
            Ok(spec) => {
                let (found, needed) = match wanted {
                    GraphType::Employee => ("a skill graph", "`employee`"),
                    GraphType::Skill => ("an employee graph", "`skill`"),
                };
                self.refuse(
                    At {
                        graph: &spec.graph_id,
                        node: None,
                    },
                    "type",
                    format!("is {found}; here it must be {needed}"),
                );
                None
            }
            Err(CompileErrors(errors)) => {
                self.errors.extend(errors);
                None
            }
        }
    }

    fn named(&mut self, key: &str, spec: &GraphSpec) -> bool {
        if key != spec.graph_id {
            self.refuse(
                At {
                    graph: &spec.graph_id,
                    node: None,
                },
                "graph_id",
                format!("is listed under `{key}`; both must be the same"),
            );
        }
        key == spec.graph_id
    }

    fn plan(&mut self, employee: &GraphSpec, skills: &BTreeMap<String, GraphSpec>) -> Option<Plan> {
        let skill_steps: HashMap<String, StepRef> = positions(employee)
            .map(|(id, place)| (id, StepRef::Skill(place)))
            .collect();
        let employee_plan = self.graph(employee, &skill_steps);
        let mut compiled = BTreeMap::new();
        for id in used_graphs(employee) {
            let Some(spec) = skills.get(id) else { continue };
            let mut steps = skill_steps.clone();
            steps.extend(positions(spec).map(|(id, place)| (id, StepRef::Node(place))));
            if let Some(plan) = self.graph(spec, &steps) {
                compiled.insert(id, Arc::new(plan));
            }
        }
        let mut plans = Vec::new();
        let mut given = Vec::new();
        for node in &employee.nodes {
            let WorkSpec::Skill {
                skill_graph,
                permissions,
            } = &node.work
            else {
                continue;
            };
            let at = At {
                graph: &employee.graph_id,
                node: Some(&node.id),
            };
            match skills.get(skill_graph) {
                Some(spec) => self.check_permissions(at, permissions, spec),
                // One that was given but has errors of its own is not missing.
                None if self.errors.iter().any(|error| error.graph == *skill_graph) => {}
                None => self.refuse(
                    at,
                    "skill_graph",
                    format!("there is no skill graph `{skill_graph}`{}", known(skills)),
                ),
            }
            given.push(Arc::from(permissions.as_slice()));
            plans.extend(compiled.get(skill_graph.as_str()).cloned());
        }
        let durability = if employee.durability == Durability::Step {
            Durability::Step
        } else {
            Durability::Default
        };
        let complete = plans.len() == employee.nodes.len();
        let capabilities = std::mem::take(&mut self.capabilities);
        employee_plan.filter(|_| complete).map(|employee| Plan {
            employee,
            skills: plans,
            permissions: given,
            durability,
            capabilities,
            zone: chrono_tz::Tz::UTC,
        })
    }
}

fn known(skills: &BTreeMap<String, GraphSpec>) -> String {
    let names: Vec<&str> = skills.keys().take(20).map(String::as_str).collect();
    if names.is_empty() {
        "; none is given".into()
    } else {
        format!("; given are {}", names.join(", "))
    }
}

fn positions(spec: &GraphSpec) -> impl Iterator<Item = (String, u16)> + '_ {
    spec.nodes
        .iter()
        .zip(0u16..)
        .map(|(node, place)| (node.id.clone(), place))
}

fn used_graphs(employee: &GraphSpec) -> BTreeSet<&str> {
    fn graph_of(work: &WorkSpec) -> Option<&str> {
        match work {
            WorkSpec::Skill { skill_graph, .. } => Some(skill_graph),
            _ => None,
        }
    }
    employee
        .nodes
        .iter()
        .filter_map(|node| graph_of(&node.work))
        .collect()
}

/// Whether a permission of a skill node lets it use a capability: it is the capability's id, its declared permission, or a dotted
/// prefix of the id with `.*`.
pub fn permission_covers(permission: &str, capability: &CapabilityInfo) -> bool {
    permission == capability.id
        || permission == capability.permission
        || permission.strip_suffix(".*").is_some_and(|prefix| {
            capability
                .id
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.starts_with('.'))
        })
}

#[cfg(test)]
mod tests;
