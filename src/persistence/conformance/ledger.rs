use super::{employees::schedule, on_both, world::*};
use crate::{
    domain::{ContentHash, EffectId, EmployeeId},
    persistence::*,
};

on_both!(
    effects_go_their_way,
    effects_are_looked_after_when_nobody_takes_them_up,
    a_change_says_whether_it_found_its_row,
    two_changes_of_one_effect_are_held_against_each_other,
    an_intention_of_a_run_is_not_written_without_it,
    what_did_not_happen_after_all_is_as_if_it_had_never_left,
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

async fn effects_are_looked_after_when_nobody_takes_them_up(world: World) {
    let going_on = world.accept(EmployeeId::from_uuid(id()));
    let over = world.accept(EmployeeId::from_uuid(id()));
    let life = world.fence.incarnation;
    let row = |key: &str, step: &str, run, epoch, intended| EffectRow {
        step: step.into(),
        run_id: run,
        epoch,
        intended: at(intended),
        ..effect(&world, &going_on, key)
    };
    let new_run = || crate::domain::ExecutionId::from_uuid(id());
    let proxied = |key: &str, epoch, intended| row(key, "0.0.0.0", new_run(), epoch, intended);
    let (going, ended) = (execution(&going_on), execution(&over));
    let rows = [
        row("goes on", "1.1.0.1", going, life, 2),
        row("over", "1.1.0.1", ended, life, 2),
        row("just over", "1.1.0.1", ended, life, 9),
        // Its run was never accepted.
        row("taken back", "1.1.0.1", new_run(), life, 2),
        row("taken back just now", "1.1.0.1", new_run(), life, 20),
        // A life that is none of any node's.
        proxied("old life", i64::MAX, 20),
        proxied("stuck", life, 2),
        proxied("busy", life, 20),
        // Told by somebody who sends again what was not sent, whichever life began it.
        row("told", "0.0.2.0", new_run(), i64::MAX, 20),
    ];
    let intend = rows.clone().map(|row| EffectChange::Intend(Box::new(row)));
    world
        .commit(&[
            going_on.clone(),
            over.clone(),
            with(&world, intend.to_vec()),
        ])
        .await;
    let end = world.go_on(&over, 1, &["end"], Some(RunStatus::Cancelled));
    world.commit(&[end]).await;
    let left_alone = async |page: u32| {
        let since = LeftAlone {
            run_over: at(5),
            without_run: at(10),
        };
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let mut tx = world.system().await;
            let rows = effects_left_alone(&mut tx, since, after, page)
                .await
                .unwrap();
            let Some(last) = rows.last() else { break };
            after = Some((last.org_id, last.id));
            keys.extend(rows.into_iter().map(|row| row.idempotency_key));
        }
        keys.sort();
        keys
    };
    let wanted = [
        "idem-old life",
        "idem-over",
        "idem-stuck",
        "idem-taken back",
    ];
    for page in [1, 2, 3, 100] {
        assert_eq!(left_alone(page).await, wanted, "{page} a page");
    }
    // One that was touched since is left to whoever touched it.
    let mut touched = EffectUpdate::new(rows[6].id, EffectStatus::Sent);
    (touched.attempts, touched.at) = (Some(1), Some(at(15)));
    let mut done = EffectUpdate::new(rows[1].id, EffectStatus::Done);
    done.settled = Some(at(30));
    let unknown = EffectUpdate::new(rows[5].id, EffectStatus::Ambiguous);
    let changes = [touched, done, unknown].map(|update| EffectChange::Update(Box::new(update)));
    world.commit(&[with(&world, changes.to_vec())]).await;
    assert_eq!(left_alone(10).await, ["idem-taken back"]);

    let mut done = EffectUpdate::new(rows[6].id, EffectStatus::Done);
    done.settled = Some(at(30));
    let done = EffectChange::Update(Box::new(done));
    world.commit(&[with(&world, vec![done])]).await;
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
    assert_eq!(kept.items.len(), 8, "ambiguous ones and those of runs stay");
}

/// From each state to each: the writer does what it says, and says what it did.
async fn a_change_says_whether_it_found_its_row(world: World) {
    use EffectStatus::{Ambiguous, Done, Failed, Intended, Reconciled, Sent};
    let accept = world.accept(EmployeeId::from_uuid(id()));
    world.commit(std::slice::from_ref(&accept)).await;
    let leads_on = [
        (Intended, Sent),
        (Intended, Done),
        (Intended, Failed),
        (Intended, Ambiguous),
        (Intended, Reconciled),
        (Sent, Intended),
        (Sent, Done),
        (Sent, Failed),
        (Sent, Ambiguous),
        (Sent, Reconciled),
        (Failed, Sent),
        (Failed, Done),
        (Failed, Failed),
        (Failed, Reconciled),
        (Ambiguous, Done),
        (Ambiguous, Ambiguous),
        (Ambiguous, Reconciled),
    ];
    for from in EffectStatus::ALL {
        for to in EffectStatus::ALL {
            let row = EffectRow {
                status: *from,
                attempts: 1,
                ..effect(&world, &accept, &format!("{from:?} {to:?}"))
            };
            let change = |epoch, attempts| {
                let mut update = EffectUpdate::new(row.id, *to);
                (update.epoch, update.attempts) = (Some(epoch), Some(attempts));
                (
                    update.receipt.clone(),
                    EffectChange::Update(Box::new(update)),
                )
            };
            let intend = EffectChange::Intend(Box::new(row.clone()));
            let (receipt, update) = change(2, 1);
            assert_eq!(receipt.read(), Hit::NoRow, "nothing is durable");
            world.commit(&[with(&world, vec![intend])]).await;
            world.commit(&[with(&world, vec![update])]).await;
            let wanted = match leads_on.contains(&(*from, *to)) {
                true => Hit::Row,
                false => Hit::NoRow,
            };
            assert_eq!(receipt.read(), wanted, "{from:?} to {to:?}");
            let stands = effect_get(&mut world.read().await, row.id).await.unwrap();
            let stands = stands.unwrap().status;
            let expected = if wanted == Hit::Row { *to } else { *from };
            assert_eq!(stands, expected, "{from:?} to {to:?}");
            if wanted == Hit::Row {
                // Its commit was made and its answer lost: the same again finds it.
                let (receipt, update) = change(2, 1);
                world.commit(&[with(&world, vec![update])]).await;
                assert_eq!(receipt.read(), Hit::Row, "{from:?} to {to:?} again");
            }
        }
    }
    // Two nodes that both believe that the first sending is theirs: one of them sends.
    let row = effect(&world, &accept, "two lives");
    let intend = EffectChange::Intend(Box::new(row.clone()));
    world.commit(&[with(&world, vec![intend])]).await;
    let mut hits = Vec::new();
    for (epoch, attempts) in [(1, 1), (2, 1), (1, 1), (2, 2), (1, 2)] {
        let mut sent = EffectUpdate::new(row.id, EffectStatus::Sent);
        (sent.epoch, sent.attempts) = (Some(epoch), Some(attempts));
        let receipt = sent.receipt.clone();
        let sent = EffectChange::Update(Box::new(sent));
        world.commit(&[with(&world, vec![sent])]).await;
        hits.push(receipt.read() == Hit::Row);
    }
    assert_eq!(hits, [true, false, true, true, false]);
}

/// Within one batch as over several.
async fn two_changes_of_one_effect_are_held_against_each_other(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    let row = EffectRow {
        status: EffectStatus::Sent,
        attempts: 1,
        ..effect(&world, &accept, "one")
    };
    let intend = EffectChange::Intend(Box::new(row.clone()));
    let mut receipts = Vec::new();
    let mut changes = vec![intend];
    for status in [
        EffectStatus::Intended,
        EffectStatus::Sent,
        EffectStatus::Done,
        EffectStatus::Ambiguous,
        EffectStatus::Sent,
    ] {
        let mut update = EffectUpdate::new(row.id, status);
        (update.epoch, update.attempts) = (Some(1), Some(1));
        receipts.push(update.receipt.clone());
        changes.push(EffectChange::Update(Box::new(update)));
    }
    world.commit(&[accept, with(&world, changes)]).await;
    let hits: Vec<bool> = receipts
        .iter()
        .map(|receipt| receipt.read() == Hit::Row)
        .collect();
    assert_eq!(hits, [true, true, true, false, false]);
    let stands = effect_get(&mut world.read().await, row.id).await.unwrap();
    assert_eq!(stands.unwrap().status, EffectStatus::Done);
}

async fn an_intention_of_a_run_is_not_written_without_it(world: World) {
    let (accept, never) = (
        world.accept(EmployeeId::from_uuid(id())),
        world.accept(EmployeeId::from_uuid(id())),
    );
    let begin = |row: EffectRow, of_run| {
        let receipt = Receipt::default();
        let intention = Intention {
            row,
            of_run,
            receipt: receipt.clone(),
        };
        (receipt, EffectChange::Begin(Box::new(intention)))
    };
    let rows = [
        // Its run is accepted in the same transaction.
        begin(effect(&world, &accept, "accepted"), true),
        begin(effect(&world, &never, "taken back"), true),
        begin(effect(&world, &never, "by proxy"), false),
        begin(effect(&world, &accept, "accepted"), true),
    ];
    let (receipts, changes): (Vec<Receipt>, Vec<EffectChange>) = rows.into_iter().unzip();
    world.commit(&[accept, with(&world, changes)]).await;
    let hits: Vec<bool> = receipts
        .iter()
        .map(|receipt| receipt.read() == Hit::Row)
        .collect();
    assert_eq!(hits[1..3], [false, true]);
    assert_ne!(hits[0], hits[3], "one of two with the same key");
    let kept = effect_list(&mut world.read().await, &EffectFilter::default(), &page(10))
        .await
        .unwrap();
    let mut keys: Vec<_> = kept
        .items
        .iter()
        .map(|row| &row.idempotency_key[..])
        .collect();
    keys.sort_unstable();
    assert_eq!(keys, ["idem-accepted", "idem-by proxy"]);
}

/// When it left counts for what may have happened: for how long the provider knows its key, and for how long nobody has settled it.
async fn what_did_not_happen_after_all_is_as_if_it_had_never_left(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    let row = effect(&world, &accept, "one");
    let intend = EffectChange::Intend(Box::new(row.clone()));
    world.commit(&[accept, with(&world, vec![intend])]).await;
    let to = async |status, edit: fn(&mut EffectUpdate)| {
        let mut update = EffectUpdate::new(row.id, status);
        edit(&mut update);
        let update = EffectChange::Update(Box::new(update));
        world.commit(&[with(&world, vec![update])]).await;
        let row = effect_get(&mut world.read().await, row.id).await.unwrap();
        let row = row.unwrap();
        (row.sent, row.settled, row.error)
    };
    let sent = to(EffectStatus::Sent, |one| one.sent = Some(at(3))).await;
    assert_eq!(sent, (Some(at(3)), None, None));
    let again = to(EffectStatus::Intended, |_| {}).await;
    assert_eq!(again, (None, None, None));
    let failed = to(EffectStatus::Failed, |one| {
        one.settled = Some(at(4));
        one.error = Some("{}".into());
    })
    .await;
    assert_eq!(failed, (None, Some(at(4)), Some("{}".into())));
    let sent = to(EffectStatus::Sent, |one| one.sent = Some(at(5))).await;
    assert_eq!(
        sent,
        (Some(at(5)), None, None),
        "it is not settled any more"
    );
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
        times: 1,
    };
    let accept = world.accept(clerk);
    let run = Some(execution(&accept));
    let mut fired = accept.clone();
    fired.fires = vec![fire(100, FireOutcome::Fired, run)];
    fired.schedules = vec![ScheduleAdvance {
        id,
        was_due: at(100),
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
            was_due: at(200),
            next_due: Some(at(300)),
            last_due: at(200),
            last_run: None,
        },
        ScheduleAdvance {
            id,
            was_due: at(200),
            next_due: Some(at(300)),
            last_due: at(200),
            last_run: None,
        },
    ];
    world.commit(&[skipped]).await;
    let mut late = Append::new(world.org);
    late.schedules = vec![ScheduleAdvance {
        id,
        was_due: at(100),
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
