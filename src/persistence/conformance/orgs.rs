use super::{on_both, world::*};
use crate::{
    domain::{KeyId, OrgId, Role},
    persistence::*,
};

on_both!(
    orgs_are_found_and_unique,
    an_org_sees_and_changes_only_itself,
    keys_are_found_by_hash_until_revoked
);

async fn orgs_are_found_and_unique(world: World) {
    let mut tx = world.system().await;
    assert_eq!(
        org_find(&mut tx, "acme").await.unwrap().map(|org| org.id),
        Some(world.org)
    );
    assert_eq!(org_find(&mut tx, "initech").await.unwrap(), None);
    let first = org_list(&mut tx, &page(1)).await.unwrap();
    let second = org_list(&mut tx, &next(1, &first)).await.unwrap();
    assert_eq!(
        (first.items[0].id, second.items[0].id, second.next),
        (world.org, world.other, None)
    );
    let again = OrgRow {
        id: OrgId::from_uuid(id()),
        name: "acme".into(),
        settings: "{}".into(),
        created: at(0),
    };
    assert!(matches!(
        org_insert(&mut tx, &again).await,
        Err(DbError::Duplicate(_))
    ));
}

async fn an_org_sees_and_changes_only_itself(world: World) {
    let mut tx = world.write().await;
    org_set_settings(&mut tx, r#"{"retention_days":30}"#)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        org_get(&mut world.read().await)
            .await
            .unwrap()
            .unwrap()
            .settings,
        r#"{"retention_days":30}"#
    );
    let other = org_get(&mut world.stranger().await).await.unwrap().unwrap();
    assert_eq!((other.id, other.settings.as_str()), (world.other, "{}"));
    let mut nobody = world.db.begin(OrgId::from_uuid(id())).await.unwrap();
    assert_eq!(org_get(&mut nobody).await.unwrap(), None);
    assert!(matches!(
        org_set_settings(&mut nobody, "{}").await,
        Err(DbError::NotFound("org"))
    ));
}

async fn keys_are_found_by_hash_until_revoked(world: World) {
    let key = KeyRow {
        org_id: world.org,
        id: KeyId::from_uuid(id()),
        hash: vec![7; 32],
        role: Role::Manager,
        name: "ci".into(),
        created: at(3),
        revoked: None,
        user: Some("ann@acme.test".into()),
        expires: Some(at(9)),
        last_used: None,
        tail: Some("wxyz".into()),
    };
    let mut tx = world.write().await;
    key_insert(&mut tx, &key).await.unwrap();
    tx.commit().await.unwrap();
    let twin = KeyRow {
        id: KeyId::from_uuid(id()),
        ..key.clone()
    };
    assert!(matches!(
        key_insert(&mut world.write().await, &twin).await,
        Err(DbError::Duplicate(_))
    ));

    assert_eq!(
        key_find_by_hash(&mut world.system_read().await, &key.hash)
            .await
            .unwrap(),
        Some(key.clone())
    );
    assert_eq!(
        key_find_by_hash(&mut world.system_read().await, &[8; 32])
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        key_list(&mut world.read().await, &page(10))
            .await
            .unwrap()
            .items,
        [key.clone()]
    );
    let mut tx = world.system().await;
    let nobody = (world.org, KeyId::from_uuid(id()), at(9));
    for now in [at(60), at(30)] {
        let used = [(world.org, key.id, now), nobody];
        keys_used(&mut tx, &used).await.unwrap();
    }
    tx.commit().await.unwrap();
    let used = key_find_by_hash(&mut world.system_read().await, &key.hash).await;
    assert_eq!(used.unwrap().unwrap().last_used, Some(at(60)));

    let mut stranger = world.stranger().await;
    assert_eq!(key_list(&mut stranger, &page(10)).await.unwrap().items, []);
    assert!(matches!(
        key_revoke(&mut stranger, key.id, at(4)).await,
        Err(DbError::NotFound("key"))
    ));
    drop(stranger);

    let mut tx = world.write().await;
    key_revoke(&mut tx, key.id, at(4)).await.unwrap();
    assert!(matches!(
        key_revoke(&mut tx, key.id, at(5)).await,
        Err(DbError::NotFound("key"))
    ));
    tx.commit().await.unwrap();
    assert_eq!(
        key_find_by_hash(&mut world.system_read().await, &key.hash)
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        key_list(&mut world.read().await, &page(10))
            .await
            .unwrap()
            .items[0]
            .revoked,
        Some(at(4))
    );
}
