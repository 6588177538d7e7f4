//! Mails arrive and invoices change while the process is killed again and again: each is one event and one run, none is lost.

use crate::process::{Client, Launch, Server};
use base64::{Engine, engine::general_purpose::URL_SAFE};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tenure::{persistence::private_postgres::PrivatePostgres, sandbox::REALM_ID};
use tokio::time::{Instant, sleep};

const KILLS: usize = 8;
/// Mails and changes between two kills.
const AT_ONCE: usize = 6;
const PATIENCE: Duration = Duration::from_secs(120);

fn sources() -> [Value; 2] {
    [
        json!({
            "kind": "poll", "name": "mail", "capability": "gmail.search", "every_seconds": 5,
            "arguments": {"query": "in:inbox after:{cursor}", "max_results": 4}, "items": "/messages", "item_id": "/id", "event": "mail.new",
            "cursor": {"kind": "time", "format": "unix"},
        }),
        // The newest first: what changes between two pages then comes twice, and is not passed over.
        json!({
            "kind": "poll", "name": "invoices", "capability": "quickbooks.invoice.query", "every_seconds": 5,
            "arguments": {"changed_since": "{cursor}", "order_by": "MetaData.LastUpdatedTime", "descending": true, "max_results": 4},
            "items": "/invoices", "item_id": ["/Id", "/SyncToken"], "event": "invoice.changed",
            "cursor": {"kind": "greatest", "at": "/MetaData/LastUpdatedTime"},
        }),
    ]
}

fn listener() -> Value {
    json!({
        "name": "listener",
        "graph": {"graph_id": "listener", "type": "employee", "edges": [],
            "nodes": [{"id": "note", "type": "skill", "skill_graph": "sg_note", "permissions": []}]},
        "skill_graphs": {"sg_note": {"graph_id": "sg_note", "type": "skill", "edges": [],
            "nodes": [{"id": "n", "type": "transform", "output": {"got": "size(input)"}}]}},
        "subscriptions": [{"source": "poll:mail", "event": "mail.new"}, {"source": "poll:invoices", "event": "invoice.changed"}],
    })
}

/// A provider of the sandbox, called as its own clients do.
struct Provider<'s> {
    http: &'s reqwest::Client,
    url: String,
    token: &'static str,
}

impl Provider<'_> {
    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let sent = request.bearer_auth(self.token).send().await;
        let answer = sent.expect("the sandbox answers");
        assert!(answer.status().is_success(), "{answer:?}");
        answer.json().await.expect("json")
    }
    async fn get(&self, path: &str) -> Value {
        self.send(self.http.get(format!("{}{path}", self.url)))
            .await
    }
    async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(self.http.post(format!("{}{path}", self.url)).json(body))
            .await
    }
}

/// What happened outside, by the names under which it must come in.
#[derive(Default)]
struct Happened {
    mails: BTreeSet<String>,
    invoices: BTreeSet<String>,
}

impl Happened {
    async fn go_on(&mut self, server: &Server, http: &reqwest::Client, round: usize) {
        let at = |name: &str, token| Provider {
            http,
            url: format!("{}/{name}", server.sandbox_url),
            token,
        };
        let gmail = at("gmail", "sandbox-gmail-token");
        let quickbooks = at("quickbooks", "sandbox-quickbooks-token");
        let company = format!("/v3/company/{REALM_ID}/invoice");
        for n in 0..AT_ONCE {
            let mail = format!(
                "To: clerk@demo.example\r\nSubject: question {n}\r\n\r\nHow much is it?\r\n"
            );
            let raw = json!({"raw": URL_SAFE.encode(mail)});
            let sent = gmail.post("/gmail/v1/users/me/messages/send", &raw).await;
            self.mails.insert(text(&sent["id"]));
            let invoice = json!({"CustomerRef": {"value": "1"}, "Line": [{"Amount": 10 + n}]});
            let made = quickbooks.post(&company, &invoice).await;
            self.invoices
                .insert(format!("{}:0", text(&made["Invoice"]["Id"])));
        }
        // One that was there before; each once, since of two changes between two looks only the last can be seen.
        let id = (101 + round).to_string();
        let read = quickbooks.get(&format!("{company}/{id}")).await;
        let token = &read["Invoice"]["SyncToken"];
        let change = json!({"Id": id, "SyncToken": token, "sparse": true, "PrivateNote": format!("round {round}")});
        let changed = quickbooks.post(&company, &change).await;
        self.invoices
            .insert(format!("{id}:{}", text(&changed["Invoice"]["SyncToken"])));
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// Asks now, whatever the interval.
async fn look(client: &Client, sources: &[String]) {
    for source in sources {
        let path = format!("/v1/sources/{source}/resume");
        let looked = client.post(&path, &json!({})).await;
        assert_eq!(looked.status, 200, "{looked:?}");
    }
}

async fn events(client: &Client, source: &str) -> Vec<Value> {
    client
        .try_list(&format!("/v1/inbox?source=poll:{source}"))
        .await
        .expect("a list")
}

async fn crash(launch: Launch, seed: u64) {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let http = reqwest::Client::new();
    let mut server = launch.start().await;
    let client = server.client();
    let hired = client.post("/v1/employees", &listener()).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    let mut ids = Vec::new();
    for source in sources() {
        let made = client.post("/v1/sources", &source).await;
        assert_eq!(made.status, 201, "{made:?}");
        ids.push(text(&made.body["id"]));
    }
    let mut happened = Happened::default();
    for round in 0..KILLS {
        look(&server.client(), &ids).await;
        happened.go_on(&server, &http, round).await;
        look(&server.client(), &ids).await;
        sleep(Duration::from_millis(random.random_range(0..900))).await;
        server.kill().await;
        server = launch.start().await;
    }
    let give_up = Instant::now() + PATIENCE;
    let client = server.client();
    loop {
        let (mails, invoices) = (
            events(&client, "mail").await.len(),
            events(&client, "invoices").await.len(),
        );
        let runs = client.try_list("/v1/runs?status=completed").await;
        let runs = runs.expect("a list").len();
        if mails >= happened.mails.len()
            && invoices >= happened.invoices.len()
            && runs >= mails + invoices
        {
            break;
        }
        assert!(
            Instant::now() < give_up,
            "{mails} of {} mails, {invoices} of {} invoices, {runs} runs",
            happened.mails.len(),
            happened.invoices.len()
        );
        look(&client, &ids).await;
        sleep(Duration::from_millis(300)).await;
    }
    // Once more, over all that is within the overlap: nothing new comes of it.
    look(&client, &ids).await;
    check(&client, "mail", &happened.mails).await;
    check(&client, "invoices", &happened.invoices).await;
    let all = happened.mails.len() + happened.invoices.len();
    let runs = client.try_list("/v1/runs").await.expect("a list");
    assert_eq!(runs.len(), all, "a run each, and no other");
}

async fn check(client: &Client, source: &str, happened: &BTreeSet<String>) {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for event in events(client, source).await {
        assert_eq!(event["verdict"], "accepted", "{event}");
        let triggered = event["triggered"].as_array().expect("a list");
        assert_eq!(triggered.len(), 1, "{event}");
        *known.entry(text(&event["external_id"])).or_default() += 1;
    }
    let names: BTreeSet<&String> = known.keys().collect();
    assert_eq!(names, happened.iter().collect(), "{source}");
    let twice: Vec<_> = known.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{source}: {twice:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mail_and_each_change_is_one_event_and_one_run_on_sqlite() {
    let data = tempfile::tempdir().expect("a directory");
    crash(Launch::new(data.path()), rand::random()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mail_and_each_change_is_one_event_and_one_run_on_postgres() {
    let data = tempfile::tempdir().expect("a directory");
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()))
        .await
        .expect("ran")
        .expect("postgresql");
    let launch = Launch {
        database_url: Some(postgres.url("postgres")),
        ..Launch::new(data.path())
    };
    crash(launch, rand::random()).await;
}
