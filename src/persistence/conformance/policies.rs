use super::{on_both, world::*};
use crate::{
    domain::{ApprovalId, ContentHash, EmployeeId, ExecutionId, PolicyId},
    persistence::*,
};

on_both!(
    rules_are_an_orgs_own,
    questions_of_clients_are_closed_when_they_expire
);

async fn rules_are_an_orgs_own(world: World) {
    let rule = |name: &str, made: i64| PolicyRow {
        org_id: world.org,
        id: PolicyId::from_uuid(id()),
        name: name.into(),
        rule: "{}".into(),
        created: at(made),
        updated: at(made),
    };
    let (late, early) = (rule("late", 2), rule("early", 1));
    let mut tx = world.write().await;
    policy_insert(&mut tx, &late).await.unwrap();
    policy_insert(&mut tx, &early).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.write().await;
    assert!(matches!(
        policy_insert(&mut tx, &rule("late", 3)).await,
        Err(DbError::Duplicate(_))
    ));
    drop(tx);
    let mut tx = world.read().await;
    assert_eq!(
        policy_list(&mut tx).await.unwrap(),
        [early.clone(), late.clone()]
    );
    drop(tx);

    let mut stranger = world.stranger().await;
    assert_eq!(policy_list(&mut stranger).await.unwrap(), []);
    assert_eq!(policy_get(&mut stranger, late.id).await.unwrap(), None);
    assert!(matches!(
        policy_update(&mut stranger, &late).await,
        Err(DbError::NotFound("policy"))
    ));
    assert!(matches!(
        policy_delete(&mut stranger, late.id).await,
        Err(DbError::NotFound("policy"))
    ));
    drop(stranger);

    let changed = PolicyRow {
        name: "later".into(),
        rule: r#"{"effect":"deny"}"#.into(),
        updated: at(9),
        ..late.clone()
    };
    let mut tx = world.write().await;
    policy_update(&mut tx, &changed).await.unwrap();
    policy_delete(&mut tx, early.id).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = world.read().await;
    assert_eq!(policy_list(&mut tx).await.unwrap(), [changed]);
}

async fn questions_of_clients_are_closed_when_they_expire(world: World) {
    let question = |expires: i64, asked_by: Option<&str>| ApprovalRow {
        org_id: world.org,
        id: ApprovalId::from_uuid(id()),
        run_id: ExecutionId::from_uuid(id()),
        employee_id: EmployeeId::from_uuid(id()),
        step: "0.1.1.1".into(),
        title: "May I?".into(),
        arguments: "{}".into(),
        arguments_hash: ContentHash::of(b"{}"),
        status: ApprovalStatus::Pending,
        asked: at(1),
        expires: Some(at(expires)),
        decided: None,
        decided_by: None,
        comment: None,
        asked_by: asked_by.map(str::to_owned),
        owner_user: None,
    };
    let (due, later) = (question(50, Some("api:x")), question(500, Some("api:x")));
    let of_a_run = question(50, None);
    let mut append = Append::new(world.org);
    append.approvals = [&due, &later, &of_a_run]
        .map(|row| ApprovalChange::Ask(Box::new(row.clone())))
        .to_vec();
    world.commit(&[append]).await;
    let mut tx = world.system().await;
    assert_eq!(
        approvals_of_calls_expire(&mut tx, at(100)).await.unwrap(),
        1
    );
    tx.commit().await.unwrap();
    let mut tx = world.read().await;
    for (row, status) in [
        (due, ApprovalStatus::Expired),
        (later, ApprovalStatus::Pending),
        (of_a_run, ApprovalStatus::Pending),
    ] {
        let now = approval_get(&mut tx, row.id).await.unwrap().unwrap();
        assert_eq!(now.status, status);
        assert_eq!(now.asked_by, row.asked_by);
    }
}
