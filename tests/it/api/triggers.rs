//! Telling employees to work, and what is answered about it.

use super::world::{asking, employee_of, pure, send, world};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Instant;

#[tokio::test]
async fn a_client_may_wait_for_the_end() {
    let world = world().await;
    let employee = world.manager.hire(pure("counter")).await;
    let finished = world
        .operator
        .work(&employee, json!({"a": 1, "b": 2}))
        .await;
    assert_eq!(finished.status, 200, "{finished:?}");
    assert_eq!(finished.headers["preference-applied"], "wait=15");
    assert_eq!(finished.body["status"], "completed");
    assert_eq!(finished.body["result"], json!({"got": 3}));
    // What is answered from memory is what the journal says.
    let stored = world
        .viewer
        .get(&format!("/v1/runs/{}", finished.text("execution_id")))
        .await;
    assert_eq!(stored.body, finished.body);

    let steps = world
        .viewer
        .get(&format!(
            "/v1/runs/{}/steps?limit=1",
            finished.text("execution_id")
        ))
        .await;
    assert_eq!(steps.body["items"][0]["node"], "n1");
    let next = steps.text("next");
    let rest = world
        .viewer
        .get(&format!(
            "/v1/runs/{}/steps?after={next}",
            finished.text("execution_id")
        ))
        .await;
    assert_eq!(
        (rest.body["items"][0]["node"].as_str(), &rest.body["next"]),
        (Some("n2"), &json!(null))
    );
    let journal = world
        .viewer
        .get(&format!(
            "/v1/runs/{}/journal",
            finished.text("execution_id")
        ))
        .await;
    assert_eq!(journal.body["items"][0]["fact"]["f"], "accepted");
    assert_eq!(journal.body["items"][1]["seq"], 1);
}

#[tokio::test]
async fn a_wait_ends_when_its_time_is_over() {
    let world = world().await;
    let employee = world.manager.hire(asking("asker")).await;
    let request = world
        .operator
        .request(Method::POST, &format!("/v1/employees/{employee}/triggers"))
        .header("prefer", "respond-async, wait=1")
        .json(&json!({"payload": {"amount": 1}}));
    let began = Instant::now();
    let answer = send(request).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert!(began.elapsed().as_millis() >= 900);
    let run = world
        .viewer
        .get(&format!("/v1/runs/{}", answer.text("execution_id")))
        .await;
    assert_eq!(run.body["status"], "waiting");
    assert_eq!(run.body["waiting_on"][0]["kind"], "approval");
}

#[tokio::test]
async fn the_same_key_is_the_same_run() {
    let world = world().await;
    let employee = world.manager.hire(pure("counter")).await;
    let path = format!("/v1/employees/{employee}/triggers");
    let body = json!({"payload": {"a": 1}, "idempotency_key": "k1"});
    let first = world.operator.post(&path, body.clone()).await;
    assert_eq!(
        (first.status.as_u16(), &first.body["duplicate"]),
        (202, &json!(false))
    );
    let second = world.operator.post(&path, body.clone()).await;
    assert_eq!(
        (second.status.as_u16(), &second.body["duplicate"]),
        (202, &json!(true))
    );
    assert_eq!(second.text("execution_id"), first.text("execution_id"));
    assert_eq!(second.text("run_id"), first.text("run_id"));
    let waited = send(
        world
            .operator
            .request(Method::POST, &path)
            .header("prefer", "wait=5")
            .json(&body),
    )
    .await;
    assert_eq!(
        (waited.status.as_u16(), waited.text("execution_id")),
        (200, first.text("execution_id"))
    );
    assert_eq!(
        world.viewer.get("/v1/runs").await.body["items"]
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn refusals_say_why() {
    let world = world().await;
    let mut body = asking("asker");
    body["concurrency"] = json!({"on_conflict": "reject"});
    let employee = world.manager.hire(body).await;
    let path = format!("/v1/employees/{employee}/triggers");
    let busy = json!({"payload": {"amount": 1}, "conversation_key": "c"});
    assert_eq!(world.operator.post(&path, busy.clone()).await.status, 202);
    world
        .operator
        .post(&path, busy)
        .await
        .problem(409, "conversation_busy");
    let skill = world
        .operator
        .post(&path, json!({"payload": {}, "skill": "none"}))
        .await;
    assert_eq!(skill.problem(422, "unknown_skill")["field"], "skill");
    let nobody = world
        .operator
        .post("/v1/employees/nobody/triggers", json!({"payload": {}}))
        .await;
    nobody.problem(404, "not_found");
    let long = world
        .operator
        .post(
            &path,
            json!({"payload": {}, "idempotency_key": "k".repeat(300)}),
        )
        .await;
    assert_eq!(
        long.problem(422, "invalid_field")["field"],
        "idempotency_key"
    );
}

#[tokio::test]
async fn a_cancelled_run_says_who_and_why() {
    let world = world().await;
    let employee = world.manager.hire(asking("asker")).await;
    let path = format!("/v1/employees/{employee}/triggers");
    let run = world
        .operator
        .post(&path, json!({"payload": {"amount": 1}}))
        .await
        .text("execution_id");
    let path = format!("/v1/runs/{run}/cancel");
    let answer = world
        .operator
        .post(&path, json!({"reason": "not today"}))
        .await;
    assert_eq!(answer.body["status"], "cancelled", "{answer:?}");
    assert_eq!(answer.body["error"]["reason"], "not today");
    send(world.operator.request(Method::POST, &path))
        .await
        .problem(409, "run_not_open");
    let filtered = world
        .viewer
        .get("/v1/runs?status=cancelled&employee_id=asker")
        .await;
    assert_eq!(filtered.body["items"][0]["execution_id"], json!(run));
}

#[tokio::test]
async fn events_find_subscriptions_and_waiting_runs() {
    let world = world().await;
    let mut listener = pure("listener");
    listener["subscriptions"] =
        json!([{"source": "crm", "event": "deal.won", "when": "event.amount > 100"}]);
    let listener = world.manager.hire(listener).await;
    let waiter = world.manager.hire(employee_of("waiter", json!([
        {"id": "w", "type": "wait", "event": {"type": "deal.won", "match": {"/id": "trigger.payload.id"}}},
    ]))).await;
    let run = world
        .operator
        .post(
            &format!("/v1/employees/{waiter}/triggers"),
            json!({"payload": {"id": 7}}),
        )
        .await;
    let run = format!("/v1/runs/{}", run.text("execution_id"));
    world
        .viewer
        .until(&run, |run| run["status"] == "waiting")
        .await;

    let small = json!({"source": "crm", "event": "deal.won", "payload": {"id": 8, "amount": 5}});
    let nobody = world.operator.post("/v1/triggers", small).await;
    assert_eq!(
        nobody.body,
        json!({"started": [], "resumed": [], "refused": []})
    );

    let won = json!({"source": "crm", "event": "deal.won", "payload": {"id": 7, "amount": 500}, "idempotency_key": "e1"});
    let routed = world.operator.post("/v1/triggers", won.clone()).await;
    assert_eq!(routed.status, 202, "{routed:?}");
    assert_eq!(routed.body["started"][0]["employee_id"], json!(listener));
    assert_eq!(routed.body["resumed"].as_array().map(Vec::len), Some(1));
    world
        .viewer
        .until(&run, |run| run["status"] == "completed")
        .await;
    let again = world.operator.post("/v1/triggers", won).await;
    assert_eq!(again.body["started"][0]["duplicate"], true);
    assert_eq!(
        again.body["started"][0]["run_id"],
        routed.body["started"][0]["run_id"]
    );
}

/// A key with another payload is the same answer here as from the proxy.
#[tokio::test]
async fn a_key_with_another_payload_is_a_conflict() {
    let world = world().await;
    let mut body = pure("counter");
    body["subscriptions"] = json!([{"source": "shop"}]);
    let employee = world.manager.hire(body).await;
    let direct = format!("/v1/employees/{employee}/triggers");
    let cases = [
        (direct.as_str(), json!({"idempotency_key": "k1"})),
        (
            "/v1/triggers",
            json!({"idempotency_key": "k1", "source": "shop"}),
        ),
    ];
    for (path, body) in cases {
        let with = |payload| {
            let mut body = body.clone();
            body["payload"] = payload;
            body
        };
        let first = json!({"a": 1, "b": {"c": [1, 2]}});
        assert_eq!(
            world.operator.post(path, with(first)).await.status,
            202,
            "{path}"
        );
        for other in [
            json!({"a": 2}),
            json!({}),
            json!(null),
            json!({"a": "1", "b": {"c": [1, 2]}}),
            json!({"a": 1, "b": {"c": [2, 1]}}),
            json!({"a": 1, "b": {"c": [1, 2]}, "d": null}),
        ] {
            let refused = world.operator.post(path, with(other)).await;
            let problem = refused.problem(409, "idempotency_conflict");
            assert_eq!(problem["field"], "idempotency_key", "{path}");
        }
        // The same in other words: the order of names says nothing.
        let request = world.operator.request(Method::POST, path);
        let text = with(json!("-")).to_string();
        let text = text.replace("\"-\"", r#"{"b": {"c": [1, 2]}, "a": 1}"#);
        let again = request
            .header("content-type", "application/json")
            .body(text);
        let again = send(again).await;
        assert_eq!(again.status, 202, "{path}: {again:?}");
        let started = again.body["started"][0].clone();
        let answer = if started.is_null() {
            again.body
        } else {
            started
        };
        assert_eq!(answer["duplicate"], true, "{path}");
    }
}

/// Many clients give their key as the draft of the IETF has it, in a header.
#[tokio::test]
async fn the_header_idempotency_key_is_a_key() {
    let world = world().await;
    let mut body = pure("counter");
    body["subscriptions"] = json!([{"source": "shop"}]);
    let employee = world.manager.hire(body).await;
    let direct = format!("/v1/employees/{employee}/triggers");
    for (path, body) in [
        (direct.as_str(), json!({"payload": {"a": 1}})),
        (
            "/v1/triggers",
            json!({"payload": {"a": 1}, "source": "shop"}),
        ),
    ] {
        let sent = |key: &'static str, body: Value| {
            let request = world.operator.request(Method::POST, path);
            send(request.header("Idempotency-Key", key).json(&body))
        };
        let with = |more: Value| {
            let mut body = body.clone();
            for (field, value) in more.as_object().expect("fields") {
                body[field] = value.clone();
            }
            body
        };
        let is_duplicate = |answer: &Value| {
            let started = &answer["started"][0];
            let answer = if started.is_null() { answer } else { started };
            answer["duplicate"] == true
        };
        for (key, more, duplicate) in [
            ("h1", json!({}), false),
            ("h1", json!({}), true),
            ("h1", json!({"idempotency_key": "h1"}), true),
            ("H1", json!({}), false),
            ("\"h1\"", json!({}), false),
            ("h 2", json!({}), false),
            ("h 2", json!({}), true),
        ] {
            let answer = sent(key, with(more.clone())).await;
            assert_eq!(answer.status, 202, "{path} {key} {more}: {answer:?}");
            assert_eq!(is_duplicate(&answer.body), duplicate, "{path} {key} {more}");
        }
        let other = sent("h1", with(json!({"payload": {"a": 2}}))).await;
        other.problem(409, "idempotency_conflict");
        let two = sent("h1", with(json!({"idempotency_key": "h3"}))).await;
        assert_eq!(
            two.problem(422, "invalid_field")["field"],
            "idempotency_key"
        );
        let long: &'static str = Box::leak("k".repeat(256).into_boxed_str());
        assert_eq!(
            sent(long, with(json!({})))
                .await
                .problem(422, "invalid_field")["field"],
            "idempotency_key"
        );
    }
}

/// Whoever gave no key is told one, and what is sent again with it is the first.
#[tokio::test]
async fn a_trigger_without_a_key_is_told_one_under_which_it_is_known() {
    let world = world().await;
    let mut body = pure("counter");
    body["subscriptions"] = json!([{"source": "shop"}]);
    let employee = world.manager.hire(body).await;
    let direct = format!("/v1/employees/{employee}/triggers");
    for (path, mut body) in [
        (direct.as_str(), json!({"payload": {"a": 1}})),
        (
            "/v1/triggers",
            json!({"payload": {"a": 1}, "source": "shop"}),
        ),
    ] {
        let first = world.operator.post(path, body.clone()).await;
        assert_eq!(first.status, 202, "{first:?}");
        let key = first.headers["idempotency-key"].to_str().expect("a text");
        let other = world.operator.post(path, body.clone()).await;
        assert_ne!(other.headers["idempotency-key"], key, "each is its own");
        body["idempotency_key"] = json!(key);
        let again = world.operator.post(path, body.clone()).await;
        let run = |body: &serde_json::Value| match body["started"][0].is_object() {
            true => body["started"][0].clone(),
            false => body.clone(),
        };
        let (first, again, other) = (run(&first.body), run(&again.body), run(&other.body));
        assert_eq!(again["execution_id"], first["execution_id"], "{path}");
        assert_eq!(
            (&first["duplicate"], &again["duplicate"]),
            (&json!(false), &json!(true))
        );
        assert_ne!(other["execution_id"], first["execution_id"]);
        body["payload"] = json!({"a": 2});
        let conflict = world.operator.post(path, body).await;
        conflict.problem(409, "idempotency_conflict");
    }
}
