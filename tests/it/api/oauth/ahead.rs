//! What happens without anybody calling: tokens are renewed ahead of their end, and accounts are asked whether they still work.

use super::{Bench, bench, bench_with};
use crate::api::world::settings;
use serde_json::{Value, json};
use std::time::Duration;
use tenure::{
    actors::Settings,
    connect::TokenError,
    domain::ConnectionId,
    persistence::{Health, NodeStart, WordList, node_register},
};

const NEVER: Duration = Duration::from_secs(86_400);

async fn renewing() -> Bench {
    bench_with(Settings {
        renew_every: Duration::from_millis(50),
        probe_every: Duration::ZERO,
        ..settings()
    })
    .await
}

async fn probing() -> Bench {
    bench_with(Settings {
        renew_every: NEVER,
        probe_every: Duration::from_millis(200),
        ..settings()
    })
    .await
}

/// Outcomes of the refreshes that the sandbox saw.
async fn refreshes(bench: &Bench) -> Vec<String> {
    let requests = bench.token_requests().await;
    let refreshes = requests
        .iter()
        .filter(|request| request["grant_type"] == "refresh_token");
    refreshes
        .map(|request| request["outcome"].as_str().expect("a word").to_owned())
        .collect()
}

async fn connected(bench: &Bench) -> String {
    let admin = &bench.world.admin;
    bench.connect(admin, json!({"integration": "slack"})).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_renewed_before_it_ends() {
    let bench = renewing().await;
    bench
        .settings(
            json!({"access_ttl_seconds": 20, "rotate_refresh": true, "reuse_revokes_family": true}),
        )
        .await;
    let id = connected(&bench).await;
    // Those that come next live long enough not to be due again.
    bench.settings(json!({"access_ttl_seconds": 36_000})).await;
    let path = format!("/v1/connections/{id}");
    let before = bench.world.admin.get(&path).await;
    assert!(before.body["refresh_due_at"].as_str() < before.body["expires_at"].as_str());
    let after = bench
        .world
        .admin
        .until_within(&path, Duration::from_secs(40), |connection| {
            connection["expires_at"] != before.body["expires_at"]
        })
        .await;
    assert_eq!(after["status"], "active");
    assert!(
        after["refreshed_at"].as_str() < before.body["expires_at"].as_str(),
        "before it ended: {after}"
    );
    assert_eq!(refreshes(&bench).await, ["ok"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_token_endpoint_is_asked_again_later_and_ends_no_grant() {
    let bench = renewing().await;
    bench.settings(json!({"access_ttl_seconds": 4})).await;
    let fault = json!({"integration": "slack", "target": "token", "kind": "status_429", "ms": 1_000, "count": 2});
    let id = connected(&bench).await;
    bench.order("/faults", fault).await;
    bench.settings(json!({"access_ttl_seconds": 36_000})).await;
    let path = format!("/v1/connections/{id}");
    let before = bench.world.admin.get(&path).await;
    let after = bench
        .world
        .admin
        .until_within(&path, Duration::from_secs(40), |connection| {
            connection["expires_at"] != before.body["expires_at"]
        })
        .await;
    assert_eq!(after["status"], "active");
    assert_eq!(refreshes(&bench).await, ["status_429", "status_429", "ok"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_replaced_renews_nothing() {
    let bench = bench().await;
    bench.settings(json!({"access_ttl_seconds": 1})).await;
    let id: ConnectionId = connected(&bench).await.parse().expect("an id");
    let core = bench.world.engine.core();
    let db = core.db.unfenced();
    let mut tx = db.begin_system("a test").await.expect("begins");
    let later_life = NodeStart {
        id: core.fence().node_id,
        name: "node",
        address: "elsewhere",
        build: "",
        zone: "",
        weight: 100,
        roles: WordList::default(),
        takes: WordList::default(),
        url: "",
        ttl: NEVER,
        process_is_gone: true,
    };
    node_register(&mut tx, &later_life)
        .await
        .expect("takes over");
    tx.commit().await.expect("commits");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let refused = core.hub.live(bench.world.org, id).await;
    assert!(
        matches!(refused, Err(TokenError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(refreshes(&bench).await, Vec::<String>::new());
}

fn health(connection: &Value) -> Option<Health> {
    Health::parse(connection["health"]["state"].as_str()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_are_probed_now_and_then() {
    let bench = probing().await;
    let id = connected(&bench).await;
    let path = format!("/v1/connections/{id}");
    let admin = &bench.world.admin;
    let first = admin.get(&path).await;
    assert_eq!(health(&first.body), Some(Health::Healthy), "{first:?}");
    let checked = |connection: &Value| connection["health"]["checked_at"].clone();
    let again = admin
        .until(&path, |connection| {
            checked(connection) != checked(&first.body)
        })
        .await;
    assert_eq!(health(&again), Some(Health::Healthy));

    let fault = json!({"integration": "slack", "kind": "status_500", "count": 1_000});
    bench.order("/faults", fault).await;
    let failing = admin
        .until_within(&path, Duration::from_secs(60), |connection| {
            health(connection) == Some(Health::Failing)
        })
        .await;
    assert!(failing["health"]["error"].is_string(), "{failing}");
    assert_eq!(
        failing["status"], "active",
        "that a provider fails ends no grant"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_provider_refuses_twice_needs_a_person() {
    let bench = probing().await;
    let admin = &bench.world.admin;
    let base_url = format!("{}/slack", bench.sandbox.url());
    let wrong = json!({"integration": "slack", "token": "xoxb-not-any-more", "base_url": base_url});
    let made = admin.post("/v1/connections", wrong).await;
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/connections/{}", made.text("id"));
    let dead = admin
        .until(&path, |connection| connection["status"] == "needs_reauth")
        .await;
    assert_eq!(health(&dead), Some(Health::Failing));
    assert!(!dead.to_string().contains("not-any-more"), "{dead}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_probed_at_once() {
    let bench = bench().await;
    let id = connected(&bench).await;
    let path = format!("/v1/connections/{id}/probe");
    let world = &bench.world;
    let probed = world.operator.post(&path, json!({})).await;
    assert_eq!(probed.status, 200, "{probed:?}");
    assert_eq!(health(&probed.body), Some(Health::Healthy));
    let refused = world.viewer.post(&path, json!({})).await;
    refused.problem(403, "forbidden");
    let theirs = world.other_org.post(&path, json!({})).await;
    theirs.problem(404, "not_found");

    bench
        .order("/oauth/revoke_grant", json!({"integration": "slack"}))
        .await;
    let probed = world.operator.post(&path, json!({})).await;
    assert_eq!(probed.text("status"), "needs_reauth", "{probed:?}");
    assert_eq!(health(&probed.body), Some(Health::Failing));
}
