//! What is wrong is told with its place, and the process lives.

use super::world::{pure, send, world};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn bodies_that_cannot_be_read_say_where() {
    let world = world().await;
    let post = |body: &'static str, kind: &'static str| {
        send(
            world
                .manager
                .request(Method::POST, "/v1/employees")
                .header("content-type", kind)
                .body(body),
        )
    };
    let malformed = post("{\"name\": \n }", "application/json").await;
    let body = malformed.problem(400, "malformed_json");
    assert_eq!(body["line"], 2);
    assert!(body["column"].is_number());

    let unknown = post(r#"{"nme": "x"}"#, "application/json").await;
    assert_eq!(unknown.problem(422, "invalid_field")["field"], "nme");
    let wrong = post(r#"{"name": 5}"#, "application/json").await;
    assert_eq!(wrong.problem(422, "invalid_field")["field"], "name");
    let deep = post(
        r#"{"name":"x","graph":{},"schedules":[{"name":"a","cron":1}]}"#,
        "application/json",
    )
    .await;
    assert_eq!(
        deep.problem(422, "invalid_field")["field"],
        "schedules[0].cron"
    );
    post("{}", "text/plain")
        .await
        .problem(415, "unsupported_media_type");
    let neither = post("{}", "application/json").await;
    assert_eq!(
        neither.problem(422, "invalid_field")["field"],
        "job_description"
    );
    post("a: [", "application/yaml")
        .await
        .problem(400, "malformed_yaml");
}

#[tokio::test]
async fn two_mebibytes_are_too_many() {
    let world = world().await;
    let employee = world.manager.hire(pure("counter")).await;
    let path = format!("/v1/employees/{employee}/triggers");
    let payload = json!({"payload": {"text": "x".repeat(2 * 1024 * 1024)}});
    let answer = world.operator.post(&path, payload).await;
    assert_eq!(
        answer.problem(413, "payload_too_large")["limit_bytes"],
        1_048_576
    );
    assert_eq!(
        world.operator.work(&employee, json!({"a": 1})).await.status,
        200
    );
}

#[tokio::test]
async fn graphs_that_do_not_compile_name_node_and_field() {
    let world = world().await;
    let mut cycle = pure("cycle");
    cycle["skill_graphs"]["sg"]["edges"] =
        json!([{"from": "n1", "to": "n2"}, {"from": "n2", "to": "n1"}]);
    let mut expression = pure("expression");
    expression["skill_graphs"]["sg"]["nodes"][0]["output"] = json!({"got": "size(input"});
    let mut permission = pure("permission");
    permission["skill_graphs"]["sg"]["nodes"][0] = json!({"id": "n1", "type": "action", "capability": "slack.chat.post", "arguments": {"channel": "'#a'", "text": "'b'"}});
    permission["graph"]["nodes"][0]["permissions"] = json!(["slack.read"]);
    for (body, word) in [
        (cycle, "max_visits"),
        (expression, "n1"),
        (permission, "slack"),
    ] {
        let answer = world.manager.post("/v1/employees", body).await;
        let errors = answer.problem(422, "invalid_graph")["errors"]
            .as_array()
            .expect("a list")
            .clone();
        assert!(
            !errors.is_empty() && json!(errors).to_string().contains(word),
            "{word}: {errors:?}"
        );
        assert!(
            errors
                .iter()
                .all(|error| error["graph"].is_string() && error["message"].is_string())
        );
    }
    assert_eq!(
        world.viewer.get("/v1/employees").await.body["items"],
        json!([])
    );
}

#[tokio::test]
async fn schedules_subscriptions_and_limits_are_checked() {
    let world = world().await;
    let with = |field: &str, value: Value| {
        let mut body = pure("x");
        body[field] = value;
        body
    };
    let cases = [
        (
            with("schedules", json!([{"name": "a", "cron": "0 9 * *"}])),
            "invalid_schedule",
            "schedules[0].cron",
        ),
        (
            with(
                "schedules",
                json!([{"name": "a", "cron": "0 9 * * *", "time_zone": "Mars"}]),
            ),
            "invalid_schedule",
            "schedules[0].time_zone",
        ),
        (
            with(
                "subscriptions",
                json!([{"source": "x", "when": "event.a >"}]),
            ),
            "invalid_subscription",
            "subscriptions[0].when",
        ),
        (
            with("subscriptions", json!([{"source": "x", "skill": "none"}])),
            "invalid_subscription",
            "subscriptions[0].skill",
        ),
        (
            with("concurrency", json!({"max_runs": 0})),
            "invalid_field",
            "concurrency.max_runs",
        ),
        (with("name", json!("a/b")), "invalid_field", "name"),
    ];
    for (body, code, field) in cases {
        let answer = world.manager.post("/v1/employees", body).await;
        assert_eq!(answer.problem(422, code)["field"], field);
    }
}

#[tokio::test]
async fn parameters_that_are_unknown_or_wrong_are_named() {
    let world = world().await;
    let cases = [
        ("/v1/runs?limit=x", "limit"),
        ("/v1/runs?limit=0", "limit"),
        ("/v1/runs?after=%25%25", "after"),
        ("/v1/runs?status=done", "status"),
        ("/v1/runs?stauts=failed", "stauts"),
        ("/v1/approvals?status=maybe", "status"),
        ("/v1/approvals?execution_id=5", "execution_id"),
        ("/v1/events?types=runIntent,other", "types"),
        ("/v1/events?format=xml", "format"),
        ("/v1/events?after=there", "after"),
        ("/v1/memory?layer=skill", "employee_id"),
        ("/v1/employees/x?verbose=true", "verbose"),
        ("/v1/actors?status=dead", "status"),
    ];
    for (path, name) in cases {
        let answer = world.viewer.get(path).await;
        assert_eq!(
            answer.problem(400, "invalid_parameter")["field"],
            name,
            "{path}"
        );
    }
}

#[tokio::test]
async fn routes_and_methods_that_are_not_there_are_problems_too() {
    let world = world().await;
    world
        .admin
        .get("/v2/nothing")
        .await
        .problem(404, "unknown_route");
    let answer = world.admin.delete("/v1/runs").await;
    answer.problem(405, "method_not_allowed");
    assert!(answer.headers.contains_key("allow"));
    for path in [
        "/v1/runs/5",
        "/v1/employees/nobody",
        "/v1/approvals/apr_x",
        "/v1/effects/eff_x",
        "/v1/actors/none",
    ] {
        world.viewer.get(path).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_zero_byte_is_refused_wherever_it_comes() {
    let world = world().await;
    for path in ["/v1/employees/a%00b", "/v1/runs?source=a%00b"] {
        world
            .viewer
            .get(path)
            .await
            .problem(400, "invalid_parameter");
    }
    let mut body = pure("x");
    body["subscriptions"] = json!([{"source": "x", "when": "event.a == '\u{0}'"}]);
    let answer = world.manager.post("/v1/employees", body).await;
    answer.problem(422, "invalid_subscription");
}
