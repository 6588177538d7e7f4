//! Master and data keys are changed while calls flow, and none of them fails. Then everything that the service has left behind is searched for every
//! secret that went through it, byte by byte: the database, what it logged at its most talkative, what its API answers.

use crate::{
    desk::{self, APP_SECRET, Sandbox},
    process::{Launch, Server},
    traces::{Search, Secrets},
};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rand::RngCore;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tenure::{
    actors::{
        Clock,
        hub::{credentials::open_credential, keys},
    },
    connect::Sealer,
    persistence::{
        ConnectionRow, Db, DbConfig, Owners, PageRequest, connection_list,
        private_postgres::PrivatePostgres,
    },
};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

const CALLS_PER_SECOND: u64 = 200;
const SECONDS: u64 = 15;
/// Calls that are open at once: a machine that is too slow for the rate makes fewer a second and refuses none, for a full queue is no failure
/// of a rotation.
const OPEN_MAX: usize = 500;
/// One after the other: each wants a machine for itself.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
const TYPED: &str = "typed-token-0123456789-hush";
const HOOK_SECRET: &str = "hook-secret-8f742231b10e8888abcd";

/// Stands between the service and the token endpoint and writes down every secret that passes.
#[derive(Clone)]
struct Tap {
    target: String,
    http: reqwest::Client,
    seen: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Tap {
    async fn open(target: &str) -> (Self, String) {
        let tap = Self {
            target: target.to_owned(),
            http: reqwest::Client::new(),
            seen: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(pass).with_state(tap.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        (tap, url)
    }

    fn note(&self, name: &str, secret: &str) {
        let mut seen = self.seen.lock().expect("unpoisoned");
        let number = seen.len();
        seen.entry(secret.to_owned())
            .or_insert_with(|| format!("{name} {number}"));
    }
}

async fn pass(
    State(tap): State<Tap>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    const SENT: [&str; 4] = ["client_secret", "code", "code_verifier", "refresh_token"];
    for (name, value) in form(&body) {
        if SENT.contains(&name.as_str()) {
            tap.note(&name, &value);
        }
    }
    let mut request = tap
        .http
        .request(method, format!("{}{}", tap.target, uri.path()))
        .body(body);
    for name in [header::CONTENT_TYPE, header::AUTHORIZATION, header::ACCEPT] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let Ok(answer) = request.send().await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    let told: Value = serde_json::from_str(&text).unwrap_or_default();
    for name in ["access_token", "refresh_token"] {
        if let Some(token) = told[name].as_str() {
            tap.note(name, token);
        }
    }
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Names and values of a form whose values need no decoding but that of percent signs.
fn form(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body).into_owned();
    let url = format!("http://form/?{text}");
    let url = reqwest::Url::parse(&url).expect("a form");
    url.query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

/// A master key in the place of all that there were, or before them.
fn master_key(path: &Path, keep: &str) -> String {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    let fresh: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write_keys(path, &format!("{fresh}\n{keep}"));
    fresh
}

/// All at once: the service may read the file at any moment.
fn write_keys(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let file = options
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside);
    std::io::Write::write_all(&mut file.expect("a file"), text.as_bytes()).expect("written");
    fs::rename(&beside, path).expect("renamed");
}

struct House {
    data: tempfile::TempDir,
    database: String,
    log: PathBuf,
    secrets: Mutex<Secrets>,
}

impl House {
    fn master(&self) -> PathBuf {
        self.data.path().join("service/master.key")
    }

    /// A verb of an operator beside the running service.
    async fn operate(&self, verb: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenure"));
        command
            .args(verb)
            .args(["--database-url", &self.database])
            .env("TENURE_MASTER_KEY_FILE", self.master())
            .env_remove("TENURE_ALLOW_PRIVATE");
        let ended = tokio::task::spawn_blocking(move || command.output()).await;
        let ended = ended.expect("ran").expect("the binary starts");
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{verb:?}: {said}");
    }

    /// Changes the keys, all of them, again and again until the load is over.
    async fn rotate(&self, server: &Server, over: &AtomicBool) -> usize {
        let client = server.client();
        let mut rotations = 0;
        while !over.load(Ordering::SeqCst) {
            let rotated = client.post("/v1/org/keys/rotate", &json!({})).await;
            assert_eq!(rotated.status, 200, "{rotated:?}");
            let old = fs::read_to_string(self.master()).expect("the keys");
            let fresh = master_key(&self.master(), &old);
            self.operate(&["key", "rotate-master"]).await;
            // What came before opens nothing any more.
            write_keys(&self.master(), &fresh);
            self.secrets
                .lock()
                .expect("unpoisoned")
                .add("master key", &fresh);
            rotations += 1;
            sleep(Duration::from_millis(700)).await;
        }
        rotations
    }

    /// Every byte that the service keeps, and what it said.
    fn left_behind(&self, dump: Option<String>) -> BTreeMap<String, Vec<u8>> {
        let mut left =
            BTreeMap::from([("the log".to_owned(), fs::read(&self.log).expect("a log"))]);
        let service = self.data.path().join("service");
        for file in fs::read_dir(&service).expect("a folder") {
            let path = file.expect("a file").path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            // The first holds the master keys, the second the key of whoever works with it, each for its owner alone.
            let is_open = fs::metadata(&path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o077
                != 0;
            if matches!(name.as_str(), "master.key" | "dev.json") {
                assert!(!is_open, "{name} is for its owner alone");
                continue;
            }
            if path.is_file() {
                left.insert(name, fs::read(&path).expect("readable"));
            }
        }
        if let Some(dump) = dump {
            left.insert("pg_dump".into(), dump.into_bytes());
        }
        left
    }
}

/// Calls at a steady rate, whatever the answers; gives those that failed.
async fn load(server: &Server, over: &AtomicBool) -> (usize, Vec<String>) {
    let (began, open) = (Instant::now(), Arc::new(Semaphore::new(OPEN_MAX)));
    let http = reqwest::Client::new();
    let mut ticks = interval(Duration::from_micros(1_000_000 / CALLS_PER_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    for n in 0..CALLS_PER_SECOND * SECONDS {
        ticks.tick().await;
        let permit = open.clone().acquire_owned().await.expect("it stays open");
        let (path, input) = match n % 10 {
            0 => ("desk.say", json!({"text": format!("message {n}")})),
            _ => ("desk.who", json!({})),
        };
        let request = http
            .post(format!("{}/proxy/{path}", server.url))
            .bearer_auth(&server.key)
            .json(&json!({"input": input}));
        calls.spawn(async move {
            let _permit = permit;
            match request.send().await {
                Ok(answer) if answer.status() == 200 => None,
                Ok(answer) => Some(format!(
                    "{n}: {} {}",
                    answer.status(),
                    answer.text().await.unwrap_or_default()
                )),
                Err(error) => Some(format!("{n}: {error}")),
            }
        });
    }
    let all = calls.join_all().await;
    over.store(true, Ordering::SeqCst);
    let rate = all.len() as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} calls a second");
    (all.len(), all.into_iter().flatten().collect())
}

/// Everything that GET answers, by path.
async fn answers(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let http = reqwest::Client::new();
    let get = async |path: &str| -> Vec<u8> {
        let request = http
            .get(format!("{}{path}", server.url))
            .bearer_auth(&server.key);
        let answer = request.send().await.expect("an answer");
        assert!(
            answer.status().as_u16() < 500,
            "{path}: {}",
            answer.status()
        );
        answer.bytes().await.expect("a body").to_vec()
    };
    let document: Value = serde_json::from_slice(&get("/openapi.json").await).expect("json");
    let paths = document["paths"].as_object().expect("paths");
    let mut found = BTreeMap::new();
    for (path, methods) in paths {
        if methods.get("get").is_none()
            || path.starts_with("/connect/")
            || path.starts_with("/oauth/")
        {
            continue;
        }
        let mut asked = vec![path.clone()];
        if let Some((list, rest)) = path.split_once("/{") {
            let rest = rest.split_once('}').map_or("", |(_, rest)| rest);
            let rest = rest.replace("{version}", "1");
            let listed: Value = serde_json::from_slice(&get(list).await).unwrap_or_default();
            let items = listed["items"].as_array().cloned().unwrap_or_default();
            let ids = items
                .iter()
                .filter_map(|item| item["id"].as_str().or(item["path"].as_str()));
            asked = ids
                .take(20)
                .map(|id| format!("{list}/{id}{rest}"))
                .collect();
        }
        for path in asked {
            let path = match path.ends_with("/events") {
                true => format!("{path}?format=json&limit=200"),
                false => path,
            };
            found.insert(path.clone(), get(&path).await);
        }
    }
    found
}

fn nothing_in(search: &Search, what: &BTreeMap<String, Vec<u8>>) {
    for (name, bytes) in what {
        let found = search.find(bytes);
        assert!(found.is_empty(), "{name} holds {found:#?}");
    }
}

/// Whether the connections of the org, as they were copied before, can be opened with what the database and the key file hold now.
async fn opens(house: &House, rows: &[ConnectionRow]) -> Vec<bool> {
    let db = Db::connect(&DbConfig::new(house.database.clone()))
        .await
        .expect("connects");
    let sealer = Arc::new(Sealer::from_file(&house.master()).expect("the keys"));
    let vault = keys::vault(&db, &Clock::system(), &sealer);
    let mut opened = Vec::new();
    for row in rows {
        let (version, sealed) = (row.credential_version, &row.sealed_credential.0);
        let credential = open_credential(&vault, row.org_id, row.id, version, sealed).await;
        opened.push(credential.is_ok());
    }
    db.close().await;
    opened
}

async fn copied(house: &House, org: &str) -> Vec<ConnectionRow> {
    let db = Db::connect(&DbConfig::new(house.database.clone()))
        .await
        .expect("connects");
    let mut tx = db
        .begin_read(org.parse().expect("an id"))
        .await
        .expect("begins");
    let page = connection_list(&mut tx, None, Owners::All, &PageRequest::default()).await;
    drop(tx);
    db.close().await;
    page.expect("a list").items
}

/// Work of every kind, so that every table and every snapshot has something of it.
async fn work(server: &Server) {
    let client = server.client();
    let employee = json!({
        "name": "planted-name-of-an-employee",
        "graph": {"graph_id": "desk", "type": "employee", "edges": [],
            "nodes": [{"id": "say", "type": "skill", "skill_graph": "sg", "permissions": ["desk.say"]}]},
        "skill_graphs": {"sg": {"graph_id": "sg", "type": "skill", "edges": [],
            "nodes": [{"id": "n1", "type": "action", "capability": "desk.say", "arguments": {"text": "'from a run'"}}]}},
    });
    let hired = client.post("/v1/employees", &employee).await;
    assert_eq!(hired.status, 201, "{hired:?}");
    let path = format!(
        "/v1/employees/{}/triggers",
        hired.body["id"].as_str().expect("an id")
    );
    for _ in 0..5 {
        let wait = [("prefer", "wait=20")];
        let ran = client
            .try_send("POST", &path, &wait, Some(&json!({"payload": {}})))
            .await;
        assert_eq!(ran.expect("an answer").body["status"], "completed");
    }
    let hook = json!({"source": "slack", "scheme": "slack", "secret": HOOK_SECRET});
    assert_eq!(client.post("/v1/hooks", &hook).await.status, 201);
    let typed = json!({"integration": "desk", "name": "typed", "way": "bearer", "fields": {"token": TYPED}, "verify": false});
    assert_eq!(client.post("/v1/connections", &typed).await.status, 201);
}

async fn rotate_under_load(house: House, dump: impl FnOnce() -> Option<String>) {
    let _alone = ALONE.lock().await;
    let sandbox = Sandbox::start(&house.data.path().join("provider")).await;
    let (tap, oauth) = Tap::open(&sandbox.url).await;
    let mut launch = Launch::new(&house.data.path().join("service"));
    launch.allow_private = Some("127.0.0.0/8".into());
    launch.trace_to = Some(house.log.clone());
    launch.database_url = house
        .database
        .starts_with("postgres")
        .then(|| house.database.clone());
    let server = launch.start().await;
    let client = server.client();
    desk::add(&client, &sandbox, &oauth).await;
    // Tokens that are renewed several times meanwhile.
    sandbox
        .oauth(json!({"access_ttl_seconds": 8, "rotate_refresh": true}))
        .await;
    desk::connect(&client).await;
    work(&server).await;
    let first = fs::read_to_string(house.master()).expect("the first key");
    house
        .secrets
        .lock()
        .expect("unpoisoned")
        .add("master key", first.trim());

    let over = AtomicBool::new(false);
    let ((calls, failed), rotations) =
        tokio::join!(load(&server, &over), house.rotate(&server, &over));
    assert_eq!(calls as u64, CALLS_PER_SECOND * SECONDS);
    assert!(
        failed.is_empty(),
        "{} of {calls} calls failed: {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(rotations >= 3, "{rotations} rotations");
    let refreshes = sandbox.token_requests("refresh_token").await;
    assert!(
        refreshes.len() >= 2,
        "tokens were renewed meanwhile: {refreshes:?}"
    );
    assert!(
        refreshes.iter().all(|one| one["outcome"] == "ok"),
        "{refreshes:?}"
    );

    let told = answers(&server).await;
    assert!(told.len() > 30, "{:?}", told.keys());
    let org = client.get("/v1/org").await.body["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let key = server.key.clone();
    server.kill().await;
    let left = house.left_behind(dump());

    let mut secrets = std::mem::take(&mut *house.secrets.lock().expect("unpoisoned"));
    for (secret, name) in tap.seen.lock().expect("unpoisoned").iter() {
        secrets.add(name.clone(), secret);
    }
    for (name, secret) in [
        ("app", APP_SECRET),
        ("typed", TYPED),
        ("hook", HOOK_SECRET),
        ("API key", &key),
    ] {
        secrets.add(name, secret);
    }
    assert!(secrets.len() >= 12, "{} secrets", secrets.len());
    let search = secrets.search();
    nothing_in(&search, &told);
    nothing_in(&search, &left);
    // That nothing was found means something only if what is there is found.
    let mut planted = Secrets::default();
    planted.add("planted", "planted-name-of-an-employee");
    let planted = planted.search();
    assert!(
        told.values().any(|bytes| !planted.find(bytes).is_empty()),
        "in the answers"
    );
    assert!(
        left.iter()
            .any(|(name, bytes)| name != "the log" && !planted.find(bytes).is_empty()),
        "in the database"
    );
    let log = String::from_utf8_lossy(&left["the log"]);
    assert!(log.contains("TRACE"), "the log is at its most talkative");

    let rows = copied(&house, &org).await;
    assert_eq!(opens(&house, &rows).await, vec![true; rows.len()]);
    assert!(rows.len() >= 2, "{rows:?}");
    house.operate(&["org", "delete", &org, "--yes"]).await;
    assert_eq!(
        opens(&house, &rows).await,
        vec![false; rows.len()],
        "the org's rows open no more"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_under_load_and_no_secret_is_left_on_sqlite() {
    let data = tempfile::tempdir().expect("a directory");
    let house = House {
        database: format!("sqlite:{}", data.path().join("service/tenure.db").display()),
        log: data.path().join("service.log"),
        secrets: Mutex::default(),
        data,
    };
    rotate_under_load(house, || None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_change_under_load_and_no_secret_is_left_on_postgres() {
    let data = tempfile::tempdir().expect("a directory");
    let postgres = tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()))
        .await
        .expect("ran")
        .expect("postgresql");
    let url = postgres.url("postgres");
    let house = House {
        database: url.clone(),
        log: data.path().join("service.log"),
        secrets: Mutex::default(),
        data,
    };
    let dump = move || {
        let dumped = Command::new("pg_dump").args(["--dbname", &url]).output();
        let dumped = dumped.expect("pg_dump is installed with PostgreSQL");
        let said = String::from_utf8_lossy(&dumped.stderr).into_owned();
        assert!(dumped.status.success(), "{said}");
        Some(String::from_utf8_lossy(&dumped.stdout).into_owned())
    };
    rotate_under_load(house, dump).await;
}
