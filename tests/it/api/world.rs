//! One builder: it starts the service and hands out its clients.

use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretBox};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tenure::{
    actors::{Clock, Engine, EngineConfig, Faults, Settings},
    api::{self, ApiParts, ApiSettings, ApiState},
    connect::{Catalog, Sealer},
    domain::{KeyId, OrgId, Role, Timestamp},
    hire::TemplatePlanner,
    persistence::{Db, DbConfig, KeyRow, OrgRow, key_insert, migrate, org_insert},
};
use tokio::net::TcpListener;
use uuid::Uuid;

/// A running service and who may call it.
pub struct World {
    pub engine: Engine,
    pub org: OrgId,
    pub anonymous: Client,
    pub viewer: Client,
    pub operator: Client,
    pub manager: Client,
    pub admin: Client,
    /// The admin of another org.
    pub other_org: Client,
    _dir: Arc<TempDir>,
}

impl Drop for World {
    fn drop(&mut self) {
        // The actors are stopped with the test's runtime; this only saves noise at its end.
        let engine = self.engine.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { engine.stop().await });
        }
    }
}

pub async fn world() -> World {
    world_with(settings()).await
}

/// The providers of the tests are on this machine.
pub fn settings() -> Settings {
    Settings {
        allow_private: "127.0.0.0/8".parse().expect("a range"),
        ..Settings::default()
    }
}

/// The same with other settings.
pub async fn world_with(settings: Settings) -> World {
    world_at(settings, ApiSettings::default()).await
}

/// The same, with other settings of the API too.
pub async fn world_at(settings: Settings, api: ApiSettings) -> World {
    let dir = Arc::new(tempfile::tempdir().expect("a directory"));
    let (engine, db, url) = serve(&dir, settings, api).await;
    let (org, other) = (new_org(&db, "mine").await, new_org(&db, "other").await);
    let http = reqwest::Client::new();
    let client = |key: Option<String>| Client {
        http: http.clone(),
        url: url.clone(),
        key,
    };
    World {
        anonymous: client(None),
        viewer: client(Some(new_key(&db, org, Role::Viewer).await)),
        operator: client(Some(new_key(&db, org, Role::Operator).await)),
        manager: client(Some(new_key(&db, org, Role::Manager).await)),
        admin: client(Some(new_key(&db, org, Role::Admin).await)),
        other_org: client(Some(new_key(&db, other, Role::Admin).await)),
        engine,
        org,
        _dir: dir,
    }
}

/// A service on the database in `dir`, and where it is.
async fn serve(dir: &TempDir, settings: Settings, api: ApiSettings) -> (Engine, Db, String) {
    let address = format!("sqlite:{}", dir.path().join("tenure.db").display());
    migrate(&address).await.expect("migrates");
    let db = Db::connect(&DbConfig::new(address))
        .await
        .expect("connects");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let engine = Engine::start(EngineConfig {
        db: db.clone(),
        // One that starts again is the same node.
        node_id: Uuid::from_u128(1),
        address: "test".into(),
        catalog: Arc::new(Catalog::embedded().expect("the catalog is right")),
        sealer: Arc::new(Sealer::new(&SecretBox::new(Box::new([7; 32])))),
        clock: Clock::system(),
        settings: Settings {
            public_url: url.clone(),
            ..settings
        },
        faults: Faults::default(),
        cluster: None,
    })
    .await
    .expect("starts");
    let state = ApiState::new(ApiParts {
        engine: engine.clone(),
        planner: Arc::new(TemplatePlanner::new().expect("the templates are right")),
        metrics: Some(PrometheusBuilder::new().build_recorder().handle()),
        sandbox_url: None,
        operator_org: Some("mine".into()),
        metrics_token: Some("a token of the scraper".replace(" ", "-").into()),
        settings: api,
    });
    tokio::spawn(api::serve(listener, state, std::future::pending()));
    (engine, db, url)
}

async fn new_org(db: &Db, name: &str) -> OrgId {
    let id = OrgId::from_uuid(Uuid::now_v7());
    let mut tx = db.begin_system("a test's org").await.expect("begins");
    let org = OrgRow {
        id,
        name: name.into(),
        settings: "{}".into(),
        created: Timestamp::from_millis(0),
    };
    org_insert(&mut tx, &org).await.expect("inserts");
    tx.commit().await.expect("commits");
    id
}

async fn new_key(db: &Db, org: OrgId, role: Role) -> String {
    let key = api::keys::generate().expect("randomness");
    let mut tx = db.begin(org).await.expect("begins");
    let row = KeyRow {
        org_id: org,
        id: KeyId::from_uuid(Uuid::now_v7()),
        hash: key.hash,
        role,
        name: role.name().into(),
        created: Timestamp::from_millis(0),
        revoked: None,
        user: None,
        expires: None,
        last_used: None,
        tail: Some(key.tail),
    };
    key_insert(&mut tx, &row).await.expect("inserts");
    tx.commit().await.expect("commits");
    key.text.expose_secret().to_owned()
}

impl World {
    /// A second service on the same data with the same keys, with other settings; the first one is stopped.
    pub async fn restarted(&self, settings: Settings) -> World {
        self.engine.stop().await;
        let (engine, _, url) = serve(&self._dir, settings, ApiSettings::default()).await;
        let there = |client: &Client| Client {
            url: url.clone(),
            ..client.clone()
        };
        World {
            anonymous: there(&self.anonymous),
            viewer: there(&self.viewer),
            operator: there(&self.operator),
            manager: there(&self.manager),
            admin: there(&self.admin),
            other_org: there(&self.other_org),
            org: self.org,
            engine,
            _dir: self._dir.clone(),
        }
    }

    /// Somebody of the org, with a key of their own.
    pub async fn user(&self, name: &str, role: Role) -> Client {
        let body = json!({"name": name, "role": role.name(), "user": name});
        let made = self.admin.post("/v1/keys", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        self.anonymous.with_key(&made.text("key"))
    }
    pub fn url(&self) -> &str {
        &self.anonymous.url
    }
    /// Where files of the test may lie.
    pub fn dir(&self) -> &std::path::Path {
        self._dir.path()
    }
}

/// Calls the service with one key, or with none.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Client {
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.into()),
            ..self.clone()
        }
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .timeout(Duration::from_secs(20));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::PUT, path).json(&body)).await
    }
    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// A client that sends paths as they are written, where others would tidy them up.
    pub fn as_it_is(&self) -> crate::process::Client {
        crate::process::Client {
            base: self.url.clone(),
            key: self.key.clone(),
        }
    }

    /// Hires from graphs and gives the id.
    pub async fn hire(&self, body: Value) -> String {
        let answer = self.post("/v1/employees", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("id")
    }

    /// Tells an employee to work and waits for the end.
    pub async fn work(&self, employee: &str, payload: Value) -> Answer {
        let request = self
            .request(Method::POST, &format!("/v1/employees/{employee}/triggers"))
            .header("prefer", "wait=15")
            .json(&json!({"payload": payload}));
        send(request).await
    }

    /// Asks until `good` is content with the answer.
    pub async fn until(&self, path: &str, good: impl Fn(&Value) -> bool) -> Value {
        self.until_within(path, Duration::from_secs(10), good).await
    }

    /// The same for what takes longer.
    pub async fn until_within(
        &self,
        path: &str,
        time: Duration,
        good: impl Fn(&Value) -> bool,
    ) -> Value {
        let give_up = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < give_up {
            let answer = self.get(path).await;
            if answer.status == 200 && good(&answer.body) {
                return answer.body;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!(
            "{path} never became what was waited for: {:?}",
            self.get(path).await
        );
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a body");
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

impl Answer {
    pub fn text(&self, field: &str) -> String {
        let value = self.body[field].as_str();
        value
            .unwrap_or_else(|| panic!("no text `{field}` in {self:?}"))
            .to_owned()
    }

    /// Asserts that it is this problem, in the right shape; gives its body.
    pub fn problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str()),
            (status, Some(code)),
            "{self:?}"
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        for field in ["type", "title", "status", "detail"] {
            assert!(self.body.get(field).is_some(), "no `{field}` in {self:?}");
        }
        &self.body
    }
}

/// Two pure steps; the result says how large the payload was.
pub fn pure(name: &str) -> Value {
    json!({
        "name": name,
        "graph": {
            "graph_id": "emp", "type": "employee",
            "nodes": [{"id": "count", "type": "skill", "skill_graph": "sg", "permissions": []}], "edges": [],
        },
        "skill_graphs": {"sg": {
            "graph_id": "sg", "type": "skill",
            "nodes": [
                {"id": "n1", "type": "transform", "output": {"got": "size(input)"}},
                {"id": "n2", "type": "transform", "output": {"got": "steps.n1.output.got + 1"}},
            ],
            "edges": [{"from": "n1", "to": "n2"}],
        }},
    })
}

/// One skill with these nodes in a row.
pub fn employee_of(name: &str, nodes: Value) -> Value {
    let ids: Vec<&str> = nodes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let edges: Vec<Value> = ids
        .windows(2)
        .map(|pair| json!({"from": pair[0], "to": pair[1]}))
        .collect();
    let mut body = pure(name);
    body["skill_graphs"]["sg"]["nodes"] = nodes.clone();
    body["skill_graphs"]["sg"]["edges"] = json!(edges);
    body
}

/// Asks a person, then ends.
pub fn asking(name: &str) -> Value {
    employee_of(
        name,
        json!([
            {"id": "ask", "type": "approval", "title": "May I?", "arguments": {"amount": "trigger.payload.amount"}},
            {"id": "after", "type": "transform", "output": {"said": "'yes'"}},
        ]),
    )
}
