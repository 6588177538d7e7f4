//! Consent at an authorisation server that nobody here wrote (npm `oidc-provider`), given in a real browser, and calls with what came of it.

mod browser;
mod issuer;

use crate::api::world::{World, world};
use browser::Browser;
use issuer::Issuer;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

/// As an org would write it down for a system of its own.
fn integration(issuer: &str) -> Value {
    let at = |path: &str| format!("{issuer}{path}");
    json!({
        "id": "house", "name": "House", "docs": "https://house.example/docs", "base_url": issuer,
        "auth": [
            {
                "type": "oauth2_code", "authorize_url": at("/auth"), "token_url": at("/token"), "revoke_url": at("/token/revocation"),
                "scopes": ["openid", "offline_access", "api:read"], "authorize_params": {"prompt": "consent"},
                "client_auth": "basic", "rotates": true
            },
            {"type": "oauth2_client_credentials", "token_url": at("/token"), "revoke_url": at("/token/revocation"), "scopes": ["api:read"]}
        ],
        "verify": {"request": {"method": "GET", "path": "/api/me"}, "account_name": "/account"},
        "quota": {"requests": 100, "per_seconds": 1, "burst": 100},
        "capabilities": [{
            "id": "house.me.read", "title": "Read who it is", "description": "Whom the token is for.",
            "permission": "house.read", "risk": "low", "write": false,
            "input": {"type": "object", "additionalProperties": false, "properties": {}, "examples": [{}]},
            "output": {"type": "object", "required": ["client_id"], "properties": {"client_id": {"type": "string"}}},
            "request": {"method": "GET", "path": "/api/me"}
        }]
    })
}

/// A service and an authorisation server that know each other.
struct Bench {
    world: World,
    issuer: Issuer,
}

async fn bench(access_seconds: u32) -> Bench {
    let world = world().await;
    let callback = format!("{}/oauth/callback/house", world.url());
    let issuer = Issuer::start(&callback, access_seconds);
    let house = integration(&issuer.url);
    let made = world.admin.post("/v1/integrations", house).await;
    assert_eq!(made.status, 201, "{made:?}");
    let app = json!({"client_id": "web", "client_secret": "web secret/with+signs"});
    let put = world.admin.put("/v1/oauth-clients/house", app).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(put.text("redirect_uri"), callback);
    Bench { world, issuer }
}

impl Bench {
    async fn link(&self, name: &str) -> (String, String) {
        let body = json!({"integration": "house", "name": name});
        let made = self.world.admin.post("/v1/connect-links", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        let path = format!("/v1/connect-links/{}", made.text("id"));
        (made.text("url"), path)
    }

    /// From the link to the provider's own page, where a person says who they are.
    async fn depart(&self, browser: &Browser, link: &str, who: &str) {
        browser.open(link).await;
        browser.reads("Connect House").await;
        browser
            .click("form:has(input[name=way][value=oauth2_code]) button[type=submit]")
            .await;
        browser.fill("input[name=login]", who).await;
        browser.fill("input[name=password]", "any").await;
        assert!(browser.url().await.starts_with(&self.issuer.url));
        browser.click("button.login-submit").await;
        browser.reads("offline access").await;
    }

    /// A call through a connection; what the provider said about its token.
    async fn call(&self, connection: &str) -> Value {
        let body = json!({"input": {}, "connection": connection});
        let called = self.world.operator.post("/proxy/house.me.read", body).await;
        assert_eq!(called.status, 200, "{called:?}");
        called.body["output"].clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_consents_in_a_browser_and_calls_go_on_over_rotations_until_it_is_given_back() {
    let bench = bench(4).await;
    let browser = Browser::start().await;
    let (link, path) = bench.link("mayas").await;
    bench.depart(&browser, &link, "maya").await;
    browser
        .click("button.login-submit, button[type=submit]")
        .await;
    let page = browser.reads("House").await;
    assert!(browser.url().await.starts_with(bench.world.url()), "{page}");
    let link = bench.world.admin.get(&path).await;
    assert_eq!(link.text("connection_status"), "active", "{link:?} {page}");
    let id = link.text("connection_id");

    let code = bench.issuer.grants("authorization_code");
    assert!(code.len() == 1 && code[0]["pkce"] == true, "{code:?}");
    let first = bench.call("mayas").await;
    assert_eq!(first["account"], "maya", "{first}");
    assert_eq!(first["access"], code[0]["access"]);

    // Tokens end and are renewed; no call fails, and no refresh token is used twice, which this server would not forgive.
    let mut seen = BTreeSet::new();
    while bench.issuer.grants("refresh_token").len() < 2 {
        let said = bench.call("mayas").await;
        assert_eq!(said["account"], "maya");
        seen.insert(said["access"].to_string());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(seen.len() >= 2, "{seen:?}");
    // One that ends before its time is renewed, too, and the caller sees nothing of it.
    let ended = reqwest::get(format!("{}/test/end_access_tokens", bench.issuer.url)).await;
    assert!(ended.is_ok_and(|answer| answer.status().is_success()));
    bench.call("mayas").await;
    let refreshes: Vec<Value> = bench.issuer.grants("refresh_token");
    let tokens: BTreeSet<String> = refreshes
        .iter()
        .map(|one| one["refresh"].to_string())
        .collect();
    assert_eq!(
        tokens.len(),
        refreshes.len(),
        "each rotation gives another one"
    );
    assert_eq!(bench.issuer.events("grant_error"), Vec::<Value>::new());

    // Given back: the provider knows that the grant is over.
    let deleted = bench
        .world
        .admin
        .delete(&format!("/v1/connections/{id}"))
        .await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    bench.issuer.heard("revoked", 1).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_declines_has_connected_nothing() {
    let bench = bench(60).await;
    let browser = Browser::start().await;
    let (link, path) = bench.link("mayas").await;
    bench.depart(&browser, &link, "maya").await;
    browser.click("a[href$='/abort']").await;
    let page = browser.reads("Declined").await;
    assert!(browser.url().await.starts_with(bench.world.url()), "{page}");
    let link = bench.world.admin.get(&path).await;
    assert_ne!(link.text("connection_status"), "active", "{link:?}");
    assert!(bench.issuer.grants("authorization_code").is_empty());
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_its_own_gets_tokens_without_a_person() {
    let bench = bench(60).await;
    let body = json!({
        "integration": "house", "name": "robot", "way": "oauth2_client_credentials",
        "fields": {"client_id": "robot", "client_secret": "robot-secret"},
    });
    let made = bench.world.admin.post("/v1/connections", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let said = bench.call("robot").await;
    assert_eq!(said["client_id"], "robot", "{said}");
    assert_eq!(said["scope"], "api:read", "{said}");
    assert_eq!(bench.issuer.grants("client_credentials").len(), 1);

    let wrong = json!({
        "integration": "house", "name": "liar", "way": "oauth2_client_credentials",
        "fields": {"client_id": "robot", "client_secret": "guessed"},
    });
    let refused = bench.world.admin.post("/v1/connections", wrong).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(!refused.body.to_string().contains("guessed"), "{refused:?}");
}
