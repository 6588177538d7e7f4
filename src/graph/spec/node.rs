//! Reading a graph, its edges, and what all its nodes have in common.

use super::{
    Durability, EdgeSpec, GraphSpec, GraphType, Join, MAX_EDGES, MAX_MS, MAX_NODES, NodeSpec,
    RetryPolicy, is_id,
    read::{Fields, Reader, shown},
};
use serde_json::Value;

const ID_RULE: &str = "an id has 1 to 64 letters, digits, _ or -";

impl Reader {
    pub(super) fn graph(&mut self, value: &Value) -> Option<GraphSpec> {
        let mut fields = Fields::new(self, value, "")?;
        let graph_id = self.id(&mut fields, "graph_id");
        fields.required(self, "type", "`employee` or `skill`");
        let kind = fields.choice(
            self,
            "type",
            &[
                ("employee", GraphType::Employee),
                ("skill", GraphType::Skill),
            ],
        );
        fields.required(self, "nodes", "the list of nodes");
        let nodes = fields.list(self, "nodes").unwrap_or_default();
        let edges = fields.list(self, "edges").unwrap_or_default();
        let entry = fields.texts(self, "entry");
        let durability = fields.choice(
            self,
            "durability",
            &[("default", Durability::Default), ("step", Durability::Step)],
        );
        let description = fields.text(self, "description");
        fields.finish(self);
        self.check_size("nodes", nodes.len(), MAX_NODES);
        self.check_size("edges", edges.len(), MAX_EDGES);
        if nodes.is_empty() {
            self.refuse("nodes", "a graph needs at least one node");
        }
        let kind = kind?;
        let nodes = nodes
            .iter()
            .take(MAX_NODES)
            .enumerate()
            .filter_map(|(place, node)| self.node(place, node, kind))
            .collect();
        let edges = edges
            .iter()
            .take(MAX_EDGES)
            .enumerate()
            .filter_map(|(place, edge)| self.edge(place, edge))
            .collect();
        Some(GraphSpec {
            graph_id: graph_id?,
            kind,
            nodes,
            edges,
            entry,
            durability: durability.unwrap_or_default(),
            description,
        })
    }

    fn check_size(&mut self, field: &str, size: usize, most: usize) {
        if size > most {
            self.refuse(
                field,
                format!("has {size} elements, at most {most} are allowed"),
            );
        }
    }

    fn id(&mut self, fields: &mut Fields<'_>, name: &'static str) -> Option<String> {
        let id = fields.required_text(self, name, "the id, a string")?;
        if !is_id(&id) {
            self.refuse(fields.path(name), format!("`{id}` is no id; {ID_RULE}"));
            return None;
        }
        Some(id)
    }

    fn edge(&mut self, place: usize, value: &Value) -> Option<EdgeSpec> {
        let mut fields = Fields::new(self, value, &format!("edges[{place}]"))?;
        let from = fields.required_text(self, "from", "the id of the node that it leaves");
        let to = fields.required_text(self, "to", "the id of the node that it enters");
        let when = fields.text(self, "when");
        fields.finish(self);
        Some(EdgeSpec {
            from: from?,
            to: to?,
            when,
        })
    }

    fn node(&mut self, place: usize, value: &Value, kind: GraphType) -> Option<NodeSpec> {
        self.node = Some(
            value
                .get("id")
                .and_then(Value::as_str)
                .map_or_else(|| format!("nodes[{place}]"), str::to_string),
        );
        let node = self.named_node(value, kind);
        self.node = None;
        node
    }

    fn named_node(&mut self, value: &Value, kind: GraphType) -> Option<NodeSpec> {
        let mut fields = Fields::new(self, value, "")?;
        let id = self.id(&mut fields, "id");
        let description = fields.text(self, "description");
        let on_error = fields.text(self, "on_error");
        let input = fields.get("input").cloned();
        let join = fields
            .choice(self, "join", &[("all", Join::All), ("any", Join::Any)])
            .unwrap_or_default();
        let max_visits = fields
            .integer(self, "max_visits", 1..=10_000)
            .and_then(|visits| u16::try_from(visits).ok());
        let work = self.work(&mut fields, kind);
        let timed = fields.get("type").and_then(Value::as_str) != Some("wait");
        // The timeout of a wait belongs to the wait, see there.
        let timeout_ms = if timed {
            fields.integer(self, "timeout_ms", 1..=MAX_MS)
        } else {
            None
        };
        let retry = self.retry(&mut fields, kind);
        // After a type that nobody knows every other field would be unknown too.
        if work.is_some() {
            fields.finish(self);
        }
        Some(NodeSpec {
            id: id?,
            description,
            input,
            retry,
            timeout_ms,
            on_error,
            join,
            max_visits,
            work: work?,
        })
    }

    fn retry(&mut self, fields: &mut Fields<'_>, kind: GraphType) -> Option<RetryPolicy> {
        match (kind, fields.get("type").and_then(Value::as_str)) {
            // Not asked for, so it is refused as unknown.
            (GraphType::Employee, _) | (_, Some("map")) => None,
            _ => self.retry_policy(fields),
        }
    }

    pub(super) fn retry_policy(&mut self, fields: &mut Fields<'_>) -> Option<RetryPolicy> {
        let path = fields.path("retry");
        let mut fields = Fields::new(self, fields.get("retry")?, &path)?;
        fields.required(self, "max_attempts", "how often the step is tried in all");
        let max_attempts = fields.integer(self, "max_attempts", 1..=100);
        let initial_ms = fields
            .integer(self, "initial_ms", 0..=MAX_MS)
            .unwrap_or(1_000);
        let factor = fields.number(self, "factor", 1.0..=100.0).unwrap_or(2.0);
        let max_ms = fields.integer(self, "max_ms", 0..=MAX_MS).unwrap_or(60_000);
        let jitter = fields.number(self, "jitter", 0.0..=1.0).unwrap_or(0.1);
        fields.finish(self);
        let max_attempts = u32::try_from(max_attempts?).ok()?;
        Some(RetryPolicy {
            max_attempts,
            initial_ms,
            factor,
            max_ms,
            jitter,
        })
    }

    /// An unknown `type`, told with the ones that fit.
    pub(super) fn refuse_type(&mut self, path: String, found: &Value, known: &str) {
        self.refuse(path, format!("expected {known}, found {}", shown(found)));
    }
}
