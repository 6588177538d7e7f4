//! Placement over several nodes.

#[cfg(test)]
mod tests;

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
