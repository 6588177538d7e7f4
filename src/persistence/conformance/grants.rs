use super::{on_both, world::*};
use crate::{
    domain::{ConnectionId, EmployeeId, LinkId, Timestamp},
    persistence::*,
};

on_both!(
    a_refresh_that_is_due_is_claimed_once,
    a_late_answer_is_kept_unless_somebody_has_begun_since,
    what_a_probe_found_is_of_one_credential,
    probes_are_planned_by_one_node,
    a_dead_grant_is_told_by_every_way_and_the_links_end_with_it,
    steps_that_wait_for_a_connection_that_is_there_are_found
);

fn active(world: &World, name: &str) -> ConnectionRow {
    ConnectionRow {
        sealed_credential: Sealed(b"one".to_vec()),
        status: connection_status::ACTIVE.into(),
        credential_version: 1,
        refresh_due: Some(at(50)),
        ..ConnectionRow::pending(
            world.org,
            ConnectionId::from_uuid(id()),
            "slack",
            name,
            at(1),
        )
    }
}

async fn put(world: &World, row: &ConnectionRow) {
    let mut tx = world.write().await;
    connection_put(&mut tx, row).await.unwrap();
    tx.commit().await.unwrap();
}

async fn get(world: &World, id: ConnectionId) -> ConnectionRow {
    let mut tx = world.read().await;
    connection_get(&mut tx, id).await.unwrap().unwrap()
}

fn swap(expected: i64, sealed: &Sealed, begun: Option<Timestamp>) -> CredentialSwap<'_> {
    CredentialSwap {
        expected,
        sealed,
        expires: None,
        refresh_due: None,
        scopes: None,
        account: None,
        at: at(30),
        begun,
        consent: None,
    }
}

async fn a_refresh_that_is_due_is_claimed_once(world: World) {
    let row = active(&world, "a");
    put(&world, &row).await;
    let mut tx = world.system().await;
    for expected in [true, false] {
        let claimed = connection_refresh_claim(&mut tx, &row, at(110)).await;
        assert_eq!(claimed.unwrap(), expected);
    }
    let due = connections_refresh_due(&mut tx, at(100), None, 10)
        .await
        .unwrap();
    assert_eq!(due, []);
    let again = connections_refresh_due(&mut tx, at(111), None, 10)
        .await
        .unwrap();
    assert_eq!(again.len(), 1, "nothing was heard of it");
}

async fn a_late_answer_is_kept_unless_somebody_has_begun_since(world: World) {
    let row = active(&world, "a");
    put(&world, &row).await;
    let two = Sealed(b"two".to_vec());
    let mut tx = world.system().await;
    for began in [at(10), at(20)] {
        let begun = connection_refresh_begin(&mut tx, world.org, row.id, 1, began).await;
        assert!(begun.unwrap());
    }
    for (begun, kept) in [(Some(at(10)), false), (Some(at(20)), true)] {
        let swap = swap(1, &two, begun);
        let swapped = connection_credential_swap_system(&mut tx, world.org, row.id, &swap).await;
        assert_eq!(swapped.unwrap(), kept, "{begun:?}");
    }
    tx.commit().await.unwrap();
    assert_eq!(get(&world, row.id).await.sealed_credential, two);
}

async fn what_a_probe_found_is_of_one_credential(world: World) {
    let row = active(&world, "a");
    put(&world, &row).await;
    let found = |version, health, error| Found {
        version,
        health,
        error,
        at: at(9),
    };
    let mut tx = world.system().await;
    let old = found(0, Health::Failing, Some("old"));
    let noted = connection_health_put(&mut tx, world.org, row.id, &old).await;
    assert!(!noted.unwrap(), "another credential is there by now");
    let failing = found(1, Health::Failing, Some("refused"));
    let noted = connection_health_put(&mut tx, world.org, row.id, &failing).await;
    assert!(noted.unwrap());
    tx.commit().await.unwrap();
    let shown = get(&world, row.id).await;
    assert_eq!(
        (shown.health, shown.health_at, shown.health_error.as_deref()),
        (Health::Failing, Some(at(9)), Some("refused"))
    );
    assert_eq!(shown.verified, None);

    // A refresh says nothing of it, a consent begins anew.
    let two = Sealed(b"two".to_vec());
    let mut tx = world.system().await;
    let refreshed = swap(1, &two, None);
    connection_credential_swap_system(&mut tx, world.org, row.id, &refreshed)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(get(&world, row.id).await.health, Health::Failing);
    let consented = |verified| Consented {
        way: "token",
        account: "{}",
        account_name: None,
        account_ref: None,
        base_url: None,
        verified,
    };
    for (expected, verified, health) in [
        (2, None, Health::Unknown),
        (3, Some(at(12)), Health::Healthy),
    ] {
        let swap = CredentialSwap {
            consent: Some(consented(verified)),
            ..swap(expected, &two, None)
        };
        let mut tx = world.write().await;
        let swapped = connection_credential_swap(&mut tx, row.id, &swap).await;
        assert!(swapped.unwrap());
        tx.commit().await.unwrap();
        let shown = get(&world, row.id).await;
        assert_eq!(
            (shown.health, shown.health_at, shown.health_error),
            (health, verified, None)
        );
    }
    let mut tx = world.system().await;
    let healthy = found(4, Health::Healthy, None);
    connection_health_put(&mut tx, world.org, row.id, &healthy)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(get(&world, row.id).await.verified, Some(at(9)));
}

async fn probes_are_planned_by_one_node(world: World) {
    let (new, dead) = (active(&world, "new"), active(&world, "dead"));
    let dead = ConnectionRow {
        status: connection_status::NEEDS_REAUTH.into(),
        ..dead
    };
    put(&world, &new).await;
    put(&world, &dead).await;
    let mut tx = world.system().await;
    let due = connections_probe_due(&mut tx, at(5), 10).await.unwrap();
    assert_eq!(due, [new.clone()], "no time was chosen yet");
    for expected in [true, false] {
        let planned = connection_probe_plan(&mut tx, &new, at(60)).await;
        assert_eq!(planned.unwrap(), expected);
    }
    assert_eq!(
        connections_probe_due(&mut tx, at(59), 10).await.unwrap(),
        []
    );
    let due = connections_probe_due(&mut tx, at(60), 10).await.unwrap();
    assert_eq!(due[0].probe_due, Some(at(60)));
    assert!(
        connection_probe_plan(&mut tx, &due[0], at(90))
            .await
            .unwrap()
    );
}

async fn a_dead_grant_is_told_by_every_way_and_the_links_end_with_it(world: World) {
    let row = active(&world, "a");
    put(&world, &row).await;
    let link = |number: u8| ConnectLinkRow {
        org_id: world.org,
        id: LinkId::from_uuid(id()),
        token_hash: vec![number; 32],
        integration: "slack".into(),
        connection_id: row.id,
        name: "a".into(),
        owner_user: None,
        scopes: None,
        created: at(1),
        expires: at(1_000),
        used: None,
        completed: None,
    };
    let (told, other) = (link(1), link(2));
    let mut tx = world.system().await;
    connection_notices_open(&mut tx, &row, at(10))
        .await
        .unwrap();
    connection_notices_open(&mut tx, &row, at(11))
        .await
        .unwrap();
    let due = connection_notices_due(&mut tx, at(10), 10).await.unwrap();
    let ways: Vec<ToldBy> = due.iter().map(|notice| notice.way).collect();
    assert_eq!(ways, [ToldBy::Mail, ToldBy::Slack]);
    for link in [&told, &other] {
        connect_link_insert_system(&mut tx, link).await.unwrap();
    }
    let by_mail = ConnectionNoticeRow {
        link_id: Some(told.id),
        sealed_link: Sealed(b"sealed".to_vec()),
        message: Some("{}".into()),
        attempts: 1,
        due: at(20),
        error: Some("not yet".into()),
        ..due[0].clone()
    };
    connection_notice_put(&mut tx, &by_mail).await.unwrap();
    let due = connection_notices_due(&mut tx, at(20), 10).await.unwrap();
    assert_eq!(due[1], by_mail);
    tx.commit().await.unwrap();

    let mut stranger = world.stranger().await;
    connection_notices_close(&mut stranger, row.id, at(30))
        .await
        .unwrap();
    stranger.commit().await.unwrap();
    let mut tx = world.write().await;
    let got = connect_link_get(&mut tx, told.id).await.unwrap().unwrap();
    assert_eq!(got.expires, at(1_000), "another org has no part in it");
    connection_notices_close(&mut tx, row.id, at(30))
        .await
        .unwrap();
    let got = connect_link_get(&mut tx, told.id).await.unwrap().unwrap();
    assert_eq!(got.expires, at(30));
    let got = connect_link_get(&mut tx, other.id).await.unwrap().unwrap();
    assert_eq!(got.expires, at(1_000), "somebody else made it");
    tx.commit().await.unwrap();
    let mut tx = world.system().await;
    // Whoever was at it finds it closed.
    connection_notice_put(&mut tx, &by_mail).await.unwrap();
    let due = connection_notices_due(&mut tx, at(99), 10).await.unwrap();
    assert_eq!(due, []);
    let gone = connection_notices_delete(&mut tx, at(10)).await.unwrap();
    assert_eq!(gone, 0, "it is not that old");
    let gone = connection_notices_delete(&mut tx, at(11)).await.unwrap();
    assert_eq!(gone, 2);
    tx.commit().await.unwrap();
    let mut tx = world.write().await;
    connection_delete(&mut tx, row.id).await.unwrap();
    tx.commit().await.unwrap();
}

async fn steps_that_wait_for_a_connection_that_is_there_are_found(world: World) {
    // Active since second 50; waits may have become durable half a minute late.
    let row = ConnectionRow {
        updated: at(50),
        ..active(&world, "a")
    };
    put(&world, &row).await;
    let mut accept = world.accept(EmployeeId::from_uuid(id()));
    let waits = [("slack", 20), ("slack", 70), ("slack", 90), ("github", 20)];
    let waits = waits.map(|(integration, since)| WaitRow {
        org_id: world.org,
        run_id: execution(&accept),
        step: format!("0.1.0.1/{integration}/{since}"),
        employee_id: accept.run.as_ref().unwrap().employee,
        event: format!("wait:connection:{integration}"),
        source: None,
        matches: "[]".into(),
        since: at(since),
        until: None,
    });
    let set = waits
        .iter()
        .map(|row| WaitChange::Set(Box::new(row.clone())));
    accept.waits = set.collect();
    world.commit(&[accept]).await;
    let mut tx = world.system().await;
    let found = waits_overtaken(&mut tx, "wait:connection:", 30_000_000, 10).await;
    assert_eq!(found.unwrap(), waits[..2]);
}
