use super::{on_both, world::*};
use crate::{
    domain::{ConnectionId, HookId, OauthClientId, OrgId, Timestamp},
    persistence::*,
};
use uuid::Uuid;

on_both!(
    data_keys_are_added_in_order_and_retired,
    data_keys_of_all_orgs_are_wrapped_anew,
    a_key_is_dropped_when_nothing_needs_it,
    values_are_sealed_anew_by_compare_and_swap,
    an_org_that_is_deleted_leaves_nothing
);

fn key(org: OrgId, version: i64, created: i64) -> OrgKeyRow {
    OrgKeyRow {
        org_id: org,
        version,
        wrapped: Sealed(vec![version as u8]),
        master_id: "m1".into(),
        created: at(created),
        retired: None,
    }
}

async fn add(world: &World, key: &OrgKeyRow) -> bool {
    let mut tx = world.write().await;
    let added = org_key_add(&mut tx, key).await.unwrap();
    tx.commit().await.unwrap();
    added
}

async fn data_keys_are_added_in_order_and_retired(world: World) {
    let mut tx = world.read().await;
    assert_eq!(org_key_current(&mut tx).await.unwrap(), None);
    drop(tx);
    let (first, second) = (key(world.org, 1, 1), key(world.org, 2, 5));
    assert!(add(&world, &first).await);
    let twin = OrgKeyRow {
        wrapped: Sealed(vec![9]),
        ..first.clone()
    };
    assert!(!add(&world, &twin).await, "the version is taken");
    assert!(add(&world, &second).await);
    let mut tx = world.read().await;
    let current = org_key_current(&mut tx).await.unwrap();
    assert_eq!(current, Some(second.clone()));
    let retired = OrgKeyRow {
        retired: Some(at(5)),
        ..first
    };
    let got = org_key_get(&mut tx, 1).await.unwrap();
    assert_eq!(got, Some(retired.clone()));
    assert_eq!(org_key_list(&mut tx).await.unwrap(), [second, retired]);
    drop(tx);
    let mut stranger = world.stranger().await;
    assert_eq!(org_key_current(&mut stranger).await.unwrap(), None);
    assert_eq!(org_key_get(&mut stranger, 1).await.unwrap(), None);
    assert_eq!(org_key_list(&mut stranger).await.unwrap(), []);
}

async fn data_keys_of_all_orgs_are_wrapped_anew(world: World) {
    let (first, second) = (key(world.org, 1, 1), key(world.org, 2, 1));
    add(&world, &first).await;
    add(&world, &second).await;
    let theirs = key(world.other, 1, 1);
    let mut stranger = world.stranger().await;
    org_key_add(&mut stranger, &theirs).await.unwrap();
    stranger.commit().await.unwrap();

    let mut tx = world.system().await;
    let start = (OrgId::from_uuid(Uuid::nil()), 0);
    let page = org_keys_all(&mut tx, start, 2).await.unwrap();
    let names: Vec<_> = page.iter().map(|key| (key.org_id, key.version)).collect();
    assert_eq!(names, [(world.org, 1), (world.org, 2)]);
    let rest = org_keys_all(&mut tx, (world.org, 2), 2).await.unwrap();
    assert_eq!(rest, [theirs]);

    let anew = OrgKeyRow {
        wrapped: Sealed(vec![7]),
        master_id: "m2".into(),
        ..second.clone()
    };
    assert!(
        org_key_rewrap(&mut tx, &anew, &second.wrapped)
            .await
            .unwrap()
    );
    assert!(
        !org_key_rewrap(&mut tx, &anew, &second.wrapped)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let current = org_key_current(&mut world.read().await).await.unwrap();
    assert_eq!(current, Some(anew));
}

/// Something sealed with the key `first`, in each table that holds sealed values.
async fn furnish(world: &World, first: u8) -> (ConnectionRow, HookRow, OauthClientRow) {
    let sealed = |content: u8| Sealed(vec![first, 0, 0, 0, 1, content]);
    let connection = ConnectionRow {
        sealed_credential: sealed(1),
        credential_version: 4,
        ..ConnectionRow::pending(
            world.org,
            ConnectionId::from_uuid(id()),
            "slack",
            "a",
            at(1),
        )
    };
    let hook = HookRow {
        org_id: world.org,
        id: HookId::from_uuid(id()),
        source: "github".into(),
        endpoint: format!("e{first}"),
        scheme: "standard_webhooks".into(),
        sealed_secrets: sealed(2),
        event_type: None,
        options: "{}".into(),
        created: at(1),
    };
    let client = OauthClientRow {
        org_id: world.org,
        id: OauthClientId::from_uuid(id()),
        integration: "slack".into(),
        client_id: "c".into(),
        sealed_secret: sealed(3),
        secret_version: 6,
        overrides: "{}".into(),
        created: at(1),
        updated: at(1),
    };
    let mut tx = world.write().await;
    connection_put(&mut tx, &connection).await.unwrap();
    hook_insert(&mut tx, &hook).await.unwrap();
    oauth_client_put(&mut tx, &client).await.unwrap();
    tx.commit().await.unwrap();
    (connection, hook, client)
}

const OLD: [u8; 5] = [2, 0, 0, 0, 1];
const NEW: [u8; 5] = [2, 0, 0, 0, 2];

async fn a_key_is_dropped_when_nothing_needs_it(world: World) {
    add(&world, &key(world.org, 1, 1)).await;
    add(&world, &key(world.org, 2, 5)).await;
    let (connection, hook, client) = furnish(&world, 2).await;
    let mut tx = world.system_read().await;
    assert_eq!(org_keys_retired(&mut tx, at(5)).await.unwrap(), []);
    assert_eq!(org_keys_retired(&mut tx, at(6)).await.unwrap(), [world.org]);
    drop(tx);
    let before = at(100);
    let anew = Sealed([&NEW[..], &[9]].concat());
    for (table, id, sealed) in [
        (
            SealedTable::Connection,
            connection.id.uuid(),
            connection.sealed_credential,
        ),
        (SealedTable::Hook, hook.id.uuid(), hook.sealed_secrets),
        (
            SealedTable::OauthClient,
            client.id.uuid(),
            client.sealed_secret,
        ),
    ] {
        let mut tx = world.write().await;
        let dropped = org_key_drop_unused(&mut tx, 1, &OLD, before).await.unwrap();
        assert!(!dropped, "{table:?} needs it");
        assert!(
            sealed_swap(&mut tx, table, id, &sealed, &anew)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
    }
    let state = OauthStateRow {
        org_id: world.org,
        state_hash: vec![1; 32],
        connection_id: connection.id,
        integration: "slack".into(),
        way: "oauth2_code".into(),
        user_id: None,
        sealed_verifier: Sealed([&OLD[..], &[9]].concat()),
        redirect_uri: "http://here".into(),
        scopes: "[]".into(),
        account: "{}".into(),
        browser_hash: None,
        link_id: None,
        created: at(1),
        expires: at(2),
    };
    let mut tx = world.write().await;
    oauth_state_insert(&mut tx, &state).await.unwrap();
    assert!(!org_key_drop_unused(&mut tx, 1, &OLD, before).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = world.system().await;
    assert_eq!(oauth_delete_expired(&mut tx, at(3)).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let mut tx = world.write().await;
    let young = org_key_drop_unused(&mut tx, 1, &OLD, at(5)).await.unwrap();
    assert!(!young, "it was retired only just");
    let current = org_key_drop_unused(&mut tx, 2, &OLD, before).await.unwrap();
    assert!(!current, "it is in use");
    assert!(org_key_drop_unused(&mut tx, 1, &OLD, before).await.unwrap());
    assert_eq!(org_key_get(&mut tx, 1).await.unwrap(), None);
}

async fn values_are_sealed_anew_by_compare_and_swap(world: World) {
    let (connection, hook, client) = furnish(&world, 2).await;
    let expected = [
        (
            SealedTable::Connection,
            connection.id.uuid(),
            4,
            connection.sealed_credential,
        ),
        (SealedTable::Hook, hook.id.uuid(), 0, hook.sealed_secrets),
        (
            SealedTable::OauthClient,
            client.id.uuid(),
            6,
            client.sealed_secret,
        ),
    ];
    let anew = Sealed([&NEW[..], &[9]].concat());
    for (table, id, version, sealed) in expected {
        let row = SealedRow {
            id,
            version,
            sealed: sealed.clone(),
        };
        let mut tx = world.write().await;
        let all = sealed_otherwise(&mut tx, table, &NEW, Uuid::nil(), 10).await;
        assert_eq!(all.unwrap(), [row], "{table:?}");
        let none = sealed_otherwise(&mut tx, table, &OLD, Uuid::nil(), 10).await;
        assert_eq!(none.unwrap(), [], "{table:?}");
        let none = sealed_otherwise(&mut tx, table, &NEW, id, 10).await;
        assert_eq!(none.unwrap(), [], "{table:?} after the last");
        assert!(
            !sealed_swap(&mut tx, table, id, &anew, &sealed)
                .await
                .unwrap()
        );
        assert!(
            sealed_swap(&mut tx, table, id, &sealed, &anew)
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
        let mut stranger = world.stranger().await;
        assert!(
            !sealed_swap(&mut stranger, table, id, &anew, &sealed)
                .await
                .unwrap()
        );
        let theirs = sealed_otherwise(&mut stranger, table, &OLD, Uuid::nil(), 10).await;
        assert_eq!(theirs.unwrap(), [], "{table:?}");
    }
    let pending = ConnectionRow::pending(
        world.org,
        ConnectionId::from_uuid(id()),
        "gmail",
        "a",
        Timestamp::default(),
    );
    let mut tx = world.write().await;
    connection_put(&mut tx, &pending).await.unwrap();
    let all = sealed_otherwise(&mut tx, SealedTable::Connection, &NEW, Uuid::nil(), 10).await;
    assert_eq!(all.unwrap(), [], "an empty value is none");
}

async fn an_org_that_is_deleted_leaves_nothing(world: World) {
    add(&world, &key(world.org, 1, 1)).await;
    furnish(&world, 2).await;
    let employee = world.hire("clerk", "{}").await;
    world.commit(&[world.accept(employee)]).await;
    let mut stranger = world.stranger().await;
    let theirs = key(world.other, 1, 1);
    org_key_add(&mut stranger, &theirs).await.unwrap();
    stranger.commit().await.unwrap();

    org_shred(&world.db, world.org, at(50)).await.unwrap();
    assert_eq!(world.count("org_key").await, 1, "that of the other org");
    assert_eq!(world.count("connection").await, 0);
    assert_eq!(world.count("run").await, 1);
    assert!(org_delete_rows(&world.db, world.org).await.unwrap() > 3);
    assert_eq!(org_delete_rows(&world.db, world.org).await.unwrap(), 0);
    for table in ["employee", "run", "journal", "org_event", "blob"] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
    assert_eq!(world.count("org").await, 1);
    let mut stranger = world.stranger().await;
    let kept = org_key_current(&mut stranger).await.unwrap();
    assert_eq!(kept, Some(theirs));
}
