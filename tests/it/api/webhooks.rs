//! Signed webhooks: what is signed is taken once, what is not is refused.

use super::world::{Answer, World, pure, send, world};
use reqwest::Method;
use serde_json::{Value, json};
use tenure::{connect::webhook::sign, domain::Timestamp};

struct Sender<'w> {
    world: &'w World,
    path: String,
    secret: String,
}

impl Sender<'_> {
    async fn send(&self, id: &str, body: &str) -> Answer {
        let now = self.world.engine.now();
        self.send_signed(id, now, body, body).await
    }

    /// Signs `signed` and sends `body`.
    async fn send_signed(&self, id: &str, at: Timestamp, signed: &str, body: &str) -> Answer {
        let signature =
            sign(&self.secret.clone().into(), id, at, signed.as_bytes()).expect("signs");
        let request = self
            .world
            .anonymous
            .request(Method::POST, &self.path)
            .header("webhook-id", id)
            .header("webhook-timestamp", (at.micros() / 1_000_000).to_string())
            .header("webhook-signature", signature)
            .body(body.to_owned());
        send(request).await
    }
}

async fn hooked(world: &World, source: &str) -> (String, Answer) {
    let mut body = pure("listener");
    body["subscriptions"] = json!([{"source": source, "event": "push"}]);
    let employee = world.manager.hire(body).await;
    let hook = json!({"source": "github", "name": "main", "event_type": "/type"});
    let hook = world.admin.post("/v1/hooks", hook).await;
    assert_eq!(hook.status, 201, "{hook:?}");
    (employee, hook)
}

fn runs(body: &Value) -> usize {
    body["items"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn a_webhook_starts_one_run_however_often_it_comes() {
    for source in ["hook:github", "hook:github/main", "hook:github/*", "hook:*"] {
        let world = world().await;
        let (employee, hook) = hooked(&world, source).await;
        let sender = Sender {
            world: &world,
            path: hook.text("path"),
            secret: hook.text("secret"),
        };
        let first = sender.send("msg_1", r#"{"type": "push", "n": 1}"#).await;
        assert_eq!(
            (first.status.as_u16(), &first.body["duplicate"]),
            (202, &json!(false)),
            "{source} {first:?}"
        );
        assert_eq!(first.body["started"][0]["employee_id"], json!(employee));
        assert_eq!(
            first.body["started"].as_array().map(Vec::len),
            Some(1),
            "{source}"
        );
        let replayed = sender.send("msg_1", r#"{"type": "push", "n": 1}"#).await;
        assert_eq!(
            (replayed.status.as_u16(), &replayed.body["duplicate"]),
            (202, &json!(true))
        );
        let other = sender.send("msg_2", r#"{"type": "pull"}"#).await;
        assert_eq!(
            (other.status.as_u16(), &other.body["started"]),
            (202, &json!([]))
        );
        assert_eq!(runs(&world.viewer.get("/v1/runs").await.body), 1);
    }
}

#[tokio::test]
async fn what_is_not_signed_is_refused() {
    let world = world().await;
    let (_, hook) = hooked(&world, "hook:github").await;
    let sender = Sender {
        world: &world,
        path: hook.text("path"),
        secret: hook.text("secret"),
    };
    let now = world.engine.now();
    let body = r#"{"type": "push"}"#;
    sender
        .send_signed("m", now, body, r#"{"type":"push"}"#)
        .await
        .problem(401, "invalid_signature");
    let old = Timestamp::from_micros(now.micros() - 3_600_000_000);
    sender
        .send_signed("m", old, body, body)
        .await
        .problem(401, "invalid_signature");
    let bare = send(
        world
            .anonymous
            .request(Method::POST, &sender.path)
            .body(body),
    )
    .await;
    bare.problem(400, "bad_webhook");
    sender.send("m", "{").await.problem(400, "malformed_json");
    let elsewhere = Sender {
        path: "/hooks/github/guess".into(),
        world: &world,
        secret: sender.secret.clone(),
    };
    elsewhere.send("m", body).await.problem(404, "not_found");
    assert_eq!(runs(&world.viewer.get("/v1/runs").await.body), 0);
    assert!(
        !world
            .viewer
            .get("/v1/hooks")
            .await
            .body
            .to_string()
            .contains("whsec_")
    );
}

#[tokio::test]
async fn rotation_keeps_the_old_secret_until_it_is_dropped() {
    let world = world().await;
    let (_, hook) = hooked(&world, "hook:github").await;
    let path = format!("/v1/hooks/{}", hook.text("id"));
    let old = Sender {
        world: &world,
        path: hook.text("path"),
        secret: hook.text("secret"),
    };
    let body = r#"{"type": "push"}"#;
    let rotated = world.admin.post(&format!("{path}/rotate"), json!({})).await;
    let new = Sender {
        world: &world,
        path: hook.text("path"),
        secret: rotated.text("secret"),
    };
    assert_eq!(old.send("m1", body).await.status, 202);
    assert_eq!(new.send("m2", body).await.status, 202);
    let rotated = world
        .admin
        .post(&format!("{path}/rotate?drop_old=true"), json!({}))
        .await;
    let newest = Sender {
        world: &world,
        path: hook.text("path"),
        secret: rotated.text("secret"),
    };
    old.send("m3", body).await.problem(401, "invalid_signature");
    new.send("m3", body).await.problem(401, "invalid_signature");
    assert_eq!(newest.send("m3", body).await.status, 202);
    assert_eq!(world.admin.delete(&path).await.status, 204);
    newest.send("m4", body).await.problem(404, "not_found");
}
