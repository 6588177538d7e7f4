//! Compiling one graph: nodes, edges, expressions, templates.

use super::{
    At, Compiler,
    checks::{Places, handlers},
};
use crate::{
    domain::MemoryLayer,
    graph::{
        expr::Expr,
        plan::{EdgePlan, GraphPlan, Limits, MapPlan, NodePlan, Remember, WaitPlan, WorkPlan},
        scope::{Names, StepRef},
        spec::{BodySpec, GraphSpec, NodeSpec, RememberSpec, WaitSpec, WorkSpec},
        template::Template,
        text::Text,
    },
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

    fn work(&mut self, scope: Scope<'_>, prefix: &str, work: &WorkSpec) -> Option<WorkPlan> {
        let field = |name: &str| format!("{prefix}{name}");
        match work {
            WorkSpec::Skill { .. } => Some(WorkPlan::Skill),
            WorkSpec::Transform { output, remember } => {
                let output = self.template(scope, &field("output"), output);
                Some(WorkPlan::Transform {
                    remember: self.remember(scope, prefix, remember)?,
                    output: output?,
                })
            }
            WorkSpec::Decide { cases, otherwise } => {
                self.decide(scope, prefix, cases, otherwise.as_deref())
            }
            WorkSpec::Action {
                capability,
                connection,
                arguments,
            } => {
                self.capability(scope.at, &field("capability"), capability);
                let arguments = self.template(scope, &field("arguments"), arguments)?;
                Some(WorkPlan::Action {
                    capability: capability.as_str().into(),
                    connection: connection.as_deref().map(Box::from),
                    arguments,
                })
            }
            WorkSpec::Approval {
                title,
                arguments,
                expires_ms,
                on_denied,
                on_expired,
            } => {
                let title = title
                    .as_ref()
                    .map(|title| self.text(scope, &field("title"), title));
                let arguments = arguments
                    .as_ref()
                    .map(|arguments| self.template(scope, &field("arguments"), arguments));
                let on_denied = self.handler(scope, "on_denied", on_denied.as_deref());
                let on_expired = self.handler(scope, "on_expired", on_expired.as_deref());
                Some(WorkPlan::Approval {
                    title: transpose(title)?,
                    arguments: transpose(arguments)?,
                    expires_ms: *expires_ms,
                    on_denied,
                    on_expired,
                })
            }
            WorkSpec::Wait { until } => self.wait(scope, prefix, until).map(WorkPlan::Wait),
            WorkSpec::Map {
                items,
                name,
                width,
                max_items,
                on_item_error,
                body,
            } => {
                let items = self.expr(scope.at, "items", items, scope.names);
                let (work, limits) = self.body(scope, name, body);
                Some(WorkPlan::Map(Box::new(MapPlan {
                    items: items?,
                    name: name.as_str().into(),
                    width: *width,
                    max_items: *max_items,
                    on_item_error: *on_item_error,
                    body: work?,
                    limits,
                })))
            }
        }
    }

    fn body(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        body: &BodySpec,
    ) -> (Option<WorkPlan>, Limits) {
        let names = Names {
            item: Some(name),
            ..scope.names.clone()
        };
        let work = self.work(
            Scope {
                names: &names,
                ..scope
            },
            "do.",
            &body.work,
        );
        (
            work,
            Limits {
                retry: body.retry,
                timeout_ms: body.timeout_ms,
            },
        )
    }

    fn remember(
        &mut self,
        scope: Scope<'_>,
        prefix: &str,
        remember: &RememberSpec,
    ) -> Option<Box<[Remember]>> {
        let layers = [
            (MemoryLayer::Employee, &remember.employee),
            (MemoryLayer::Skill, &remember.skill),
            (MemoryLayer::Org, &remember.org),
        ];
        let mut writes = Vec::new();
        let mut complete = true;
        for (layer, entries) in layers {
            for (key, template) in entries {
                match self.template(
                    scope,
                    &format!("{prefix}remember.{}.{key}", layer.name()),
                    template,
                ) {
                    Some(template) => writes.push((layer, key.as_str().into(), template)),
                    None => complete = false,
                }
            }
        }
        complete.then(|| writes.into())
    }

    fn decide(
        &mut self,
        scope: Scope<'_>,
        prefix: &str,
        cases: &[(String, String)],
        otherwise: Option<&str>,
    ) -> Option<WorkPlan> {
        let mut plans = Vec::new();
        for (place, (when, choose)) in cases.iter().enumerate() {
            let when = self.expr(
                scope.at,
                &format!("{prefix}cases[{place}].when"),
                when,
                scope.names,
            );
            plans.extend(when.map(|when| (when, Value::from(choose.as_str()))));
        }
        (plans.len() == cases.len()).then(|| WorkPlan::Decide {
            cases: plans.into(),
            otherwise: otherwise.map(Value::from),
        })
    }

    fn wait(&mut self, scope: Scope<'_>, prefix: &str, wait: &WaitSpec) -> Option<WaitPlan> {
        match wait {
            WaitSpec::Duration(millis) => Some(WaitPlan::Duration(*millis)),
            WaitSpec::Until(until) => self
                .expr(scope.at, &format!("{prefix}until"), until, scope.names)
                .map(WaitPlan::Until),
            WaitSpec::Event {
                event,
                source,
                matches,
                timeout_ms,
                on_timeout,
            } => {
                let on_timeout = self.handler(scope, "on_timeout", on_timeout.as_deref());
                let mut plans = Vec::new();
                for (pointer, template) in matches {
                    let template =
                        self.template(scope, &format!("{prefix}event.match.{pointer}"), template);
                    plans.extend(template.map(|template| (Box::from(pointer.as_str()), template)));
                }
                (plans.len() == matches.len()).then(|| WaitPlan::Event {
                    event: event.as_str().into(),
                    source: source.as_deref().map(Box::from),
                    matches: plans.into(),
                    timeout_ms: *timeout_ms,
                    on_timeout,
                })
            }
        }
    }

    fn capability(&mut self, at: At<'_>, field: &str, id: &str) {
        match self.lookup.capability(id) {
            Some(info) => {
                self.capabilities.insert(id.to_string(), info);
            }
            None => {
                let close = self.lookup.suggestions(id);
                let hint = if close.is_empty() {
                    String::new()
                } else {
                    format!("; did you mean {}", close.join(" or "))
                };
                self.refuse(
                    at,
                    field,
                    format!("there is no capability `{id}` in the catalog{hint}"),
                );
            }
        }
    }

    fn handler(&mut self, scope: Scope<'_>, field: &str, id: Option<&str>) -> Option<u16> {
        self.place(scope.at, field, id?, scope.places)
    }

    fn expr(&mut self, at: At<'_>, field: &str, source: &str, names: &Names<'_>) -> Option<Expr> {
        Expr::compile(source, names)
            .map_err(|message| self.refuse(at, field, message))
            .ok()
    }

    fn text(&mut self, scope: Scope<'_>, field: &str, source: &str) -> Option<Text> {
        self.texts
            .compile(source, scope.names)
            .map_err(|message| self.refuse(scope.at, field, message))
            .ok()
    }

    fn template(&mut self, scope: Scope<'_>, field: &str, spec: &Value) -> Option<Template> {
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
struct Scope<'a> {
    at: At<'a>,
    names: &'a Names<'a>,
    places: &'a Places<'a>,
}

/// `None` only if there was something and it was wrong.
fn transpose<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(None) => None,
        Some(some) => Some(some),
    }
}
