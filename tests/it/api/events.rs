//! Streams: complete, in order, and resumed where they were left.

use super::world::{Client, asking, pure, world};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tenure::domain::event::PlatformEvent;

/// One event as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
struct Received {
    id: String,
    name: String,
    data: Value,
}

/// Reads a stream until it ends or `wanted` events have come.
async fn follow(client: &Client, path: &str, last: Option<&str>, wanted: usize) -> Vec<Received> {
    let mut request = client.request(Method::GET, path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let mut response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut text, mut found) = (String::new(), Vec::new());
    while found.len() < wanted {
        let chunk = tokio::time::timeout(Duration::from_secs(10), response.chunk()).await;
        let Some(chunk) = chunk.expect("an event in time").expect("a chunk") else {
            break;
        };
        text += &String::from_utf8_lossy(&chunk);
        while let Some((event, rest)) = text.split_once("\n\n") {
            found.extend(parse(event));
            text = rest.to_owned();
        }
    }
    found
}

fn parse(text: &str) -> Option<Received> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    Some(Received {
        id: field("id:")?.into(),
        name: field("event:")?.into(),
        data: serde_json::from_str(field("data:")?).expect("JSON"),
    })
}

#[tokio::test]
async fn a_runs_stream_ends_with_its_result_and_resumes_anywhere() {
    let world = world().await;
    let employee = world.manager.hire(pure("counter")).await;
    let run = world.operator.work(&employee, json!({"a": 1})).await;
    let path = format!("/v1/runs/{}/events", run.text("execution_id"));
    let all = follow(&world.viewer, &path, None, usize::MAX).await;
    let names: Vec<&str> = all.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        ["runIntent", "agentEvent", "agentEvent", "executionResult"]
    );
    for event in &all {
        // Exactly the fields of the contract: nothing is lost or added on the way through the type.
        let known: PlatformEvent =
            serde_json::from_value(event.data.clone()).expect("a platform event");
        assert_eq!(serde_json::to_value(known).expect("JSON"), event.data);
        assert_eq!(event.data["type"], json!(event.name));
    }
    let result = &all[3].data;
    assert_eq!(result["status"], "completed");
    assert_eq!(result["result"], json!({"got": 2}));
    assert_eq!(result["skills_executed"], json!(["count"]));
    assert_eq!(
        result["hierarchical_events"][0]["micro_agents"],
        json!(["n1", "n2"])
    );
    assert_eq!(result["run_id"], run.body["run_id"]);
    assert_eq!(all[1].data["micro_agent"], "n1");
    assert_eq!(
        all[1].data["run_id"],
        json!(format!("{}:skill:count", run.text("run_id")))
    );
    for place in 0..all.len() {
        let rest = follow(&world.viewer, &path, Some(&all[place].id), usize::MAX).await;
        assert_eq!(rest, all[place + 1..], "after event {place}");
    }
}

#[tokio::test]
async fn the_orgs_stream_follows_what_happens() {
    let world = world().await;
    let employee = world.manager.hire(asking("asker")).await;
    let client = world.viewer.clone();
    let types = "/v1/events?types=runIntent,executionResult,GraphDefined";
    let following = tokio::spawn(async move { follow(&client, types, None, 3).await });
    let path = format!("/v1/employees/{employee}/triggers");
    let run = world
        .operator
        .post(&path, json!({"payload": {"amount": 1}}))
        .await
        .text("execution_id");
    world
        .operator
        .post(&format!("/v1/runs/{run}/cancel"), json!({}))
        .await;
    let seen = following.await.expect("followed");
    let names: Vec<&str> = seen.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names, ["GraphDefined", "runIntent", "executionResult"]);
    assert_eq!(seen[2].data["status"], "interrupted");

    let first = world.viewer.get("/v1/events?format=json&limit=1").await;
    assert_eq!(first.body["items"][0]["type"], "GraphDefined");
    let rest = world
        .viewer
        .get(&format!(
            "/v1/events?format=json&after={}",
            first.text("next")
        ))
        .await;
    assert_eq!(rest.body["items"][0]["type"], "runIntent");
    let now = world.viewer.get("/v1/events?format=json&after=now").await;
    assert_eq!(now.body, json!({"items": [], "next": null}));
}
