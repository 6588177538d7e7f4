//! A stand-in for Slack's Web API that writes down what it is told, and a sender that signs as Slack does.

use super::world::{Answer, World, send};
use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{any, post},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tenure::{connect::webhook::sign_slack, domain::Timestamp};

pub const SIGNING_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

type Record = Arc<Mutex<Vec<(String, Value)>>>;

pub struct FakeSlack {
    pub url: String,
    record: Record,
}

impl FakeSlack {
    pub async fn start() -> Self {
        let record = Record::default();
        let router = Router::new()
            .route("/api/{method}", any(answer))
            .route("/respond", post(respond))
            .with_state(record.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, record }
    }

    pub async fn connect(&self, world: &World) {
        let connection =
            json!({"integration": "slack", "token": "xoxb-test", "base_url": self.url});
        let answer = world.admin.post("/v1/connections", connection).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    pub fn calls(&self, method: &str) -> Vec<Value> {
        let record = self.record.lock().expect("not poisoned");
        let calls = record.iter().filter(|(known, _)| known == method);
        calls.map(|(_, body)| body.clone()).collect()
    }

    /// Waits until a method was called that often.
    pub async fn until(&self, method: &str, times: usize) -> Vec<Value> {
        for _ in 0..600 {
            let calls = self.calls(method);
            if calls.len() >= times {
                return calls;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "{method} was not called {times} times: {:?}",
            self.record.lock()
        );
    }
}

fn note(record: &Record, method: &str, body: &str) {
    let body = serde_json::from_str(body).unwrap_or_default();
    record
        .lock()
        .expect("not poisoned")
        .push((method.to_owned(), body));
}

async fn answer(
    State(record): State<Record>,
    Path(method): Path<String>,
    body: String,
) -> Json<Value> {
    note(&record, &method, &body);
    Json(match method.as_str() {
        "conversations.list" => json!({"ok": true, "channels": [
            {"id": "C1", "name": "finance"}, {"id": "C2", "name": "random"}], "response_metadata": {"next_cursor": ""}}),
        _ => json!({"ok": true, "channel": "C0000007", "ts": "1.5", "message": {"text": "…"}}),
    })
}

async fn respond(State(record): State<Record>, body: String) -> &'static str {
    note(&record, "respond", &body);
    "ok"
}

/// Sends as Slack does.
#[derive(Clone)]
pub struct Sender<'w> {
    pub world: &'w World,
    pub path: String,
    pub secret: String,
}

impl Sender<'_> {
    pub async fn event(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        let body = body.to_string();
        let now = self.world.engine.now();
        self.signed(now, &body, &body, "application/json", headers)
            .await
    }

    pub async fn form(&self, fields: &[(&str, &str)]) -> Answer {
        let encode = |text: &str| -> String {
            text.bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect()
        };
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let body = pairs.join("&");
        let now = self.world.engine.now();
        self.signed(now, &body, &body, "application/x-www-form-urlencoded", &[])
            .await
    }

    pub async fn interaction(&self, payload: &Value) -> Answer {
        self.form(&[("payload", &payload.to_string())]).await
    }

    /// Signs `signed` and sends `body`.
    pub async fn signed(
        &self,
        at: Timestamp,
        signed: &str,
        body: &str,
        kind: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let signature = sign_slack(&self.secret.clone().into(), at, signed.as_bytes());
        let mut request = self
            .world
            .anonymous
            .request(Method::POST, &self.path)
            .header("content-type", kind)
            .header(
                "x-slack-request-timestamp",
                (at.micros() / 1_000_000).to_string(),
            )
            .header("x-slack-signature", signature)
            .body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request).await
    }
}
