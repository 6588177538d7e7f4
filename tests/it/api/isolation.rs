//! Nobody crosses: for each route of the service, somebody of another org, and another person of the same org, tries to get at what is there,
//! with its real ids. They get nothing, and what is there has not changed afterwards.
//!
//! The routes are read from the service's own list, so that a new one is tried too. Where the test cannot know what a new route takes, it
//! fails and says so: fill in `body_of`, or say in `BY_NAME` or `PUBLIC` why the route has nothing of others.

use super::{
    proxy::{connected, message},
    world::{Answer, Client, World, employee_of, send, world},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tenure::{
    api::{Access, routes},
    domain::Role,
};

/// Stands in everything that is not for others.
const MARK: &str = "zebra";

/// Routes without a key, and what they prove in its place.
const PUBLIC: &[(&str, &str)] = &[
    ("/healthz", "says nothing of an org"),
    ("/readyz", "says nothing of an org"),
    (
        "/oauth/callback/{integration}",
        "proved by the state, tried in `oauth`",
    ),
    (
        "/connect/{token}",
        "whoever has the link may use it, tried in `oauth::links`",
    ),
    (
        "/hooks/{source}/{endpoint}",
        "proved by a signature, tried in `webhooks`",
    ),
];

/// Routes whose parameter is a name that every org has or may have for itself: what they do, they do in the caller's own org.
const BY_NAME: &[&str] = &[
    "/v1/oauth-clients/{integration}",
    "/v1/catalog/{id}",
    "/proxy/{capability}",
    "/v1/memory/{layer}/{key}",
    "/v1/calendars/{name}",
];

/// Where the thing behind a path's parameters is found: the longest beginning that fits. So routes below a known thing are tried as well.
fn thing_of(path: &str) -> Option<&'static str> {
    const THINGS: &[(&str, &str)] = &[
        ("/v1/employees/{id}", "employee"),
        ("/v1/runs/{id}", "run"),
        ("/v1/approvals/{id}", "approval"),
        ("/v1/schedules/{id}", "schedule"),
        ("/v1/calendars/{name}", "calendar"),
        ("/v1/effects/{id}", "effect"),
        ("/v1/actors/{*path}", "actor"),
        ("/v1/nodes/{id}", "node"),
        ("/v1/connections/{id}", "connection"),
        ("/proxy/connections/{connection}", "connection"),
        ("/v1/connect-links/{id}", "link"),
        ("/v1/oauth-clients/{integration}", "slack"),
        ("/v1/hooks/{id}", "hook"),
        ("/v1/inbox/{id}", "event"),
        ("/v1/sources/{id}", "source"),
        ("/v1/keys/{id}", "key"),
        ("/v1/integrations/{id}", "integration"),
        ("/v1/policies/{id}", "policy"),
        ("/v1/catalog/{id}", "integration"),
        ("/proxy/{capability}", "capability"),
    ];
    THINGS
        .iter()
        .filter(|(start, _)| path.starts_with(start))
        .max_by_key(|(start, _)| start.len())
        .map(|(_, thing)| *thing)
}

/// What there is, by kind; and the actors' own ids beside them.
type Things = BTreeMap<&'static str, String>;

/// The route's path with the ids of `things` in it.
fn filled(path: &str, things: &Things) -> String {
    if path == "/v1/memory/{layer}/{key}" {
        return format!(
            "/v1/memory/employee/{MARK}?employee_id={}",
            things["employee"]
        );
    }
    let mut first = thing_of(path).map(|thing| things[thing].clone());
    let parts: Vec<String> = path
        .split('/')
        .map(|part| match (part.starts_with('{'), part) {
            (false, part) => part.to_owned(),
            (true, "{version}") => "1".into(),
            (true, part) => first
                .take()
                .or_else(|| part.starts_with("{*").then(|| "x".to_owned()))
                .unwrap_or_else(|| panic!("{path}: say in `thing_of` or here what {part} is")),
        })
        .collect();
    let path = parts.join("/");
    match path.ends_with("/events") {
        true => format!("{path}?format=json"),
        false => path,
    }
}

/// What a route takes that writes. It names what belongs to somebody else wherever it can.
fn body_of(method: &Method, path: &str, things: &Things) -> Option<Value> {
    let hash = format!("sha256:{}", "0".repeat(64));
    let connection = &things["connection"];
    let graph = employee_of(
        "x",
        json!([{"id": "a", "type": "transform", "output": {"x": "1"}}]),
    );
    let body = match (method.as_str(), path) {
        (_, "/v1/employees") => graph,
        (_, "/v1/employees/{id}/graph") => {
            json!({"graph": graph["graph"], "skill_graphs": graph["skill_graphs"]})
        }
        (_, "/v1/employees/{id}/triggers") => json!({"payload": {}}),
        (_, "/v1/triggers") => json!({"source": "shop", "event": "x", "payload": {}}),
        (_, "/v1/approvals/{id}/decision") => {
            json!({"decision": "approve", "arguments_hash": hash})
        }
        ("PUT", "/v1/memory/{layer}/{key}") => json!({"value": "taken"}),
        ("PUT", "/v1/calendars/{name}") => json!({"holidays": {"2027-01-01": "other"}}),
        (_, "/v1/effects/{id}/reconcile") => json!({"outcome": "not_done"}),
        ("POST", "/v1/connections") => {
            json!({"integration": "slack", "name": MARK, "token": "xoxb-other", "user": things["user"]})
        }
        (_, "/v1/connect-links") | (_, "/oauth/start") => {
            json!({"integration": "slack", "connection_id": connection})
        }
        (_, "/oauth/complete") => {
            json!({"org_id": things["org"], "connection_id": connection, "auth_code": "x"})
        }
        ("PUT", "/v1/oauth-clients/{integration}") => {
            json!({"client_id": "other", "client_secret": "other"})
        }
        ("POST", "/v1/hooks") => json!({"source": "github"}),
        ("POST", "/v1/sources") => json!({
            "kind": "poll", "name": "other", "capability": "slack.conversations.history", "every_seconds": 600, "connection": connection,
            "arguments": {"channel": "C0000001", "oldest": "{cursor}"}, "items": "/messages", "item_id": "/ts",
            "cursor": {"kind": "greatest", "at": "/ts", "format": "unix"},
        }),
        ("POST", "/v1/keys") => json!({"name": "x", "role": "viewer"}),
        ("PATCH", "/v1/org") => json!({"retention_days": 3}),
        ("PUT", "/v1/org/people") => {
            json!({"slack_people": {"U9": {"user": "x", "role": "viewer"}}})
        }
        (_, "/proxy/{capability}") => {
            let mut body = message("from elsewhere");
            body["connection"] = json!(connection);
            body
        }
        ("POST", "/v1/integrations") => json!({
            "id": "elsewhere", "name": "Own", "base_url": "https://own.example", "auth": [{"type": "bearer"}],
            "quota": {"requests": 1, "per_seconds": 1, "burst": 1},
        }),
        ("POST", "/v1/policies") | ("PUT", "/v1/policies/{id}") => {
            json!({"name": "other", "effect": "allow", "capabilities": ["*"], "connections": [connection]})
        }
        (_, "/proxy/connections/{connection}/{*path}") => json!({}),
        (_, "/v1/policies/check") => {
            json!({"capability": "slack.chat.post", "employee": things["employee"], "connection": connection})
        }
        _ => return None,
    };
    Some(body)
}

async fn try_it(who: &Client, method: &Method, path: &str, things: &Things) -> Answer {
    let url = filled(path, things);
    let request = who.request(method.clone(), &url);
    if method == Method::GET || method == Method::DELETE {
        return send(request).await;
    }
    let body = body_of(method, path, things).unwrap_or_else(|| json!({}));
    send(request.json(&body)).await
}

/// An answer tells nothing of what is there: neither a mark nor an id that the question did not name.
fn tells_nothing(answer: &Answer, named: &str, things: &Things) -> Result<(), String> {
    let text = answer.body.to_string();
    if text.contains(&format!("{MARK}-")) {
        return Err(format!("it shows what is marked: {text}"));
    }
    let is_news = |id: &&String| id.contains('_') && !named.contains(id.as_str());
    match things
        .values()
        .filter(is_news)
        .find(|id| text.contains(id.as_str()))
    {
        Some(id) => Err(format!("it shows {id}: {text}")),
        None => Ok(()),
    }
}

/// One of everything, marked.
async fn furnish(world: &World) -> Things {
    let mut things = Things::new();
    let mut body = employee_of(
        "zebra-clerk",
        json!([
            {"id": "note", "type": "transform", "output": {"x": "1"}, "remember": {"employee": {"zebra": "'zebra-secret'"}}},
            {"id": "ask", "type": "approval", "title": "zebra-question?", "arguments": {"amount": "trigger.payload.amount"}},
        ]),
    );
    let calendar = json!({"holidays": {"2027-08-01": "zebra-day"}});
    let put = world
        .admin
        .put("/v1/calendars/own-calendar", calendar)
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    things.insert("calendar", "own-calendar".into());
    body["schedules"] =
        json!([{"name": "zebra-schedule", "cron": "0 9 1 1 *", "calendar": "own-calendar"}]);
    let employee = world.manager.hire(body).await;
    let trigger = json!({"payload": {"amount": "zebra-amount"}});
    let path = format!("/v1/employees/{employee}/triggers");
    let run = world.operator.post(&path, trigger).await;
    things.insert("run", run.text("execution_id"));
    let pending = "/v1/approvals?status=pending";
    let approvals = world
        .viewer
        .until(pending, |body| body["items"][0].is_object())
        .await;
    things.insert("approval", text(&approvals["items"][0]["id"]));
    let schedules = world.viewer.get("/v1/schedules").await;
    things.insert("schedule", text(&schedules.body["items"][0]["id"]));
    things.insert("actor", format!("node/employee_host/employee:{employee}"));
    things.insert("employee", employee);

    let connections = world.viewer.get("/v1/connections").await;
    things.insert("connection", text(&connections.body["items"][0]["id"]));
    let sent = world
        .operator
        .post("/proxy/slack.chat.post", message("zebra-message"))
        .await;
    assert_eq!(sent.status, 200, "{sent:?}");
    let effects = world.viewer.get("/v1/effects").await;
    things.insert("effect", text(&effects.body["items"][0]["id"]));
    let app = json!({"client_id": "zebra-app", "client_secret": "zebra-secret",
        "authorize_url": "https://a.example/a", "token_url": "https://a.example/t"});
    let put = world.admin.put("/v1/oauth-clients/slack", app).await;
    assert_eq!(put.status, 200, "{put:?}");
    things.insert("slack", "slack".into());
    let link = json!({"integration": "slack", "name": "zebra-link"});
    let link = world.admin.post("/v1/connect-links", link).await;
    things.insert("link", link.text("id"));

    let own = json!({
        "id": "zebraco", "name": "zebra-name", "base_url": "https://own.example", "auth": [{"type": "bearer"}],
        "quota": {"requests": 1, "per_seconds": 1, "burst": 1},
    });
    let added = world.admin.post("/v1/integrations", own).await;
    assert_eq!(added.status, 201, "{added:?}");
    things.insert("integration", added.text("id"));
    things.insert("capability", "slack.chat.post".into());
    let token =
        json!({"source": "zebra-shop", "scheme": "token", "options": {"header": "x-token"}});
    let hook = world.admin.post("/v1/hooks", token).await;
    things.insert("hook", hook.text("id"));
    let request = world
        .anonymous
        .request(Method::POST, &hook.text("path"))
        .header("x-token", hook.text("secret"))
        .json(&json!({"n": "zebra-event"}));
    things.insert("event", send(request).await.text("id"));
    let source = json!({
        "kind": "poll", "name": "zebra-source", "capability": "slack.conversations.history", "every_seconds": 600,
        "connection": "nobody", "arguments": {"channel": "C0000001", "oldest": "{cursor}"}, "items": "/messages", "item_id": "/ts",
        "cursor": {"kind": "greatest", "at": "/ts", "format": "unix"},
    });
    let source = world.admin.post("/v1/sources", source).await;
    things.insert("source", source.text("id"));
    let paused = format!("/v1/sources/{}/pause", things["source"]);
    assert_eq!(world.manager.post(&paused, json!({})).await.status, 200);
    let key = json!({"name": "zebra-key", "role": "viewer"});
    let key = world.admin.post("/v1/keys", key).await;
    things.insert("key", key.text("id"));
    let rule = json!({"name": "zebra-rule", "effect": "deny", "capabilities": ["stripe.*"]});
    let rule = world.admin.post("/v1/policies", rule).await;
    things.insert("policy", rule.text("id"));
    let people = json!({"slack_people": {"U1": {"user": "zebra-person", "role": "viewer"}}});
    let put = world.admin.put("/v1/org/people", people).await;
    assert_eq!(put.status, 200, "{put:?}");
    things.insert("org", world.admin.get("/v1/org").await.text("id"));
    things.insert("user", "ann".into());
    let nodes = world.admin.get("/v1/nodes").await;
    things.insert("node", text(&nodes.body["items"][0]["node_id"]));
    things
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Everything that its owner can read, by path. What tells the time or counts requests is not compared.
async fn state(owner: &Client, things: &Things) -> BTreeMap<String, Value> {
    const MOVING: &[&str] = &[
        "/metrics",
        "/openapi.json",
        "/v1/actors",
        "/v1/nodes",
        "/proxy/",
    ];
    let mut state = BTreeMap::new();
    for route in routes() {
        let reads = route.method == Method::GET && matches!(route.access, Access::Key(_));
        if !reads || MOVING.iter().any(|path| route.path.starts_with(path)) {
            continue;
        }
        let path = filled(route.path, things);
        let answer = owner.get(&path).await;
        assert_eq!(answer.status, 200, "{path} as its owner: {answer:?}");
        state.insert(path, still(answer.body));
    }
    state
}

/// Without what the service itself finds out about an account from time to time.
fn still(value: Value) -> Value {
    const MOVING: &[&str] = &[
        "health",
        "verified_at",
        "limits",
        "quotas",
        "quota_buckets",
        "queue",
        "breaker",
    ];
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(name, _)| !MOVING.contains(&name.as_str()))
            .map(|(name, value)| (name, still(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(still).collect(),
        other => other,
    }
}

fn assert_unchanged(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) {
    for (path, was) in before {
        assert_eq!(was, &after[path], "{path} has changed");
    }
}

#[tokio::test]
async fn another_org_gets_nothing_by_any_route() {
    let world = world().await;
    let (_dir, _sandbox) = connected(&world).await;
    let things = furnish(&world).await;
    let before = state(&world.admin, &things).await;
    let marked = before
        .values()
        .filter(|body| body.to_string().contains(&format!("{MARK}-")))
        .count();
    assert!(
        marked >= 20,
        "only {marked} answers hold a mark: nothing would be seen"
    );

    let mut wrong = Vec::new();
    for route in routes() {
        if route.access == Access::Public {
            let is_known = PUBLIC.iter().any(|(path, _)| *path == route.path);
            assert!(is_known, "{}: say in `PUBLIC` what it proves", route.path);
            continue;
        }
        let answer = try_it(&world.other_org, &route.method, route.path, &things).await;
        let named = named_by(&route.method, route.path, &things);
        let has_id = route.path.contains('{') && !BY_NAME.contains(&route.path);
        let refused = matches!(answer.status.as_u16(), 403 | 404);
        let verdict = match (has_id, refused) {
            // A real id of others: as unknown as one that was never given.
            (true, false) => Err(format!("{} instead of 404", answer.status)),
            _ => tells_nothing(&answer, &named, &things),
        };
        if let Err(why) = verdict {
            wrong.push(format!(
                "{} {}: {why} {}",
                route.method, route.path, answer.body
            ));
        }
        if body_is_missing(
            &route.body,
            &route.method,
            route.path,
            &things,
            route.body_optional,
        ) {
            wrong.push(format!(
                "{} {}: say in `body_of` what it takes",
                route.method, route.path
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_unchanged(&before, &state(&world.admin, &things).await);
}

/// What a question names, and an answer may repeat.
fn named_by(method: &Method, path: &str, things: &Things) -> String {
    let body = body_of(method, path, things).unwrap_or_default();
    format!("{} {body}", filled(path, things))
}

fn body_is_missing(
    schema: &Option<Value>,
    method: &Method,
    path: &str,
    things: &Things,
    optional: bool,
) -> bool {
    schema.is_some() && !optional && body_of(method, path, things).is_none()
}

/// What belongs to one person, of the things that can: a connection, the link to it, and the consent that is open.
async fn furnish_person(ann: &Client, things: &mut Things) {
    let body = json!({"integration": "slack", "name": "zebra-own", "token": "xoxp-zebra"});
    let made = ann.post("/v1/connections", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    things.insert("connection", made.text("id"));
    // Its connector wakes, whether or not there is a provider.
    let probe = format!("/v1/connections/{}/probe", made.text("id"));
    ann.post(&probe, json!({})).await;
    let actors = ann.get("/v1/actors?kind=connector").await.body;
    assert!(actors.to_string().contains(&made.text("id")), "{actors}");
    let link = json!({"integration": "slack", "connection_id": made.body["id"]});
    let link = ann.post("/v1/connect-links", link).await;
    assert_eq!(link.status, 201, "{link:?}");
    things.insert("link", link.text("id"));
    let start = json!({"integration": "slack", "connection_id": made.body["id"]});
    let started = ann.post("/oauth/start", start).await;
    assert_eq!(started.status, 200, "{started:?}");
}

#[tokio::test]
async fn another_person_gets_nothing_of_what_is_somebodys_own() {
    let world = world().await;
    let (_dir, _sandbox) = connected(&world).await;
    let mut things = furnish(&world).await;
    let ann = world.user("ann", Role::Admin).await;
    furnish_person(&ann, &mut things).await;
    let own = [
        things["connection"].clone(),
        things["link"].clone(),
        "zebra-own".into(),
    ];
    let before = state(&ann, &things).await;
    let is_own = |text: &str| own.iter().any(|one| text.contains(one.as_str()));
    assert!(before.values().any(|body| is_own(&body.to_string())));

    let others = [
        ("bob", world.user("bob", Role::Admin).await),
        ("an operator", world.user("carl", Role::Operator).await),
        ("the org's own key below an admin's", world.manager.clone()),
    ];
    let mut wrong = Vec::new();
    for (who, other) in &others {
        for route in routes() {
            // The org is theirs too: what all of them share is not tried here, only what is ann's.
            let thing = thing_of(route.path);
            let takes = body_of(&route.method, route.path, &things);
            let names_own = matches!(thing, Some("connection" | "link"))
                || takes
                    .as_ref()
                    .is_some_and(|body| is_own(&body.to_string()) || body["user"] == "ann");
            let is_list = route.method == Method::GET && !route.path.contains('{');
            if route.access == Access::Public || !(names_own || is_list) {
                continue;
            }
            let answer = try_it(other, &route.method, route.path, &things).await;
            let place = format!("{who}: {} {}", route.method, route.path);
            if is_list {
                if is_own(&answer.body.to_string()) {
                    wrong.push(format!("{place} shows it: {}", answer.body));
                }
                continue;
            }
            // Refused as unknown or not theirs to do; or as a connection that there is none of for them.
            let refused = matches!(answer.status.as_u16(), 403 | 404)
                || answer.body["code"] == "AUTH_ERROR"
                || answer.body["field"] == "connection"
                || answer.body["field"] == "connections[0]";
            // A source is asked through the org's connections, so that another's name is only a name.
            let harmless = route.path == "/v1/sources" && answer.status == 201;
            if harmless {
                // What one has written oneself is no news.
                other
                    .delete(&format!("/v1/sources/{}", answer.text("id")))
                    .await;
            }
            if !refused && !harmless {
                wrong.push(format!("{place}: {} {}", answer.status, answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let after = state(&ann, &things).await;
    for (path, was) in before.iter().filter(|(path, _)| is_own(path)) {
        assert_eq!(was, &after[path], "{path} has changed");
    }
}
