//! Whom the shows employ.

use serde_json::{Value, json};

/// Its payload has `{"key"}`: thinks, sends one mail that says the key, sums up.
pub fn mailer(name: &str) -> Value {
    employee(
        name,
        &["gmail.send"],
        json!([
            {"id": "plan", "type": "transform", "output": {"key": "input.key"}},
            {"id": "mail", "type": "action", "capability": "gmail.send",
                "arguments": {"to": "'ann@example.test'", "subject": "steps.plan.output.key", "body": "'please pay'"},
                "retry": {"max_attempts": 20, "initial_ms": 50, "factor": 2, "max_ms": 1000}},
            {"id": "sum", "type": "transform", "output": {"key": "steps.plan.output.key"}},
        ]),
    )
}

/// Two pure steps: costs nothing but its journal.
pub fn thinker(name: &str) -> Value {
    employee(
        name,
        &[],
        json!([
            {"id": "plan", "type": "transform", "output": {"key": "input.key"}},
            {"id": "sum", "type": "transform", "output": {"key": "steps.plan.output.key"}},
        ]),
    )
}

/// Asks a person before it mails.
pub fn asker(name: &str) -> Value {
    employee(
        name,
        &["gmail.send"],
        json!([
            {"id": "ask", "type": "approval", "title": "Mail {{ input.key }}?", "arguments": {"key": "input.key"}},
            {"id": "mail", "type": "action", "capability": "gmail.send",
                "arguments": {"to": "'ann@example.test'", "subject": "trigger.payload.key", "body": "'please pay'"}},
        ]),
    )
}

/// Waits so long, then mails.
pub fn sleeper(name: &str, milliseconds: u64) -> Value {
    employee(
        name,
        &["gmail.send"],
        json!([
            {"id": "rest", "type": "wait", "duration_ms": milliseconds},
            {"id": "mail", "type": "action", "capability": "gmail.send",
                "arguments": {"to": "'ann@example.test'", "subject": "trigger.payload.key", "body": "'please pay'"}},
        ]),
    )
}

/// One skill with these nodes in a row, many runs at once.
pub fn employee(name: &str, permissions: &[&str], nodes: Value) -> Value {
    let ids: Vec<&str> = nodes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let edges: Vec<Value> = ids
        .windows(2)
        .map(|pair| json!({"from": pair[0], "to": pair[1]}))
        .collect();
    json!({
        "name": name,
        "graph": {"graph_id": "shown", "type": "employee", "edges": [],
            "nodes": [{"id": "work", "type": "skill", "skill_graph": "sg", "permissions": permissions}]},
        "skill_graphs": {"sg": {"graph_id": "sg", "type": "skill", "nodes": nodes, "edges": edges}},
    })
}
