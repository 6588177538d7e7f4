//! A limit is exact over all nodes: employees of three nodes share one connection, and the provider never has to refuse.

use crate::{
    employees::employee,
    history::Life,
    load::{Load, Report},
    world::{World, until},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::sleep;

/// What the provider lets through in any second. A connector that keeps to `MINE` with a burst of as much never meets it; three of them
/// would.
const PROVIDERS: u64 = 20;
const MINE: u64 = 10;

fn poster(name: &str) -> Value {
    let post = json!([
        {"id": "post", "type": "action", "capability": "slack.chat.post",
            "arguments": {"channel": "'#finance'", "text": "input.key"}},
    ]);
    employee(name, &["slack.write"], post)
}

pub async fn show(world: &World, report: &mut Report) {
    let mine = json!({"requests": MINE, "per_seconds": 1, "burst": MINE});
    world.connect("slack", mine).await;
    let quota = json!({"integration": "slack", "requests": PROVIDERS, "per_seconds": 1, "headers": "none", "window": "sliding"});
    assert_eq!(world.sandbox().post("/quotas", &quota).await.status, 201);

    let employees = world.hire(18, poster).await;
    let load = Load::start(
        &world.addresses(),
        &employees,
        6,
        Duration::from_millis(100),
    );
    sleep(Duration::from_secs(4)).await;
    let posted = load.stop().await;
    let nodes: BTreeSet<Life> = world.recorder.owners().await.into_values().collect();
    assert_eq!(nodes.len(), 3, "employees of every node post");
    report.add(posted);
    until("all have posted", async || {
        world.recorder.unfinished().await == 0
    })
    .await;
    let quotas = world.sandbox().get("/quotas").await;
    let counts = &quotas.body["items"][0];
    println!(
        "{} posts let through, {} refused",
        counts["accepted"], counts["refused"]
    );
    assert_eq!(counts["refused"], 0, "{counts}");
    // One for Gmail, one for Slack, in the whole cluster.
    let connectors = world.recorder.owners_of("connector").await;
    assert_eq!(connectors.len(), 2, "{connectors:?}");
}
