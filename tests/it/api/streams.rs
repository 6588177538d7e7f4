//! Event streams of several people: how many there may be, and when they end.

use super::world::{Client, World, pure, settings, world, world_at};
use reqwest::{Method, Response};
use serde_json::json;
use sqlx::Connection;
use std::time::Duration;
use tenure::{
    api::{ApiSettings, StreamLimits},
    domain::{KeyId, Role},
};

async fn open(client: &Client, path: &str) -> Response {
    let request = client.request(Method::GET, path);
    // A client's timeout is for the whole answer.
    let request = request.timeout(Duration::from_secs(60));
    request.send().await.expect("an answer")
}

/// What comes until the stream ends, or until `wanted` is in it.
async fn read(stream: &mut Response, wanted: Option<&str>) -> String {
    let mut text = String::new();
    let reading = async {
        while let Ok(Some(chunk)) = stream.chunk().await {
            text += &String::from_utf8_lossy(&chunk);
            if wanted.is_some_and(|wanted| text.contains(wanted)) {
                break;
            }
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    assert!(read.is_ok(), "{wanted:?} did not come: {text}");
    text
}

#[tokio::test]
async fn streams_of_one_key_leave_room_for_others() {
    let limits = StreamLimits {
        per_key: 3,
        per_org: 5,
    };
    let api = ApiSettings {
        streams: limits,
        ..ApiSettings::default()
    };
    let world = world_at(settings(), api).await;
    let mut streams = Vec::new();
    for (client, expected) in [
        (&world.viewer, [200, 200, 200, 429]),
        (&world.admin, [200, 200, 429, 429]),
        (&world.other_org, [200, 200, 200, 429]),
    ] {
        for status in expected {
            let stream = open(client, "/v1/events?after=now").await;
            assert_eq!(stream.status(), status);
            if status == 429 {
                assert!(stream.headers().contains_key("retry-after"));
                let problem: serde_json::Value = stream.json().await.expect("JSON");
                assert_eq!(problem["code"], "too_many_streams");
            } else {
                streams.push(stream);
            }
        }
    }
    // Whoever closes one may open another.
    streams.clear();
    let mut refused = 429;
    for _ in 0..200 {
        refused = open(&world.viewer, "/v1/events").await.status().as_u16();
        if refused == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert_eq!(refused, 200);
}

#[tokio::test]
async fn stream_says_at_once_where_it_is_and_when_to_come_back() {
    let world = world().await;
    let mut stream = open(&world.viewer, "/v1/events?after=now").await;
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
    let first = read(&mut stream, Some("\n\n")).await;
    let line = |name: &str| first.lines().find_map(|line| line.strip_prefix(name));
    assert!(line("retry:").is_some_and(|wait| wait.trim().parse::<u32>().is_ok()));
    let place = line("id:").expect("a place").trim().to_owned();
    drop(stream);
    // What happens after that is not lost, though no event was ever seen.
    world.manager.hire(pure("counter")).await;
    let mut again = open(&world.viewer, &format!("/v1/events?after={place}")).await;
    read(&mut again, Some("GraphDefined")).await;
}

#[tokio::test]
async fn page_is_given_to_whom_wants_json() {
    let world = world().await;
    world.manager.hire(pure("counter")).await;
    let ask = |accept: &'static str| {
        let request = world.viewer.request(Method::GET, "/v1/events?limit=1");
        super::world::send(request.header("accept", accept))
    };
    let page = ask("application/json").await;
    assert_eq!(page.body["items"][0]["type"], "GraphDefined");
    let next = format!("/v1/events?format=json&after={}", page.text("next"));
    assert_eq!(world.viewer.get(&next).await.body["items"], json!([]));
    for accept in ["*/*", "text/event-stream"] {
        let request = world.viewer.request(Method::GET, "/v1/events");
        let answer = request.header("accept", accept).send().await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
    }
}

/// A stream of a key of its own, which has seen an event already.
async fn followed(world: &World) -> (String, String, Response) {
    let made = world
        .admin
        .post("/v1/keys", json!({"name": "leaver", "role": "viewer"}))
        .await;
    let (id, key) = (made.text("id"), made.text("key"));
    let client = world.anonymous.with_key(&key);
    let mut stream = open(&client, "/v1/events?after=now").await;
    read(&mut stream, Some("\n\n")).await;
    (id, key, stream)
}

#[tokio::test]
async fn stream_ends_when_its_key_is_revoked() {
    let world = world().await;
    let (id, _, mut stream) = followed(&world).await;
    let (_, _, mut other) = followed(&world).await;
    world.admin.delete(&format!("/v1/keys/{id}")).await;
    read(&mut stream, None).await;
    let employee = world.manager.hire(pure("counter")).await;
    world.operator.work(&employee, json!({})).await;
    read(&mut other, Some("executionResult")).await;
}

/// As another node or an operator would.
async fn change_key(world: &World, id: &str, change: &str) {
    let url = format!("sqlite:{}", world.dir().join("tenure.db").display());
    let id: KeyId = id.parse().expect("an id");
    let mut database = sqlx::SqliteConnection::connect(&url).await.expect("opens");
    let sql = sqlx::AssertSqlSafe(format!("{change} WHERE id = ?"));
    let changed = sqlx::query(sql)
        .bind(id.uuid())
        .execute(&mut database)
        .await;
    assert_eq!(changed.expect("changes").rows_affected(), 1);
}

#[tokio::test]
async fn stream_ends_when_its_key_is_revoked_or_changed_elsewhere() {
    let world = world().await;
    for change in [
        "UPDATE api_key SET revoked_us = 1",
        "UPDATE api_key SET role = 'viewer'",
    ] {
        let user = world.user(change, Role::Operator).await;
        let mut stream = open(&user, "/v1/events?after=now").await;
        read(&mut stream, Some("\n\n")).await;
        let id = user.get("/v1/org").await.body["caller"]["key_id"].clone();
        change_key(&world, id.as_str().expect("an id"), change).await;
        read(&mut stream, None).await;
    }
}

#[tokio::test]
async fn stream_ends_when_its_key_expires() {
    let world = world().await;
    let soon = chrono::Utc::now() + chrono::TimeDelta::seconds(2);
    let body = json!({"name": "k", "role": "viewer", "expires_at": soon.to_rfc3339()});
    let made = world.admin.post("/v1/keys", body).await;
    let client = world.anonymous.with_key(&made.text("key"));
    let mut stream = open(&client, "/v1/events?after=now").await;
    read(&mut stream, None).await;
}
