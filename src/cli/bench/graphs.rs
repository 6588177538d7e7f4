//! The employees that are measured, as they are hired over the API.

use serde_json::{Map, Value, json};

/// Skills of an employee, and micro-agents of a skill.
const SKILLS: usize = 3;
const MICRO_AGENTS: usize = 2;
/// All steps of a run of the first and the third employee.
pub const STEPS: usize = SKILLS * MICRO_AGENTS;

/// When a step's fact must be durable; see `graph::Durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Default,
    Step,
}

impl Durability {
    pub fn name(self) -> &'static str {
        match self {
            Durability::Default => "default",
            Durability::Step => "step",
        }
    }
}

/// Workload W1: three skills in sequence, two `transform` each. Every step gives about 200 bytes and hands on the trigger's `seq`, by
/// which an answer is known to be the answer to its request.
pub fn w1(name: &str, durability: Durability) -> Value {
    employee(name, durability, |_, step| {
        let got = if step == 0 {
            "size(input)"
        } else {
            "input.got + 1"
        };
        json!({
            "type": "transform",
            "output": {
                "seq": "input.seq",
                "step": format!("'step_{step}'"),
                "got": got,
                "text": format!("'{}'", filler(TEXT_BYTES)),
            }
        })
    })
}

/// Six steps that take `step_ms` each and no CPU: timers.
pub fn slow_steps(name: &str, step_ms: u64) -> Value {
    employee(
        name,
        Durability::Default,
        |_, _| json!({"type": "wait", "duration_ms": step_ms}),
    )
}

/// One skill with one micro-agent: as little as an employee can do.
pub fn one_step(name: &str) -> Value {
    let nodes = json!([{"id": "note", "type": "transform", "output": {"amount": "input.amount"}}]);
    json!({
        "name": name,
        "graph": {
            "graph_id": "bench_one",
            "type": "employee",
            "nodes": [{"id": "note", "type": "skill", "skill_graph": "bench_note", "permissions": []}],
            "edges": [],
        },
        "skill_graphs": {
            "bench_note": {"graph_id": "bench_note", "type": "skill", "nodes": nodes, "edges": []},
        },
    })
}

/// One skill that prepares something, asks a person, and goes on.
pub fn asks_approval(name: &str) -> Value {
    let nodes = json!([
        {"id": "prepare", "type": "transform", "output": {"amount": "input.amount", "text": format!("'{}'", filler(TEXT_BYTES))}},
        {"id": "ask", "type": "approval", "title": "Send the reminder?", "arguments": {"amount": "steps.prepare.output.amount"}},
        {"id": "send", "type": "transform", "output": {"sent": "steps.prepare.output.amount"}},
    ]);
    let edges = json!([{"from": "prepare", "to": "ask"}, {"from": "ask", "to": "send"}]);
    json!({
        "name": name,
        "graph": {
            "graph_id": "bench_asks",
            "type": "employee",
            "nodes": [{"id": "remind", "type": "skill", "skill_graph": "bench_remind", "permissions": []}],
            "edges": [],
        },
        "skill_graphs": {
            "bench_remind": {"graph_id": "bench_remind", "type": "skill", "nodes": nodes, "edges": edges},
        },
    })
}

/// With the three other fields an output of W1 is 200 bytes of JSON.
const TEXT_BYTES: usize = 146;

/// Printable text of this length in which no two parts are the same for long, so that compression is not flattered.
pub fn filler(bytes: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .";
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    (0..bytes)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(LETTERS[(state >> 58) as usize])
        })
        .collect()
}

/// `work(skill, step)` is a micro-agent without its id; steps are counted through the whole run.
fn employee(name: &str, durability: Durability, work: impl Fn(usize, usize) -> Value) -> Value {
    let mut skill_graphs = Map::new();
    for skill in 0..SKILLS {
        let id = format!("bench_skill_{skill}");
        let nodes: Vec<Value> = (0..MICRO_AGENTS)
            .map(|place| {
                let mut node = work(skill, skill * MICRO_AGENTS + place);
                node["id"] = json!(format!("n{place}"));
                node
            })
            .collect();
        let graph = json!({"graph_id": id, "type": "skill", "nodes": nodes, "edges": chain("n", MICRO_AGENTS)});
        skill_graphs.insert(id, graph);
    }
    let nodes: Vec<Value> = (0..SKILLS)
        .map(|skill| {
            json!({"id": format!("s{skill}"), "type": "skill", "skill_graph": format!("bench_skill_{skill}"), "permissions": []})
        })
        .collect();
    json!({
        "name": name,
        "graph": {
            "graph_id": "bench_w1",
            "type": "employee",
            "durability": durability.name(),
            "nodes": nodes,
            "edges": chain("s", SKILLS),
        },
        "skill_graphs": skill_graphs,
    })
}

fn chain(prefix: &str, nodes: usize) -> Vec<Value> {
    (1..nodes)
        .map(|to| json!({"from": format!("{prefix}{}", to - 1), "to": format!("{prefix}{to}")}))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{CapabilityInfo, CapabilityLookup, compile};

    struct NoCapabilities;
    impl CapabilityLookup for NoCapabilities {
        fn capability(&self, _: &str) -> Option<CapabilityInfo> {
            None
        }
    }

    #[test]
    fn all_employees_compile() {
        let all = [
            w1("a", Durability::Default),
            w1("b", Durability::Step),
            slow_steps("c", 100),
            asks_approval("d"),
            one_step("e"),
        ];
        for hired in all {
            let skills = serde_json::from_value(hired["skill_graphs"].clone()).unwrap();
            compile(&hired["graph"], &skills, &NoCapabilities)
                .unwrap_or_else(|errors| panic!("{}: {errors}", hired["name"]));
        }
    }

    #[test]
    fn an_output_has_about_two_hundred_bytes() {
        let output =
            json!({"seq": "0000000001", "step": "step_5", "got": 7, "text": filler(TEXT_BYTES)});
        assert!(
            (195..=205).contains(&output.to_string().len()),
            "{}",
            output.to_string().len()
        );
    }
}
