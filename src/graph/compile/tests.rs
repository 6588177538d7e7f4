use super::*;
use crate::graph::yaml_to_value;
use serde_json::json;

struct Catalog;

impl CapabilityLookup for Catalog {
    fn capability(&self, id: &str) -> Option<CapabilityInfo> {
        let known = ["slack.chat.post", "gmail.send"].contains(&id);
        let integration = id.split('.').next()?.to_string();
        known.then(|| CapabilityInfo {
            id: id.into(),
            permission: format!("{integration}.write"),
            integration,
            write: true,
        })
    }
    fn suggestions(&self, _: &str) -> Vec<String> {
        vec!["slack.chat.post".into()]
    }
}

fn skill(nodes: Value, edges: Value) -> Value {
    json!({"graph_id": "sg", "type": "skill", "nodes": nodes, "edges": edges})
}

fn with(permissions: Value, skill: Value) -> Result<Plan, CompileErrors> {
    let node = json!({"id": "s", "type": "skill", "skill_graph": "sg", "permissions": permissions});
    let employee =
        json!({"graph_id": "e", "type": "employee", "nodes": [node], "durability": "step"});
    compile(
        &employee,
        &BTreeMap::from([("sg".to_string(), skill)]),
        &Catalog,
    )
}

fn errors(nodes: Value, edges: Value) -> String {
    with(json!(["slack.*"]), skill(nodes, edges))
        .unwrap_err()
        .to_string()
}

fn t(id: &str) -> Value {
    json!({"id": id, "type": "transform", "output": 1})
}

#[test]
fn wrong_graphs_are_told_with_node_and_field() {
    let edge = |from: &str, to: &str| json!({"from": from, "to": to});
    for (nodes, edges, part) in [
        (
            json!([t("a"), t("a")]),
            json!([]),
            "node `a`, field `id`: is used twice",
        ),
        (
            json!([t("a")]),
            json!([edge("a", "z")]),
            "field `edges[0].to`: there is no node `z`",
        ),
        (
            json!([t("a"), t("b"), t("c")]),
            json!([edge("a", "b"), edge("b", "c"), edge("c", "b")]),
            "the cycle b -> c has no bound",
        ),
        (
            json!([t("a"), t("b")]),
            json!([edge("a", "b"), edge("b", "a")]),
            "\"entry\": [\"first\"]",
        ),
        (
            json!([{"id": "a", "type": "transform", "output": {"x": ["inptu"]}}]),
            json!([]),
            "node `a`, field `output.x[0]`: there is no variable `inptu`",
        ),
        (
            json!([{"id": "a", "type": "transform", "output": {"$text": "{{ inptu }}"}}]),
            json!([]),
            "there is no variable `inptu`",
        ),
        (
            json!([{"id": "a", "type": "transform", "output": {"$text": "{{ steps.q.output }}"}}]),
            json!([]),
            "there is no step `q`",
        ),
        (
            json!([{"id": "a", "type": "transform", "output": {"$text": "{{ x"}}]),
            json!([]),
            "no minijinja template",
        ),
        (
            json!([{"id": "a", "type": "transform", "output": {"$txt": "x"}}]),
            json!([]),
            "`$txt` means nothing",
        ),
        (
            json!([{"id": "a", "type": "action", "capability": "slack.post", "arguments": {}}]),
            json!([]),
            "did you mean slack.chat.post",
        ),
        (
            json!([{"id": "a", "type": "action", "capability": "gmail.send", "arguments": {}}]),
            json!([]),
            "do not cover `gmail.send`",
        ),
        (
            json!([{"id": "a", "type": "transform", "output": 1, "on_error": "h"}]),
            json!([]),
            "field `on_error`: there is no node `h`",
        ),
        (
            json!([{"id": "a", "type": "map", "items": "input", "do": {"type": "transform", "output": "row"}}]),
            json!([]),
            "field `do.output`: there is no variable `row`",
        ),
        (
            json!([t("a"), t("b")]),
            json!([{"from": "a", "to": "b", "when": "outptu"}]),
            "field `edges[0].when`",
        ),
    ] {
        let errors = errors(nodes, edges);
        assert!(errors.contains(part), "{part}\nin: {errors}");
    }
}

#[test]
fn a_handler_is_no_entry_and_a_bound_makes_a_cycle_right() {
    let handled = json!([{"id": "a", "type": "transform", "output": 1, "on_error": "h"}, t("h")]);
    let plan = with(json!([]), skill(handled, json!([]))).unwrap();
    assert_eq!(*plan.skills[0].entry, [0]);
    let bounded = json!([t("a"), {"id": "b", "type": "transform", "output": 1, "max_visits": 3}]);
    let edges = json!([{"from": "a", "to": "b"}, {"from": "b", "to": "b"}]);
    let plan = with(json!([]), skill(bounded, edges)).unwrap();
    assert_eq!(plan.durability(), Durability::Step);
}

#[test]
fn permissions_cover_by_id_by_declaration_or_by_prefix() {
    let info = Catalog.capability("slack.chat.post").unwrap();
    for permission in ["slack.chat.post", "slack.write", "slack.*", "slack.chat.*"] {
        assert!(permission_covers(permission, &info), "{permission}");
    }
    for permission in [
        "slack",
        "*",
        ".*",
        "slac.*",
        "slack.chat",
        "slack.chat.post.*",
        "slack.c.*",
        "",
    ] {
        assert!(!permission_covers(permission, &info), "{permission}");
    }
}

#[test]
fn the_examples_compile() {
    let read = |text| yaml_to_value(text).unwrap();
    let employee = read(include_str!(
        "../../../examples/graphs/reminders.employee.yaml"
    ));
    let skills = [
        read(include_str!(
            "../../../examples/graphs/approve_and_send.skill.yaml"
        )),
        read(include_str!(
            "../../../examples/graphs/wait_for_payment.skill.yaml"
        )),
    ];
    let skills = skills
        .into_iter()
        .map(|skill| (skill["graph_id"].as_str().unwrap().to_string(), skill))
        .collect();
    let plan = compile(&employee, &skills, &Catalog).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(
        plan.capabilities().keys().collect::<Vec<_>>(),
        ["gmail.send"]
    );
    assert_eq!(
        plan.skill_names().collect::<Vec<_>>(),
        ["remind", "follow_up"]
    );
}

#[test]
fn missing_and_misnamed_skill_graphs() {
    let node = json!({"id": "s", "type": "skill", "skill_graph": "nope", "permissions": []});
    let employee = json!({"graph_id": "e", "type": "employee", "nodes": [node]});
    let errors = compile(
        &employee,
        &BTreeMap::from([("other".to_string(), skill(json!([t("a")]), json!([])))]),
        &Catalog,
    )
    .unwrap_err();
    assert!(
        errors.to_string().contains("is listed under `other`"),
        "{errors}"
    );
    assert!(
        errors
            .to_string()
            .contains("there is no skill graph `nope`"),
        "{errors}"
    );
    let errors = compile(
        &skill(json!([t("a")]), json!([])),
        &BTreeMap::new(),
        &Catalog,
    )
    .unwrap_err();
    assert!(
        errors.to_string().contains("must be `employee`"),
        "{errors}"
    );
}
