//! An integration that the org has written itself: connected by consent, by link and by what is typed, renewed, and called.

use super::{Bench, SECRET, bench};
use reqwest::Method;
use serde_json::json;

use crate::api::world::send;

/// The sandbox's GitHub under a name of the org's own.
fn tracker(sandbox: &str) -> String {
    format!(
        r#"
id: tracker
name: Acme Tracker
base_url: {sandbox}/github
auth:
  - type: oauth2_code
    authorize_url: {sandbox}/oauth/github/authorize
    token_url: {sandbox}/oauth/github/token
    revoke_url: {sandbox}/oauth/github/revoke
    scopes: [repo]
    token_headers: {{ Accept: application/json }}
    rotates: true
    learn: {{ lifetime: {{ token: /expires_in }} }}
  - type: bearer
    field: {{ name: token, title: Token, secret: true }}
verify:
  request: {{ method: GET, path: /user }}
  account_name: /login
  account_id: /id
account:
  - {{ name: lifetime, description: how long a token lives, optional: true }}
quota: {{ requests: 1000, per_seconds: 1, burst: 1000 }}
capabilities:
  - id: tracker.me
    title: Who am I
    description: The account.
    permission: tracker.read
    risk: low
    write: false
    input: {{ type: object, additionalProperties: false }}
    output: {{ type: object, required: [login] }}
    request: {{ method: GET, path: /user }}
"#
    )
}

async fn with_tracker() -> Bench {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let yaml = admin
        .request(Method::POST, "/v1/integrations")
        .header("content-type", "application/yaml")
        .body(tracker(&bench.sandbox.url()));
    let added = send(yaml).await;
    assert_eq!(added.status, 201, "{added:?}");
    let callback = format!("{}/oauth/callback/tracker", bench.world.url());
    let client =
        json!({"client_id": "tracker", "client_secret": SECRET, "redirect_uris": [callback]});
    let settings = json!({"integration": "github", "clients": [client]});
    bench.order("/oauth/settings", settings).await;
    let app = json!({"client_id": "tracker", "client_secret": SECRET});
    let put = admin.put("/v1/oauth-clients/tracker", app).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(put.text("redirect_uri"), callback);
    bench
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_integration_of_the_org_is_connected_by_consent_and_called() {
    let bench = with_tracker().await;
    let admin = &bench.world.admin;
    let id = bench
        .connect(admin, json!({"integration": "tracker"}))
        .await;
    let path = format!("/v1/connections/{id}");
    let connection = admin.get(&path).await;
    assert_eq!(connection.text("status"), "active", "{connection:?}");
    assert!(
        connection.body["account_name"].is_string(),
        "{connection:?}"
    );

    let me = json!({"input": {}});
    let operator = &bench.world.operator;
    let called = operator.post("/proxy/tracker.me", me.clone()).await;
    assert_eq!(called.status, 200, "{called:?}");
    assert!(called.body["output"]["login"].is_string(), "{called:?}");

    // A token that has ended is renewed where the org's own file says.
    bench
        .order("/oauth/expire", json!({"integration": "github"}))
        .await;
    let called = operator.post("/proxy/tracker.me", me.clone()).await;
    assert_eq!(called.status, 200, "{called:?}");
    let renewed = bench
        .token_requests()
        .await
        .iter()
        .filter(|request| request["grant_type"] == "refresh_token")
        .count();
    assert_eq!(renewed, 1);

    let theirs = bench
        .world
        .other_org
        .post("/oauth/start", json!({"integration": "tracker"}))
        .await;
    assert_eq!(
        theirs.problem(422, "invalid_field")["field"],
        "integration",
        "another org has no such integration"
    );
    // Given back to the provider that the org's file names.
    assert_eq!(admin.delete(&path).await.status, 204);
    for _ in 0..400 {
        let requests = bench.token_requests().await;
        if requests
            .iter()
            .any(|request| request["grant_type"] == "revoke")
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the grant was not given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_refresh_tells_of_the_account_is_known_from_then_on() {
    let bench = with_tracker().await;
    let admin = &bench.world.admin;
    let lives = |seconds: u64| {
        let settings = json!({"integration": "github", "access_ttl_seconds": seconds});
        bench.order("/oauth/settings", settings)
    };
    lives(7_000).await;
    let id = bench
        .connect(admin, json!({"integration": "tracker"}))
        .await;
    let path = format!("/v1/connections/{id}");
    let known = async || admin.get(&path).await.body["account"]["data"]["lifetime"].clone();
    assert_eq!(known().await, 7_000);
    for seconds in [8_000, 9_000] {
        lives(seconds).await;
        bench
            .order("/oauth/expire", json!({"integration": "github"}))
            .await;
        let operator = &bench.world.operator;
        let called = operator
            .post("/proxy/tracker.me", json!({"input": {}}))
            .await;
        assert_eq!(called.status, 200, "{called:?}");
        assert_eq!(known().await, seconds);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_consent_without_a_refresh_token_keeps_the_first_ones() {
    let bench = with_tracker().await;
    let admin = &bench.world.admin;
    let start = || bench.connect(admin, json!({"integration": "tracker"}));
    let first = start().await;
    let settings = json!({"integration": "github", "refresh_is_given": false});
    bench.order("/oauth/settings", settings).await;
    assert_eq!(start().await, first, "the same connection");
    for _ in 0..2 {
        bench
            .order("/oauth/expire", json!({"integration": "github"}))
            .await;
        let operator = &bench.world.operator;
        let called = operator
            .post("/proxy/tracker.me", json!({"input": {}}))
            .await;
        assert_eq!(called.status, 200, "{called:?}");
    }
    let connection = admin.get(&format!("/v1/connections/{first}")).await;
    assert_eq!(connection.text("status"), "active", "{connection:?}");
}

#[tokio::test]
async fn an_integration_of_the_org_has_a_connect_page() {
    let bench = with_tracker().await;
    let admin = &bench.world.admin;
    let made = admin
        .post("/v1/connect-links", json!({"integration": "tracker"}))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let page = bench.open(&made.text("url")).await;
    assert!(page.text.contains("Acme Tracker"), "{}", page.text);
    let departed = bench
        .post(&made.text("url"), &[("way", "oauth2_code")])
        .await;
    let back = bench
        .decide(departed.location.as_deref().expect("a way"), "allow")
        .await;
    let cookie = departed
        .cookie
        .as_deref()
        .and_then(|all| all.split(';').next());
    let page = bench.open_with(&back, cookie.expect("a cookie")).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(
        page.text.contains("Acme Tracker is connected"),
        "{}",
        page.text
    );
    let refused = json!({"integration": "tracker", "name": "typed", "way": "bearer", "fields": {"token": "wrong"}});
    let refused = admin.post("/v1/connections", refused).await;
    refused.problem(422, "provider_refused");
}
