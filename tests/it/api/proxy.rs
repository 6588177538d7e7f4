//! Calls by proxy: JSON in, JSON out, through ledger and quota, and one word for each kind of failure.

use super::world::{World, world};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tenure::sandbox::{Sandbox, SandboxHandle};

/// A sandbox with the org connected to its Slack.
pub async fn connected(world: &World) -> (tempfile::TempDir, SandboxHandle) {
    let dir = tempfile::tempdir().expect("a directory");
    let today = chrono::NaiveDate::from_ymd_opt(2026, 1, 1).expect("a day");
    let sandbox = Sandbox::start(([127, 0, 0, 1], 0).into(), dir.path().into(), today)
        .await
        .expect("starts");
    let accounts = sandbox.accounts();
    let slack = accounts
        .iter()
        .find(|one| one.integration == "slack")
        .expect("slack");
    let connection = json!({
        "integration": "slack",
        "token": slack.token.expose_secret(),
        "account": {"base_url": slack.account.base_url, "quota": slack.account.quota},
    });
    let made = world.admin.post("/v1/connections", connection).await;
    assert_eq!(made.status, 201, "{made:?}");
    (dir, sandbox)
}

pub async fn posts(sandbox: &SandboxHandle) -> Vec<Value> {
    let url = format!("{}/record?integration=slack", sandbox.url());
    let record: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let items = record["items"].as_array().expect("items").clone();
    let is_post = |item: &Value| item["path"].as_str().unwrap().ends_with("chat.postMessage");
    items.into_iter().filter(is_post).collect()
}

pub fn message(text: &str) -> Value {
    json!({"input": {"channel": "#finance", "text": text}})
}

#[tokio::test]
async fn a_write_with_a_key_happens_once_and_says_the_same_again() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    let path = "/proxy/slack.chat.post";
    let mut body = message("hello");
    body["idempotency_key"] = json!("greeting-1");
    let first = world.operator.post(path, body.clone()).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["output"]["ok"], true);
    let again = world.operator.post(path, body.clone()).await;
    assert_eq!(again.body, first.body);
    body["input"]["text"] = json!("something else");
    world
        .operator
        .post(path, body)
        .await
        .problem(409, "idempotency_conflict");
    assert_eq!(posts(&sandbox).await.len(), 1);

    let run = first.body["execution_id"].as_str().expect("an id");
    let effects = world
        .viewer
        .get(&format!("/v1/effects?execution_id={run}"))
        .await;
    assert_eq!(effects.body["items"][0]["status"], "done", "{effects:?}");
    assert_eq!(effects.body["items"][0]["capability"], "slack.chat.post");
}

#[tokio::test]
async fn a_lost_answer_is_looked_up_and_not_sent_twice() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    let fault = json!({"integration": "slack", "kind": "close_after_accept", "count": 1});
    let told = reqwest::Client::new()
        .post(format!("{}/faults", sandbox.url()))
        .json(&fault)
        .send()
        .await
        .unwrap();
    assert!(told.status().is_success());
    let sent = world
        .operator
        .post("/proxy/slack.chat.post", message("once"))
        .await;
    assert_eq!(sent.status, 200, "{sent:?}");
    assert_eq!(posts(&sandbox).await.len(), 1);
}

#[tokio::test]
async fn failures_have_one_word_each_and_nothing_leaves_before_the_input_fits() {
    let world = world().await;
    let without = world
        .operator
        .post("/proxy/slack.chat.post", message("hello"))
        .await;
    without.problem(424, "AUTH_ERROR");
    let (_dir, sandbox) = connected(&world).await;

    let wrong = world
        .operator
        .post("/proxy/slack.chat.post", json!({"input": {"text": "x"}}))
        .await;
    wrong.problem(422, "BAD_PARAMS");
    assert!(wrong.text("detail").contains("channel"), "{wrong:?}");
    let unknown = world
        .operator
        .post("/proxy/slack.chat.pots", message("hello"))
        .await;
    unknown.problem(404, "not_found");
    assert_eq!(unknown.body["did_you_mean"], "slack.chat.post");
    let elsewhere = json!({"input": {"channel": "#nowhere-at-all", "text": "x"}});
    let refused = world
        .operator
        .post("/proxy/slack.chat.post", elsewhere)
        .await;
    refused.problem(502, "PROVIDER_ERROR");
    assert!(posts(&sandbox).await.len() <= 1, "only the refused one");
    world
        .viewer
        .post("/proxy/slack.chat.post", message("hello"))
        .await
        .problem(403, "forbidden");
}

#[tokio::test]
async fn another_org_has_no_part_in_the_connection() {
    let world = world().await;
    let (_dir, sandbox) = connected(&world).await;
    let theirs = world
        .other_org
        .post("/proxy/slack.chat.post", message("hello"))
        .await;
    theirs.problem(424, "AUTH_ERROR");
    assert_eq!(posts(&sandbox).await.len(), 0);
}
