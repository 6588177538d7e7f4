use super::{on_both, world::*};
use crate::{
    domain::{ApprovalId, ContentHash, EmployeeId, EventFilter, ExecutionId, SubscriptionSpec},
    persistence::*,
};
use serde_json::json;
use uuid::Uuid;

on_both!(
    approvals_are_asked_and_closed_once,
    timers_are_set_moved_and_cleared,
    what_a_batch_sets_and_clears_is_gone,
    waits_are_found_by_event,
    waits_that_do_not_fit_are_not_read,
    waits_that_were_ended_are_told_a_page_at_a_time,
    timers_that_nobody_takes_are_put_off,
    ends_that_somebody_listens_to_leave_an_offer,
    ends_that_a_run_waits_for_leave_an_offer,
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
        found(&mut world.read().await, "paid", 7).await,
        [paid.clone()]
    );
    assert_eq!(found(&mut world.stranger().await, "paid", 7).await, []);
    let mut clear = Append::new(world.org);
    clear.waits.push(WaitChange::Clear {
        run: paid.run_id,
        step: paid.step.clone(),
    });
    world.commit(&[clear]).await;
    assert_eq!(found(&mut world.read().await, "paid", 7).await, []);
    assert_eq!(found(&mut world.read().await, "sent", 7).await, [sent]);
}

/// What waits for an event of `hook:github` with this id.
async fn found(tx: &mut Tx, event: &str, id: u32) -> Vec<WaitRow> {
    let payload = json!({"id": id, "more": [1]});
    let event = EventFacts {
        event,
        sources: &["hook:github", "hook:github/push"],
        payload: &payload,
    };
    waits_find(tx, &[event]).await.unwrap()
}

/// An event reads what fits it, among waits for others in many ways, and those of an older binary.
async fn waits_that_do_not_fit_are_not_read(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let run = execution(&accept);
    let row = |step: u32, source: Option<&str>, matches: &str| WaitRow {
        step: step.to_string(),
        source: source.map(str::to_owned),
        matches: matches.into(),
        ..wait(&accept, &world, "paid")
    };
    let mut rows = vec![
        row(0, None, r#"[["/id",7]]"#),
        row(1, Some("hook:github"), "[]"),
        row(2, Some("hook:github/push"), r#"[["/id",7],["/more",[1]]]"#),
        row(3, Some("hook:*"), r#"[["/id",7]]"#),
        row(4, None, "[]"),
    ];
    let fitting = rows.clone();
    let others = (5..205).map(|step| match step % 5 {
        0 => row(step, None, &format!(r#"[["/id",{step}]]"#)),
        1 => row(step, Some(&format!("hook:{step}")), "[]"),
        2 => row(
            step,
            Some("hook:github"),
            &format!(r#"[["/id",7],["/more",[{step}]]]"#),
        ),
        3 => row(step, None, &format!(r#"[["/field_{step}",7]]"#)),
        _ => row(step, None, r#"[["/id","7"]]"#),
    });
    rows.extend(others);
    accept.waits = rows
        .into_iter()
        .map(|row| WaitChange::Set(Box::new(row)))
        .collect();
    world.commit(&[accept]).await;
    assert_eq!(found(&mut world.read().await, "paid", 7).await, fitting);

    unhash(&world).await;
    let all = found(&mut world.read().await, "paid", 7).await;
    assert_eq!(
        all.len(),
        205,
        "what has no hash is read, and compared by the caller"
    );
    let mut tx = world.system().await;
    for left in [100, 100, 5, 0] {
        assert_eq!(waits_hash(&mut tx, 100).await.unwrap(), left);
    }
    tx.commit().await.unwrap();
    assert_eq!(found(&mut world.read().await, "paid", 7).await, fitting);
    assert_eq!(fitting[0].run_id, run);
}

/// As if a binary had written them that knows of no hashes.
async fn unhash(world: &World) {
    let mut tx = world.system().await;
    super::super::tx::on_tx!(tx, |conn| sqlx::query(
        "UPDATE event_wait SET match_shape = NULL, match_hash = NULL"
    )
    .execute(conn)
    .await
    .map(drop))
    .unwrap();
    tx.commit().await.unwrap();
}

async fn waits_that_were_ended_are_told_a_page_at_a_time(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let rows: Vec<WaitRow> = (0..5)
        .map(|step| WaitRow {
            step: step.to_string(),
            source: None,
            matches: "[]".into(),
            ..wait(&accept, &world, "wait:connection:slack")
        })
        .collect();
    let set = |row: &WaitRow| WaitChange::Set(Box::new(row.clone()));
    accept.waits = rows.iter().map(set).collect();
    world.commit(&[accept]).await;
    let mut tx = world.write().await;
    wait_end_put(&mut tx, "wait:connection:slack", at(9))
        .await
        .unwrap();
    wait_end_put(&mut tx, "wait:connection:slack", at(8))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.system().await;
    let ends = wait_ends(&mut tx, None, 10).await.unwrap();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].asked, at(9), "the last time counts");
    let (mut after, mut told) = (None, Vec::new());
    loop {
        let page = waits_of_end(&mut tx, &ends[0], after.as_ref(), 2)
            .await
            .unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        told.extend(page);
    }
    assert_eq!(told, rows);
    assert_eq!(wait_ends(&mut tx, Some(&ends[0]), 10).await.unwrap(), []);
    let earlier = WaitEndRow {
        asked: at(8),
        ..ends[0].clone()
    };
    wait_end_done(&mut tx, &earlier).await.unwrap();
    assert_eq!(
        wait_ends(&mut tx, None, 10).await.unwrap(),
        ends,
        "it was asked anew"
    );
    wait_end_done(&mut tx, &ends[0]).await.unwrap();
    assert_eq!(wait_ends(&mut tx, None, 10).await.unwrap(), []);
}

/// A timer that was put off is due later, the others are found, and one that was moved meanwhile stays.
async fn timers_that_nobody_takes_are_put_off(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let (run, employee) = (
        execution(&accept).uuid(),
        accept.run.as_ref().unwrap().employee,
    );
    accept.timers = vec![
        set(run, "stuck", employee, 1),
        set(run, "moved", employee, 2),
        set(run, "fine", employee, 3),
    ];
    world.commit(&[accept]).await;
    let read = timers_due(&mut world.system_read().await, at(5), None, 2)
        .await
        .unwrap();
    let mut moves = Append::new(world.org);
    moves.timers = vec![set(run, "moved", employee, 4)];
    world.commit(&[moves]).await;
    let mut tx = world.system().await;
    let stuck: Vec<_> = read.iter().map(|row| (row, at(100))).collect();
    assert_eq!(timers_postpone(&mut tx, &stuck).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(
        due(&world, 50).await,
        [("fine".to_owned(), 3), ("moved".to_owned(), 4)]
    );
    let later = timers_due(&mut world.system_read().await, at(100), None, 10)
        .await
        .unwrap();
    assert_eq!(
        (later[2].key.as_str(), later[2].tries, later[2].due),
        ("stuck", 1, at(100))
    );
    let mut again = Append::new(world.org);
    again.timers = vec![set(run, "stuck", employee, 1)];
    world.commit(&[again]).await;
    let first = timers_due(&mut world.system_read().await, at(5), None, 1)
        .await
        .unwrap();
    assert_eq!(
        (first[0].key.as_str(), first[0].tries),
        ("stuck", 0),
        "set anew"
    );
}

fn subscription(source: &str) -> SubscriptionSpec {
    SubscriptionSpec {
        source: source.into(),
        event: None,
        when: None,
        filter: EventFilter::default(),
        skill: None,
        conversation_key: None,
    }
}

/// Whether a result is offered is decided by the commit that has it, by who is listening in the database then.
async fn ends_that_somebody_listens_to_leave_an_offer(world: World) {
    let source = EmployeeId::from_uuid(id());
    let mine = format!("employee:{source}");
    // The pattern, and whether it means the source.
    let patterns: [(&str, bool); 12] = [
        (&mine, true),
        ("employee:*", true),
        ("employee:emp_*", true),
        ("*", true),
        ("emp*", true),
        ("e*", true),
        (&format!("{}*", &mine[..20]), true),
        ("employee:emp_other", false),
        ("employee:emp_other*", false),
        ("hook:*", false),
        ("x*", false),
        ("api", false),
    ];
    for (place, (pattern, means)) in patterns.iter().enumerate() {
        let event = graph_defined();
        let listener = EmployeeId::from_uuid(id());
        let subscriptions = [subscription(pattern)];
        let hired = VersionInsert {
            subscriptions: &subscriptions,
            ..version(listener, "{}", &event)
        };
        let mut tx = world.write().await;
        employee_insert(&mut tx, &format!("listener {place}"), &hired)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        // One that ends in the commit that accepts it, one that ends later, and one of another org.
        let (at_once, later) = (world.accept(source), world.accept(source));
        let mut theirs = world.accept(source);
        theirs.org = world.other;
        let end = |append: &Append| {
            let end = world.go_on(append, 1, &["done"], Some(RunStatus::Completed));
            Append {
                org: append.org,
                ..end
            }
        };
        world
            .commit(&[
                at_once.clone(),
                end(&at_once),
                later.clone(),
                theirs.clone(),
                end(&theirs),
            ])
            .await;
        assert!(!offers(&world).await.contains(&execution(&later)));
        world.commit(&[end(&later)]).await;
        let left = offers(&world).await;
        for run in [&at_once, &later] {
            assert_eq!(left.contains(&execution(run)), *means, "{pattern}");
        }
        assert!(
            !left.contains(&execution(&theirs)),
            "{pattern}: another org's"
        );
        let mut tx = world.write().await;
        employee_version_insert(&mut tx, 1, &version(listener, "{}", &graph_defined()))
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
}

async fn ends_that_a_run_waits_for_leave_an_offer(world: World) {
    let source = EmployeeId::from_uuid(id());
    let mut waiting = world.accept(EmployeeId::from_uuid(id()));
    waiting.waits = vec![WaitChange::Set(Box::new(wait(
        &waiting,
        &world,
        "run.failed",
    )))];
    world.commit(&[waiting]).await;
    let (done, failed) = (world.accept(source), world.accept(source));
    world.commit(&[done.clone(), failed.clone()]).await;
    world
        .commit(&[
            world.go_on(&done, 1, &["x"], Some(RunStatus::Completed)),
            world.go_on(&failed, 1, &["x"], Some(RunStatus::Failed)),
        ])
        .await;
    assert_eq!(offers(&world).await, [execution(&failed)]);
}

/// The runs whose ends are to be offered.
async fn offers(world: &World) -> Vec<ExecutionId> {
    let rows = timers_due(&mut world.system_read().await, at(9_999_999), None, 1_000)
        .await
        .unwrap();
    let offers = rows.into_iter().filter(|row| row.key == OFFER_KEY);
    offers
        .map(|row| ExecutionId::from_uuid(row.owner))
        .collect()
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
