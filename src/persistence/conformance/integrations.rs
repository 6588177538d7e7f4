use super::{on_both, world::*};
use crate::persistence::*;

on_both!(integrations_are_an_orgs_own);

async fn integrations_are_an_orgs_own(world: World) {
    let row = |id: &str, definition: &str, time: i64| IntegrationRow {
        org_id: world.org,
        id: id.into(),
        definition: definition.into(),
        created: at(time),
        updated: at(time),
    };
    let mut tx = world.write().await;
    assert_eq!(integration_list(&mut tx).await.unwrap(), []);
    let erp = row("erp", "{}", 1);
    assert_eq!(integration_put(&mut tx, &erp).await.unwrap(), at(1));
    integration_put(&mut tx, &row("crm", "{}", 2))
        .await
        .unwrap();
    let changed = row("erp", "{\"a\":1}", 3);
    assert_eq!(integration_put(&mut tx, &changed).await.unwrap(), at(1));
    tx.commit().await.unwrap();

    let mut stranger = world.stranger().await;
    assert_eq!(integration_list(&mut stranger).await.unwrap(), []);
    assert_eq!(integration_get(&mut stranger, "erp").await.unwrap(), None);
    assert!(matches!(
        integration_delete(&mut stranger, "erp").await,
        Err(DbError::NotFound("integration"))
    ));
    let theirs = IntegrationRow {
        org_id: stranger.org(),
        ..row("erp", "{\"b\":2}", 4)
    };
    assert_eq!(
        integration_put(&mut stranger, &theirs).await.unwrap(),
        at(4)
    );
    stranger.commit().await.unwrap();

    let mut tx = world.write().await;
    let expected = IntegrationRow {
        created: at(1),
        ..changed
    };
    assert_eq!(
        integration_get(&mut tx, "erp").await.unwrap(),
        Some(expected)
    );
    let all = integration_list(&mut tx).await.unwrap();
    let ids: Vec<_> = all.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["crm", "erp"]);
    integration_delete(&mut tx, "erp").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        integration_get(&mut world.write().await, "erp")
            .await
            .unwrap(),
        None
    );
}
