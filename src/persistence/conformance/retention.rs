use super::{on_both, world::*};
use crate::{
    domain::{ContentHash, EffectId, Timestamp},
    persistence::*,
};

on_both!(
    old_runs_go_with_all_that_is_theirs,
    what_is_needed_stays,
    a_key_that_is_still_seen_is_known_when_its_run_is_gone,
    every_table_has_a_rule,
    what_goes_with_no_run_goes_by_age,
    claims_of_calls_go_when_they_are_nobodys,
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

/// A table that nobody deletes from grows until the disk is full: each needs a rule, or a reason.
async fn every_table_has_a_rule(world: World) {
    let mut tx = world.system_read().await;
    let mut tables: Vec<String> = super::super::tx::on_tx!(tx, |conn| sqlx::query_scalar(
        <DB as super::super::tx::Dialect>::pick(
            "SELECT name FROM sqlite_master WHERE type = 'table'",
            "SELECT c.relname::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
        )
    )
    .fetch_all(conn)
    .await)
    .unwrap();
    // Of the migrations, and SQLite's counter of commits, which is one row.
    tables.retain(|table| {
        ![
            "_sqlx_migrations",
            "commit_counter",
            "sqlite_sequence",
            "sqlite_stat1",
            "sqlite_stat4",
        ]
        .contains(&table.as_str())
    });
    tables.sort();
    let rules: Vec<&str> = RULES.iter().map(|(table, _)| *table).collect();
    assert_eq!(tables, rules, "in the order of names");
    for (table, rule) in RULES {
        if let Retention::AsMany(reason) = rule {
            assert!(!reason.is_empty(), "{table}");
        }
    }
}

/// Deletes all that is from before, two rows at a time.
async fn age(world: &World, org: crate::domain::OrgId, before: Timestamp) {
    loop {
        let mut tx = world.system().await;
        let most = retention_by_age_batch(&mut tx, org, before, 2)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        if most < 2 {
            return;
        }
    }
}

async fn what_goes_with_no_run_goes_by_age(world: World) {
    let schedule = crate::domain::ScheduleId::from_uuid(id());
    let mut append = Append::new(world.org);
    for day in [1, 2, 3, 20, 21] {
        append.fires.push(ScheduleFireRow {
            org_id: world.org,
            schedule_id: schedule,
            due: at(day * DAY - 60),
            outcome: FireOutcome::Fired,
            run_id: None,
            at: at(day * DAY),
            times: 1,
        });
        append.events.push(OrgEventRow {
            at: at(day * DAY),
            ..graph_defined()
        });
        for key in ["often", &format!("once {day}")] {
            append.memory.push(MemoryChange {
                place: MemoryOwner::org(),
                key: key.into(),
                value: Some(day.to_string()),
                run: None,
                step: None,
                source: "api".into(),
                at: at(day * DAY),
            });
        }
    }
    world.commit(&[append]).await;
    // What each key was before each of its five and its one versions, at first nothing.
    assert_eq!(world.count("memory_history").await, 10);
    age(&world, world.other, at(99 * DAY)).await;
    assert_eq!(world.count("org_event").await, 5);
    age(&world, world.org, at(10 * DAY)).await;
    assert_eq!(
        (
            world.count("schedule_fire").await,
            world.count("org_event").await
        ),
        (2, 2)
    );
    assert_eq!(
        world.count("memory_history").await,
        4,
        "what was replaced since then stays: the third and the fourth of one key, and nothing of two"
    );
    assert_eq!(world.count("memory").await, 6, "what is known stays");
}

async fn claims_of_calls_go_when_they_are_nobodys(world: World) {
    use tenure_cluster::Entity;
    let (own, dead) = (world.fence, world.join().await);
    let entity = |kind| Entity { kind, id: id() };
    let (released, held, left) = (entity("proxied"), entity("proxied"), entity("proxied"));
    let employee = entity("employee");
    let mut tx = world.system().await;
    placements_claim(&mut tx, &[released, held, employee], own)
        .await
        .unwrap();
    placements_claim(&mut tx, &[left], dead).await.unwrap();
    placements_release(&mut tx, &[released, employee], own)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    world.bury(dead).await;
    let mut tx = world.system().await;
    for gone in [1, 1, 0] {
        assert_eq!(
            placements_of_calls_delete(&mut tx, "proxied", 1)
                .await
                .unwrap(),
            gone
        );
    }
    let kept = placement_get(&mut tx, held.id, "proxied").await.unwrap();
    assert_eq!(kept.unwrap().node_id, Some(own.node_id));
    let epoch = placement_get(&mut tx, employee.id, "employee")
        .await
        .unwrap();
    assert_eq!(epoch.unwrap().epoch, 1, "an employee's epoch stays");
}
