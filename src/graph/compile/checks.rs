//! Checks of a graph's structure: ids, edges, cycles, entry, and permissions.

use super::{At, Compiler, permission_covers};
use crate::graph::spec::{GraphSpec, NodeSpec, WaitSpec, WorkSpec};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Positions of nodes by id.
pub(super) type Places<'s> = HashMap<&'s str, u16>;

impl Compiler<'_> {
    pub(super) fn places<'s>(&mut self, spec: &'s GraphSpec) -> Places<'s> {
        let mut places = Places::new();
        for (node, place) in spec.nodes.iter().zip(0u16..) {
            if places.insert(&node.id, place).is_some() {
                let at = At {
                    graph: &spec.graph_id,
                    node: Some(&node.id),
                };
                self.refuse(at, "id", "is used twice; ids are unique in a graph");
            }
        }
        places
    }

    pub(super) fn place(
        &mut self,
        at: At<'_>,
        field: &str,
        id: &str,
        places: &Places<'_>,
    ) -> Option<u16> {
        let place = places.get(id).copied();
        if place.is_none() {
            self.refuse(at, field, format!("there is no node `{id}` in this graph"));
        }
        place
    }

    /// The nodes that a graph starts with, in the order of the graph.
    pub(super) fn entry(&mut self, spec: &GraphSpec, places: &Places<'_>) -> Box<[u16]> {
        let at = At {
            graph: &spec.graph_id,
            node: None,
        };
        let entry: BTreeSet<u16> = match &spec.entry {
            Some(ids) => ids
                .iter()
                .filter_map(|id| self.place(at, "entry", id, places))
                .collect(),
            None => {
                let handlers: HashSet<&str> = spec
                    .nodes
                    .iter()
                    .flat_map(handlers)
                    .map(|(_, id)| id)
                    .collect();
                let starts = spec
                    .default_entry()
                    .filter(|node| !handlers.contains(node.id.as_str()));
                starts
                    .filter_map(|node| places.get(node.id.as_str()).copied())
                    .collect()
            }
        };
        if entry.is_empty() {
            self.refuse(at, "entry", "no node is without incoming edges; say where to start, for example \"entry\": [\"first\"]");
        }
        entry.into_iter().collect()
    }

    /// Every cycle needs a node that says how often it may be visited.
    pub(super) fn check_cycles(&mut self, spec: &GraphSpec, successors: &[Vec<u16>]) {
        let unbounded: Vec<bool> = spec
            .nodes
            .iter()
            .map(|node| node.max_visits.is_none())
            .collect();
        let Some(cycle) = find_cycle(successors, &unbounded) else {
            return;
        };
        let names: Vec<&str> = cycle
            .iter()
            .filter_map(|place| spec.nodes.get(usize::from(*place)))
            .map(|node| node.id.as_str())
            .collect();
        let at = At {
            graph: &spec.graph_id,
            node: names.first().copied(),
        };
        self.refuse(
            at,
            "max_visits",
            format!(
                "the cycle {} has no bound; give one of its nodes `max_visits`",
                names.join(" -> ")
            ),
        );
    }

    pub(super) fn check_permissions(
        &mut self,
        at: At<'_>,
        permissions: &[String],
        skill: &GraphSpec,
    ) {
        for node in &skill.nodes {
            let Some(capability) = action(&node.work).and_then(|id| self.lookup.capability(id))
            else {
                continue;
            };
            if !permissions
                .iter()
                .any(|permission| permission_covers(permission, &capability))
            {
                let message = format!(
                    "do not cover `{}`, which node `{}` of skill graph `{}` uses; add \"{}\" or \"{}\"",
                    capability.id, node.id, skill.graph_id, capability.permission, capability.id
                );
                self.refuse(at, "permissions", message);
            }
        }
    }
}

/// The capability that a node uses, also in the body of a `map`.
fn action(work: &WorkSpec) -> Option<&str> {
    match work {
        WorkSpec::Action { capability, .. } => Some(capability),
        WorkSpec::Map { body, .. } => action(&body.work),
        _ => None,
    }
}

/// The nodes that a node names as handlers, with the field.
pub(super) fn handlers(node: &NodeSpec) -> Vec<(&'static str, &str)> {
    let own: [(&'static str, Option<&str>); 2] = match &node.work {
        WorkSpec::Approval {
            on_denied,
            on_expired,
            ..
        } => [
            ("on_denied", on_denied.as_deref()),
            ("on_expired", on_expired.as_deref()),
        ],
        WorkSpec::Wait {
            until: WaitSpec::Event { on_timeout, .. },
        } => [("on_timeout", on_timeout.as_deref()), ("", None)],
        _ => [("", None), ("", None)],
    };
    [("on_error", node.on_error.as_deref())]
        .into_iter()
        .chain(own)
        .filter_map(|(field, id)| Some((field, id?)))
        .collect()
}

/// A cycle through marked nodes only.
fn find_cycle(successors: &[Vec<u16>], marked: &[bool]) -> Option<Vec<u16>> {
    let is_marked = |node: u16| marked.get(usize::from(node)).copied().unwrap_or(false);
    let mut finished = vec![false; successors.len()];
    for start in (0u16..)
        .take(successors.len())
        .filter(|node| is_marked(*node))
    {
        // Depth first, with the way so far instead of recursion.
        let mut way: Vec<(u16, usize)> = vec![(start, 0)];
        let mut on_way: HashSet<u16> = HashSet::from([start]);
        while let Some((node, next)) = way.last_mut() {
            let successor = successors[usize::from(*node)].get(*next).copied();
            *next += 1;
            match successor {
                Some(successor) if on_way.contains(&successor) => {
                    return Some(
                        way.iter()
                            .map(|(node, _)| *node)
                            .skip_while(|node| *node != successor)
                            .collect(),
                    );
                }
                Some(successor) if is_marked(successor) && !finished[usize::from(successor)] => {
                    on_way.insert(successor);
                    way.push((successor, 0));
                }
                Some(_) => {}
                None => {
                    finished[usize::from(*node)] = true;
                    on_way.remove(node);
                    way.pop();
                }
            }
        }
    }
    None
}
