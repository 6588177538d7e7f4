use super::{on_both, world::*};
use crate::{
    domain::{EmployeeId, ExecutionId},
    persistence::*,
};

on_both!(
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
