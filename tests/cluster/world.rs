//! One builder: PostgreSQL, the sandbox, an authority, three nodes with doors between them, an org with a key and employees.

use crate::{
    desk::Sandbox,
    history::{CarriedOut, Effect, History, Life},
    load::{Nodes, Report},
    net::{Door, Net, POSTGRES, PROVIDER, Place, Visitor},
    node::{Launch, Node, node_id, tail},
    process::{Answer, Client},
    recorder::Recorder,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tempfile::TempDir;
use tenure::{
    api::keys,
    domain::{KeyId, OrgId, Role, Timestamp},
    persistence::{
        Db, DbConfig, KeyRow, OrgRow, key_insert, migrate, org_insert,
        private_postgres::PrivatePostgres,
    },
};
use tenure_cluster::tls::{Authority, ClusterName, write_private};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};
use uuid::Uuid;

/// Most of a show is waiting for leases, so two have room on a machine at once; those that make much work want it for themselves.
static MACHINE: Semaphore = Semaphore::const_new(WHOLE as usize);
const WHOLE: u32 = 2;

/// Beyond this something is stuck.
pub const PATIENCE: Duration = Duration::from_secs(90);
pub const NAMES: [Place; 3] = ["a", "b", "c"];
const MASTER_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

/// What a cluster is made of.
#[derive(Clone)]
pub struct Plan {
    pub nodes: Vec<NodePlan>,
    pub lease: Duration,
    pub renew_every: Duration,
    pub lease_margin: Duration,
    pub idle_after: Duration,
    pub sandbox_quota: Value,
    /// This machine's address on the network of nodes that have namespaces of their own.
    pub gateway: Option<Ipv4Addr>,
    /// Whether the show wants the machine for itself.
    pub alone: bool,
}

#[derive(Clone)]
pub struct NodePlan {
    pub name: Place,
    pub roles: Vec<&'static str>,
    /// Where it listens; in a namespace of its own, if it has one.
    pub ip: Ipv4Addr,
    pub namespace: Option<String>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            nodes: NAMES.map(NodePlan::all_roles).into(),
            lease: Duration::from_secs(4),
            renew_every: Duration::from_secs(1),
            lease_margin: Duration::from_secs(1),
            idle_after: Duration::from_secs(30),
            sandbox_quota: json!({"requests": 100_000, "per_seconds": 1, "burst": 100_000}),
            gateway: None,
            alone: false,
        }
    }
}

impl NodePlan {
    pub fn all_roles(name: Place) -> Self {
        Self::with_roles(name, &["api", "worker", "connector"])
    }

    pub fn with_roles(name: Place, roles: &[&'static str]) -> Self {
        Self {
            name,
            roles: roles.into(),
            ip: Ipv4Addr::LOCALHOST,
            namespace: None,
        }
    }

    fn takes_requests(&self) -> bool {
        self.roles.contains(&"api")
    }
}

/// A cluster at work, and what stands around it.
pub struct World {
    pub plan: Plan,
    pub net: Net,
    pub recorder: Recorder,
    pub nodes: BTreeMap<Place, Node>,
    launches: BTreeMap<Place, Launch>,
    sandbox: Sandbox,
    provider: Door,
    postgres: Option<PrivatePostgres>,
    dir: TempDir,
    began: Instant,
    _share: SemaphorePermit<'static>,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (name, launch) in &self.launches {
                eprintln!(
                    "--- the end of the log of {name}\n{}",
                    tail(&launch.log, 60)
                );
            }
            if std::env::var_os("SHOWS_KEEP").is_some() {
                self.dir.disable_cleanup(true);
                eprintln!("--- kept: {}", self.dir.path().display());
            }
        }
    }
}

impl World {
    /// All nodes start at once.
    pub async fn start(plan: Plan) -> Self {
        let mut world = Self::prepare(plan).await;
        for node in world.plan.nodes.clone() {
            world.spawn(node.name);
        }
        for node in world.nodes.values_mut() {
            node.until_ready().await;
        }
        world.until_members(world.plan.nodes.len()).await;
        world
            .connect("gmail", world.plan.sandbox_quota.clone())
            .await;
        world.allow_mails().await;
        println!("all nodes are ready after {:.1?}", world.began.elapsed());
        world
    }

    /// Everything but the nodes.
    pub async fn prepare(plan: Plan) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let postgres =
            tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()));
        let record = dir.path().join("sandbox");
        let (postgres, sandbox) = tokio::join!(postgres, Sandbox::start(&record));
        let postgres = postgres.expect("ran").expect("postgresql");
        let url = postgres.url("postgres");
        migrate(&url).await.expect("migrates");
        let key = make_org(&url).await;
        let recorder = Recorder::install(&url).await;
        let net = Net::new();
        let (at, visitor) = match plan.gateway {
            None => (Ipv4Addr::LOCALHOST, Visitor::ByProcess),
            Some(gateway) => (gateway, Visitor::Known("somebody")),
        };
        let target = sandbox.url.trim_start_matches("http://").parse();
        let target = target.expect("an address");
        let provider = net.door_at(at.into(), visitor, PROVIDER, target).await;
        let authority = authority(dir.path());
        let mut launches = BTreeMap::new();
        for node in &plan.nodes {
            let at = Site {
                dir: dir.path(),
                authority: &authority,
                net: &net,
                postgres: postgres.port(),
                gateway: plan.gateway,
            };
            let launch = at.launch(&plan, node, &key).await;
            launches.insert(node.name, launch);
        }
        // What is there so far has cost little while other shows went on.
        let share = if plan.alone { WHOLE } else { 1 };
        let share = MACHINE.acquire_many(share).await.expect("never closed");
        Self {
            began: Instant::now(),
            plan,
            net,
            recorder,
            nodes: BTreeMap::new(),
            launches,
            sandbox,
            provider,
            postgres: Some(postgres),
            dir,
            _share: share,
        }
    }

    /// Starts a node and waits for nothing.
    pub fn spawn(&mut self, name: Place) {
        let node = self.launches[name].spawn();
        self.net.moved_in(name, node.pid());
        self.nodes.insert(name, node);
    }

    pub async fn start_node(&mut self, name: Place) {
        self.spawn(name);
        self.node_mut(name).until_ready().await;
    }

    /// Another process under the same name, at other addresses; it is not waited for.
    pub fn twin(&self, name: Place) -> Node {
        let launch = &self.launches[name];
        let text = std::fs::read_to_string(&launch.config).expect("a configuration");
        let address = free_address(launch.address.ip());
        let door = free_address(launch.address.ip());
        let text = text
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some(("listen", old)) if old.contains(&launch.address.to_string()) => {
                    format!("listen = \"{address}\"")
                }
                Some(("listen", _)) => format!("listen = \"{door}\""),
                Some(("advertise", _)) => format!("advertise = \"{door}\""),
                Some(("url", _)) => format!("url = \"http://{address}\""),
                _ => line.to_owned(),
            })
            .collect::<Vec<_>>()
            .join("\n");
        let config = launch.config.with_extension("twin.toml");
        std::fs::write(&config, text).expect("written");
        let twin = Launch {
            config,
            address,
            ..launch.clone()
        };
        twin.spawn()
    }

    pub fn node(&self, name: Place) -> &Node {
        self.nodes.get(name).expect("it runs")
    }

    pub fn node_mut(&mut self, name: Place) -> &mut Node {
        self.nodes.get_mut(name).expect("it runs")
    }

    /// The node is no longer one of those that run: the caller ends it.
    pub fn take(&mut self, name: Place) -> Node {
        self.nodes.remove(name).expect("it runs")
    }

    pub fn client(&self, name: Place) -> Client {
        self.node(name).client()
    }

    /// Of all nodes that take requests, running or not: what a load balancer is configured with.
    pub fn addresses(&self) -> Nodes {
        let takes = self.plan.nodes.iter().filter(|node| node.takes_requests());
        let client = |node: &NodePlan| {
            let launch = &self.launches[node.name];
            Client {
                base: format!("http://{}", launch.address),
                key: Some(launch.key.clone()),
            }
        };
        Nodes::new(takes.map(client).collect())
    }

    pub fn sandbox(&self) -> Client {
        self.sandbox.client()
    }

    pub fn log_of(&self, name: Place) -> String {
        std::fs::read_to_string(&self.launches[name].log).unwrap_or_default()
    }

    /// The database is gone, as after a crash of its machine.
    pub async fn stop_postgres(&mut self) {
        self.with_postgres(|postgres| postgres.stop().expect("stops"))
            .await;
    }

    pub async fn start_postgres_again(&mut self) {
        self.with_postgres(|postgres| postgres.start_again().expect("starts again"))
            .await;
    }

    async fn with_postgres(&mut self, act: impl FnOnce(&mut PrivatePostgres) + Send + 'static) {
        let mut postgres = self.postgres.take().expect("it is there");
        let acted = tokio::task::spawn_blocking(move || {
            act(&mut postgres);
            postgres
        });
        self.postgres = Some(acted.await.expect("acted"));
    }

    /// Connects the org's account at the sandbox, with a limit that is kept.
    pub async fn connect(&self, integration: &str, quota: Value) {
        let body = self.account(integration, quota);
        let made = self.anybody().post("/v1/connections", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// What connects an account of the sandbox's, by way of its door.
    pub fn account(&self, integration: &str, quota: Value) -> Value {
        let mut accounts = self.sandbox.accounts.iter();
        let account = accounts
            .find(|account| account["integration"] == integration)
            .expect("an account");
        let sandbox = self.sandbox.url.trim_start_matches("http://");
        let base_url = account["base_url"].as_str().expect("a url");
        json!({
            "integration": integration, "token": account["token"],
            "base_url": base_url.replace(sandbox, &self.provider.address.to_string()),
            "account": {"data": account["data"], "quota": quota},
        })
    }

    /// Where the nodes find the sandbox.
    pub fn provider(&self) -> &Door {
        &self.provider
    }

    /// Asks one node after the other until one can say more than that it cannot just now.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.addresses().ask(method, path, body).await
    }

    async fn allow_mails(&self) {
        let rule = json!({"name": "mails", "effect": "allow", "capabilities": ["gmail.send"]});
        let made = self.anybody().post("/v1/policies", &rule).await;
        assert_eq!(made.status, 201, "{made:?}");
    }

    /// A node that runs and takes requests.
    fn anybody(&self) -> Client {
        let mut nodes = self.plan.nodes.iter().filter(|node| node.takes_requests());
        let node = nodes.find(|node| self.nodes.contains_key(node.name));
        self.client(node.expect("an api node").name)
    }

    /// Hires so many, a few at a time; gives their ids.
    pub async fn hire(&self, count: usize, spec: fn(&str) -> Value) -> Vec<String> {
        use futures::{StreamExt, stream};
        let client = self.anybody();
        stream::iter(0..count)
            .map(|n| {
                let client = client.clone();
                async move {
                    let name = format!("e{n}-{}", Uuid::new_v4().simple());
                    let hired = client.post("/v1/employees", &spec(&name)).await;
                    assert_eq!(hired.status, 201, "{hired:?}");
                    hired.body["id"].as_str().expect("an id").to_owned()
                }
            })
            .buffered(8)
            .collect()
            .await
    }

    /// Waits until each running node sees so many alive.
    pub async fn until_members(&self, count: usize) {
        for node in self.nodes.values() {
            let client = node.client();
            let what = format!("{} sees {count} nodes alive", node.name);
            until(&what, async || alive(&client).await == Some(count)).await;
        }
    }

    /// Waits until every running node takes requests.
    pub async fn until_all_ready(&self) {
        for node in self.nodes.values() {
            let client = node.client();
            until(&format!("{} is ready", node.name), async || {
                let asked = client.try_send("GET", "/readyz", &[], None);
                matches!(tokio::time::timeout(Duration::from_secs(3), asked).await, Ok(Ok(answer)) if answer.status == 200)
            })
            .await;
        }
    }

    /// The name of the node that has this life.
    pub fn name_of(&self, life: Life) -> Place {
        let names = self.plan.nodes.iter().map(|node| node.name);
        let mut found = names.filter(|name| node_id(name) == life.node);
        found.next().expect("one of ours")
    }

    /// The node with the most employees, and who they are.
    pub async fn busiest(&self) -> (Place, BTreeSet<Uuid>) {
        let mut homes: BTreeMap<Place, BTreeSet<Uuid>> = BTreeMap::new();
        for (employee, life) in self.recorder.owners().await {
            homes
                .entry(self.name_of(life))
                .or_default()
                .insert(employee);
        }
        let counts: Vec<_> = homes.iter().map(|(name, all)| (*name, all.len())).collect();
        println!("employees live at {counts:?}");
        let busiest = homes.into_iter().max_by_key(|(_, all)| all.len());
        busiest.expect("somebody lives somewhere")
    }

    /// What the providers carried out so far.
    pub async fn carried_out(&self) -> Vec<CarriedOut> {
        let record = self.sandbox().get("/record?limit=100000").await;
        let items = record.body["items"].as_array().expect("items");
        items.iter().filter_map(carried_out).collect()
    }

    /// Waits until all work is over, then checks all that happened.
    pub async fn check(&self, report: Report) {
        self.judge(&self.history(report).await);
    }

    /// All that happened, when all work is over.
    pub async fn history(&self, report: Report) -> History {
        until("every run is over", async || {
            self.recorder.unfinished().await == 0
        })
        .await;
        until("every write is settled", async || {
            self.recorder.unsettled().await == 0
        })
        .await;
        let effects = self
            .anybody()
            .try_list("/v1/effects")
            .await
            .expect("a list");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let effects = effects
            .iter()
            .map(|effect| Effect {
                key: text(&effect["idempotency_key"]),
                status: text(&effect["status"]),
            })
            .collect();
        let carried_out = self.carried_out().await;
        self.recorder
            .history(report.tried, report.accepted, effects, carried_out)
            .await
    }

    /// # Panics
    /// If anything of it is wrong.
    pub fn judge(&self, history: &History) {
        println!("{}; {:.0?}", history.summary(), self.began.elapsed());
        let violations = history.violations();
        let few: Vec<String> = violations
            .iter()
            .take(20)
            .map(ToString::to_string)
            .collect();
        assert!(
            few.is_empty(),
            "{} violations:\n{}",
            violations.len(),
            few.join("\n")
        );
        assert!(!history.writes.is_empty(), "there was something to check");
    }

    /// No time of a schedule is to be due between two looks: each has come once at least, and then they are paused while none is about to be.
    /// Gives the last minute that they were due.
    pub async fn rest_schedules(&self) -> i64 {
        until(
            "every schedule has fired, and none is about to",
            async || self.recorder.count(UNRESTED).await == 0,
        )
        .await;
        let last = chrono::Utc::now().timestamp().div_euclid(60);
        let listed = self.ask("GET", "/v1/schedules", None).await;
        for schedule in listed.body["items"].as_array().expect("a list") {
            let id = schedule["id"].as_str().expect("an id");
            let paused = self
                .ask("POST", &format!("/v1/schedules/{id}/pause"), None)
                .await;
            assert!(paused.status < 300, "{paused:?}");
        }
        last
    }
}

/// Schedules that never fired, or may within the next seconds.
const UNRESTED: &str = "SELECT count(*) FROM schedule s WHERE
    s.next_due_us < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 8000000
    OR NOT EXISTS (SELECT 1 FROM schedule_fire f WHERE f.schedule_id = s.id AND f.run_id IS NOT NULL)";

/// How many nodes one of them lists as alive, and can ask.
pub async fn alive(client: &Client) -> Option<usize> {
    let nodes = members(client).await?;
    let is_there = |node: &&Value| node["state"] == "alive" && node["status"].is_object();
    Some(nodes.iter().filter(is_there).count())
}

/// The list of nodes as one of them sees it.
pub async fn members(client: &Client) -> Option<Vec<Value>> {
    let asked = client.try_send("GET", "/v1/nodes", &[], None);
    let answer = tokio::time::timeout(Duration::from_secs(5), asked).await;
    let answer = answer.ok()?.ok()?;
    (answer.status == 200).then(|| answer.body["items"].as_array().cloned())?
}

/// A request of the sandbox's record as a write, if it is one and was carried out.
fn carried_out(item: &Value) -> Option<CarriedOut> {
    let applied = item["status"].is_null() || item["status"] == 200;
    let is_write = applied && item["method"] == "POST";
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (key, says) = match item["integration"].as_str() {
        Some("gmail") => (
            text(&item["idempotency_key"]),
            subject(&item["body"]["raw"]),
        ),
        Some("slack") if item["path"] == "/api/chat.postMessage" => {
            let key = &item["body"]["metadata"]["event_payload"]["tenure_effect"];
            (text(key), text(&item["body"]["text"]))
        }
        _ => return None,
    };
    is_write.then_some(CarriedOut { key, says })
}

fn subject(raw: &Value) -> String {
    let raw = raw.as_str().unwrap_or_default();
    let mail = URL_SAFE_NO_PAD.decode(raw.trim_end_matches('='));
    let mail = String::from_utf8_lossy(&mail.unwrap_or_default()).into_owned();
    let mut lines = mail.lines();
    let subject = lines.find_map(|line| line.strip_prefix("Subject: "));
    subject.unwrap_or_default().trim().to_owned()
}

/// # Panics
/// If it does not come to be so in good time.
pub async fn until(what: &str, mut good: impl AsyncFnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !good().await {
        assert!(Instant::now() < give_up, "it did not come that {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The org of the shows; gives the key of its admin.
async fn make_org(url: &str) -> String {
    let db = Db::connect(&DbConfig::new(url)).await.expect("connects");
    let (org, now) = (OrgId::from_uuid(Uuid::now_v7()), Timestamp::from_millis(0));
    let mut tx = db.begin_system("an org is made").await.expect("begins");
    let row = OrgRow {
        id: org,
        name: "shown".into(),
        settings: "{}".into(),
        created: now,
    };
    org_insert(&mut tx, &row).await.expect("inserts");
    tx.commit().await.expect("commits");
    let key = keys::generate().expect("randomness");
    let mut tx = db.begin(org).await.expect("begins");
    let row = KeyRow {
        org_id: org,
        id: KeyId::from_uuid(Uuid::now_v7()),
        hash: key.hash,
        role: Role::Admin,
        name: "shows".into(),
        created: now,
        revoked: None,
        user: None,
        expires: None,
        last_used: None,
        tail: Some(key.tail),
    };
    key_insert(&mut tx, &row).await.expect("inserts");
    tx.commit().await.expect("commits");
    db.close().await;
    key.text.expose_secret().to_owned()
}

/// For an hour; its certificate is in the directory.
fn authority(dir: &Path) -> Authority {
    let name = ClusterName::new("shown").expect("a name");
    let authority = Authority::generate(name).expect("a key");
    let own = authority.certify(SystemTime::now(), Duration::from_secs(3600));
    std::fs::write(dir.join("ca.pem"), own.expect("a certificate").certificate).expect("written");
    authority
}

/// Where nodes are made.
struct Site<'a> {
    dir: &'a Path,
    authority: &'a Authority,
    net: &'a Net,
    postgres: u16,
    gateway: Option<Ipv4Addr>,
}

impl Site<'_> {
    async fn launch(&self, plan: &Plan, node: &NodePlan, key: &str) -> Launch {
        let name = node.name;
        let issued = self
            .authority
            .issue(node_id(name), SystemTime::now(), Duration::from_secs(3600))
            .expect("a certificate");
        let file = |extension: &str| self.dir.join(format!("{name}.{extension}"));
        std::fs::write(file("pem"), issued.certificate).expect("written");
        write_private(&file("key"), &issued.key).expect("written");
        let (address, listen) = (free_address(node.ip.into()), free_address(node.ip.into()));
        let postgres = SocketAddr::from((Ipv4Addr::LOCALHOST, self.postgres));
        let database = self.database_door(node, postgres).await;
        // Nodes with a network of their own need no doors between them.
        let advertise = match node.namespace {
            None => self.net.door(Visitor::ByProcess, name, listen).await,
            Some(_) => listen,
        };
        let seconds = |time: Duration| format!("{}ms", time.as_millis());
        let text = format!(
            r#"database_url = "postgres://owner@{database}/postgres"
database_connections = 8
engine_connections = 6
listen = "{address}"
master_key = "{MASTER_KEY}"
node_name = "{name}"
idle_after = "{idle}"
allow_private = "127.0.0.0/8,10.0.0.0/8"

[cluster]
name = "shown"
listen = "{listen}"
advertise = "{advertise}"
url = "http://{address}"
ca_file = "{ca}"
cert_file = "{cert}"
key_file = "{private}"
roles = {roles:?}
lease = "{lease}"
renew_every = "{renew}"
lease_margin = "{margin}"
"#,
            idle = seconds(plan.idle_after),
            ca = self.dir.join("ca.pem").display(),
            cert = file("pem").display(),
            private = file("key").display(),
            roles = node.roles,
            lease = seconds(plan.lease),
            renew = seconds(plan.renew_every),
            margin = seconds(plan.lease_margin),
        );
        std::fs::write(file("toml"), text).expect("written");
        Launch {
            name,
            config: file("toml"),
            log: log_path(self.dir, name),
            address,
            key: key.to_owned(),
            namespace: node.namespace.clone(),
        }
    }

    /// The node's own way to the database.
    async fn database_door(&self, node: &NodePlan, postgres: SocketAddr) -> SocketAddr {
        let from = Visitor::Known(node.name);
        match self.gateway {
            None => self.net.door(from, POSTGRES, postgres).await,
            Some(gateway) => {
                let gateway = gateway.into();
                let door = self.net.door_at(gateway, from, POSTGRES, postgres);
                door.await.address
            }
        }
    }
}

fn log_path(dir: &Path, name: &str) -> PathBuf {
    match std::env::var_os("SHOWS_LOGS") {
        Some(logs) => PathBuf::from(logs).join(format!("{name}.log")),
        None => dir.join(format!("{name}.log")),
    }
}

/// An address that was free a moment ago. It has to be known before the node starts, and to be the same when it starts again.
fn free_address(ip: IpAddr) -> SocketAddr {
    // Addresses of namespaces are not this machine's, and nobody else is there.
    let here = match ip.is_loopback() {
        true => ip,
        false => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let listener = std::net::TcpListener::bind((here, 0)).expect("a free port");
    SocketAddr::new(ip, listener.local_addr().expect("an address").port())
}
