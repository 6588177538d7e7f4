//! What people write into the memory is what the next run reads; and what the live actors show.

use super::world::{employee_of, world};
use serde_json::json;

#[tokio::test]
async fn an_awake_employee_knows_at_once() {
    let world = world().await;
    let employee = world
        .manager
        .hire(employee_of(
            "knower",
            json!([
                {"id": "n", "type": "transform", "output": {
                    "greeting": "has(memory.greeting) ? memory.greeting : 'none'",
                    "currency": "has(org.currency) ? org.currency : 'none'",
                }},
            ]),
        ))
        .await;
    let before = world.operator.work(&employee, json!({})).await;
    assert_eq!(
        before.body["result"],
        json!({"greeting": "none", "currency": "none"}),
        "{before:?}"
    );

    let own = format!("/v1/memory/employee/greeting?employee_id={employee}");
    let put = world.manager.put(&own, json!({"value": "hello"})).await;
    assert_eq!(
        (put.status.as_u16(), put.body["version"].as_i64()),
        (200, Some(1))
    );
    assert!(put.text("source").starts_with("api:key_"));
    let put = world.manager.put(&own, json!({"value": "hi"})).await;
    assert_eq!(put.body["version"], 2);
    world
        .manager
        .put("/v1/memory/org/currency", json!({"value": "CHF"}))
        .await;
    let after = world.operator.work(&employee, json!({})).await;
    assert_eq!(
        after.body["result"],
        json!({"greeting": "hi", "currency": "CHF"})
    );

    let listed = world
        .viewer
        .get("/v1/memory?layer=employee&employee_id=knower")
        .await;
    assert_eq!(listed.body["items"][0]["value"], "hi");
    assert_eq!(
        world.viewer.get("/v1/memory").await.body["items"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(world.manager.delete(&own).await.status, 204);
    let forgotten = world.operator.work(&employee, json!({})).await;
    assert_eq!(forgotten.body["result"]["greeting"], "none");
    world
        .manager
        .put(&own, json!({"value": null}))
        .await
        .problem(422, "invalid_field");
    let superfluous = world
        .manager
        .put("/v1/memory/org/x?skill=s", json!({"value": 1}))
        .await;
    assert_eq!(
        superfluous.problem(400, "invalid_parameter")["field"],
        "skill"
    );
}

#[tokio::test]
async fn live_actors_are_seen_with_their_children() {
    let world = world().await;
    let employee = world.manager.hire(super::world::pure("counter")).await;
    world.operator.work(&employee, json!({"a": 1})).await;
    let path = format!("node/employee_host/employee:{employee}");
    let shown = world.viewer.get(&format!("/v1/actors/{path}")).await;
    assert_eq!(shown.body["kind"], "employee", "{shown:?}");
    assert_eq!(shown.body["children"][0]["kind"], "skill");
    let encoded = world
        .viewer
        .get(&format!("/v1/actors/{}", path.replace('/', "%2F")))
        .await;
    assert_eq!(encoded.body["id"], json!(path));
    let listed = world.viewer.get("/v1/actors?kind=micro_agent").await;
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(2));
    let first = world.viewer.get("/v1/actors?limit=1").await;
    let second = world
        .viewer
        .get(&format!("/v1/actors?limit=1&after={}", first.text("next")))
        .await;
    assert_ne!(first.body["items"], second.body["items"]);
    let tree = world.admin.get("/v1/actors?tree=true").await;
    assert_eq!(tree.body["items"][0]["id"], "node");
    assert!(
        tree.body["items"][0]["children"]
            .to_string()
            .contains(&path)
    );
    assert!(
        !world
            .viewer
            .get("/v1/actors")
            .await
            .body
            .to_string()
            .contains("journal")
    );
}
