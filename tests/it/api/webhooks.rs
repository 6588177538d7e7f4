//! Signed webhooks: what is signed is taken once, what is not is refused.

use super::world::{Answer, World, pure, send, world};
use reqwest::Method;
use serde_json::{Value, json};
use tenure::{
    connect::webhook::{sign, sign_github, sign_stripe},
    domain::{ContentHash, Timestamp},
};

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

/// A hook of a scheme, and what proves a body to it.
async fn proved(
    world: &World,
    registration: Value,
    proof: &[(&str, String)],
    body: &str,
) -> Answer {
    let hook = world.admin.post("/v1/hooks", registration).await;
    assert_eq!(hook.status, 201, "{hook:?}");
    let mut request = world
        .anonymous
        .request(Method::POST, &hook.text("path"))
        .body(body.to_owned());
    for (name, value) in proof {
        request = request.header(*name, value);
    }
    send(request).await
}

#[tokio::test]
async fn every_scheme_is_taken_at_its_own_address() {
    let world = world().await;
    let secret = "a-secret-of-24-characters";
    let key = || secret.to_owned().into();
    let body = r#"{"id": "evt_1", "type": "invoice.paid"}"#;
    let now = world.engine.now();
    let basic = "Basic YW5uOnBhc3N3b3JkLTE=".to_owned();
    // What no signature covers names nothing.
    let body_name = ContentHash::of(body.as_bytes()).to_string();
    for (registration, proof, kind, external_id) in [
        (
            json!({"source": "github", "scheme": "github", "secret": secret}),
            vec![
                ("x-hub-signature-256", sign_github(&key(), body.as_bytes())),
                ("x-github-delivery", "72d3162e".into()),
                ("x-github-event", "issues".into()),
            ],
            json!("issues"),
            body_name.as_str(),
        ),
        (
            json!({"source": "stripe", "scheme": "stripe", "secret": "another-secret-0123", "more_secrets": [secret]}),
            vec![(
                "stripe-signature",
                sign_stripe(&key(), now, body.as_bytes()),
            )],
            json!("invoice.paid"),
            "evt_1",
        ),
        (
            json!({"source": "crm", "scheme": "basic", "secret": "ann:password-1", "options": {"id_header": "x-id"}}),
            vec![("authorization", basic), ("x-id", "b-1".into())],
            Value::Null,
            body_name.as_str(),
        ),
        (
            json!({"source": "shop", "scheme": "token", "secret": secret, "event_type": "/type",
                   "options": {"header": "authorization", "prefix": "Bearer ", "id_at": "/id"}}),
            vec![("authorization", format!("Bearer {secret}"))],
            json!("invoice.paid"),
            "evt_1",
        ),
    ] {
        let answer = proved(&world, registration.clone(), &proof, body).await;
        assert_eq!(answer.status, 202, "{registration} {answer:?}");
        let event = world
            .viewer
            .get(&format!("/v1/inbox/{}", answer.text("id")))
            .await
            .body;
        assert_eq!(
            (&event["kind"], &event["external_id"]),
            (&kind, &json!(external_id)),
            "{event}"
        );
        assert_eq!(
            event["payload"],
            json!({"id": "evt_1", "type": "invoice.paid"})
        );
        assert_eq!(event["scheme"], registration["scheme"]);
        assert!(
            !event.to_string().contains(secret) && !event.to_string().contains("YW5u"),
            "{event}"
        );
        // The same proof for another body, or none.
        let bare = proved(&world, registration.clone(), &[], body).await;
        bare.problem(400, "bad_webhook");
        if registration["scheme"] == "github" || registration["scheme"] == "stripe" {
            let other = proved(&world, registration, &proof, r#"{"id": "evt_2"}"#).await;
            other.problem(401, "invalid_signature");
        }
    }
}

#[tokio::test]
async fn a_registration_that_cannot_work_is_refused_by_its_field() {
    let world = world().await;
    for (registration, field) in [
        (json!({"source": "x", "scheme": "token"}), "options.header"),
        (
            json!({"source": "x", "scheme": "slack", "secret": "short"}),
            "secret",
        ),
        (
            json!({"source": "x", "scheme": "basic", "secret": "no colon in it"}),
            "secret",
        ),
        (
            json!({"source": "x", "scheme": "github", "more_secrets": ["x"]}),
            "more_secrets",
        ),
        (
            json!({"source": "x", "scheme": "github", "options": {"query": "t"}}),
            "options.query",
        ),
        (json!({"source": "x", "scheme": "carrier_pigeon"}), "scheme"),
        (
            json!({"source": "x", "options": {"heeder": "t"}}),
            "options.heeder",
        ),
    ] {
        let answer = world.admin.post("/v1/hooks", registration.clone()).await;
        assert_eq!(
            answer.problem(422, "invalid_field")["field"],
            field,
            "{registration}"
        );
    }
    let made = world
        .admin
        .post("/v1/hooks", json!({"source": "x", "scheme": "slack"}))
        .await;
    let rotate = format!("/v1/hooks/{}/rotate", made.text("id"));
    let rotated = world
        .admin
        .post(&rotate, json!({"secret": "one-that-slack-made-itself"}))
        .await;
    assert_eq!(rotated.text("secret"), "one-that-slack-made-itself");
    world
        .admin
        .post(&rotate, json!({"secret": "short"}))
        .await
        .problem(422, "invalid_field");
}

/// One request that somebody has got hold of, sent again under other names: it is the event that it was. Where the endpoint says that one body may be
/// many events, or nothing is signed and nothing named, each delivery is one: two orders that look alike are two orders.
#[tokio::test]
async fn a_body_that_was_signed_once_is_one_event_under_every_name() {
    let world = world().await;
    let secret = "a-secret-of-24-characters";
    let sum = sign_github(&secret.to_owned().into(), b"{\"n\":1}");
    let hash = sum.replace("sha256=", "");
    let basic = "Basic YW5uOnBhc3N3b3JkLTE=".to_owned();
    let hmac = |options: Value| json!({"source": "shop", "scheme": "hmac", "secret": secret, "options": options});
    let token = |options: Value| json!({"source": "shop", "scheme": "token", "secret": secret, "options": options});
    for (registration, proof, one_event) in [
        (
            json!({"source": "github", "scheme": "github", "secret": secret}),
            ("x-hub-signature-256", sum.clone()),
            true,
        ),
        (
            hmac(json!({"header": "x-sum"})),
            ("x-sum", hash.clone()),
            true,
        ),
        (
            hmac(json!({"header": "x-sum", "id_header": "x-id"})),
            ("x-sum", hash.clone()),
            true,
        ),
        (
            json!({"source": "crm", "scheme": "basic", "secret": "ann:password-1", "options": {"id_header": "x-id"}}),
            ("authorization", basic.clone()),
            true,
        ),
        (
            token(json!({"header": "x-token", "id_header": "x-id"})),
            ("x-token", secret.into()),
            true,
        ),
        (
            hmac(json!({"header": "x-sum", "id_header": "x-id", "same_body": "new_event"})),
            ("x-sum", hash),
            false,
        ),
        (
            token(json!({"header": "x-token"})),
            ("x-token", secret.into()),
            false,
        ),
    ] {
        let hook = world.admin.post("/v1/hooks", registration.clone()).await;
        let mut duplicates = Vec::new();
        for id in ["1", "2", "2"] {
            let request = world
                .anonymous
                .request(Method::POST, &hook.text("path"))
                .header(proof.0, &proof.1)
                .header("x-id", id)
                .header("x-github-delivery", id)
                .body("{\"n\":1}");
            duplicates.push(send(request).await.body["duplicate"] == json!(true));
        }
        let named = registration["options"]["id_header"].is_string();
        let expected = match one_event {
            true => [false, true, true],
            false => [false, false, named],
        };
        assert_eq!(duplicates, expected, "{registration}");
    }
    // Names that are signed tell two that look alike apart.
    let (_, hook) = hooked(&world, "hook:github").await;
    let sender = Sender {
        world: &world,
        path: hook.text("path"),
        secret: hook.text("secret"),
    };
    for id in ["m1", "m2"] {
        let answer = sender.send(id, r#"{"type": "push"}"#).await;
        assert_eq!(answer.body["duplicate"], json!(false), "{id}");
    }
    let options = json!({"header": "x-sum", "id_at": "/id"});
    let hook = world.admin.post("/v1/hooks", hmac(options)).await;
    // Two ids of 21 digits.
    for (body, duplicate) in [
        (r#"{"id": 123456789012345678901}"#, false),
        (r#"{"id": 123456789012345678902}"#, false),
        (r#"{"id": 123456789012345678901 }"#, true),
    ] {
        let sum = sign_github(&secret.to_owned().into(), body.as_bytes());
        let request = world
            .anonymous
            .request(Method::POST, &hook.text("path"))
            .header("x-sum", sum.replace("sha256=", "").to_uppercase())
            .body(body);
        assert_eq!(
            send(request).await.body["duplicate"],
            json!(duplicate),
            "{body}"
        );
    }
}
