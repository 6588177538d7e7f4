use super::{on_both, world::*};
use crate::persistence::*;
use std::time::Duration;

on_both!(
    a_start_fences_the_one_before,
    a_start_waits_for_the_lease_of_the_one_before,
    incarnations_are_unique_over_all_nodes,
    a_lease_is_renewed_until_somebody_says_dead,
    a_node_drains_and_leaves,
    who_is_alone_is_told_of_another,
    the_dead_are_forgotten_when_they_own_nothing,
    a_fenced_handle_writes_while_its_life_lasts,
    the_clock_runs
);

const HOUR: Duration = Duration::from_secs(3_600);
const DAY_US: i64 = 86_400_000_000;

async fn a_start_fences_the_one_before(world: World) {
    let mut tx = world.system().await;
    let start = NodeStart {
        address: "127.0.0.1:2",
        process_is_gone: true,
        ..node_start(world.fence.node_id)
    };
    let second = registered(node_register(&mut tx, &start).await.unwrap());
    assert!(second.incarnation > world.fence.incarnation);
    assert!(matches!(
        node_heartbeat(&mut tx, world.fence, HOUR).await,
        Err(DbError::Fenced)
    ));
    node_heartbeat(&mut tx, second, HOUR).await.unwrap();
    let rows = node_list(&mut tx).await.unwrap();
    let [row] = &rows[..] else {
        panic!("one node: {rows:?}");
    };
    assert!(row.lease_left() > HOUR - Duration::from_secs(60) && row.lease_left() <= HOUR);
    let expected = NodeRow {
        id: world.fence.node_id,
        incarnation: second.incarnation,
        state: NodeState::Alive,
        name: "n1".into(),
        address: "127.0.0.1:2".into(),
        build: "1.2.3".into(),
        zone: "north".into(),
        weight: 100,
        roles: WordList(vec!["worker".into()]),
        takes: WordList(vec!["employee".into()]),
        url: "http://127.0.0.1:1".into(),
        lease_until: row.lease_until,
        lease_left_micros: row.lease_left_micros,
    };
    assert_eq!(*row, expected);
}

async fn a_start_waits_for_the_lease_of_the_one_before(world: World) {
    let start = node_start(world.fence.node_id);
    let mut tx = world.system().await;
    let refused = node_register(&mut tx, &start).await.unwrap();
    let Registered::NotYet { lease_left } = refused else {
        panic!("its lease lasts: {refused:?}");
    };
    assert!(
        lease_left > HOUR - Duration::from_secs(60),
        "{lease_left:?}"
    );
    // What was refused changes nothing.
    node_heartbeat(&mut tx, world.fence, HOUR).await.unwrap();
    tx.commit().await.unwrap();

    world.end_lease(world.fence, 1).await;
    let mut tx = world.system().await;
    let second = registered(node_register(&mut tx, &start).await.unwrap());
    assert!(node_leave(&mut tx, second).await.unwrap());
    let third = registered(node_register(&mut tx, &start).await.unwrap());
    assert!(third.incarnation > second.incarnation, "it had left");
}

async fn incarnations_are_unique_over_all_nodes(world: World) {
    let joined = futures::future::join_all((0..8).map(|_| world.join())).await;
    let mut lives: Vec<i64> = joined.iter().map(|fence| fence.incarnation).collect();
    lives.push(world.fence.incarnation);
    lives.sort_unstable();
    lives.dedup();
    assert_eq!(lives.len(), 9);

    // One node starts many times at once: one of them is in service in the end, and it is the last.
    let node = id();
    let starts = futures::future::join_all((0..8).map(|_| async {
        let mut tx = world.system().await;
        let start = NodeStart {
            process_is_gone: true,
            ..node_start(node)
        };
        let fence = registered(node_register(&mut tx, &start).await.unwrap());
        tx.commit().await.unwrap();
        fence.incarnation
    }))
    .await;
    let rows = node_list(&mut world.system_read().await).await.unwrap();
    let row = rows.iter().find(|row| row.id == node).unwrap();
    assert_eq!(Some(&row.incarnation), starts.iter().max());
}

async fn a_lease_is_renewed_until_somebody_says_dead(world: World) {
    let mut tx = world.system().await;
    assert!(
        !node_declare_dead(&mut tx, world.fence).await.unwrap(),
        "its lease still runs"
    );
    tx.commit().await.unwrap();
    world.end_lease(world.fence, 1).await;
    let mut tx = world.system().await;
    // Nobody has said so: it may go on.
    node_heartbeat(&mut tx, world.fence, HOUR).await.unwrap();
    assert!(!node_declare_dead(&mut tx, world.fence).await.unwrap());
    tx.commit().await.unwrap();
    world.end_lease(world.fence, 1).await;
    let mut tx = world.system().await;
    assert_eq!(
        node_list(&mut tx).await.unwrap()[0].lease_left(),
        Duration::ZERO
    );
    assert!(node_declare_dead(&mut tx, world.fence).await.unwrap());
    assert!(
        !node_declare_dead(&mut tx, world.fence).await.unwrap(),
        "it is dead already"
    );
    assert!(matches!(
        node_heartbeat(&mut tx, world.fence, HOUR).await,
        Err(DbError::Fenced)
    ));
    assert_eq!(node_list(&mut tx).await.unwrap()[0].state, NodeState::Dead);
}

async fn a_node_drains_and_leaves(world: World) {
    let mut tx = world.system().await;
    for _ in 0..2 {
        node_drain(&mut tx, world.fence).await.unwrap();
        node_heartbeat(&mut tx, world.fence, HOUR).await.unwrap();
    }
    let state = node_list(&mut tx).await.unwrap()[0].state;
    assert_eq!(state, NodeState::Draining);
    tx.commit().await.unwrap();
    let writing = world.db.begin_fenced("it finishes", world.fence).await;
    writing.unwrap().commit().await.unwrap();
    let mut tx = world.system().await;
    assert!(node_leave(&mut tx, world.fence).await.unwrap());
    assert!(!node_leave(&mut tx, world.fence).await.unwrap());
    assert!(matches!(
        node_drain(&mut tx, world.fence).await,
        Err(DbError::Fenced)
    ));
}

async fn who_is_alone_is_told_of_another(world: World) {
    let (one, two) = (world.fence, world.join().await);
    let other = async |own: Fence| {
        let found = node_other(&mut world.system_read().await, own.node_id).await;
        found.unwrap().map(|row| row.fence())
    };
    assert_eq!(other(one).await, Some(two));
    assert_eq!(other(two).await, Some(one));
    world.end_lease(two, 1).await;
    assert_eq!(other(one).await, None, "its lease is over");
    let mut tx = world.system().await;
    assert!(node_leave(&mut tx, one).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(other(two).await, None, "it has left");
}

async fn the_dead_are_forgotten_when_they_own_nothing(world: World) {
    let (owner, idle, late) = (world.join().await, world.join().await, world.join().await);
    let entity = tenure_cluster::Entity {
        kind: "employee",
        id: id(),
    };
    let mut tx = world.system().await;
    placements_claim(&mut tx, &[entity], owner).await.unwrap();
    tx.commit().await.unwrap();
    for node in [owner, idle, late] {
        world.bury(node).await;
    }
    for node in [owner, idle] {
        world.end_lease(node, DAY_US + 1).await;
    }
    let ids = |rows: Vec<NodeRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let mut tx = world.system().await;
    let shown = ids(node_list(&mut tx).await.unwrap());
    assert_eq!(shown, [world.fence.node_id, late.node_id]);
    assert_eq!(nodes_forget(&mut tx).await.unwrap(), 1);
    let claimed = placements_claim(&mut tx, &[entity], world.fence).await;
    assert_eq!(claimed.unwrap(), [Claimed::Under(2)]);
    assert_eq!(nodes_forget(&mut tx).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(world.count("node").await, 2);
}

async fn a_fenced_handle_writes_while_its_life_lasts(world: World) {
    let db = world.db.fenced(world.fence);
    let mut tx = db.begin(world.org).await.unwrap();
    org_set_settings(&mut tx, r#"{"x":1}"#).await.unwrap();
    tx.commit().await.unwrap();
    db.begin_system("a case").await.unwrap();
    world.bury(world.fence).await;
    for _ in 0..10 {
        assert!(matches!(db.begin(world.org).await, Err(DbError::Fenced)));
        let system = db.begin_system("a case").await;
        assert!(matches!(system, Err(DbError::Fenced)));
        // What only reads asks for no proof, and the connections that were refused are in order.
        let mut tx = db.begin_read(world.org).await.unwrap();
        assert!(org_get(&mut tx).await.unwrap().is_some());
        db.begin_system_read("a case").await.unwrap();
        db.unfenced().begin_system("a case").await.unwrap();
    }
}

async fn the_clock_runs(world: World) {
    let mut tx = world.system_read().await;
    let now = clock(&mut tx).await.unwrap();
    assert!(now > at(0));
    let next = clock(&mut tx).await.unwrap();
    assert!(next >= now);
}
