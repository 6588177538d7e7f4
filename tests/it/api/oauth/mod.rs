//! Consent, connect links and typed credentials, against the sandbox's authorisation servers.

mod ahead;
mod auth0;
mod links;
mod own;

mod dead;
mod owners;
mod tokens;

use super::world::{Client, World, send, settings, world_with};
use reqwest::{StatusCode, header, redirect};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::Duration;
use tenure::{
    actors::Settings,
    sandbox::{Sandbox, SandboxHandle},
};

const SECRET: &str = "app-hush-hush";

/// A service and a sandbox whose Slack knows the org's app.
pub struct Bench {
    pub world: World,
    pub sandbox: SandboxHandle,
    http: reqwest::Client,
}

/// Nothing is renewed or probed but by calls, so that what the sandbox sees is what a test does.
pub async fn bench() -> Bench {
    bench_with(Settings {
        renew_every: Duration::from_secs(86_400),
        probe_every: Duration::ZERO,
        ..settings()
    })
    .await
}

pub async fn bench_with(settings: Settings) -> Bench {
    let world = world_with(settings).await;
    let folder = world.dir().join("sandbox");
    let today = chrono::NaiveDate::from_ymd_opt(2026, 1, 15).expect("a date");
    let sandbox = Sandbox::start("127.0.0.1:0".parse().expect("an address"), folder, today);
    let bench = Bench {
        sandbox: sandbox.await.expect("a sandbox"),
        world,
        http: reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .build()
            .expect("a client"),
    };
    bench.settings(json!({})).await;
    let app = bench.app();
    let put = bench.world.admin.put("/v1/oauth-clients/slack", app).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(put.text("redirect_uri"), bench.callback());
    bench
}

/// What a browser got.
pub struct Page {
    pub status: StatusCode,
    pub location: Option<String>,
    pub cookie: Option<String>,
    pub policy: String,
    pub text: String,
}

impl Bench {
    pub fn callback(&self) -> String {
        format!("{}/oauth/callback/slack", self.world.url())
    }

    fn app(&self) -> Value {
        let at = |what: &str| format!("{}/oauth/slack/{what}", self.sandbox.url());
        json!({
            "client_id": "app", "client_secret": SECRET, "authorize_url": at("authorize"), "token_url": at("token"),
            "revoke_url": at("revoke"), "base_url": format!("{}/slack", self.sandbox.url()),
            "redirect_uris": ["https://elsewhere.test/cb"],
        })
    }

    /// How the sandbox's Slack behaves.
    pub async fn settings(&self, settings: Value) {
        let app = json!({
            "client_id": "app", "client_secret": SECRET,
            "redirect_uris": [self.callback(), "https://elsewhere.test/cb"],
        });
        let mut body = json!({"integration": "slack", "clients": [app]});
        for (name, value) in settings.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.order("/oauth/settings", body).await;
    }

    pub async fn order(&self, path: &str, body: Value) {
        let url = format!("{}{path}", self.sandbox.url());
        let answer = self
            .http
            .post(url)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        assert!(
            answer.status().is_success(),
            "{path}: {:?}",
            answer.text().await
        );
    }

    /// Token requests that the sandbox had.
    pub async fn token_requests(&self) -> Vec<Value> {
        let url = format!("{}/oauth/log", self.sandbox.url());
        let answer = self.http.get(url).send().await.expect("an answer");
        let log: Value = answer.json().await.expect("json");
        log["items"].as_array().expect("a list").clone()
    }

    /// The sandbox's own token, which is always good.
    pub fn good_token(&self) -> String {
        let accounts = self.sandbox.accounts();
        let slack = accounts
            .iter()
            .find(|account| account.integration == "slack");
        slack.expect("slack").token.expose_secret().to_owned()
    }

    /// The person at the provider decides; gives the address to which the browser is sent back.
    pub async fn decide(&self, authorize_url: &str, decision: &str) -> String {
        let form = [("decision", decision), ("user", "U0MAYA")];
        let answer = self.http.post(authorize_url).form(&form).send().await;
        let answer = answer.expect("an answer");
        let location = answer.headers().get(header::LOCATION).cloned();
        let text = answer.text().await.unwrap_or_default();
        let location = location.unwrap_or_else(|| panic!("no way back: {text}"));
        location.to_str().expect("an address").to_owned()
    }

    pub async fn browse(&self, request: reqwest::RequestBuilder) -> Page {
        let answer = request.send().await.expect("an answer");
        let text_of = |name| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        Page {
            status: answer.status(),
            location: text_of(header::LOCATION),
            cookie: text_of(header::SET_COOKIE),
            policy: text_of(header::CONTENT_SECURITY_POLICY).unwrap_or_default(),
            text: answer.text().await.expect("a body"),
        }
    }

    pub async fn open(&self, url: &str) -> Page {
        self.browse(self.http.get(url)).await
    }

    pub async fn post(&self, url: &str, form: &[(&str, &str)]) -> Page {
        self.browse(self.http.post(url).form(form)).await
    }

    pub async fn open_with(&self, url: &str, cookie: &str) -> Page {
        self.browse(self.http.get(url).header(header::COOKIE, cookie))
            .await
    }

    /// Begins a consent as this caller, lets the person agree, and comes back. Gives the connection's id.
    pub async fn connect(&self, caller: &Client, start: Value) -> String {
        let started = caller.post("/oauth/start", start).await;
        assert_eq!(started.status, 200, "{started:?}");
        let back = self.decide(&started.text("authorize_url"), "allow").await;
        let page = self.open(&back).await;
        assert_eq!(page.status, 200, "{}", page.text);
        started.text("connection_id")
    }
}

#[tokio::test]
async fn a_consent_makes_an_active_connection() {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let started = admin
        .post("/oauth/start", json!({"integration": "slack"}))
        .await;
    let path = format!("/v1/connections/{}", started.text("connection_id"));
    assert_eq!(admin.get(&path).await.text("status"), "pending");
    let authorize = started.text("authorize_url");
    assert!(authorize.contains("redirect_uri=http"), "{authorize}");
    assert!(!started.body.to_string().contains(SECRET));

    let back = bench.decide(&authorize, "allow").await;
    assert!(back.starts_with(&bench.callback()), "{back}");
    let page = bench.open(&back).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert!(page.text.contains("Slack is connected as"), "{}", page.text);
    assert!(
        page.policy.contains("default-src 'none'"),
        "{}",
        page.policy
    );
    let again = bench.open(&back).await;
    assert_eq!(again.status, 400, "a state is good once");

    let connection = admin.get(&path).await;
    assert_eq!(connection.text("status"), "active");
    assert_eq!(connection.text("way"), "oauth2_code");
    assert_eq!(connection.body["owner"], Value::Null);
    assert!(connection.body["expires_at"].is_string(), "{connection:?}");
    assert!(connection.body["verified_at"].is_string(), "{connection:?}");
    assert!(
        connection.body["account"]["data"]["team_id"].is_string(),
        "{connection:?}"
    );
    assert_eq!(connection.body["scopes"][0], "chat:write");
    let listed = admin.get("/v1/connections").await.body.to_string();
    assert!(
        !listed.contains("xox") && !listed.contains(SECRET),
        "{listed}"
    );

    // Once more for the same name: the connection stays the same one.
    let second = bench.connect(admin, json!({"integration": "slack"})).await;
    assert_eq!(second, started.text("connection_id"));
    let gone = admin.delete(&path).await;
    assert_eq!(gone.status, 204);
    admin.get(&path).await.problem(404, "not_found");
}

#[tokio::test]
async fn what_comes_back_wrong_connects_nothing() {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let start = || admin.post("/oauth/start", json!({"integration": "slack"}));
    let started = start().await;
    let path = format!("/v1/connections/{}", started.text("connection_id"));
    let back = bench.decide(&started.text("authorize_url"), "deny").await;
    let page = bench.open(&back).await;
    assert!(page.text.contains("Declined"), "{}", page.text);

    let back = bench
        .decide(&start().await.text("authorize_url"), "allow")
        .await;
    let elsewhere = back.replace("/callback/slack", "/callback/gmail");
    assert_eq!(bench.open(&elsewhere).await.status, 400);
    assert_eq!(bench.open(&back).await.status, 400, "the state is gone now");

    let back = bench
        .decide(&start().await.text("authorize_url"), "allow")
        .await;
    let wrong = back.replace("code=", "code=x");
    let page = bench.open(&wrong).await;
    assert_eq!(page.status, 422, "{}", page.text);
    for query in [
        "",
        "?code=a",
        "?state=guess&code=a",
        "?state=%00&error=%3Cscript%3E",
    ] {
        let page = bench.open(&format!("{}{query}", bench.callback())).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(!page.text.contains("<script>"));
    }
    let started = start().await;
    let state = started.text("authorize_url");
    let state = state
        .split("state=")
        .nth(1)
        .and_then(|rest| rest.split('&').next());
    let hostile = format!(
        "{}?state={}&error=server_error&error_description=%3Cscript%3E",
        bench.callback(),
        state.expect("a state")
    );
    let page = bench.open(&hostile).await;
    assert!(page.text.contains("&lt;script&gt;") && !page.text.contains("<script>"));
    assert_eq!(admin.get(&path).await.text("status"), "pending");
}

#[tokio::test]
async fn somebody_else_may_catch_the_code() {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let org = bench.world.org.to_string();
    let start = json!({"integration": "slack", "redirect_uri": "https://elsewhere.test/cb"});
    let started = admin.post("/oauth/start", start.clone()).await;
    let back = bench.decide(&started.text("authorize_url"), "allow").await;
    assert!(back.starts_with("https://elsewhere.test/cb?"), "{back}");
    let part = |name: &str| {
        let query = back.split_once('?').expect("a query").1;
        let found = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.expect("a parameter").to_owned()
    };
    let complete = json!({
        "org_id": org, "connection_id": started.text("connection_id"), "auth_code": part("code"), "state": part("state"),
    });
    let mut theirs = complete.clone();
    theirs["org_id"] = json!("org_01jzzzzzzzzzzzzzzzzzzzzzzz");
    admin
        .post("/oauth/complete", theirs)
        .await
        .problem(404, "not_found");
    let other = bench
        .world
        .other_org
        .post("/oauth/complete", complete.clone())
        .await;
    other.problem(404, "not_found");
    let done = admin.post("/oauth/complete", complete.clone()).await;
    assert_eq!(
        (done.status.as_u16(), done.text("status")),
        (200, "active".into()),
        "{done:?}"
    );
    admin
        .post("/oauth/complete", complete)
        .await
        .problem(400, "invalid_state");

    // The published shape has no state: the newest open one of the connection counts.
    let started = admin.post("/oauth/start", start).await;
    let back = bench.decide(&started.text("authorize_url"), "allow").await;
    let code = back
        .split("code=")
        .nth(1)
        .and_then(|rest| rest.split('&').next());
    let body =
        json!({"org_id": org, "connection_id": started.text("connection_id"), "auth_code": code});
    let done = admin.post("/oauth/complete", body).await;
    assert_eq!(done.status, 200, "{done:?}");

    let start = json!({"integration": "slack", "redirect_uri": "https://evil.test/cb"});
    let refused = admin.post("/oauth/start", start).await;
    assert_eq!(
        refused.problem(422, "invalid_field")["field"],
        "redirect_uri"
    );
    let refused = admin
        .post("/oauth/start", json!({"integration": "gmail"}))
        .await;
    refused.problem(409, "not_configured");
}

#[tokio::test]
async fn apps_are_kept_without_showing_their_secrets() {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let listed = admin.get("/v1/oauth-clients").await;
    assert_eq!(listed.body["items"][0]["has_secret"], true);
    assert!(!listed.body.to_string().contains(SECRET));
    // Without a secret in the body the one before stays.
    let mut app = bench.app();
    app.as_object_mut()
        .expect("an object")
        .remove("client_secret");
    admin.put("/v1/oauth-clients/slack", app).await;
    bench.connect(admin, json!({"integration": "slack"})).await;

    let wrong = json!({"client_id": "a", "token_url": "nowhere"});
    let wrong = admin.put("/v1/oauth-clients/slack", wrong).await;
    assert_eq!(wrong.problem(422, "invalid_field")["field"], "token_url");
    let unknown = admin
        .put("/v1/oauth-clients/slak", json!({"client_id": "a"}))
        .await;
    assert!(
        unknown.problem(422, "invalid_field")["detail"]
            .to_string()
            .contains("slack")
    );
    let theirs = bench.world.other_org.get("/v1/oauth-clients").await;
    assert_eq!(theirs.body["items"], json!([]));
    let gone = bench
        .world
        .other_org
        .delete("/v1/oauth-clients/slack")
        .await;
    gone.problem(404, "not_found");
    assert_eq!(admin.delete("/v1/oauth-clients/slack").await.status, 204);
}

#[tokio::test]
async fn what_is_typed_is_verified_first() {
    let bench = bench().await;
    let admin = &bench.world.admin;
    let typed = |token: &str| json!({"integration": "slack", "name": "typed", "way": "bearer", "fields": {"token": token}});
    let refused = admin.post("/v1/connections", typed("xoxb-wrong")).await;
    let text = refused.problem(422, "provider_refused").to_string();
    assert!(!text.contains("xoxb-wrong"), "{text}");
    assert_eq!(admin.get("/v1/connections").await.body["items"], json!([]));
    let made = admin
        .post("/v1/connections", typed(&bench.good_token()))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.text("way"), "bearer");
    assert!(made.body["verified_at"].is_string());
    assert!(!made.body.to_string().contains(&bench.good_token()));
    for (fields, field) in [
        (json!({}), "fields.token"),
        (json!({"token": "a", "other": "b"}), "fields.other"),
        (json!({"token": "a\u{7}"}), "fields.token"),
    ] {
        let body = json!({"integration": "slack", "way": "bearer", "fields": fields});
        let answer = admin.post("/v1/connections", body).await;
        assert_eq!(answer.problem(422, "invalid_field")["field"], field);
    }
    let none = admin
        .post("/v1/connections", json!({"integration": "slack"}))
        .await;
    assert_eq!(none.problem(422, "invalid_field")["field"], "token");
    let no_way = json!({"integration": "slack", "way": "magic", "fields": {}});
    let no_way = admin.post("/v1/connections", no_way).await;
    assert_eq!(no_way.problem(422, "invalid_field")["field"], "way");
    send(admin.request(reqwest::Method::GET, "/v1/connections")).await;
}
