//! What a run may hold and evaluate between two facts.

use super::driver::{Driver, accepted, one_skill};
use serde_json::{Value, json};
use std::cell::Cell;

fn e(from: &str, to: &str) -> Value {
    json!({"from": from, "to": to})
}

fn end(nodes: Value, edges: Value, payload: Value) -> Value {
    Driver::new(&one_skill(nodes, edges), payload).work().end()
}

/// Expressions that the machine itself evaluates.
#[test]
fn what_a_run_evaluates_between_two_facts_has_a_limit() {
    let endless = "input.l.map(a, input.l.map(b, a + b))";
    let list = json!({"l": vec![0; 20_000]});
    let nothing = json!({"id": "n", "type": "transform", "output": "1"});
    let whole = json!({"id": "n", "type": "transform", "output": "input"});
    let cases = [
        (
            json!([{"id": "n", "type": "transform", "input": endless, "output": "1"}]),
            json!([]),
        ),
        (
            json!([whole, {"id": "m", "type": "transform", "output": "1"}]),
            json!([{"from": "n", "to": "m", "when": format!("size({endless}) > 0")}]),
        ),
        (
            json!([{"id": "n", "type": "map", "items": endless, "as": "x", "do": {"type": "transform", "output": "x"}}]),
            json!([]),
        ),
        (
            json!([{"id": "n", "type": "approval", "title": "{% for a in input.l %}{% for b in input.l %}x{% endfor %}{% endfor %}"}]),
            json!([]),
        ),
        (
            json!([{"id": "n", "type": "approval", "arguments": {"a": endless}}]),
            json!([]),
        ),
        (
            json!([{"id": "n", "type": "wait", "event": {"type": "paid", "match": {"/a": endless}}}]),
            json!([]),
        ),
    ];
    for (nodes, edges) in cases {
        let shown = nodes.to_string();
        let found = end(nodes, edges, list.clone());
        assert_eq!(found, json!("failed: limit_exceeded"), "{shown}");
    }
    assert_eq!(end(json!([nothing]), json!([]), list), json!(1));
}

thread_local! {
    static APART: Cell<usize> = const { Cell::new(0) };
}

fn counted(work: &mut dyn FnMut()) {
    APART.set(APART.get() + 1);
    work();
}

/// How often something went apart, and the commands until nobody but people and the outside can go on.
fn counting(nodes: &Value, edges: &Value, payload: &Value) -> (usize, Driver) {
    let plan = one_skill(nodes.clone(), edges.clone());
    APART.set(0);
    let mut driver = Driver::apart(&plan, accepted(payload.clone(), None), counted);
    driver.work();
    (APART.get(), driver)
}

/// Each place where the machine evaluates; what is cheap stays where it is, and nothing comes out differently.
#[test]
fn what_is_expensive_between_two_facts_is_done_apart() {
    let cases = |number: &str| {
        let approval = |fields: Value| {
            let mut node = json!({"id": "n", "type": "approval"});
            node.as_object_mut()
                .expect("an object")
                .extend(fields.as_object().expect("an object").clone());
            json!([node])
        };
        let repeated = format!("[input.l].map(all, {number}).map(n, n)");
        [
            (
                json!([{"id": "n", "type": "transform", "input": number, "output": "input"}]),
                json!([]),
            ),
            (
                json!([{"id": "n", "type": "transform", "output": "input"}, {"id": "m", "type": "transform", "output": "1"}]),
                json!([{"from": "n", "to": "m", "when": format!("{number} > 0")}]),
            ),
            (
                json!([{"id": "n", "type": "map", "items": repeated, "as": "x", "do": {"type": "transform", "output": "x"}}]),
                json!([]),
            ),
            (approval(json!({"arguments": {"a": number}})), json!([])),
            (
                json!([{"id": "n", "type": "wait", "until": format!("{number} > 0 ? '2030-01-01T00:00:00Z' : ''")}]),
                json!([]),
            ),
            (
                json!([{"id": "n", "type": "wait", "event": {"type": "paid", "match": {"/a": number}}}]),
                json!([]),
            ),
        ]
    };
    let text = |many: usize| {
        let title = format!("{{% for a in range({many}) %}}{{{{ a }}}}{{% endfor %}}");
        json!([{"id": "n", "type": "approval", "title": title, "arguments": {}}])
    };
    let payload = json!({"l": vec![0; 20_000]});
    let heavy = cases("size(input.l.filter(a, a == 0))").into_iter();
    for (nodes, edges) in heavy.chain([(text(9_000), json!([]))]) {
        let (apart, driver) = counting(&nodes, &edges, &payload);
        assert!(apart > 0, "{nodes}");
        let plain = Driver::from(&driver.plan, driver.facts[0].clone()).work_of(&driver.facts);
        assert_eq!(plain, driver.log, "{nodes}");
    }
    for (nodes, edges) in cases("size(input.l)")
        .into_iter()
        .chain([(text(9), json!([]))])
    {
        let (apart, _) = counting(&nodes, &edges, &payload);
        assert_eq!(apart, 0, "{nodes}");
    }
}

/// Nothing of it is expensive, but it is much before the next fact.
#[test]
fn what_is_cheap_goes_apart_when_it_is_many_times() {
    let nodes = json!([{"id": "n", "type": "map", "items": "input.l", "as": "x", "width": 100,
                        "do": {"type": "approval", "title": "{% for a in range(99) %}{{ a }}{% endfor %}"}}]);
    let few = json!({"l": ["a"]});
    assert_eq!(counting(&nodes, &json!([]), &few).0, 0);
    let many = json!({"l": vec!["a"; 100]});
    assert!(counting(&nodes, &json!([]), &many).0 > 0);
}

/// Each of many is cheap; all of them belong to one fact.
#[test]
fn the_titles_of_many_elements_share_one_limit() {
    let title = "{{ input | length }}{% for a in range(9000) %}{{ a }}{% endfor %}";
    let nodes = json!([{"id": "n", "type": "map", "items": "input.l", "as": "x", "width": 100,
                        "do": {"type": "approval", "title": title}}]);
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let found = end(nodes, json!([]), json!({"l": texts}));
    assert_eq!(found, json!("failed: limit_exceeded"));
}

#[test]
fn an_output_that_nests_too_deep_for_the_journal_is_none() {
    let nodes = json!([
        {"id": "a", "type": "transform", "output": "1"},
        {"id": "n", "type": "transform", "join": "any", "output": "[[[[[[[[[[input]]]]]]]]]]", "max_visits": 20}
    ]);
    let edges = json!([e("a", "n"), e("n", "n")]);
    assert_eq!(end(nodes, edges, json!(1)), json!("failed: limit_exceeded"));
}

#[test]
fn the_steps_of_a_run_hold_only_so_much_together() {
    let text = "x".repeat(1_000_000);
    let large: Vec<Value> = (0..12).map(|_| json!("input.t")).collect();
    let mut nodes = vec![json!({"id": "n0", "type": "transform", "output": {"all": large}})];
    let mut edges = Vec::new();
    for n in 1..10 {
        nodes.push(json!({"id": format!("n{n}"), "type": "transform", "output": "input"}));
        edges.push(e(&format!("n{}", n - 1), &format!("n{n}")));
    }
    let few = end(json!(nodes[..3]), json!(edges[..2]), json!({"t": text}));
    assert!(few.is_object(), "three copies of 12 MB are held");
    let found = end(json!(nodes), json!(edges), json!({"t": text}));
    assert_eq!(found, json!("failed: limit_exceeded"));
}

#[test]
fn the_outputs_of_a_map_fit_into_one_output_together() {
    let nodes = json!([{"id": "n", "type": "map", "items": "input.l", "as": "x", "width": 8, "do": {"type": "transform", "output": "trigger.payload.t"}}]);
    let payload = json!({"l": vec![0; 30], "t": "x".repeat(800_000)});
    assert_eq!(
        end(nodes, json!([]), payload),
        json!("failed: limit_exceeded")
    );
}
