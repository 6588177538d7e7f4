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
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// The placement rows in the database. The rules are those of [`ownership::claim`](crate::ownership::claim).
#[async_trait]
pub trait PlacementStore: Send + Sync + 'static {
    /// Takes each entity for this node if it is free or its owner's life is over; the epoch rises. What it has already it gets again.
    /// The answers are in the order of the entities, each of which comes once.
    ///
    /// # Errors
    /// For all of them: `Fenced`, `Unavailable`. For one: `OwnedBy`, `NotTaken` if this node is draining.
    async fn claim(
        &self,
        entities: &[Entity],
        me: NodeIdentity,
    ) -> Result<Vec<Result<Claim, PlacementError>>, PlacementError>;

    /// Frees them; nothing happens to what this node does not have.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn release(&self, entities: &[Entity], me: NodeIdentity) -> Result<(), PlacementError>;
}

/// What this node has, and where the rest may be. Remembers nothing that the database does not know better.
pub struct LeasedPlacement {
    me: NodeIdentity,
    takes: Vec<&'static str>,
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
    /// `takes`: the kinds of entities that this node takes.
    pub fn new(
        me: NodeIdentity,
        takes: Vec<&'static str>,
        gate: Arc<FenceGate>,
        view: watch::Receiver<View>,
        store: Arc<dyn PlacementStore>,
    ) -> Self {
        Self {
            me,
            takes,
            gate,
            view,
            store,
            known: Mutex::default(),
            turns: (0..TURNS).map(|_| tokio::sync::Mutex::default()).collect(),
        }
    }

    /// Without them the answer to a claim could come after a release that followed it, and be believed. Taken in order, so that two who
    /// want many do not wait for each other.
    async fn turns(&self, entities: &[Entity]) -> Vec<tokio::sync::MutexGuard<'_, ()>> {
        let turn = |entity: &Entity| {
            let (high, low) = entity.id.as_u64_pair();
            (high ^ low) as usize % TURNS
        };
        let wanted: BTreeSet<usize> = entities.iter().map(turn).collect();
        let mut turns = Vec::with_capacity(wanted.len());
        for turn in wanted {
            turns.push(self.turns[turn].lock().await);
        }
        turns
    }

    pub fn owned_count(&self) -> usize {
        self.known().owned.len()
    }

    /// What this node has of a kind.
    pub fn owned_of(&self, kind: &str) -> Vec<Entity> {
        let known = self.known();
        let of_kind = known.owned.keys().filter(|entity| entity.kind == kind);
        of_kind.copied().collect()
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

    /// Which node should have the entity; `None`: no node takes its kind.
    pub fn home(&self, entity: Entity) -> Option<NodeIdentity> {
        self.preferred(entity, |_| true)
    }

    /// Which other node should have the entity, if this one gave it up.
    pub fn next_home(&self, entity: Entity) -> Option<NodeIdentity> {
        self.preferred(entity, |member| member.identity != self.me)
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

impl LeasedPlacement {
    /// What is known of the answers to a claim.
    fn learn(&self, entities: &[Entity], claimed: &[Result<Claim, PlacementError>]) {
        let mut known = self.known();
        for (entity, claimed) in entities.iter().zip(claimed) {
            match claimed {
                Ok(claim) => {
                    known.elsewhere.remove(entity);
                    known.owned.insert(*entity, *claim);
                }
                Err(PlacementError::OwnedBy(owner)) => {
                    if known.elsewhere.len() >= MOST_HINTS {
                        known.elsewhere.clear();
                    }
                    known.elsewhere.insert(*entity, *owner);
                }
                Err(_) => {}
            }
        }
    }

    /// Asks the database for those that are not here already.
    async fn claim_missing(&self, entities: &[Entity]) -> Vec<Result<Claim, PlacementError>> {
        let _turns = self.turns(entities).await;
        let mut missing: Vec<Entity> = entities
            .iter()
            .filter(|entity| self.owned(**entity).is_none())
            .filter(|entity| self.takes.contains(&entity.kind))
            .copied()
            .collect();
        missing.sort_unstable_by_key(|entity| (entity.id, entity.kind));
        missing.dedup();
        let mut answers = HashMap::new();
        if !missing.is_empty() {
            let claimed = match self.store.claim(&missing, self.me).await {
                Ok(claimed) => claimed,
                Err(error) => return vec![Err(error); entities.len()],
            };
            self.learn(&missing, &claimed);
            answers.extend(missing.into_iter().zip(claimed));
        }
        let answer = |entity: &Entity| match answers.get(entity) {
            Some(claimed) => claimed.clone(),
            None => self.owned(*entity).ok_or(PlacementError::NotTaken),
        };
        entities.iter().map(answer).collect()
    }
}

#[async_trait]
impl Placement for LeasedPlacement {
    async fn claim_all(&self, entities: &[Entity]) -> Vec<Result<Claim, PlacementError>> {
        if !self.may_act() {
            return vec![Err(PlacementError::Fenced); entities.len()];
        }
        let known: Option<Vec<_>> = {
            let known = self.known();
            let owned = |entity: &Entity| known.owned.get(entity).map(|claim| Ok(*claim));
            entities.iter().map(owned).collect()
        };
        match known {
            Some(claims) => claims,
            None => self.claim_missing(entities).await,
        }
    }

    async fn release_all(&self, entities: &[Entity]) -> Result<(), PlacementError> {
        let _turns = self.turns(entities).await;
        {
            let mut known = self.known();
            for entity in entities {
                known.owned.remove(entity);
            }
        }
        self.store.release(entities, self.me).await
    }

    fn owned(&self, entity: Entity) -> Option<Claim> {
        self.known().owned.get(&entity).copied()
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
            .or_else(|| self.home(entity));
        match there {
            Some(node) if node != self.me => Route::Node(node),
            _ => Route::Here,
        }
    }
}
