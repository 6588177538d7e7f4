//! Tokens after the consent: renewed once for everybody, given up only when the provider says so, sealed anew by rotations.

use super::{Bench, bench};
use serde_json::{Value, json};
use tenure::{connect::TokenError, domain::ConnectionId};

async fn connected(bench: &Bench) -> ConnectionId {
    let id = bench
        .connect(&bench.world.admin, json!({"integration": "slack"}))
        .await;
    id.parse().expect("an id")
}

async fn token(bench: &Bench, id: ConnectionId) -> Result<String, TokenError> {
    let hub = &bench.world.engine.core().hub;
    let live = hub.live(bench.world.org, id).await?;
    let token = live.credential.access_token.as_ref().expect("a token");
    Ok(token.expose().to_owned())
}

async fn refreshes(bench: &Bench) -> usize {
    let requests = bench.token_requests().await;
    let is_refresh = |request: &&Value| request["grant_type"] == "refresh_token";
    requests.iter().filter(is_refresh).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_is_renewed_once_for_everybody() {
    let bench = bench().await;
    bench
        .settings(
            json!({"access_ttl_seconds": 3, "rotate_refresh": true, "reuse_revokes_family": true}),
        )
        .await;
    let id = connected(&bench).await;
    let first = token(&bench, id).await.expect("a token");
    for (round, ends_after_ms) in [(1, 3_100), (2, 8_100)] {
        // The sandbox's tokens end by the wall clock. The new one lives longer than 200 readings take on a busy machine.
        tokio::time::sleep(std::time::Duration::from_millis(ends_after_ms)).await;
        bench
            .settings(json!({"access_ttl_seconds": 8, "rotate_refresh": true}))
            .await;
        let all = futures::future::join_all((0..200).map(|_| token(&bench, id))).await;
        let tokens: std::collections::BTreeSet<String> = all
            .into_iter()
            .map(|token| token.expect("a token"))
            .collect();
        assert_eq!(tokens.len(), 1, "everybody has the same one");
        assert!(!tokens.contains(&first));
        assert_eq!(refreshes(&bench).await, round);
    }
    let path = format!("/v1/connections/{id}");
    let connection = bench.world.admin.get(&path).await;
    assert_eq!(connection.text("status"), "active");
    assert!(connection.body.get("reauth").is_none());
}

#[tokio::test]
async fn only_the_providers_word_ends_a_grant() {
    let bench = bench().await;
    bench.settings(json!({"access_ttl_seconds": 1})).await;
    let id = connected(&bench).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let fault =
        json!({"integration": "slack", "target": "token", "kind": "status_500", "count": 1});
    bench.order("/faults", fault).await;
    let error = token(&bench, id).await.expect_err("a failure");
    assert!(matches!(error, TokenError::Unavailable { .. }), "{error}");
    bench.settings(json!({"access_ttl_seconds": 3_600})).await;
    token(&bench, id).await.expect("the grant is alive");

    bench
        .order("/oauth/revoke_grant", json!({"integration": "slack"}))
        .await;
    let core = bench.world.engine.core();
    let live = core
        .hub
        .live(bench.world.org, id)
        .await
        .expect("it looks good still");
    let error = core.hub.renewed(bench.world.org, id, live.version).await;
    assert!(
        matches!(error, Err(TokenError::NeedsConsent { first: true, .. })),
        "{error:?}"
    );
    let path = format!("/v1/connections/{id}");
    let connection = bench.world.admin.get(&path).await;
    assert_eq!(connection.text("status"), "needs_reauth");
    assert!(
        connection.body["reauth"]["reason"].is_string(),
        "{connection:?}"
    );
    assert_eq!(
        connection.body["reauth"]["link_from"]["body"]["connection_id"],
        json!(id)
    );
    let error = token(&bench, id).await.expect_err("it needs a person");
    assert!(
        matches!(error, TokenError::NeedsConsent { first: false, .. }),
        "{error}"
    );

    // The person consents again, to the same connection.
    let again = json!({"integration": "slack", "connection_id": id});
    bench.connect(&bench.world.admin, again).await;
    assert_eq!(bench.world.admin.get(&path).await.text("status"), "active");
    token(&bench, id).await.expect("a token");
}

#[tokio::test]
async fn keys_are_rotated_and_no_secret_is_in_the_database() {
    let bench = bench().await;
    let id = connected(&bench).await;
    let admin = &bench.world.admin;
    let before = token(&bench, id).await.expect("a token");
    bench
        .world
        .viewer
        .post("/v1/org/keys/rotate", json!({}))
        .await
        .problem(403, "forbidden");
    let rotated = admin.post("/v1/org/keys/rotate", json!({})).await;
    assert_eq!(rotated.body["version"], 2, "{rotated:?}");
    assert_eq!(rotated.body["resealed"], 2, "the connection and the app");
    assert_eq!(token(&bench, id).await.expect("a token"), before);
    let keys = admin.get("/v1/org/keys").await;
    assert_eq!(keys.body["items"].as_array().map(Vec::len), Some(2));
    let theirs = bench.world.other_org.get("/v1/org/keys").await;
    assert_eq!(theirs.body["items"], json!([]));

    for file in std::fs::read_dir(bench.world.dir()).expect("a folder") {
        let path = file.expect("a file").path();
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        for secret in [before.as_str(), super::SECRET] {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{} holds a secret", path.display());
        }
    }
}
