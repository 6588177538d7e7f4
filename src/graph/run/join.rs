//! When a node may start, and with what input.

use super::state::{Frame, NodeState};
use crate::graph::{plan::GraphPlan, spec::Join};
use serde_json::{Map, Value};
use std::sync::Arc;

impl NodeState {
    pub fn is_pending(&self) -> bool {
        !self.active && !self.tokens.is_empty()
    }
    fn has_direct(&self) -> bool {
        self.tokens.iter().any(|token| token.edge.is_none())
    }
}

/// The first node that may start.
pub(super) fn next_ready(graph: &GraphPlan, frame: &Frame) -> Option<u16> {
    (0u16..)
        .zip(&frame.nodes)
        .find(|(node, state)| state.is_pending() && is_ready(graph, frame, *node))
        .map(|(node, _)| node)
}

fn is_ready(graph: &GraphPlan, frame: &Frame, node: u16) -> bool {
    let (Some(plan), Some(state)) = (
        graph.nodes.get(usize::from(node)),
        frame.nodes.get(usize::from(node)),
    ) else {
        return false;
    };
    if state.has_direct() || plan.join == Join::Any {
        return true;
    }
    let mut open = plan
        .edges_in
        .iter()
        .filter(|edge| !state.tokens.iter().any(|token| token.edge == Some(**edge)))
        .peekable();
    if open.peek().is_none() {
        return true;
    }
    let source = |edge: &u16| graph.edges.get(usize::from(*edge)).map(|edge| edge.from);
    let mut sources = open.filter_map(source);
    let reach = reachable(graph, frame, node);
    !sources.any(|source| reach.get(usize::from(source)).copied().unwrap_or(false))
}

/// The nodes that may still complete without the joining node: those at work or pending, and all that they can lead to.
fn reachable(graph: &GraphPlan, frame: &Frame, joining: u16) -> Vec<bool> {
    let mut reached = vec![false; frame.nodes.len()];
    let mut open: Vec<u16> = (0u16..)
        .zip(&frame.nodes)
        .filter(|(node, state)| *node != joining && (state.active || !state.tokens.is_empty()))
        .map(|(node, _)| node)
        .collect();
    for node in &open {
        reached[usize::from(*node)] = true;
    }
    while let Some(node) = open.pop() {
        for next in graph.nodes[usize::from(node)].successors.iter().copied() {
            let place = usize::from(next);
            if next != joining
                && !reached[place]
                && frame.nodes[place].visits < graph.nodes[place].max_visits
            {
                reached[place] = true;
                open.push(next);
            }
        }
    }
    reached
}

/// Begins a visit: takes the tokens that it consumes and gives its input.
pub(super) fn begin_visit(graph: &GraphPlan, frame: &mut Frame, node: u16) -> Arc<Value> {
    let plan = &graph.nodes[usize::from(node)];
    let state = &mut frame.nodes[usize::from(node)];
    state.visits += 1;
    state.active = true;
    state.last = None;
    let input = take_input(graph, plan.join, state);
    if state.visits >= plan.max_visits {
        state.tokens.clear();
    }
    input
}

fn take_input(graph: &GraphPlan, join: Join, state: &mut NodeState) -> Arc<Value> {
    if let Some(place) = state.tokens.iter().position(|token| token.edge.is_none()) {
        return state.tokens.remove(place).value;
    }
    let mut taken: Vec<(u16, Arc<Value>)> = Vec::new();
    let mut kept = Vec::new();
    for token in state.tokens.drain(..) {
        let edge = token.edge.unwrap_or(u16::MAX);
        let wanted = if join == Join::Any {
            taken.is_empty()
        } else {
            !taken.iter().any(|(known, _)| *known == edge)
        };
        if wanted {
            taken.push((edge, token.value))
        } else {
            kept.push(token)
        }
    }
    state.tokens = kept;
    merge(graph, taken)
}

/// One predecessor: its output. Several: an object by node id.
fn merge(graph: &GraphPlan, mut taken: Vec<(u16, Arc<Value>)>) -> Arc<Value> {
    if taken.len() == 1 {
        return taken.remove(0).1;
    }
    let from = |edge: u16| {
        graph
            .edges
            .get(usize::from(edge))
            .map_or(u16::MAX, |edge| edge.from)
    };
    if taken
        .windows(2)
        .all(|pair| from(pair[0].0) == from(pair[1].0))
    {
        return taken.pop().map_or_else(Arc::default, |(_, value)| value);
    }
    let name = |edge: u16| {
        graph
            .ids
            .get(usize::from(from(edge)))
            .map_or_else(String::new, |id| id.to_string())
    };
    let by_node: Map<String, Value> = taken
        .iter()
        .map(|(edge, value)| (name(*edge), (**value).clone()))
        .collect();
    Arc::new(Value::Object(by_node))
}

/// What a frame gives: the output of its last node, or an object by node id, or null.
pub(super) fn frame_output(graph: &GraphPlan, frame: &Frame) -> Arc<Value> {
    let mut last: Vec<(usize, &Arc<Value>)> = frame
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(node, state)| Some((node, state.last.as_ref()?)))
        .collect();
    match last.len() {
        0 => Arc::new(Value::Null),
        1 => last.remove(0).1.clone(),
        _ => Arc::new(Value::Object(
            last.into_iter()
                .map(|(node, output)| (graph.ids[node].to_string(), (**output).clone()))
                .collect(),
        )),
    }
}
