//! A write by proxy, the process is killed before the answer: what became of it is found out without anybody who asks, and who tries again
//! with the same key gets it.

use crate::process::{Client, Launch, Server};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_secs(90);

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "it did not come that {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn effect(client: &Client, status: &str) -> Option<Value> {
    let all = client.try_list("/v1/effects").await.ok()?;
    all.into_iter().find(|effect| effect["status"] == status)
}

async fn posts(sandbox: &Client) -> usize {
    let all = sandbox
        .try_list("/record?integration=slack")
        .await
        .expect("the record");
    let is_post = |one: &&Value| {
        one["path"]
            .as_str()
            .is_some_and(|path| path.ends_with("chat.postMessage"))
    };
    all.iter().filter(is_post).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_cut_off_is_settled_and_happens_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::new(dir.path());
    let server = launch.start().await;
    let (client, sandbox) = (server.client(), server.sandbox());
    // Done, and never answered.
    let fault = json!({"integration": "slack", "kind": "hang", "count": 1});
    assert_eq!(sandbox.post("/faults", &fault).await.status, 201);
    let body = json!({"input": {"channel": "#finance", "text": "once"}, "idempotency_key": "k"});
    let (asking, asked) = (client.clone(), body.clone());
    let cut_off = tokio::spawn(async move {
        asking
            .try_send("POST", "/proxy/slack.chat.post", &[], Some(&asked))
            .await
    });
    until("the write is at the provider", async || {
        let sent = effect(&client, "sent").await.is_some();
        (sent && posts(&sandbox).await == 1).then_some(())
    })
    .await;
    server.kill().await;
    assert!(cut_off.await.expect("ends").is_err(), "nobody answered");

    let server = launch.start().await;
    let (client, sandbox) = (server.client(), server.sandbox());
    let settled = until("it is settled", async || {
        effect(&client, "reconciled").await
    })
    .await;
    assert_eq!(settled["note"]["outcome"], "done", "{settled}");
    assert_eq!(settled["note"]["by"], "probe", "{settled}");
    let again = client.post("/proxy/slack.chat.post", &body).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(again.body["execution_id"], settled["execution_id"]);
    assert_eq!(posts(&sandbox).await, 1);
    server.kill().await;
}

/// Requests to `path` that the provider has carried out, or is at.
async fn done(sandbox: &Client, integration: &str, path: &str) -> usize {
    let record = format!("/record?integration={integration}");
    let all = sandbox.try_list(&record).await.expect("the record");
    let counts = |one: &&Value| {
        let refused = one["status"].as_u64().is_some_and(|status| status >= 400);
        one["method"] == "POST"
            && !refused
            && one["path"].as_str().is_some_and(|at| at.ends_with(path))
    };
    all.iter().filter(counts).count()
}

async fn fault(sandbox: &Client, fault: Value) {
    assert_eq!(sandbox.post("/faults", &fault).await.status, 201, "{fault}");
}

/// Allows what otherwise a person is asked about.
async fn allow(client: &Client, capability: &str) {
    let rule = json!({"name": capability, "effect": "allow", "capabilities": [capability]});
    let made = client.post("/v1/policies", &rule).await;
    assert!(made.status < 300, "{made:?}");
}

async fn connection(client: &Client, integration: &str) -> String {
    let path = format!("/v1/connections?integration={integration}");
    let all = client.try_list(&path).await.expect("the connections");
    all[0]["id"].as_str().expect("an id").to_owned()
}

/// A raw write: nothing tells whether it happened, and the provider knows no key.
async fn raw(client: &Client, connection: &str, key: &str) -> Result<u16, String> {
    let path = format!("/proxy/connections/{connection}/api/chat.postMessage");
    let body = json!({"channel": "#finance", "text": "raw"});
    let headers = [("idempotency-key", key)];
    let answer = client.try_send("POST", &path, &headers, Some(&body)).await;
    answer.map(|answer| answer.status)
}

const RAW: &str = "chat.postMessage";

/// Sends it, and kills the server when it is at the provider.
async fn cut_off_raw(launch: &Launch, server: Server, connection: &str, key: &str) -> Server {
    let (client, sandbox) = (server.client(), server.sandbox());
    fault(
        &sandbox,
        json!({"integration": "slack", "kind": "hang", "count": 1}),
    )
    .await;
    let before = done(&sandbox, "slack", RAW).await;
    let (asking, to, under) = (client.clone(), connection.to_owned(), key.to_owned());
    let cut_off = tokio::spawn(async move { raw(&asking, &to, &under).await });
    until("the write is at the provider", async || {
        let sent = effect(&client, "sent").await.is_some();
        (sent && done(&sandbox, "slack", RAW).await == before + 1).then_some(())
    })
    .await;
    server.kill().await;
    assert!(cut_off.await.expect("ends").is_err(), "nobody answered");
    launch.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persons_word_that_it_did_not_happen_is_good_for_one_sending() {
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::new(dir.path());
    let server = launch.start().await;
    allow(&server.client(), "slack.raw").await;
    let connection = connection(&server.client(), "slack").await;
    let mut server = server;
    // The second time it is cut off while it relies on that word.
    for times in 1..=2 {
        server = cut_off_raw(&launch, server, &connection, "k").await;
        let client = server.client();
        let settled = until("it is a person's", async || {
            effect(&client, "ambiguous").await
        })
        .await;
        assert_eq!(settled["attempts"], times, "{settled}");
        let asked = raw(&client, &connection, "k").await;
        assert_eq!(asked, Ok(409), "nobody can tell");
        let path = format!(
            "/v1/effects/{}/reconcile",
            settled["id"].as_str().expect("an id")
        );
        let word = client.post(&path, &json!({"outcome": "not_done"})).await;
        assert_eq!(word.body["status"], "intended", "{word:?}");
        let twice = client.post(&path, &json!({"outcome": "done"})).await;
        assert_eq!(twice.status, 409, "{twice:?}");
    }
    let (client, sandbox) = (server.client(), server.sandbox());
    let before = done(&sandbox, "slack", RAW).await;
    for _ in 0..3 {
        assert_eq!(raw(&client, &connection, "k").await, Ok(200));
    }
    assert_eq!(done(&sandbox, "slack", RAW).await - before, 1);
    let row = effect(&client, "done").await.expect("it is done");
    assert_eq!(row["attempts"], 3, "{row}");
    server.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_refused_for_now_is_not_ambiguous_after_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::new(dir.path());
    let server = launch.start().await;
    let (client, sandbox) = (server.client(), server.sandbox());
    let wait = json!({"integration": "slack", "kind": "status_429", "count": 1, "ms": 120_000});
    fault(&sandbox, wait).await;
    let body = json!({"input": {"channel": "#finance", "text": "later"}, "idempotency_key": "k"});
    let (asking, asked) = (client.clone(), body.clone());
    let cut_off = tokio::spawn(async move {
        asking
            .try_send("POST", "/proxy/slack.chat.post", &[], Some(&asked))
            .await
    });
    until("it waits for its next try", async || {
        let all = client.try_list("/v1/effects").await.ok()?;
        let row = all.first()?;
        (row["attempts"] == 1 && row["status"] == "intended").then_some(())
    })
    .await;
    server.kill().await;
    assert!(cut_off.await.expect("ends").is_err(), "nobody answered");
    let server = launch.start().await;
    let client = server.client();
    let settled = until("it is settled", async || effect(&client, "failed").await).await;
    assert_eq!(settled["sent_at"], Value::Null, "{settled}");
    assert_eq!(done(&server.sandbox(), "slack", RAW).await, 0);
    server.kill().await;
}

/// Where the provider knows the key, it is asked by sending again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_key_the_provider_knows_is_killed_and_happens_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let launch = Launch::new(dir.path());
    let server = launch.start().await;
    let (client, sandbox) = (server.client(), server.sandbox());
    allow(&client, "quickbooks.invoice.create").await;
    let hang = json!({"integration": "quickbooks", "kind": "hang", "count": 1});
    fault(&sandbox, hang).await;
    let body = json!({"input": {"customer_id": "1", "lines": [{"amount": 120.5, "item_id": "1"}]}, "idempotency_key": "k"});
    let (asking, asked) = (client.clone(), body.clone());
    let cut_off = tokio::spawn(async move {
        asking
            .try_send(
                "POST",
                "/proxy/quickbooks.invoice.create",
                &[],
                Some(&asked),
            )
            .await
    });
    until("the write is at the provider", async || {
        let sent = effect(&client, "sent").await.is_some();
        (sent && done(&sandbox, "quickbooks", "/invoice").await == 1).then_some(())
    })
    .await;
    server.kill().await;
    assert!(cut_off.await.expect("ends").is_err(), "nobody answered");
    let server = launch.start().await;
    let (client, sandbox) = (server.client(), server.sandbox());
    let settled = until("it is settled", async || effect(&client, "done").await).await;
    assert_eq!(settled["attempts"], 2, "{settled}");
    let again = client.post("/proxy/quickbooks.invoice.create", &body).await;
    assert_eq!(again.status, 200, "{again:?}");
    let record = sandbox.try_list("/record?integration=quickbooks").await;
    let keys: Vec<Value> = record
        .expect("the record")
        .into_iter()
        .filter(|one| one["method"] == "POST")
        .map(|one| one["query"].clone())
        .collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert_eq!(keys[0], keys[1], "one requestid");
    server.kill().await;
}
