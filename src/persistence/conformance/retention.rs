use super::{on_both, world::*};
use crate::{
    domain::{ContentHash, EffectId, Timestamp},
    persistence::*,
};

on_both!(
    old_runs_go_with_all_that_is_theirs,
    what_is_needed_stays,
    a_key_that_is_still_seen_is_known_when_its_run_is_gone,
);

const DAY: i64 = 86_400;

async fn sweep(world: &World, before: Timestamp, limit: u32) -> RetentionBatch {
    let mut tx = world.system().await;
    let batch = retention_delete_batch(&mut tx, world.org, before, at(40 * DAY), limit)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    batch
}

fn finished(world: &World, accept: &Append) -> Append {
    world.go_on(accept, 1, &["x"], Some(RunStatus::Completed))
}

async fn old_runs_go_with_all_that_is_theirs(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let runs: Vec<Append> = (0..3)
        .map(|place| {
            let mut append = world.accept_at(clerk, at(place), Some(&format!("k{place}")));
            let owner = execution(&append).uuid();
            append.blobs = vec![blob(owner, &format!("own {place}")), blob(owner, "shared")];
            append.timers = vec![TimerChange::Set {
                owner,
                key: "t".into(),
                employee: clerk,
                due: at(9),
            }];
            append
        })
        .collect();
    let ends: Vec<Append> = runs.iter().map(|run| finished(&world, run)).collect();
    world.commit(&[runs.clone(), ends].concat()).await;
    let open = world.accept_at(clerk, at(0), None);
    let fresh = world.accept_at(clerk, at(30 * DAY), None);
    world
        .commit(&[open.clone(), fresh.clone(), finished(&world, &fresh)])
        .await;

    assert_eq!(
        sweep(&world, at(10), 10).await,
        RetentionBatch::default(),
        "they were finished after that"
    );
    assert_eq!(
        sweep(&world, at(DAY), 2).await,
        RetentionBatch { runs: 2, blobs: 2 }
    );
    assert_eq!(
        sweep(&world, at(DAY), 2).await,
        RetentionBatch { runs: 1, blobs: 2 }
    );
    assert_eq!(sweep(&world, at(DAY), 2).await, RetentionBatch::default());
    for gone in &runs {
        assert_eq!(world.run(execution(gone)).await, None);
        assert_eq!(world.facts(execution(gone)).await, []);
    }
    for kept in [&open, &fresh] {
        assert!(world.run(execution(kept)).await.is_some());
    }
    assert_eq!(
        (
            world.count("dedupe").await,
            world.count("timer").await,
            world.count("journal").await
        ),
        (0, 0, 2)
    );
    assert_eq!(
        (world.count("blob").await, world.count("blob_ref").await),
        (1, 1),
        "the employee's spec stays"
    );
    let mut tx = world.system().await;
    let theirs = retention_delete_batch(&mut tx, world.other, at(99 * DAY), at(99 * DAY), 10)
        .await
        .unwrap();
    assert_eq!(theirs, RetentionBatch::default());
}

/// A client that sends the same key each day, for a hundred days: one run, also when that is long deleted.
async fn a_key_that_is_still_seen_is_known_when_its_run_is_gone(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let first = world.accept_at(clerk, at(DAY), Some("k"));
    world
        .commit(&[first.clone(), finished(&world, &first)])
        .await;
    let duplicate = AppendOutcome::Duplicate {
        execution: execution(&first),
    };
    let day_ends = async |today: i64| {
        let before = at((today - 30) * DAY);
        let runs = sweep(&world, before, 9).await.runs;
        let mut tx = world.system().await;
        let keys = dedupe_delete_batch(&mut tx, world.org, before, 9).await;
        tx.commit().await.unwrap();
        (runs, keys.unwrap())
    };
    let mut deleted = 0;
    for day in 2..100 {
        let again = world.accept_at(clerk, at(day * DAY), Some("k"));
        assert_eq!(world.commit(&[again]).await, [duplicate], "day {day}");
        let (runs, keys) = day_ends(day).await;
        deleted += runs;
        assert_eq!(keys, 0, "day {day}");
    }
    assert_eq!((deleted, world.count("dedupe").await), (1, 1));
    let mut tx = world.system().await;
    let theirs = dedupe_delete_batch(&mut tx, world.other, at(999 * DAY), 9).await;
    assert_eq!(theirs.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(day_ends(129).await, (0, 0));
    assert_eq!(
        day_ends(130).await,
        (0, 1),
        "thirty days after its last sight"
    );
    let fresh = world.accept_at(clerk, at(130 * DAY), Some("k"));
    assert_eq!(world.commit(&[fresh]).await, [AppendOutcome::Durable]);
}

async fn what_is_needed_stays(world: World) {
    let clerk = world.hire("clerk", "{}").await;
    let mut old = world.accept_at(clerk, at(1), None);
    let mut open = world.accept_at(clerk, at(1), None);
    for append in [&mut old, &mut open] {
        let owner = execution(append).uuid();
        append.blobs = vec![blob(owner, "shared"), blob(owner, &format!("of {owner}"))];
    }
    let unsure = world.accept_at(clerk, at(1), None);
    let mut effects = Append::new(world.org);
    effects.effects = vec![EffectChange::Intend(Box::new(EffectRow {
        org_id: world.org,
        id: EffectId::from_uuid(id()),
        run_id: execution(&unsure),
        step: "0".into(),
        key: b"k".to_vec(),
        capability: "gmail.send".into(),
        integration: "gmail".into(),
        connection_id: None,
        args_hash: ContentHash::of(b""),
        args: "{}".into(),
        idempotency_key: "i".into(),
        status: EffectStatus::Ambiguous,
        attempts: 1,
        epoch: 1,
        intended: at(1),
        sent: None,
        settled: None,
        response: None,
        error: None,
        note: None,
        owner_user: None,
    }))];
    world
        .commit(&[
            old.clone(),
            open.clone(),
            unsure.clone(),
            finished(&world, &old),
            finished(&world, &unsure),
            effects,
        ])
        .await;
    assert_eq!(
        sweep(&world, at(DAY), 10).await,
        RetentionBatch { runs: 1, blobs: 1 }
    );
    assert!(
        world.run(execution(&unsure)).await.is_some(),
        "somebody has to say what became of its effect"
    );
    assert!(
        blob_get(&mut world.read().await, ContentHash::of(b"shared"))
            .await
            .unwrap()
            .is_some()
    );
    let bundles = activation_load(&mut world.system_read().await, &[clerk], |_| false)
        .await
        .unwrap();
    assert_eq!(bundles[0].open_runs[0].blobs.len(), 2);
}
