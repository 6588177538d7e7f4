use super::{on_both, world::*};
use crate::{
    domain::{EmployeeId, ExecutionId},
    persistence::*,
};

on_both!(
    writes_are_versions_with_provenance,
    a_view_holds_what_a_run_may_read,
    a_run_is_undone_where_nobody_wrote_since,
    racing_writers_of_a_key_lose_nothing,
    another_org_remembers_nothing,
    memory_comes_in_pages,
);

fn change(
    place: MemoryOwner,
    key: &str,
    value: Option<&str>,
    run: Option<ExecutionId>,
) -> MemoryChange {
    MemoryChange {
        place,
        key: key.into(),
        value: value.map(Into::into),
        run,
        step: run.map(|_| "0.1.0.1".into()),
        source: "test".into(),
        at: at(1),
    }
}
fn some_run() -> Option<ExecutionId> {
    Some(ExecutionId::from_uuid(id()))
}

async fn write(world: &World, changes: Vec<MemoryChange>) {
    world
        .commit(&[Append {
            memory: changes,
            ..Append::new(world.org)
        }])
        .await;
}

async fn known(world: &World) -> Vec<(String, i64, String)> {
    let rows = memory_list(&mut world.read().await, None, &page(100))
        .await
        .unwrap()
        .items;
    rows.into_iter()
        .map(|row| (row.key, row.version, row.value.unwrap()))
        .collect()
}

fn entry(key: &str, version: i64, value: &str) -> (String, i64, String) {
    (key.into(), version, value.into())
}

async fn writes_are_versions_with_provenance(world: World) {
    let (place, run) = (
        MemoryOwner::employee(EmployeeId::from_uuid(id())),
        some_run(),
    );
    let put = |value| change(place.clone(), "tone", value, run);
    write(&world, vec![put(Some("1")), put(Some("2"))]).await;
    assert_eq!(known(&world).await, [entry("tone", 2, "2")]);
    write(&world, vec![put(None)]).await;
    assert_eq!(known(&world).await, []);
    let mut tx = world.write().await;
    memory_put(
        &mut tx,
        &MemoryChange {
            source: "api:key_1".into(),
            ..change(place.clone(), "tone", Some("4"), None)
        },
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let row = &memory_list(&mut world.read().await, Some(&place), &page(10))
        .await
        .unwrap()
        .items[0];
    assert_eq!(
        (row.version, row.run_id, row.source.as_str()),
        (4, None, "api:key_1")
    );
    let earlier = memory_history(&mut world.read().await, &place, "tone", 10)
        .await
        .unwrap();
    let values: Vec<_> = earlier
        .iter()
        .map(|row| (row.version, row.value.as_deref(), row.run_id))
        .collect();
    assert_eq!(
        values,
        [(3, None, run), (2, Some("2"), run), (1, Some("1"), run)]
    );
}

async fn a_view_holds_what_a_run_may_read(world: World) {
    let [clerk, other] = [0; 2].map(|_| EmployeeId::from_uuid(id()));
    write(
        &world,
        vec![
            change(MemoryOwner::employee(clerk), "own", Some("1"), None),
            change(MemoryOwner::employee(other), "others", Some("1"), None),
            change(
                MemoryOwner::skill(clerk, "skill_a"),
                "skilled",
                Some("1"),
                None,
            ),
            change(
                MemoryOwner::skill(other, "skill_a"),
                "others skill",
                Some("1"),
                None,
            ),
            change(MemoryOwner::org(), "all", Some("1"), None),
            change(MemoryOwner::org(), "forgotten", None, None),
        ],
    )
    .await;
    let view = memory_view(&mut world.read().await, clerk).await.unwrap();
    assert_eq!(
        view.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(),
        ["own", "all", "skilled"]
    );
    assert_eq!(MemoryOwner::skill_of(&view[2].owner), Some("skill_a"));
}

async fn a_run_is_undone_where_nobody_wrote_since(world: World) {
    let (place, run) = (MemoryOwner::org(), some_run());
    let put = |key, value, run| change(place.clone(), key, value, run);
    write(
        &world,
        vec![
            put("kept", Some("old"), some_run()),
            put("overwritten", Some("old"), some_run()),
        ],
    )
    .await;
    write(
        &world,
        vec![
            put("kept", Some("x"), run),
            put("kept", Some("y"), run),
            put("new", Some("x"), run),
        ],
    )
    .await;
    write(&world, vec![put("overwritten", Some("x"), run)]).await;
    write(&world, vec![put("overwritten", Some("theirs"), some_run())]).await;
    let mut tx = world.system().await;
    assert_eq!(
        memory_undo_run(&mut tx, world.other, run.unwrap(), at(9))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        memory_undo_run(&mut tx, world.org, run.unwrap(), at(9))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        memory_undo_run(&mut tx, world.org, run.unwrap(), at(9))
            .await
            .unwrap(),
        0
    );
    tx.commit().await.unwrap();
    assert_eq!(
        known(&world).await,
        [entry("kept", 4, "old"), entry("overwritten", 3, "theirs")]
    );
}

async fn racing_writers_of_a_key_lose_nothing(world: World) {
    let batches: Vec<Append> = (0..12)
        .map(|writer| {
            // In both orders of the keys, so that writers that lock as they come would wait for each other.
            let keys = if writer % 2 == 0 {
                ["a", "b"]
            } else {
                ["b", "a"]
            };
            let mut append = Append::new(world.org);
            append.memory = keys
                .map(|key| {
                    change(
                        MemoryOwner::org(),
                        key,
                        Some(&writer.to_string()),
                        some_run(),
                    )
                })
                .to_vec();
            append
        })
        .collect();
    futures::future::join_all(
        batches
            .iter()
            .map(|append| world.commit(std::slice::from_ref(append))),
    )
    .await;
    let versions: Vec<_> = known(&world)
        .await
        .into_iter()
        .map(|(key, version, _)| (key, version))
        .collect();
    assert_eq!(versions, [("a".to_owned(), 12), ("b".to_owned(), 12)]);
    assert_eq!(world.count("memory_history").await, 24);
}

async fn another_org_remembers_nothing(world: World) {
    write(
        &world,
        vec![
            change(MemoryOwner::org(), "k", Some("1"), None),
            change(MemoryOwner::org(), "k", Some("2"), None),
        ],
    )
    .await;
    let mut tx = world.stranger().await;
    assert_eq!(
        memory_list(&mut tx, None, &page(10)).await.unwrap().items,
        []
    );
    assert_eq!(
        memory_history(&mut tx, &MemoryOwner::org(), "k", 10)
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        memory_view(&mut tx, EmployeeId::from_uuid(id()))
            .await
            .unwrap(),
        []
    );
    memory_put(
        &mut tx,
        &change(MemoryOwner::org(), "k", Some("theirs"), None),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(known(&world).await, [entry("k", 2, "2")]);
}

async fn memory_comes_in_pages(world: World) {
    write(
        &world,
        ["a", "b", "c"]
            .map(|key| change(MemoryOwner::org(), key, Some("1"), None))
            .to_vec(),
    )
    .await;
    let mut tx = world.read().await;
    let first = memory_list(&mut tx, None, &page(2)).await.unwrap();
    let second = memory_list(&mut tx, None, &next(2, &first)).await.unwrap();
    let keys: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|page| page.items.iter().map(|row| row.key.as_str()))
        .collect();
    assert_eq!((keys, second.next.as_deref()), (vec!["a", "b", "c"], None));
}
