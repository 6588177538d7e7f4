//! What the statements decide and what the pure rules of `tenure_cluster::ownership` decide is the same in all small cases.

use super::{on_both, world::*};
use crate::persistence::{tx::on_tx, *};
use tenure_cluster::{
    Entity, NodeIdentity,
    ownership::{self, ClaimRefused, PlacementRow as Placed},
};
use uuid::Uuid;

on_both!(
    claims_are_decided_by_the_rule,
    starts_are_decided_by_the_rule,
    deaths_are_decided_by_the_rule,
    who_is_in_service_is_decided_by_the_rule
);

const ME: Fence = Fence {
    node_id: Uuid::from_u128(1),
    incarnation: 40,
};
const OTHER: Fence = Fence {
    node_id: Uuid::from_u128(2),
    incarnation: 70,
};
const STATES: [NodeState; 3] = [NodeState::Alive, NodeState::Draining, NodeState::Dead];

/// A row of a node: its incarnation and state.
type Row = Option<(i64, NodeState)>;

/// No row, and one of the same, of an earlier and of a later life in each state.
fn rows_of(incarnation: i64) -> Vec<Row> {
    let lives = [incarnation, incarnation - 1, incarnation + 1];
    let rows = { lives }
        .into_iter()
        .flat_map(|life| STATES.map(|state| Some((life, state))));
    std::iter::once(None).chain(rows).collect()
}

fn pure(row: Row) -> Option<ownership::NodeRow> {
    row.map(|(incarnation, state)| ownership::NodeRow {
        incarnation: incarnation.unsigned_abs(),
        state: state.into(),
    })
}

fn identity(fence: Fence) -> NodeIdentity {
    NodeIdentity {
        node_id: fence.node_id,
        incarnation: fence.incarnation.unsigned_abs(),
    }
}

async fn clear(tx: &mut SystemTx) {
    for statement in ["DELETE FROM node", "DELETE FROM placement"] {
        on_tx!(tx, |conn| sqlx::query(statement)
            .execute(conn)
            .await
            .map(drop))
        .unwrap();
    }
}

/// Puts a node's row where it is told, whose lease ends now or in an hour.
async fn node(tx: &mut SystemTx, id: Uuid, row: Row, lease_is_over: bool) {
    let Some((incarnation, state)) = row else {
        return;
    };
    let left = if lease_is_over { 0 } else { 3_600_000_000 };
    let until = clock(tx).await.unwrap().micros() + left;
    on_tx!(tx, |conn| sqlx::query(
        "INSERT INTO node (id, incarnation, state, name, address, lease_until_us) VALUES ($1, $2, $3, '', '', $4)"
    )
    .bind(id)
    .bind(incarnation)
    .bind(state)
    .bind(until)
    .execute(conn)
    .await
    .map(drop))
    .unwrap();
}

async fn placement(tx: &mut SystemTx, entity: Entity, placed: Option<(Option<Fence>, i64)>) {
    let Some((owner, epoch)) = placed else {
        return;
    };
    on_tx!(tx, |conn| sqlx::query(
        "INSERT INTO placement (entity, kind, node_id, incarnation, epoch) VALUES ($1, $2, $3, $4, $5)"
    )
    .bind(entity.id)
    .bind(entity.kind)
    .bind(owner.map(|owner| owner.node_id))
    .bind(owner.map(|owner| owner.incarnation))
    .bind(epoch)
    .execute(conn)
    .await
    .map(drop))
    .unwrap();
}

async fn claims_are_decided_by_the_rule(world: World) {
    let entity = Entity {
        kind: "employee",
        id: id(),
    };
    let earlier = Fence {
        incarnation: 39,
        ..ME
    };
    let owners = [None, Some(ME), Some(earlier), Some(OTHER)];
    let placements: Vec<_> = std::iter::once(None)
        .chain(owners.map(|owner| Some((owner, 5))))
        .collect();
    let mut tx = world.system().await;
    for placed in placements {
        for own_row in rows_of(ME.incarnation) {
            for other_row in rows_of(OTHER.incarnation) {
                clear(&mut tx).await;
                node(&mut tx, ME.node_id, own_row, false).await;
                node(&mut tx, OTHER.node_id, other_row, false).await;
                placement(&mut tx, entity, placed).await;
                let owner = placed.and_then(|(owner, _)| owner);
                let owner_row = match owner {
                    Some(owner) if owner.node_id == OTHER.node_id => other_row,
                    _ => own_row,
                };
                let pure_placement = placed.map(|(owner, epoch)| Placed {
                    owner: owner.map(identity),
                    epoch: epoch.unsigned_abs(),
                });
                let rule =
                    ownership::claim(pure_placement, pure(owner_row), identity(ME), pure(own_row));
                let claimed = placements_claim(&mut tx, &[entity], ME).await;
                let case = format!("{placed:?}, own row {own_row:?}, other's {other_row:?}");
                match (rule, claimed) {
                    (Err(ClaimRefused::Fenced), Err(DbError::Fenced)) => {}
                    (Ok(claim), Ok(claimed)) => {
                        assert_eq!(claimed, [Claimed::Under(claim.epoch as i64)], "{case}");
                        let row = placement_get(&mut tx, entity.id, entity.kind).await;
                        let row = row.unwrap().unwrap();
                        assert_eq!(row.node_id, Some(ME.node_id), "{case}");
                        assert_eq!(row.incarnation, Some(ME.incarnation), "{case}");
                        assert_eq!(row.epoch, claim.epoch as i64, "{case}");
                    }
                    (Err(ClaimRefused::OwnedBy(_)), Ok(claimed)) => {
                        let owner = Claimed::OwnedBy(owner.unwrap());
                        assert_eq!(claimed, [owner], "{case}");
                    }
                    (Err(ClaimRefused::Draining), Ok(claimed)) => {
                        assert_eq!(claimed, [Claimed::NotTaken], "{case}");
                    }
                    (rule, claimed) => panic!("{case}: {rule:?}, {claimed:?}"),
                }
            }
        }
    }
}

async fn starts_are_decided_by_the_rule(world: World) {
    let mut tx = world.system().await;
    for row in rows_of(ME.incarnation) {
        for lease_is_over in [false, true] {
            for process_is_gone in [false, true] {
                clear(&mut tx).await;
                node(&mut tx, ME.node_id, row, lease_is_over).await;
                let start = NodeStart {
                    process_is_gone,
                    ..node_start(ME.node_id)
                };
                let may = ownership::may_register(pure(row), lease_is_over, process_is_gone);
                let answer = node_register(&mut tx, &start).await.unwrap();
                let registered = matches!(answer, Registered::As(_));
                assert_eq!(
                    registered, may,
                    "{row:?}, lease over: {lease_is_over}, gone: {process_is_gone}"
                );
            }
        }
    }
}

async fn deaths_are_decided_by_the_rule(world: World) {
    let mut tx = world.system().await;
    for row in rows_of(ME.incarnation) {
        for lease_is_over in [false, true] {
            clear(&mut tx).await;
            node(&mut tx, ME.node_id, row, lease_is_over).await;
            let may = pure(row).is_some_and(|row| {
                ownership::may_declare_dead(row, ME.incarnation.unsigned_abs(), lease_is_over)
            });
            let declared = node_declare_dead(&mut tx, ME).await.unwrap();
            assert_eq!(declared, may, "{row:?}, lease over: {lease_is_over}");
        }
    }
}

async fn who_is_in_service_is_decided_by_the_rule(world: World) {
    for row in rows_of(ME.incarnation) {
        let admitted = ownership::admits(pure(row), ME.incarnation.unsigned_abs());
        let mut tx = world.system().await;
        clear(&mut tx).await;
        node(&mut tx, ME.node_id, row, true).await;
        let renewed = node_heartbeat(&mut tx, ME, std::time::Duration::ZERO).await;
        tx.commit().await.unwrap();
        let db = world.db.fenced(ME);
        let writes = db.begin_system("a case").await.map(drop);
        let of_an_org = db.begin(world.org).await.map(drop);
        let mut tx = world.system().await;
        let drained = node_drain(&mut tx, ME).await;
        let left = node_leave(&mut tx, ME).await.unwrap();
        for (what, result) in [
            ("renew", renewed),
            ("write", writes),
            ("write as an org", of_an_org),
            ("drain", drained),
        ] {
            let fenced = match result {
                Ok(()) => false,
                Err(DbError::Fenced) => true,
                Err(error) => panic!("{what}, {row:?}: {error}"),
            };
            assert_eq!(!fenced, admitted, "{what}, {row:?}");
        }
        assert_eq!(left, admitted, "leave, {row:?}");
    }
}
