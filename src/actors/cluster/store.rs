//! The node and placement rows, as membership and placement ask for them.

use crate::persistence::{
    Claimed, Db, DbError, Fence, NodeRow, NodeState, SystemTx, node_declare_dead, node_drain,
    node_heartbeat, node_leave, node_list, placements_claim, placements_release,
};
use async_trait::async_trait;
use tenure_cluster::{
    Claim, Entity, NodeIdentity, PlacementError, PlacementStore,
    membership::{Directory, DirectoryError, Member},
    ownership::LeaseTerms,
};

/// Reads and writes the rows of the cluster. Its transactions carry no fence of their own: each statement says which life it is of.
#[derive(Clone, Debug)]
pub struct ClusterStore {
    db: Db,
    terms: LeaseTerms,
}

impl ClusterStore {
    pub fn new(db: Db, terms: LeaseTerms) -> Self {
        Self {
            db: db.unfenced(),
            terms,
        }
    }

    async fn begin(&self, reason: &'static str) -> Result<SystemTx, DbError> {
        self.db.begin_system(reason).await
    }

    async fn try_renew(&self, me: Fence) -> Result<(), DbError> {
        let mut tx = self.begin("renew the lease").await?;
        node_heartbeat(&mut tx, me, self.terms.ttl).await?;
        tx.commit().await
    }

    async fn try_list(&self) -> Result<Vec<NodeRow>, DbError> {
        let mut tx = self.db.begin_system_read("nodes of the cluster").await?;
        node_list(&mut tx).await
    }

    async fn try_declare_dead(&self, node: Fence) -> Result<bool, DbError> {
        let mut tx = self.begin("a node's lease is over").await?;
        let declared = node_declare_dead(&mut tx, node).await?;
        tx.commit().await?;
        Ok(declared)
    }

    async fn try_drain(&self, me: Fence) -> Result<(), DbError> {
        let mut tx = self.begin("the node drains").await?;
        node_drain(&mut tx, me).await?;
        tx.commit().await
    }

    async fn try_leave(&self, me: Fence) -> Result<(), DbError> {
        let mut tx = self.begin("the node leaves").await?;
        node_leave(&mut tx, me).await?;
        tx.commit().await
    }

    async fn try_claim(&self, entities: &[Entity], me: Fence) -> Result<Vec<Claimed>, DbError> {
        let mut tx = self.begin("claim entities").await?;
        let claimed = placements_claim(&mut tx, entities, me).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn try_release(&self, entities: &[Entity], me: Fence) -> Result<(), DbError> {
        let mut tx = self.begin("release entities").await?;
        placements_release(&mut tx, entities, me).await?;
        tx.commit().await
    }
}

/// Incarnations are counted from one by the database, in 63 bits.
fn fence(node: NodeIdentity) -> Fence {
    Fence {
        node_id: node.node_id,
        incarnation: node.incarnation.try_into().unwrap_or(i64::MAX),
    }
}

fn identity(node: Fence) -> NodeIdentity {
    NodeIdentity {
        node_id: node.node_id,
        incarnation: node.incarnation.unsigned_abs(),
    }
}

fn member(row: NodeRow) -> Member {
    Member {
        identity: identity(row.fence()),
        state: row.state.into(),
        lease_left: match row.state {
            NodeState::Dead => std::time::Duration::ZERO,
            _ => row.lease_left(),
        },
        address: row.address,
        build: row.build,
        zone: row.zone,
        weight: row.weight.try_into().unwrap_or(u32::MAX),
        takes: row.takes.0,
    }
}

fn directory_error(error: DbError) -> DirectoryError {
    match error {
        DbError::Fenced => DirectoryError::Fenced,
        error => DirectoryError::Unavailable(error.to_string()),
    }
}

fn placement_error(error: DbError) -> PlacementError {
    match error {
        DbError::Fenced => PlacementError::Fenced,
        error => PlacementError::Unavailable(error.to_string()),
    }
}

#[async_trait]
impl Directory for ClusterStore {
    async fn renew(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        self.try_renew(fence(me)).await.map_err(directory_error)
    }

    async fn list(&self) -> Result<Vec<Member>, DirectoryError> {
        let rows = self.try_list().await.map_err(directory_error)?;
        Ok(rows.into_iter().map(member).collect())
    }

    async fn declare_dead(&self, node: NodeIdentity) -> Result<bool, DirectoryError> {
        let declared = self.try_declare_dead(fence(node)).await;
        declared.map_err(directory_error)
    }

    async fn drain(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        self.try_drain(fence(me)).await.map_err(directory_error)
    }

    async fn leave(&self, me: NodeIdentity) -> Result<(), DirectoryError> {
        self.try_leave(fence(me)).await.map_err(directory_error)
    }
}

#[async_trait]
impl PlacementStore for ClusterStore {
    async fn claim(
        &self,
        entities: &[Entity],
        me: NodeIdentity,
    ) -> Result<Vec<Result<Claim, PlacementError>>, PlacementError> {
        let claimed = self.try_claim(entities, fence(me)).await;
        let answer = |claimed| match claimed {
            Claimed::Under(epoch) => Ok(Claim {
                epoch: i64::unsigned_abs(epoch),
            }),
            Claimed::OwnedBy(owner) => Err(PlacementError::OwnedBy(identity(owner))),
            Claimed::NotTaken => Err(PlacementError::NotTaken),
        };
        let claimed = claimed.map_err(placement_error)?;
        Ok(claimed.into_iter().map(answer).collect())
    }

    async fn release(&self, entities: &[Entity], me: NodeIdentity) -> Result<(), PlacementError> {
        let released = self.try_release(entities, fence(me)).await;
        released.map_err(placement_error)
    }
}
