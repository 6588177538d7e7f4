use super::{on_both, world::*};
use crate::{
    domain::{ConnectionId, LinkId, OauthClientId, Timestamp},
    persistence::*,
};

on_both!(
    credentials_are_swapped_by_version,
    a_dead_grant_is_marked_once,
    connections_come_due_for_a_refresh,
    pending_connections_do_not_stay_for_ever,
    clients_are_put_in_place,
    a_state_is_good_once_and_in_time,
    a_link_is_good_once_and_in_time
);

fn active(world: &World, name: &str) -> ConnectionRow {
    ConnectionRow {
        sealed_credential: Sealed(b"one".to_vec()),
        status: connection_status::ACTIVE.into(),
        credential_version: 1,
        way: "oauth2_code".into(),
        refresh_due: Some(at(50)),
        expires: Some(at(60)),
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

fn swap(expected: i64, sealed: &Sealed, now: Timestamp) -> CredentialSwap<'_> {
    CredentialSwap {
        expected,
        sealed,
        expires: Some(at(160)),
        refresh_due: Some(at(150)),
        scopes: None,
        account: None,
        at: now,
        begun: None,
        consent: None,
    }
}

async fn credentials_are_swapped_by_version(world: World) {
    let row = active(&world, "a");
    put(&world, &row).await;
    let (two, three) = (Sealed(b"two".to_vec()), Sealed(b"three".to_vec()));

    let mut tx = world.system().await;
    let begun = connection_refresh_begin(&mut tx, world.org, row.id, 1, at(10)).await;
    assert!(begun.unwrap());
    let begun = connection_refresh_begin(&mut tx, world.org, row.id, 2, at(10)).await;
    assert!(!begun.unwrap(), "another version");
    tx.commit().await.unwrap();
    assert_eq!(get(&world, row.id).await.refresh_started, Some(at(10)));

    let mut tx = world.system().await;
    let new = swap(1, &two, at(11));
    let swapped = connection_credential_swap_system(&mut tx, world.org, row.id, &new).await;
    assert!(swapped.unwrap());
    let again = connection_credential_swap_system(&mut tx, world.org, row.id, &new).await;
    assert!(!again.unwrap(), "the version has moved on");
    let elsewhere = connection_credential_swap_system(&mut tx, world.other, row.id, &new).await;
    assert!(!elsewhere.unwrap());
    tx.commit().await.unwrap();
    let refreshed = ConnectionRow {
        sealed_credential: two,
        credential_version: 2,
        expires: Some(at(160)),
        refresh_due: Some(at(150)),
        refresh_started: None,
        refreshed: Some(at(11)),
        updated: at(11),
        ..row.clone()
    };
    assert_eq!(get(&world, row.id).await, refreshed);
    let mut tx = world.system_read().await;
    let seen = connection_get_system(&mut tx, world.org, row.id).await;
    assert_eq!(seen.unwrap(), Some(refreshed.clone()));
    drop(tx);

    let consented = CredentialSwap {
        scopes: Some(r#"["a","b"]"#),
        refresh_due: None,
        consent: Some(Consented {
            way: "api_key",
            account: r#"{"x":1}"#,
            account_name: Some("Acme"),
            account_ref: Some("T1"),
            base_url: None,
            verified: Some(at(12)),
        }),
        ..swap(2, &three, at(12))
    };
    let mut stranger = world.stranger().await;
    let stolen = connection_credential_swap(&mut stranger, row.id, &consented).await;
    assert!(!stolen.unwrap());
    drop(stranger);
    let mut tx = world.write().await;
    let swapped = connection_credential_swap(&mut tx, row.id, &consented).await;
    assert!(swapped.unwrap());
    tx.commit().await.unwrap();
    let wanted = ConnectionRow {
        sealed_credential: three,
        credential_version: 3,
        scopes: r#"["a","b"]"#.into(),
        refresh_due: None,
        way: "api_key".into(),
        account: r#"{"x":1}"#.into(),
        account_name: Some("Acme".into()),
        account_ref: Some("T1".into()),
        verified: Some(at(12)),
        health: Health::Healthy,
        health_at: Some(at(12)),
        refreshed: Some(at(12)),
        updated: at(12),
        ..refreshed
    };
    assert_eq!(get(&world, row.id).await, wanted);
}

async fn a_dead_grant_is_marked_once(world: World) {
    let row = active(&world, "a");
    put(&world, &row).await;
    let mut tx = world.system().await;
    for (version, expected) in [(2, false), (1, true), (1, false)] {
        let marked = connection_needs_reauth(&mut tx, world.org, row.id, version, "revoked", at(9));
        assert_eq!(marked.await.unwrap(), expected, "{version}");
    }
    let begun = connection_refresh_begin(&mut tx, world.org, row.id, 1, at(10)).await;
    assert!(!begun.unwrap(), "nobody renews a dead grant");
    tx.commit().await.unwrap();
    let marked = get(&world, row.id).await;
    assert_eq!(marked.status, connection_status::NEEDS_REAUTH);
    assert_eq!(marked.reauth_since, Some(at(9)));
    assert_eq!(marked.status_reason.as_deref(), Some("revoked"));
    assert_eq!(marked.refresh_due, None);

    let sealed = Sealed(b"two".to_vec());
    let mut tx = world.write().await;
    let revived = connection_credential_swap(&mut tx, row.id, &swap(1, &sealed, at(20))).await;
    assert!(revived.unwrap());
    tx.commit().await.unwrap();
    let revived = get(&world, row.id).await;
    assert_eq!(revived.status, connection_status::ACTIVE);
    assert_eq!((revived.reauth_since, revived.status_reason), (None, None));
}

async fn connections_come_due_for_a_refresh(world: World) {
    let (early, late) = (active(&world, "early"), active(&world, "late"));
    let late = ConnectionRow {
        refresh_due: Some(at(90)),
        ..late
    };
    let never = ConnectionRow {
        refresh_due: None,
        ..active(&world, "never")
    };
    let dead = ConnectionRow {
        status: connection_status::NEEDS_REAUTH.into(),
        ..active(&world, "dead")
    };
    for row in [&late, &early, &never, &dead] {
        put(&world, row).await;
    }
    let mut tx = world.system().await;
    let due = connections_refresh_due(&mut tx, at(100), None, 10).await;
    assert_eq!(due.unwrap(), [early.clone(), late.clone()]);
    let due = connections_refresh_due(&mut tx, at(60), None, 10).await;
    assert_eq!(due.unwrap(), [early.clone()]);
    connection_refresh_begin(&mut tx, world.org, early.id, 1, at(51))
        .await
        .unwrap();
    connection_refresh_failed(&mut tx, world.org, early.id, 1, at(70))
        .await
        .unwrap();
    connection_refresh_failed(&mut tx, world.org, never.id, 1, at(70))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let failed = get(&world, early.id).await;
    assert_eq!(
        (failed.refresh_due, failed.refresh_started),
        (Some(at(70)), None)
    );
    assert_eq!(get(&world, never.id).await.refresh_due, None);
}

async fn pending_connections_do_not_stay_for_ever(world: World) {
    let pending = ConnectionRow {
        status: connection_status::PENDING.into(),
        credential_version: 0,
        ..active(&world, "pending")
    };
    let kept = active(&world, "kept");
    put(&world, &pending).await;
    put(&world, &kept).await;
    let mut tx = world.system().await;
    assert_eq!(connections_delete_pending(&mut tx, at(1)).await.unwrap(), 0);
    assert_eq!(connections_delete_pending(&mut tx, at(2)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(get(&world, kept.id).await, kept);
}

async fn clients_are_put_in_place(world: World) {
    let client = OauthClientRow {
        org_id: world.org,
        id: OauthClientId::from_uuid(id()),
        integration: "slack".into(),
        client_id: "c1".into(),
        sealed_secret: Sealed(b"one".to_vec()),
        secret_version: 1,
        overrides: "{}".into(),
        created: at(1),
        updated: at(1),
    };
    let changed = OauthClientRow {
        client_id: "c2".into(),
        secret_version: 2,
        updated: at(2),
        ..client.clone()
    };
    let mut tx = world.write().await;
    oauth_client_put(&mut tx, &client).await.unwrap();
    oauth_client_put(&mut tx, &changed).await.unwrap();
    let stale = oauth_client_put(&mut tx, &changed).await;
    assert!(matches!(stale, Err(DbError::Stale("oauth client"))));
    let found = oauth_client_find(&mut tx, "slack").await.unwrap();
    assert_eq!(found, Some(changed.clone()));
    assert_eq!(oauth_client_list(&mut tx).await.unwrap(), [changed]);
    tx.commit().await.unwrap();
    let mut stranger = world.stranger().await;
    assert_eq!(
        oauth_client_find(&mut stranger, "slack").await.unwrap(),
        None
    );
    assert_eq!(oauth_client_list(&mut stranger).await.unwrap(), []);
    let gone = oauth_client_delete(&mut stranger, "slack").await;
    assert!(matches!(gone, Err(DbError::NotFound("oauth client"))));
    drop(stranger);
    let mut tx = world.write().await;
    oauth_client_delete(&mut tx, "slack").await.unwrap();
    assert_eq!(oauth_client_find(&mut tx, "slack").await.unwrap(), None);
}

async fn a_state_is_good_once_and_in_time(world: World) {
    let connection = ConnectionId::from_uuid(id());
    let state = |hash: u8, created: i64| OauthStateRow {
        org_id: world.org,
        state_hash: vec![hash; 32],
        connection_id: connection,
        integration: "slack".into(),
        way: "oauth2_code".into(),
        user_id: Some("ann".into()),
        sealed_verifier: Sealed(b"v".to_vec()),
        redirect_uri: "http://here/callback".into(),
        scopes: "[]".into(),
        account: "{}".into(),
        browser_hash: Some(vec![3]),
        link_id: Some(LinkId::from_uuid(id())),
        created: at(created),
        expires: at(created + 600),
    };
    let (old, new) = (state(1, 1), state(2, 2));
    let mut tx = world.write().await;
    oauth_state_insert(&mut tx, &old).await.unwrap();
    oauth_state_insert(&mut tx, &new).await.unwrap();
    let newest = oauth_state_newest(&mut tx, connection, at(5))
        .await
        .unwrap();
    assert_eq!(newest, Some(new.clone()));
    tx.commit().await.unwrap();
    let mut stranger = world.stranger().await;
    let theirs = oauth_state_newest(&mut stranger, connection, at(5)).await;
    assert_eq!(theirs.unwrap(), None);
    drop(stranger);

    let mut tx = world.system().await;
    let late = oauth_state_take(&mut tx, &old.state_hash, at(601)).await;
    assert_eq!(late.unwrap(), None, "ten minutes are over");
    let unknown = oauth_state_take(&mut tx, &[9; 32], at(5)).await;
    assert_eq!(unknown.unwrap(), None);
    let taken = oauth_state_take(&mut tx, &new.state_hash, at(5)).await;
    assert_eq!(taken.unwrap(), Some(new.clone()));
    let again = oauth_state_take(&mut tx, &new.state_hash, at(5)).await;
    assert_eq!(again.unwrap(), None, "once");
    tx.commit().await.unwrap();
    let newest = oauth_state_newest(&mut world.read().await, connection, at(5)).await;
    assert_eq!(newest.unwrap(), Some(old), "used ones do not count");
}

async fn a_link_is_good_once_and_in_time(world: World) {
    let link = ConnectLinkRow {
        org_id: world.org,
        id: LinkId::from_uuid(id()),
        token_hash: vec![1; 32],
        integration: "slack".into(),
        connection_id: ConnectionId::from_uuid(id()),
        name: "default".into(),
        owner_user: Some("ann".into()),
        scopes: None,
        created: at(1),
        expires: at(100),
        used: None,
        completed: None,
    };
    let mut tx = world.write().await;
    connect_link_insert(&mut tx, &link).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.system_read().await;
    let found = connect_link_find(&mut tx, &link.token_hash).await.unwrap();
    assert_eq!(found, Some(link.clone()));
    assert_eq!(connect_link_find(&mut tx, &[2; 32]).await.unwrap(), None);
    drop(tx);
    let mut stranger = world.stranger().await;
    assert_eq!(
        connect_link_get(&mut stranger, link.id).await.unwrap(),
        None
    );
    assert!(
        !connect_link_take(&mut stranger, link.id, at(2))
            .await
            .unwrap()
    );
    drop(stranger);

    let mut tx = world.write().await;
    assert!(
        !connect_link_take(&mut tx, link.id, at(100)).await.unwrap(),
        "late"
    );
    assert!(connect_link_take(&mut tx, link.id, at(2)).await.unwrap());
    assert!(
        !connect_link_take(&mut tx, link.id, at(2)).await.unwrap(),
        "once"
    );
    connect_link_give_back(&mut tx, link.id).await.unwrap();
    assert!(connect_link_take(&mut tx, link.id, at(3)).await.unwrap());
    connect_link_complete(&mut tx, link.id, at(4))
        .await
        .unwrap();
    connect_link_give_back(&mut tx, link.id).await.unwrap();
    let got = connect_link_get(&mut tx, link.id).await.unwrap().unwrap();
    assert_eq!((got.used, got.completed), (Some(at(3)), Some(at(4))));
    tx.commit().await.unwrap();
    let mut tx = world.system().await;
    assert_eq!(oauth_delete_expired(&mut tx, at(101)).await.unwrap(), 1);
}
