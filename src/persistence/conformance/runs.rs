use super::{on_both, world::*};
use crate::{
    domain::{ContentHash, EmployeeId},
    persistence::*,
};
use bytes::Bytes;

on_both!(
    runs_are_filtered_and_paged,
    a_journal_is_read_in_parts,
    long_facts_come_back,
    another_org_sees_no_run,
    blobs_are_checked
);

async fn runs_are_filtered_and_paged(world: World) {
    let [ann, bob] = [0; 2].map(|_| EmployeeId::from_uuid(id()));
    let mut batch: Vec<Append> = (0..3)
        .map(|second| world.accept_at(ann, at(second), None))
        .collect();
    batch.extend((3..5).map(|second| world.accept_at(bob, at(second), None)));
    let insert = |append: &mut Append| {
        append
            .run
            .as_mut()
            .and_then(|run| run.insert.take())
            .unwrap()
    };
    let mut talk = insert(&mut batch[4]);
    talk.conversation_key = Some("c1".into());
    talk.source = "hook:slack".into();
    batch[4].run.as_mut().unwrap().insert = Some(talk);
    batch.push(world.go_on(&batch[0], 1, &["done"], Some(RunStatus::Completed)));
    world.commit(&batch).await;
    let ids: Vec<_> = batch[..5].iter().map(execution).collect();

    let mut tx = world.read().await;
    let first = run_list(&mut tx, &RunFilter::default(), &page(2))
        .await
        .unwrap();
    let second = run_list(&mut tx, &RunFilter::default(), &next(2, &first))
        .await
        .unwrap();
    let third = run_list(&mut tx, &RunFilter::default(), &next(2, &second))
        .await
        .unwrap();
    assert_eq!(third.next, None);
    let newest_first: Vec<_> = [first, second, third]
        .iter()
        .flat_map(|page| page.items.iter().map(|run| run.id))
        .collect();
    assert_eq!(newest_first, ids.iter().rev().copied().collect::<Vec<_>>());

    let cases = [
        (
            RunFilter {
                employee: Some(ann),
                ..Default::default()
            },
            vec![ids[2], ids[1], ids[0]],
        ),
        (
            RunFilter {
                status: Some(RunStatus::Completed),
                ..Default::default()
            },
            vec![ids[0]],
        ),
        (
            RunFilter {
                employee: Some(ann),
                status: Some(RunStatus::Accepted),
                ..Default::default()
            },
            vec![ids[2], ids[1]],
        ),
        (
            RunFilter {
                conversation_key: Some("c1".into()),
                ..Default::default()
            },
            vec![ids[4]],
        ),
        (
            RunFilter {
                source: Some("hook:slack".into()),
                ..Default::default()
            },
            vec![ids[4]],
        ),
        (
            RunFilter {
                employee: Some(ann),
                source: Some("hook:slack".into()),
                ..Default::default()
            },
            vec![],
        ),
    ];
    for (filter, wanted) in cases {
        let found = run_list(&mut tx, &filter, &page(10)).await.unwrap();
        assert_eq!(
            found.items.iter().map(|run| run.id).collect::<Vec<_>>(),
            wanted,
            "{filter:?}"
        );
    }
    drop(tx);
    assert_eq!(
        run_count_unfinished(&mut world.system_read().await, ann)
            .await
            .unwrap(),
        2
    );
    let unfinished = unfinished_share(&mut world.system_read().await, None, "employee", None, 10)
        .await
        .unwrap();
    assert_eq!(unfinished.len(), 4);
}

async fn a_journal_is_read_in_parts(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    world
        .commit(&[accept.clone(), world.go_on(&accept, 1, &["a", "b"], None)])
        .await;
    world
        .commit(&[world.go_on(&accept, 3, &["c", "d"], None)])
        .await;
    let run = execution(&accept);
    let mut tx = world.read().await;
    for (from, limit, wanted) in [
        (0, 100, vec![0, 1, 2, 3, 4]),
        (2, 100, vec![2, 3, 4]),
        (2, 2, vec![2, 3]),
        (4, 1, vec![4]),
        (5, 9, vec![]),
    ] {
        let part = run_journal(&mut tx, run, from, limit).await.unwrap();
        assert_eq!(
            part.iter().map(|fact| fact.seq).collect::<Vec<_>>(),
            wanted,
            "from {from}, {limit}"
        );
    }
}

async fn long_facts_come_back(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let text = format!(
        r#"{{"f":"done","o":{:?}}}"#,
        "an invoice, ü, \u{1f9fe} ".repeat(2_000)
    );
    accept
        .run
        .as_mut()
        .unwrap()
        .facts
        .push(Bytes::from(text.clone()));
    world.commit(&[accept.clone()]).await;
    assert_eq!(world.facts(execution(&accept)).await[1], (1, text));
}

async fn another_org_sees_no_run(world: World) {
    let accept = world.accept(EmployeeId::from_uuid(id()));
    world.commit(&[accept.clone()]).await;
    let mut tx = world.stranger().await;
    assert_eq!(run_get(&mut tx, execution(&accept)).await.unwrap(), None);
    assert_eq!(
        run_list(&mut tx, &RunFilter::default(), &page(10))
            .await
            .unwrap()
            .items,
        []
    );
    assert_eq!(
        run_journal(&mut tx, execution(&accept), 0, 10)
            .await
            .unwrap(),
        []
    );
    let mut tx = world.db.begin_read(world.other).await.unwrap();
    assert_eq!(run_get(&mut tx, execution(&accept)).await.unwrap(), None);
}

async fn blobs_are_checked(world: World) {
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let run = execution(&accept).uuid();
    let long = "a payload above a kilobyte ".repeat(60);
    accept.blobs = vec![blob(run, &long), blob(run, "short"), blob(run, "short")];
    let lie = BlobPut {
        hash: ContentHash::of(b"something else"),
        ..blob(run, "false")
    };
    accept.blobs.push(lie.clone());
    world.commit(&[accept]).await;
    let mut tx = world.read().await;
    assert_eq!(
        blob_get(&mut tx, ContentHash::of(long.as_bytes()))
            .await
            .unwrap()
            .unwrap(),
        long.as_bytes()
    );
    assert_eq!(
        blob_get(&mut tx, ContentHash::of(b"short"))
            .await
            .unwrap()
            .unwrap(),
        b"short"
    );
    assert!(matches!(
        blob_get(&mut tx, lie.hash).await,
        Err(DbError::Corrupt { .. })
    ));
    drop(tx);
    assert_eq!(
        blob_get(&mut world.stranger().await, ContentHash::of(b"short"))
            .await
            .unwrap(),
        None
    );
}
