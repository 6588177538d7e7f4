use super::{employees::schedule, on_both, world::*};
use crate::{
    domain::{ContentHash, EffectId, EmployeeId},
    persistence::*,
};

on_both!(
    effects_go_their_way,
    writes_by_proxy_are_looked_after_without_a_run,
    a_settled_effect_stays,
    fires_are_accounted_for_once
);

fn effect(world: &World, append: &Append, key: &str) -> EffectRow {
    EffectRow {
        org_id: world.org,
        id: EffectId::from_uuid(id()),
        run_id: execution(append),
        step: "1.1.0.1".into(),
        key: key.as_bytes().to_vec(),
        capability: "slack.chat.post".into(),
        integration: "slack".into(),
        connection_id: None,
        args_hash: ContentHash::of(b"args"),
        args: r#"{"text":"hello"}"#.into(),
        idempotency_key: format!("idem-{key}"),
        status: EffectStatus::Intended,
        attempts: 0,
        epoch: 1,
        intended: at(2),
        sent: None,
        settled: None,
        response: None,
        error: None,
        note: None,
        owner_user: None,
    }
}

fn with(world: &World, changes: Vec<EffectChange>) -> Append {
    Append {
        effects: changes,
        ..Append::new(world.org)
    }
}

async fn writes_by_proxy_are_looked_after_without_a_run(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    let of_a_run = effect(&world, &accept, "of a run");
    let proxied = |key: &str, epoch: i64, intended: i64| EffectRow {
        step: "0.0.0.0".into(),
        run_id: crate::domain::ExecutionId::from_uuid(id()),
        epoch,
        intended: at(intended),
        ..effect(&world, &accept, key)
    };
    let (old_life, stuck, busy) = (
        // A life that is none of any node's.
        proxied("old life", i64::MAX, 20),
        proxied("stuck", world.fence.incarnation, 2),
        proxied("busy", world.fence.incarnation, 20),
    );
    let rows = [&of_a_run, &old_life, &stuck, &busy];
    let intend = rows.map(|row| EffectChange::Intend(Box::new(row.clone())));
    world
        .commit(&[accept.clone(), with(&world, intend.to_vec())])
        .await;
    let orphans = async || {
        let mut tx = world.system().await;
        let rows = effects_orphaned(&mut tx, at(10), 10).await.unwrap();
        let mut keys: Vec<_> = rows.into_iter().map(|row| row.idempotency_key).collect();
        keys.sort();
        keys
    };
    assert_eq!(orphans().await, ["idem-old life", "idem-stuck"]);

    let mut done = EffectUpdate::new(stuck.id, EffectStatus::Done);
    done.settled = Some(at(30));
    let mut left = EffectUpdate::new(old_life.id, EffectStatus::Ambiguous);
    left.settled = None;
    let changes = [done, left].map(|update| EffectChange::Update(Box::new(update)));
    world.commit(&[with(&world, changes.to_vec())]).await;
    assert!(orphans().await.is_empty());
    let delete = async |before, org| {
        let mut tx = world.system().await;
        let gone = effects_proxied_delete(&mut tx, org, before, 10)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        gone
    };
    assert_eq!(delete(at(30), world.org).await, 0, "too fresh");
    assert_eq!(delete(at(31), world.other).await, 0, "another org's");
    assert_eq!(delete(at(31), world.org).await, 1);
    let mut tx = world.read().await;
    let kept = effect_list(&mut tx, &EffectFilter::default(), &page(10))
        .await
        .unwrap();
    assert_eq!(kept.items.len(), 3, "ambiguous ones and those of runs stay");
}

async fn effects_go_their_way(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    let (one, two) = (
        effect(&world, &accept, "one"),
        effect(&world, &accept, "two"),
    );
    let twin = effect(&world, &accept, "one");
    let intend = |row: &EffectRow| EffectChange::Intend(Box::new(row.clone()));
    world
        .commit(&[
            accept.clone(),
            with(&world, vec![intend(&one), intend(&two)]),
            with(&world, vec![intend(&twin)]),
        ])
        .await;
    assert_eq!(
        effect_get(&mut world.read().await, twin.id).await.unwrap(),
        None,
        "the key was there"
    );
    assert_eq!(
        effect_find_by_key(&mut world.read().await, b"one")
            .await
            .unwrap(),
        Some(one.clone())
    );

    let mut sent = EffectUpdate::new(one.id, EffectStatus::Sent);
    (sent.attempts, sent.sent, sent.epoch) = (Some(1), Some(at(3)), Some(2));
    let mut done = EffectUpdate::new(one.id, EffectStatus::Done);
    (done.settled, done.response) = (Some(at(4)), Some(r#"{"ok":true}"#.into()));
    let changes = [sent, done]
        .map(|update| EffectChange::Update(Box::new(update)))
        .to_vec();
    world.commit(&[with(&world, changes)]).await;
    let wanted = EffectRow {
        status: EffectStatus::Done,
        attempts: 1,
        epoch: 2,
        sent: Some(at(3)),
        settled: Some(at(4)),
        response: Some(r#"{"ok":true}"#.into()),
        ..one.clone()
    };
    assert_eq!(
        effect_get(&mut world.read().await, one.id).await.unwrap(),
        Some(wanted)
    );

    let cases = [
        (
            EffectFilter {
                run: Some(execution(&accept)),
                ..Default::default()
            },
            vec![one.id, two.id],
        ),
        (
            EffectFilter {
                status: Some(EffectStatus::Intended),
                ..Default::default()
            },
            vec![two.id],
        ),
        (
            EffectFilter {
                status: Some(EffectStatus::Done),
                ..Default::default()
            },
            vec![one.id],
        ),
        (
            EffectFilter {
                integration: Some("gmail".into()),
                ..Default::default()
            },
            vec![],
        ),
    ];
    for (filter, wanted) in cases {
        let found = effect_list(&mut world.read().await, &filter, &page(10))
            .await
            .unwrap();
        assert_eq!(
            found.items.iter().map(|row| row.id).collect::<Vec<_>>(),
            wanted,
            "{filter:?}"
        );
        assert_eq!(
            effect_list(&mut world.stranger().await, &filter, &page(10))
                .await
                .unwrap()
                .items,
            []
        );
    }
    assert_eq!(
        effect_get(&mut world.stranger().await, one.id)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        effect_find_by_key(&mut world.stranger().await, b"one")
            .await
            .unwrap(),
        None
    );
}

async fn a_settled_effect_stays(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    let row = effect(&world, &accept, "one");
    world
        .commit(&[
            accept.clone(),
            with(&world, vec![EffectChange::Intend(Box::new(row.clone()))]),
        ])
        .await;
    let to = |status| {
        with(
            &world,
            vec![EffectChange::Update(Box::new(EffectUpdate::new(
                row.id, status,
            )))],
        )
    };
    // A failed one may be tried again, an ambiguous one reconciled; from there nothing leads on.
    let way = [
        EffectStatus::Failed,
        EffectStatus::Sent,
        EffectStatus::Ambiguous,
        EffectStatus::Reconciled,
        EffectStatus::Sent,
    ];
    let stands = [
        EffectStatus::Failed,
        EffectStatus::Sent,
        EffectStatus::Ambiguous,
        EffectStatus::Reconciled,
        EffectStatus::Reconciled,
    ];
    for (step, wanted) in way.into_iter().zip(stands) {
        world.commit(&[to(step)]).await;
        assert_eq!(
            effect_get(&mut world.read().await, row.id)
                .await
                .unwrap()
                .unwrap()
                .status,
            wanted
        );
    }
}

async fn fires_are_accounted_for_once(world: World) {
    let (clerk, event) = (EmployeeId::from_uuid(id()), graph_defined());
    let schedules = [schedule(&world, clerk, "daily")];
    let mut tx = world.write().await;
    employee_insert(
        &mut tx,
        "clerk",
        &VersionInsert {
            schedules: &schedules,
            ..version(clerk, "{}", &event)
        },
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let id = schedules[0].id;
    let fire = |second, outcome, run_id| ScheduleFireRow {
        org_id: world.org,
        schedule_id: id,
        due: at(second),
        outcome,
        run_id,
        at: at(999),
    };
    let accept = world.accept(clerk);
    let run = Some(execution(&accept));
    let mut fired = accept.clone();
    fired.fires = vec![fire(100, FireOutcome::Fired, run)];
    fired.schedules = vec![ScheduleAdvance {
        id,
        next_due: Some(at(200)),
        last_due: at(100),
        last_run: run,
    }];
    world.commit(&[fired]).await;
    let mut skipped = Append::new(world.org);
    skipped.fires = vec![
        fire(100, FireOutcome::SkippedMisfire, None),
        fire(200, FireOutcome::SkippedOverlap, None),
    ];
    skipped.schedules = vec![
        ScheduleAdvance {
            id,
            next_due: Some(at(300)),
            last_due: at(200),
            last_run: None,
        },
        ScheduleAdvance {
            id,
            next_due: Some(at(300)),
            last_due: at(200),
            last_run: None,
        },
    ];
    world.commit(&[skipped]).await;
    let mut late = Append::new(world.org);
    late.schedules = vec![ScheduleAdvance {
        id,
        next_due: Some(at(200)),
        last_due: at(100),
        last_run: None,
    }];
    world.commit(&[late]).await;

    let row = schedule_get(&mut world.read().await, id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.next_due, row.last_due, row.last_run_id),
        (Some(at(300)), Some(at(200)), run)
    );
    let account = schedule_fires(&mut world.read().await, id, None, 10)
        .await
        .unwrap();
    assert_eq!(
        account,
        [
            fire(200, FireOutcome::SkippedOverlap, None),
            fire(100, FireOutcome::Fired, run)
        ]
    );
    let earlier = schedule_fires(&mut world.read().await, id, Some(at(200)), 10)
        .await
        .unwrap();
    assert_eq!(earlier.len(), 1);
    assert_eq!(
        schedule_fires(&mut world.stranger().await, id, None, 10)
            .await
            .unwrap(),
        []
    );
}
