//! A write by proxy, the process is killed before the answer: what became of it is found out without anybody who asks, and who tries again
//! with the same key gets it.

use crate::process::{Client, Launch};
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
