//! What the actors read beside the bundles, and the undo that rides with a commit.

use super::{on_both, world::*};
use crate::{
    domain::{ConnectionId, EmployeeId, EventFilter, SubscriptionSpec},
    persistence::*,
};

on_both!(
    views_of_many_employees_hold_what_each_may_read,
    who_listens_to_results_is_known,
    connections_of_an_integration_come_oldest_first,
    what_was_written_is_recognised,
    an_undo_rides_with_its_commit,
);

fn put(place: MemoryOwner, key: &str, run: Option<crate::domain::ExecutionId>) -> MemoryChange {
    MemoryChange {
        place,
        key: key.into(),
        value: Some("1".into()),
        run,
        step: None,
        source: "test".into(),
        at: at(1),
    }
}

async fn views_of_many_employees_hold_what_each_may_read(world: World) {
    let (one, two) = (EmployeeId::from_uuid(id()), EmployeeId::from_uuid(id()));
    world
        .commit(&[Append {
            memory: vec![
                put(MemoryOwner::org(), "shared", None),
                put(MemoryOwner::employee(one), "mine", None),
                put(MemoryOwner::skill(one, "s"), "skilled", None),
                put(MemoryOwner::employee(two), "other", None),
            ],
            ..Append::new(world.org)
        }])
        .await;
    let wanted = [
        (world.org, one),
        (world.org, two),
        (world.other, EmployeeId::from_uuid(id())),
    ];
    let views = memory_views(&mut world.system_read().await, &wanted)
        .await
        .unwrap();
    let keys = |employee: EmployeeId| {
        let mut keys: Vec<_> = views
            .get(&employee)
            .into_iter()
            .flatten()
            .map(|row| row.key.as_str())
            .collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(one), ["mine", "shared", "skilled"]);
    assert_eq!(keys(two), ["other", "shared"]);
    assert_eq!(keys(wanted[2].1), [""; 0], "nothing crosses between orgs");
}

async fn who_listens_to_results_is_known(world: World) {
    let employee = EmployeeId::from_uuid(id());
    let subscription = |source: &str| SubscriptionSpec {
        source: source.into(),
        event: None,
        when: None,
        filter: EventFilter::default(),
        skill: None,
        conversation_key: None,
    };
    let subscriptions = [subscription("employee:emp_x"), subscription("hook:github")];
    let event = graph_defined();
    let mut tx = world.write().await;
    let hired = VersionInsert {
        subscriptions: &subscriptions,
        ..version(employee, "{}", &event)
    };
    employee_insert(&mut tx, "listener", &hired).await.unwrap();
    tx.commit().await.unwrap();
    let listening = internal_interests(&mut world.system_read().await)
        .await
        .unwrap();
    assert_eq!(listening, [(world.org, "employee:emp_x".to_string())]);
}

async fn connections_of_an_integration_come_oldest_first(world: World) {
    let mut tx = world.write().await;
    for (name, integration, created) in [("b", "slack", 2), ("a", "slack", 1), ("c", "gmail", 0)] {
        let row = ConnectionRow {
            sealed_credential: Sealed(vec![1]),
            status: "active".into(),
            ..ConnectionRow::pending(
                world.org,
                ConnectionId::from_uuid(id()),
                integration,
                name,
                at(created),
            )
        };
        connection_put(&mut tx, &row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let found = connections_of(&mut world.read().await, "slack")
        .await
        .unwrap();
    assert_eq!(
        found
            .iter()
            .map(|row| row.name.as_str())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(
        connections_of(&mut world.stranger().await, "slack")
            .await
            .unwrap()
            .is_empty()
    );
}

async fn what_was_written_is_recognised(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    assert_eq!(found_of(&world.db, &accept).await.unwrap(), FoundOf::Others);
    world.commit(std::slice::from_ref(&accept)).await;
    assert_eq!(found_of(&world.db, &accept).await.unwrap(), FoundOf::Itself);
    let other = world.go_on(&accept, 1, &["other"], None);
    assert_eq!(found_of(&world.db, &other).await.unwrap(), FoundOf::Others);
}

async fn an_undo_rides_with_its_commit(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    let (run, place) = (execution(&accept), MemoryOwner::org());
    let write = Append {
        memory: vec![put(place.clone(), "k", Some(run))],
        ..Append::new(world.org)
    };
    world.commit(&[accept, write]).await;
    assert_eq!(
        memory_list(&mut world.read().await, Some(&place), &page(10))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let undo = Append {
        undo: vec![(run, at(5))],
        ..Append::new(world.org)
    };
    world.commit(&[undo]).await;
    assert!(
        memory_list(&mut world.read().await, Some(&place), &page(10))
            .await
            .unwrap()
            .items
            .is_empty()
    );
}
