use super::{on_both, world::*};
use crate::{
    domain::{
        ContentHash, EmployeeId, EventFilter, Misfire, Overlap, ScheduleId, SubscriptionSpec,
    },
    persistence::*,
};

on_both!(
    an_employee_is_hired_with_its_version,
    equal_specs_are_stored_once,
    a_name_is_free_again_after_dismissal,
    versions_go_up_one_at_a_time,
    another_org_sees_no_employee,
    employees_come_in_pages,
    subscriptions_match_exactly_or_by_prefix,
    schedules_keep_their_identity_over_versions,
);

async fn an_employee_is_hired_with_its_version(world: World) {
    let clerk = world.hire("clerk", r#"{"graph":1}"#).await;
    let mut tx = world.read().await;
    let row = employee_get(&mut tx, clerk).await.unwrap().unwrap();
    assert_eq!(
        (row.name.as_str(), row.version, row.status),
        ("clerk", 1, EmployeeStatus::Active)
    );
    assert_eq!(employee_find(&mut tx, "clerk").await.unwrap(), Some(row));
    let version = employee_version_get(&mut tx, clerk, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        blob_get(&mut tx, version.spec_hash).await.unwrap().unwrap(),
        br#"{"graph":1}"#
    );
    assert_eq!(version.created_by, "test");
}

async fn equal_specs_are_stored_once(world: World) {
    for name in ["a", "b", "c"] {
        world.hire(name, r#"{"same":true}"#).await;
    }
    assert_eq!(
        (world.count("blob").await, world.count("blob_ref").await),
        (1, 3)
    );
}

async fn a_name_is_free_again_after_dismissal(world: World) {
    let first = world.hire("clerk", "{}").await;
    let twin = EmployeeId::from_uuid(id());
    let event = graph_defined();
    let refused = employee_insert(
        &mut world.write().await,
        "clerk",
        &version(twin, "{}", &event),
    )
    .await;
    assert!(matches!(refused, Err(DbError::Duplicate(_))));
    let mut tx = world.write().await;
    employee_set_status(&mut tx, first, EmployeeStatus::Quarantined, at(1))
        .await
        .unwrap();
    employee_set_status(&mut tx, first, EmployeeStatus::Dismissed, at(2))
        .await
        .unwrap();
    let risen = employee_set_status(&mut tx, first, EmployeeStatus::Active, at(3)).await;
    assert!(matches!(risen, Err(DbError::NotFound("employee"))));
    tx.commit().await.unwrap();
    let second = world.hire("clerk", "{}").await;
    assert_eq!(
        employee_find(&mut world.read().await, "clerk")
            .await
            .unwrap()
            .unwrap()
            .id,
        second
    );
    let dismissed = employee_list(
        &mut world.read().await,
        Some(EmployeeStatus::Dismissed),
        &page(10),
    )
    .await
    .unwrap();
    assert_eq!(
        dismissed.items.iter().map(|row| row.id).collect::<Vec<_>>(),
        [first]
    );
}

async fn versions_go_up_one_at_a_time(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let event = graph_defined();
    let mut tx = world.write().await;
    assert_eq!(
        employee_version_insert(&mut tx, 1, &version(clerk, r#"{"v":2}"#, &event))
            .await
            .unwrap(),
        2
    );
    tx.commit().await.unwrap();
    let late = graph_defined();
    let stale = employee_version_insert(
        &mut world.write().await,
        1,
        &version(clerk, r#"{"v":3}"#, &late),
    )
    .await;
    assert!(matches!(stale, Err(DbError::Stale("employee"))));
    let mut tx = world.read().await;
    let versions = employee_versions(&mut tx, clerk).await.unwrap();
    assert_eq!(
        versions.iter().map(|row| row.version).collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(
        employee_get(&mut tx, clerk).await.unwrap().unwrap().version,
        2
    );
}

async fn another_org_sees_no_employee(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let mut tx = world.stranger().await;
    assert_eq!(employee_get(&mut tx, clerk).await.unwrap(), None);
    assert_eq!(employee_find(&mut tx, "clerk").await.unwrap(), None);
    assert_eq!(
        employee_list(&mut tx, None, &page(10)).await.unwrap().items,
        []
    );
    assert_eq!(employee_versions(&mut tx, clerk).await.unwrap(), []);
    assert_eq!(employee_version_get(&mut tx, clerk, 1).await.unwrap(), None);
    assert_eq!(
        blob_get(&mut tx, ContentHash::of(b"{}")).await.unwrap(),
        None
    );
    assert_eq!(subscriptions_find(&mut tx, &["api"]).await.unwrap(), []);
    let event = graph_defined();
    let changed = employee_version_insert(&mut tx, 1, &version(clerk, "{}", &event)).await;
    assert!(matches!(changed, Err(DbError::Stale(_))));
    let dismissed = employee_set_status(&mut tx, clerk, EmployeeStatus::Dismissed, at(9)).await;
    assert!(matches!(dismissed, Err(DbError::NotFound(_))));
}

async fn employees_come_in_pages(world: World) {
    let mut hired = Vec::new();
    for place in 0..5 {
        hired.push(world.hire(&format!("e{place}"), "{}").await);
    }
    let mut tx = world.read().await;
    let first = employee_list(&mut tx, None, &page(2)).await.unwrap();
    let second = employee_list(&mut tx, None, &next(2, &first))
        .await
        .unwrap();
    let third = employee_list(&mut tx, None, &next(2, &second))
        .await
        .unwrap();
    let ids: Vec<EmployeeId> = [first, second, third.clone()]
        .iter()
        .flat_map(|page| page.items.iter().map(|row| row.id))
        .collect();
    assert_eq!((ids, third.next), (hired, None));
}

async fn subscriptions_match_exactly_or_by_prefix(world: World) {
    let subscription = |source: &str, event: Option<&str>| SubscriptionSpec {
        source: source.into(),
        event: event.map(Into::into),
        when: Some("event.amount > 5".into()),
        filter: EventFilter {
            channel: vec!["C1".into()],
            ..EventFilter::default()
        },
        skill: None,
        conversation_key: None,
    };
    let given = [
        subscription("hook:github/push", None),
        subscription("hook:*", Some("paid")),
        subscription("hook:github", None),
    ];
    let (clerk, event) = (EmployeeId::from_uuid(id()), graph_defined());
    let mut tx = world.write().await;
    let insert = VersionInsert {
        subscriptions: &given,
        ..version(clerk, "{}", &event)
    };
    employee_insert(&mut tx, "clerk", &insert).await.unwrap();
    tx.commit().await.unwrap();

    let cases: [(&str, Option<&str>, &[i32]); 5] = [
        ("hook:github/push", None, &[0]),
        ("hook:github/push", Some("paid"), &[0, 1]),
        ("hook:stripe", Some("paid"), &[1]),
        ("hook:stripe", Some("sent"), &[]),
        ("employee:hook:", Some("paid"), &[]),
    ];
    for (source, event, wanted) in cases {
        let found = subscriptions_find(&mut world.read().await, &[source, "nobody"])
            .await
            .unwrap();
        let found = found.iter().filter(|row| row.is_for(event));
        assert_eq!(
            found.map(|row| row.position).collect::<Vec<_>>(),
            wanted,
            "{source} {event:?}"
        );
    }
    let names = ["hook:github/push", "hook:github"];
    let found = subscriptions_find(&mut world.read().await, &names)
        .await
        .unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|row| (row.position, row.filter.as_deref()))
        .collect();
    let filter = r#"{"channel":["C1"]}"#;
    assert_eq!(
        found,
        [(0, Some(filter)), (1, Some(filter)), (2, Some(filter))],
        "each once"
    );
    let mut tx = world.write().await;
    let event = graph_defined();
    employee_version_insert(&mut tx, 1, &version(clerk, "{}", &event))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        subscriptions_find(&mut world.read().await, &["hook:github/push"])
            .await
            .unwrap(),
        []
    );
}

pub fn schedule(world: &World, employee: EmployeeId, name: &str) -> ScheduleRow {
    ScheduleRow {
        org_id: world.org,
        id: ScheduleId::from_uuid(id()),
        employee_id: employee,
        name: name.into(),
        cron: "0 9 * * 1-5".into(),
        recurrence: None,
        calendar: None,
        time_zone: "Europe/Zurich".into(),
        overlap: Overlap::Skip,
        misfire: Misfire::RunOnce,
        payload: "{}".into(),
        status: ScheduleStatus::Active,
        next_due: Some(at(100)),
        last_due: None,
        last_run_id: None,
        retry: None,
        failures: 0,
    }
}

async fn schedules_keep_their_identity_over_versions(world: World) {
    let (clerk, event) = (EmployeeId::from_uuid(id()), graph_defined());
    let first = [
        schedule(&world, clerk, "daily"),
        schedule(&world, clerk, "weekly"),
    ];
    let mut tx = world.write().await;
    employee_insert(
        &mut tx,
        "clerk",
        &VersionInsert {
            schedules: &first,
            ..version(clerk, "{}", &event)
        },
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let listed = schedule_list(&mut world.read().await, Some(clerk), &page(10))
        .await
        .unwrap();
    assert_eq!(listed.items, first);

    let again = [ScheduleRow {
        cron: "0 8 * * *".into(),
        next_due: Some(at(90)),
        ..schedule(&world, clerk, "daily")
    }];
    let event = graph_defined();
    let mut tx = world.write().await;
    employee_version_insert(
        &mut tx,
        1,
        &VersionInsert {
            schedules: &again,
            ..version(clerk, "{}", &event)
        },
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let listed = schedule_list(&mut world.read().await, None, &page(10))
        .await
        .unwrap();
    let wanted = ScheduleRow {
        cron: "0 8 * * *".into(),
        next_due: Some(at(90)),
        ..first[0].clone()
    };
    assert_eq!(listed.items, [wanted.clone()]);

    let due = schedules_due(&mut world.system_read().await, at(90), None, 10)
        .await
        .unwrap();
    assert_eq!(due, [wanted.clone()]);
    assert_eq!(
        schedules_due(&mut world.system_read().await, at(89), None, 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        schedules_next(&mut world.system_read().await)
            .await
            .unwrap(),
        Some(at(90))
    );

    let mut stranger = world.stranger().await;
    assert_eq!(schedule_get(&mut stranger, wanted.id).await.unwrap(), None);
    assert_eq!(
        schedule_list(&mut stranger, None, &page(10))
            .await
            .unwrap()
            .items,
        []
    );
    let paused = schedule_set_status(&mut stranger, wanted.id, ScheduleStatus::Paused, None).await;
    assert!(matches!(paused, Err(DbError::NotFound("schedule"))));
    drop(stranger);

    let mut tx = world.write().await;
    schedule_set_status(&mut tx, wanted.id, ScheduleStatus::Paused, None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        schedule_get(&mut world.read().await, wanted.id)
            .await
            .unwrap()
            .unwrap()
            .status,
        ScheduleStatus::Paused
    );
    assert_eq!(
        schedules_due(&mut world.system_read().await, at(1_000), None, 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        schedules_next(&mut world.system_read().await)
            .await
            .unwrap(),
        None
    );
}
