//! What may be called, what has to be asked first, and what the answer is worth.

use super::{
    effects::{effects, sandbox, sent},
    house::{House, employee},
};
use crate::{
    graph::{Decision, Fact, Outcome, RunStatus},
    persistence::{ApprovalStatus, EffectStatus},
};
use serde_json::{Value, json};

fn mail() -> Value {
    json!({"to": "input.to", "subject": "'hello'", "body": "'dear'"})
}

/// One mail, which is of high risk.
fn one_mail() -> Value {
    json!({
        "graph_id": "mail", "type": "skill", "edges": [],
        "nodes": [{"id": "send", "type": "action", "capability": "gmail.send", "arguments": mail(),
            "retry": {"max_attempts": 3, "initial_ms": 10}}],
    })
}

fn failed(outcome: Option<&Outcome>) -> &str {
    match outcome {
        Some(Outcome::Failed { error }) => &error.error.code,
        other => panic!("did not fail: {other:?}"),
    }
}

async fn furnished(durability: &str) -> (House, crate::domain::EmployeeId) {
    let mut house = House::build().await;
    house.connect_sandbox().await;
    let id = house
        .hire(employee(&[one_mail()], json!({"durability": durability})))
        .await;
    (house, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_high_risk_is_asked_about_and_leaves_once() {
    for durability in ["default", "step"] {
        let (mut house, id) = furnished(durability).await;
        let execution = house.tell(id, json!({"to": "a@x.test"})).await;
        let approval = house.asked().await;
        let shown: Value = serde_json::from_str(&approval.arguments).expect("json");
        assert_eq!(shown["capability"], "gmail.send");
        assert_eq!(shown["input"]["to"], "a@x.test");
        assert_eq!(shown["connection"]["name"], "sandbox");
        assert!(approval.expires.is_some() && approval.title.contains("gmail.send"));
        assert_eq!(effects(&house).await, [], "nothing is even intended");
        let run = house.inspect(execution).await;
        assert_eq!(run.machine.waiting_on()[0].kind, "approval");

        house.restart().await;
        house.decide(&approval, Decision::Approved).await;
        let run = house.over(execution).await;
        assert_eq!(run.machine.status(), RunStatus::Completed);
        assert_eq!(sent(&house).await.len(), 1);
        assert_eq!(house.approvals().await.len(), 1, "asked once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_call_is_tried_again_without_another_question() {
    let (house, id) = furnished("default").await;
    let execution = house.tell(id, json!({"to": "a@x.test"})).await;
    let approval = house.asked().await;
    let fault = json!({"integration": "gmail", "kind": "status_429", "count": 1});
    sandbox(&house, "POST", "/faults", fault).await;
    house.decide(&approval, Decision::Approved).await;
    let run = house.over(execution).await;
    assert_eq!(run.machine.status(), RunStatus::Completed);
    assert_eq!(sent(&house).await.len(), 1);
    assert_eq!(house.approvals().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_denied_or_not_decided_does_not_happen() {
    let (house, id) = furnished("default").await;
    let execution = house.tell(id, json!({"to": "a@x.test"})).await;
    let approval = house.asked().await;
    house.decide(&approval, Decision::Denied).await;
    let run = house.over(execution).await;
    assert_eq!(failed(run.machine.outcome()), "approval_denied");

    let rule = json!({"name": "soon", "effect": "require_approval", "capabilities": ["gmail.*"], "expires_ms": 200});
    house.rule(rule).await;
    let execution = house.tell(id, json!({"to": "b@x.test"})).await;
    let run = house.over(execution).await;
    assert_eq!(failed(run.machine.outcome()), "approval_expired");
    let statuses: Vec<ApprovalStatus> = house
        .approvals()
        .await
        .iter()
        .map(|row| row.status)
        .collect();
    assert!(statuses.contains(&ApprovalStatus::Expired), "{statuses:?}");
    assert_eq!(sent(&house).await, Vec::<Value>::new());
    assert_eq!(effects(&house).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_look_at_arguments_and_a_refusal_names_the_rule() {
    let (house, id) = furnished("default").await;
    house.allow("gmail.*").await;
    let rule = json!({"name": "only ours", "effect": "deny", "capabilities": ["gmail.send"],
        "when": "!input.to.endsWith('@ours.test')", "reason": "no mail leaves the house"});
    house.rule(rule).await;
    let finished = house.run(id, json!({"to": "ann@theirs.test"})).await;
    assert_eq!(failed(Some(&finished.outcome)), "policy_denied");
    let Outcome::Failed { error } = &finished.outcome else {
        panic!("it failed")
    };
    let message = &error.error.message;
    assert!(
        message.contains("only ours") && message.contains("no mail leaves"),
        "{message}"
    );
    assert_eq!(effects(&house).await, [], "no row of what may not be");
    let finished = house.run(id, json!({"to": "ann@ours.test"})).await;
    assert!(matches!(finished.outcome, Outcome::Completed { .. }));
    assert_eq!(sent(&house).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_cannot_be_evaluated_denies() {
    let (house, id) = furnished("default").await;
    let rule = json!({"name": "odd", "effect": "allow", "capabilities": ["*"], "when": "input.amount < 5"});
    house.rule(rule).await;
    let finished = house.run(id, json!({"to": "a@x.test"})).await;
    assert_eq!(failed(Some(&finished.outcome)), "policy_denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_does_not_fit_is_not_asked_about() {
    let (house, id) = furnished("default").await;
    let finished = house.run(id, json!({"to": 5})).await;
    assert_eq!(failed(Some(&finished.outcome)), "bad_params");
    assert_eq!(house.approvals().await, []);
}

/// An approval of the graph, and the mail behind it.
fn asks_itself(approval: Value, arguments: Value) -> Value {
    let mut ask = json!({"id": "ask", "type": "approval", "title": "Send it?"});
    for (field, value) in approval.as_object().expect("fields") {
        ask[field] = value.clone();
    }
    json!({
        "graph_id": "mail", "type": "skill", "edges": [{"from": "ask", "to": "send"}],
        "nodes": [ask, {"id": "send", "type": "action", "capability": "gmail.send", "arguments": arguments}],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_twice_about_one_thing() {
    let shown = json!({"to": "trigger.payload.to", "subject": "'hello'", "body": "'dear'"});
    let other = json!({"to": "'somebody@else.test'", "subject": "'hello'", "body": "'dear'"});
    let strict =
        json!({"name": "strict", "effect": "require_approval", "capabilities": ["gmail.send"]});
    for (approval, sends, rule, questions) in [
        // The very call, plain or with its capability.
        (json!({"arguments": shown}), &shown, None, 1),
        (
            json!({"arguments": {"capability": "'gmail.send'", "arguments": shown}}),
            &shown,
            Some(&strict),
            1,
        ),
        // Another one than was shown.
        (json!({"arguments": shown}), &other, None, 2),
        (
            json!({"arguments": {"capability": "'slack.chat.post'", "arguments": shown}}),
            &shown,
            None,
            2,
        ),
        // What comes after, in kind: that answers for the risk, and not for a rule of the org.
        (
            json!({"arguments": {"n": "1"}, "approves": ["gmail.send"]}),
            &shown,
            None,
            1,
        ),
        (
            json!({"arguments": {"n": "1"}, "approves": ["gmail.send"]}),
            &shown,
            Some(&strict),
            2,
        ),
        (
            json!({"arguments": {"n": "1"}, "approves": ["slack.chat.post"]}),
            &shown,
            None,
            2,
        ),
    ] {
        let mut house = House::build().await;
        house.connect_sandbox().await;
        if let Some(rule) = rule {
            house.rule(Value::clone(rule)).await;
        }
        let graph = asks_itself(approval.clone(), sends.clone());
        let id = house.hire(employee(&[graph], json!({}))).await;
        let execution = house.tell(id, json!({"to": "a@x.test"})).await;
        for _ in 0..questions {
            let approval = house.asked().await;
            house.decide(&approval, Decision::Approved).await;
        }
        let run = house.over(execution).await;
        assert_eq!(run.machine.status(), RunStatus::Completed, "{approval}");
        assert_eq!(house.approvals().await.len(), questions, "{approval}");
        assert_eq!(sent(&house).await.len(), 1, "{approval}");
        if approval["approves"].is_array() {
            let said = house.approvals().await;
            let first: Value = said
                .iter()
                .map(|row| serde_json::from_str(&row.arguments).expect("json"))
                .find(|shown: &Value| shown["n"] == 1)
                .expect("the graph's own");
            assert_eq!(first["approves"], approval["approves"], "people see it");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_answer_is_good_for_one_visit() {
    let house = {
        let mut house = House::build().await;
        house.connect_sandbox().await;
        house
    };
    let shown = json!({"to": "trigger.payload.to", "subject": "'hello'", "body": "'dear'"});
    let graph = json!({
        "graph_id": "mail", "type": "skill", "entry": ["ask"],
        "nodes": [
            {"id": "ask", "type": "approval", "arguments": shown},
            {"id": "send", "type": "action", "capability": "gmail.send", "arguments": shown, "join": "any", "max_visits": 2},
        ],
        "edges": [{"from": "ask", "to": "send"}, {"from": "send", "to": "send"}],
    });
    let id = house.hire(employee(&[graph], json!({}))).await;
    let execution = house.tell(id, json!({"to": "a@x.test"})).await;
    for _ in 0..2 {
        let approval = house.asked().await;
        house.decide(&approval, Decision::Approved).await;
    }
    let run = house.over(execution).await;
    assert_eq!(run.machine.status(), RunStatus::Completed);
    assert_eq!(house.approvals().await.len(), 2, "the second is another");
    let done = effects(&house).await;
    assert!(done.len() == 2 && done.iter().all(|row| row.status == EffectStatus::Done));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_journal_tells_who_was_asked_what() {
    let (house, id) = furnished("default").await;
    let execution = house.tell(id, json!({"to": "a@x.test"})).await;
    let approval = house.asked().await;
    house.decide(&approval, Decision::Approved).await;
    let run = house.over(execution).await;
    let told = run.facts.iter().any(
        |fact| matches!(fact, Fact::StepAsked { arguments, .. } if arguments["capability"] == "gmail.send"),
    );
    assert!(told, "{:?}", run.facts);
}
