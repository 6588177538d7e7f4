//! Bodies that look like what is wanted and are not: generated from what the routes say they take.

use super::world::{Answer, Client, send, world};
use reqwest::Method;
use serde_json::{Value, json};
use tenure::api::{Access, Route, routes};

/// Routes whose body is a stranger's document: passed on, or read by the rules of whoever sends it.
const FREE: [&str; 2] = ["/hooks/{source}/{endpoint}", "/v1/integrations"];

fn with_bodies() -> Vec<Route> {
    let routes = routes().into_iter();
    let wanted = routes.filter(|route| {
        route.body.is_some() && route.access != Access::Public && !FREE.contains(&route.path)
    });
    wanted.collect()
}

fn filled(path: &str) -> String {
    let parts = path.split('/');
    let parts = parts.map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

async fn ask(client: &Client, route: &Route, body: &str) -> Answer {
    let request = client.request(route.method.clone(), &filled(route.path));
    let request = request.header("content-type", "application/json");
    send(request.body(body.to_owned())).await
}

/// The schema itself, or the one of its alternatives that is an object; the schema of what an array or a map holds is found by `inner`.
fn object_of(schema: &Value) -> Option<&Value> {
    if schema["properties"].is_object() {
        return Some(schema);
    }
    let alternatives = ["anyOf", "oneOf", "allOf"].into_iter();
    let mut alternatives = alternatives.filter_map(|word| schema[word].as_array());
    alternatives.find_map(|all| all.iter().find_map(object_of))
}

/// A value that fits a schema well enough to have come to its fields: never an object.
fn scalar(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        _ => json!("x"),
    }
}

/// Bodies in which one object, at whatever depth, is written as an array of its fields' values.
fn arrays_for_objects(schema: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    if let Some(object) = object_of(schema) {
        let fields = object["properties"].as_object().expect("fields");
        let values: Vec<Value> = fields.values().map(scalar).collect();
        found.extend([json!(values), json!([])]);
        for (name, inner) in fields {
            let inner = arrays_for_objects(inner).into_iter();
            found.extend(inner.map(|value| json!({name: value})));
        }
    }
    for (word, wrapped) in [("items", true), ("additionalProperties", false)] {
        let Some(inner) = schema.get(word) else {
            continue;
        };
        let inner = arrays_for_objects(inner).into_iter();
        found.extend(inner.map(|value| match wrapped {
            true => json!([value]),
            false => json!({"name": value}),
        }));
    }
    found
}

#[tokio::test]
async fn array_is_never_taken_for_an_object() {
    let world = world().await;
    let (mut asked, mut nested) = (0, 0);
    for route in with_bodies() {
        let bodies = arrays_for_objects(route.body.as_ref().expect("a schema"));
        assert!(!bodies.is_empty(), "{} takes no object", route.path);
        for body in bodies {
            let answer = ask(&world.admin, &route, &body.to_string()).await;
            let said = answer.problem(422, "invalid_field");
            let detail = said["detail"].as_str().unwrap_or_default();
            assert!(
                detail.contains("invalid type: sequence"),
                "{} {} with {body}: {detail}",
                route.method,
                route.path
            );
            asked += 1;
            nested += usize::from(body.is_object());
        }
    }
    assert!(asked > 40 && nested > 4, "{asked} bodies, {nested} nested");
    let keys = world.admin.get("/v1/keys").await;
    let names = keys.body["items"].as_array().expect("items").iter();
    assert!(names.into_iter().all(|key| key["name"] != "intruder"));
}

#[tokio::test]
async fn array_is_no_object_in_what_no_schema_shows() {
    let world = world().await;
    let hire = |field: &str, value: Value| {
        let mut body = super::world::pure("x");
        body[field] = value;
        ("/v1/employees", body)
    };
    let cases = [
        ("/v1/keys", json!(["intruder", "admin", null])),
        hire("schedules", json!([["a", "0 9 * * *"]])),
        hire("subscriptions", json!([["github"]])),
        hire("concurrency", json!([3])),
        ("/v1/sources", json!(["x"])),
        ("/v1/policies", json!(["x", "deny", ["*"]])),
        ("/v1/hooks", json!(["github"])),
    ];
    for (path, body) in cases {
        let answer = world.admin.post(path, body).await;
        assert_eq!(answer.status, 422, "{path}: {answer:?}");
    }
    let yaml = "- intruder\n- admin\n";
    let request = world.admin.request(Method::POST, "/v1/policies");
    let request = request.header("content-type", "application/yaml");
    let answer = send(request.body(yaml)).await;
    answer.problem(422, "invalid_field");
}

#[tokio::test]
async fn body_that_is_two_things_at_once_is_refused() {
    let world = world().await;
    for route in with_bodies() {
        let schema = route.body.as_ref().expect("a schema");
        let fields = object_of(schema).expect("an object")["properties"].as_object();
        let name = fields.expect("fields").keys().next().expect("a field");
        let twice = format!("{{\"{name}\": null, \"{name}\": null}}");
        let deep = format!("{{\"{name}\": {}{}}}", "[".repeat(500), "]".repeat(500));
        let nested = format!("{{\"{name}\": {{\"a\": 1, \"a\": 2}}}}");
        for body in ["{} {}", "{}]", "{},", "nul", "", &twice, &deep, &nested] {
            if body.is_empty() && route.body_optional {
                continue;
            }
            let answer = ask(&world.admin, &route, body).await;
            assert!(
                matches!(answer.status.as_u16(), 400 | 422),
                "{} {} with {body:.80}: {answer:?}",
                route.method,
                route.path
            );
        }
    }
}

#[tokio::test]
async fn packed_body_is_refused_and_what_is_taken_is_said() {
    let world = world().await;
    for route in with_bodies() {
        for coding in ["gzip", "deflate", "br", "identity, gzip", "?"] {
            let request = world
                .admin
                .request(route.method.clone(), &filled(route.path));
            let request = request.header("content-type", "application/json");
            let answer = send(request.header("content-encoding", coding).body("{}")).await;
            answer.problem(415, "unsupported_media_type");
            assert_eq!(answer.headers["accept-encoding"], "identity");
        }
    }
    let request = world.admin.request(Method::POST, "/v1/keys");
    let request = request.header("content-encoding", "identity");
    let answer = send(request.json(&json!({"name": "k", "role": "viewer"}))).await;
    assert_eq!(answer.status, 201, "{answer:?}");
}
