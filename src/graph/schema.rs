//! The published JSON Schema of graphs.

/// JSON Schema 2020-12 of a graph. It says what [`GraphSpec::parse`](super::GraphSpec::parse) says about shape; what needs other
/// graphs, the catalog or the expression language is left to [`compile`](super::compile()).
pub fn json_schema() -> &'static str {
    include_str!("../../catalog/schema/graph.schema.json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{GraphSpec, yaml_to_value};
    use serde_json::{Value, json};

    fn validator() -> jsonschema::Validator {
        jsonschema::validator_for(&serde_json::from_str(json_schema()).unwrap()).unwrap()
    }

    pub(crate) const EXAMPLES: [&str; 3] = [
        include_str!("../../examples/graphs/approve_and_send.skill.yaml"),
        include_str!("../../examples/graphs/reminders.employee.yaml"),
        include_str!("../../examples/graphs/wait_for_payment.skill.yaml"),
    ];

    #[test]
    fn the_examples_are_graphs() {
        let validator = validator();
        for example in EXAMPLES {
            let graph = yaml_to_value(example).unwrap();
            assert!(
                validator.is_valid(&graph),
                "{:?}",
                validator
                    .iter_errors(&graph)
                    .map(|e| e.to_string())
                    .collect::<Vec<_>>()
            );
            GraphSpec::parse(&graph).unwrap();
        }
    }

    /// Every field of the examples taken away, given twice under another name, or replaced by a wrong value: schema and parser agree.
    #[test]
    fn what_the_schema_refuses_the_parser_refuses() {
        let validator = validator();
        let mut refused = 0;
        for example in EXAMPLES {
            let graph = yaml_to_value(example).unwrap();
            for pointer in pointers(&graph, "") {
                for changed in changes(&graph, &pointer) {
                    let (schema, parser) =
                        (validator.is_valid(&changed), GraphSpec::parse(&changed));
                    assert_eq!(schema, parser.is_ok(), "{pointer}: {parser:?}\n{changed:#}");
                    refused += usize::from(!schema);
                }
            }
        }
        assert!(refused > 200, "{refused}");
    }

    /// Places whose content is no template: inside of those nearly everything is allowed.
    fn pointers(value: &Value, at: &str) -> Vec<String> {
        let free = ["/output", "/arguments", "/input", "/match", "/skill"]
            .iter()
            .any(|end| at.ends_with(end));
        let inner: Vec<(String, &Value)> = match value {
            _ if free => Vec::new(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value))
                .collect(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(place, value)| (place.to_string(), value))
                .collect(),
            _ => Vec::new(),
        };
        let mut all: Vec<String> = inner
            .into_iter()
            .flat_map(|(key, value)| pointers(value, &format!("{at}/{key}")))
            .collect();
        all.push(at.to_string());
        all
    }

    fn changes(graph: &Value, pointer: &str) -> Vec<Value> {
        let is_template = ["/output", "/arguments"]
            .iter()
            .any(|end| pointer.ends_with(end));
        let wrong = if is_template {
            vec![]
        } else {
            vec![
                json!(true),
                json!([[]]),
                json!(-1),
                json!(1.5),
                json!({"x": 1}),
                json!("% no id %"),
            ]
        };
        let mut all: Vec<Value> = wrong
            .into_iter()
            .map(|value| {
                let mut changed = graph.clone();
                *changed.pointer_mut(pointer).unwrap() = value;
                changed
            })
            .collect();
        let mut extra = graph.clone();
        if let Some(Value::Object(map)) = extra.pointer_mut(pointer).filter(|_| !is_template) {
            map.insert("unknown".into(), json!([[]]));
            all.push(extra);
        }
        if let Some((owner, key)) = pointer.rsplit_once('/') {
            let mut without = graph.clone();
            if let Some(Value::Object(map)) = without.pointer_mut(owner) {
                map.remove(key);
                all.push(without);
            }
        }
        all
    }
}
