//! A cluster of one.

use crate::{Claim, Delivery, Entity, NodeIdentity, Placement, PlacementError, Route};
use async_trait::async_trait;
use std::sync::atomic::{AtomicBool, Ordering};

/// Owns every entity from the start. Its epoch is its incarnation, which grows with each start, so that what an earlier life left
/// behind can be told from what this one does.
#[derive(Debug)]
pub struct OneNode {
    identity: NodeIdentity,
    fenced: AtomicBool,
}

impl OneNode {
    pub fn new(identity: NodeIdentity) -> Self {
        Self {
            identity,
            fenced: AtomicBool::new(false),
        }
    }

    /// From now on nothing may be claimed and nothing may act: another life of this node has taken over.
    pub fn fence(&self) {
        self.fenced.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Placement for OneNode {
    async fn claim_all(&self, entities: &[Entity]) -> Vec<Result<Claim, PlacementError>> {
        let claim = |entity: &Entity| self.owned(*entity).ok_or(PlacementError::Fenced);
        entities.iter().map(claim).collect()
    }

    async fn release_all(&self, _: &[Entity]) -> Result<(), PlacementError> {
        Ok(())
    }

    fn owned(&self, _: Entity) -> Option<Claim> {
        let epoch = self.identity.incarnation;
        self.may_act().then_some(Claim { epoch })
    }

    fn identity(&self) -> NodeIdentity {
        self.identity
    }

    fn may_act(&self) -> bool {
        !self.fenced.load(Ordering::SeqCst)
    }
}

impl Delivery for OneNode {
    fn route(&self, _entity: Entity) -> Route {
        Route::Here
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const IDENTITY: NodeIdentity = NodeIdentity {
        node_id: Uuid::nil(),
        incarnation: 3,
    };
    const ENTITY: Entity = Entity {
        kind: "employee",
        id: Uuid::nil(),
    };

    #[tokio::test]
    async fn everything_is_here_under_this_incarnation() {
        let node = OneNode::new(IDENTITY);
        assert_eq!(node.route(ENTITY), Route::Here);
        assert_eq!(node.claim(ENTITY).await, Ok(Claim { epoch: 3 }));
    }

    #[tokio::test]
    async fn a_fenced_node_claims_nothing() {
        let node = OneNode::new(IDENTITY);
        node.fence();
        assert!(!node.may_act());
        assert_eq!(node.claim(ENTITY).await, Err(PlacementError::Fenced));
    }
}
