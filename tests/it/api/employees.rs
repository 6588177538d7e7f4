//! Hiring, versions, status.

use super::world::{employee_of, pure, send, world};
use reqwest::Method;
use serde_json::json;

const JOB: &str = "Every weekday at 9:00 list the unpaid QuickBooks invoices that are over 500 USD and more than 30 days late. \
    Then post a summary in #finance. Bake a cake.";

#[tokio::test]
async fn a_job_description_is_shown_before_it_is_hired_from() {
    let world = world().await;
    let body = json!({"name": "clerk", "job_description": JOB, "time_zone": "Europe/Zurich"});
    let shown = world
        .manager
        .post("/v1/employees?dry_run=true", body.clone())
        .await;
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(shown.body["id"], json!(null));
    assert_eq!(
        world.viewer.get("/v1/employees").await.body["items"],
        json!([])
    );

    let hired = world.manager.post("/v1/employees", body.clone()).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    assert_eq!(hired.body["graph"], shown.body["graph"]);
    assert_eq!(hired.body["version"], 1);
    assert_eq!(hired.body["schedules"][0]["cron"], "0 9 * * 1-5");
    assert!(
        !hired.body["not_understood"]
            .as_array()
            .expect("a list")
            .is_empty()
    );
    let missing = hired.body["missing_connections"].to_string();
    assert!(
        missing.contains("quickbooks") && missing.contains("slack"),
        "{missing}"
    );

    let schedules = world.viewer.get("/v1/schedules?employee_id=clerk").await;
    let schedule = &schedules.body["items"][0];
    assert!(schedule["next_due_at"].is_string(), "{schedules:?}");
    let path = format!("/v1/schedules/{}", schedule["id"].as_str().expect("an id"));
    let paused = world
        .manager
        .post(&format!("{path}/pause"), json!({}))
        .await;
    assert_eq!(
        (
            paused.body["status"].as_str(),
            paused.body["next_due_at"].as_str()
        ),
        (Some("paused"), None)
    );
    let resumed = world
        .manager
        .post(&format!("{path}/resume"), json!({}))
        .await;
    assert_eq!(resumed.body["next_due_at"], schedule["next_due_at"]);
    assert_eq!(
        world.viewer.get(&format!("{path}/fires")).await.body["items"],
        json!([])
    );

    world
        .manager
        .post("/v1/employees", body)
        .await
        .problem(409, "name_taken");
    let nothing = json!({"job_description": "Bake a cake."});
    world
        .manager
        .post("/v1/employees", nothing)
        .await
        .problem(422, "nothing_understood");
}

#[tokio::test]
async fn connections_that_graphs_need_are_told() {
    let world = world().await;
    let mut body = employee_of(
        "poster",
        json!([
            {"id": "post", "type": "action", "capability": "slack.chat.post", "arguments": {"channel": "'#a'", "text": "'b'"}},
        ]),
    );
    body["graph"]["nodes"][0]["permissions"] = json!(["slack.write"]);
    let shown = world
        .manager
        .post("/v1/employees?dry_run=true", body.clone())
        .await;
    assert_eq!(
        shown.body["missing_connections"],
        json!([{"integration": "slack", "needed_by": ["count"]}])
    );

    let refused = world
        .admin
        .post(
            "/v1/connections",
            json!({"integration": "slak", "token": "t"}),
        )
        .await;
    assert!(
        refused.problem(422, "invalid_field")["detail"]
            .to_string()
            .contains("slack")
    );
    let made = world
        .admin
        .post(
            "/v1/connections",
            json!({"integration": "slack", "token": "xoxb-secret"}),
        )
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let again = world
        .admin
        .post(
            "/v1/connections",
            json!({"integration": "slack", "token": "xoxb-other"}),
        )
        .await;
    assert_eq!(
        (again.status.as_u16(), again.text("id")),
        (200, made.text("id"))
    );
    let listed = world.viewer.get("/v1/connections").await;
    assert!(!listed.body.to_string().contains("xoxb"), "{listed:?}");
    let shown = world.manager.post("/v1/employees?dry_run=true", body).await;
    assert_eq!(shown.body["missing_connections"], json!([]));
    assert_eq!(
        world
            .admin
            .delete(&format!("/v1/connections/{}", made.text("id")))
            .await
            .status,
        204
    );
}

#[tokio::test]
async fn versions_follow_on_and_new_runs_use_the_last() {
    let world = world().await;
    let employee = world.manager.hire(pure("counter")).await;
    let run = world.operator.work(&employee, json!({"a": 1})).await;
    assert_eq!(
        (run.body["version"].as_u64(), &run.body["result"]),
        (Some(1), &json!({"got": 2}))
    );

    let next = employee_of(
        "counter",
        json!([{"id": "n1", "type": "transform", "output": {"new": "true"}}]),
    );
    let body = json!({"graph": next["graph"], "skill_graphs": next["skill_graphs"], "expected_version": 1});
    let path = "/v1/employees/counter/graph";
    let replaced = world.manager.put(path, body.clone()).await;
    assert_eq!(
        (replaced.status.as_u16(), replaced.body["version"].as_u64()),
        (200, Some(2)),
        "{replaced:?}"
    );
    world
        .manager
        .put(path, body)
        .await
        .problem(409, "version_conflict");
    let run = world.operator.work("counter", json!({"a": 1})).await;
    assert_eq!(
        (run.body["version"].as_u64(), &run.body["result"]),
        (Some(2), &json!({"new": true}))
    );

    assert_eq!(world.viewer.get(path).await.headers["etag"], "\"2\"");
    let versions = world.viewer.get(&format!("{path}/versions")).await;
    assert_eq!(versions.body["items"].as_array().map(Vec::len), Some(2));
    let first = world.viewer.get(&format!("{path}/versions/1")).await;
    assert_eq!(first.body["skill_graphs"], pure("x")["skill_graphs"]);
    world
        .viewer
        .get(&format!("{path}/versions/3"))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn yaml_is_as_good_as_json() {
    let world = world().await;
    let yaml = "name: yam\ngraph: {graph_id: e, type: employee, nodes: [{id: s, type: skill, skill_graph: g, permissions: []}], edges: []}\n\
        skill_graphs:\n  g: {graph_id: g, type: skill, nodes: [{id: n, type: transform, output: {a: '1'}}], edges: []}\n";
    let request = world
        .manager
        .request(Method::POST, "/v1/employees")
        .header("content-type", "application/yaml");
    let answer = send(request.body(yaml)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}

#[tokio::test]
async fn held_employees_take_work_and_start_it_when_released() {
    let world = world().await;
    let employee = world.manager.hire(pure("counter")).await;
    let held = world
        .admin
        .post("/v1/employees/counter/hold", json!({}))
        .await;
    assert_eq!(held.text("status"), "quarantined");
    let path = format!("/v1/employees/{employee}/triggers");
    let answer = world.operator.post(&path, json!({"payload": {}})).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let run = format!("/v1/runs/{}", answer.text("execution_id"));
    assert_eq!(world.viewer.get(&run).await.text("status"), "accepted");
    world
        .admin
        .post("/v1/employees/counter/release", json!({}))
        .await;
    world
        .viewer
        .until(&run, |run| run["status"] == "completed")
        .await;

    assert_eq!(
        world
            .manager
            .delete("/v1/employees/counter")
            .await
            .text("status"),
        "dismissed"
    );
    let refused = world.operator.post(&path, json!({"payload": {}})).await;
    refused.problem(409, "employee_dismissed");
    world.manager.hire(pure("counter")).await;
}
