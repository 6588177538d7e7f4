use super::{on_both, world::*};
use crate::{domain::EmployeeId, persistence::*};

on_both!(
    facts_and_events_come_in_one_order,
    any_page_size_gives_the_same_stream,
    a_cursor_may_stand_inside_a_row,
    one_run_alone_can_be_followed,
    the_tip_is_after_all_that_is_seen,
    another_org_has_another_stream,
);

fn told(items: &[StreamItem]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item {
            StreamItem::Fact { fact, .. } => format!("{} {}", fact.seq, fact.json),
            StreamItem::Event { kind, .. } => kind.clone(),
        })
        .collect()
}

/// Reads to the end in pages of `limit`.
async fn all(world: &World, scope: StreamScope, mut after: Cursor, limit: u32) -> Vec<StreamItem> {
    let mut items: Vec<StreamItem> = Vec::new();
    world.settled().await;
    loop {
        let page = stream_page(&mut world.read().await, scope, after, limit)
            .await
            .unwrap();
        let Some(last) = page.last() else {
            return items;
        };
        assert!(
            page.windows(2)
                .all(|pair| pair[0].cursor() < pair[1].cursor())
                && page[0].cursor() > after
        );
        after = last.cursor();
        items.extend(page);
    }
}

/// Two employees hired, a run each, the first of them in two commits.
async fn history(world: &World) -> [Append; 2] {
    let ann = world.hire("ann", "{}").await;
    let first = world.accept(ann);
    world
        .commit(&[first.clone(), world.go_on(&first, 1, &["a", "b"], None)])
        .await;
    let bob = world.hire("bob", "{}").await;
    let second = world.accept(bob);
    world
        .commit(&[
            second.clone(),
            world.go_on(&first, 3, &["c"], Some(RunStatus::Completed)),
        ])
        .await;
    [first, second]
}

async fn facts_and_events_come_in_one_order(world: World) {
    let [first, _] = history(&world).await;
    let items = all(&world, StreamScope::Org, Cursor::START, 100).await;
    let fact = |seq, name| format!(r#"{seq} {{"f":"{name}"}}"#);
    // The two rows of one commit stand in the order of their runs, which is that of their ids.
    let wanted = [
        "GraphDefined".into(),
        fact(0, "accepted"),
        fact(1, "a"),
        fact(2, "b"),
        "GraphDefined".into(),
        fact(3, "c"),
        fact(0, "accepted"),
    ];
    assert_eq!(told(&items), wanted);
    let StreamItem::Fact {
        execution: run,
        employee,
        version,
        accepted,
        ..
    } = &items[1]
    else {
        panic!("a fact")
    };
    let run_row = first.run.as_ref().unwrap();
    assert_eq!(
        (*run, *employee, *version, *accepted),
        (run_row.execution, run_row.employee, 1, at(1))
    );
}

async fn any_page_size_gives_the_same_stream(world: World) {
    history(&world).await;
    let whole = all(&world, StreamScope::Org, Cursor::START, 1_000).await;
    for limit in 1..8 {
        assert_eq!(
            all(&world, StreamScope::Org, Cursor::START, limit).await,
            whole,
            "pages of {limit}"
        );
    }
}

async fn a_cursor_may_stand_inside_a_row(world: World) {
    history(&world).await;
    let whole = all(&world, StreamScope::Org, Cursor::START, 100).await;
    for (seen, item) in whole.iter().enumerate() {
        let resumed: Cursor = item.cursor().to_string().parse().unwrap();
        assert_eq!(
            all(&world, StreamScope::Org, resumed, 2).await,
            whole[seen + 1..]
        );
    }
}

async fn one_run_alone_can_be_followed(world: World) {
    let [first, second] = history(&world).await;
    let scope = StreamScope::Run(execution(&first));
    assert_eq!(all(&world, scope, Cursor::START, 1).await.len(), 4);
    assert_eq!(
        all(
            &world,
            StreamScope::Run(execution(&second)),
            Cursor::START,
            10
        )
        .await
        .len(),
        1
    );
    let theirs = stream_page(&mut world.stranger().await, scope, Cursor::START, 10)
        .await
        .unwrap();
    assert_eq!(theirs, []);
}

async fn the_tip_is_after_all_that_is_seen(world: World) {
    let [first, second] = history(&world).await;
    world.settled().await;
    let tip = stream_tip(&mut world.read().await).await.unwrap();
    assert_eq!(all(&world, StreamScope::Org, tip, 10).await, []);
    world
        .commit(&[world.go_on(&second, 1, &["later"], None)])
        .await;
    assert_eq!(
        told(&all(&world, StreamScope::Org, tip, 10).await),
        [r#"1 {"f":"later"}"#]
    );
    assert_eq!(
        all(&world, StreamScope::Run(execution(&first)), tip, 10).await,
        []
    );
}

async fn another_org_has_another_stream(world: World) {
    history(&world).await;
    let theirs = Append {
        org: world.other,
        ..world.accept(EmployeeId::from_uuid(id()))
    };
    let event = Append {
        events: vec![graph_defined()],
        ..Append::new(world.other)
    };
    world.commit(&[theirs, event]).await;
    world.settled().await;
    let mut tx = world.stranger().await;
    let items = stream_page(&mut tx, StreamScope::Org, Cursor::START, 100)
        .await
        .unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(
        all(&world, StreamScope::Org, Cursor::START, 100)
            .await
            .len(),
        7
    );
    org_event_insert(&mut tx, &graph_defined()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        all(&world, StreamScope::Org, Cursor::START, 100)
            .await
            .len(),
        7
    );
}
