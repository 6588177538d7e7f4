//! Who owns what. The rule is [`tenure_cluster::ownership::claim`], and the conformance tests hold the SQL against it.
//!
//! Rows are locked in the order of their keys, by claims and by releases, so that two that want many of the same do not wait for each
//! other in a circle.

use super::{
    error::{DbError, Result},
    nodes::{Fence, NodeState},
    rows::{Column, Rows},
    tx::{Dialect, Inner, SystemTx, on_tx},
};
use sqlx::FromRow;
use std::collections::HashMap;
use tenure_cluster::{
    Entity, NodeIdentity,
    ownership::{self, ClaimRefused},
};
use uuid::Uuid;

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct PlacementRow {
    pub entity: Uuid,
    pub kind: String,
    pub node_id: Option<Uuid>,
    pub incarnation: Option<i64>,
    /// Raised by each change of hands.
    pub epoch: i64,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is the node's, under this epoch.
    Under(i64),
    OwnedBy(Fence),
    /// The node is draining and does not have it.
    NotTaken,
}

/// Takes each entity that is free or whose owner's life is over; what the node has already it gets again. The answers are in order.
///
/// # Errors
/// `Fenced`: the node is not in service.
pub async fn placements_claim(
    tx: &mut SystemTx,
    entities: &[Entity],
    node: Fence,
) -> Result<Vec<Claimed>> {
    let state = lock_state(tx, node).await?.ok_or(DbError::Fenced)?;
    let mut rest = sorted(entities);
    let mut answers = HashMap::with_capacity(rest.len());
    if state == NodeState::Alive {
        answers.extend(take(tx, &rest, node).await?);
        rest.retain(|entity| !answers.contains_key(entity));
    }
    if !rest.is_empty() {
        answers.extend(refusals(tx, &rest, node, state).await?);
    }
    let answer = |entity: &Entity| answers.get(entity).copied().unwrap_or(Claimed::NotTaken);
    Ok(entities.iter().map(answer).collect())
}

/// In the order of the keys, each once.
fn sorted(entities: &[Entity]) -> Vec<Entity> {
    let mut sorted = entities.to_vec();
    sorted.sort_unstable_by_key(|entity| (entity.id, entity.kind));
    sorted.dedup();
    sorted
}

/// The state of the node's row, which stays as it is until the end of the transaction; `None`: not in service.
async fn lock_state(tx: &mut SystemTx, node: Fence) -> Result<Option<NodeState>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar(DB::pick(
            "SELECT state FROM node WHERE id = $1 AND incarnation = $2 AND state <> 'dead'",
            "SELECT state FROM node WHERE id = $1 AND incarnation = $2 AND state <> 'dead' FOR KEY SHARE",
        ))
        .bind(node.node_id)
        .bind(node.incarnation)
        .fetch_optional(conn)
        .await
    })?)
}

/// The keys as the rows of `t`, with the node beside them.
fn rows(entities: &[Entity], node: Fence) -> Rows<'static> {
    let all = || entities.iter();
    Rows::new(vec![
        ("entity", Column::Uuid(all().map(|one| one.id).collect())),
        ("kind", Column::Text(all().map(|one| one.kind).collect())),
        ("node_id", Column::Uuid(vec![node.node_id; entities.len()])),
        (
            "incarnation",
            Column::Long(vec![node.incarnation; entities.len()]),
        ),
    ])
}

#[derive(FromRow)]
struct Taken {
    entity: Uuid,
    kind: String,
    epoch: i64,
}

/// Takes what may be taken. PostgreSQL locks the rows that are not taken as well: their owner stays until the end of the transaction.
async fn take(
    tx: &mut SystemTx,
    entities: &[Entity],
    node: Fence,
) -> Result<Vec<(Entity, Claimed)>> {
    let over = match tx.inner {
        Inner::Sqlite(_) => {
            "NOT EXISTS (SELECT 1 FROM node o
                 WHERE o.id = placement.node_id AND o.incarnation = placement.incarnation AND o.state <> 'dead')"
        }
        // Not a subquery: it would see the nodes as they were before this statement waited for the row, and take it from one that
        // joined meanwhile.
        Inner::Postgres(_) => "NOT tenure_in_service(placement.node_id, placement.incarnation)",
    };
    let statement = format!(
        "INSERT INTO placement (entity, kind, node_id, incarnation, epoch)
         SELECT entity, kind, node_id, incarnation, 1 FROM t WHERE true ORDER BY entity, kind
         ON CONFLICT (entity, kind) DO UPDATE SET node_id = excluded.node_id, incarnation = excluded.incarnation,
             epoch = placement.epoch
                 + CASE WHEN placement.node_id = excluded.node_id AND placement.incarnation = excluded.incarnation THEN 0 ELSE 1 END
         WHERE placement.node_id IS NULL
            OR (placement.node_id = excluded.node_id AND placement.incarnation = excluded.incarnation)
            OR {over}
         RETURNING entity, kind, epoch"
    );
    let taken: Vec<Taken> = rows(entities, node)
        .fetch(&mut tx.inner, &statement)
        .await?;
    let found = taken.into_iter().filter_map(|row| {
        let entity = find(entities, row.entity, &row.kind)?;
        Some((entity, Claimed::Under(row.epoch)))
    });
    Ok(found.collect())
}

/// The entity of a row that was asked for it.
fn find(sorted: &[Entity], id: Uuid, kind: &str) -> Option<Entity> {
    let place = sorted.binary_search_by(|entity| (entity.id, entity.kind).cmp(&(id, kind)));
    place.ok().map(|place| sorted[place])
}

#[derive(FromRow)]
struct Standing {
    entity: Uuid,
    kind: String,
    node_id: Option<Uuid>,
    incarnation: Option<i64>,
    epoch: Option<i64>,
    /// Of the owner, if it is in service.
    state: Option<NodeState>,
}

impl Standing {
    fn placement(&self) -> Option<ownership::PlacementRow> {
        let owner = self.node_id.zip(self.incarnation);
        self.epoch.map(|epoch| ownership::PlacementRow {
            owner: owner.map(|(id, incarnation)| identity(id, incarnation)),
            epoch: epoch.unsigned_abs(),
        })
    }
    fn owner_row(&self) -> Option<ownership::NodeRow> {
        let row = self.incarnation.zip(self.state);
        row.map(|(incarnation, state)| ownership::NodeRow {
            incarnation: incarnation.unsigned_abs(),
            state: state.into(),
        })
    }
}

fn owner_of(row: &Standing) -> Option<Fence> {
    let owner = row.node_id.zip(row.incarnation);
    owner.map(|(node_id, incarnation)| Fence {
        node_id,
        incarnation,
    })
}

fn identity(node_id: Uuid, incarnation: i64) -> NodeIdentity {
    NodeIdentity {
        node_id,
        incarnation: incarnation.unsigned_abs(),
    }
}

/// The answers for what was not taken.
async fn refusals(
    tx: &mut SystemTx,
    entities: &[Entity],
    node: Fence,
    state: NodeState,
) -> Result<Vec<(Entity, Claimed)>> {
    const STATEMENT: &str = "SELECT t.entity, t.kind, p.node_id, p.incarnation, p.epoch, o.state FROM t
         LEFT JOIN placement p ON p.entity = t.entity AND p.kind = t.kind
         LEFT JOIN node o ON o.id = p.node_id AND o.incarnation = p.incarnation AND o.state <> 'dead'";
    let found: Vec<Standing> = rows(entities, node).fetch(&mut tx.inner, STATEMENT).await?;
    let own = ownership::NodeRow {
        incarnation: node.incarnation.unsigned_abs(),
        state: state.into(),
    };
    let me = identity(node.node_id, node.incarnation);
    let refusals = found.into_iter().filter_map(|row| {
        let placement = row.placement();
        let answer = match ownership::claim(placement, row.owner_row(), me, Some(own)) {
            Ok(claim) if placement.is_some_and(|placement| placement.owner == Some(me)) => {
                Claimed::Under(claim.epoch.try_into().unwrap_or(i64::MAX))
            }
            // `Ok`: its owner's life has ended since the claim looked; whoever asks again gets it.
            Ok(_) | Err(ClaimRefused::OwnedBy(_)) => {
                owner_of(&row).map_or(Claimed::NotTaken, Claimed::OwnedBy)
            }
            Err(ClaimRefused::Draining | ClaimRefused::Fenced) => Claimed::NotTaken,
        };
        Some((find(entities, row.entity, &row.kind)?, answer))
    });
    Ok(refusals.collect())
}

/// Frees what the node owns of these; nothing happens to the rest. Gives how many were freed.
pub async fn placements_release(
    tx: &mut SystemTx,
    entities: &[Entity],
    node: Fence,
) -> Result<u64> {
    let lock = match tx.inner {
        Inner::Sqlite(_) => "",
        Inner::Postgres(_) => "FOR UPDATE OF p",
    };
    let statement = format!(
        ", own AS (SELECT p.entity, p.kind FROM t JOIN placement p ON p.entity = t.entity AND p.kind = t.kind
             WHERE p.node_id = t.node_id AND p.incarnation = t.incarnation ORDER BY p.entity, p.kind {lock})
         UPDATE placement SET node_id = NULL, incarnation = NULL FROM own
         WHERE placement.entity = own.entity AND placement.kind = own.kind"
    );
    rows(&sorted(entities), node)
        .execute(&mut tx.inner, &statement)
        .await
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

/// How many entities a life of a node owns.
pub async fn placement_count(tx: &mut SystemTx, node: Fence) -> Result<i64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_scalar("SELECT count(*) FROM placement WHERE node_id = $1 AND incarnation = $2")
            .bind(node.node_id)
            .bind(node.incarnation)
            .fetch_one(conn)
            .await
    })?)
}

/// What a life of a node owns, in the order of kinds and ids.
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
