//! Who may do what: nothing without a key, nothing above one's role, nothing of another org.

use super::world::{World, asking, pure, send, world};
use reqwest::Method;
use serde_json::json;
use tenure::api::{Access, routes};

/// A path of the route with something in the place of its parameters.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_route_but_the_public_ones_needs_a_key() {
    let world = world().await;
    for route in routes() {
        let request = world
            .anonymous
            .request(route.method.clone(), &filled(route.path));
        let answer = send(
            request
                .header("content-type", "application/json")
                .body("{}"),
        )
        .await;
        match route.access {
            Access::Key(_) | Access::Metrics => {
                answer.problem(401, "unauthorized");
                assert!(
                    answer.headers.contains_key("www-authenticate"),
                    "{}",
                    route.path
                );
            }
            Access::Public => assert_ne!(answer.status, 401, "{}", route.path),
        }
    }
    for wrong in ["tnk_wrong", ""] {
        let answer = world.anonymous.with_key(wrong).get("/v1/runs").await;
        answer.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_role_that_is_too_low_is_told_which_is_needed() {
    let world = world().await;
    for route in routes() {
        let Access::Key(needed) = route.access else {
            continue;
        };
        if needed.name() == "viewer" {
            continue;
        }
        let request = world
            .viewer
            .request(route.method.clone(), &filled(route.path));
        let answer = send(
            request
                .header("content-type", "application/json")
                .body("{}"),
        )
        .await;
        assert_eq!(
            answer.problem(403, "forbidden")["role"],
            needed.name(),
            "{}",
            route.path
        );
    }
}

/// An employee with a run that waits for an approval, and things of every kind.
async fn furnish(world: &World) -> Vec<String> {
    let employee = world.manager.hire(asking("asker")).await;
    let answer = world
        .operator
        .post(
            &format!("/v1/employees/{employee}/triggers"),
            json!({"payload": {"amount": 5}}),
        )
        .await;
    let run = answer.text("execution_id");
    let approvals = world
        .viewer
        .until("/v1/approvals?status=pending", |body| {
            body["items"][0].is_object()
        })
        .await;
    let approval = approvals["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let connection = world
        .admin
        .post(
            "/v1/connections",
            json!({"integration": "slack", "token": "xoxb-1"}),
        )
        .await
        .text("id");
    let put = world
        .manager
        .put("/v1/memory/org/currency", json!({"value": "CHF"}))
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    let own = json!({
        "id": "own", "name": "Own", "base_url": "https://own.example", "auth": [{"type": "bearer"}],
        "quota": {"requests": 1, "per_seconds": 1, "burst": 1},
    });
    let added = world.admin.post("/v1/integrations", own).await;
    assert_eq!(added.status, 201, "{added:?}");
    let hook = world
        .admin
        .post("/v1/hooks", json!({"source": "github"}))
        .await
        .text("id");
    let source = json!({
        "kind": "poll", "name": "chat", "capability": "slack.conversations.history", "every_seconds": 600,
        "arguments": {"channel": "C0000001", "oldest": "{cursor}"}, "items": "/messages", "item_id": "/ts",
        "cursor": {"kind": "greatest", "at": "/ts", "format": "unix"},
    });
    let source = world.admin.post("/v1/sources", source).await.text("id");
    let token = json!({"source": "shop", "scheme": "token", "options": {"header": "x-token"}});
    let token = world.admin.post("/v1/hooks", token).await;
    let request = world
        .anonymous
        .request(Method::POST, &token.text("path"))
        .header("x-token", token.text("secret"))
        .json(&json!({"n": 1}));
    let event = send(request).await.text("id");
    vec![
        format!("/v1/employees/{employee}"),
        format!("/v1/employees/{employee}/graph"),
        format!("/v1/employees/{employee}/graph/versions"),
        format!("/v1/employees/{employee}/graph/versions/1"),
        format!("/v1/runs/{run}"),
        format!("/v1/runs/{run}/steps"),
        format!("/v1/runs/{run}/journal"),
        format!("/v1/runs/{run}/effects"),
        format!("/v1/runs/{run}/events?format=json"),
        format!("/v1/approvals/{approval}"),
        format!("/v1/connections/{connection}"),
        "/v1/integrations/own".into(),
        format!("/v1/actors/node/employee_host/employee:{employee}"),
        format!("/v1/sources/{source}"),
        format!("/v1/inbox/{event}"),
        format!("hook {hook}"),
    ]
}

#[tokio::test]
async fn another_org_sees_and_touches_nothing() {
    let world = world().await;
    let mut paths = furnish(&world).await;
    let hook = paths.pop().expect("the hook").replace("hook ", "");
    for path in &paths {
        let own = world.viewer.get(path).await;
        assert_eq!(own.status, 200, "{path}: {own:?}");
        world.other_org.get(path).await.problem(404, "not_found");
    }
    for list in [
        "employees",
        "runs",
        "approvals",
        "schedules",
        "memory",
        "effects",
        "connections",
        "integrations",
        "hooks",
        "inbox",
        "sources",
    ] {
        let answer = world.other_org.get(&format!("/v1/{list}")).await;
        assert_eq!(answer.body, json!({"items": [], "next": null}), "{list}");
    }
    let events = world.other_org.get("/v1/events?format=json").await;
    assert_eq!(events.body["items"], json!([]));
    let actors = world.other_org.get("/v1/actors?limit=200").await;
    assert!(!actors.body.to_string().contains("emp_"), "{actors:?}");

    for (path, verb) in [
        (&paths[13], "pause"),
        (&paths[13], "resume"),
        (&paths[14], "replay"),
    ] {
        let answer = world
            .other_org
            .post(&format!("{path}/{verb}"), json!({}))
            .await;
        answer.problem(404, "not_found");
    }
    world
        .other_org
        .delete(&paths[13])
        .await
        .problem(404, "not_found");
    assert_eq!(
        world.other_org.get("/v1/org/people").await.body,
        json!({"slack_people": {}})
    );

    let employee = paths[0].clone();
    let (run, approval, connection) = (&paths[4], &paths[9], &paths[10]);
    let other = &world.other_org;
    let hash = format!("sha256:{}", "0".repeat(64));
    let trigger = other
        .post(&format!("{employee}/triggers"), json!({"payload": {}}))
        .await;
    trigger.problem(404, "not_found");
    other
        .post(&format!("{run}/cancel"), json!({}))
        .await
        .problem(404, "not_found");
    let decision = json!({"decision": "approve", "arguments_hash": hash});
    other
        .post(&format!("{approval}/decision"), decision)
        .await
        .problem(404, "not_found");
    other
        .post(&format!("{employee}/hold"), json!({}))
        .await
        .problem(404, "not_found");
    let graph = pure("x");
    let version = json!({"graph": graph["graph"], "skill_graphs": graph["skill_graphs"]});
    other
        .put(&format!("{employee}/graph"), version)
        .await
        .problem(404, "not_found");
    other.delete(&employee).await.problem(404, "not_found");
    other.delete(connection).await.problem(404, "not_found");
    other
        .delete("/v1/integrations/own")
        .await
        .problem(404, "not_found");
    other
        .delete(&format!("/v1/hooks/{hook}"))
        .await
        .problem(404, "not_found");
    let memory = format!(
        "/v1/memory/employee/k?employee_id={}",
        employee.replace("/v1/employees/", "")
    );
    other
        .put(&memory, json!({"value": 1}))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_at_once() {
    let world = world().await;
    let made = world
        .admin
        .post("/v1/keys", json!({"name": "robot", "role": "viewer"}))
        .await;
    assert_eq!(made.status, 201);
    let robot = world.anonymous.with_key(&made.text("key"));
    assert_eq!(robot.get("/v1/org").await.status, 200);
    let listed = world.admin.get("/v1/keys").await;
    assert!(!listed.body.to_string().contains(&made.text("key")));
    assert_eq!(
        world
            .admin
            .delete(&format!("/v1/keys/{}", made.text("id")))
            .await
            .status,
        204
    );
    robot.get("/v1/org").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn operators_see_health_metrics_and_the_document() {
    let world = world().await;
    assert_eq!(world.anonymous.get("/healthz").await.status, 200);
    assert_eq!(world.anonymous.get("/readyz").await.status, 200);
    assert_eq!(world.viewer.get("/metrics").await.status, 200);
    let document = world.viewer.get("/openapi.json").await;
    assert_eq!(document.body["openapi"], "3.1.0");
    let hire = &document.body["paths"]["/v1/employees"]["post"];
    let body = &hire["requestBody"]["content"]["application/json"]["schema"];
    assert!(body["properties"]["job_description"].is_object(), "{hire}");
    let request = world
        .viewer
        .request(Method::PATCH, "/v1/org")
        .json(&json!({"retention_days": 7}));
    send(request).await.problem(403, "forbidden");
    let request = world
        .admin
        .request(Method::PATCH, "/v1/org")
        .json(&json!({"retention_days": 7}));
    assert_eq!(send(request).await.body["settings"]["retention_days"], 7);
}
