use super::{on_both, world::*};
use crate::{
    domain::{ContentHash, EmployeeId, ExecutionId},
    persistence::*,
};

on_both!(
    a_key_is_kept_to_its_first_payload,
    a_key_that_was_looked_up_is_kept_from_then_on,
    texts_that_cannot_be_stored_hold_up_nothing,
    long_and_odd_keys_stay_keys,
    a_run_finished_in_its_first_batch_is_one_row,
    appends_of_one_run_are_one_row_of_its_journal,
    a_run_goes_on_over_batches,
    many_runs_in_one_batch,
    an_empty_batch_commits,
    a_key_makes_one_run,
    the_same_key_twice_in_a_batch,
    racing_batches_with_the_same_key,
    a_run_twice_is_stale,
    facts_that_do_not_follow_are_stale,
    a_finished_run_does_not_change,
    stale_runs_are_named_and_nothing_is_kept,
    a_fenced_node_writes_nothing,
    concurrent_batches_all_commit,
);

fn someone() -> EmployeeId {
    EmployeeId::from_uuid(id())
}

async fn a_run_finished_in_its_first_batch_is_one_row(world: World) {
    let accept = world.accept(someone());
    let finish = world.go_on(&accept, 1, &["done", "done"], Some(RunStatus::Completed));
    assert_eq!(
        world.commit(&[accept.clone(), finish]).await,
        [AppendOutcome::Durable; 2]
    );
    let run = world.run(execution(&accept)).await.unwrap();
    assert_eq!(
        (run.status, run.accepted, run.finished, run.version),
        (RunStatus::Completed, at(1), Some(at(50)), 1)
    );
    assert_eq!(
        world.facts(run.id).await,
        named(&[(0, "accepted"), (1, "done"), (2, "done")])
    );
}

async fn appends_of_one_run_are_one_row_of_its_journal(world: World) {
    let accept = world.accept(someone());
    let more = [1, 2, 3].map(|seq| world.go_on(&accept, seq, &["done"], None));
    world.commit(&[&[accept], more.as_slice()].concat()).await;
    assert_eq!(world.count("journal").await, 1);
}

async fn a_run_goes_on_over_batches(world: World) {
    let accept = world.accept(someone());
    let run = execution(&accept);
    world.commit(&[accept.clone()]).await;
    let mut waiting = world.go_on(&accept, 1, &["a", "b"], Some(RunStatus::Waiting));
    waiting
        .run
        .as_mut()
        .unwrap()
        .status
        .as_mut()
        .unwrap()
        .waiting_on = Some(r#"["approval"]"#.into());
    world.commit(&[waiting]).await;
    let row = world.run(run).await.unwrap();
    assert_eq!(
        (row.status, row.waiting_on.as_deref(), row.finished),
        (RunStatus::Waiting, Some(r#"["approval"]"#), None)
    );
    let mut failed = world.go_on(&accept, 3, &["c"], Some(RunStatus::Failed));
    failed.run.as_mut().unwrap().status.as_mut().unwrap().error =
        Some(r#"{"code":"timeout"}"#.into());
    world.commit(&[failed]).await;
    let row = world.run(run).await.unwrap();
    assert_eq!(
        (row.status, row.waiting_on, row.finished),
        (RunStatus::Failed, None, Some(at(50)))
    );
    assert_eq!(row.error.as_deref(), Some(r#"{"code":"timeout"}"#));
    assert_eq!(
        world.facts(run).await,
        named(&[(0, "accepted"), (1, "a"), (2, "b"), (3, "c")])
    );
}

async fn many_runs_in_one_batch(world: World) {
    let employee = someone();
    let batch: Vec<Append> = (0..333).map(|_| world.accept(employee)).collect();
    world.commit(&batch).await;
    let rest: Vec<Append> = batch
        .iter()
        .map(|accept| world.go_on(accept, 1, &["done"], Some(RunStatus::Completed)))
        .collect();
    world.commit(&rest).await;
    assert_eq!(
        (world.count("run").await, world.count("journal").await),
        (333, 666)
    );
    assert_eq!(
        run_count_unfinished(&mut world.system_read().await, employee)
            .await
            .unwrap(),
        0
    );
}

async fn an_empty_batch_commits(world: World) {
    assert_eq!(world.commit(&[]).await, []);
    assert_eq!(
        world.commit(&[Append::new(world.org)]).await,
        [AppendOutcome::Durable]
    );
}

async fn a_key_makes_one_run(world: World) {
    let first = world.accept_at(someone(), at(1), Some("k"));
    world.commit(&[first.clone()]).await;
    let mut second = world.accept_at(someone(), at(2), Some("k"));
    second
        .blobs
        .push(blob(execution(&second).uuid(), "not to be kept"));
    let rest = world.go_on(&second, 1, &["done"], Some(RunStatus::Completed));
    let third = world.accept_at(someone(), at(2), Some("another"));
    let outcomes = world.commit(&[second.clone(), rest, third.clone()]).await;
    let duplicate = AppendOutcome::Duplicate {
        execution: execution(&first),
    };
    assert_eq!(outcomes, [duplicate, duplicate, AppendOutcome::Durable]);
    assert_eq!(world.run(execution(&second)).await, None);
    assert!(world.run(execution(&third)).await.is_some());
    assert_eq!(
        (
            world.count("run").await,
            world.count("journal").await,
            world.count("blob").await
        ),
        (2, 2, 0)
    );
    let found = dedupe_find(&mut world.read().await, "api", "k")
        .await
        .unwrap();
    assert_eq!(found, Some(execution(&first)));
    assert_eq!(
        dedupe_find(&mut world.stranger().await, "api", "k")
            .await
            .unwrap(),
        None
    );
    // Another org's key is another key.
    let theirs = Append {
        org: world.other,
        ..world.accept_at(someone(), at(3), Some("k"))
    };
    assert_eq!(world.commit(&[theirs]).await, [AppendOutcome::Durable]);
}

async fn the_same_key_twice_in_a_batch(world: World) {
    let [first, second] = [1, 2].map(|second| world.accept_at(someone(), at(second), Some("k")));
    let outcomes = world.commit(&[first.clone(), second]).await;
    assert_eq!(
        outcomes,
        [
            AppendOutcome::Durable,
            AppendOutcome::Duplicate {
                execution: execution(&first)
            }
        ]
    );
    assert_eq!(world.count("run").await, 1);
}

async fn racing_batches_with_the_same_key(world: World) {
    let keys: Vec<String> = (0..40).map(|key| format!("k{key}")).collect();
    let batch = |reversed: bool| {
        let mut batch: Vec<Append> = keys
            .iter()
            .map(|key| world.accept_at(someone(), at(1), Some(key)))
            .collect();
        if reversed {
            batch.reverse();
        }
        batch
    };
    let batches = [batch(false), batch(true), batch(false)];
    let [a, b, c] = &batches;
    let outcomes = tokio::join!(world.commit(a), world.commit(b), world.commit(c));
    let outcomes = [outcomes.0, outcomes.1, outcomes.2].concat();
    let durable: Vec<ExecutionId> = batches
        .concat()
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == AppendOutcome::Durable)
        .map(|(append, _)| execution(append))
        .collect();
    assert_eq!((durable.len(), world.count("run").await), (40, 40));
    for outcome in outcomes {
        if let AppendOutcome::Duplicate { execution } = outcome {
            assert!(durable.contains(&execution));
        }
    }
}

fn stale(error: CommitError) -> Vec<ExecutionId> {
    match error {
        CommitError::Stale { runs } => runs,
        other => panic!("{other}"),
    }
}

async fn a_run_twice_is_stale(world: World) {
    let accept = world.accept(someone());
    world.commit(&[accept.clone()]).await;
    assert_eq!(
        stale(world.refused(&[accept.clone()]).await),
        [execution(&accept)]
    );
}

async fn facts_that_do_not_follow_are_stale(world: World) {
    let accept = world.accept(someone());
    world
        .commit(&[accept.clone(), world.go_on(&accept, 1, &["a", "b"], None)])
        .await;
    // Where the journal ends is 3: before it, inside its last row, and beyond it are all wrong.
    for seq in [0, 1, 2, 4] {
        let error = world
            .refused(&[world.go_on(&accept, seq, &["x"], None)])
            .await;
        assert_eq!(stale(error), [execution(&accept)], "{seq}");
    }
    world.commit(&[world.go_on(&accept, 3, &["c"], None)]).await;
    assert_eq!(world.facts(execution(&accept)).await.len(), 4);
}

async fn a_finished_run_does_not_change(world: World) {
    let accept = world.accept(someone());
    world
        .commit(&[
            accept.clone(),
            world.go_on(&accept, 1, &["a"], Some(RunStatus::Cancelled)),
        ])
        .await;
    let error = world
        .refused(&[world.go_on(&accept, 2, &["b"], Some(RunStatus::Completed))])
        .await;
    assert_eq!(stale(error), [execution(&accept)]);
    assert_eq!(
        world.run(execution(&accept)).await.unwrap().status,
        RunStatus::Cancelled
    );
    assert_eq!(world.facts(execution(&accept)).await.len(), 2);
}

async fn stale_runs_are_named_and_nothing_is_kept(world: World) {
    let known = world.accept(someone());
    world.commit(&[known.clone()]).await;
    let (fresh, unknown) = (world.accept(someone()), world.accept(someone()));
    let batch = [
        fresh.clone(),
        world.go_on(&known, 7, &["x"], None),
        world.go_on(&unknown, 1, &["x"], None),
    ];
    assert_eq!(
        stale(world.refused(&batch).await),
        [execution(&known), execution(&unknown)]
    );
    assert_eq!(world.run(execution(&fresh)).await, None);
    assert_eq!(world.commit(&batch[..1]).await, [AppendOutcome::Durable]);
}

async fn a_fenced_node_writes_nothing(world: World) {
    let append = [world.accept(someone())];
    let older = Fence {
        incarnation: world.fence.incarnation - 1,
        ..world.fence
    };
    let stranger = Fence {
        node_id: id(),
        ..world.fence
    };
    for fence in [older, stranger] {
        let refused = commit(&world.db, fence, &append).await;
        assert!(matches!(refused, Err(CommitError::Db(DbError::Fenced))));
    }
    world.bury(world.fence).await;
    assert!(matches!(
        world.refused(&append).await,
        CommitError::Db(DbError::Fenced)
    ));
    assert_eq!(
        (world.count("run").await, world.count("journal").await),
        (0, 0)
    );
}

async fn concurrent_batches_all_commit(world: World) {
    let employee = someone();
    let batches: Vec<Vec<Append>> = (0..8)
        .map(|_| {
            let accepts: Vec<Append> = (0..25).map(|_| world.accept(employee)).collect();
            let mut batch = accepts.clone();
            for accept in &accepts {
                let mut rest = world.go_on(accept, 1, &["done"], Some(RunStatus::Completed));
                rest.blobs
                    .push(blob(execution(accept).uuid(), "the same for all"));
                batch.push(rest);
            }
            batch
        })
        .collect();
    futures::future::join_all(batches.iter().map(|batch| world.commit(batch))).await;
    assert_eq!(
        (world.count("run").await, world.count("journal").await),
        (200, 200)
    );
    assert_eq!(
        (world.count("blob").await, world.count("blob_ref").await),
        (1, 200)
    );
}

async fn a_key_is_kept_to_its_first_payload(world: World) {
    let accept = |second, key: &str, payload: Option<&str>| {
        let mut append = world.accept_at(someone(), at(second), Some(key));
        let insert = append.run.as_mut().unwrap().insert.as_mut().unwrap();
        insert.payload_hash = payload.map(|payload| ContentHash::of(payload.as_bytes()));
        append
    };
    let first = accept(1, "k", Some("one"));
    let before = accept(2, "of before", None);
    let batch = [
        first.clone(),
        before.clone(),
        accept(3, "k", Some("other")),
        accept(4, "k", Some("one")),
        accept(5, "k", None),
        accept(6, "of before", Some("one")),
    ];
    let execution_of = |append: &Append| execution(append);
    let duplicate = |of| AppendOutcome::Duplicate {
        execution: execution_of(of),
    };
    let other = AppendOutcome::OtherPayload {
        execution: execution(&first),
    };
    let wanted = [
        AppendOutcome::Durable,
        AppendOutcome::Durable,
        other,
        duplicate(&first),
        duplicate(&first),
        duplicate(&before),
    ];
    assert_eq!(world.commit(&batch).await, wanted, "within one batch");
    let later = [
        accept(7, "k", Some("other")),
        accept(8, "k", Some("one")),
        accept(9, "of before", Some("other")),
    ];
    let wanted = [other, duplicate(&first), duplicate(&before)];
    assert_eq!(world.commit(&later).await, wanted, "over batches");
    let keys = ["k", "of before", "nobody's"].map(|key| DedupeKey::new("api", key));
    let known = triggers_known(&mut world.read().await, &keys)
        .await
        .unwrap();
    let payload = Some(ContentHash::of(b"one"));
    let run = execution(&first);
    assert_eq!(known[&keys[0]], KnownTrigger { run, payload });
    assert_eq!(known[&keys[1]].payload, None);
    assert_eq!(known.len(), 2);
    let theirs = triggers_known(&mut world.stranger().await, &keys).await;
    assert!(theirs.unwrap().is_empty());
    let its = accepted_payload(&mut world.stranger().await, run).await;
    assert_eq!(its.unwrap(), None, "another org's");
}

/// A repetition that is answered by a look-up, without a commit, counts as a sight of its key like any other.
async fn a_key_that_was_looked_up_is_kept_from_then_on(world: World) {
    const DAY: i64 = 86_400;
    let first = world.accept_at(someone(), at(0), Some("k"));
    let end = world.go_on(&first, 1, &["x"], Some(RunStatus::Completed));
    world.commit(&[first.clone(), end]).await;
    let keys = ["k", "nobody's"].map(|key| DedupeKey::new("api", key));
    let unseen = async |before| {
        let mut tx = world.read().await;
        triggers_last_seen_before(&mut tx, &keys, before)
            .await
            .unwrap()
    };
    assert_eq!(unseen(at(1)).await, keys[..1]);
    let mut tx = world.system().await;
    triggers_seen(&mut tx, world.org, &keys, at(20 * DAY))
        .await
        .unwrap();
    triggers_seen(&mut tx, world.org, &keys, at(5 * DAY))
        .await
        .unwrap();
    triggers_seen(&mut tx, world.other, &keys, at(99 * DAY))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(unseen(at(20 * DAY)).await, []);
    let mut tx = world.system().await;
    let (before, now) = (at(10 * DAY), at(40 * DAY));
    let gone = retention_delete_batch(&mut tx, world.org, before, now, 9).await;
    assert_eq!(gone.unwrap().runs, 1);
    let keys_gone = dedupe_delete_batch(&mut tx, world.org, before, 9).await;
    assert_eq!(keys_gone.unwrap(), 0, "it was seen since");
    tx.commit().await.unwrap();
    let again = world.accept_at(someone(), at(40 * DAY), Some("k"));
    let duplicate = AppendOutcome::Duplicate {
        execution: execution(&first),
    };
    assert_eq!(world.commit(&[again]).await, [duplicate]);
}

/// One text of outside with a zero character must not hold up what is in the batch beside it, nor its own run.
async fn texts_that_cannot_be_stored_hold_up_nothing(world: World) {
    let odd = "a\0b\u{1}\u{fffd}\u{10ffff}";
    let mut accept = world.accept(someone());
    let run = accept.run.as_mut().unwrap();
    let (execution, employee) = (run.execution, run.employee);
    let insert = run.insert.as_mut().unwrap();
    insert.source = odd.into();
    insert.conversation_key = Some(odd.into());
    insert.dedupe = Some(DedupeKey::new(odd, odd));
    run.status = Some(RunStatusChange {
        status: RunStatus::Waiting,
        at: at(1),
        waiting_on: Some(odd.into()),
        error: Some(odd.into()),
    });
    let approval = ApprovalRow {
        org_id: world.org,
        id: crate::domain::ApprovalId::from_uuid(id()),
        run_id: execution,
        employee_id: employee,
        step: odd.into(),
        title: odd.into(),
        arguments: odd.into(),
        arguments_hash: ContentHash::of(b"x"),
        status: ApprovalStatus::Pending,
        asked: at(1),
        expires: None,
        decided: None,
        decided_by: None,
        comment: None,
        asked_by: Some(odd.into()),
        owner_user: Some(odd.into()),
    };
    let close = ApprovalChange::Close {
        id: approval.id,
        status: ApprovalStatus::Denied,
        at: at(2),
        by: Some(odd.into()),
        comment: Some(odd.into()),
    };
    accept.approvals = vec![ApprovalChange::Ask(Box::new(approval.clone())), close];
    accept.waits = vec![WaitChange::Set(Box::new(WaitRow {
        org_id: world.org,
        run_id: execution,
        step: odd.into(),
        employee_id: employee,
        event: odd.into(),
        source: Some(odd.into()),
        matches: "[]".into(),
        since: at(1),
        until: None,
    }))];
    accept.memory = vec![MemoryChange {
        place: MemoryOwner::employee(employee),
        key: odd.into(),
        value: Some(format!("\"{}\"", "x")),
        run: Some(execution),
        step: Some(odd.into()),
        source: odd.into(),
        at: at(1),
    }];
    let beside = world.accept_at(someone(), at(2), Some("fine"));
    let outcomes = world.commit(&[accept, beside]).await;
    assert_eq!(outcomes, [AppendOutcome::Durable; 2]);
    let stored = world.run(execution).await.unwrap();
    assert_eq!(stored.source, odd.replace('\0', "\u{fffd}"));
    let asked = approval_get(&mut world.read().await, approval.id).await;
    assert_eq!(asked.unwrap().unwrap().title, odd.replace('\0', "\u{fffd}"));
}

async fn long_and_odd_keys_stay_keys(world: World) {
    let noise: String = (0..20_000u32)
        .map(|n| char::from_u32(0x4e00 + n.wrapping_mul(2_654_435_761) % 20_000).unwrap())
        .collect();
    for (second, key) in [noise.as_str(), "a\0b", "a\u{fffd}b"]
        .into_iter()
        .enumerate()
    {
        let accept = |second: usize| {
            let mut append = world.accept_at(someone(), at(second as i64 + 1), None);
            let insert = append.run.as_mut().unwrap().insert.as_mut().unwrap();
            insert.dedupe = Some(DedupeKey::new(key, key));
            append
        };
        let first = accept(second * 2);
        let outcomes = world.commit(&[first.clone()]).await;
        assert_eq!(outcomes, [AppendOutcome::Durable], "{second}");
        let again = world.commit(&[accept(second * 2 + 1)]).await;
        let execution = execution(&first);
        assert_eq!(again, [AppendOutcome::Duplicate { execution }], "{second}");
    }
}
