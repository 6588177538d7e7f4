//! Three nodes over rows in memory.

use super::*;
use crate::{
    membership::Standing,
    ownership::{ClaimRefused, LeaseTerms, Moment, NodeRow, PlacementRow, claim},
};
use std::time::Duration;
use uuid::Uuid;

/// The rules on rows in memory. Every node of the rows is alive under incarnation 1 unless it is in `dead`.
#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<Entity, PlacementRow>>,
    dead: Mutex<Vec<Uuid>>,
}

impl Rows {
    fn row(&self, node: NodeIdentity) -> NodeRow {
        let dead = self.dead.lock().unwrap().contains(&node.node_id);
        NodeRow {
            incarnation: 1,
            state: if dead {
                NodeState::Dead
            } else {
                NodeState::Alive
            },
        }
    }
}

impl Rows {
    fn claim_one(&self, entity: Entity, me: NodeIdentity) -> Result<Claim, PlacementError> {
        let mut rows = self.rows.lock().unwrap();
        let row = rows.get(&entity).copied();
        let owner = row.and_then(|row| row.owner).map(|owner| self.row(owner));
        let claimed =
            claim(row, owner, me, Some(self.row(me))).map_err(|refused| match refused {
                ClaimRefused::OwnedBy(owner) => PlacementError::OwnedBy(owner),
                ClaimRefused::Draining => PlacementError::NotTaken,
                ClaimRefused::Fenced => PlacementError::Fenced,
            })?;
        let row = PlacementRow {
            owner: Some(me),
            epoch: claimed.epoch,
        };
        rows.insert(entity, row);
        Ok(claimed)
    }
}

#[async_trait]
impl PlacementStore for Rows {
    async fn claim(
        &self,
        entities: &[Entity],
        me: NodeIdentity,
    ) -> Result<Vec<Result<Claim, PlacementError>>, PlacementError> {
        let claim = |entity: &Entity| self.claim_one(*entity, me);
        Ok(entities.iter().map(claim).collect())
    }
    async fn release(&self, entities: &[Entity], me: NodeIdentity) -> Result<(), PlacementError> {
        let mut rows = self.rows.lock().unwrap();
        for entity in entities {
            if let Some(row) = rows.get_mut(entity).filter(|row| row.owner == Some(me)) {
                row.owner = None;
            }
        }
        Ok(())
    }
}

const fn node(number: u128) -> NodeIdentity {
    NodeIdentity {
        node_id: Uuid::from_u128(number),
        incarnation: 1,
    }
}
const fn entity(number: u128) -> Entity {
    Entity {
        kind: "employee",
        id: Uuid::from_u128(number),
    }
}
fn member(number: u128, takes: &[&str]) -> Member {
    Member {
        identity: node(number),
        state: NodeState::Alive,
        address: String::new(),
        build: String::new(),
        zone: String::new(),
        weight: 100,
        takes: takes.iter().map(|kind| (*kind).to_owned()).collect(),
        lease_left: Duration::from_secs(10),
    }
}

struct World {
    rows: Arc<Rows>,
    view: watch::Sender<View>,
}

impl World {
    /// Nodes 1 and 2 take employees, 3 takes nothing.
    fn new() -> Self {
        let members = [
            member(1, &["employee"]),
            member(2, &["employee"]),
            member(3, &[]),
        ];
        let view = View {
            standing: Standing::Acting,
            members: members.into(),
        };
        Self {
            rows: Arc::default(),
            view: watch::channel(view).0,
        }
    }
    fn placement(&self, number: u128) -> LeasedPlacement {
        let gate = FenceGate::new(LeaseTerms::default());
        gate.renewed(Moment::now());
        LeasedPlacement::new(
            node(number),
            if number == 3 {
                vec![]
            } else {
                vec!["employee"]
            },
            Arc::new(gate),
            self.view.subscribe(),
            self.rows.clone(),
        )
    }
}

#[tokio::test]
async fn one_wins_and_the_other_learns_where() {
    let world = World::new();
    let (one, two) = (world.placement(1), world.placement(2));
    for number in 0..100 {
        assert_eq!(one.claim(entity(number)).await, Ok(Claim { epoch: 1 }));
        let refused = two.claim(entity(number)).await;
        assert_eq!(refused, Err(PlacementError::OwnedBy(node(1))));
        assert_eq!(one.route(entity(number)), Route::Here);
        assert_eq!(two.route(entity(number)), Route::Node(node(1)));
    }
    assert_eq!(one.owned_count(), 100);
}

#[tokio::test]
async fn everybody_agrees_where_what_nobody_has_should_be() {
    let world = World::new();
    let placements = [1, 2, 3].map(|number| world.placement(number));
    let mut homes = Vec::new();
    for number in 0..50 {
        let homes_of_it: Vec<NodeIdentity> = placements
            .iter()
            .map(|placement| match placement.route(entity(number)) {
                Route::Here => placement.identity(),
                Route::Node(node) => node,
            })
            .collect();
        assert!(homes_of_it.iter().all(|home| *home == homes_of_it[0]));
        homes.push(homes_of_it[0]);
    }
    assert!(homes.contains(&node(1)) && homes.contains(&node(2)));
    assert!(!homes.contains(&node(3)), "it takes no employees");
    let refused = placements[2].claim(entity(1)).await;
    assert_eq!(refused, Err(PlacementError::NotTaken));
}

#[tokio::test]
async fn hand_over_names_the_next_and_raises_the_epoch() {
    let world = World::new();
    let (one, two) = (world.placement(1), world.placement(2));
    one.claim(entity(1)).await.unwrap();
    assert_eq!(one.next_home(entity(1)), Some(node(2)));
    assert_eq!(one.release(entity(1)).await, Ok(()));
    assert_eq!(one.owned(entity(1)), None);
    assert_eq!(two.claim(entity(1)).await, Ok(Claim { epoch: 2 }));
}

#[tokio::test]
async fn what_a_dead_node_had_is_taken() {
    let world = World::new();
    let (one, two) = (world.placement(1), world.placement(2));
    one.claim(entity(1)).await.unwrap();
    assert!(two.claim(entity(1)).await.is_err());
    world.rows.dead.lock().unwrap().push(node(1).node_id);
    world.view.send_modify(|view| {
        let mut members = view.members.to_vec();
        members[0].state = NodeState::Dead;
        view.members = members.into();
    });
    assert_eq!(two.route(entity(1)), Route::Here, "the hint is over");
    assert_eq!(two.claim(entity(1)).await, Ok(Claim { epoch: 2 }));
}

#[tokio::test]
async fn a_suspended_node_claims_nothing_and_comes_back_under_the_same_epoch() {
    let world = World::new();
    let one = world.placement(1);
    one.claim(entity(1)).await.unwrap();
    one.forget_all();
    assert_eq!(one.claim(entity(1)).await, Ok(Claim { epoch: 1 }));
    one.gate.close();
    assert_eq!(one.claim(entity(1)).await, Err(PlacementError::Fenced));
}
