use super::{on_both, world::*};
use crate::{
    domain::{ConnectionId, HookId},
    persistence::*,
};

on_both!(
    hooks_are_found_without_an_org,
    connections_are_put_in_place,
    a_name_is_unique_for_its_owner
);

async fn hooks_are_found_without_an_org(world: World) {
    let hook = HookRow {
        org_id: world.org,
        id: HookId::from_uuid(id()),
        source: "github".into(),
        endpoint: "x7k2".into(),
        scheme: "standard_webhooks".into(),
        sealed_secrets: Sealed(vec![1, 2, 3]),
        event_type: None,
        options: "{}".into(),
        created: at(1),
    };
    let mut tx = world.write().await;
    hook_insert(&mut tx, &hook).await.unwrap();
    tx.commit().await.unwrap();
    let theirs = HookRow {
        id: HookId::from_uuid(id()),
        ..hook.clone()
    };
    assert!(matches!(
        hook_insert(&mut world.stranger().await, &theirs).await,
        Err(DbError::Duplicate(_))
    ));
    assert_eq!(
        hook_find(&mut world.system_read().await, "github", "x7k2")
            .await
            .unwrap(),
        Some(hook.clone())
    );
    assert_eq!(
        hook_find(&mut world.system_read().await, "github", "other")
            .await
            .unwrap(),
        None
    );

    let mut stranger = world.stranger().await;
    assert_eq!(hook_list(&mut stranger, &page(10)).await.unwrap().items, []);
    assert!(matches!(
        hook_set_secrets(&mut stranger, hook.id, &Sealed(vec![9])).await,
        Err(DbError::NotFound("hook"))
    ));
    assert!(matches!(
        hook_delete(&mut stranger, hook.id).await,
        Err(DbError::NotFound("hook"))
    ));
    drop(stranger);

    let mut tx = world.write().await;
    hook_set_secrets(&mut tx, hook.id, &Sealed(vec![4]))
        .await
        .unwrap();
    assert_eq!(
        hook_list(&mut tx, &page(10)).await.unwrap().items[0].sealed_secrets,
        Sealed(vec![4])
    );
    hook_delete(&mut tx, hook.id).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        hook_find(&mut world.system_read().await, "github", "x7k2")
            .await
            .unwrap(),
        None
    );
}

fn connection(world: &World, integration: &str, name: &str) -> ConnectionRow {
    let id = ConnectionId::from_uuid(id());
    ConnectionRow {
        sealed_credential: Sealed(b"sealed".to_vec()),
        status: connection_status::ACTIVE.into(),
        credential_version: 1,
        ..ConnectionRow::pending(world.org, id, integration, name, at(1))
    }
}

async fn connections_are_put_in_place(world: World) {
    let slack = ConnectionRow {
        base_url: Some("http://127.0.0.1:9".into()),
        ..connection(&world, "slack", "default")
    };
    let mut tx = world.write().await;
    connection_put(&mut tx, &slack).await.unwrap();
    let renewed = ConnectionRow {
        sealed_credential: Sealed(b"new".to_vec()),
        base_url: None,
        updated: at(2),
        credential_version: 2,
        scopes: r#"["chat"]"#.into(),
        account_name: Some("Acme".into()),
        ..slack.clone()
    };
    connection_put(&mut tx, &renewed).await.unwrap();
    let stale = connection_put(&mut tx, &renewed).await;
    assert!(matches!(stale, Err(DbError::Stale("connection"))));
    let other_id = ConnectionRow {
        credential_version: 9,
        ..connection(&world, "slack", "default")
    };
    let taken = connection_put(&mut tx, &other_id).await;
    assert!(matches!(taken, Err(DbError::Stale("connection"))));
    tx.commit().await.unwrap();
    let mut read = world.read().await;
    let got = connection_get(&mut read, slack.id).await.unwrap();
    assert_eq!(got, Some(renewed.clone()));
    let found = connection_find(&mut read, "slack", "default", None).await;
    assert_eq!(found.unwrap(), Some(renewed.clone()));
    let list = connection_list(&mut read, Some("slack"), Owners::All, &page(10)).await;
    assert_eq!(list.unwrap().items, [renewed]);
    let list = connection_list(&mut read, Some("gmail"), Owners::All, &page(10)).await;
    assert_eq!(list.unwrap().items, []);
    drop(read);

    let mut stranger = world.stranger().await;
    assert_eq!(connection_get(&mut stranger, slack.id).await.unwrap(), None);
    let list = connection_list(&mut stranger, None, Owners::All, &page(10)).await;
    assert_eq!(list.unwrap().items, []);
    assert!(matches!(
        connection_set_status(&mut stranger, slack.id, "x", at(3)).await,
        Err(DbError::NotFound("connection"))
    ));
    assert!(matches!(
        connection_delete(&mut stranger, slack.id).await,
        Err(DbError::NotFound("connection"))
    ));
    drop(stranger);

    let mut tx = world.write().await;
    connection_set_status(&mut tx, slack.id, connection_status::REVOKED, at(3))
        .await
        .unwrap();
    let got = connection_get(&mut tx, slack.id).await.unwrap().unwrap();
    assert_eq!(got.status, "revoked");
    connection_delete(&mut tx, slack.id).await.unwrap();
    assert_eq!(connection_get(&mut tx, slack.id).await.unwrap(), None);
}

async fn a_name_is_unique_for_its_owner(world: World) {
    let shared = connection(&world, "gmail", "default");
    let owned = |user: &str| ConnectionRow {
        owner_user: Some(user.into()),
        ..connection(&world, "gmail", "default")
    };
    let (ann, bob) = (owned("ann"), owned("bob"));
    let mut tx = world.write().await;
    for row in [&shared, &ann, &bob] {
        connection_put(&mut tx, row).await.unwrap();
    }
    let again = connection_put(&mut tx, &owned("ann")).await;
    assert!(matches!(again, Err(DbError::Stale("connection"))));
    let found = connection_find(&mut tx, "gmail", "default", Some("ann")).await;
    assert_eq!(found.unwrap().map(|row| row.id), Some(ann.id));
    for (owners, wanted) in [
        (Owners::All, vec![shared.id, ann.id, bob.id]),
        (Owners::User("bob"), vec![shared.id, bob.id]),
        (Owners::User("eve"), vec![shared.id]),
        (Owners::OrgOnly, vec![shared.id]),
    ] {
        let list = connection_list(&mut tx, None, owners, &page(10)).await;
        let ids: Vec<_> = list.unwrap().items.iter().map(|row| row.id).collect();
        assert_eq!(ids, wanted, "{owners:?}");
    }
}
