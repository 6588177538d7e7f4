//! A call that waits for a person survives that the process is killed: before the decision, after it, and after the call.

use crate::process::{Client, Launch, Server};
use serde_json::{Value, json};

const PATH: &str = "/proxy/gmail.send";

fn mail() -> Value {
    json!({"input": {"to": "ann@acme.test", "subject": "hello", "body": "dear"}, "idempotency_key": "once"})
}

async fn again(server: Server, launch: &Launch) -> Server {
    server.kill().await;
    launch.start().await
}

async fn sent(sandbox: &Client) -> usize {
    let record = sandbox.get("/record?integration=gmail&limit=1000").await;
    let items = record.body["items"].as_array().expect("items").clone();
    items.iter().filter(|item| item["method"] == "POST").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_question_survives_kills_and_is_answered_for_once() {
    let data = tempfile::tempdir().expect("a directory");
    let launch = Launch::new(data.path());
    let server = launch.start().await;
    let asked = server.client().post(PATH, &mail()).await;
    assert_eq!(asked.status, 202, "{:?}", asked.body);
    assert_eq!(asked.body["code"], "APPROVAL_REQUIRED");

    let server = again(server, &launch).await;
    let still = server.client().post(PATH, &mail()).await;
    assert_eq!((still.status, &still.body), (202, &asked.body));
    let id = asked.body["approval_id"].as_str().expect("an id");
    let path = format!("/v1/approvals/{id}");
    let approval = server.client().get(&path).await;
    let decision =
        json!({"decision": "approve", "arguments_hash": approval.body["arguments_hash"]});
    let decided = server
        .client()
        .post(&format!("{path}/decision"), &decision)
        .await;
    assert_eq!(decided.status, 200, "{:?}", decided.body);
    assert_eq!(sent(&server.sandbox()).await, 0);

    let server = again(server, &launch).await;
    let through = server.client().post(PATH, &mail()).await;
    assert_eq!(through.status, 200, "{:?}", through.body);
    let server = again(server, &launch).await;
    let known = server.client().post(PATH, &mail()).await;
    assert_eq!((known.status, &known.body), (200, &through.body));
    assert_eq!(sent(&server.sandbox()).await, 1);
    server.kill().await;
}
