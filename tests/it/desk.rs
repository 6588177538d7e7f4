//! An org's own integration at a sandbox that is a process of its own: it stays when the service is killed. Its OAuth goes where the test
//! says, and it has no quota to speak of.

use crate::process::Client;
use serde_json::{Value, json};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

pub const APP_SECRET: &str = "desk-app-hush-hush";
/// Where codes are caught by the test: the service is on another port after each start.
const REDIRECT: &str = "https://elsewhere.test/cb";

/// The binary as `tenure sandbox`.
pub struct Sandbox {
    _child: Child,
    pub url: String,
    /// Its own accounts: `{"integration", "base_url", "token", "data"}`.
    #[allow(dead_code, reason = "only the shows of the cluster read them")]
    pub accounts: Vec<Value>,
}

impl Sandbox {
    pub async fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tenure"))
            .args(["sandbox", "--json", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line())
            .await
            .expect("ready in time")
            .expect("readable")
            .expect("the line with the address");
        let ready: Value = serde_json::from_str(&line).expect("json");
        Self {
            accounts: ready["accounts"].as_array().cloned().unwrap_or_default(),
            _child: child,
            url: ready["sandbox_url"]
                .as_str()
                .expect("an address")
                .to_owned(),
        }
    }

    pub fn client(&self) -> Client {
        Client {
            base: self.url.clone(),
            key: None,
        }
    }

    /// How its Slack gives tokens.
    pub async fn oauth(&self, mut settings: Value) {
        settings["integration"] = json!("slack");
        settings["clients"] = json!([
            {"client_id": "desk", "client_secret": APP_SECRET, "redirect_uris": [REDIRECT]}
        ]);
        let set = self.client().post("/oauth/settings", &settings).await;
        assert_eq!(set.status, 200, "{set:?}");
    }

    /// Token requests of one kind, the oldest first.
    pub async fn token_requests(&self, grant_type: &str) -> Vec<Value> {
        let path = format!("/oauth/log?grant_type={grant_type}");
        let log = self.client().get(&path).await;
        log.body["items"].as_array().expect("a list").clone()
    }

    /// Texts of the messages that were posted, in order.
    pub async fn posts(&self) -> Vec<String> {
        let record = self
            .client()
            .get("/record?integration=slack&limit=100000")
            .await;
        let calls = record.body["items"].as_array().expect("items").iter();
        let posts = calls.filter(|call| {
            let carried_out = call["status"].is_null() || call["status"] == 200;
            call["path"] == "/api/chat.postMessage" && carried_out
        });
        let texts = posts.filter_map(|call| call["body"]["text"].as_str());
        texts.map(str::to_owned).collect()
    }
}

/// The sandbox's Slack under a name of the org's own.
fn definition(sandbox: &str, oauth: &str) -> Value {
    json!({
        "id": "desk", "name": "Desk", "base_url": format!("{sandbox}/slack"),
        "auth": [
            {
                "type": "oauth2_code", "rotates": true, "pkce": true, "scopes": ["chat:write"],
                "authorize_url": format!("{sandbox}/oauth/slack/authorize"),
                "token_url": format!("{oauth}/oauth/slack/token"),
                "error": {"ok_flag": "/ok", "dead_grant": ["invalid_refresh_token", "invalid_grant", "token_revoked", "token_expired"]},
            },
            {"type": "bearer", "field": {"name": "token", "title": "Token", "secret": true}},
        ],
        "verify": {"request": {"method": "GET", "path": "/api/auth.test"}},
        "quota": {"requests": 100_000, "per_seconds": 1, "burst": 100_000},
        "answers": {"ok_flag": "/ok", "code": ["/error"], "auth": ["invalid_auth", "token_expired", "token_revoked", "not_authed"]},
        "capabilities": [
            {
                "id": "desk.who", "title": "Who", "description": "The account.", "permission": "desk.read", "risk": "low", "write": false,
                "input": {"type": "object", "additionalProperties": false}, "output": {"type": "object"},
                "request": {"method": "GET", "path": "/api/auth.test"},
            },
            {
                "id": "desk.say", "title": "Say", "description": "Posts a message.", "permission": "desk.write", "risk": "medium", "write": true,
                "input": {
                    "type": "object", "additionalProperties": false, "required": ["text"], "properties": {"text": {"type": "string"}},
                },
                "output": {"type": "object"},
                "request": {"method": "POST", "path": "/api/chat.postMessage", "json": {"channel": "#finance", "text": "{input.text}"}},
                "idempotency": "none",
            },
        ],
    })
}

/// Adds the integration; its tokens come from `oauth`, which may stand between the service and the sandbox.
pub async fn add(client: &Client, sandbox: &Sandbox, oauth: &str) {
    let added = client
        .post("/v1/integrations", &definition(&sandbox.url, oauth))
        .await;
    assert_eq!(added.status, 201, "{added:?}");
    let app =
        json!({"client_id": "desk", "client_secret": APP_SECRET, "redirect_uris": [REDIRECT]});
    let put = client
        .try_send("PUT", "/v1/oauth-clients/desk", &[], Some(&app))
        .await;
    assert_eq!(put.expect("an answer").status, 200);
}

/// Connects it by a consent; gives the connection's id.
pub async fn connect(client: &Client) -> String {
    let start = json!({"integration": "desk", "redirect_uri": REDIRECT});
    let started = client.post("/oauth/start", &start).await;
    assert_eq!(started.status, 200, "{started:?}");
    let text = |field: &str| started.body[field].as_str().expect("a text").to_owned();
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client");
    let form = [("decision", "allow"), ("user", "U0MAYA")];
    let agreed = http
        .post(text("authorize_url"))
        .form(&form)
        .send()
        .await
        .expect("a page");
    let back = agreed
        .headers()
        .get("location")
        .expect("a way back")
        .to_str()
        .expect("text")
        .to_owned();
    let part = |name: &str| {
        let query = back.split_once('?').expect("a query").1;
        let found = query
            .split('&')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=")));
        found.expect("a parameter").to_owned()
    };
    let org = client.get("/v1/org").await.body["id"].clone();
    let complete = json!({
        "org_id": org, "connection_id": text("connection_id"), "auth_code": part("code"), "state": part("state"),
    });
    let done = client.post("/oauth/complete", &complete).await;
    assert_eq!(
        (done.status, done.body["status"].as_str()),
        (200, Some("active")),
        "{done:?}"
    );
    text("connection_id")
}
