//! Fresh databases, and short ways to the rows that cases need.

use crate::{
    domain::{ContentHash, EmployeeId, ExecutionId, OrgId, Timestamp, TriggerType},
    persistence::{private_postgres::PrivatePostgres, *},
};
use bytes::Bytes;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

pub struct World {
    pub db: Db,
    pub url: String,
    pub org: OrgId,
    /// Must never see anything of `org`.
    pub other: OrgId,
    pub fence: Fence,
    _directory: Option<TempDir>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// An id that no other call gives, later ones greater: a UUID v7 in shape, whose time is `at`.
pub fn id_at(at: Timestamp) -> Uuid {
    let millis = (at.micros() / 1_000) as u128;
    Uuid::from_u128(
        (millis << 80)
            | (0x7 << 76)
            | (0x8 << 60)
            | u128::from(NEXT.fetch_add(1, Ordering::Relaxed)),
    )
}
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_750_000_000_000 + 1_000 * seconds)
}
pub fn id() -> Uuid {
    id_at(at(0))
}

/// One cluster a test process. It is never dropped; it ends with the process.
pub async fn cluster() -> &'static PrivatePostgres {
    static CLUSTER: OnceCell<PrivatePostgres> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let started =
                tokio::task::spawn_blocking(|| PrivatePostgres::start(&std::env::temp_dir()));
            started
                .await
                .expect("the start does not panic")
                .unwrap_or_else(|error| panic!("{error}"))
        })
        .await
}

/// Runs a statement as the owner of the cluster.
pub async fn as_owner(database: &str, statement: String) {
    let mut owner = PgConnection::connect(&cluster().await.url(database))
        .await
        .unwrap();
    owner
        .execute(sqlx::raw_sql(AssertSqlSafe(statement)))
        .await
        .unwrap();
    owner.close().await.unwrap();
}

/// The name of a new database, copied from one that is migrated.
pub async fn fresh_database() -> String {
    static TEMPLATE: OnceCell<()> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            as_owner("postgres", "CREATE DATABASE template_tenure".into()).await;
            migrate(&cluster().await.url("template_tenure"))
                .await
                .unwrap();
        })
        .await;
    let name = format!("world_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    as_owner(
        "postgres",
        format!("CREATE DATABASE {name} TEMPLATE template_tenure"),
    )
    .await;
    name
}

impl World {
    pub async fn sqlite() -> World {
        let directory = TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("tenure.db").display());
        migrate(&url).await.unwrap();
        World::open(url, Some(directory)).await
    }

    pub async fn postgres() -> World {
        let url = cluster().await.url(&fresh_database().await);
        World::open(url, None).await
    }

    async fn open(url: String, directory: Option<TempDir>) -> World {
        let config = DbConfig {
            app_connections: 4,
            engine_connections: 4,
            ..DbConfig::new(url.as_str())
        };
        let db = Db::connect(&config).await.unwrap();
        let mut tx = db.begin_system("set up").await.unwrap();
        let [org, other] = ["acme", "globex"].map(|name| (name, OrgId::from_uuid(id())));
        for (name, id) in [org, other] {
            let row = OrgRow {
                id,
                name: name.into(),
                settings: "{}".into(),
                created: at(0),
            };
            org_insert(&mut tx, &row).await.unwrap();
        }
        let fence = registered(node_register(&mut tx, &node_start(id())).await.unwrap());
        tx.commit().await.unwrap();
        World {
            db,
            url,
            org: org.1,
            other: other.1,
            fence,
            _directory: directory,
        }
    }

    pub async fn write(&self) -> Tx {
        self.db.begin(self.org).await.unwrap()
    }
    pub async fn read(&self) -> Tx {
        self.db.begin_read(self.org).await.unwrap()
    }
    /// As the other org.
    pub async fn stranger(&self) -> Tx {
        self.db.begin(self.other).await.unwrap()
    }
    pub async fn system(&self) -> SystemTx {
        self.db.begin_system("a case").await.unwrap()
    }
    pub async fn system_read(&self) -> SystemTx {
        self.db.begin_system_read("a case").await.unwrap()
    }
    pub async fn commit(&self, batch: &[Append]) -> Vec<AppendOutcome> {
        commit(&self.db, self.fence, batch).await.unwrap()
    }
    /// Commits and gives the error.
    pub async fn refused(&self, batch: &[Append]) -> CommitError {
        commit(&self.db, self.fence, batch)
            .await
            .expect_err("the batch should have been refused")
    }

    /// Hires an employee of that name, with this spec.
    pub async fn hire(&self, name: &str, spec: &str) -> EmployeeId {
        let employee = EmployeeId::from_uuid(id());
        let mut tx = self.write().await;
        employee_insert(&mut tx, name, &version(employee, spec, &graph_defined()))
            .await
            .unwrap();
        tx.commit().await.unwrap();
        employee
    }

    pub async fn run(&self, run: ExecutionId) -> Option<RunRow> {
        run_get(&mut self.read().await, run).await.unwrap()
    }
    pub async fn facts(&self, run: ExecutionId) -> Vec<(u32, String)> {
        let facts = run_journal(&mut self.read().await, run, 0, 1_000)
            .await
            .unwrap();
        facts
            .into_iter()
            .map(|fact| (fact.seq, fact.json.into()))
            .collect()
    }
    /// Puts one more node in service.
    pub async fn join(&self) -> Fence {
        let mut tx = self.system().await;
        let fence = registered(node_register(&mut tx, &node_start(id())).await.unwrap());
        tx.commit().await.unwrap();
        fence
    }
    /// Lets a lease end `micros` before now, and less than no time ago if that is negative.
    pub async fn end_lease(&self, node: Fence, micros: i64) {
        let mut tx = self.system().await;
        let until = clock(&mut tx).await.unwrap().micros() - micros;
        super::super::tx::on_tx!(tx, |conn| sqlx::query(
            "UPDATE node SET lease_until_us = $2 WHERE id = $1"
        )
        .bind(node.node_id)
        .bind(until)
        .execute(conn)
        .await
        .map(drop))
        .unwrap();
        tx.commit().await.unwrap();
    }
    /// Ends a life of a node as another node would.
    pub async fn bury(&self, node: Fence) {
        self.end_lease(node, 1).await;
        let mut tx = self.system().await;
        assert!(node_declare_dead(&mut tx, node).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// How many rows a table has, over all orgs.
    pub async fn count(&self, table: &str) -> i64 {
        let statement = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let mut tx = self.system_read().await;
        super::super::tx::on_tx!(tx, |conn| sqlx::query_scalar(statement)
            .fetch_one(conn)
            .await)
        .unwrap()
    }

    /// Waits until readers of the stream may see all that was committed: a transaction that is open anywhere in the cluster, in the database
    /// of another case too, holds them back.
    pub async fn settled(&self) {
        let newest: i64 = {
            let mut tx = self.system_read().await;
            super::super::tx::on_tx!(tx, |conn| sqlx::query_scalar(
                "SELECT max(p) FROM (SELECT commit_pos AS p FROM journal UNION ALL SELECT commit_pos FROM org_event) x"
            )
            .fetch_one(conn)
            .await)
            .unwrap()
        };
        while stream_tip(&mut self.read().await).await.unwrap().position < newest {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// An append that accepts a run of `employee` with one fact.
    pub fn accept(&self, employee: EmployeeId) -> Append {
        self.accept_at(employee, at(1), None)
    }
    pub fn accept_at(
        &self,
        employee: EmployeeId,
        accepted: Timestamp,
        key: Option<&str>,
    ) -> Append {
        let dedupe = key.map(|key| DedupeKey {
            source: "api".into(),
            key: key.into(),
        });
        let insert = RunInsert {
            version: 1,
            trigger_type: TriggerType::DirectCommand,
            source: "api".into(),
            conversation_key: None,
            accepted,
            dedupe,
            payload_hash: None,
        };
        let run = RunAppend {
            execution: ExecutionId::from_uuid(id_at(accepted)),
            employee,
            insert: Some(insert),
            first_seq: 0,
            facts: facts(&["accepted"]),
            status: None,
        };
        Append::of_run(self.org, run)
    }
    /// An append that goes on with the run of `append` at `first_seq`.
    pub fn go_on(
        &self,
        append: &Append,
        first_seq: u32,
        names: &[&str],
        status: Option<RunStatus>,
    ) -> Append {
        let run = append.run.as_ref().unwrap();
        let status = status.map(|status| RunStatusChange {
            status,
            at: at(50),
            waiting_on: None,
            error: None,
        });
        Append::of_run(
            self.org,
            RunAppend {
                insert: None,
                first_seq,
                facts: facts(names),
                status,
                ..run.clone()
            },
        )
    }
}

/// A node called `n1` with an hour's lease.
pub fn node_start(id: Uuid) -> NodeStart<'static> {
    NodeStart {
        id,
        name: "n1",
        address: "127.0.0.1:1",
        build: "1.2.3",
        zone: "north",
        weight: 100,
        roles: WordList(vec!["worker".into()]),
        takes: WordList(vec!["employee".into()]),
        url: "http://127.0.0.1:1",
        ttl: Duration::from_secs(3_600),
        process_is_gone: false,
    }
}
pub fn registered(answer: Registered) -> Fence {
    match answer {
        Registered::As(fence) => fence,
        Registered::NotYet { lease_left } => panic!("its lease lasts {lease_left:?}"),
    }
}

pub fn execution(append: &Append) -> ExecutionId {
    append.run.as_ref().unwrap().execution
}

/// Facts whose only content is a name.
pub fn facts(names: &[&str]) -> Vec<Bytes> {
    names
        .iter()
        .map(|name| Bytes::from(format!(r#"{{"f":"{name}"}}"#)))
        .collect()
}
pub fn named(facts: &[(u32, &str)]) -> Vec<(u32, String)> {
    facts
        .iter()
        .map(|(seq, name)| (*seq, format!(r#"{{"f":"{name}"}}"#)))
        .collect()
}

pub fn graph_defined() -> OrgEventRow {
    OrgEventRow {
        id: id(),
        kind: "GraphDefined".into(),
        body: r#"{"type":"GraphDefined"}"#.into(),
        at: at(0),
    }
}
pub fn version<'a>(
    employee: EmployeeId,
    spec: &'a str,
    event: &'a OrgEventRow,
) -> VersionInsert<'a> {
    VersionInsert {
        employee,
        spec: spec.as_bytes(),
        subscriptions: &[],
        schedules: &[],
        event,
        at: at(0),
        by: "test",
    }
}
pub fn blob(owner: Uuid, body: &str) -> BlobPut {
    BlobPut {
        owner,
        hash: ContentHash::of(body.as_bytes()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        at: at(1),
    }
}
pub fn bodies(blobs: &HashMap<ContentHash, Bytes>) -> Vec<&str> {
    let mut bodies: Vec<&str> = blobs
        .values()
        .map(|body| std::str::from_utf8(body).unwrap())
        .collect();
    bodies.sort_unstable();
    bodies
}
pub fn page(limit: u32) -> PageRequest {
    PageRequest::new(Some(limit), None).unwrap()
}
pub fn next<T>(limit: u32, before: &Page<T>) -> PageRequest {
    PageRequest::new(
        Some(limit),
        Some(before.next.as_deref().expect("there is a next page")),
    )
    .unwrap()
}
