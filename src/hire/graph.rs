//! Flows as graphs: the employee graph, its skill graphs, schedules and subscriptions.

use super::{
    fill::fill,
    flow::{Flow, Placed, Start},
    schedule::When,
    template::WhenGated,
};
use crate::domain::{EventFilter, Misfire, Overlap, ScheduleSpec, SubscriptionSpec};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The graph id of every planned employee graph.
const EMPLOYEE_GRAPH: &str = "employee_v1";
/// The node that chooses a flow, where there are several.
const ROUTER: &str = "skill_route";
const ROUTER_GRAPH: &str = "sg_route_v1";
/// The node that a command reaches where only events start work; a graph has to begin somewhere.
const IDLE: &str = "skill_idle";
const IDLE_GRAPH: &str = "sg_idle_v1";

pub struct Graphs {
    pub employee: Value,
    pub skills: BTreeMap<String, Value>,
    pub schedules: Vec<ScheduleSpec>,
    pub subscriptions: Vec<SubscriptionSpec>,
}

/// Puts the flows together. A flow that an event starts is entered by its subscription alone, so `entry` does not name it.
///
/// Several flows on command share one entry, a skill that hands on by `trigger.payload.flow`: schedules name their flow there, and a
/// command that names none gets the first.
pub fn assemble(flows: &[Flow<'_>], zone: &str) -> Graphs {
    let mut graphs = Builder {
        nodes: Vec::new(),
        edges: Vec::new(),
        skills: BTreeMap::new(),
    };
    let commands: Vec<&Flow<'_>> = flows
        .iter()
        .filter(|flow| flow.start == Start::Command)
        .collect();
    let several = commands.len() > 1;
    if several {
        let flow = format!("default(trigger.payload.flow, '{}')", flow_name(0));
        graphs.plain(ROUTER, ROUTER_GRAPH, json!({ "flow": flow }));
    } else if commands.is_empty() {
        graphs.plain(
            IDLE,
            IDLE_GRAPH,
            json!({"done": "'nothing: it works on events only'"}),
        );
    }
    for (place, flow) in commands.iter().enumerate().filter(|_| several) {
        let first = flow
            .skills
            .first()
            .map(|placed| placed.node.as_str())
            .unwrap_or_default();
        graphs.edges.push(json!({"from": ROUTER, "to": first, "when": format!("output.flow == '{}'", flow_name(place))}));
    }
    flows.iter().for_each(|flow| graphs.flow(flow));
    let entry: Vec<&str> = match commands.first() {
        Some(_) if several => vec![ROUTER],
        Some(flow) => flow
            .skills
            .first()
            .map(|placed| placed.node.as_str())
            .into_iter()
            .collect(),
        None => vec![IDLE],
    };
    Graphs {
        employee: json!({"graph_id": EMPLOYEE_GRAPH, "type": "employee", "nodes": graphs.nodes, "edges": graphs.edges, "entry": entry}),
        skills: graphs.skills,
        schedules: schedules(&commands, zone),
        subscriptions: flows.iter().filter_map(subscription).collect(),
    }
}

fn flow_name(place: usize) -> String {
    format!("flow_{}", place + 1)
}

struct Builder {
    nodes: Vec<Value>,
    edges: Vec<Value>,
    skills: BTreeMap<String, Value>,
}

impl Builder {
    /// A skill of one transform that calls nothing.
    fn plain(&mut self, id: &str, graph_id: &str, output: Value) {
        self.nodes
            .push(json!({"id": id, "type": "skill", "skill_graph": graph_id, "permissions": []}));
        let nodes = json!([{"id": "output", "type": "transform", "output": output}]);
        let graph = json!({"graph_id": graph_id, "type": "skill", "nodes": nodes, "edges": []});
        self.skills.insert(graph_id.to_owned(), graph);
    }

    fn flow(&mut self, flow: &Flow<'_>) {
        for (place, placed) in flow.skills.iter().enumerate() {
            self.nodes.push(node(flow, place, placed));
            self.skills
                .insert(placed.graph_id.clone(), skill_graph(flow, place));
            self.edges_from(flow, place, placed);
        }
    }

    /// On to the next skill; where a gate closes, past those that are skipped.
    fn edges_from(&mut self, flow: &Flow<'_>, place: usize, placed: &Placed<'_>) {
        let Some(next) = flow.skills.get(place + 1) else {
            return;
        };
        let skips = next.found.template.when_gated == WhenGated::Skip;
        let edge = |to: &Placed<'_>, when: Option<String>| {
            let mut edge = json!({"from": placed.node, "to": to.node});
            if let (Some(when), Some(edge)) = (when, edge.as_object_mut()) {
                edge.insert("when".into(), Value::String(when));
            }
            edge
        };
        let stops = placed.found.template.stops;
        let Some(gate) = placed
            .found
            .template
            .gate
            .as_ref()
            .filter(|_| skips || stops)
        else {
            self.edges.push(edge(next, None));
            return;
        };
        self.edges.push(edge(next, Some(gate.clone())));
        if stops {
            return;
        }
        if let Some(past) = flow.skills[place + 1..]
            .iter()
            .find(|later| later.found.template.when_gated == WhenGated::Run)
        {
            self.edges.push(edge(past, Some(format!("!({gate})"))));
        }
    }
}

fn node(flow: &Flow<'_>, place: usize, placed: &Placed<'_>) -> Value {
    let template = placed.found.template;
    let mut node = json!({"id": placed.node, "type": "skill", "skill_graph": placed.graph_id, "permissions": template.needs});
    let mut input = Map::new();
    for name in template.uses.iter().chain(&template.may_use) {
        let source = flow.provider(name, place).map(|provider| {
            let output = format!("steps.{}.output", provider.node);
            // A skill that was skipped has no output.
            if template.uses.contains(name) {
                output
            } else {
                format!("default({output}, null)")
            }
        });
        input.insert(
            name.clone(),
            Value::String(source.unwrap_or_else(|| "null".into())),
        );
    }
    let follows_question = place > 0 && flow.skills[place - 1].found.template.stops;
    if let Some(node) = node.as_object_mut() {
        if !input.is_empty() {
            node.insert("input".into(), Value::Object(input));
        } else if follows_question && place == 1 {
            // What it would have begun with, without the question before it.
            node.insert("input".into(), json!("trigger.payload"));
        }
    }
    node
}

fn skill_graph(flow: &Flow<'_>, place: usize) -> Value {
    let placed = &flow.skills[place];
    let mut graph = fill(&placed.found.template.skill_graph, &placed.found.fillings);
    if placed.found.template.asks {
        let next = flow.skills[place + 1..].iter();
        let then: BTreeSet<&str> = next
            .filter(|later| {
                placed.found.template.stops || later.found.template.when_gated == WhenGated::Skip
            })
            .flat_map(|later| &later.found.template.needs)
            .map(String::as_str)
            .collect();
        answers_for(&mut graph, &then);
        quotes(&mut graph, &flow.limits);
    }
    if let Some(fields) = graph.as_object_mut() {
        fields.insert("graph_id".into(), json!(placed.graph_id));
        fields.insert("type".into(), json!("skill"));
    }
    graph
}

/// What a person is asked about is what comes after the question: it is not asked again for each call of it.
fn answers_for(graph: &mut Value, then: &BTreeSet<&str>) {
    let nodes = graph.get_mut("nodes").and_then(Value::as_array_mut);
    let fields = nodes
        .into_iter()
        .flatten()
        .filter(|node| node["type"] == "approval")
        .filter_map(Value::as_object_mut);
    if then.is_empty() {
        return;
    }
    for node in fields {
        node.insert("approves".into(), json!(then));
    }
}

/// The question quotes the limits that were not understood: in what it says, and in the arguments that a decision is about.
fn quotes(graph: &mut Value, limits: &[String]) {
    if limits.is_empty() {
        return;
    }
    let nodes = graph.get_mut("nodes").and_then(Value::as_array_mut);
    let fields = nodes
        .into_iter()
        .flatten()
        .filter(|node| node["type"] == "approval")
        .filter_map(Value::as_object_mut);
    for node in fields {
        // A text from outside stands in a title as a literal of the template's language, which JSON's form is.
        let said = limits.iter().map(|limit| {
            let literal = Value::String(format!("“{limit}”")).to_string();
            format!("{{{{ {literal} }}}}")
        });
        let said = said.collect::<Vec<_>>().join(", ");
        if let Some(title) = node.get("title").and_then(Value::as_str) {
            let title = format!("{title} Not understood, so please look: {said}");
            node.insert("title".into(), Value::String(title));
        }
        if let Some(arguments) = node.get_mut("arguments").and_then(Value::as_object_mut) {
            arguments.insert("not_understood".into(), json!({ "$value": limits }));
        }
    }
}

fn schedules(commands: &[&Flow<'_>], zone: &str) -> Vec<ScheduleSpec> {
    let all = commands
        .iter()
        .enumerate()
        .flat_map(|(place, flow)| flow.schedules.iter().map(move |schedule| (place, schedule)));
    all.enumerate()
        .map(
            |(
                number,
                (
                    place,
                    (
                        When {
                            recurrence,
                            zone: said,
                        },
                        from,
                    ),
                ),
            )| ScheduleSpec {
                name: if number == 0 {
                    "schedule".into()
                } else {
                    format!("schedule_{}", number + 1)
                },
                recurrence: recurrence.clone(),
                time_zone: said.clone().unwrap_or_else(|| zone.to_owned()),
                overlap: Overlap::default(),
                misfire: Misfire::default(),
                payload: if commands.len() > 1 {
                    json!({"flow": flow_name(place)})
                } else {
                    json!({})
                },
                from: Some(from.clone()),
            },
        )
        .collect()
}

fn subscription(flow: &Flow<'_>) -> Option<SubscriptionSpec> {
    let Start::Event(subscription) = &flow.start else {
        return None;
    };
    let text = |key: &str| {
        subscription
            .get(key)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Some(SubscriptionSpec {
        source: text("source")?,
        event: text("event"),
        when: text("when"),
        filter: EventFilter::default(),
        skill: Some(flow.skills.first()?.node.clone()),
        conversation_key: text("conversation_key"),
    })
}
