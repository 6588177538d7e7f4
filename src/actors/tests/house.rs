//! Builds an engine that a test can start, break and start again on the same data.

use crate::{
    actors::{
        Clock, DecisionRequest, Engine, EngineConfig, Faults, Settings, TriggerRequest,
        connector::connections::CONNECTION_ACTIVE,
        employee::FinishedRun,
        inspect::{Inspected, inspect},
    },
    connect::{Account, Catalog, Quota, Sealer, SecretName, seal::read_or_create_master_key},
    domain::{
        ConnectionId, EmployeeId, EmployeeSpec, ExecutionId, OrgId, PolicyId, Trigger, TriggerType,
    },
    graph::Decision,
    persistence::{
        self, ApprovalFilter, ApprovalRow, ApprovalStatus, ConnectionRow, Db, DbConfig,
        OrgEventRow, OrgRow, PageRequest, PolicyRow, Sealed, VersionInsert,
    },
    sandbox::{Sandbox, SandboxHandle},
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use uuid::Uuid;

/// What every wait of these tests is bounded by.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    pub dir: TempDir,
    pub org: OrgId,
    pub engine: Engine,
    pub settings: Settings,
    pub sandbox: Option<SandboxHandle>,
    node: Uuid,
    clock: Clock,
}

impl House {
    pub async fn build() -> Self {
        Self::with(
            Settings {
                idle_after: Duration::from_secs(60),
                ..Settings::default()
            },
            Faults::default(),
        )
        .await
    }

    pub async fn with(settings: Settings, faults: Faults) -> Self {
        Self::at(Clock::system(), settings, faults).await
    }

    /// The same with a clock that the test may hold.
    pub async fn at(clock: Clock, mut settings: Settings, faults: Faults) -> Self {
        // Where the sandbox is.
        settings.allow_private = "127.0.0.0/8".parse().expect("a range");
        let dir = TempDir::new().expect("a directory");
        let url = url(&dir);
        persistence::migrate(&url).await.expect("migrated");
        let node = Uuid::new_v4();
        let engine = start(&dir, node, settings.clone(), faults, clock.clone()).await;
        let org = OrgId::from_uuid(engine.core().clock.uuid());
        let mut tx = engine
            .core()
            .db
            .begin_system("test")
            .await
            .expect("a transaction");
        let row = OrgRow {
            id: org,
            name: "test".into(),
            settings: "{}".into(),
            created: engine.now(),
        };
        persistence::org_insert(&mut tx, &row)
            .await
            .expect("an org");
        tx.commit().await.expect("committed");
        Self {
            dir,
            org,
            engine,
            settings,
            sandbox: None,
            node,
            clock,
        }
    }

    /// Ends the engine without a farewell, as far as that goes in one process, and starts another on the same data.
    pub async fn restart(&mut self) {
        self.engine.stop().await;
        self.engine = start(
            &self.dir,
            self.node,
            self.settings.clone(),
            Faults::default(),
            self.clock.clone(),
        )
        .await;
    }

    pub async fn connect_sandbox(&mut self) {
        let today = chrono::NaiveDate::from_ymd_opt(2026, 1, 15).expect("a date");
        let sandbox = Sandbox::start(
            "127.0.0.1:0".parse().expect("an address"),
            self.dir.path().join("sandbox"),
            today,
        )
        .await
        .expect("a sandbox");
        for account in sandbox.accounts() {
            let core = self.engine.core();
            let id = ConnectionId::from_uuid(core.clock.uuid());
            let name = SecretName {
                org: self.org,
                kind: "connection",
                id: &id.to_string(),
            };
            let sealed = core
                .sealer
                .seal(account.token.expose_secret().as_bytes(), name)
                .expect("sealed");
            let row = ConnectionRow {
                sealed_credential: Sealed(sealed),
                base_url: Some(account.account.base_url.clone()),
                account: serde_json::to_string(&account.account).expect("json"),
                status: CONNECTION_ACTIVE.into(),
                ..ConnectionRow::pending(
                    self.org,
                    id,
                    account.integration,
                    "sandbox",
                    core.clock.now(),
                )
            };
            let mut tx = core.db.begin(self.org).await.expect("a transaction");
            persistence::connection_put(&mut tx, &row)
                .await
                .expect("a connection");
            tx.commit().await.expect("committed");
            self.engine
                .connection_changed(self.org, account.integration, id)
                .await
                .expect("told");
        }
        self.sandbox = Some(sandbox);
    }

    /// Connects an account at a provider of the test's own, without a quota that anything would wait for. Its name is `mine`.
    pub async fn connect(&self, integration: &str, url: &str) -> ConnectionId {
        let core = self.engine.core();
        let id = ConnectionId::from_uuid(core.clock.uuid());
        let name = SecretName {
            org: self.org,
            kind: "connection",
            id: &id.to_string(),
        };
        let sealed = core.sealer.seal(b"xoxb", name).expect("sealed");
        let account = Account {
            base_url: url.into(),
            quota: Some(Quota {
                requests: 1_000,
                per_seconds: 1,
                burst: 1_000,
            }),
            ..Account::default()
        };
        let row = ConnectionRow {
            sealed_credential: Sealed(sealed),
            base_url: Some(url.into()),
            account: serde_json::to_string(&account).expect("json"),
            status: CONNECTION_ACTIVE.into(),
            ..ConnectionRow::pending(self.org, id, integration, "mine", core.clock.now())
        };
        let mut tx = core.db.begin(self.org).await.expect("a transaction");
        persistence::connection_put(&mut tx, &row)
            .await
            .expect("a connection");
        tx.commit().await.expect("committed");
        self.engine
            .connection_changed(self.org, integration, id)
            .await
            .expect("told");
        id
    }

    pub async fn hire(&self, spec: Value) -> EmployeeId {
        let spec: EmployeeSpec = serde_json::from_value(spec).expect("a spec");
        let core = self.engine.core();
        let (compiled, text) = core
            .versions
            .compile(core.catalogs.built_in(), spec)
            .unwrap_or_else(|errors| panic!("{errors}"));
        let employee = EmployeeId::from_uuid(core.clock.uuid());
        let event = OrgEventRow {
            id: core.clock.uuid(),
            kind: "GraphDefined".into(),
            body: "{}".into(),
            at: core.clock.now(),
        };
        let version = VersionInsert {
            employee,
            spec: &text,
            subscriptions: &compiled.spec.subscriptions,
            schedules: &[],
            event: &event,
            at: core.clock.now(),
            by: "test",
        };
        let mut tx = core.db.begin(self.org).await.expect("a transaction");
        persistence::employee_insert(&mut tx, &employee.to_string(), &version)
            .await
            .expect("hired");
        tx.commit().await.expect("committed");
        core.interest.refresh(core).await.expect("read");
        employee
    }

    pub fn request(payload: Value) -> TriggerRequest {
        let trigger = Trigger {
            kind: TriggerType::DirectCommand,
            payload: Arc::new(payload),
            source: "api".into(),
        };
        TriggerRequest {
            trigger,
            conversation: None,
            skill: None,
            dedupe: None,
        }
    }

    pub async fn tell(&self, employee: EmployeeId, payload: Value) -> ExecutionId {
        self.engine
            .trigger(self.org, employee, Self::request(payload))
            .await
            .expect("accepted")
            .execution
    }

    /// Tells it and waits for the end.
    pub async fn run(&self, employee: EmployeeId, payload: Value) -> FinishedRun {
        let (_, finished) = self
            .engine
            .trigger_and_watch(self.org, employee, Self::request(payload))
            .await
            .expect("accepted");
        tokio::time::timeout(PATIENCE, finished)
            .await
            .expect("in time")
            .expect("finished")
    }

    /// Makes a rule of the org.
    pub async fn rule(&self, rule: Value) {
        let core = self.engine.core();
        let row = PolicyRow {
            org_id: self.org,
            id: PolicyId::from_uuid(core.clock.uuid()),
            name: rule["name"].as_str().expect("a name").into(),
            rule: rule.to_string(),
            created: core.clock.now(),
            updated: core.clock.now(),
        };
        let mut tx = core.db.begin(self.org).await.expect("a transaction");
        persistence::policy_insert(&mut tx, &row)
            .await
            .expect("a rule");
        tx.commit().await.expect("committed");
        core.policies.forget(self.org);
    }

    /// Lets the employees do this without asking anybody.
    pub async fn allow(&self, capability: &str) {
        let rule = json!({"name": capability, "effect": "allow", "capabilities": [capability]});
        self.rule(rule).await;
    }

    /// All questions to people.
    pub async fn approvals(&self) -> Vec<ApprovalRow> {
        let db = &self.engine.core().db;
        let mut tx = db.begin_read(self.org).await.expect("a transaction");
        let filter = ApprovalFilter::default();
        let page = persistence::approval_list(&mut tx, &filter, &PageRequest::default()).await;
        page.expect("a page").items
    }

    /// The question that waits, when it does.
    pub async fn asked(&self) -> ApprovalRow {
        self.until("a question", async |house| {
            let mut all = house.approvals().await;
            all.retain(|row| row.status == ApprovalStatus::Pending);
            all.pop()
        })
        .await
    }

    pub async fn decide(&self, approval: &ApprovalRow, decision: Decision) {
        let request = DecisionRequest {
            execution: approval.run_id,
            step: approval.step.parse().expect("a step"),
            decision,
            arguments_hash: approval.arguments_hash,
            by: "anna".into(),
            comment: None,
        };
        self.engine
            .decide_approval(approval, request)
            .await
            .expect("decided");
    }

    /// The run when it is over.
    pub async fn over(&self, execution: ExecutionId) -> Inspected {
        self.until("the end", async |house| {
            Some(house.inspect(execution).await).filter(|run| run.row.status.is_finished())
        })
        .await
    }

    pub async fn inspect(&self, execution: ExecutionId) -> Inspected {
        inspect(self.engine.core(), self.org, execution)
            .await
            .expect("readable")
            .expect("there")
    }

    /// Looks again after each commit of the journal until `wanted` gives something.
    pub async fn until<T>(&self, what: &str, mut wanted: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let mut tries = tokio::time::interval(Duration::from_millis(10));
        let look = async {
            loop {
                tries.tick().await;
                if let Some(found) = wanted(self).await {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, look)
            .await
            .unwrap_or_else(|_| panic!("{what} did not come about"))
    }
}

fn url(dir: &TempDir) -> String {
    format!("sqlite:{}", dir.path().join("tenure.db").display())
}

async fn start(
    dir: &TempDir,
    node_id: Uuid,
    settings: Settings,
    faults: Faults,
    clock: Clock,
) -> Engine {
    let db = Db::connect(&DbConfig::new(url(dir)))
        .await
        .expect("a database");
    let master = read_or_create_master_key(&dir.path().join("master.key")).expect("a key");
    Engine::start(EngineConfig {
        db,
        node_id,
        address: "test".into(),
        catalog: Arc::new(Catalog::embedded().expect("a catalog")),
        sealer: Arc::new(Sealer::new(&master)),
        clock,
        settings,
        faults,
        cluster: None,
    })
    .await
    .expect("started")
}

/// A skill graph of two transforms, as in the example.
pub fn two_steps(id: &str) -> Value {
    json!({
        "graph_id": id, "type": "skill",
        "nodes": [
            {"id": "n1", "type": "transform", "output": {"step": "'n1'", "got": "size(input)"}},
            {"id": "n2", "type": "transform", "output": {"got": "steps.n1.output.got + 1"}}
        ],
        "edges": [{"from": "n1", "to": "n2"}]
    })
}

/// An employee of these skills in sequence; each may use everything.
pub fn employee(skills: &[Value], extra: Value) -> Value {
    let nodes: Vec<Value> = skills
        .iter()
        .enumerate()
        .map(|(place, skill)| {
            json!({"id": format!("s{place}"), "type": "skill", "skill_graph": skill["graph_id"],
                   "permissions": ["slack.*", "gmail.*", "quickbooks.*"]})
        })
        .collect();
    let edges: Vec<Value> = (1..skills.len())
        .map(|place| json!({"from": format!("s{}", place - 1), "to": format!("s{place}")}))
        .collect();
    let graphs: serde_json::Map<String, Value> = skills
        .iter()
        .map(|skill| {
            (
                skill["graph_id"].as_str().expect("an id").to_string(),
                skill.clone(),
            )
        })
        .collect();
    let mut graph = json!({"graph_id": "emp", "type": "employee", "nodes": nodes, "edges": edges});
    let mut spec = json!({"skill_graphs": graphs});
    for (key, value) in extra.as_object().cloned().unwrap_or_default() {
        match key.as_str() {
            "durability" => graph["durability"] = value,
            _ => spec[key] = value,
        }
    }
    spec["graph"] = graph;
    spec
}
