use super::*;
use serde_json::json;

#[test]
fn durations() {
    for (text, millis) in [
        ("PT10M", 600_000),
        ("10m", 600_000),
        ("1h30m", 5_400_000),
        ("500ms", 500),
        ("P1DT2H", 93_600_000),
        ("2d", 172_800_000),
    ] {
        assert_eq!(parse_duration(text), Some(millis), "{text}");
    }
    for text in [
        "",
        "P",
        "PT",
        "10",
        "m",
        "PT10",
        "P10M",
        "10 m",
        "ten",
        "99999999999999999999d",
        "-5m",
        "10µ",
    ] {
        assert_eq!(parse_duration(text), None, "{text}");
    }
}

#[test]
fn every_error_is_told_with_its_place() {
    let graph = json!({"graph_id": "g", "type": "skill", "nods": [], "nodes": [
        {"id": "a", "type": "transfrom", "output": 1},
        {"id": "b", "type": "transform", "outptu": 1},
        {"id": "c", "type": "wait", "duration": "soon"},
        {"id": "d", "type": "map", "items": "input", "do": {"type": "action", "id": "x", "capability": 7}, "retry": {}},
        {"type": "decide", "cases": []}
    ]});
    let CompileErrors(errors) = GraphSpec::parse(&graph).unwrap_err();
    let places: Vec<(Option<&str>, Option<&str>)> = errors
        .iter()
        .map(|error| (error.node.as_deref(), error.field.as_deref()))
        .collect();
    for expected in [
        (None, Some("nods")),
        (Some("a"), Some("type")),
        (Some("b"), Some("output")),
        (Some("c"), Some("duration")),
        (Some("d"), Some("do.capability")),
        (Some("d"), Some("do.arguments")),
        (Some("nodes[4]"), Some("id")),
        (Some("nodes[4]"), Some("cases")),
    ] {
        assert!(places.contains(&expected), "{expected:?} in {errors:#?}");
    }
    assert!(
        errors[1]
            .to_string()
            .starts_with("graph `g`, node `a`, field `type`: expected one of transform"),
        "{}",
        errors[1]
    );
}

#[test]
fn anything_but_a_graph_is_refused() {
    for value in [
        json!(null),
        json!([]),
        json!("x"),
        json!({}),
        json!({"graph_id": "a b", "type": "skill", "nodes": []}),
    ] {
        assert!(GraphSpec::parse(&value).is_err(), "{value}");
    }
    assert!(yaml_to_value("a: [").unwrap_err().contains("line"));
}
