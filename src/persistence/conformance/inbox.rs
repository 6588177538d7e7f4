use super::{on_both, world::*};
use crate::{
    domain::{ApprovalId, ContentHash, EmployeeId, InboxId, OrgId, Role, SourceId, Timestamp},
    persistence::*,
};
use std::sync::Arc;

on_both!(
    an_event_is_received_once_and_counted,
    deliveries_at_once_are_one_event,
    a_batch_that_is_tried_again_finds_its_own_events,
    events_are_settled_once_and_given_again,
    the_inbox_is_searched,
    old_events_are_deleted_but_for_pending_ones,
    an_event_that_is_still_seen_is_known_however_old_it_is,
    pending_events_are_in_the_order_of_their_commits,
    an_event_that_could_not_be_read_is_read_again,
    sources_are_due_and_move_on,
    people_are_replaced_as_a_whole,
    notices_follow_their_approvals,
    questions_about_a_users_own_account_are_theirs,
);

fn event(org: OrgId, external_id: &str, at: Timestamp) -> InboxRow {
    InboxRow {
        org_id: org,
        id: InboxId::from_uuid(id_at(at)),
        source: "hook:slack/main-1".into(),
        scheme: "slack".into(),
        external_id: external_id.into(),
        kind: Some("message".into()),
        conversation_key: Some("slack:T1:C1:1.5".into()),
        received: at,
        headers: r#"{"user-agent":"Slackbot 1.0"}"#.into(),
        payload: r#"{"text":"Where is Invoice 1042?"}"#.into(),
        verdict: InboxVerdict::Pending,
        detail: None,
        triggered: "[]".into(),
        deliveries: 1,
        last: at,
        replays: 0,
    }
}

fn receive(row: &InboxRow) -> Append {
    let mut append = Append::new(row.org_id);
    append
        .inbox
        .push(InboxChange::Receive(Arc::new(row.clone())));
    append
}

fn settle(row: &InboxRow, verdict: InboxVerdict, triggered: &str) -> Append {
    let mut append = Append::new(row.org_id);
    append.inbox.push(InboxChange::Settle(InboxSettle {
        id: row.id,
        verdict,
        detail: Some("said".into()),
        triggered: triggered.into(),
    }));
    append
}

async fn stored(world: &World, row: &InboxRow) -> Option<InboxRow> {
    inbox_get(&mut world.read().await, row.id).await.unwrap()
}

async fn an_event_is_received_once_and_counted(world: World) {
    let (first, again) = (event(world.org, "e1", at(1)), event(world.org, "e1", at(2)));
    let theirs = event(world.other, "e1", at(3));
    let other_source = InboxRow {
        source: "poll:mail".into(),
        ..event(world.org, "e1", at(4))
    };
    // The same event twice in one batch, and the same name elsewhere.
    let batch = [&first, &again, &theirs, &other_source].map(receive);
    let known = AppendOutcome::Known { entry: first.id };
    assert_eq!(
        world.commit(&batch).await,
        [
            AppendOutcome::Durable,
            known,
            AppendOutcome::Durable,
            AppendOutcome::Durable
        ]
    );
    let later = event(world.org, "e1", at(9));
    assert_eq!(world.commit(&[receive(&later)]).await, [known]);
    let expected = InboxRow {
        deliveries: 3,
        last: at(9),
        ..first.clone()
    };
    assert_eq!(stored(&world, &first).await, Some(expected));
    assert_eq!(stored(&world, &again).await, None);
    let mut stranger = world.stranger().await;
    assert_eq!(inbox_get(&mut stranger, first.id).await.unwrap(), None);
    assert_eq!(inbox_reopen(&mut stranger, first.id).await.unwrap(), None);
    let found = inbox_list(&mut stranger, &InboxFilter::default(), &page(10)).await;
    let found = found.unwrap().items;
    assert_eq!(
        found.iter().map(|row| row.id).collect::<Vec<_>>(),
        [theirs.id]
    );
}

/// Two transactions with the same event: one of them has it.
async fn deliveries_at_once_are_one_event(world: World) {
    for round in 0..10 {
        let rows: Vec<InboxRow> = (0..4)
            .map(|_| event(world.org, &format!("e{round}"), at(1)))
            .collect();
        let commits = rows.iter().map(|row| {
            let (db, fence, append) = (world.db.clone(), world.fence, receive(row));
            tokio::spawn(async move { commit(&db, fence, &[append]).await.unwrap()[0] })
        });
        let outcomes = futures::future::join_all(commits).await;
        let outcomes: Vec<AppendOutcome> = outcomes.into_iter().map(Result::unwrap).collect();
        let firsts: Vec<InboxId> = rows
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| **outcome == AppendOutcome::Durable)
            .map(|(row, _)| row.id)
            .collect();
        assert_eq!(firsts.len(), 1, "{outcomes:?}");
        let known = AppendOutcome::Known { entry: firsts[0] };
        assert_eq!(outcomes.iter().filter(|one| **one == known).count(), 3);
    }
    assert_eq!(world.count("inbox").await, 10);
}

async fn a_batch_that_is_tried_again_finds_its_own_events(world: World) {
    let row = event(world.org, "e1", at(1));
    for _ in 0..2 {
        assert_eq!(
            world.commit(&[receive(&row)]).await,
            [AppendOutcome::Durable]
        );
    }
    assert_eq!(stored(&world, &row).await, Some(row), "and counts nothing");
}

async fn events_are_settled_once_and_given_again(world: World) {
    let (row, other) = (event(world.org, "e1", at(1)), event(world.org, "e2", at(2)));
    world.commit(&[receive(&row), receive(&other)]).await;
    let pages = |after| {
        let world = &world;
        async move {
            let mut tx = world.system_read().await;
            inbox_pending(&mut tx, world.org, after, 10).await.unwrap()
        }
    };
    let pending = |_: ()| {
        let pages = pages(None);
        async move { pages.await.iter().map(|row| row.id).collect::<Vec<_>>() }
    };
    assert_eq!(pending(()).await, [row.id, other.id]);
    let first = pages(None).await.remove(0);
    let rest = pages(Some((first.arrival, first.id))).await;
    assert_eq!(
        rest.iter().map(|row| row.id).collect::<Vec<_>>(),
        [other.id]
    );
    world
        .commit(&[
            settle(&row, InboxVerdict::Accepted, "[1]"),
            settle(&other, InboxVerdict::Filtered, "[]"),
        ])
        .await;
    world
        .commit(&[settle(&row, InboxVerdict::Refused, "[2]")])
        .await;
    let settled = InboxRow {
        verdict: InboxVerdict::Accepted,
        detail: Some("said".into()),
        triggered: "[1]".into(),
        ..row.clone()
    };
    assert_eq!(
        stored(&world, &row).await,
        Some(settled.clone()),
        "the first word counts"
    );
    assert_eq!(pending(()).await, []);

    let mut tx = world.write().await;
    let again = inbox_reopen(&mut tx, row.id).await.unwrap();
    let reopened = InboxRow {
        verdict: InboxVerdict::Pending,
        detail: None,
        replays: 1,
        ..settled
    };
    assert_eq!(again, Some(reopened));
    assert_eq!(
        inbox_reopen(&mut tx, row.id).await.unwrap(),
        None,
        "it is pending"
    );
    tx.commit().await.unwrap();
    assert_eq!(pending(()).await, [row.id]);
    world
        .commit(&[settle(&row, InboxVerdict::Accepted, "[1,2]")])
        .await;
    let after = stored(&world, &row).await.unwrap();
    assert_eq!((after.replays, after.triggered.as_str()), (1, "[1,2]"));

    let refused = InboxRow {
        verdict: InboxVerdict::BadSignature,
        ..event(world.org, "refused:1", at(3))
    };
    world.commit(&[receive(&refused)]).await;
    let mut tx = world.write().await;
    assert_eq!(inbox_reopen(&mut tx, refused.id).await.unwrap(), None);
}

/// Names and conversations as clocks that differ make them: the order is that of the commits.
async fn pending_events_are_in_the_order_of_their_commits(world: World) {
    let talk = |external_id: &str, second: i64| InboxRow {
        conversation_key: Some("talk".into()),
        ..event(world.org, external_id, at(second))
    };
    // The first was taken by a node whose clock is an hour ahead.
    let rows = [talk("e1", 3_600), talk("e2", 1), talk("e3", 2)];
    for row in &rows {
        world.commit(&[receive(row)]).await;
    }
    let other = InboxRow {
        conversation_key: Some("other".into()),
        ..event(world.org, "o1", at(5))
    };
    let alone = InboxRow {
        conversation_key: None,
        payload: format!("\"{}\"", "x".repeat(100)),
        ..event(world.org, "a1", at(6))
    };
    let theirs = event(world.other, "t1", at(7));
    world.commit(&[&other, &alone, &theirs].map(receive)).await;
    let mut tx = world.system_read().await;
    let mut orgs = [world.org, world.other];
    orgs.sort();
    assert_eq!(inbox_orgs_pending(&mut tx, None, 9).await.unwrap(), orgs);
    assert_eq!(
        inbox_orgs_pending(&mut tx, None, 1).await.unwrap(),
        orgs[..1]
    );
    let after = inbox_orgs_pending(&mut tx, Some(orgs[0]), 9).await.unwrap();
    assert_eq!(after, orgs[1..]);
    let pending = inbox_pending(&mut tx, world.org, None, 3).await.unwrap();
    let ids: Vec<InboxId> = pending.iter().map(|event| event.id).collect();
    assert_eq!(ids, rows.each_ref().map(|row| row.id));
    let firsts = inbox_firsts(&mut tx, world.org, &["talk", "none", "other"]).await;
    assert_eq!(firsts.unwrap(), [rows[0].id, other.id]);
    let none = inbox_firsts(&mut tx, world.org, &[]).await;
    assert_eq!(none.unwrap(), []);
    let wanted = [rows[0].id, alone.id, theirs.id];
    let mut briefs = inbox_briefs(&mut tx, world.org, &wanted, 50).await.unwrap();
    briefs.sort_by_key(|brief| brief.size);
    assert_eq!(briefs.len(), 2, "another org's is none");
    assert_eq!(briefs[0].row, rows[0]);
    assert_eq!((briefs[1].row.payload.as_str(), briefs[1].size), ("", 102));
    drop(tx);
    // What is settled lets the next one forward.
    world
        .commit(&[settle(&rows[0], InboxVerdict::Accepted, "[]")])
        .await;
    let mut tx = world.system_read().await;
    let firsts = inbox_firsts(&mut tx, world.org, &["talk"]).await;
    assert_eq!(firsts.unwrap(), [rows[1].id]);
    let place = inbox_place(&mut world.read().await, rows[1].id).await;
    assert_eq!(place.unwrap(), Some(Some("talk".into())));
    let place = inbox_place(&mut world.read().await, alone.id).await;
    assert_eq!(place.unwrap(), Some(None));
    let place = inbox_place(&mut world.stranger().await, alone.id).await;
    assert_eq!(place.unwrap(), None);
}

async fn an_event_that_could_not_be_read_is_read_again(world: World) {
    let row = InboxRow {
        verdict: InboxVerdict::Unreadable,
        detail: Some("no".into()),
        kind: None,
        conversation_key: None,
        ..event(world.org, "unreadable:e1", at(1))
    };
    world.commit(&[receive(&row)]).await;
    let mut tx = world.write().await;
    assert_eq!(inbox_reopen(&mut tx, row.id).await.unwrap(), None);
    let still = InboxReading {
        verdict: InboxVerdict::Unreadable,
        detail: Some("not yet".into()),
        kind: None,
        conversation_key: None,
        payload: None,
    };
    let now = inbox_reread(&mut tx, row.id, &still)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((now.replays, &now.payload), (1, &row.payload));
    let read = InboxReading {
        verdict: InboxVerdict::Pending,
        detail: None,
        kind: Some("push".into()),
        conversation_key: Some("talk".into()),
        payload: Some(r#"{"n":1}"#.into()),
    };
    let now = inbox_reread(&mut tx, row.id, &read).await.unwrap().unwrap();
    assert_eq!(
        (
            now.verdict,
            now.detail,
            now.kind.as_deref(),
            now.payload.as_str(),
            now.replays
        ),
        (InboxVerdict::Pending, None, Some("push"), r#"{"n":1}"#, 2)
    );
    assert_eq!(
        inbox_reread(&mut tx, row.id, &read).await.unwrap(),
        None,
        "it was read"
    );
    tx.commit().await.unwrap();
    let mut tx = world.system_read().await;
    assert_eq!(
        inbox_firsts(&mut tx, world.org, &["talk"]).await.unwrap(),
        [row.id]
    );
}

async fn the_inbox_is_searched(world: World) {
    let base = |n: i64| event(world.org, &format!("e{n}"), at(n));
    let rows = [
        base(1),
        InboxRow {
            kind: Some("app_mention".into()),
            ..base(2)
        },
        InboxRow {
            source: "poll:mail".into(),
            payload: r#"{"subject":"Zürich % _"}"#.into(),
            ..base(3)
        },
        InboxRow {
            verdict: InboxVerdict::OwnMessage,
            conversation_key: None,
            ..base(4)
        },
        InboxRow {
            deliveries: 2,
            headers: r#"{"user-agent":"odd"}"#.into(),
            ..base(5)
        },
    ];
    world.commit(&rows.each_ref().map(receive)).await;
    let all = InboxFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let cases: [(InboxFilter, &[i64]); 14] = [
        (all(), &[5, 4, 3, 2, 1]),
        (
            InboxFilter {
                kind: text("app_mention"),
                ..all()
            },
            &[2],
        ),
        (
            InboxFilter {
                source: text("hook:slack/main-1"),
                ..all()
            },
            &[5, 4, 2, 1],
        ),
        (
            InboxFilter {
                source: text("poll:*"),
                ..all()
            },
            &[3],
        ),
        (
            InboxFilter {
                source: text("poll"),
                ..all()
            },
            &[],
        ),
        (
            InboxFilter {
                verdict: Some(InboxVerdict::OwnMessage),
                ..all()
            },
            &[4],
        ),
        (
            InboxFilter {
                duplicate: true,
                ..all()
            },
            &[5],
        ),
        (
            InboxFilter {
                replayed: true,
                ..all()
            },
            &[],
        ),
        (
            InboxFilter {
                conversation_key: text("slack:T1:C1:1.5"),
                ..all()
            },
            &[5, 3, 2, 1],
        ),
        (
            InboxFilter {
                search: text("invoice 1042"),
                ..all()
            },
            &[5, 4, 2, 1],
        ),
        (
            InboxFilter {
                search: text("Zürich % _"),
                ..all()
            },
            &[3],
        ),
        (
            InboxFilter {
                search: text("ODD"),
                ..all()
            },
            &[5],
        ),
        (
            InboxFilter {
                search: text("e4"),
                ..all()
            },
            &[4],
        ),
        (
            InboxFilter {
                since: Some(at(2)),
                until: Some(at(4)),
                ..all()
            },
            &[3, 2],
        ),
    ];
    for (filter, expected) in cases {
        let mut found = Vec::new();
        let mut request = page(2);
        loop {
            let part = inbox_list(&mut world.read().await, &filter, &request)
                .await
                .unwrap();
            found.extend(
                part.items
                    .iter()
                    .map(|row| (row.received.micros() - at(0).micros()) / 1_000_000),
            );
            match part.next {
                Some(_) => request = next(2, &part),
                None => break,
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
}

async fn old_events_are_deleted_but_for_pending_ones(world: World) {
    let rows: Vec<InboxRow> = (1..=4)
        .map(|n| event(world.org, &format!("e{n}"), at(n * 10)))
        .collect();
    let theirs = event(world.other, "e1", at(1));
    let all: Vec<Append> = rows.iter().chain([&theirs]).map(receive).collect();
    world.commit(&all).await;
    let settled: Vec<Append> = [&rows[0], &rows[2], &rows[3], &theirs]
        .map(|row| settle(row, InboxVerdict::Accepted, "[]"))
        .to_vec();
    world.commit(&settled).await;
    let mut tx = world.system().await;
    assert_eq!(
        inbox_delete_batch(&mut tx, world.org, at(35), 1)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        inbox_delete_batch(&mut tx, world.org, at(35), 9)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        inbox_delete_batch(&mut tx, world.org, at(35), 9)
            .await
            .unwrap(),
        0
    );
    tx.commit().await.unwrap();
    let left = inbox_list(&mut world.read().await, &InboxFilter::default(), &page(9)).await;
    let left: Vec<InboxId> = left.unwrap().items.iter().map(|row| row.id).collect();
    assert_eq!(left, [rows[3].id, rows[1].id]);
    assert_eq!(world.count("inbox").await, 3);
}

/// An item that a source shows at each poll, for a hundred days: one row, until it was not seen for as long as things are kept.
async fn an_event_that_is_still_seen_is_known_however_old_it_is(world: World) {
    const DAY: i64 = 86_400;
    let first = event(world.org, "item-1", at(DAY));
    world.commit(&[receive(&first)]).await;
    world
        .commit(&[settle(&first, InboxVerdict::Accepted, "[]")])
        .await;
    let known = AppendOutcome::Known { entry: first.id };
    let sweep = async |today: i64| {
        let mut tx = world.system().await;
        let before = at((today - 30) * DAY);
        let gone = inbox_delete_batch(&mut tx, world.org, before, 9).await;
        tx.commit().await.unwrap();
        gone.unwrap()
    };
    for day in 2..100 {
        let seen = event(world.org, "item-1", at(day * DAY));
        assert_eq!(world.commit(&[receive(&seen)]).await, [known], "day {day}");
        assert_eq!(sweep(day).await, 0, "day {day}");
    }
    // A delivery that comes late does not make it older.
    let late = event(world.org, "item-1", at(2 * DAY));
    assert_eq!(world.commit(&[receive(&late)]).await, [known]);
    assert_eq!(stored(&world, &first).await.unwrap().last, at(99 * DAY));
    assert_eq!(sweep(129).await, 0);
    assert_eq!(sweep(130).await, 1, "thirty days after its last sight");
}

async fn sources_are_due_and_move_on(world: World) {
    let source = |name: &str, due: i64| PollSourceRow {
        org_id: world.org,
        id: SourceId::from_uuid(id()),
        name: name.into(),
        capability: "gmail.search".into(),
        connection: None,
        arguments: "{}".into(),
        rule: "{}".into(),
        every_us: 60_000_000,
        status: PollStatus::Active,
        cursor: Some("0".into()),
        next_due: at(due),
        last: None,
        error: None,
        created: at(0),
    };
    let (mail, invoices) = (source("mail", 20), source("invoices", 10));
    let mut tx = world.write().await;
    poll_source_insert(&mut tx, &mail).await.unwrap();
    poll_source_insert(&mut tx, &invoices).await.unwrap();
    tx.commit().await.unwrap();
    let twice = poll_source_insert(&mut world.write().await, &source("mail", 1)).await;
    assert!(matches!(twice, Err(DbError::Duplicate(_))));
    let due = |now| {
        let world = &world;
        async move {
            let rows = poll_sources_due(&mut world.system_read().await, at(now), None, 10).await;
            rows.unwrap()
                .iter()
                .map(|row| row.name.clone())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(due(9).await, [""; 0]);
    assert_eq!(due(20).await, ["invoices", "mail"]);

    let mut tx = world.system().await;
    let moved = poll_source_advance(&mut tx, &invoices, Some("7"), at(80), at(21), None).await;
    assert!(moved.unwrap());
    let moved = poll_source_advance(&mut tx, &invoices, Some("5"), at(90), at(22), None).await;
    assert!(!moved.unwrap(), "somebody else was faster");
    tx.commit().await.unwrap();
    let expected = PollSourceRow {
        cursor: Some("7".into()),
        next_due: at(80),
        last: Some(at(21)),
        ..invoices.clone()
    };
    let found = poll_source_get(&mut world.read().await, invoices.id).await;
    assert_eq!(found.unwrap(), Some(expected.clone()));

    let mut stranger = world.stranger().await;
    assert_eq!(poll_source_get(&mut stranger, mail.id).await.unwrap(), None);
    assert_eq!(
        poll_source_list(&mut stranger, &page(9))
            .await
            .unwrap()
            .items,
        []
    );
    let paused = poll_source_set_status(&mut stranger, mail.id, PollStatus::Paused, at(1)).await;
    assert!(matches!(paused, Err(DbError::NotFound("source"))));
    let deleted = poll_source_delete(&mut stranger, mail.id).await;
    assert!(matches!(deleted, Err(DbError::NotFound("source"))));
    drop(stranger);

    let mut tx = world.write().await;
    poll_source_set_status(&mut tx, mail.id, PollStatus::Paused, at(30))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(due(100).await, ["invoices"]);
    let mut tx = world.write().await;
    poll_source_delete(&mut tx, mail.id).await.unwrap();
    assert_eq!(
        poll_source_list(&mut tx, &page(9)).await.unwrap().items,
        [expected]
    );
}

async fn people_are_replaced_as_a_whole(world: World) {
    let person = |id: &str, name: &str, role| PersonRow {
        provider: "slack".into(),
        external_id: id.into(),
        user_name: name.into(),
        role,
    };
    let (ann, bob) = (
        person("U1", "ann", Role::Manager),
        person("U2", "bob", Role::Viewer),
    );
    let mut tx = world.write().await;
    people_replace(&mut tx, "slack", &[bob.clone(), ann.clone()])
        .await
        .unwrap();
    assert_eq!(
        people_list(&mut tx).await.unwrap(),
        [ann.clone(), bob.clone()]
    );
    people_replace(&mut tx, "slack", &[ann.clone()])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.read().await;
    assert_eq!(
        person_find(&mut tx, "slack", "U1").await.unwrap(),
        Some(ann)
    );
    assert_eq!(person_find(&mut tx, "slack", "U2").await.unwrap(), None);
    assert_eq!(person_find(&mut tx, "teams", "U1").await.unwrap(), None);
    drop(tx);
    let mut stranger = world.stranger().await;
    assert_eq!(people_list(&mut stranger).await.unwrap(), []);
    assert_eq!(
        person_find(&mut stranger, "slack", "U1").await.unwrap(),
        None
    );
    people_replace(&mut stranger, "slack", &[]).await.unwrap();
    stranger.commit().await.unwrap();
    assert_eq!(people_list(&mut world.read().await).await.unwrap().len(), 1);
}

async fn notices_follow_their_approvals(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let approval = ApprovalRow {
        org_id: world.org,
        id: ApprovalId::from_uuid(id()),
        run_id: execution(&accept),
        employee_id: accept.run.as_ref().unwrap().employee,
        step: "0.1.2.1".into(),
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
    accept
        .approvals
        .push(ApprovalChange::Ask(Box::new(approval.clone())));
    world.commit(&[accept.clone()]).await;
    let mut tx = world.system().await;
    assert_eq!(
        notices_open(&mut tx, world.other, at(2), 9).await.unwrap(),
        0
    );
    assert_eq!(notices_open(&mut tx, world.org, at(2), 9).await.unwrap(), 1);
    assert_eq!(notices_open(&mut tx, world.org, at(2), 9).await.unwrap(), 0);
    assert!(
        notices_due(&mut tx, world.org, at(1), 9)
            .await
            .unwrap()
            .is_empty()
    );
    let due = notices_due(&mut tx, world.org, at(2), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(
        (&due[0].approval, due[0].notice_status),
        (&approval, NoticeStatus::Asking)
    );
    let asked = NoticeRow {
        org_id: world.org,
        approval_id: approval.id,
        status: NoticeStatus::Asked,
        channel: Some("C1".into()),
        ts: Some("1.5".into()),
        message: Some("{}".into()),
        attempts: 1,
        due: at(0),
        error: None,
    };
    notice_put(&mut tx, &asked).await.unwrap();
    assert!(
        notices_due(&mut tx, world.org, at(9), 9)
            .await
            .unwrap()
            .is_empty(),
        "nobody has decided"
    );
    tx.commit().await.unwrap();

    let mut close = Append::new(world.org);
    close.approvals.push(ApprovalChange::Close {
        id: approval.id,
        status: ApprovalStatus::Approved,
        at: at(5),
        by: Some("ann".into()),
        comment: None,
    });
    world.commit(&[close]).await;
    let mut tx = world.system().await;
    let due = notices_due(&mut tx, world.org, at(9), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(
        (due[0].approval.status, due[0].ts.as_deref()),
        (ApprovalStatus::Approved, Some("1.5"))
    );
    notice_put(
        &mut tx,
        &NoticeRow {
            status: NoticeStatus::Closed,
            ..asked
        },
    )
    .await
    .unwrap();
    assert!(
        notices_due(&mut tx, world.org, at(9), 9)
            .await
            .unwrap()
            .is_empty()
    );
    tx.commit().await.unwrap();

    let done = world.go_on(&accept, 1, &["done"], Some(RunStatus::Completed));
    world.commit(&[done]).await;
    let mut tx = world.system().await;
    retention_delete_batch(&mut tx, world.org, at(1_000), at(1_000), 10)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        world.count("approval_notice").await,
        0,
        "notices go with their runs"
    );
}

async fn questions_about_a_users_own_account_are_theirs(world: World) {
    let question = |title: &str, owner: Option<&str>| {
        let mut accept = world.accept(EmployeeId::from_uuid(id()));
        let row = ApprovalRow {
            org_id: world.org,
            id: ApprovalId::from_uuid(id()),
            run_id: execution(&accept),
            employee_id: accept.run.as_ref().unwrap().employee,
            step: "0.1.2.1".into(),
            title: title.into(),
            arguments: "{}".into(),
            arguments_hash: ContentHash::of(b"{}"),
            status: ApprovalStatus::Pending,
            asked: at(1),
            expires: None,
            decided: None,
            decided_by: None,
            comment: None,
            asked_by: Some("api:key".into()),
            owner_user: owner.map(str::to_owned),
        };
        accept.approvals.push(ApprovalChange::Ask(Box::new(row)));
        accept
    };
    let all = [
        question("org's", None),
        question("ann's", Some("ann")),
        question("bob's", Some("bob")),
    ];
    world.commit(&all).await;
    let user = |name: &str| EffectOwners::User(name.into());
    for (owners, expected) in [
        (EffectOwners::All, vec!["ann's", "bob's", "org's"]),
        (EffectOwners::OrgOnly, vec!["org's"]),
        (user("ann"), vec!["ann's", "org's"]),
        (user("eve"), vec!["org's"]),
    ] {
        let filter = ApprovalFilter {
            owners,
            ..ApprovalFilter::default()
        };
        let found = approval_list(&mut world.read().await, &filter, &page(9)).await;
        let mut titles: Vec<String> = found
            .unwrap()
            .items
            .into_iter()
            .map(|row| row.title)
            .collect();
        titles.sort();
        assert_eq!(titles, expected, "{filter:?}");
    }
    // None of theirs goes to a channel that everybody reads.
    let mut tx = world.system().await;
    let orgs = [world.org, world.other];
    assert_eq!(
        notices_wanting(&mut tx, &orgs, at(2)).await.unwrap(),
        [world.org]
    );
    assert_eq!(notices_open(&mut tx, world.org, at(2), 9).await.unwrap(), 1);
    let due = notices_due(&mut tx, world.org, at(2), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].approval.title, "org's");
    let asked = NoticeRow {
        org_id: world.org,
        approval_id: due[0].approval.id,
        status: NoticeStatus::Asked,
        channel: None,
        ts: None,
        message: None,
        attempts: 1,
        due: at(0),
        error: None,
    };
    notice_put(&mut tx, &asked).await.unwrap();
    assert_eq!(notices_wanting(&mut tx, &orgs, at(9)).await.unwrap(), []);
    tx.commit().await.unwrap();
}
