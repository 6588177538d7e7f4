//! Placement over several nodes.

use crate::{
    Claim, Delivery, Entity, NodeIdentity, Placement, PlacementError, Route,
    membership::{Member, View},
    ownership::{FenceGate, NodeState},
    rendezvous::{self, Candidate},
};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The placement rows in the database. The rules are those of [`ownership::claim`](crate::ownership::claim).
#[async_trait]
pub trait PlacementStore: Send + Sync + 'static {
    /// Takes the entity for this node if it is free or its owner's life is over; the epoch rises. What it has already it gets again.
    ///
    /// # Errors
    /// `OwnedBy`, `Fenced`, `Unavailable`.
    async fn claim(&self, entity: Entity, me: NodeIdentity) -> Result<Claim, PlacementError>;

    /// Frees it; nothing happens if this node does not have it.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn release(&self, entity: Entity, me: NodeIdentity) -> Result<(), PlacementError>;
}

/// What this node has, and where the rest may be. Remembers nothing that the database does not know better.
pub struct LeasedPlacement {
    me: NodeIdentity,
    gate: Arc<FenceGate>,
    view: watch::Receiver<View>,
    store: Arc<dyn PlacementStore>,
    known: Mutex<Known>,
    /// Claims and releases of one entity happen one after the other; each lock stands for many entities.
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// So many claims and releases can be on their way to the database at once.
const TURNS: usize = 256;

#[derive(Default)]
struct Known {
    owned: HashMap<Entity, Claim>,
    /// Who had it when we asked last; dropped when it is forgotten or its owner's life is over.
    elsewhere: HashMap<Entity, NodeIdentity>,
}

/// Hints above this number are dropped all at once: they cost one refused claim each to learn again.
const MOST_HINTS: usize = 100_000;

impl LeasedPlacement {
    pub fn new(
        me: NodeIdentity,
        gate: Arc<FenceGate>,
        view: watch::Receiver<View>,
        store: Arc<dyn PlacementStore>,
    ) -> Self {
        Self {
            me,
            gate,
            view,
            store,
            known: Mutex::default(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }

    /// Without it the answer to a claim could come after a release that followed it, and be believed.
    async fn turn(&self, entity: Entity) -> tokio::sync::MutexGuard<'_, ()> {
        let (high, low) = entity.id.as_u64_pair();
        self.turns[(high ^ low) as usize % TURNS].lock().await
    }

    /// Under which epoch this node has the entity.
    pub fn owned(&self, entity: Entity) -> Option<Claim> {
        self.known().owned.get(&entity).copied()
    }

    pub fn owned_count(&self) -> usize {
        self.known().owned.len()
    }

    /// Forgets what it has, without a word to the database: its actors have stopped because the lease could not be renewed. What is
    /// still this node's is claimed again, under the same epoch.
    pub fn forget_all(&self) {
        self.known().owned.clear();
    }

    /// The entity is not where `route` said.
    pub fn forget_hint(&self, entity: Entity) {
        self.known().elsewhere.remove(&entity);
    }

    /// Gives the entity up on purpose and says who should have it next, to be told. Its actors have stopped and nothing of it is in
    /// flight.
    ///
    /// # Errors
    /// As [`Placement::release`].
    pub async fn hand_over(&self, entity: Entity) -> Result<Option<NodeIdentity>, PlacementError> {
        self.release(entity).await?;
        let next = self.preferred(entity, |member| member.identity != self.me);
        Ok(next)
    }

    /// Who should have the entity, of the nodes that take its kind.
    fn preferred(&self, entity: Entity, of: impl Fn(&Member) -> bool) -> Option<NodeIdentity> {
        let view = self.view.borrow();
        let takes = |member: &&Member| {
            member.state == NodeState::Alive
                && member.takes.iter().any(|kind| kind == entity.kind)
                && of(member)
        };
        let members: Vec<&Member> = view.members.iter().filter(takes).collect();
        let candidates: Vec<Candidate> = members
            .iter()
            .map(|member| Candidate {
                node_id: member.identity.node_id,
                weight: member.weight,
                zone: member.zone.clone(),
                draining: false,
            })
            .collect();
        let owner = rendezvous::owner(entity, &candidates)?;
        let identities = members.into_iter().map(|member| member.identity);
        { identities }.find(|identity| identity.node_id == owner)
    }

    fn is_in_service(&self, node: NodeIdentity) -> bool {
        let view = self.view.borrow();
        let is_it = |member: &Member| member.identity == node && member.is_in_service();
        view.members.iter().any(is_it)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Placement for LeasedPlacement {
    async fn claim(&self, entity: Entity) -> Result<Claim, PlacementError> {
        if !self.may_act() {
            return Err(PlacementError::Fenced);
        }
        if let Some(claim) = self.owned(entity) {
            return Ok(claim);
        }
        let _turn = self.turn(entity).await;
        if let Some(claim) = self.owned(entity) {
            return Ok(claim);
        }
        let claimed = self.store.claim(entity, self.me).await;
        let mut known = self.known();
        match &claimed {
            Ok(claim) => {
                known.elsewhere.remove(&entity);
                known.owned.insert(entity, *claim);
            }
            Err(PlacementError::OwnedBy(owner)) => {
                if known.elsewhere.len() >= MOST_HINTS {
                    known.elsewhere.clear();
                }
                known.elsewhere.insert(entity, *owner);
            }
            Err(PlacementError::Fenced | PlacementError::Unavailable(_)) => {}
        }
        claimed
    }

    async fn release(&self, entity: Entity) -> Result<(), PlacementError> {
        let _turn = self.turn(entity).await;
        self.known().owned.remove(&entity);
        self.store.release(entity, self.me).await
    }

    fn identity(&self) -> NodeIdentity {
        self.me
    }

    fn may_act(&self) -> bool {
        self.gate.may_act()
    }
}

impl Delivery for LeasedPlacement {
    /// Here if it is here; where it was seen last if that node is in service; else where it should be. The last may say another node
    /// although nobody has it: that one claims it then.
    fn route(&self, entity: Entity) -> Route {
        let seen = {
            let known = self.known();
            if known.owned.contains_key(&entity) {
                return Route::Here;
            }
            known.elsewhere.get(&entity).copied()
        };
        let there = seen
            .filter(|node| self.is_in_service(*node))
            .or_else(|| self.preferred(entity, |_| true));
        match there {
            Some(node) if node != self.me => Route::Node(node),
            _ => Route::Here,
        }
    }
}

#[cfg(test)]
mod tests {
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

    #[async_trait]
    impl PlacementStore for Rows {
        async fn claim(&self, entity: Entity, me: NodeIdentity) -> Result<Claim, PlacementError> {
            let mut rows = self.rows.lock().unwrap();
            let row = rows.get(&entity).copied();
            let owner = row.and_then(|row| row.owner).map(|owner| self.row(owner));
            let claimed =
                claim(row, owner, me, Some(self.row(me))).map_err(|refused| match refused {
                    ClaimRefused::OwnedBy(owner) => PlacementError::OwnedBy(owner),
                    ClaimRefused::Draining | ClaimRefused::Fenced => PlacementError::Fenced,
                })?;
            let row = PlacementRow {
                owner: Some(me),
                epoch: claimed.epoch,
            };
            rows.insert(entity, row);
            Ok(claimed)
        }
        async fn release(&self, entity: Entity, me: NodeIdentity) -> Result<(), PlacementError> {
            let mut rows = self.rows.lock().unwrap();
            if let Some(row) = rows.get_mut(&entity).filter(|row| row.owner == Some(me)) {
                row.owner = None;
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
    }

    #[tokio::test]
    async fn hand_over_names_the_next_and_raises_the_epoch() {
        let world = World::new();
        let (one, two) = (world.placement(1), world.placement(2));
        one.claim(entity(1)).await.unwrap();
        assert_eq!(one.hand_over(entity(1)).await, Ok(Some(node(2))));
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
}
