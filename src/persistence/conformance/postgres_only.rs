//! What only PostgreSQL has: roles, row-level security, transactions that overlap.

use super::world::*;
use crate::{
    domain::{EmployeeId, OrgId},
    persistence::{db::Pools, *},
};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use std::time::Duration;

fn pools(world: &World) -> (&PgPool, &PgPool) {
    match &world.db.pools {
        Pools::Postgres { app, engine, .. } => (app, engine),
        Pools::Sqlite { .. } => panic!("this is about PostgreSQL"),
    }
}

/// Name, enabled, forced, and the conditions of the policies for requests and for the engine.
type TableSecurity = (String, bool, bool, Option<String>, Option<String>);

#[tokio::test]
async fn every_table_with_an_org_is_under_row_level_security() {
    let world = World::postgres().await;
    let (_, engine) = pools(&world);
    let tables: Vec<TableSecurity> = sqlx::query_as(
        "SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity,
             (SELECT p.qual || '|' || p.with_check FROM pg_policies p WHERE p.tablename = c.relname AND p.roles = '{tenure_app}' AND p.cmd = 'ALL'),
             (SELECT p.qual || '|' || p.with_check FROM pg_policies p WHERE p.tablename = c.relname AND p.roles = '{tenure_engine}' AND p.cmd = 'ALL')
         FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'org_id'
         WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1",
    )
    .fetch_all(engine)
    .await
    .unwrap();
    assert!(tables.len() >= 22, "{} tables", tables.len());
    for (table, enabled, forced, app, engine) in tables {
        assert!(enabled && forced, "{table}");
        let app = app.unwrap_or_else(|| panic!("{table} has no policy for requests"));
        assert_eq!(app.matches("app.org_id").count(), 2, "{table}: {app}");
        assert_eq!(engine.as_deref(), Some("true|true"), "{table}");
    }
    let without: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND NOT c.relrowsecurity ORDER BY 1",
    )
    .fetch_all(engine)
    .await
    .unwrap();
    assert_eq!(
        without,
        ["_sqlx_migrations", "incarnation", "node", "placement"],
        "a new table without row-level security needs a reason"
    );
}

#[tokio::test]
async fn a_query_that_forgets_its_org_sees_one_org_or_none() {
    let world = World::postgres().await;
    let employee = world.hire("clerk", "{}").await;
    world.commit(&[world.accept(employee)]).await;
    let (app, _) = pools(&world);
    for table in ["org", "employee", "run", "journal", "blob", "org_event"] {
        let all = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let nobody: i64 = sqlx::query_scalar(all).fetch_one(app).await.unwrap();
        assert_eq!(nobody, 0, "{table} without an org");
        let all = AssertSqlSafe(format!(
            "SELECT count(*) FROM {table} WHERE org_id = '{}'",
            world.org.uuid()
        ));
        let mut stranger = world.stranger().await;
        let theirs: i64 = on_postgres(&mut stranger, all).await;
        assert_eq!(theirs, 0, "{table} as another org");
    }
}

async fn on_postgres(tx: &mut Tx, sql: AssertSqlSafe<String>) -> i64 {
    super::super::tx::on_tx!(tx, |conn| sqlx::query_scalar(sql).fetch_one(conn).await).unwrap()
}

#[tokio::test]
async fn an_org_cannot_be_written_to_by_another() {
    let world = World::postgres().await;
    let clerk = world.hire("clerk", "{}").await;
    let mut stranger = world.stranger().await;
    let insert = AssertSqlSafe(format!(
        "INSERT INTO subscription (org_id, employee_id, position, source) VALUES ('{}', '{}', 9, 'x')",
        world.org.uuid(),
        clerk.uuid()
    ));
    let error = super::super::tx::on_tx!(stranger, |conn| sqlx::query(insert)
        .execute(conn)
        .await
        .map(drop))
    .unwrap_err();
    assert!(error.to_string().contains("row-level security"), "{error}");
}

#[tokio::test]
async fn requests_cannot_touch_the_journal_the_ledger_or_the_nodes() {
    let world = World::postgres().await;
    let (app, _) = pools(&world);
    for statement in [
        "UPDATE journal SET seq = seq",
        "DELETE FROM run",
        "UPDATE effect SET status = 'done'",
        "DELETE FROM approval",
        "SELECT count(*) FROM node",
        "DELETE FROM org",
        "TRUNCATE journal",
        "ALTER TABLE journal DISABLE ROW LEVEL SECURITY",
    ] {
        let error = app.execute(statement).await.unwrap_err();
        assert_eq!(
            error
                .as_database_error()
                .and_then(|known| known.code())
                .as_deref(),
            Some("42501"),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn it_works_with_a_plain_owner_and_a_plain_service_role() {
    cluster().await;
    let suffix = id().simple().to_string();
    let (owner, service, database) = (
        format!("owner_{suffix}"),
        format!("service_{suffix}"),
        format!("db_{suffix}"),
    );
    as_owner(
        "postgres",
        format!("CREATE ROLE {owner} LOGIN CREATEROLE; CREATE ROLE {service} LOGIN"),
    )
    .await;
    as_owner(
        "postgres",
        format!("CREATE DATABASE {database} OWNER {owner}"),
    )
    .await;
    let url = |role: &str| cluster_url(role, &database);
    // The roles are there already, made by another owner, so this one has to be let in by an operator.
    fresh_database().await;
    as_owner(
        "postgres",
        format!("GRANT tenure_app, tenure_engine TO {owner}"),
    )
    .await;
    migrate(&url(&owner)).await.unwrap();

    let refused = Db::connect(&DbConfig::new(url(&service)))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, DbError::Setup(text) if text.contains("GRANT tenure_app")),
        "{refused}"
    );
    as_owner(
        "postgres",
        format!("GRANT tenure_app, tenure_engine TO {service}"),
    )
    .await;
    let db = Db::connect(&DbConfig::new(url(&service))).await.unwrap();
    let org = OrgRow {
        id: OrgId::from_uuid(id()),
        name: "acme".into(),
        settings: "{}".into(),
        created: at(0),
    };
    let mut tx = db.begin_system("test").await.unwrap();
    org_insert(&mut tx, &org).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        org_get(&mut db.begin_read(org.id).await.unwrap())
            .await
            .unwrap(),
        Some(org)
    );
}

fn cluster_url(role: &str, database: &str) -> String {
    let port = futures::executor::block_on(cluster()).port();
    format!("postgres://{role}@127.0.0.1:{port}/{database}")
}

#[tokio::test]
async fn a_role_that_could_pass_row_level_security_is_refused() {
    // Roles belong to the cluster, so this one has a cluster of its own.
    let own = tokio::task::spawn_blocking(|| {
        private_postgres::PrivatePostgres::start(&std::env::temp_dir())
    })
    .await
    .unwrap()
    .unwrap();
    let url = own.url("postgres");
    migrate(&url).await.unwrap();
    let mut owner = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    for (make, undo, word) in [
        (
            "ALTER ROLE tenure_app BYPASSRLS",
            "ALTER ROLE tenure_app NOBYPASSRLS",
            "bypasses",
        ),
        (
            "ALTER ROLE tenure_engine SUPERUSER",
            "ALTER ROLE tenure_engine NOSUPERUSER",
            "superuser",
        ),
        (
            "ALTER TABLE run OWNER TO tenure_app",
            "ALTER TABLE run OWNER TO owner",
            "owns",
        ),
    ] {
        owner.execute(make).await.unwrap();
        let refused = Db::connect(&DbConfig::new(url.as_str())).await.unwrap_err();
        assert!(
            matches!(&refused, DbError::Setup(text) if text.contains(word)),
            "{refused}"
        );
        owner.execute(undo).await.unwrap();
    }
    Db::connect(&DbConfig::new(url.as_str())).await.unwrap();
    owner.execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)").await.unwrap();
    let refused = Db::connect(&DbConfig::new(url.as_str())).await.unwrap_err();
    assert!(refused.to_string().contains("tenure migrate"), "{refused}");
}

#[tokio::test]
async fn migrations_of_one_new_database_at_once() {
    cluster().await;
    let database = format!("db_{}", id().simple());
    as_owner("postgres", format!("CREATE DATABASE {database}")).await;
    let url = cluster().await.url(&database);
    let results = tokio::join!(migrate(&url), migrate(&url), migrate(&url));
    results.0.and(results.1).and(results.2).unwrap();
}

#[tokio::test]
async fn the_stream_waits_for_a_transaction_that_commits_late() {
    let world = World::postgres().await;
    let employee = EmployeeId::from_uuid(id());
    let (early, late) = (world.accept(employee), world.accept(employee));
    // Takes its number and writes, and is still open when the next one commits.
    let mut slow = world.write().await;
    org_event_insert(&mut slow, &graph_defined()).await.unwrap();
    world.commit(&[early.clone()]).await;
    let tip = stream_tip(&mut world.read().await).await.unwrap();
    let seen = stream_page(&mut world.read().await, StreamScope::Org, Cursor::START, 10)
        .await
        .unwrap();
    assert_eq!(
        seen,
        [],
        "what committed must not be shown before what began earlier"
    );
    slow.commit().await.unwrap();
    world.commit(&[late.clone()]).await;
    world.settled().await;
    let seen = stream_page(&mut world.read().await, StreamScope::Org, Cursor::START, 10)
        .await
        .unwrap();
    let kinds: Vec<bool> = seen
        .iter()
        .map(|item| matches!(item, StreamItem::Event { .. }))
        .collect();
    assert_eq!(kinds, [true, false, false]);
    let since = stream_page(&mut world.read().await, StreamScope::Org, tip, 10)
        .await
        .unwrap();
    assert_eq!(since, seen, "the tip was before the open transaction");
}

#[tokio::test]
async fn streams_skip_nothing_while_many_write() {
    let world = World::postgres().await;
    let employee = EmployeeId::from_uuid(id());
    let writers = futures::future::join_all((0..4).map(|_| async {
        for _ in 0..25 {
            world
                .commit(&[world.accept(employee), world.accept(employee)])
                .await;
        }
    }));
    let reader = async {
        let (mut after, mut seen) = (Cursor::START, 0);
        while seen < 200 {
            let page = stream_page(&mut world.read().await, StreamScope::Org, after, 7)
                .await
                .unwrap();
            seen += page.len();
            after = page.last().map_or(after, StreamItem::cursor);
        }
        (after, seen)
    };
    let (_, (after, seen)) = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::join!(writers, reader)
    })
    .await
    .unwrap();
    assert_eq!(seen, 200);
    assert_eq!(
        stream_page(&mut world.read().await, StreamScope::Org, after, 7)
            .await
            .unwrap(),
        []
    );
}

#[tokio::test]
async fn who_declares_a_node_dead_waits_for_its_transactions() {
    let world = World::postgres().await;
    let writing = world.db.begin_fenced("test", world.fence).await.unwrap();
    // The heartbeat changes no key column and waits for nobody.
    let mut beat = world.system().await;
    tokio::time::timeout(
        Duration::from_secs(5),
        node_heartbeat(&mut beat, world.fence, Duration::ZERO),
    )
    .await
    .unwrap()
    .unwrap();
    beat.commit().await.unwrap();

    let declare = async {
        let mut tx = world.system().await;
        let dead = node_declare_dead(&mut tx, world.fence).await.unwrap();
        tx.commit().await.unwrap();
        dead
    };
    tokio::pin!(declare);
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut declare)
            .await
            .is_err(),
        "the node is still writing"
    );
    writing.commit().await.unwrap();
    assert!(declare.await);
    assert!(matches!(
        world
            .refused(&[world.accept(EmployeeId::from_uuid(id()))])
            .await,
        CommitError::Db(DbError::Fenced)
    ));
}

#[tokio::test]
async fn a_lost_connection_is_unavailable_and_the_next_one_works() {
    let world = World::postgres().await;
    let mut tx = world.read().await;
    org_get(&mut tx).await.unwrap();
    let database = world.url.rsplit('/').next().unwrap();
    as_owner(
        "postgres",
        format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        ),
    )
    .await;
    let lost = org_get(&mut tx).await.unwrap_err();
    assert!(lost.is_transient(), "{lost}");
    drop(tx);
    for _ in 0..10 {
        if let Ok(mut tx) = world.db.begin_read(world.org).await {
            assert!(org_get(&mut tx).await.unwrap().is_some());
            return;
        }
    }
    panic!("no connection came back");
}

#[tokio::test]
async fn a_replica_is_read_while_it_is_there() {
    let world = World::postgres().await;
    let nowhere = "postgres://owner@127.0.0.1:1/nowhere".to_owned();
    // The primary stands for a replica that is not late.
    for (read_url, lag) in [
        (Some(world.url.clone()), Some(ReplicaLag(Some(0)))),
        (Some(nowhere), None),
        (None, None),
    ] {
        let config = DbConfig {
            read_url,
            node_name: Some("a".into()),
            ..DbConfig::new(world.url.as_str())
        };
        let db = Db::connect(&config).await.unwrap();
        let began = std::time::Instant::now();
        for _ in 0..3 {
            let StaleRead { mut tx, replica } = db.begin_stale_read(world.org).await.unwrap();
            assert_eq!(replica, lag);
            assert!(org_get(&mut tx).await.unwrap().is_some());
            assert!(org_set_settings(&mut tx, "{}").await.is_err(), "it reads");
            drop(tx);
            let stranger = db.begin_stale_read(world.other).await.unwrap();
            let count = AssertSqlSafe("SELECT count(*) FROM org".to_owned());
            let mut tx = stranger.tx;
            assert_eq!(on_postgres(&mut tx, count).await, 1, "only itself");
            let name = AssertSqlSafe(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND application_name = 'tenure/a'".to_owned(),
            );
            assert_eq!(on_postgres(&mut tx, name).await, 1);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it is left alone");
        db.close().await;
    }
    let sqlite = DbConfig {
        read_url: Some("sqlite:x".into()),
        ..DbConfig::new(world.url.as_str())
    };
    assert!(matches!(Db::connect(&sqlite).await, Err(DbError::Setup(_))));
}
