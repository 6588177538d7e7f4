//! Schedules that wait, and calendars.

use super::{
    employees::schedule,
    on_both,
    world::{World, at, graph_defined, id, version},
};
use crate::{
    domain::{EmployeeId, ScheduleId},
    persistence::{
        Append, CalendarRow, FireOutcome, ScheduleAdvance, ScheduleFireRow, ScheduleRow,
        ScheduleStatus, VersionInsert, calendar_delete, calendar_get, calendar_list, calendar_put,
        employee_insert, employee_version_insert, schedule_defer, schedule_fires, schedule_get,
        schedule_set_next, schedule_set_status, schedules_due, schedules_of_calendar,
    },
};

on_both! {
    a_schedule_that_waits_stands_behind_what_is_due,
    an_advance_leaves_alone_what_was_changed_meanwhile,
    a_new_version_leaves_due_what_is_due,
    a_calendar_is_kept_while_a_schedule_goes_by_it,
    a_row_of_the_account_can_stand_for_many_times,
}

async fn hired(world: &World, schedules: &[ScheduleRow]) {
    let event = graph_defined();
    let mut tx = world.write().await;
    let employee = schedules[0].employee_id;
    let insert = VersionInsert {
        schedules,
        ..version(employee, "{}", &event)
    };
    employee_insert(&mut tx, "clerk", &insert).await.unwrap();
    tx.commit().await.unwrap();
}

async fn get(world: &World, id: ScheduleId) -> ScheduleRow {
    let mut tx = world.read().await;
    schedule_get(&mut tx, id).await.unwrap().unwrap()
}

async fn a_schedule_that_waits_stands_behind_what_is_due(world: World) {
    let clerk = EmployeeId::from_uuid(id());
    let both = [
        schedule(&world, clerk, "first"),
        ScheduleRow {
            next_due: Some(at(110)),
            ..schedule(&world, clerk, "second")
        },
    ];
    hired(&world, &both).await;
    let mut tx = world.write().await;
    let waits = schedule_defer(&mut tx, both[0].id, at(100), at(500), 3);
    assert!(waits.await.unwrap());
    let not_due_then = schedule_defer(&mut tx, both[1].id, at(100), at(500), 1);
    assert!(!not_due_then.await.unwrap());
    tx.commit().await.unwrap();
    let due = async |until, after| {
        let mut tx = world.system_read().await;
        let due = schedules_due(&mut tx, at(until), after, 10).await.unwrap();
        due.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(due(499, None).await, ["second"]);
    assert_eq!(due(500, None).await, ["second", "first"]);
    let behind = get(&world, both[1].id).await;
    let behind = Some((behind.attempt().unwrap(), behind.id));
    assert_eq!(due(500, behind).await, ["first"]);
    assert_eq!(get(&world, both[0].id).await.failures, 3);

    // Fired at last, it waits no more.
    let mut fired = Append::new(world.org);
    fired.schedules = vec![ScheduleAdvance {
        id: both[0].id,
        was_due: at(100),
        next_due: Some(at(200)),
        last_due: at(100),
        last_run: None,
    }];
    world.commit(&[fired]).await;
    let row = get(&world, both[0].id).await;
    assert_eq!(
        (row.next_due, row.retry, row.failures),
        (Some(at(200)), None, 0)
    );
}

async fn an_advance_leaves_alone_what_was_changed_meanwhile(world: World) {
    let clerk = EmployeeId::from_uuid(id());
    let both = [
        schedule(&world, clerk, "paused"),
        schedule(&world, clerk, "moved"),
    ];
    hired(&world, &both).await;
    let mut tx = world.write().await;
    schedule_set_status(&mut tx, both[0].id, ScheduleStatus::Paused, None)
        .await
        .unwrap();
    let moved = schedule_set_next(&mut tx, both[1].id, Some(at(100)), Some(at(700)));
    assert!(moved.await.unwrap());
    let again = schedule_set_next(&mut tx, both[1].id, Some(at(100)), Some(at(800)));
    assert!(!again.await.unwrap());
    tx.commit().await.unwrap();
    let mut late = Append::new(world.org);
    late.schedules = both
        .iter()
        .map(|row| ScheduleAdvance {
            id: row.id,
            was_due: at(100),
            next_due: Some(at(200)),
            last_due: at(100),
            last_run: None,
        })
        .collect();
    world.commit(&[late]).await;
    let paused = get(&world, both[0].id).await;
    assert_eq!((paused.next_due, paused.last_due), (None, Some(at(100))));
    assert_eq!(get(&world, both[1].id).await.next_due, Some(at(700)));
}

async fn a_new_version_leaves_due_what_is_due(world: World) {
    let clerk = EmployeeId::from_uuid(id());
    let names = ["due", "of another calendar", "later", "paused"];
    let due_at = |name: &str| if name == "later" { 600 } else { 100 };
    let before: Vec<ScheduleRow> = names
        .iter()
        .map(|name| ScheduleRow {
            next_due: Some(at(due_at(name))),
            ..schedule(&world, clerk, name)
        })
        .collect();
    hired(&world, &before).await;
    let mut tx = world.write().await;
    schedule_set_status(&mut tx, before[3].id, ScheduleStatus::Paused, None)
        .await
        .unwrap();
    let after: Vec<ScheduleRow> = before
        .iter()
        .map(|row| ScheduleRow {
            next_due: Some(at(700)),
            cron: match row.name.as_str() {
                "of another calendar" => "1 1 1 1 *".into(),
                _ => row.cron.clone(),
            },
            ..row.clone()
        })
        .collect();
    let event = graph_defined();
    let second = VersionInsert {
        schedules: &after,
        at: at(500),
        ..version(clerk, "{}", &event)
    };
    employee_version_insert(&mut tx, 1, &second).await.unwrap();
    tx.commit().await.unwrap();
    let mut next = Vec::new();
    for row in &before {
        next.push(get(&world, row.id).await.next_due);
    }
    assert_eq!(next, [100, 700, 700, 700].map(|due| Some(at(due))));
}

async fn a_calendar_is_kept_while_a_schedule_goes_by_it(world: World) {
    let clerk = EmployeeId::from_uuid(id());
    let with_calendar = ScheduleRow {
        cron: String::new(),
        recurrence: Some("{}".into()),
        calendar: Some("zürich".into()),
        ..schedule(&world, clerk, "last working day")
    };
    let all = [with_calendar, schedule(&world, clerk, "daily")];
    hired(&world, &all).await;
    let row = |name: &str, body: &str| CalendarRow {
        org_id: world.org,
        name: name.into(),
        body: body.into(),
        updated: at(1),
    };
    let mut tx = world.write().await;
    for one in [row("zürich", "1"), row("bern", "2"), row("zürich", "3")] {
        calendar_put(&mut tx, &one).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = world.read().await;
    assert_eq!(
        calendar_list(&mut tx).await.unwrap(),
        [row("bern", "2"), row("zürich", "3")]
    );
    let users = schedules_of_calendar(&mut tx, "zürich", None, 10)
        .await
        .unwrap();
    assert_eq!(users, [all[0].clone()]);
    assert_eq!(
        schedules_of_calendar(&mut tx, "zürich", Some(all[0].id), 10)
            .await
            .unwrap(),
        []
    );
    drop(tx);
    let mut stranger = world.stranger().await;
    assert_eq!(calendar_get(&mut stranger, "bern").await.unwrap(), None);
    assert_eq!(calendar_list(&mut stranger).await.unwrap(), []);
    assert!(!calendar_delete(&mut stranger, "bern").await.unwrap());
    drop(stranger);
    let mut tx = world.write().await;
    assert!(!calendar_delete(&mut tx, "zürich").await.unwrap());
    assert!(calendar_delete(&mut tx, "bern").await.unwrap());
    tx.commit().await.unwrap();
}

async fn a_row_of_the_account_can_stand_for_many_times(world: World) {
    let clerk = EmployeeId::from_uuid(id());
    let one = [schedule(&world, clerk, "minutely")];
    hired(&world, &one).await;
    let row = |second, times| ScheduleFireRow {
        org_id: world.org,
        schedule_id: one[0].id,
        due: at(second),
        outcome: FireOutcome::Collapsed,
        run_id: None,
        at: at(999),
        times,
    };
    let mut append = Append::new(world.org);
    append.fires = vec![row(100, 5_000_000_000), row(200, 1)];
    world.commit(&[append]).await;
    let mut tx = world.read().await;
    let account = schedule_fires(&mut tx, one[0].id, None, 10).await.unwrap();
    assert_eq!(account, [row(200, 1), row(100, 5_000_000_000)]);
}
