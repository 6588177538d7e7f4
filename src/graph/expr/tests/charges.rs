//! What every function, operator and macro is charged, held against what it reads and makes. New ones are found by their table.

use super::*;
use crate::graph::expr::{arithmetic::Operator, functions::TABLE};

/// Bytes of a large value.
const LARGE: usize = 200_000;
/// They look at a container, or at its keys, without going through all of it.
const GLANCES: [&str; 8] = [
    "contains", "first", "in", "join", "keys", "last", "size", "type",
];

/// Values that hold [`LARGE`] bytes: in a text, in keys, in the elements of a list, deep.
fn large() -> Vec<Value> {
    let text = "x".repeat(LARGE);
    let key = |rest: Value| json!({ text.as_str(): rest });
    let deep = (0..60).fold(key(json!("y")), |inner, _| json!([inner]));
    let keys = (0..20).map(|n| (format!("{}{n}", "k".repeat(LARGE / 20)), json!(n)));
    vec![
        json!(text),
        json!("1".repeat(LARGE)),
        json!("\u{1}".repeat(LARGE)),
        json!("a@b.example,".repeat(LARGE / 12)),
        key(json!({"amount": 1, "currency": "EUR"})),
        json!([key(json!("EUR"))]),
        json!({"amount": 1, "currency": key(json!(1))}),
        Value::Object(keys.collect()),
        json!(vec!["z".repeat(LARGE / 50); 50]),
        deep,
    ]
}

fn small() -> Vec<Value> {
    vec![
        json!("x"),
        json!(""),
        json!(1),
        json!("EUR"),
        json!("2025-06-09"),
        json!([]),
        json!(["a", "b"]),
        json!({"x": 1}),
    ]
}

/// Evaluates and holds what was charged against what it made, and against what it read of a value of [`LARGE`] bytes.
fn check(name: &str, source: &str, input: &Value) {
    let expr = compile(source).unwrap_or_else(|message| panic!("{source}: {message}"));
    let budget = Budget::new(FUEL);
    let ended = with(|data| expr.evaluate(&Data { input, ..*data }, &budget));
    let charged = FUEL - budget.left();
    let is_text = |value: &Value| value.as_str().is_some_and(|text| text.len() >= LARGE / 2);
    let reads_text = ["a", "b", "c"].iter().any(|place| is_text(&input[place]));
    match ended {
        Err(error) => {
            let told = error.to_string();
            assert!(told.len() < 2_000, "{source}: {} bytes", told.len());
        }
        Ok(made) => {
            let bytes = made.to_string().len() as u64;
            assert!(
                bytes < 1_000 + 200 * charged,
                "{source} made {bytes} bytes for {charged} units"
            );
            if reads_text || !GLANCES.contains(&name) {
                let least = LARGE as u64 / 40;
                assert!(
                    charged > least,
                    "{source} read {LARGE} bytes for {charged} units"
                );
            }
        }
    }
}

/// Each large value at each place, with every small one at the others.
fn check_places(name: &str, source: &str, places: usize) {
    for large in large() {
        for place in 0..places {
            for (a, b) in small()
                .into_iter()
                .flat_map(|a| small().into_iter().map(move |b| (a.clone(), b)))
            {
                let mut input = json!({"a": a, "b": b, "c": b});
                if places < 3 && a != b {
                    continue;
                }
                input[["a", "b", "c"][place]] = large.clone();
                check(name, source, &input);
            }
        }
    }
}

#[test]
fn every_function_is_charged_for_what_it_reads_and_makes() {
    for (name, least, most) in TABLE {
        for count in *least..=(*most).min(3) {
            let arguments = ["input.a", "input.b", "input.c"][..count].join(", ");
            check_places(name, &format!("{name}({arguments})"), count);
        }
    }
}

#[test]
fn every_operator_is_charged_for_what_it_reads_and_makes() {
    for operator in Operator::ALL {
        let symbol = operator.symbol();
        let source = format!("input.a {symbol} input.b");
        for large in large() {
            // Equal, but not the one value.
            check(symbol, &source, &json!({"a": large.clone(), "b": large}));
        }
    }
}

#[test]
fn macros_and_literals_are_charged_for_the_keys_that_they_copy() {
    for source in [
        "{input.a: input.b}",
        "{'m': input}",
        "[input.a, input.b]",
        "input",
        "{input.a: 1}[input.a]",
        "{input.a: 1}.map(k, 1)",
        "{input.a: 1}.filter(k, true)",
        "{input.a: 1}.all(k, true)",
        "{input.a: 1}.exists(k, false)",
        "{input.a: 1}.exists_one(k, true)",
        "input.a in {input.a: 1}",
        "default(input[input.a], 1)",
        "{input.a: 1} == {input.a: 1}",
        "values({input.a: 1})",
        "keys({input.a: 1})",
        "input[input.a]",
    ] {
        check("", source, &json!({"a": "k".repeat(LARGE), "b": 1}));
    }
}

#[test]
fn an_error_quotes_the_beginning_of_a_key() {
    let key = "ä".repeat(LARGE);
    for source in ["input[input.a]", "{'x': 1}[input.a]", "input.a[input.b]"] {
        let expr = compile(source).expect(source);
        let input = json!({"a": key, "b": key});
        let error = with(|data| {
            expr.evaluate(
                &Data {
                    input: &input,
                    ..*data
                },
                &Budget::new(FUEL),
            )
        });
        let told = error.unwrap_err().to_string();
        assert!(told.chars().count() < 500, "{source}: {}", told.len());
    }
}

#[test]
fn what_is_put_together_of_a_run_is_charged() {
    for source in ["run", "trigger", "memory", "steps"] {
        let budget = Budget::new(FUEL);
        let expr = compile(source).expect(source);
        assert!(with(|data| expr.evaluate(data, &budget)).is_ok());
        assert!(FUEL - budget.left() > 2, "{source}");
    }
}
