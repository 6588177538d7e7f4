use super::{on_both, world::*};
use crate::persistence::*;
use std::collections::{BTreeSet, HashMap};
use tenure_cluster::Entity;
use uuid::Uuid;

on_both!(
    an_entity_has_one_owner,
    many_are_claimed_and_released_at_once,
    who_drains_takes_nothing_new,
    two_nodes_that_want_the_same_share_it
);

const fn employee(id: Uuid) -> Entity {
    Entity {
        kind: "employee",
        id,
    }
}

async fn claim(world: &World, entities: &[Entity], node: Fence) -> Vec<Claimed> {
    let mut tx = world.system().await;
    let claimed = placements_claim(&mut tx, entities, node).await.unwrap();
    tx.commit().await.unwrap();
    claimed
}

async fn release(world: &World, entities: &[Entity], node: Fence) -> u64 {
    let mut tx = world.system().await;
    let released = placements_release(&mut tx, entities, node).await.unwrap();
    tx.commit().await.unwrap();
    released
}

async fn an_entity_has_one_owner(world: World) {
    let (one, two) = (world.fence, world.join().await);
    let entity = [employee(id())];
    let connector = [Entity {
        kind: "connector",
        ..entity[0]
    }];
    assert_eq!(claim(&world, &entity, one).await, [Claimed::Under(1)]);
    assert_eq!(claim(&world, &entity, one).await, [Claimed::Under(1)]);
    assert_eq!(claim(&world, &entity, two).await, [Claimed::OwnedBy(one)]);
    assert_eq!(
        claim(&world, &connector, two).await,
        [Claimed::Under(1)],
        "another kind"
    );
    assert_eq!(release(&world, &entity, two).await, 0, "it is not its");
    assert_eq!(release(&world, &entity, one).await, 1);
    assert_eq!(claim(&world, &entity, two).await, [Claimed::Under(2)]);
    let mut tx = world.system_read().await;
    let mut owned = placement_list(&mut tx, two).await.unwrap();
    owned.retain(|row| row.kind == "employee");
    let row = placement_get(&mut tx, entity[0].id, "employee").await;
    assert_eq!(owned.first(), row.unwrap().as_ref());
    drop(tx);

    world.bury(two).await;
    let mut tx = world.system().await;
    let dead = placements_claim(&mut tx, &entity, two).await;
    assert!(matches!(dead, Err(DbError::Fenced)));
    drop(tx);
    assert_eq!(claim(&world, &entity, one).await, [Claimed::Under(3)]);
    world.bury(one).await;
    let mut tx = world.system().await;
    let again = node_register(&mut tx, &node_start(one.node_id)).await;
    tx.commit().await.unwrap();
    let reborn = registered(again.unwrap());
    assert_eq!(
        claim(&world, &entity, reborn).await,
        [Claimed::Under(4)],
        "a new life is a new owner"
    );
}

async fn many_are_claimed_and_released_at_once(world: World) {
    let (one, two) = (world.fence, world.join().await);
    let all: Vec<Entity> = (0..300).map(|_| employee(id())).collect();
    assert_eq!(
        claim(&world, &all[..200], one).await,
        vec![Claimed::Under(1); 200]
    );
    // In the order in which they are asked for, and more than once.
    let wanted: Vec<Entity> = all.iter().rev().chain(&all[..3]).copied().collect();
    let answers = claim(&world, &wanted, two).await;
    assert_eq!(answers.len(), 303);
    for (entity, answer) in wanted.iter().zip(&answers) {
        let is_taken = all[..200].contains(entity);
        let expected = if is_taken {
            Claimed::OwnedBy(one)
        } else {
            Claimed::Under(1)
        };
        assert_eq!(*answer, expected);
    }
    assert_eq!(release(&world, &all, one).await, 200);
    assert_eq!(
        claim(&world, &all[..200], two).await,
        vec![Claimed::Under(2); 200]
    );
    let mut tx = world.system_read().await;
    assert_eq!(placement_list(&mut tx, two).await.unwrap().len(), 300);
    assert_eq!(placement_list(&mut tx, one).await.unwrap(), []);
    assert_eq!(claim(&world, &[], two).await, []);
}

async fn who_drains_takes_nothing_new(world: World) {
    let (one, two) = (world.fence, world.join().await);
    let [own, theirs, released, new] = [(); 4].map(|()| employee(id()));
    claim(&world, &[own, released], one).await;
    claim(&world, &[theirs], two).await;
    release(&world, &[released], one).await;
    let mut tx = world.system().await;
    node_drain(&mut tx, one).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        claim(&world, &[own, theirs, released, new], one).await,
        [
            Claimed::Under(1),
            Claimed::OwnedBy(two),
            Claimed::NotTaken,
            Claimed::NotTaken
        ]
    );
    assert_eq!(claim(&world, &[own], two).await, [Claimed::OwnedBy(one)]);
    assert_eq!(release(&world, &[own], one).await, 1);
    assert_eq!(claim(&world, &[own], two).await, [Claimed::Under(2)]);
}

/// Several tasks of two nodes claim a thousand entities in pieces that overlap, each in an order of its own, and give some back.
async fn two_nodes_that_want_the_same_share_it(world: World) {
    let nodes = [world.fence, world.join().await];
    let all: Vec<Entity> = (0..1_000).map(|_| employee(id())).collect();
    let task = |place: usize| {
        let (world, all) = (&world, &all);
        async move {
            let node = nodes[place % 2];
            let mut mine = Vec::new();
            for piece in 0..5 {
                // Steps that have no factor in common with 1,000: each task goes through all of them, in pieces of 200.
                let step = [1, 3, 7, 9, 11, 13][place];
                let wanted: Vec<Entity> = (0..200)
                    .map(|i| all[((piece * 200 + i) * step + place * 37) % 1_000])
                    .collect();
                let answers = claim(world, &wanted, node).await;
                mine.extend(wanted.into_iter().zip(answers));
                if piece == 2 {
                    let some: Vec<Entity> = mine.iter().map(|(entity, _)| *entity).collect();
                    release(world, &some[place * 10..place * 10 + 20], node).await;
                }
            }
            (node, mine)
        }
    };
    let claimed = futures::future::join_all((0..6).map(task)).await;

    // Under one epoch an entity has one owner.
    let mut owners: HashMap<(Entity, i64), BTreeSet<i64>> = HashMap::new();
    for (node, answers) in &claimed {
        for (entity, answer) in answers {
            if let Claimed::Under(epoch) = answer {
                let owners = owners.entry((*entity, *epoch)).or_default();
                owners.insert(node.incarnation);
            }
        }
    }
    assert!(owners.values().all(|owners| owners.len() == 1));
    let mut tx = world.system_read().await;
    for entity in &all {
        let row = placement_get(&mut tx, entity.id, entity.kind).await;
        let row = row.unwrap().unwrap();
        let epochs = owners.keys().filter(|(known, _)| known == entity);
        assert_eq!(epochs.map(|(_, epoch)| *epoch).max(), Some(row.epoch));
        if let Some(incarnation) = row.incarnation {
            let owner = &owners[&(*entity, row.epoch)];
            assert_eq!(owner.first(), Some(&incarnation));
        }
    }
}
