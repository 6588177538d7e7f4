use super::{on_both, world::*};
use crate::{
    domain::{ApprovalId, ContentHash, EmployeeId},
    persistence::*,
};
use tenure_cluster::Entity;

on_both!(
    an_employee_wakes_with_all_it_needs,
    many_wake_at_once,
    facts_before_a_snapshot_are_not_read,
    recovery_wakes_who_was_at_work,
    a_node_looks_after_what_no_other_node_has,
    the_audit_finds_runs_that_nothing_would_wake,
);

async fn an_employee_wakes_with_all_it_needs(world: World) {
    let clerk = world.hire("clerk", r#"{"v":1}"#).await;
    let mut old = world.accept(clerk);
    old.blobs = vec![
        blob(execution(&old).uuid(), "context"),
        blob(execution(&old).uuid(), "payload"),
    ];
    let finished = world.accept(clerk);
    world
        .commit(&[
            old.clone(),
            finished.clone(),
            world.go_on(&finished, 1, &["x"], Some(RunStatus::Failed)),
        ])
        .await;
    let mut tx = world.write().await;
    for expected in [1, 2] {
        let (spec, event) = (format!(r#"{{"v":{}}}"#, expected + 1), graph_defined());
        employee_version_insert(&mut tx, expected, &version(clerk, &spec, &event))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    world
        .commit(&[world.go_on(&old, 1, &["a", "b"], Some(RunStatus::Waiting))])
        .await;

    let bundles = activation_load(
        &mut world.system_read().await,
        &[clerk, EmployeeId::from_uuid(id())],
        |_| false,
    )
    .await
    .unwrap();
    let [bundle] = bundles.as_slice() else {
        panic!("one exists")
    };
    assert_eq!((bundle.employee.id, bundle.employee.version), (clerk, 3));
    let specs: Vec<_> = bundle
        .versions
        .iter()
        .map(|(version, spec)| (*version, text(spec)))
        .collect();
    assert_eq!(specs, [(1, r#"{"v":1}"#), (3, r#"{"v":3}"#)]);
    let [open] = bundle.open_runs.as_slice() else {
        panic!("one is open")
    };
    assert_eq!(
        (open.run.id, open.run.status, open.run.version),
        (execution(&old), RunStatus::Waiting, 1)
    );
    assert_eq!(
        open.facts.iter().map(|fact| fact.seq).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert_eq!(bodies(&open.blobs), ["context", "payload"]);
    assert_eq!(bundle.snapshot, None);
}

async fn many_wake_at_once(world: World) {
    let mut hired = Vec::new();
    for place in 0..30 {
        hired.push(world.hire(&format!("e{place}"), r#"{"same":true}"#).await);
    }
    let batch: Vec<Append> = hired
        .iter()
        .flat_map(|employee| [world.accept(*employee), world.accept(*employee)])
        .map(|mut append| {
            append.blobs = vec![blob(execution(&append).uuid(), "the same context")];
            append
        })
        .collect();
    world.commit(&batch).await;
    let bundles = activation_load(&mut world.system_read().await, &hired, |_| false)
        .await
        .unwrap();
    assert_eq!(
        bundles
            .iter()
            .map(|bundle| bundle.employee.id)
            .collect::<Vec<_>>(),
        hired
    );
    for (bundle, appends) in bundles.iter().zip(batch.chunks(2)) {
        assert_eq!(text(&bundle.versions[&1]), r#"{"same":true}"#);
        let runs: Vec<_> = bundle.open_runs.iter().map(|open| open.run.id).collect();
        assert_eq!(runs, appends.iter().map(execution).collect::<Vec<_>>());
        assert!(
            bundle
                .open_runs
                .iter()
                .all(|open| bodies(&open.blobs) == ["the same context"])
        );
    }
    let place = |bundle: &EmployeeBundle| text(&bundle.versions[&1]).as_ptr();
    assert_eq!(
        place(&bundles[0]),
        place(&bundles[29]),
        "equal specs share their bytes"
    );

    let known = ContentHash::of(br#"{"same":true}"#);
    let bundles = activation_load(&mut world.system_read().await, &hired[..2], |hash| {
        hash == known
    })
    .await
    .unwrap();
    for bundle in bundles {
        let spec = &bundle.versions[&1];
        assert_eq!((spec.hash, spec.body.as_ref()), (known, None));
        assert_eq!(bodies(&bundle.open_runs[0].blobs), ["the same context"]);
    }
}

fn text(spec: &StoredSpec) -> &str {
    std::str::from_utf8(spec.body.as_ref().unwrap()).unwrap()
}

async fn facts_before_a_snapshot_are_not_read(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let accept = world.accept(clerk);
    let run = execution(&accept);
    world
        .commit(&[
            accept.clone(),
            world.go_on(&accept, 1, &["a", "b", "c"], None),
        ])
        .await;
    let mut more = world.go_on(&accept, 4, &["d"], None);
    let snapshot = |kind: &str, entity, seq| SnapshotRow {
        org_id: world.org,
        kind: kind.into(),
        entity,
        epoch: 1,
        seq,
        body: vec![1, 2, 3],
        at: at(1),
    };
    let of_run = snapshot(snapshot_kind::RUN, run.uuid(), 3);
    let of_employee = snapshot(snapshot_kind::EMPLOYEE, clerk.uuid(), 0);
    more.snapshots = vec![
        SnapshotChange::Put(of_run.clone()),
        SnapshotChange::Put(of_employee.clone()),
    ];
    world.commit(&[more]).await;
    let bundles = activation_load(&mut world.system_read().await, &[clerk], |_| false)
        .await
        .unwrap();
    assert_eq!(bundles[0].snapshot, Some(of_employee));
    let open = &bundles[0].open_runs[0];
    assert_eq!(open.snapshot, Some(of_run));
    assert_eq!(
        open.facts.iter().map(|fact| fact.seq).collect::<Vec<_>>(),
        [3, 4]
    );
}

async fn recovery_wakes_who_was_at_work(world: World) {
    let mut hired = Vec::new();
    for name in ["accepted", "running", "waiting", "completed", "quarantined"] {
        hired.push(world.hire(name, "{}").await);
    }
    let accepts: Vec<Append> = hired
        .iter()
        .map(|employee| world.accept(*employee))
        .collect();
    world.commit(&accepts).await;
    let to = |place: usize, status| world.go_on(&accepts[place], 1, &["x"], Some(status));
    world
        .commit(&[
            to(1, RunStatus::Running),
            to(2, RunStatus::Waiting),
            to(3, RunStatus::Completed),
        ])
        .await;
    let mut tx = world.write().await;
    employee_set_status(&mut tx, hired[4], EmployeeStatus::Quarantined, at(9))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.system_read().await;
    let all = recovery_list(&mut tx, None, 10).await.unwrap();
    assert_eq!(
        all.iter()
            .map(|one| (one.org_id, one.employee))
            .collect::<Vec<_>>(),
        [(world.org, hired[0]), (world.org, hired[1])]
    );
    let rest = recovery_list(&mut tx, Some(hired[0]), 10).await.unwrap();
    assert_eq!(
        rest.iter().map(|one| one.employee).collect::<Vec<_>>(),
        [hired[1]]
    );
    let share = unfinished_share(&mut tx, None, "employee", None, 10)
        .await
        .unwrap();
    let of = |status| share.iter().filter(|run| run.status == status).count();
    assert_eq!(
        [RunStatus::Accepted, RunStatus::Running, RunStatus::Waiting].map(of),
        [2, 1, 1]
    );
    let at_hand: Vec<EmployeeId> = share
        .iter()
        .filter(|run| run.is_at_hand)
        .map(|run| run.employee)
        .collect();
    assert_eq!(at_hand, [hired[0], hired[1]]);
    // A share at a time gives the same, each once.
    let (mut after, mut parts) = (None, Vec::new());
    loop {
        let part = unfinished_share(&mut tx, None, "employee", after, 1)
            .await
            .unwrap();
        let Some(last) = part.last() else { break };
        after = Some(last.place());
        parts.extend(part);
    }
    assert_eq!(parts, share);
}

async fn a_node_looks_after_what_no_other_node_has(world: World) {
    let mut hired = Vec::new();
    for name in ["free", "own", "theirs", "of_the_dead"] {
        hired.push(world.hire(name, "{}").await);
    }
    let accepts: Vec<Append> = hired.iter().map(|one| world.accept(*one)).collect();
    world.commit(&accepts).await;
    let (own, theirs, dead) = (world.fence, world.join().await, world.join().await);
    let mut tx = world.system().await;
    for (place, node) in [(1, own), (2, theirs), (3, dead)] {
        let entity = Entity {
            kind: "employee",
            id: hired[place].uuid(),
        };
        placements_claim(&mut tx, &[entity], node).await.unwrap();
    }
    tx.commit().await.unwrap();
    world.bury(dead).await;
    let mut tx = world.system_read().await;
    let mut list = async |node: Fence, after| {
        let rows = recovery_list_besides(&mut tx, node.node_id, "employee", after, 10).await;
        let employees = rows.unwrap().into_iter().map(|row| row.employee);
        employees.collect::<Vec<_>>()
    };
    assert_eq!(list(own, None).await, [hired[0], hired[1], hired[3]]);
    assert_eq!(list(theirs, None).await, [hired[0], hired[2], hired[3]]);
    assert_eq!(list(own, Some(hired[0])).await, [hired[1], hired[3]]);
    let share = unfinished_share(&mut tx, Some(own.node_id), "employee", None, 10)
        .await
        .unwrap();
    let at_hand = share.iter().filter(|run| run.is_at_hand);
    assert_eq!(
        at_hand.map(|run| run.employee).collect::<Vec<_>>(),
        [hired[0], hired[1], hired[3]]
    );
}

async fn the_audit_finds_runs_that_nothing_would_wake(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let accepts: Vec<Append> = (0..5).map(|_| world.accept(clerk)).collect();
    world.commit(&accepts).await;
    let mut waiting: Vec<Append> = accepts
        .iter()
        .map(|accept| world.go_on(accept, 1, &["x"], Some(RunStatus::Waiting)))
        .collect();
    let run = |place: usize| execution(&accepts[place]);
    waiting[0].timers = vec![TimerChange::Set {
        owner: run(0).uuid(),
        key: "t".into(),
        employee: clerk,
        due: at(99),
    }];
    let approval = ApprovalRow {
        org_id: world.org,
        id: ApprovalId::from_uuid(id()),
        run_id: run(1),
        employee_id: clerk,
        step: "0.1.0.1".into(),
        title: "May I?".into(),
        arguments: "{}".into(),
        arguments_hash: ContentHash::of(b"{}"),
        status: ApprovalStatus::Pending,
        asked: at(1),
        expires: None,
        decided: None,
        decided_by: None,
        comment: None,
        asked_by: None,
        owner_user: None,
    };
    waiting[1].approvals = vec![ApprovalChange::Ask(Box::new(approval.clone()))];
    let wait = WaitRow {
        org_id: world.org,
        run_id: run(2),
        step: "0.1.0.1".into(),
        employee_id: clerk,
        event: "paid".into(),
        source: None,
        matches: "[]".into(),
        since: at(1),
        until: None,
    };
    waiting[2].waits = vec![WaitChange::Set(Box::new(wait))];
    waiting[3]
        .run
        .as_mut()
        .unwrap()
        .status
        .as_mut()
        .unwrap()
        .waiting_on = Some(r#"[{"kind":"connection"}]"#.into());
    world.commit(&waiting).await;
    let stranded = |found: Vec<UnfinishedRun>| {
        found
            .into_iter()
            .filter(|one| one.is_stranded)
            .map(|one| one.execution)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        stranded(
            unfinished_share(&mut world.system_read().await, None, "employee", None, 10)
                .await
                .unwrap()
        ),
        [run(4)]
    );
    let close = ApprovalChange::Close {
        id: approval.id,
        status: ApprovalStatus::Denied,
        at: at(2),
        by: None,
        comment: None,
    };
    world
        .commit(&[Append {
            approvals: vec![close],
            ..Append::new(world.org)
        }])
        .await;
    assert_eq!(
        stranded(
            unfinished_share(&mut world.system_read().await, None, "employee", None, 10)
                .await
                .unwrap()
        ),
        [run(1), run(4)]
    );
}
