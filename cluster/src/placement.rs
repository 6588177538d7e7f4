//! The rules of ownership as traits.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Something that may be awake on one node at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// What it is, in the words of the layer above, for example `employee`.
    pub kind: &'static str,
    pub id: Uuid,
}

/// One life of one node. A restart is a new incarnation, so that an old life can be told from the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeIdentity {
    pub node_id: Uuid,
    pub incarnation: u64,
}

/// The right to run an entity. Epochs of one entity only grow; whatever an owner does to the outside carries its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub epoch: u64,
}

/// Where an entity is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Here: this node owns it or may claim it.
    Here,
    /// Awake on another node.
    Node(NodeIdentity),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    #[error("entity is owned by node {}", .0.node_id)]
    OwnedBy(NodeIdentity),
    #[error("this node has lost its lease")]
    Fenced,
    /// It finishes and gives away what it has, or does not take entities of this kind.
    #[error("this node takes no more of them")]
    NotTaken,
    #[error("placement is not available: {0}")]
    Unavailable(String),
}

/// Who owns what. The database is the truth; answers of [`Placement::route`] are hints that may be stale.
#[async_trait]
pub trait Placement: Send + Sync {
    /// Takes the entity for this node, or says who has it. Claiming what is already owned here gives the same claim again.
    async fn claim(&self, entity: Entity) -> Result<Claim, PlacementError> {
        let claimed = self.claim_all(&[entity]).await.pop();
        claimed.unwrap_or_else(|| Err(PlacementError::Unavailable("no answer".into())))
    }
    /// The same for many at once, in one question to the database; the answers are in order.
    async fn claim_all(&self, entities: &[Entity]) -> Vec<Result<Claim, PlacementError>>;
    /// Gives it back, so that any node may claim it.
    async fn release(&self, entity: Entity) -> Result<(), PlacementError> {
        self.release_all(&[entity]).await
    }
    /// Gives many back at once.
    async fn release_all(&self, entities: &[Entity]) -> Result<(), PlacementError>;
    /// Under which epoch this node has the entity; no question to the database.
    fn owned(&self, entity: Entity) -> Option<Claim>;
    fn identity(&self) -> NodeIdentity;
    /// Whether this node may still act on the outside. Looked at just before each effect.
    fn may_act(&self) -> bool;
}

/// How a message reaches the owner of an entity.
pub trait Delivery: Send + Sync {
    fn route(&self, entity: Entity) -> Route;
}
