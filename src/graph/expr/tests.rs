use super::*;
use crate::{
    domain::{ExecutionId, MemoryView, Timestamp, Trigger, TriggerType},
    graph::scope::StepRef,
};
use serde_json::json;
use std::{collections::HashMap, sync::Arc};

mod charges;

fn steps() -> HashMap<String, StepRef> {
    [
        ("n1", StepRef::Node(0)),
        ("late", StepRef::Node(1)),
        ("s", StepRef::Skill(0)),
    ]
    .map(|(id, step)| (id.into(), step))
    .into()
}

fn compile(source: &str) -> Result<Expr, String> {
    Expr::compile(
        source,
        &Names {
            steps: &steps(),
            output: true,
            item: Some("row"),
            call: false,
        },
    )
}

fn with<T>(use_it: impl FnOnce(&Data<'_>) -> T) -> T {
    let trigger = Trigger {
        kind: TriggerType::Schedule,
        payload: Arc::new(json!({"due": "2025-06-09"})),
        source: "schedule:x".into(),
    };
    let mut memory = MemoryView::default();
    memory.skill_contexts.insert(
        "s".into(),
        Arc::new(json!({"seen": 4}).as_object().unwrap().clone()),
    );
    memory.employee_memory = Arc::new(json!({"name": "Ann"}).as_object().unwrap().clone());
    let input = json!({"a": 1, "d": 2.5, "t": "Ab", "list": [3, 1, 2], "o": {"z": 1, "y": 2}, "n": null, "big": u64::MAX, "price": 19.90});
    let (skills, nodes) = (
        vec![(0, Arc::new(json!("S")))],
        vec![
            (0, Arc::new(json!({"got": 1}))),
            (0, Arc::new(json!({"got": 2}))),
        ],
    );
    let ids = [["s".into()].to_vec(), ["n1".into(), "late".into()].to_vec()] as [Vec<Box<str>>; 2];
    use_it(&Data {
        trigger: &trigger,
        execution: ExecutionId::from_uuid(uuid::Uuid::nil()),
        at: Timestamp::parse("2025-06-09T18:00:00Z").unwrap(),
        zone: chrono_tz::Tz::Asia__Tokyo,
        input: &input,
        skills: &skills,
        nodes: &nodes,
        ids: [&ids[0], &ids[1]],
        memory: &memory,
        skill: Some("s"),
        output: Some(&json!({"ok": true})),
        item: Some((&json!({"k": 5}), 2)),
        item_name: "row",
        call: None,
    })
}

fn value(source: &str) -> Result<Value, EvalError> {
    let expr = compile(source).unwrap_or_else(|message| panic!("{source}: {message}"));
    with(|data| expr.evaluate(data, &Budget::new(FUEL)))
}

#[test]
fn values() {
    for (source, expected) in [
        ("'n1'", json!("n1")),
        ("steps.n1.output.got + 1", json!(3)),
        ("steps['n1'].output.got", json!(2)),
        ("steps.s.output", json!("S")),
        (
            "steps",
            json!({"n1": {"output": {"got": 2}}, "s": {"output": "S"}}),
        ),
        ("has(steps.late.output) || has(input.o.x)", json!(false)),
        ("size(input)", json!(8)),
        ("input.t.size() + size(input.list)", json!(5)),
        (
            "trigger.type + ' ' + trigger.payload.due",
            json!("schedule 2025-06-09"),
        ),
        ("trigger.source", json!("schedule:x")),
        ("memory.name + string(memory.skill.seen)", json!("Ann4")),
        ("memory", json!({"name": "Ann", "skill": {"seen": 4}})),
        ("run.at", json!("2025-06-09T18:00:00.000Z")),
        ("output.ok && row.k == 5 && index == 2", json!(true)),
        ("input.price", json!(19.9)),
        ("7 / 2", json!(3)),
        ("-7 % 3", json!(-1)),
        ("input.big", json!(u64::MAX)),
        ("input.a < 1.5 && input.a == 1.0 && 1 != 1.5", json!(true)),
        ("[1, 2] + [3]", json!([1, 2, 3])),
        ("{'b': 1, 'a': [input.t]}", json!({"a": ["Ab"], "b": 1})),
        ("input.list.map(x, x * 2)", json!([6, 2, 4])),
        ("input.list.map(x, x > 1, x)", json!([3, 2])),
        ("input.list.filter(x, x > 1)", json!([3, 2])),
        (
            "input.list.all(x, x > 0) && input.list.exists(x, x == 3) && input.list.exists_one(x, x == 1)",
            json!(true),
        ),
        (
            "input.o.map(k, k + string(input.o[k]))",
            json!(["y2", "z1"]),
        ),
        (
            "input.list.map(x, input.list.filter(y, y < x).size())",
            json!([2, 0, 1]),
        ),
        (
            "2 in input.list && 'z' in input.o && !('q' in input.o)",
            json!(true),
        ),
        ("false && 1 / 0 == 1", json!(false)),
        ("1 / 0 == 1 || true", json!(true)),
        ("input.n == null ? 'none' : 'some'", json!("none")),
        (
            "default(input.o.missing, 7) + default(input.n, 1)",
            json!(8),
        ),
        (
            "lower(input.t) + upper(input.t) + input.t.lowerAscii()",
            json!("abABab"),
        ),
        ("'a,b'.split(',').join('-')", json!("a-b")),
        ("'invoice 42'.matches('[0-9]+$')", json!(true)),
        ("'äöü'.substring(1, 2) + ' x '.trim()", json!("öx")),
        ("sum([10, 10.5])", json!(20.5)),
        ("sum([1, 2])", json!(3)),
        ("round(2.675, 2)", json!(2.68)),
        ("round(-0.5)", json!(-1.0)),
        ("[max(1, 3), min([4, 2]), abs(-2)]", json!([3, 2, 2])),
        (
            "sort(input.list) + distinct([1, 1.0, 2])",
            json!([1, 2, 3, 1, 2]),
        ),
        ("int('4') + int(2.9) + uint(1)", json!(7)),
        ("keys(input.o) + values({'a': 'b'})", json!(["y", "z", "b"])),
        (
            "date_add_days('2024-02-28', 2) + ' ' + date_add_days('2025-01-01T10:00:00+02:00', -1)",
            json!("2024-03-01 2024-12-31T10:00:00+02:00"),
        ),
        (
            "days_between(trigger.payload.due, '2025-07-09T01:00:00Z')",
            json!(30),
        ),
        ("date(run.at)", json!("2025-06-09")),
        ("type(1) + type(1.0) + type(null)", json!("intdoublenull")),
    ] {
        assert_eq!(value(source), Ok(expected), "{source}");
    }
}

#[test]
fn evaluation_errors() {
    for (source, part) in [
        ("input.o.x", "input.o.x is not there"),
        ("steps.late.output.a", "steps.late.output is not there"),
        ("input.a.b", "its owner is an integer"),
        ("input.a + input.d", "double(x)"),
        ("9223372036854775807 + 1", "64 bits"),
        ("1 / 0", "zero"),
        ("1.0 / 0.0", "inf"),
        ("'a' < 1", "cannot apply <"),
        ("input.list[9]", "element 9"),
        ("date_add_days('soon', 1)", "neither a date"),
        ("int('x')", "cannot make an int"),
    ] {
        let error = value(source).unwrap_err().to_string();
        assert!(error.contains(part), "{source}: {error}");
    }
    assert!(
        with(|data| compile("1").unwrap().test(data, &Budget::new(FUEL)))
            .unwrap_err()
            .to_string()
            .contains("not a boolean")
    );
}

#[test]
fn compile_errors_say_what_would_be_right() {
    for (source, part) in [
        ("inptu.a", "known are trigger, input"),
        ("steps.n7.output", "there is no step `n7`"),
        ("steps.n1.result", "only `output`"),
        ("has(steps.n7)", "there is no step `n7`"),
        ("now()", "run.at"),
        ("sizeof(input)", "there is no function `sizeof`"),
        ("size()", "takes 1 argument"),
        ("hello world", "$text"),
        ("", "''"),
        ("'a'.matches('(')", "regular expression"),
        (
            "[1].map(a, [1].map(b, [1].map(c, [1].map(d, 1))))",
            "nest deeper",
        ),
    ] {
        let error = compile(source).unwrap_err();
        assert!(error.contains(part), "{source}: {error}");
    }
}

#[test]
fn hostile_expressions_end() {
    assert!(compile(&"1+".repeat(4_000)).is_err());
    assert!(compile(&format!("{}1", "1 + ".repeat(900))).is_err());
    assert!(compile(&format!("{}1{}", "(".repeat(900), ")".repeat(900))).is_err());
    assert!(compile(&format!("1{}", " ".repeat(9_000))).is_err());
    let list = format!("[{}]", vec!["1"; 500].join(","));
    let source = format!("{list}.map(a, {list}.map(b, {list}.map(c, a + b + c)))");
    assert_eq!(value(&source), Err(EvalError::OutOfFuel));
}

#[test]
fn the_hot_path_does_not_touch_the_rest_of_the_document() {
    let input = json!({"got": 1, "rest": vec![json!({"text": "x".repeat(100)}); 20_000]});
    let expr = compile("input.got + 1").unwrap();
    with(|data| {
        let data = Data {
            input: &input,
            ..*data
        };
        let budget = Budget::new(1_000);
        assert_eq!(expr.evaluate(&data, &budget), Ok(json!(2)));
        assert!(budget.left() > 990, "{} are left", budget.left());
    });
}

/// A list of 20,000 numbers, a text of 40 KB, an object whose parts are shared: each is small, and what is made of it would not be.
fn with_large<T>(use_it: impl FnOnce(&Data<'_>) -> T) -> T {
    let input = json!({
        "l": vec![0; 20_000],
        "t": "x".repeat(40_000),
        "o": {"a": vec!["y".repeat(1_000); 100], "b": {"c": vec![1; 5_000]}},
        "patterns": (0..500).map(|n| format!("(?:a?){{{}}}{}a{{90}}", 90 + n % 9, n)).collect::<Vec<_>>(),
        "classes": (0..500).map(|n| format!("[\\p{{L}}{n}]x")).collect::<Vec<_>>(),
        "as": "a".repeat(20_000),
    });
    with(|data| {
        use_it(&Data {
            input: &input,
            ..*data
        })
    })
}

fn many(value: &str, count: usize) -> String {
    format!("[{}]", vec![value; count].join(","))
}

/// Each ends in its budget; what it was charged says that nothing was made beforehand.
#[test]
fn an_expression_ends_in_its_budget_whatever_it_is_made_of() {
    let n = 50;
    let sources = [
        format!(
            "[input.l].map(a, {}.map(b, {}.map(c, {})))",
            many("a", n),
            many("b", n),
            many("c", n)
        ),
        format!(
            "[input.t].map(a, {}.map(b, {}.map(c, b + c)))",
            many("a", n),
            many("a + a", n)
        ),
        format!(
            "[input.o].map(a, {}.map(b, {}.map(c, string(b))))",
            many("a", n),
            many("a", n)
        ),
        format!(
            "{}.map(a, input.l.filter(b, input.l == input.l.map(c, c)))",
            many("1", n)
        ),
        "input.l.map(a, input.l.map(b, a + b))".into(),
        "input.l.exists(a, input.l.exists(b, a + b == 1))".into(),
        "input.l.filter(a, {'l': [input.l]} == {'l': [[0] + input.l]})".into(),
        "input.l.map(a, input.t.split(''))".into(),
        "input.l.map(a, input.t + input.t)".into(),
        "input.l.map(a, sort(input.l))".into(),
        "input.l.map(a, distinct(input.l))".into(),
        "input.l.map(a, input.t.replace('', input.t))".into(),
        "input.t.replace('x', input.t)".into(),
        "input.l.map(a, 'x').join(input.t)".into(),
        "input.l.map(a, input.t.upper())".into(),
        "input.l.map(a, input.o)".into(),
        "input.l.map(a, {'a': {'a': {'a': a}}})".into(),
        "input.l.map(a, 5 in (input.l + input.l))".into(),
        "input.l.map(a, last(input.l.map(b, b)))".into(),
        "input.patterns.map(p, input.as.matches(p))".into(),
        "input.classes.map(p, input.as.matches(p))".into(),
        "input.l.map(a, input.as.matches('(?:a?){200}b'))".into(),
        "input.l.map(a, max(input.l))".into(),
        "input.l.map(a, sum_money(input.l))".into(),
        "input.l.map(a, {'b': steps, 'c': memory, 'd': input.o})".into(),
        "input.l.map(a, values(input.o) + keys(input.o))".into(),
        "input.l.map(a, input.l.exists_one(b, b == 1) || true)".into(),
        "input.l.all(a, default(input.o.b.c.map(x, x)[a], 1) == 1)".into(),
    ];
    for source in sources {
        let expr = compile(&source).unwrap_or_else(|message| panic!("{source}: {message}"));
        let shown: String = source.chars().take(80).collect();
        let budget = Budget::new(FUEL);
        let ended = with_large(|data| expr.evaluate(data, &budget));
        assert!(
            matches!(ended, Err(EvalError::OutOfFuel | EvalError::TooLong)),
            "{shown}: {:?}",
            ended.map(|value| value.to_string().len())
        );
    }
}

#[test]
fn work_that_people_ask_for_is_within_the_budget() {
    let invoices: Vec<Value> = (0..10_000)
        .map(|n| json!({"Id": n.to_string(), "Balance": f64::from(n) / 4.0, "CurrencyRef": {"value": "USD"}, "CustomerRef": {"value": "7", "name": "Somebody & Sons"}}))
        .collect();
    let input = json!({"invoices": invoices});
    for source in [
        "input.invoices",
        "input.invoices.filter(i, i.Balance > 100.0)",
        "size(input.invoices) > 3 && input.invoices[5].Id == '5'",
        "round(sum(input.invoices.map(i, double(i.Balance))), 2)",
        "input.invoices.map(i, i.CustomerRef.name + ': ' + string(i.Balance)).join(', ').size()",
        "input.invoices.exists(i, i.CustomerRef.name.matches('(?i)^some.*sons$'))",
    ] {
        let expr = compile(source).expect(source);
        let ended = with(|data| {
            let data = Data {
                input: &input,
                ..*data
            };
            expr.evaluate(&data, &Budget::new(FUEL))
        });
        assert!(ended.is_ok(), "{source}: {ended:?}");
    }
}

#[test]
fn a_limit_is_not_made_harmless_by_what_is_around_it() {
    for source in [
        "true || input.l.map(a, input.l).size() > 0",
        "input.l.map(a, input.l.map(b, b)).size() > 0 || true",
        "default(input.l.map(a, input.l.map(b, b)), 1) == 1",
        "[1].exists(x, input.l.map(a, input.l.map(b, b)).size() > x)",
        "input.l.all(x, input.l.map(b, b + x).size() > 0)",
    ] {
        let expr = compile(source).expect(source);
        let ended = with_large(|data| expr.evaluate(data, &Budget::new(FUEL)));
        match source.starts_with("true") {
            true => assert_eq!(ended, Ok(json!(true)), "{source}: decided before"),
            false => assert_eq!(ended, Err(EvalError::OutOfFuel), "{source}"),
        }
    }
}

#[test]
fn messages_do_not_carry_whole_values() {
    let expr = compile("date(input.t)").unwrap();
    let error = with_large(|data| expr.evaluate(data, &Budget::new(FUEL))).unwrap_err();
    assert!(
        error.to_string().len() < 2_000,
        "{}",
        error.to_string().len()
    );
}

#[test]
fn money_is_shown_and_summed_by_currency() {
    for (source, expected) in [
        ("money(4820.5, 'USD')", json!("4,820.50 USD")),
        ("money(510.0, {'value': 'EUR'})", json!("510.00 EUR")),
        ("money('1234.5678', 'kwd')", json!("1,234.568 KWD")),
        ("money(-3, 'JPY')", json!("-3 JPY")),
        ("money(12, null)", json!("12 (currency not told)")),
        (
            "money(input.big, 'JPY')",
            json!("18,446,744,073,709,551,615 JPY"),
        ),
        (
            "money(sum_money([{'amount': 0.1, 'currency': 'USD'}, {'amount': 0.2, 'currency': 'USD'}, {'amount': 5, 'currency': 'EUR'}]))",
            json!("5.00 EUR and 0.30 USD"),
        ),
        ("to_minor('12.345', 'EUR')", json!(1234)),
        (
            "from_minor(500, 'JPY') + ' ' + from_minor(500, 'USD')",
            json!("500 5.00"),
        ),
        (
            "[to_stripe(500, 'JPY'), to_stripe(500, 'ISK'), to_stripe('1.234', 'KWD')]",
            json!([500, 50000, 1230]),
        ),
        ("from_stripe(1230, 'kwd')", json!("1.230")),
    ] {
        assert_eq!(value(source), Ok(expected), "{source}");
    }
    for source in [
        "money('ten', 'USD')",
        "to_minor(1, 'QQQ')",
        "from_minor('x', 'USD')",
        "sum_money(1)",
    ] {
        assert!(value(source).is_err(), "{source}");
    }
}

#[test]
fn today_and_days_late_are_those_of_the_zone() {
    // In Tokyo the tenth has begun.
    let cases = [
        ("run.time_zone", json!("Asia/Tokyo")),
        ("run.today", json!("2025-06-10")),
        ("today()", json!("2025-06-10")),
        ("run.local", json!("2025-06-10T03:00:00.000+09:00")),
        ("days_between('2025-06-09', today())", json!(1)),
        ("days_between(run.at, today(), run.time_zone)", json!(0)),
        (
            "days_between('2025-06-09T14:59:59Z', run.at, run.time_zone)",
            json!(1),
        ),
        (
            "days_between('2025-06-09T15:00:00Z', run.at, run.time_zone)",
            json!(0),
        ),
        ("date(run.at)", json!("2025-06-09")),
        ("date(run.at, run.time_zone)", json!("2025-06-10")),
        (
            "date('2028-02-29T23:30:00-05:00', 'Pacific/Kiritimati')",
            json!("2028-03-01"),
        ),
        (
            "date('2028-03-01T03:00:00Z', 'America/New_York')",
            json!("2028-02-29"),
        ),
        (
            "days_between('2028-02-28T23:00:00Z', '2028-03-01', 'Europe/Berlin')",
            json!(1),
        ),
        (
            "days_between('2027-03-27T22:30:00Z', '2027-03-28T22:30:00Z', 'Europe/Berlin')",
            json!(2),
        ),
        (
            "days_between('2027-10-30T22:30:00Z', '2027-10-31T22:59:00Z', 'Europe/Berlin')",
            json!(0),
        ),
        (
            "days_between('2027-06-01', '2027-05-31T23:30:00Z', 'America/Los_Angeles')",
            json!(-1),
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(value(source), Ok(expected), "{source}");
    }
    assert!(value("date(run.at, 'Mars/Base')").is_err());
}

#[test]
fn a_day_begins_at_midnight_of_the_zone_east_and_west() {
    let cases = [
        ("2027-03-01T10:59:59Z", "Pacific/Auckland", "2027-03-01"),
        ("2027-03-01T11:00:00Z", "Pacific/Auckland", "2027-03-02"),
        ("2027-03-01T07:59:59Z", "America/Los_Angeles", "2027-02-28"),
        ("2027-03-01T08:00:00Z", "America/Los_Angeles", "2027-03-01"),
        ("2027-03-28T21:59:59Z", "Europe/Berlin", "2027-03-28"),
        ("2027-03-28T22:00:00Z", "Europe/Berlin", "2027-03-29"),
        ("2028-02-29T18:14:59Z", "Asia/Kathmandu", "2028-02-29"),
        ("2028-02-29T18:15:00Z", "Asia/Kathmandu", "2028-03-01"),
        ("2026-09-06T03:59:59Z", "America/Santiago", "2026-09-05"),
        ("2026-09-06T04:00:00Z", "America/Santiago", "2026-09-06"),
    ];
    let today = compile("today()").unwrap();
    for (at, zone, day) in cases {
        let found = with(|data| {
            let data = Data {
                at: Timestamp::parse(at).unwrap(),
                zone: zone.parse().unwrap(),
                ..*data
            };
            today.evaluate(&data, &Budget::new(FUEL))
        });
        assert_eq!(found, Ok(json!(day)), "{at} in {zone}");
    }
}
