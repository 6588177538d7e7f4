//! Answers of calls by proxy: how long they may be, how they are streamed, and when to come back.

use super::world::{World, send, world_with};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tenure::actors::Settings;

const LIMIT: usize = 256 * 1024;
/// Of a message's text: a page of these is below the limit, two are not.
const TEXT: usize = 1_800;
const PER_PAGE: usize = 100;

/// A channel with this many pages of messages; the page `breaks_at` is not to be had.
#[derive(Clone)]
struct Channel {
    pages: usize,
    breaks_at: usize,
    /// After the last page comes this one again.
    circles_to: Option<usize>,
    asked: Arc<AtomicUsize>,
}

async fn history(
    State(channel): State<Channel>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    channel.asked.fetch_add(1, Ordering::SeqCst);
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let page = number("cursor").unwrap_or(0);
    if page == channel.breaks_at {
        return (StatusCode::NOT_FOUND, "gone").into_response();
    }
    let many = number("limit")
        .filter(|limit| *limit > PER_PAGE)
        .unwrap_or(PER_PAGE);
    let messages: Vec<Value> = (0..many)
        .map(|place| json!({"type": "message", "ts": format!("{page}.{place:06}"), "text": "x".repeat(TEXT)}))
        .collect();
    let next = match page + 1 < channel.pages {
        true => (page + 1).to_string(),
        false => channel
            .circles_to
            .map_or(String::new(), |page| page.to_string()),
    };
    Json(json!({"ok": true, "messages": messages, "response_metadata": {"next_cursor": next}}))
        .into_response()
}

async fn connected(settings: Settings, quota: Value, channel: Channel) -> World {
    let world = world_with(Settings {
        allow_private: "127.0.0.0/8".parse().expect("a range"),
        ..settings
    })
    .await;
    let router = Router::new().fallback(any(history)).with_state(channel);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let body = json!({"integration": "slack", "token": "xoxb-token", "account": {"base_url": url, "quota": quota}});
    let made = world.admin.post("/v1/connections", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    world
}

fn wide() -> Value {
    json!({"requests": 10_000, "per_seconds": 1, "burst": 10_000})
}

fn bounded() -> Settings {
    Settings {
        answer_limit: LIMIT,
        ..Settings::default()
    }
}

fn channel(pages: usize, breaks_at: usize) -> Channel {
    Channel {
        pages,
        breaks_at,
        circles_to: None,
        asked: Arc::default(),
    }
}

const PATH: &str = "/proxy/slack.conversations.history";

fn input(limit: usize) -> Value {
    json!({"input": {"channel": "C0FINANCE", "limit": limit}})
}

#[tokio::test]
async fn an_output_above_the_bound_says_what_the_bound_is_and_is_not_asked_for_again() {
    let channel = channel(1, usize::MAX);
    let world = connected(bounded(), wide(), channel.clone()).await;
    let good = world.operator.post(PATH, input(100)).await;
    assert_eq!(good.status, 200, "{:?}", good.status);
    let long = world.operator.post(PATH, input(200)).await;
    let problem = long.problem(502, "PROVIDER_ERROR");
    assert_eq!(problem["cause"], "output_too_large");
    assert_eq!(problem["limit_bytes"], LIMIT);
    assert_eq!(channel.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_list_is_streamed_item_by_item_over_all_its_pages() {
    let channel = channel(60, usize::MAX);
    let world = connected(bounded(), wide(), channel.clone()).await;
    let request = world
        .operator
        .request(Method::POST, PATH)
        .header("accept", "application/x-ndjson")
        .json(&input(100));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.expect("all of it");
    // Many times the bound, since only a page counts.
    assert!(text.len() > 20 * LIMIT, "{}", text.len());
    let items: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON text a line"))
        .collect();
    assert_eq!(items.len(), 60 * PER_PAGE);
    assert_eq!(items[0]["ts"], "0.000000");
    assert_eq!(items[60 * PER_PAGE - 1]["ts"], "59.000099");
}

#[tokio::test]
async fn pages_that_nobody_takes_are_not_asked_for() {
    let channel = channel(100_000, usize::MAX);
    let world = connected(bounded(), wide(), channel.clone()).await;
    let request = world
        .operator
        .request(Method::POST, &format!("{PATH}?stream=true"))
        .json(&input(100));
    let mut response = request.send().await.expect("an answer");
    response.chunk().await.expect("some").expect("some");
    let mut asked = channel.asked.load(Ordering::SeqCst);
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = channel.asked.load(Ordering::SeqCst);
        if now == asked {
            break;
        }
        assert!(now < 200, "{now} pages were asked for");
        asked = now;
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_says_so_and_is_cut() {
    let world = connected(bounded(), wide(), channel(5, 3)).await;
    let request = world
        .operator
        .request(Method::POST, &format!("{PATH}?stream=true"))
        .json(&input(100));
    let mut response = request.send().await.expect("an answer");
    let mut text = Vec::new();
    let cut = loop {
        match response.chunk().await {
            Ok(Some(piece)) => text.extend_from_slice(&piece),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(cut, "it must not look whole");
    let text = String::from_utf8(text).expect("text");
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(lines.len(), 3 * PER_PAGE + 1);
    assert_eq!(lines[3 * PER_PAGE]["problem"]["code"], "PROVIDER_ERROR");

    // What fails before the first byte is an answer like any other, and a write is not streamed.
    let world = connected(bounded(), wide(), channel(5, 0)).await;
    let stream = format!("{PATH}?stream=true");
    world
        .operator
        .post(&stream, input(100))
        .await
        .problem(502, "PROVIDER_ERROR");
    let post = json!({"input": {"channel": "#finance", "text": "x"}});
    let refused = world
        .operator
        .post("/proxy/slack.chat.post?stream=true", post)
        .await;
    assert_eq!(refused.problem(400, "invalid_parameter")["field"], "stream");
}

#[tokio::test]
async fn a_list_whose_pages_lead_in_a_circle_ends_with_an_error() {
    for (pages, circles_to) in [(1, 0), (3, 2), (4, 1), (5, 3), (7, 1)] {
        let channel = Channel {
            circles_to: Some(circles_to),
            ..channel(pages, usize::MAX)
        };
        let world = connected(bounded(), wide(), channel.clone()).await;
        let request = world
            .operator
            .request(Method::POST, &format!("{PATH}?stream=true"))
            .json(&input(100));
        let mut response = request.send().await.expect("an answer");
        let mut text = Vec::new();
        while let Ok(Some(piece)) = response.chunk().await {
            text.extend_from_slice(&piece);
        }
        let text = String::from_utf8(text).expect("text");
        let last = text.lines().last().expect("a line");
        let last: Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(
            last["problem"]["code"], "PROVIDER_ERROR",
            "{pages} pages: {last}"
        );
        let told = last.to_string();
        assert!(
            told.contains("in a circle") || told.contains("do not go on"),
            "{told}"
        );
        // The first page has no cursor, so page 0 by its cursor is one that was not asked for before, and it holds what was seen.
        let asked = channel.asked.load(Ordering::SeqCst);
        assert!(asked <= pages + 1, "{asked} of {pages} pages");
    }
}

#[tokio::test]
async fn who_has_no_turn_is_told_when_to_come_back() {
    let settings = Settings {
        action_deadline: Duration::from_millis(400),
        ..Settings::default()
    };
    let slow = json!({"requests": 1, "per_seconds": 3_600, "burst": 1});
    let world = connected(settings, slow, channel(1, usize::MAX)).await;
    let first = world.operator.post(PATH, input(1)).await;
    assert_eq!(first.status, 200, "{first:?}");
    let request = world.operator.request(Method::POST, PATH).json(&input(1));
    let late = send(request).await;
    let problem = late.problem(429, "RATE_LIMIT");
    assert_eq!(problem["place"], 0, "{late:?}");
    let estimate = problem["estimate_ms"].as_u64().expect("a number");
    assert!((3_000_000..=3_600_000).contains(&estimate), "{estimate}");
    let after: u64 = late.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(after, estimate.div_ceil(1_000));
}

#[tokio::test]
async fn a_connector_that_sleeps_between_calls_loses_none() {
    let settings = Settings {
        idle_after: Duration::from_millis(15),
        ..Settings::default()
    };
    let world = connected(settings, wide(), channel(1, usize::MAX)).await;
    for round in 0..120u64 {
        let calls = (0..2).map(|_| world.operator.post(PATH, input(1)));
        for called in futures::future::join_all(calls).await {
            assert_eq!(called.status, 200, "round {round}: {called:?}");
        }
        tokio::time::sleep(Duration::from_millis(round % 40)).await;
    }
    let asleep = |body: &Value| body["items"].as_array().is_some_and(Vec::is_empty);
    world
        .viewer
        .until("/v1/actors?kind=connector", asleep)
        .await;
    // And what it has learned is there when it wakes.
    assert_eq!(world.operator.post(PATH, input(1)).await.status, 200);
}
