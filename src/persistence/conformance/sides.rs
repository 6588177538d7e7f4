use super::{on_both, world::*};
use crate::{
    domain::{ApprovalId, ContentHash, EmployeeId},
    persistence::*,
};
use uuid::Uuid;

on_both!(
    approvals_are_asked_and_closed_once,
    timers_are_set_moved_and_cleared,
    what_a_batch_sets_and_clears_is_gone,
    waits_are_found_by_event,
    snapshots_never_go_back,
);

fn approval(world: &World, append: &Append) -> ApprovalRow {
    let run = append.run.as_ref().unwrap();
    ApprovalRow {
        org_id: world.org,
        id: ApprovalId::from_uuid(id()),
        run_id: run.execution,
        employee_id: run.employee,
        step: "0.1.2.1".into(),
        title: "Send 3 reminders".into(),
        arguments: r#"{"to":["a","b"]}"#.into(),
        arguments_hash: ContentHash::of(b"arguments"),
        status: ApprovalStatus::Pending,
        asked: at(5),
        expires: Some(at(500)),
        decided: None,
        decided_by: None,
        comment: None,
        asked_by: None,
        owner_user: None,
    }
}

async fn approvals_are_asked_and_closed_once(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let (asked, left) = (approval(&world, &accept), approval(&world, &accept));
    accept.approvals = [&asked, &left]
        .map(|row| ApprovalChange::Ask(Box::new(row.clone())))
        .to_vec();
    world.commit(&[accept.clone()]).await;
    assert_eq!(
        approval_get(&mut world.read().await, asked.id)
            .await
            .unwrap(),
        Some(asked.clone())
    );

    let close = |status, second, by: &str| {
        let mut append = Append::new(world.org);
        append.approvals.push(ApprovalChange::Close {
            id: asked.id,
            status,
            at: at(second),
            by: Some(by.into()),
            comment: None,
        });
        append
    };
    let mut again = Append::new(world.org);
    again
        .approvals
        .push(ApprovalChange::Ask(Box::new(asked.clone())));
    world
        .commit(&[
            close(ApprovalStatus::Approved, 9, "ann"),
            close(ApprovalStatus::Denied, 10, "bob"),
            again,
        ])
        .await;
    world
        .commit(&[close(ApprovalStatus::Expired, 11, "clock")])
        .await;
    let row = approval_get(&mut world.read().await, asked.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.status, row.decided, row.decided_by.as_deref()),
        (ApprovalStatus::Approved, Some(at(9)), Some("ann"))
    );

    let pending = ApprovalFilter {
        status: Some(ApprovalStatus::Pending),
        ..Default::default()
    };
    let of_run = ApprovalFilter {
        run: Some(execution(&accept)),
        ..Default::default()
    };
    let approved = ApprovalFilter {
        status: Some(ApprovalStatus::Approved),
        employee: Some(asked.employee_id),
        ..Default::default()
    };
    for (filter, wanted) in [
        (&pending, vec![left.id]),
        (&of_run, vec![asked.id, left.id]),
        (&approved, vec![asked.id]),
    ] {
        let found = approval_list(&mut world.read().await, filter, &page(10))
            .await
            .unwrap();
        assert_eq!(
            found.items.iter().map(|row| row.id).collect::<Vec<_>>(),
            wanted,
            "{filter:?}"
        );
        assert_eq!(
            approval_list(&mut world.stranger().await, filter, &page(10))
                .await
                .unwrap()
                .items,
            []
        );
    }
    assert_eq!(
        approval_get(&mut world.stranger().await, asked.id)
            .await
            .unwrap(),
        None
    );
}

fn set(owner: Uuid, key: &str, employee: EmployeeId, second: i64) -> TimerChange {
    TimerChange::Set {
        owner,
        key: key.into(),
        employee,
        due: at(second),
    }
}

async fn due(world: &World, second: i64) -> Vec<(String, i64)> {
    let due = timers_due(&mut world.system_read().await, at(second), None, 100)
        .await
        .unwrap();
    due.into_iter()
        .map(|timer| (timer.key, (timer.due.micros() - at(0).micros()) / 1_000_000))
        .collect()
}

async fn timers_are_set_moved_and_cleared(world: World) {
    let employee = EmployeeId::from_uuid(id());
    let mut accept = world.accept(employee);
    let run = execution(&accept).uuid();
    accept.timers = vec![
        set(run, "a", employee, 30),
        set(run, "b", employee, 20),
        set(run, "c", employee, 40),
    ];
    world.commit(&[accept]).await;
    assert_eq!(
        due(&world, 30).await,
        [("b".to_owned(), 20), ("a".to_owned(), 30)]
    );
    assert_eq!(
        timers_next(&mut world.system_read().await).await.unwrap(),
        Some(at(20))
    );

    let mut change = Append::new(world.org);
    change.timers = vec![
        TimerChange::Clear {
            owner: run,
            key: "b".into(),
        },
        set(run, "a", employee, 50),
        set(run, "a", employee, 35),
    ];
    world.commit(&[change]).await;
    assert_eq!(
        due(&world, 100).await,
        [("a".to_owned(), 35), ("c".to_owned(), 40)]
    );

    let mut end = Append::new(world.org);
    end.timers = vec![
        set(run, "d", employee, 1),
        TimerChange::ClearAll { owner: run },
        set(run, "e", employee, 60),
    ];
    world.commit(&[end]).await;
    assert_eq!(due(&world, 100).await, [("e".to_owned(), 60)]);
}

async fn what_a_batch_sets_and_clears_is_gone(world: World) {
    let employee = EmployeeId::from_uuid(id());
    let mut accept = world.accept(employee);
    let run = execution(&accept);
    accept.timers = vec![set(run.uuid(), "a", employee, 30)];
    accept.waits = vec![WaitChange::Set(Box::new(wait(&accept, &world, "paid")))];
    let mut finish = world.go_on(&accept, 1, &["done"], Some(RunStatus::Completed));
    finish.timers = vec![TimerChange::Clear {
        owner: run.uuid(),
        key: "a".into(),
    }];
    finish.waits = vec![WaitChange::ClearAll { run }];
    world.commit(&[accept, finish]).await;
    assert_eq!(
        (world.count("timer").await, world.count("event_wait").await),
        (0, 0)
    );
}

fn wait(append: &Append, world: &World, event: &str) -> WaitRow {
    let run = append.run.as_ref().unwrap();
    WaitRow {
        org_id: world.org,
        run_id: run.execution,
        step: format!("0.1.0.1/{event}"),
        employee_id: run.employee,
        event: event.into(),
        source: Some("hook:*".into()),
        matches: r#"[["/id",7]]"#.into(),
        since: at(1),
        until: None,
    }
}

async fn waits_are_found_by_event(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let (paid, sent) = (wait(&accept, &world, "paid"), wait(&accept, &world, "sent"));
    accept.waits = [&paid, &sent]
        .map(|row| WaitChange::Set(Box::new(row.clone())))
        .to_vec();
    world.commit(&[accept]).await;
    assert_eq!(
        waits_find(&mut world.read().await, "paid").await.unwrap(),
        [paid.clone()]
    );
    assert_eq!(
        waits_find(&mut world.stranger().await, "paid")
            .await
            .unwrap(),
        []
    );
    let mut clear = Append::new(world.org);
    clear.waits.push(WaitChange::Clear {
        run: paid.run_id,
        step: paid.step.clone(),
    });
    world.commit(&[clear]).await;
    assert_eq!(
        waits_find(&mut world.read().await, "paid").await.unwrap(),
        []
    );
    assert_eq!(
        waits_find(&mut world.read().await, "sent").await.unwrap(),
        [sent]
    );
}

async fn snapshots_never_go_back(world: World) {
    let entity = id();
    let put = |epoch, seq| {
        let row = SnapshotRow {
            org_id: world.org,
            kind: snapshot_kind::EMPLOYEE.into(),
            entity,
            epoch,
            seq,
            body: format!("{epoch}/{seq}").into_bytes(),
            at: at(1),
        };
        Append {
            snapshots: vec![SnapshotChange::Put(row)],
            ..Append::new(world.org)
        }
    };
    for (epoch, seq, wanted) in [
        (1, 5, "1/5"),
        (1, 4, "1/5"),
        (2, 1, "2/1"),
        (1, 9, "2/1"),
        (2, 1, "2/1"),
        (2, 3, "2/3"),
    ] {
        world.commit(&[put(epoch, seq)]).await;
        let stored = snapshot_get(
            &mut world.system_read().await,
            snapshot_kind::EMPLOYEE,
            entity,
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(stored.body, wanted.as_bytes());
    }
    assert_eq!(
        snapshot_get(&mut world.system_read().await, snapshot_kind::RUN, entity)
            .await
            .unwrap(),
        None
    );
    let delete = SnapshotChange::Delete {
        kind: snapshot_kind::EMPLOYEE,
        entity,
    };
    world
        .commit(&[Append {
            snapshots: vec![delete],
            ..Append::new(world.org)
        }])
        .await;
    assert_eq!(
        snapshot_get(
            &mut world.system_read().await,
            snapshot_kind::EMPLOYEE,
            entity
        )
        .await
        .unwrap(),
        None
    );
}
