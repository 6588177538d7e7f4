//! The processes of a cluster and what each of them owns. `Fence` is what a node proves with each write.

use super::{
    error::{DbError, Result},
    tx::{Dialect, SystemTx, on_tx},
    words::words,
};
use crate::domain::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

words! {
    NodeState {
        Alive = "alive",
        /// Its lease ran out and another node said so, or it left.
        Dead = "dead",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct NodeRow {
    pub id: Uuid,
    /// Raised by each start.
    pub incarnation: i64,
    pub state: NodeState,
    pub name: String,
    pub address: String,
    #[sqlx(rename = "lease_until_us")]
    pub lease_until: Timestamp,
}

/// Says which start of which node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    pub node_id: Uuid,
    pub incarnation: i64,
}

/// Puts the node in service and gives its new incarnation. An earlier one is fenced from then on; its transactions in flight end first.
pub async fn node_register(
    tx: &mut SystemTx,
    id: Uuid,
    name: &str,
    address: &str,
    lease_until: Timestamp,
) -> Result<i64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(
        "INSERT INTO node (id, incarnation, state, name, address, lease_until_us) VALUES ($1, 1, 'alive', $2, $3, $4)
         ON CONFLICT (id) DO UPDATE SET incarnation = node.incarnation + 1, state = 'alive', name = excluded.name,
             address = excluded.address, lease_until_us = excluded.lease_until_us
         RETURNING incarnation"
    )
    .bind(id)
    .bind(name)
    .bind(address)
    .bind(lease_until)
    .fetch_one(conn)
    .await
    })?)
}

/// Renews the lease; waits for nobody.
///
/// # Errors
/// `Fenced` if the node was declared dead or replaced.
pub async fn node_heartbeat(tx: &mut SystemTx, node: Fence, lease_until: Timestamp) -> Result<()> {
    let renewed = on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE node SET lease_until_us = $3 WHERE id = $1 AND incarnation = $2 AND state = 'alive'"
    )
    .bind(node.node_id)
    .bind(node.incarnation)
    .bind(lease_until)
    .execute(conn)
    .await
    .map(|done| done.rows_affected())
    })?;
    if renewed == 0 {
        Err(DbError::Fenced)
    } else {
        Ok(())
    }
}

/// Marks a node dead if it is this incarnation and its lease ran out before `now` (for a node that leaves: `i64::MAX`). Waits for its
/// transactions in flight. Gives whether it was marked by this call.
pub async fn node_declare_dead(tx: &mut SystemTx, node: Fence, now: Timestamp) -> Result<bool> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE node SET state = 'dead' WHERE id = $1 AND incarnation = $2 AND state = 'alive' AND lease_until_us < $3"
    )
    .bind(node.node_id)
    .bind(node.incarnation)
    .bind(now)
    .execute(conn)
    .await
    .map(|done| done.rows_affected() == 1)
    })?)
}

pub async fn node_list(tx: &mut SystemTx) -> Result<Vec<NodeRow>> {
    Ok(on_tx!(tx, |conn| sqlx::query_as(
        "SELECT id, incarnation, state, name, address, lease_until_us FROM node ORDER BY id"
    )
    .fetch_all(conn)
    .await)?)
}

/// The database's clock: leases are compared with no other.
pub async fn clock(tx: &mut SystemTx) -> Result<Timestamp> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(DB::pick(
        "SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
        "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
    ))
    .fetch_one(conn)
    .await)?)
}

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PlacementRow {
    pub entity: Uuid,
    pub kind: String,
    pub node_id: Option<Uuid>,
    pub incarnation: Option<i64>,
    /// Raised by each claim.
    pub epoch: i64,
}

/// Takes the entity if it is free, released, or its owner's node is dead or gone; the epoch rises. `None`: somebody alive has it, or the
/// claiming node itself is not alive.
///
/// An owner that claims what it owns gets its epoch again.
pub async fn placement_claim(
    tx: &mut SystemTx,
    entity: Uuid,
    kind: &str,
    node: Fence,
) -> Result<Option<i64>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(
        "INSERT INTO placement (entity, kind, node_id, incarnation, epoch)
         SELECT $1, $2, $3, $4, 1 FROM node WHERE id = $3 AND incarnation = $4 AND state = 'alive'
         ON CONFLICT (entity, kind) DO UPDATE SET node_id = excluded.node_id, incarnation = excluded.incarnation,
             epoch = placement.epoch
                 + CASE WHEN placement.node_id = excluded.node_id AND placement.incarnation = excluded.incarnation THEN 0 ELSE 1 END
         WHERE placement.node_id IS NULL
            OR (placement.node_id = excluded.node_id AND placement.incarnation = excluded.incarnation)
            OR NOT EXISTS (SELECT 1 FROM node o
                WHERE o.id = placement.node_id AND o.incarnation = placement.incarnation AND o.state = 'alive')
         RETURNING epoch"
    )
    .bind(entity)
    .bind(kind)
    .bind(node.node_id)
    .bind(node.incarnation)
    .fetch_optional(conn)
    .await
    })?)
}

/// Gives the entity up; nothing happens if the node does not own it.
pub async fn placement_release(
    tx: &mut SystemTx,
    entity: Uuid,
    kind: &str,
    node: Fence,
) -> Result<bool> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(
        "UPDATE placement SET node_id = NULL, incarnation = NULL WHERE entity = $1 AND kind = $2 AND node_id = $3 AND incarnation = $4"
    )
    .bind(entity)
    .bind(kind)
    .bind(node.node_id)
    .bind(node.incarnation)
    .execute(conn)
    .await
    .map(|done| done.rows_affected() == 1)
    })?)
}

pub async fn placement_get(
    tx: &mut SystemTx,
    entity: Uuid,
    kind: &str,
) -> Result<Option<PlacementRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as("SELECT entity, kind, node_id, incarnation, epoch FROM placement WHERE entity = $1 AND kind = $2")
        .bind(entity)
        .bind(kind)
        .fetch_optional(conn)
        .await
    })?)
}

/// What a start of a node owns.
pub async fn placement_list(tx: &mut SystemTx, node: Fence) -> Result<Vec<PlacementRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(
        "SELECT entity, kind, node_id, incarnation, epoch FROM placement WHERE node_id = $1 AND incarnation = $2 ORDER BY kind, entity"
    )
    .bind(node.node_id)
    .bind(node.incarnation)
    .fetch_all(conn)
    .await
    })?)
}
