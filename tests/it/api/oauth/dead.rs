//! A grant dies: the run that needs it waits, its owner is told with a link, and after the consent the run goes on by itself.

use super::{Bench, SECRET, bench};
use crate::api::world::employee_of;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tenure::{
    domain::{ConnectionId, Role},
    persistence::connection_set_status,
};

/// A bench whose org has Slack and Gmail for telling, and an app at GitHub.
async fn furnished() -> Bench {
    let bench = bench().await;
    let admin = &bench.world.admin;
    for account in bench.sandbox.all_accounts() {
        if !matches!(account.integration, "slack" | "gmail") {
            continue;
        }
        let connection = json!({
            "integration": account.integration, "token": secrecy::ExposeSecret::expose_secret(&account.token),
            "account": {"base_url": account.account.base_url, "quota": account.account.quota},
        });
        let made = admin.post("/v1/connections", connection).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let callback = format!("{}/oauth/callback/github", bench.world.url());
    let client = json!({"client_id": "app", "client_secret": SECRET, "redirect_uris": [callback]});
    let settings = json!({"integration": "github", "clients": [client]});
    bench.order("/oauth/settings", settings).await;
    let at = |what: &str| format!("{}/oauth/github/{what}", bench.sandbox.url());
    let app = json!({
        "client_id": "app", "client_secret": SECRET, "authorize_url": at("authorize"), "token_url": at("token"),
        "base_url": format!("{}/github", bench.sandbox.url()),
    });
    let put = admin.put("/v1/oauth-clients/github", app).await;
    assert_eq!(put.status, 200, "{put:?}");
    bench
}

/// Creates an issue.
fn reporter() -> Value {
    let mut body = employee_of(
        "reporter",
        json!([{
            "id": "report", "type": "action", "capability": "github.issue.create",
            "arguments": {"owner": "'demo'", "repo": "'website'", "title": "'once only'"},
        }]),
    );
    body["graph"]["nodes"][0]["permissions"] = json!(["github.issue.create"]);
    body
}

impl Bench {
    async fn record(&self, integration: &str) -> Vec<Value> {
        let url = format!("{}/record?integration={integration}", self.sandbox.url());
        let record: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        record["items"].as_array().expect("items").clone()
    }

    async fn until_recorded(&self, integration: &str, path: &str) -> Value {
        for _ in 0..800 {
            let record = self.record(integration).await;
            let found = record
                .iter()
                .find(|call| call["path"].as_str().unwrap_or_default().ends_with(path));
            if let Some(found) = found {
                return found.clone();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("nothing was sent to {integration}{path}");
    }

    /// Follows a link to the end.
    async fn follow(&self, url: &str) {
        let departed = self.post(url, &[("way", "oauth2_code")]).await;
        let back = departed
            .location
            .as_deref()
            .unwrap_or_else(|| panic!("{}", departed.text));
        let back = self.decide(back, "allow").await;
        let cookie = departed
            .cookie
            .as_deref()
            .and_then(|all| all.split(';').next());
        let page = self.open_with(&back, cookie.expect("a cookie")).await;
        assert_eq!(page.status, 200, "{}", page.text);
    }
}

/// The connect link in a text.
fn link_in(text: &str) -> String {
    let from = text
        .find("http://")
        .unwrap_or_else(|| panic!("no link in {text}"));
    let link = text[from..].split_whitespace().next().expect("a link");
    assert!(link.contains("/connect/"), "{text}");
    link.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_grant_is_told_and_mended_and_the_run_goes_on() {
    let bench = furnished().await;
    let world = &bench.world;
    let settings =
        json!({"slack": {"alerts_channel": "#finance"}, "mail": {"alerts_to": "boss@acme.test"}});
    let set = world
        .admin
        .request(Method::PATCH, "/v1/org")
        .json(&settings);
    assert!(set.send().await.expect("an answer").status().is_success());
    let id = bench
        .connect(&world.admin, json!({"integration": "github"}))
        .await;
    let employee = world.manager.hire(reporter()).await;
    bench
        .order("/oauth/revoke_grant", json!({"integration": "github"}))
        .await;

    let path = format!("/v1/employees/{employee}/triggers");
    let run = world
        .operator
        .post(&path, json!({"payload": {}}))
        .await
        .text("execution_id");
    let run = format!("/v1/runs/{run}");
    let waiting = world
        .viewer
        .until(&run, |run| run["status"] == "waiting")
        .await;
    assert_eq!(waiting["waiting_on"][0]["kind"], "connection", "{waiting}");

    let message = bench.until_recorded("slack", "chat.postMessage").await;
    let text = message["body"]["text"].as_str().expect("a text").to_owned();
    assert!(text.contains("GitHub"), "{text}");
    let link = link_in(&text);
    let mail = bench.until_recorded("gmail", "/messages/send").await;
    let raw = mail["body"]["raw"].as_str().expect("a mail");
    let raw = URL_SAFE_NO_PAD
        .decode(raw.trim_end_matches('='))
        .expect("base64");
    let mail = String::from_utf8_lossy(&raw).replace("=\r\n", "");
    assert!(mail.contains("boss@acme.test"), "{mail}");

    let event = "/v1/events?format=json&types=connection.needs_reauth";
    let events = world.viewer.get(event).await;
    let items = events.body["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "{events:?}");
    assert_eq!(items[0]["connection_id"], json!(id));
    let theirs = world.other_org.get(event).await;
    assert_eq!(theirs.body["items"], json!([]));

    // The ledger shows that it was told, and not the link.
    let token = link.rsplit('/').next().expect("a token");
    let effects = world.viewer.get("/v1/effects").await.body.to_string();
    assert!(
        effects.contains("/connect/[link]") && !effects.contains(token),
        "{effects}"
    );

    bench.follow(&link).await;
    world
        .viewer
        .until(&run, |run| run["status"] == "completed")
        .await;
    let created = bench.record("github").await;
    let created = created.iter().filter(|call| {
        call["method"] == "POST"
            && call["path"]
                .as_str()
                .unwrap_or_default()
                .ends_with("/issues")
    });
    let created = created.filter(|call| call["status"].is_null() || call["status"] == 201);
    assert_eq!(created.count(), 1, "once");
    assert_eq!(
        bench
            .record("slack")
            .await
            .iter()
            .filter(|call| call["path"] == "/api/chat.postMessage")
            .count(),
        1,
        "told once"
    );
    // The link of the mail leads nowhere any more: the account is connected.
    if let Some(from) = mail.find("http://") {
        let other = mail[from..].split_whitespace().next().expect("a link");
        assert_eq!(bench.open(other).await.status, 410, "{other}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_users_account_that_user_alone_is_told() {
    let bench = furnished().await;
    let world = &bench.world;
    let settings = json!({"slack": {"alerts_channel": "#finance"}});
    let set = world
        .admin
        .request(Method::PATCH, "/v1/org")
        .json(&settings);
    assert!(set.send().await.expect("an answer").status().is_success());
    let people =
        json!({"slack_people": {"U0MAYA": {"user": "maya@acme.test", "role": "operator"}}});
    assert_eq!(world.admin.put("/v1/org/people", people).await.status, 200);
    let maya = world.user("maya@acme.test", Role::Operator).await;
    let noah = world.user("noah@acme.test", Role::Operator).await;
    let id = bench.connect(&maya, json!({"integration": "github"})).await;
    bench
        .order("/oauth/revoke_grant", json!({"integration": "github"}))
        .await;
    let probed = maya
        .post(&format!("/v1/connections/{id}/probe"), json!({}))
        .await;
    assert_eq!(probed.text("status"), "needs_reauth", "{probed:?}");
    let message = bench.until_recorded("slack", "chat.postMessage").await;
    assert_eq!(message["body"]["channel"], "U0MAYA", "{message}");

    let event = "/v1/events?format=json&types=connection.needs_reauth";
    for (client, seen) in [
        (&maya, 1),
        (&world.admin, 1),
        (&noah, 0),
        (&world.viewer, 0),
    ] {
        let events = client.get(event).await;
        assert_eq!(
            events.body["items"].as_array().map(Vec::len),
            Some(seen),
            "{events:?}"
        );
    }
}

/// The process may die between a consent and the waking of what waited for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_not_woken_looks_again() {
    let bench = furnished().await;
    let world = &bench.world;
    let id = bench
        .connect(&world.admin, json!({"integration": "github"}))
        .await;
    let id: ConnectionId = id.parse().expect("an id");
    let core = world.engine.core();
    let set = async |status: &str| {
        let mut tx = core.db.begin(world.org).await.expect("begins");
        let now = world.engine.now();
        connection_set_status(&mut tx, id, status, now)
            .await
            .expect("is set");
        tx.commit().await.expect("commits");
        core.connectors().forget(world.org, "github");
    };
    set("revoked").await;
    let employee = world.manager.hire(reporter()).await;
    let path = format!("/v1/employees/{employee}/triggers");
    let run = world
        .operator
        .post(&path, json!({"payload": {}}))
        .await
        .text("execution_id");
    let run = format!("/v1/runs/{run}");
    world
        .viewer
        .until(&run, |run| run["status"] == "waiting")
        .await;
    set("active").await;
    world
        .viewer
        .until_within(&run, Duration::from_secs(60), |run| {
            run["status"] == "completed"
        })
        .await;
}
