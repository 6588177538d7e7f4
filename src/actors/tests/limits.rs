//! Work and sizes that an author or a sender chooses end in their limits, name them, and hold back nobody.

use super::{
    effects::{effects, sandbox},
    house::{House, employee, two_steps},
};
use crate::{
    actors::router::Event,
    domain::TriggerType,
    graph::{Outcome, RunStatus},
};
use serde_json::{Value, json};
use std::sync::Arc;

fn one(output: Value) -> Value {
    json!({"graph_id": "one", "type": "skill", "nodes": [{"id": "n1", "type": "transform", "output": output}], "edges": []})
}

fn copies(n: usize) -> String {
    let many = |value: &str| format!("[{}]", vec![value; n].join(","));
    let (a, b, c) = (many("a"), many("b"), many("c"));
    format!("[input.l].map(a, {a}.map(b, {b}.map(c, {c})))")
}

fn failed(outcome: &Outcome) -> (&str, &str) {
    match outcome {
        Outcome::Failed { error } => (&error.error.code, &error.error.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_expression_that_makes_much_fails_its_run_and_the_next_one_works() {
    let mut house = House::build().await;
    let hungry = house
        .hire(employee(&[one(json!({"got": copies(50)}))], json!({})))
        .await;
    let payload = json!({"l": vec![0; 20_000]});
    let finished = house.run(hungry, payload.clone()).await;
    let (code, message) = failed(&finished.outcome);
    assert_eq!(code, "limit_exceeded");
    assert!(message.contains("its limit is"), "{message}");

    let other = house.hire(employee(&[two_steps("sg")], json!({}))).await;
    let finished = house.run(other, json!({"a": 1})).await;
    assert!(matches!(finished.outcome, Outcome::Completed { .. }));

    // What is taken up again after a crash ends as well.
    let execution = house.tell(hungry, payload).await;
    house.restart().await;
    let run = house.over(execution).await;
    assert_eq!(run.machine.status(), RunStatus::Failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_too_long_for_its_place_is_done_elsewhere() {
    let house = House::build().await;
    let output = json!({"count": "size(input.l.filter(x, x % 2 == 0))", "text": {"$text": "{{ input.l | length }}"}});
    let id = house.hire(employee(&[one(output)], json!({}))).await;
    let finished = house
        .run(id, json!({"l": (0..20_000).collect::<Vec<_>>()}))
        .await;
    match finished.outcome {
        Outcome::Completed { result } => {
            assert_eq!(*result, json!({"count": 10_000, "text": "20000"}))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_or_an_output_without_bound_fails_with_the_limit_that_it_met() {
    let house = House::build().await;
    let payload = json!({"n": 400, "t": "x".repeat(900_000)});
    let looped = "{% for i in range(trigger.payload.n) %}{{ trigger.payload.t }}{% endfor %}";
    let fields: serde_json::Map<String, Value> = (0..20)
        .map(|n| (format!("f{n}"), json!("input.t")))
        .collect();
    for (output, limit) in [
        (json!({"got": {"$text": looped}}), "4194304 bytes"),
        (
            json!({"got": {"$text": "{{ 'x' * 99999999 }}"}}),
            "4194304 bytes",
        ),
        (Value::Object(fields), "16777216"),
        (
            json!({"got": "input.t.replace('x', input.t)"}),
            "4194304 bytes",
        ),
        (
            json!({"got": "input.t.split('').map(x, input.t.split(''))"}),
            "limit",
        ),
    ] {
        let shown = output.to_string();
        let id = house.hire(employee(&[one(output)], json!({}))).await;
        let finished = house.run(id, payload.clone()).await;
        let (code, message) = failed(&finished.outcome);
        assert_eq!(code, "limit_exceeded", "{shown}");
        assert!(message.contains(limit), "{shown}: {message}");
    }
}

/// What the run machine evaluates itself, until its limit ends it: of each employee on a thread of its own, be it the runtime's last.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_employee_whose_run_evaluates_much_holds_back_no_other_one() {
    let house = House::build().await;
    let endless = "input.l.map(a, input.l.map(b, a + b))";
    let graph = json!({"graph_id": "hungry", "type": "skill", "edges": [],
                       "nodes": [{"id": "n1", "type": "transform", "input": endless, "output": "1"}]});
    let hungry = house.hire(employee(&[graph], json!({}))).await;
    let other = house.hire(employee(&[two_steps("sg")], json!({}))).await;
    // Both are awake.
    house.run(hungry, json!({"l": []})).await;
    house.run(other, json!({"a": 1})).await;

    let core = house.engine.core();
    let vitals = core
        .vitals
        .get(&format!("node/employee_host/employee:{hungry}"));
    let vitals = vitals.expect("it is awake");
    let handled = vitals.view().handled;
    let (engine, org) = (house.engine.clone(), house.org);
    let mut long = tokio::spawn(async move {
        let request = House::request(json!({"l": vec![0; 20_000]}));
        let accepted = engine.trigger_and_watch(org, hungry, request).await;
        accepted.expect("accepted").1.await.expect("finished")
    });
    // It takes the trigger. This is no thread of the runtime's, so it sees it in any case.
    let taken = || {
        let view = vitals.view();
        view.handled > handled || (view.last_message == "trigger" && view.busy_us.is_some())
    };
    let begun = std::time::Instant::now();
    while !taken() {
        assert!(begun.elapsed() < super::house::PATIENCE);
        std::thread::yield_now();
    }
    tokio::select! {
        biased;
        _ = &mut long => panic!("the long one was first"),
        finished = house.run(other, json!({"a": 2})) => {
            assert!(matches!(finished.outcome, Outcome::Completed { .. }));
        }
    }
    let finished = long.await.expect("it ends as well");
    assert_eq!(failed(&finished.outcome).0, "limit_exceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_of_a_subscription_that_does_too_much_is_told_and_the_others_hear_the_event() {
    let house = House::build().await;
    let listens = |when: &str| {
        let subscription = json!([{"source": "test:source", "when": when}]);
        employee(&[two_steps("sg")], json!({"subscriptions": subscription}))
    };
    let hungry = house
        .hire(listens("event.l.map(a, event.l.map(b, a + b)).size() > 0"))
        .await;
    let heavy = house
        .hire(listens("event.l.filter(a, a == 0).size() == 20000"))
        .await;
    let light = house.hire(listens("size(event.l) > 3")).await;
    let event = Event {
        kind: TriggerType::ExternalEvent,
        source: "test:source".into(),
        aliases: Vec::new(),
        event: None,
        payload: Arc::new(json!({"l": vec![0; 20_000]})),
        key: None,
        key_from: crate::actors::router::KeyFrom::System,
        conversation: None,
    };
    let routed = crate::actors::router::route(house.engine.core(), house.org, event)
        .await
        .expect("routed");
    let mut started: Vec<_> = routed.started.iter().map(|one| one.employee).collect();
    started.sort();
    let mut expected = vec![heavy, light];
    expected.sort();
    assert_eq!(started, expected);
    assert_eq!(routed.refused.len(), 1);
    assert_eq!(routed.refused[0].employee, hungry);
    assert!(
        routed.refused[0].reason.contains("its limit is") && !routed.refused[0].transient,
        "{}",
        routed.refused[0].reason
    );
}

fn post(arguments: Value) -> Value {
    json!({"graph_id": "post", "type": "skill", "edges": [],
           "nodes": [{"id": "n1", "type": "action", "capability": "slack.chat.post", "arguments": arguments}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_does_too_much_denies() {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    house
        .rule(
            json!({"name": "hungry", "effect": "allow", "capabilities": ["slack.*"],
                     "when": "input.text.split('').map(a, input.text.split('')).size() > 0"}),
        )
        .await;
    let arguments = json!({"channel": "'#finance'", "text": "input.t"});
    let id = house.hire(employee(&[post(arguments)], json!({}))).await;
    let finished = house.run(id, json!({"t": "x".repeat(20_000)})).await;
    let (code, message) = failed(&finished.outcome);
    assert_eq!(code, "policy_denied");
    assert!(message.contains("its limit is"), "{message}");
}

async fn posted(house: &House) -> Vec<Value> {
    let record = sandbox(house, "GET", "/record?integration=slack", Value::Null).await;
    let items = record["items"].as_array().cloned().unwrap_or_default();
    items
        .into_iter()
        .filter(|item| item["method"] == "POST")
        .collect()
}

/// The provider gets data escaped; the ledger, and with it the effect's key, has what was resolved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_in_a_message_is_escaped_by_the_capability_and_the_ledger_has_it_as_it_was() {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    house.allow("slack.chat.post").await;
    let cases = [
        (
            json!({"$text": "<!here> {{ input.who }} owes *{{ input.n }}*"}),
            "<!here> <!channel> & Sons owes *7*",
            "<!here> &lt;!channel&gt; &amp; Sons owes *7*",
        ),
        (
            json!("input.who"),
            "<!channel> & Sons",
            "&lt;!channel&gt; &amp; Sons",
        ),
        (
            json!("'<@U1> ' + input.who"),
            "<@U1> <!channel> & Sons",
            "<@U1> &lt;!channel&gt; &amp; Sons",
        ),
        (
            json!("input.n > 3 ? '<!here>' : input.who"),
            "<!here>",
            "<!here>",
        ),
        (
            json!({"$value": "<!channel> all"}),
            "<!channel> all",
            "<!channel> all",
        ),
        (
            json!("default(input.missing, input.link)"),
            "<https://evil.example|https://bank.example>",
            "&lt;https://evil.example|https://bank.example&gt;",
        ),
    ];
    for (text, resolved, sent) in cases {
        let shown = text.to_string();
        let arguments = json!({"channel": "'#finance'", "text": text});
        let id = house.hire(employee(&[post(arguments)], json!({}))).await;
        let payload = json!({"who": "<!channel> & Sons", "n": 7, "link": "<https://evil.example|https://bank.example>"});
        let finished = house.run(id, payload).await;
        assert!(
            matches!(finished.outcome, Outcome::Completed { .. }),
            "{shown}: {:?}",
            finished.outcome
        );
        let last = posted(&house).await.pop().expect("a message");
        let body = last.to_string();
        let wanted = json!(sent).to_string();
        assert!(body.contains(wanted.trim_matches('"')), "{shown}: {body}");
        let mut rows = effects(&house).await;
        rows.sort_by_key(|row| row.intended);
        let row = rows.pop().expect("a row");
        let kept: Value = serde_json::from_str(&row.args).expect("json");
        assert_eq!(kept["text"], resolved, "{shown}");
    }
}
