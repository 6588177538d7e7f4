//! A database that can be read and not written, for a moment: what is tried meanwhile fails as something that passes, and when there is room
//! again everything works on the same pools.

use super::world::*;
use crate::{
    domain::{ContentHash, EmployeeId},
    persistence::{db::Pools, sqlite::SqliteTx, *},
};
use sqlx::SqlitePool;

fn write_pool(world: &World) -> &SqlitePool {
    match &world.db.pools {
        Pools::Sqlite { write, .. } => write,
        Pools::Postgres { .. } => panic!("this is about SQLite"),
    }
}

/// Lets the file grow no further, as on a full disk; or as far as it likes.
async fn set_full(world: &World, is_full: bool) {
    let mut connection = write_pool(world).acquire().await.unwrap();
    let pages: i64 = match is_full {
        true => sqlx::query_scalar("PRAGMA page_count")
            .fetch_one(&mut *connection)
            .await
            .unwrap(),
        false => 1_000_000_000,
    };
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
    sqlx::query(limit).execute(&mut *connection).await.unwrap();
}

/// Accepted runs whose facts fill many pages.
fn large(world: &World, employee: EmployeeId) -> Vec<Append> {
    let noise = |n: u64| ContentHash::of(&n.to_le_bytes()).to_string();
    (0..40)
        .map(|run| {
            let mut accept = world.accept(employee);
            let text: String = (0..200).map(|n| noise(run * 1_000 + n)).collect();
            accept.run.as_mut().unwrap().facts = facts(&[&text]);
            accept
        })
        .collect()
}

#[tokio::test]
async fn a_disk_that_was_full_for_a_moment_is_written_again() {
    let world = World::sqlite().await;
    let employee = world.hire("clerk", "{}").await;
    for round in 0..5 {
        set_full(&world, true).await;
        let batch = large(&world, employee);
        match world.refused(&batch).await {
            CommitError::Db(error) => assert!(error.is_transient(), "{error}"),
            other => panic!("{other}"),
        }
        assert_eq!(
            world.count("run").await,
            40 * round,
            "it can be read, and nothing of it is there"
        );
        set_full(&world, false).await;
        world.commit(&batch).await;
        assert_eq!(world.count("run").await, 40 * (round + 1));
    }
}

#[tokio::test]
async fn a_request_that_finds_no_room_can_be_sent_again() {
    let world = World::sqlite().await;
    set_full(&world, true).await;
    let employee = EmployeeId::from_uuid(id());
    let spec: String = (0..2_000u64)
        .map(|n| ContentHash::of(&n.to_le_bytes()).to_string())
        .collect();
    let hire = async || {
        let mut tx = world.write().await;
        employee_insert(
            &mut tx,
            "clerk",
            &version(employee, &spec, &graph_defined()),
        )
        .await?;
        tx.commit().await
    };
    let error = hire().await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    set_full(&world, false).await;
    hire().await.unwrap();
}

/// However a transaction is given up, the next one begins, and sees nothing of it.
#[tokio::test]
async fn a_connection_whose_transaction_was_given_up_is_clean_or_replaced() {
    let world = World::sqlite().await;
    let pool = write_pool(&world);
    let begin = || SqliteTx::begin(pool, "BEGIN IMMEDIATE");
    const WRITE: &str = "UPDATE commit_counter SET pos = pos";
    let count = async || -> i64 { world.count("org").await };
    let orgs = count().await;

    let mut dropped = begin().await.unwrap();
    sqlx::query("DELETE FROM org")
        .execute(&mut *dropped)
        .await
        .unwrap();
    drop(dropped);
    assert_eq!(count().await, orgs);

    // Ended behind its back, as SQLite does when it finds no room.
    for ending in ["ROLLBACK", "COMMIT"] {
        let mut ended = begin().await.unwrap();
        sqlx::raw_sql(ending).execute(&mut *ended).await.unwrap();
        drop(ended);
        let mut next = begin().await.unwrap();
        sqlx::query(WRITE).execute(&mut *next).await.unwrap();
        next.commit().await.unwrap();
    }
    let mut ended = begin().await.unwrap();
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut *ended)
        .await
        .unwrap();
    ended.commit().await.unwrap_err();
    begin().await.unwrap().commit().await.unwrap();

    // Left while it asks.
    let mut left = Box::pin(begin());
    assert!(futures::poll!(&mut left).is_pending());
    drop(left);
    let mut busy = begin().await.unwrap();
    let mut write = Box::pin(sqlx::query("DELETE FROM org").execute(&mut *busy));
    let _ = futures::poll!(&mut write);
    drop(write);
    drop(busy);
    begin().await.unwrap().commit().await.unwrap();
    assert_eq!(count().await, orgs);

    // Inside one already.
    let mut within = pool.acquire().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut *within)
        .await
        .unwrap();
    drop(within);
    begin().await.unwrap_err();
    begin().await.unwrap().commit().await.unwrap();
}

/// Real PostgreSQL, which a trigger lets answer as it does when its disk is full or broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_room_for_a_moment_is_written_again() {
    let world = World::postgres().await;
    let database = world
        .url
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let employee = world.hire("clerk", "{}").await;
    for (place, code) in ["53100", "53200", "58030", "58000"].into_iter().enumerate() {
        as_owner(
            &database,
            format!(
                "CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '{code}'; END $$;
                 CREATE TRIGGER no_room BEFORE INSERT ON journal EXECUTE FUNCTION no_room();
                 CREATE TRIGGER no_room BEFORE UPDATE ON node EXECUTE FUNCTION no_room();
                 CREATE TRIGGER no_room BEFORE INSERT ON org_event EXECUTE FUNCTION no_room();"
            ),
        )
        .await;
        let batch = [world.accept(employee)];
        // More often than there are connections.
        for _ in 0..10 {
            match world.refused(&batch).await {
                CommitError::Db(error) => assert!(error.is_transient(), "{code}: {error}"),
                other => panic!("{other}"),
            }
            let mut tx = world.write().await;
            let event = graph_defined();
            assert!(
                org_event_insert(&mut tx, &event)
                    .await
                    .unwrap_err()
                    .is_transient()
            );
            drop(tx);
            let mut tx = world.system().await;
            assert!(
                node_touch(&mut tx, world.fence)
                    .await
                    .unwrap_err()
                    .is_transient()
            );
        }
        let drop_it = "DROP TRIGGER no_room ON journal; DROP TRIGGER no_room ON node; DROP TRIGGER no_room ON org_event;";
        as_owner(&database, drop_it.into()).await;
        world.commit(&batch).await;
        assert_eq!(world.count("run").await, place as i64 + 1);
        let mut tx = world.system().await;
        node_touch(&mut tx, world.fence).await.unwrap();
    }
}
