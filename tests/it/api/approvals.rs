//! Decisions are about exactly what was shown.

use super::world::{World, asking, employee_of, world};
use serde_json::{Value, json};

async fn asked(world: &World, employee: &str) -> (String, Value) {
    let path = format!("/v1/employees/{employee}/triggers");
    let run = world
        .operator
        .post(&path, json!({"payload": {"amount": 5}}))
        .await
        .text("execution_id");
    let list = format!("/v1/approvals?execution_id={run}");
    let approvals = world
        .viewer
        .until(&list, |body| body["items"][0].is_object())
        .await;
    (format!("/v1/runs/{run}"), approvals["items"][0].clone())
}

#[tokio::test]
async fn an_approval_is_decided_once_and_for_its_arguments() {
    let world = world().await;
    let employee = world.manager.hire(asking("asker")).await;
    let (run, approval) = asked(&world, &employee).await;
    assert_eq!(approval["arguments"], json!({"amount": 5}));
    assert_eq!(approval["title"], "May I?");
    let path = format!(
        "/v1/approvals/{}/decision",
        approval["id"].as_str().expect("an id")
    );
    let decide = |word: &str, hash: &Value| {
        let body = json!({"decision": word, "arguments_hash": hash, "comment": "fine"});
        let (manager, path) = (world.manager.clone(), path.clone());
        async move { manager.post(&path, body).await }
    };
    let other = json!(format!("sha256:{}", "0".repeat(64)));
    decide("approve", &other)
        .await
        .problem(409, "arguments_changed");
    assert_eq!(
        decide("maybe", &other).await.problem(422, "invalid_field")["field"],
        "decision"
    );
    assert_eq!(
        decide("approve", &json!("x"))
            .await
            .problem(422, "invalid_field")["field"],
        "arguments_hash"
    );

    let decided = decide("approve", &approval["arguments_hash"]).await;
    assert_eq!(decided.status, 200, "{decided:?}");
    assert_eq!(
        (decided.text("status"), decided.text("comment")),
        ("approved".into(), "fine".into())
    );
    assert!(decided.text("decided_by").starts_with("api:key_"));
    let finished = world
        .viewer
        .until(&run, |run| run["status"] == "completed")
        .await;
    assert_eq!(finished["result"], json!({"said": "yes"}));
    decide("deny", &approval["arguments_hash"])
        .await
        .problem(409, "approval_not_pending");
}

#[tokio::test]
async fn an_expired_approval_is_not_a_denied_one() {
    let world = world().await;
    let employee = world.manager.hire(employee_of("asker", json!([
        {"id": "ask", "type": "approval", "title": "Quick?", "arguments": {"n": "1"}, "expires_ms": 300},
    ]))).await;
    let (run, approval) = asked(&world, &employee).await;
    let id = approval["id"].as_str().expect("an id");
    let shown = world
        .viewer
        .until(&format!("/v1/approvals/{id}"), |approval| {
            approval["status"] == "expired"
        })
        .await;
    assert_eq!(shown["decided_by"], json!(null));
    let body = json!({"decision": "approve", "arguments_hash": approval["arguments_hash"]});
    let late = world
        .manager
        .post(&format!("/v1/approvals/{id}/decision"), body)
        .await;
    late.problem(409, "approval_expired");
    let failed = world
        .viewer
        .until(&run, |run| run["status"] == "failed")
        .await;
    assert_eq!(failed["error"]["code"], "approval_expired");
}
