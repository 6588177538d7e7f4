//! API keys: how they look, how long they are good, and what those get who have none.

use super::world::world;
use serde_json::json;
use std::time::Duration;
use tenure::domain::Timestamp;

#[tokio::test]
async fn key_shows_its_last_four_characters_and_when_it_was_made() {
    let world = world().await;
    let made = world
        .admin
        .post("/v1/keys", json!({"name": "k", "role": "viewer"}))
        .await;
    let key = made.text("key");
    assert_eq!(
        (key.len(), made.text("last_four").as_str()),
        (53, &key[49..])
    );
    let listed = world.admin.get("/v1/keys").await;
    let items = listed.body["items"].as_array().expect("items");
    let item = items.iter().find(|item| item["id"] == made.body["id"]);
    let item = item.expect("listed");
    assert_eq!(item["last_four"], made.body["last_four"]);
    assert!(item.get("key").is_none() && !listed.body.to_string().contains(&key));
    assert!(item["last_used_at"].is_null() && item["expires_at"].is_null());
}

#[tokio::test]
async fn key_is_good_until_it_expires() {
    let world = world().await;
    let soon = Timestamp::parse(&chrono::Utc::now().to_rfc3339()).expect("a time");
    let soon = soon.after(Duration::from_secs(2));
    let body = json!({"name": "k", "role": "viewer", "expires_at": soon});
    let made = world.admin.post("/v1/keys", body).await;
    assert_eq!(made.body["expires_at"], json!(soon));
    let client = world.anonymous.with_key(&made.text("key"));
    assert_eq!(client.get("/v1/org").await.status, 200);
    let expired = async {
        loop {
            let answer = client.get("/v1/org").await;
            if answer.status != 200 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let expired = tokio::time::timeout(Duration::from_secs(20), expired).await;
    let expired = expired.expect("it expires");
    expired.problem(401, "key_expired");
    assert!(expired.headers.contains_key("www-authenticate"));

    let past = json!({"name": "k", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"});
    let refused = world.admin.post("/v1/keys", past).await;
    assert_eq!(refused.problem(422, "invalid_field")["field"], "expires_at");
}

#[tokio::test]
async fn address_that_tries_many_keys_is_told_to_wait() {
    let world = world().await;
    // It is known from now on.
    assert_eq!(world.viewer.get("/v1/org").await.status, 200);
    let mut last = world.anonymous.with_key("tnk_x").get("/v1/org").await;
    last.problem(401, "unauthorized");
    for n in 0..2_000 {
        let key = format!("tnk_{n:043}");
        last = world.anonymous.with_key(&key).get("/v1/org").await;
        if last.status == 429 {
            break;
        }
    }
    last.problem(429, "rate_limited");
    assert!(last.headers.contains_key("retry-after"));
    assert_eq!(world.viewer.get("/v1/org").await.status, 200);
    assert_eq!(world.anonymous.get("/healthz").await.status, 200);
}
