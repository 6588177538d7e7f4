//! What the providers send, as a receiver gets it.

use super::*;
use crate::sandbox::urlencoded;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use std::{collections::VecDeque, sync::Mutex};

/// Answers with the statuses that it was given, then with 200, and keeps what came.
#[derive(Clone, Default)]
struct Receiver {
    statuses: Arc<Mutex<VecDeque<u16>>>,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
}

impl Receiver {
    async fn start(statuses: &[u16]) -> (Self, String) {
        let receiver = Self::default();
        receiver.statuses.lock().unwrap().extend(statuses);
        let router = Router::new()
            .route("/hook", post(receive))
            .with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (receiver, url)
    }

    fn take(&self) -> Vec<(HeaderMap, String)> {
        std::mem::take(&mut *self.got.lock().unwrap())
    }
}

/// Status 0 means: never. Echoes a challenge.
async fn receive(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let body = String::from_utf8(body.to_vec()).unwrap();
    receiver.got.lock().unwrap().push((headers, body.clone()));
    let status = receiver.statuses.lock().unwrap().pop_front().unwrap_or(200);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let json: Value = serde_json::from_str(&body).unwrap_or_default();
    let answer = json["challenge"].as_str().unwrap_or("thanks").to_owned();
    let no_retry = if status == 410 { "1" } else { "0" };
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("x-slack-no-retry", no_retry)], answer)
}

async fn order(bench: &Bench, what: &str, body: Value) -> Value {
    let request = bench.http.post(format!("{}/{what}", bench.url)).json(&body);
    request.send().await.unwrap().json().await.unwrap()
}

/// Checks Slack's signature the way its documentation says.
fn check_slack(headers: &HeaderMap, body: &str) {
    let seconds: i64 = header(headers, "x-slack-request-timestamp")
        .parse()
        .unwrap();
    let expected = crate::sandbox::send::slack_signature("s3cret", seconds, body);
    assert_eq!(header(headers, "x-slack-signature"), expected);
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn an_event_is_signed_and_tried_four_times_in_all() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (receiver, url) = Receiver::start(&[500, 0, 404, 503]).await;
    let event = json!({
        "url": url, "signing_secret": "s3cret", "event": {"type": "message", "channel": "C0SALES", "text": "hi"},
        "team_id": "T1", "api_app_id": "A1", "event_id": "Ev1", "retries": true, "retry_delays_ms": [0, 1, 1], "timeout_ms": 200,
    });
    let sent = order(&bench, "slack/send_event", event.clone()).await;
    assert_eq!(
        (&sent["delivered"], &sent["event_id"]),
        (&json!(false), &json!("Ev1"))
    );
    let attempts: Vec<_> = sent["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| {
            (
                attempt["status"].as_u64(),
                attempt["error"].as_str().unwrap(),
            )
        })
        .collect();
    let error = "http_error";
    assert_eq!(
        attempts,
        [
            (Some(500), error),
            (None, "http_timeout"),
            (Some(404), error),
            (Some(503), error)
        ]
    );
    let got = receiver.take();
    let retries: Vec<_> = got
        .iter()
        .map(|(headers, _)| {
            (
                header(headers, "x-slack-retry-num"),
                header(headers, "x-slack-retry-reason"),
            )
        })
        .collect();
    assert_eq!(
        retries,
        [("", ""), ("1", error), ("2", "http_timeout"), ("3", error)]
    );
    for (headers, body) in &got {
        check_slack(headers, body);
        assert_eq!(body, &got[0].1, "the same event each time");
    }
    let body: Value = serde_json::from_str(&got[0].1).unwrap();
    assert_eq!(
        (&body["team_id"], &body["api_app_id"], &body["event_id"]),
        (&json!("T1"), &json!("A1"), &json!("Ev1"))
    );
    assert_eq!(body["event"]["ts"], body["event"]["event_ts"]);

    let sent = order(&bench, "slack/send_event", event.clone()).await;
    assert_eq!(sent["delivered"], true);
    assert_eq!(sent["attempts"][0]["body"], "thanks");
    let (again, url) = Receiver::start(&[410]).await;
    let mut event = event;
    event["url"] = json!(url);
    order(&bench, "slack/send_event", event.clone()).await;
    assert_eq!(again.take().len(), 1, "the receiver wants no more of it");
    event["retry_num"] = json!(2);
    event["retries"] = json!(false);
    order(&bench, "slack/send_event", event.clone()).await;
    assert_eq!(header(&again.take()[0].0, "x-slack-retry-num"), "2");
    event["url"] = json!("http://127.0.0.1:9/");
    let sent = order(&bench, "slack/send_event", event.clone()).await;
    assert_eq!(sent["attempts"][0]["error"], "connection_failed");
    event["event"] = json!("message");
    assert_eq!(
        order(&bench, "slack/send_event", event).await["field"],
        "event"
    );
}

#[tokio::test]
async fn a_click_carries_the_message_and_a_response_url_that_works() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (receiver, url) = Receiver::start(&[]).await;
    let button = json!({"type": "button", "action_id": "approve", "value": "run-7", "text": {"type": "plain_text", "text": "Approve"}});
    let blocks = json!([{"type": "actions", "block_id": "choices", "elements": [button]}]);
    let posted = json!({"channel": "U0MAYA", "text": "May I?", "blocks": blocks});
    let posted = bench.output("slack.chat.post", posted).await;
    assert_eq!(posted["channel"], "D0MAYA");
    let click = json!({"url": url, "signing_secret": "s3cret", "action_id": "approve", "user": "U0MAYA", "channel": "D0MAYA"});
    let clicked = order(&bench, "slack/click", click.clone()).await;
    assert_eq!(clicked["delivered"], true, "{clicked}");
    let (headers, body) = receiver.take().remove(0);
    check_slack(&headers, &body);
    let (name, payload) = urlencoded::pairs(&body).remove(0);
    let payload: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(
        (name.as_str(), &payload["type"]),
        ("payload", &json!("block_actions"))
    );
    assert_eq!(payload["message"]["ts"], posted["ts"]);
    assert_eq!(payload["user"]["username"], "maya");
    let action = &payload["actions"][0];
    assert_eq!(
        (&action["value"], &action["block_id"]),
        (&json!("run-7"), &json!("choices"))
    );

    let response_url = payload["response_url"].as_str().unwrap();
    let answer = json!({"replace_original": true, "text": "Approved by Maya"});
    for use_number in 1..=6 {
        let response = bench
            .http
            .post(response_url)
            .json(&answer)
            .send()
            .await
            .unwrap();
        let expected = if use_number <= 5 { 200 } else { 404 };
        assert_eq!(response.status().as_u16(), expected, "use {use_number}");
    }
    let history = bench
        .output("slack.conversations.history", json!({"channel": "D0MAYA"}))
        .await;
    assert_eq!(history["messages"][0]["text"], "Approved by Maya");
    assert!(history["messages"][0].get("blocks").is_none());

    let gone = order(&bench, "slack/click", click).await;
    assert_eq!(gone["field"], "action_id");
    let given = json!({
        "url": url, "signing_secret": "s3cret", "action_id": "deny", "value": "x", "message": {"ts": "1.000001", "text": "?"},
    });
    assert_eq!(
        order(&bench, "slack/click", given).await["payload"]["actions"][0]["value"],
        "x"
    );
}

#[tokio::test]
async fn commands_and_the_challenge() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (receiver, url) = Receiver::start(&[]).await;
    let command = json!({"url": url, "signing_secret": "s3cret", "command": "/clerk", "text": "chase invoices", "channel": "C0FINANCE"});
    let sent = order(&bench, "slack/command", command.clone()).await;
    assert_eq!(sent["attempts"][0]["body"], "thanks");
    let (headers, body) = receiver.take().remove(0);
    check_slack(&headers, &body);
    let form: std::collections::HashMap<_, _> = urlencoded::pairs(&body).into_iter().collect();
    assert_eq!(
        (form["command"].as_str(), form["text"].as_str()),
        ("/clerk", "chase invoices")
    );
    assert_eq!(form["channel_name"], "finance");
    let answer = json!({"response_type": "in_channel", "text": "Done"});
    bench
        .http
        .post(&form["response_url"])
        .json(&answer)
        .send()
        .await
        .unwrap();
    let history = bench
        .output(
            "slack.conversations.history",
            json!({"channel": "C0FINANCE"}),
        )
        .await;
    assert_eq!(history["messages"][0]["text"], "Done");
    let mut wrong = command;
    wrong["command"] = json!("clerk");
    assert_eq!(
        order(&bench, "slack/command", wrong).await["field"],
        "command"
    );

    let target = json!({"url": url, "signing_secret": "s3cret"});
    assert_eq!(
        order(&bench, "slack/url_verification", target).await["verified"],
        true
    );
    let (headers, body) = receiver.take().remove(0);
    check_slack(&headers, &body);
    let (_, silent) = Receiver::start(&[500]).await;
    let target = json!({"url": silent, "signing_secret": "s3cret"});
    assert_eq!(
        order(&bench, "slack/url_verification", target).await["verified"],
        false
    );
}

#[tokio::test]
async fn github_and_stripe_deliver_with_their_signatures() {
    let folder = tempfile::tempdir().unwrap();
    let (_handle, bench) = Bench::start(folder.path()).await;
    let (receiver, url) = Receiver::start(&[]).await;
    let delivery = json!({
        "url": url, "secret": "s3cret", "event": "issues", "payload": {"action": "opened"}, "delivery": "d-1",
    });
    let sent = order(&bench, "github/deliver", delivery).await;
    assert_eq!(
        (&sent["id"], &sent["delivered"]),
        (&json!("d-1"), &json!(true))
    );
    let (headers, body) = receiver.take().remove(0);
    assert_eq!(header(&headers, "x-github-event"), "issues");
    assert_eq!(header(&headers, "x-github-delivery"), "d-1");
    assert!(header(&headers, "x-hub-signature-256").starts_with("sha256="));
    assert_eq!(body, r#"{"action":"opened"}"#);

    let event = json!({
        "url": url, "secrets": ["old", "new"], "type": "invoice.paid", "object": {"id": "in_1"}, "event_id": "evt_1",
    });
    let sent = order(&bench, "stripe/deliver", event).await;
    assert_eq!(sent["id"], "evt_1");
    let (headers, body) = receiver.take().remove(0);
    let signature = header(&headers, "stripe-signature");
    assert!(signature.starts_with("t=") && signature.matches(",v1=").count() == 2);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["type"], &body["data"]["object"]["id"]),
        (&json!("invoice.paid"), &json!("in_1"))
    );
    let wrong = json!({"url": url, "secret": "x", "type": "a.b", "object": 1});
    assert_eq!(
        order(&bench, "stripe/deliver", wrong).await["field"],
        "object"
    );
}
