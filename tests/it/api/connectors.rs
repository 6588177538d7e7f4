//! What a connector does with calls that have to wait, seen from outside: its limits, its queue, and that it is nobody's but its own
//! connection's affair.

use super::{
    fake_slack::FakeSlack,
    world::{Client, World, employee_of, world},
};
use axum::{Json, Router, extract::State, routing::any};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::Semaphore};

const SECRET: &str = "xoxb-a-secret-that-nobody-sees";

/// A provider that answers only as often as it is allowed to.
struct Held {
    url: String,
    answers: Arc<Semaphore>,
}

impl Held {
    async fn start() -> Self {
        async fn answer(State(answers): State<Arc<Semaphore>>) -> Json<Value> {
            answers.acquire().await.expect("stays open").forget();
            Json(json!({"ok": true, "channel": "C0000007", "ts": "1.5", "message": {"text": "…"}}))
        }
        let answers = Arc::new(Semaphore::new(0));
        let router = Router::new()
            .route("/{*path}", any(answer))
            .with_state(answers.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, answers }
    }
}

/// Connects Slack at `url`; gives the connection's id.
async fn connect(world: &World, name: &str, url: &str, quota: Value) -> String {
    let connection = json!({
        "integration": "slack", "name": name, "token": SECRET, "base_url": url, "account": {"quota": quota},
    });
    let made = world.admin.post("/v1/connections", connection).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.text("id")
}

fn plenty() -> Value {
    json!({"requests": 6_000, "per_seconds": 1, "burst": 6_000})
}

fn message(connection: &str) -> Value {
    json!({"input": {"channel": "C0000007", "text": "hello"}, "connection": connection})
}

async fn post(client: Client, connection: &'static str) -> u16 {
    let sent = client
        .post("/proxy/slack.chat.post", message(connection))
        .await;
    sent.status.as_u16()
}

#[tokio::test]
async fn a_provider_that_hangs_holds_nobody_else_up() {
    const CALLS: u64 = 60;
    let world = world().await;
    let (slow, fast) = (Held::start().await, FakeSlack::start().await);
    let id = connect(&world, "slow", &slow.url, plenty()).await;
    connect(&world, "fast", &fast.url, plenty()).await;
    let calls: Vec<_> = (0..CALLS)
        .map(|_| tokio::spawn(post(world.operator.clone(), "slow")))
        .collect();
    let path = format!("/v1/connections/{id}");
    let full = world
        .viewer
        .until(&path, |shown| {
            let connector = &shown["connector"];
            let number = |name: &str| connector[name].as_u64().unwrap_or(0);
            connector["open"] == connector["open_max"]
                && number("open") + number("waiting") == CALLS
        })
        .await;
    let places = &full["connector"]["places"];
    assert_eq!(places[0]["place"], 0, "{full}");
    assert!(places[0]["waiting"].as_u64() > Some(1), "{full}");
    assert!(places[0]["estimate_ms"].is_u64(), "{full}");

    // The same integration, another connection: all of its calls are answered while not one of the others is.
    for _ in 0..40 {
        assert_eq!(post(world.operator.clone(), "fast").await, 200);
    }
    assert!(calls.iter().all(|call| !call.is_finished()));
    slow.answers.add_permits(CALLS as usize);
    for call in calls {
        assert_eq!(call.await.expect("ends"), 200);
    }
}

#[tokio::test]
async fn a_connection_tells_its_limits_and_is_not_woken_by_the_look() {
    let world = world().await;
    let slack = FakeSlack::start().await;
    let quota = json!({"requests": 1, "per_seconds": 3_600, "burst": 2});
    let id = connect(&world, "work", &slack.url, quota).await;
    let path = format!("/v1/connections/{id}");
    for _ in 0..2 {
        let asleep = world.viewer.get(&path).await;
        let connector = &asleep.body["connector"];
        assert_eq!(connector["awake"], false, "{asleep:?}");
        assert_eq!(connector["breaker"], "closed");
        let account = &connector["quotas"][0];
        assert_eq!(
            (&account["of"], &account["left"], &account["per_seconds"]),
            (&json!("account"), &json!(2), &json!(3_600))
        );
        let of_one = connector["quotas"].as_array().expect("a list").iter();
        let of_one: Vec<&str> = of_one
            .filter_map(|quota| quota["capability"].as_str())
            .collect();
        assert!(
            of_one.contains(&"slack.conversations.list"),
            "its own quota: {of_one:?}"
        );
        assert_eq!(asleep.body["may_use"]["scope"], "org");
        assert!(!asleep.body.to_string().contains(SECRET));
    }
    assert_eq!(post(world.operator.clone(), "work").await, 200);
    let listed = world.viewer.get("/v1/connections").await;
    let connector = &listed.body["items"][0]["connector"];
    assert_eq!(connector["awake"], true, "{listed:?}");
    assert_eq!(connector["quotas"][0]["left"], 1);
    assert!(!listed.body.to_string().contains(SECRET));
    world.other_org.get(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_run_tells_where_its_call_stands() {
    let world = world().await;
    let slack = FakeSlack::start().await;
    let quota = json!({"requests": 1, "per_seconds": 3_600, "burst": 1});
    connect(&world, "work", &slack.url, quota).await;
    assert_eq!(post(world.operator.clone(), "work").await, 200);
    let mut poster = employee_of(
        "poster",
        json!([{"id": "say", "type": "action", "capability": "slack.chat.post",
                "arguments": {"channel": "'C0000007'", "text": "'hello'"}}]),
    );
    poster["graph"]["nodes"][0]["permissions"] = json!(["slack.chat.post"]);
    let employee = world.manager.hire(poster).await;
    let mut runs = Vec::new();
    for place in 0..2 {
        let run = world.operator.work(&employee, json!({})).await;
        let run = run.text("execution_id");
        let path = format!("/v1/runs/{run}");
        let waiting = |run: &Value| run["waiting_on"][0]["kind"] == "turn";
        let shown = world.viewer.until(&path, waiting).await;
        let turn = &shown["waiting_on"][0];
        assert_eq!(turn["place"], place, "{shown}");
        assert!(turn["estimate_ms"].as_u64() > Some(60_000), "{shown}");
        assert_eq!(turn["on"], "slack.chat.post");
        let detail = turn["detail"].as_str().expect("words");
        assert!(
            detail.contains("its turn in the connection's quota") && detail.contains(" min"),
            "{detail}"
        );
        let steps = world.viewer.get(&format!("{path}/steps")).await;
        assert_eq!(steps.body["items"][0]["turn"]["place"], place, "{steps:?}");
        runs.push(path);
    }
    // Who does not wait any more takes nobody's place.
    let cancelled = world
        .operator
        .post(&format!("{}/cancel", runs[0]), json!({}))
        .await;
    assert!(cancelled.status.is_success(), "{cancelled:?}");
    let moved = |run: &Value| run["waiting_on"][0]["place"] == 0;
    world.viewer.until(&runs[1], moved).await;
}
