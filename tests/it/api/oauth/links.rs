//! The page behind a connect link, for a person who has no account here.

use super::{Bench, Page, bench};
use serde_json::{Value, json};

async fn link(bench: &Bench, body: Value) -> (String, String) {
    let made = bench.world.admin.post("/v1/connect-links", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    (
        made.text("url"),
        format!("/v1/connect-links/{}", made.text("id")),
    )
}

async fn status(bench: &Bench, path: &str) -> String {
    bench.world.admin.get(path).await.text("status")
}

/// The name and value of the cookie that a page set.
fn cookie(page: &Page) -> String {
    let cookie = page.cookie.as_deref().expect("a cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"),
        "{cookie}"
    );
    cookie.split(';').next().expect("a pair").to_owned()
}

const CONSENT: [(&str, &str); 1] = [("way", "oauth2_code")];

#[tokio::test]
async fn looking_uses_nothing_up_and_posting_does() {
    let bench = bench().await;
    let (url, path) = link(&bench, json!({"integration": "slack"})).await;
    for _ in 0..3 {
        let page = bench.open(&url).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(
            page.text
                .contains("<b>mine</b> asks for access to your Slack"),
            "{}",
            page.text
        );
        assert!(!page.text.contains("<script"));
        let sandbox = format!("form-action 'self' {}", bench.sandbox.url());
        assert!(page.policy.contains(&sandbox), "{}", page.policy);
    }
    assert_eq!(status(&bench, &path).await, "open");
    let departed = bench.post(&url, &CONSENT).await;
    assert_eq!(departed.status, 303, "{}", departed.text);
    assert_eq!(bench.open(&url).await.status, 410);
    assert_eq!(bench.post(&url, &CONSENT).await.status, 410);
    assert_eq!(status(&bench, &path).await, "used");

    let back = bench
        .decide(departed.location.as_deref().expect("a way"), "allow")
        .await;
    let page = bench.open_with(&back, &cookie(&departed)).await;
    assert_eq!(page.status, 200, "{}", page.text);
    let done = bench.world.admin.get(&path).await;
    assert_eq!(done.text("status"), "completed");
    assert_eq!(done.text("connection_status"), "active");
    assert_eq!(bench.open(&url).await.status, 410);
}

#[tokio::test]
async fn a_consent_comes_back_in_the_browser_that_began_it() {
    let bench = bench().await;
    let (url, path) = link(&bench, json!({"integration": "slack"})).await;
    let departed = bench.post(&url, &CONSENT).await;
    let back = bench
        .decide(departed.location.as_deref().expect("a way"), "allow")
        .await;
    let page = bench.open(&back).await;
    assert_eq!(page.status, 400, "no cookie: {}", page.text);
    assert_eq!(status(&bench, &path).await, "open", "nothing came of it");

    let departed = bench.post(&url, &CONSENT).await;
    let back = bench
        .decide(departed.location.as_deref().expect("a way"), "deny")
        .await;
    let page = bench.open_with(&back, &cookie(&departed)).await;
    assert!(page.text.contains("Declined"), "{}", page.text);
    assert_eq!(status(&bench, &path).await, "open");
}

#[tokio::test]
async fn a_key_that_was_mistyped_can_be_typed_again() {
    let bench = bench().await;
    let body = json!({"integration": "slack", "name": "typed", "user": "ann@acme.test"});
    let (url, path) = link(&bench, body).await;
    let page = bench.open(&url).await;
    assert!(page.text.contains("for ann@acme.test"), "{}", page.text);
    assert!(page.text.contains("type=\"password\""), "{}", page.text);
    assert!(
        page.text
            .contains("<label for=\"bearer-field.token\">Bot token</label>"),
        "{}",
        page.text
    );
    let wrong = bench
        .post(&url, &[("way", "bearer"), ("field.token", "xoxb-wrong")])
        .await;
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    assert!(wrong.text.contains("role=\"alert\"") && !wrong.text.contains("xoxb-wrong"));
    assert_eq!(status(&bench, &path).await, "open");
    let token = bench.good_token();
    let good = bench
        .post(&url, &[("way", "bearer"), ("field.token", &token)])
        .await;
    assert_eq!(good.status, 200, "{}", good.text);
    let done = bench.world.admin.get(&path).await;
    assert_eq!(done.text("status"), "completed");
    let path = format!("/v1/connections/{}", done.text("connection_id"));
    let connection = bench.world.admin.get(&path).await;
    assert_eq!(connection.text("owner"), "ann@acme.test");
    assert_eq!(connection.text("way"), "bearer");
}

#[tokio::test]
async fn links_that_are_none_lead_nowhere() {
    let bench = bench().await;
    let url = format!("{}/connect/guess", bench.world.url());
    assert_eq!(bench.open(&url).await.status, 404);
    assert_eq!(bench.post(&url, &CONSENT).await.status, 404);
    let admin = &bench.world.admin;
    for (body, field) in [
        (json!({"integration": "slak"}), "integration"),
        (
            json!({"integration": "slack", "expires_in_seconds": 1}),
            "expires_in_seconds",
        ),
        (json!({"integration": "slack", "owner": "user"}), "user"),
    ] {
        let answer = admin.post("/v1/connect-links", body).await;
        assert_eq!(answer.problem(422, "invalid_field")["field"], field);
    }
    let id = bench.connect(admin, json!({"integration": "slack"})).await;
    let again = json!({"integration": "slack", "connection_id": id});
    let (url, _) = link(&bench, again).await;
    admin.delete(&format!("/v1/connections/{id}")).await;
    let page = bench.open(&url).await;
    assert_eq!(
        page.status, 404,
        "a deleted connection takes its links along"
    );

    let (_, path) = link(&bench, json!({"integration": "slack"})).await;
    bench
        .world
        .other_org
        .get(&path)
        .await
        .problem(404, "not_found");
    let listed = admin.get(&path).await;
    assert!(
        listed.body.get("url").is_none(),
        "it is shown once: {listed:?}"
    );
}
