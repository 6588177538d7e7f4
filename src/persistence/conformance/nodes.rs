use super::{on_both, world::*};
use crate::persistence::*;

on_both!(
    a_start_fences_the_one_before,
    a_lease_is_renewed_until_somebody_says_dead,
    an_entity_has_one_owner,
    the_clock_runs
);

async fn a_start_fences_the_one_before(world: World) {
    let mut tx = world.system().await;
    let second = node_register(&mut tx, world.fence.node_id, "n1", "127.0.0.1:2", at(20))
        .await
        .unwrap();
    assert_eq!(second, world.fence.incarnation + 1);
    assert!(matches!(
        node_heartbeat(&mut tx, world.fence, at(30)).await,
        Err(DbError::Fenced)
    ));
    node_heartbeat(
        &mut tx,
        Fence {
            incarnation: second,
            ..world.fence
        },
        at(30),
    )
    .await
    .unwrap();
    let rows = node_list(&mut tx).await.unwrap();
    let row = NodeRow {
        id: world.fence.node_id,
        incarnation: second,
        state: NodeState::Alive,
        name: "n1".into(),
        address: "127.0.0.1:2".into(),
        lease_until: at(30),
    };
    assert_eq!(rows, [row]);
}

async fn a_lease_is_renewed_until_somebody_says_dead(world: World) {
    let mut tx = world.system().await;
    assert!(
        !node_declare_dead(&mut tx, world.fence, at(10))
            .await
            .unwrap(),
        "its lease still runs"
    );
    node_heartbeat(&mut tx, world.fence, at(15)).await.unwrap();
    assert!(
        !node_declare_dead(&mut tx, world.fence, at(12))
            .await
            .unwrap()
    );
    assert!(
        node_declare_dead(&mut tx, world.fence, at(16))
            .await
            .unwrap()
    );
    assert!(
        !node_declare_dead(&mut tx, world.fence, at(16))
            .await
            .unwrap(),
        "it is dead already"
    );
    assert!(matches!(
        node_heartbeat(&mut tx, world.fence, at(30)).await,
        Err(DbError::Fenced)
    ));
    assert_eq!(node_list(&mut tx).await.unwrap()[0].state, NodeState::Dead);
}

async fn an_entity_has_one_owner(world: World) {
    let (entity, one) = (id(), world.fence);
    let mut tx = world.system().await;
    let node_id = id();
    let incarnation = node_register(&mut tx, node_id, "n2", "127.0.0.1:3", at(10))
        .await
        .unwrap();
    let two = Fence {
        node_id,
        incarnation,
    };
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", one)
            .await
            .unwrap(),
        Some(1)
    );
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", one)
            .await
            .unwrap(),
        Some(1),
        "it has it"
    );
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", two)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        placement_claim(&mut tx, entity, "connector", two)
            .await
            .unwrap(),
        Some(1),
        "another kind"
    );
    assert!(
        !placement_release(&mut tx, entity, "employee", two)
            .await
            .unwrap()
    );
    assert!(
        placement_release(&mut tx, entity, "employee", one)
            .await
            .unwrap()
    );
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", two)
            .await
            .unwrap(),
        Some(2)
    );
    let mut owned = placement_list(&mut tx, two).await.unwrap();
    owned.retain(|row| row.kind == "employee");
    assert_eq!(
        owned.first(),
        placement_get(&mut tx, entity, "employee")
            .await
            .unwrap()
            .as_ref()
    );

    assert!(node_declare_dead(&mut tx, two, at(11)).await.unwrap());
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", two)
            .await
            .unwrap(),
        None,
        "the dead claim nothing"
    );
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", one)
            .await
            .unwrap(),
        Some(3)
    );
    let again = node_register(&mut tx, one.node_id, "n1", "127.0.0.1:1", at(20))
        .await
        .unwrap();
    let reborn = Fence {
        incarnation: again,
        ..one
    };
    assert_eq!(
        placement_claim(&mut tx, entity, "employee", reborn)
            .await
            .unwrap(),
        Some(4),
        "a new start is a new owner"
    );
}

async fn the_clock_runs(world: World) {
    let mut tx = world.system_read().await;
    let now = clock(&mut tx).await.unwrap();
    assert!(now > at(0));
    let next = clock(&mut tx).await.unwrap();
    assert!(next >= now);
}
