use super::{on_both, world::*};
use crate::{
    domain::{ConnectionId, HookId},
    persistence::*,
};

on_both!(hooks_are_found_without_an_org, connections_are_put_in_place);

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

async fn connections_are_put_in_place(world: World) {
    let slack = ConnectionRow {
        org_id: world.org,
        id: ConnectionId::from_uuid(id()),
        integration: "slack".into(),
        name: "default".into(),
        sealed_credential: Sealed(b"sealed".to_vec()),
        base_url: Some("http://127.0.0.1:9".into()),
        account: "{}".into(),
        status: "active".into(),
        created: at(1),
        updated: at(1),
    };
    let mut tx = world.write().await;
    assert_eq!(connection_put(&mut tx, &slack).await.unwrap(), slack.id);
    let renewed = ConnectionRow {
        id: ConnectionId::from_uuid(id()),
        sealed_credential: Sealed(b"new".to_vec()),
        base_url: None,
        account: "{}".into(),
        updated: at(2),
        ..slack.clone()
    };
    assert_eq!(
        connection_put(&mut tx, &renewed).await.unwrap(),
        slack.id,
        "the first id stays"
    );
    tx.commit().await.unwrap();
    let wanted = ConnectionRow {
        id: slack.id,
        created: at(1),
        ..renewed
    };
    assert_eq!(
        connection_get(&mut world.read().await, slack.id)
            .await
            .unwrap(),
        Some(wanted.clone())
    );
    assert_eq!(
        connection_list(&mut world.read().await, Some("slack"), &page(10))
            .await
            .unwrap()
            .items,
        [wanted]
    );
    assert_eq!(
        connection_list(&mut world.read().await, Some("gmail"), &page(10))
            .await
            .unwrap()
            .items,
        []
    );

    let mut stranger = world.stranger().await;
    assert_eq!(connection_get(&mut stranger, slack.id).await.unwrap(), None);
    assert_eq!(
        connection_list(&mut stranger, None, &page(10))
            .await
            .unwrap()
            .items,
        []
    );
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
    connection_set_status(&mut tx, slack.id, "needs_consent", at(3))
        .await
        .unwrap();
    assert_eq!(
        connection_get(&mut tx, slack.id)
            .await
            .unwrap()
            .unwrap()
            .status,
        "needs_consent"
    );
    connection_delete(&mut tx, slack.id).await.unwrap();
    assert_eq!(connection_get(&mut tx, slack.id).await.unwrap(), None);
}
