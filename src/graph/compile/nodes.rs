//! Compiling one graph: nodes and edges.

use super::{
    At, Compiler,
    checks::{Places, handlers},
};
use crate::graph::{
    expr::Expr,
    plan::{EdgePlan, GraphPlan, Limits, NodePlan},
    scope::{Names, StepRef},
    spec::{GraphSpec, NodeSpec},
    template::Template,
    text::Text,
};
use serde_json::Value;
use std::collections::HashMap;

impl Compiler<'_> {
    /// `steps`: what expressions of this graph may name. `None` if it has errors.
    pub(super) fn graph(
        &mut self,
        spec: &GraphSpec,
        steps: &HashMap<String, StepRef>,
    ) -> Option<GraphPlan> {
        let before = self.errors.len();
        let places = self.places(spec);
        let names = Names {
            steps,
            output: false,
            item: None,
            call: false,
        };
        let edges = self.edges(spec, &places, steps);
        let successors = self.successors(spec, &places);
        self.check_cycles(spec, &successors);
        let entry = self.entry(spec, &places);
        let nodes: Vec<Option<NodePlan>> = spec
            .nodes
            .iter()
            .zip(successors)
            .zip(0u16..)
            .map(|((node, successors), place)| {
                let at = At {
                    graph: &spec.graph_id,
                    node: Some(&node.id),
                };
                self.node(
                    Scope {
                        at,
                        names: &names,
                        places: &places,
                    },
                    node,
                    place,
                    &edges,
                    successors,
                )
            })
            .collect();
        if self.errors.len() > before {
            return None;
        }
        Some(GraphPlan {
            graph_id: spec.graph_id.as_str().into(),
            ids: spec
                .nodes
                .iter()
                .map(|node| node.id.as_str().into())
                .collect(),
            nodes: nodes.into_iter().collect::<Option<_>>()?,
            edges: edges.into(),
            entry,
        })
    }

    fn edges(
        &mut self,
        spec: &GraphSpec,
        places: &Places<'_>,
        steps: &HashMap<String, StepRef>,
    ) -> Vec<EdgePlan> {
        let names = Names {
            steps,
            output: true,
            item: None,
            call: false,
        };
        let mut plans = Vec::with_capacity(spec.edges.len());
        for (number, edge) in spec.edges.iter().enumerate() {
            let at = At {
                graph: &spec.graph_id,
                node: None,
            };
            let from = self.place(at, &format!("edges[{number}].from"), &edge.from, places);
            let to = self.place(at, &format!("edges[{number}].to"), &edge.to, places);
            let when = edge
                .when
                .as_ref()
                .and_then(|when| self.expr(at, &format!("edges[{number}].when"), when, &names));
            if let (Some(from), Some(to)) = (from, to) {
                plans.push(EdgePlan { from, to, when });
            }
        }
        plans
    }

    /// Which nodes each node can start, by edges and as handlers, in the order of the graph.
    fn successors(&mut self, spec: &GraphSpec, places: &Places<'_>) -> Vec<Vec<u16>> {
        let mut all = vec![Vec::new(); spec.nodes.len()];
        let ends = spec
            .edges
            .iter()
            .map(|edge| (edge.from.as_str(), edge.to.as_str()));
        let handled = spec.nodes.iter().flat_map(|node| {
            handlers(node)
                .into_iter()
                .map(|(_, to)| (node.id.as_str(), to))
        });
        for (from, to) in ends.chain(handled) {
            if let (Some(from), Some(to)) = (places.get(from), places.get(to)) {
                all[usize::from(*from)].push(*to);
            }
        }
        for successors in &mut all {
            successors.sort_unstable();
            successors.dedup();
        }
        all
    }

    fn node(
        &mut self,
        scope: Scope<'_>,
        node: &NodeSpec,
        place: u16,
        edges: &[EdgePlan],
        successors: Vec<u16>,
    ) -> Option<NodePlan> {
        let positions = |picks: &dyn Fn(&EdgePlan) -> bool| {
            edges
                .iter()
                .zip(0u16..)
                .filter(|(edge, _)| picks(edge))
                .map(|(_, at)| at)
                .collect()
        };
        let input = node
            .input
            .as_ref()
            .map(|input| self.template(scope, "input", input));
        let on_error = self.handler(scope, "on_error", node.on_error.as_deref());
        let work = self.work(scope, "", &node.work);
        Some(NodePlan {
            input: transpose(input)?,
            limits: Limits {
                retry: node.retry,
                timeout_ms: node.timeout_ms,
            },
            on_error,
            join: node.join,
            max_visits: node.max_visits.unwrap_or(1),
            edges_in: positions(&|edge| edge.to == place),
            edges_out: positions(&|edge| edge.from == place),
            successors: successors.into(),
            work: work?,
        })
    }

    pub(super) fn handler(
        &mut self,
        scope: Scope<'_>,
        field: &str,
        id: Option<&str>,
    ) -> Option<u16> {
        self.place(scope.at, field, id?, scope.places)
    }

    pub(super) fn expr(
        &mut self,
        at: At<'_>,
        field: &str,
        source: &str,
        names: &Names<'_>,
    ) -> Option<Expr> {
        Expr::compile(source, names)
            .map_err(|message| self.refuse(at, field, message))
            .ok()
    }

    pub(super) fn text(&mut self, scope: Scope<'_>, field: &str, source: &str) -> Option<Text> {
        self.texts
            .compile(source, scope.names)
            .map_err(|message| self.refuse(scope.at, field, message))
            .ok()
    }

    pub(super) fn template(
        &mut self,
        scope: Scope<'_>,
        field: &str,
        spec: &Value,
    ) -> Option<Template> {
        match Template::compile(spec, scope.names, &mut self.texts) {
            Ok(template) => Some(template),
            Err(errors) => {
                for (path, message) in errors {
                    self.refuse(scope.at, &format!("{field}{path}"), message);
                }
                None
            }
        }
    }
}

/// What stands around a node: its place in messages, the names that it can use, the nodes that it can name.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub at: At<'a>,
    pub names: &'a Names<'a>,
    pub places: &'a Places<'a>,
}

/// `None` only if there was something and it was wrong.
pub(super) fn transpose<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(some) => Some(some),
    }
}
