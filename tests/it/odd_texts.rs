//! Texts and numbers that a database cannot store, at every route and on both databases: whatever is sent is refused or taken, never a
//! fault of the service, and the employees work on.
//!
//! The routes and what they take are read from the service's own list, so that a new one is tried too.

use crate::process::{Client, Launch};
use serde_json::{Map, Value, json};
use tenure::{
    api::{Access, Route, routes},
    persistence::private_postgres::PrivatePostgres,
};

/// As many fields of one body are tried at most: the bodies of employees have many that are alike.
const FIELDS_MAX: usize = 30;

fn odd_texts() -> Vec<String> {
    // Not compressible, or an index would take it.
    let noise =
        (0..6_000u32).map(|n| char::from_u32(0x4e00 + n.wrapping_mul(2_654_435_761) % 20_000));
    vec![
        "a\u{0}b".into(),
        "\u{0}".into(),
        "\u{1}\u{7f}\u{202e}\u{fffe}\u{10ffff}".into(),
        noise.map(|c| c.expect("a character")).collect(),
        "x".repeat(9_000),
        "'; DROP TABLE run; --".into(),
    ]
}

fn odd_numbers() -> Vec<Value> {
    vec![
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(-1),
        json!(1e300),
        json!(0),
    ]
}

/// As in a path or a query.
fn encoded(text: &str) -> String {
    let bytes = text.bytes().take(3_000);
    bytes.map(|byte| format!("%{byte:02X}")).collect()
}

/// Something that fits a schema, as far as that says what fits.
fn example(schema: &Value) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(value) = schema["enum"].as_array().and_then(|all| all.first()) {
        return value.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        let fits = |one: &&Value| one["type"] != "null";
        if let Some(one) = schema[choice]
            .as_array()
            .and_then(|all| all.iter().find(fits))
        {
            return example(one);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| **kind != "null"),
        one => Some(one),
    };
    match kind.and_then(Value::as_str) {
        Some("object") => {
            let fields = schema["properties"]
                .as_object()
                .cloned()
                .unwrap_or_default();
            let fields = fields
                .iter()
                .map(|(name, field)| (name.clone(), example(field)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Some("array") => json!([example(&schema["items"])]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("string") => json!("x"),
        _ => json!({"free": "x"}),
    }
}

/// Bodies that get past the checks of their routes, where the schema does not say enough for that.
fn good_body(path: &str, employee: &str) -> Option<Value> {
    let hash = format!("sha256:{}", "0".repeat(64));
    Some(match path {
        "/v1/employees" => clerk("odd", "nowhere"),
        "/v1/employees/{id}/graph" => {
            let clerk = clerk("odd", "nowhere");
            json!({"graph": clerk["graph"], "skill_graphs": clerk["skill_graphs"], "subscriptions": clerk["subscriptions"],
                   "schedules": clerk["schedules"]})
        }
        "/v1/employees/{id}/triggers" => {
            json!({"payload": {"name": "x"}, "conversation_key": "c", "idempotency_key": "k"})
        }
        "/v1/triggers" => {
            json!({"source": "shop", "event": "e", "payload": {"name": "x", "c": "x"}, "idempotency_key": "k"})
        }
        "/v1/approvals/{id}/decision" => {
            json!({"decision": "approve", "arguments_hash": hash, "comment": "c"})
        }
        "/v1/memory/{layer}/{key}" => json!({"value": {"a": "x"}}),
        "/v1/connections" => {
            json!({"integration": "slack", "name": "n", "token": "xoxb-x", "user": "u"})
        }
        "/v1/connect-links" | "/oauth/start" => json!({"integration": "slack", "name": "n"}),
        "/v1/hooks" => {
            json!({"source": "shop", "scheme": "token", "options": {"header": "x-token"}})
        }
        "/v1/keys" => json!({"name": "n", "role": "viewer", "user": "u"}),
        "/v1/org" => json!({"retention_days": 30}),
        "/v1/org/people" => json!({"slack_people": {"U9": {"user": "x", "role": "viewer"}}}),
        "/v1/integrations" => json!({
            "id": "odd", "name": "Own", "base_url": "https://own.example", "auth": [{"type": "bearer"}],
            "quota": {"requests": 1, "per_seconds": 1, "burst": 1},
        }),
        "/v1/policies" | "/v1/policies/{id}" => {
            json!({"name": "n", "effect": "deny", "capabilities": ["stripe.*"], "connections": ["c"]})
        }
        "/v1/policies/check" => json!({"capability": "slack.chat.post", "employee": employee}),
        "/proxy/{capability}" => {
            json!({"input": {"channel": "#x", "text": "x"}, "idempotency_key": "k", "connection": "c"})
        }
        _ => return None,
    })
}

/// Shows a person what it is told, remembers it, waits for what it names, and listens.
fn clerk(name: &str, source: &str) -> Value {
    json!({
        "name": name,
        "graph": {"graph_id": "g", "type": "employee",
            "nodes": [{"id": "s", "type": "skill", "skill_graph": "sg", "permissions": []}], "edges": []},
        "skill_graphs": {"sg": {"graph_id": "sg", "type": "skill",
            "nodes": [
                {"id": "note", "type": "transform", "output": {"name": "trigger.payload.name"},
                 "remember": {"employee": {"seen": "trigger.payload.name"}}},
                {"id": "ask", "type": "approval", "title": "Pay {{ trigger.payload.name }}?", "arguments": {"n": "trigger.payload.name"}}
            ],
            "edges": [{"from": "note", "to": "ask"}]}},
        "subscriptions": [{"source": source, "conversation_key": "has(event.c) ? event.c : 'none'"}],
        "schedules": [{"name": "yearly", "cron": "0 9 1 1 *", "time_zone": "Europe/Berlin", "payload": {"a": "x"}}],
    })
}

/// Where a body has texts and numbers, as JSON pointers.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::String(_) | Value::Number(_) => found.push(at),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                leaves(item, format!("{at}/{place}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(field, format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// The body with each of its texts and numbers replaced by each that is odd, and with one more field of an odd name.
fn odd_bodies(body: &Value) -> Vec<Value> {
    let mut found = Vec::new();
    leaves(body, String::new(), &mut found);
    let mut bodies = Vec::new();
    let texts = odd_texts().into_iter().map(Value::String);
    let odd: Vec<Value> = texts.chain(odd_numbers()).collect();
    for pointer in found.iter().take(FIELDS_MAX) {
        for value in &odd {
            let mut changed = body.clone();
            if let Some(place) = changed.pointer_mut(pointer) {
                *place = value.clone();
            }
            bodies.push(changed);
        }
    }
    for name in odd_texts() {
        let mut changed = body.clone();
        for free in ["payload", "value", "input"] {
            if changed[free].is_object() {
                changed[free][&name] = json!(name);
            }
        }
        bodies.push(changed);
    }
    bodies
}

/// The path with `fill` for its parameters.
fn filled(path: &str, fill: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{layer}" => "org",
        part if part.starts_with('{') => fill,
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether the route may be used as it is on what is there: it takes nothing away that the test needs.
fn is_harmless(route: &Route) -> bool {
    let ends = ["/triggers", "/graph"];
    ends.iter().any(|end| route.path.ends_with(end)) || route.path.starts_with("/v1/memory/")
}

fn paths(route: &Route, employee: &str) -> Vec<String> {
    if !route.path.contains('{') {
        return vec![route.path.to_owned()];
    }
    let mut paths: Vec<String> = odd_texts()
        .iter()
        .map(|text| filled(route.path, &encoded(text)))
        .collect();
    if is_harmless(route) {
        paths.push(filled(route.path, employee));
    }
    if route.path == "/proxy/{capability}" {
        paths.push("/proxy/slack.chat.post".into());
    }
    paths
}

struct Tried {
    client: Client,
    count: usize,
    wrong: Vec<String>,
}

impl Tried {
    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) {
        self.count += 1;
        let answer = self.client.try_send(method, path, headers, body).await;
        let shown = body.map_or_else(String::new, |body| format!("{:.300}", body.to_string()));
        match answer {
            // What a provider or its absence makes of a call is not meant here.
            Ok(answer)
                if answer.status < 500 || path.starts_with("/proxy/") && answer.status != 500 => {}
            Ok(answer) => self.wrong.push(format!(
                "{method} {path:.200} {shown}: {} {:.300}",
                answer.status,
                answer.body.to_string()
            )),
            Err(error) => self
                .wrong
                .push(format!("{method} {path:.200} {shown}: {error}")),
        }
    }
}

async fn works(client: &Client, employee: &str, name: &str) {
    let path = format!("/v1/employees/{employee}/triggers");
    let answer = client
        .post(&path, &json!({"payload": {"name": name}}))
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let run = format!(
        "/v1/runs/{}",
        answer.body["execution_id"].as_str().expect("an id")
    );
    let give_up = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let shown = client.get(&run).await;
        if shown.body["status"] == "waiting" {
            break;
        }
        assert!(
            tokio::time::Instant::now() < give_up,
            "it does nothing: {shown:?}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let shown = client.get(&format!("/v1/employees/{employee}")).await;
    assert_eq!(shown.body["status"], "active", "{shown:?}");
}

async fn nothing_odd_is_a_fault(launch: Launch) {
    let server = launch.start().await;
    let client = server.client();
    let hired = client.post("/v1/employees", &clerk("clerk", "shop")).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    let employee = hired.body["id"].as_str().expect("an id").to_owned();
    let other = client
        .post("/v1/employees", &clerk("other", "nowhere"))
        .await;
    let other = other.body["id"].as_str().expect("an id").to_owned();
    let hook = json!({"source": "shop", "scheme": "token", "options": {"header": "x-token"}});
    let hook = client.post("/v1/hooks", &hook).await;
    assert_eq!(hook.status, 201, "{hook:?}");
    let text = |field: &str| hook.body[field].as_str().expect("a text").to_owned();
    let (door, secret) = (text("path"), text("secret"));
    works(&client, &employee, "Ann").await;

    let mut tried = Tried {
        client: client.clone(),
        count: 0,
        wrong: Vec::new(),
    };
    for route in routes() {
        if !matches!(route.access, Access::Key(_)) {
            continue;
        }
        let (method, schema) = (route.method.as_str().to_owned(), route.body.clone());
        // What gets other graphs must not be who has to work on.
        let who = match route.path.ends_with("/graph") {
            true => &other,
            false => &employee,
        };
        let body = good_body(route.path, who).or_else(|| schema.as_ref().map(example));
        for path in paths(&route, who) {
            match &body {
                Some(body) if path.len() < 200 => {
                    for mut odd in odd_bodies(body) {
                        // Names are taken once.
                        if odd["name"] == "odd" {
                            odd["name"] = json!(format!("odd-{}", tried.count));
                        }
                        tried.send(&method, &path, &[], Some(&odd)).await;
                    }
                }
                body => {
                    tried
                        .send(&method, &with_format(&path), &[], body.as_ref())
                        .await
                }
            }
        }
        let names = route
            .query
            .as_ref()
            .and_then(|query| query["properties"].as_object());
        for name in names
            .into_iter()
            .flat_map(Map::keys)
            .filter(|_| method == "GET")
        {
            for text in odd_texts() {
                let path = with_format(&filled(route.path, &employee));
                let separator = if path.contains('?') { '&' } else { '?' };
                let path = format!("{path}{separator}{name}={}", encoded(&text));
                tried.send(&method, &path, &[], None).await;
            }
        }
    }
    let event = json!({"name": "x", "c": "x", "id": "x", "type": "x"});
    for odd in odd_bodies(&event) {
        tried
            .send("POST", &door, &[("x-token", secret.as_str())], Some(&odd))
            .await;
    }
    for text in odd_texts() {
        let id = text
            .replace(|c: char| c.is_control(), "?")
            .chars()
            .filter(char::is_ascii)
            .collect::<String>();
        let headers = [
            ("x-token", secret.as_str()),
            ("x-event-id", id.as_str()),
            ("user-agent", id.as_str()),
        ];
        tried.send("POST", &door, &headers, Some(&event)).await;
        tried
            .send(
                "POST",
                &format!("{door}?x={}", encoded(&text)),
                &headers,
                Some(&event),
            )
            .await;
    }
    assert!(tried.count > 500, "only {} were tried", tried.count);
    assert!(
        tried.wrong.is_empty(),
        "{} of {}:\n{}",
        tried.wrong.len(),
        tried.count,
        tried.wrong.join("\n")
    );
    for (place, name) in odd_texts().into_iter().enumerate() {
        works(&client, &employee, &name).await;
        works(&client, &employee, &format!("after {place}")).await;
    }
}

/// Lists of events stream otherwise.
fn with_format(path: &str) -> String {
    match path.ends_with("/events") {
        true => format!("{path}?format=json"),
        false => path.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_is_no_fault_of_the_service_on_sqlite() {
    let data = tempfile::tempdir().expect("a directory");
    nothing_odd_is_a_fault(Launch::new(data.path())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_is_no_fault_of_the_service_on_postgres() {
    let data = tempfile::tempdir().expect("a directory");
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()))
        .await
        .expect("ran")
        .expect("postgresql");
    let launch = Launch {
        database_url: Some(postgres.url("postgres")),
        ..Launch::new(data.path())
    };
    nothing_odd_is_a_fault(launch).await;
}
