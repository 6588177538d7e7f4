//! Sources that are asked for news: each item once, whatever the pages and the overlaps.

use super::world::{pure, world};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// A Slack whose channel has these messages; it gives two a page.
async fn channel(messages: Arc<Mutex<Vec<Value>>>) -> String {
    use axum::{
        Json, Router,
        extract::{Query, State},
        routing::get,
    };
    use std::collections::HashMap;
    type Messages = Arc<Mutex<Vec<Value>>>;
    async fn history(
        State(all): State<Messages>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Json<Value> {
        let number = |name: &str| {
            query
                .get(name)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let all = all.lock().expect("not poisoned").clone();
        let mut fitting: Vec<Value> = all
            .into_iter()
            .filter(|one| {
                one["ts"]
                    .as_str()
                    .and_then(|ts| ts.parse().ok())
                    .unwrap_or(0.0)
                    >= number("oldest")
            })
            .collect();
        fitting.reverse();
        let skip = number("cursor") as usize;
        let page: Vec<Value> = fitting.iter().skip(skip).take(2).cloned().collect();
        let next = if fitting.len() > skip + 2 {
            (skip + 2).to_string()
        } else {
            String::new()
        };
        Json(
            json!({"ok": true, "messages": page, "has_more": !next.is_empty(), "response_metadata": {"next_cursor": next}}),
        )
    }
    let router = Router::new()
        .route("/api/conversations.history", get(history))
        .with_state(messages);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn source(name: &str) -> Value {
    json!({
        "kind": "poll", "name": name, "capability": "slack.conversations.history", "every_seconds": 5,
        "arguments": {"channel": "C0000001", "oldest": "{cursor}"}, "items": "/messages", "item_id": "/ts", "event": "said",
        "cursor": {"kind": "greatest", "at": "/ts", "start": "2"},
    })
}

#[tokio::test]
async fn each_item_is_one_event_over_pages_and_overlaps() {
    let world = world().await;
    let message =
        |n: u32| json!({"type": "message", "ts": format!("{n}.0"), "text": format!("message {n}")});
    let messages = Arc::new(Mutex::new((1..=6).map(message).collect::<Vec<_>>()));
    let url = channel(messages.clone()).await;
    let connection = json!({"integration": "slack", "token": "xoxb-1", "base_url": url, "account": {"quota": {"requests": 6000, "per_seconds": 1, "burst": 6000}}});
    let connected = world.admin.post("/v1/connections", connection).await;
    assert_eq!(connected.status, 201, "{connected:?}");
    let mut listener = pure("listener");
    listener["subscriptions"] =
        json!([{"source": "poll:chat", "event": "said", "when": "event.ts != '3.0'"}]);
    world.manager.hire(listener).await;
    let made = world.admin.post("/v1/sources", source("chat")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let count = |body: &Value, wanted: usize| {
        body["items"]
            .as_array()
            .is_some_and(|all| all.len() == wanted)
    };
    let path = "/v1/inbox?source=poll:chat";
    world.viewer.until(path, |body| count(body, 5)).await;
    messages
        .lock()
        .expect("not poisoned")
        .extend([message(7), message(8)]);
    let resume = format!("/v1/sources/{}/resume", made.text("id"));
    for _ in 0..3 {
        // At once instead of in five seconds.
        world.manager.post(&resume, json!({})).await;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
    let all = world.viewer.until(path, |body| count(body, 7)).await;
    let verdicts = |word: &str| {
        let items = all["items"].as_array().expect("a list").iter();
        items.filter(|item| item["verdict"] == word).count()
    };
    assert_eq!(
        (
            verdicts("accepted") + verdicts("pending"),
            verdicts("filtered")
        ),
        (6, 1),
        "{all}"
    );
    world.viewer.until("/v1/runs", |body| count(body, 6)).await;
    let shown = world
        .viewer
        .get(&format!("/v1/sources/{}", made.text("id")))
        .await;
    assert_eq!(
        (&shown.body["position"], &shown.body["error"]),
        (&json!("8.0"), &Value::Null)
    );
    world
        .other_org
        .get(&format!("/v1/sources/{}", made.text("id")))
        .await
        .problem(404, "not_found");

    let paused = world
        .manager
        .post(&format!("/v1/sources/{}/pause", made.text("id")), json!({}))
        .await;
    assert_eq!(paused.body["status"], "paused");
    let path = format!("/v1/sources/{}", made.text("id"));
    assert_eq!(world.admin.delete(&path).await.status, 204);
}

#[tokio::test]
async fn a_source_whose_pages_lead_in_a_circle_says_so_and_stays_where_it_was() {
    use axum::{Json, Router, extract::Query, routing::get};
    use std::collections::HashMap;
    async fn history(Query(query): Query<HashMap<String, String>>) -> Json<Value> {
        let page: u32 = query
            .get("cursor")
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let next = if page == 3 { 2 } else { page + 1 };
        let message = json!({"type": "message", "ts": format!("{}.0", page + 3)});
        Json(json!({
            "ok": true, "messages": [message], "has_more": true, "response_metadata": {"next_cursor": next.to_string()},
        }))
    }
    let router = Router::new().route("/api/conversations.history", get(history));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let world = world().await;
    let connection = json!({"integration": "slack", "token": "xoxb-1", "base_url": url, "account": {"quota": {"requests": 6000, "per_seconds": 1, "burst": 6000}}});
    let connected = world.admin.post("/v1/connections", connection).await;
    assert_eq!(connected.status, 201, "{connected:?}");
    let made = world.admin.post("/v1/sources", source("chat")).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/sources/{}", made.text("id"));
    let shown = world
        .viewer
        .until(&path, |body| body["error"].is_string())
        .await;
    let error = shown["error"].as_str().expect("a text");
    assert!(error.contains("circle"), "{error}");
    assert_eq!(shown["position"], "2", "what was not read is read later");
    // What was read before is kept, once.
    let inbox = world.viewer.get("/v1/inbox?source=poll:chat").await;
    assert_eq!(inbox.body["items"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn a_source_that_cannot_be_read_says_why_and_wrong_ones_are_refused() {
    let world = world().await;
    let made = world.admin.post("/v1/sources", source("chat")).await;
    let path = format!("/v1/sources/{}", made.text("id"));
    let shown = world
        .viewer
        .until(&path, |body| body["error"].is_string())
        .await;
    assert_eq!(shown["error"], "there is no connection to slack");
    world
        .admin
        .post("/v1/sources", source("chat"))
        .await
        .problem(409, "already_exists");
    for (field, value, named) in [
        ("name", json!("a b"), "name"),
        ("every_seconds", json!(1), "every_seconds"),
        ("capability", json!("slack.chat.post"), "capability"),
        ("capability", json!("slack.chat.pst"), "capability"),
        ("items", json!("messages"), "items"),
        ("arguments", json!({"channel": "C0000001"}), "arguments"),
        (
            "arguments",
            json!({"channel": "nonsense", "oldest": "{cursor}"}),
            "arguments.channel",
        ),
        ("cursor", json!({"kind": "greatest"}), "cursor.at"),
    ] {
        let mut body = source("other");
        body[field] = value;
        let answer = world.admin.post("/v1/sources", body).await;
        assert_eq!(
            answer.problem(422, "invalid_field")["field"],
            named,
            "{answer:?}"
        );
    }
}
