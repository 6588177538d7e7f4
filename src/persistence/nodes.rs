//! The processes of a cluster: who is in service and until when its lease runs. `Fence` is what a node proves with each write.
//!
//! The rules are those of [`tenure_cluster::ownership`]: [`may_register`], `may_declare_dead` and `admits`. The conformance tests hold
//! what is written here against them. A node is *in service* while its row is alive or draining; every time is the database's.

use super::{
    error::{DbError, Result},
    tx::{Dialect, SystemTx, on_tx},
    words::{column_type, words},
};
use crate::domain::Timestamp;
use sqlx::FromRow;
use std::time::Duration;
use tenure_cluster::ownership::{self, may_register};
use uuid::Uuid;

words! {
    NodeState {
        Alive = "alive",
        /// It finishes and gives away what it has; it takes nothing new.
        Draining = "draining",
        /// Its lease ran out and another node said so, or it left.
        Dead = "dead",
    }
}

impl From<NodeState> for ownership::NodeState {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Alive => Self::Alive,
            NodeState::Draining => Self::Draining,
            NodeState::Dead => Self::Dead,
        }
    }
}

/// A list of words; JSON in its column.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct WordList(pub Vec<String>);
column_type!(WordList => String, |list| serde_json::to_string(&list.0).unwrap_or_default(), |text| Ok(WordList(serde_json::from_str(&text)?)));

#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct NodeRow {
    pub id: Uuid,
    /// Names this life of it among all lives of all nodes; later ones are greater.
    pub incarnation: i64,
    pub state: NodeState,
    pub name: String,
    /// `host:port` of its door for other nodes; where it is alone, of its HTTP.
    pub address: String,
    /// The binary's version.
    pub build: String,
    pub zone: String,
    /// Its share of the entities, relative to the others'.
    pub weight: i64,
    pub roles: WordList,
    /// The kinds of entities that it takes.
    pub takes: WordList,
    /// Where its HTTP is reached; may be empty.
    pub url: String,
    #[sqlx(rename = "lease_until_us")]
    pub lease_until: Timestamp,
    /// In microseconds, by the database's clock when it was read; not positive: the lease is over.
    #[sqlx(rename = "lease_left_us")]
    pub lease_left_micros: i64,
}

impl NodeRow {
    pub fn fence(&self) -> Fence {
        Fence {
            node_id: self.id,
            incarnation: self.incarnation,
        }
    }
    /// How long its lease still lasts; zero: it is over.
    pub fn lease_left(&self) -> Duration {
        Duration::from_micros(self.lease_left_micros.try_into().unwrap_or(0))
    }
}

/// Says which start of which node writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fence {
    pub node_id: Uuid,
    pub incarnation: i64,
}

/// What a node says of itself when it starts.
#[derive(Clone, Debug)]
pub struct NodeStart<'a> {
    pub id: Uuid,
    pub name: &'a str,
    pub address: &'a str,
    pub build: &'a str,
    pub zone: &'a str,
    pub weight: u32,
    pub roles: WordList,
    pub takes: WordList,
    pub url: &'a str,
    /// How long the lease lasts that it starts with.
    pub ttl: Duration,
    /// No process of an earlier life is left, whatever its lease says: the caller knows, for example because it holds the lock of the
    /// node's directory.
    pub process_is_gone: bool,
}

/// The answer to a node that starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// It is in service.
    As(Fence),
    /// An earlier life of it may still act, for so long unless it renews its lease.
    NotYet { lease_left: Duration },
}

/// A statement with the database's clock, in microseconds, between each two of its parts.
macro_rules! by_clock {
    ($first:literal $(, $part:literal)*) => {
        DB::pick(
            concat!($first $(, "CAST(unixepoch('subsec') * 1000000 AS INTEGER)", $part)*),
            concat!($first $(, "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint", $part)*),
        )
    };
}

fn micros(duration: Duration) -> i64 {
    duration.as_micros().try_into().unwrap_or(i64::MAX / 4)
}

/// Puts a new life of the node in service, if [`may_register`] says so. An earlier one is fenced from then on; its transactions in flight
/// end first. Starts of different nodes come one after the other.
pub async fn node_register(tx: &mut SystemTx, node: &NodeStart<'_>) -> Result<Registered> {
    // Looked at twice: whoever is refused need not wait for the transactions of the earlier life.
    if let Some(refused) = refusal(node, earlier_life(tx, node.id, false).await?) {
        return Ok(refused);
    }
    let incarnation: i64 = on_tx!(tx, |conn| {
        sqlx::query_scalar("UPDATE incarnation SET last = last + 1 RETURNING last")
            .fetch_one(conn)
            .await
    })?;
    if let Some(refused) = refusal(node, earlier_life(tx, node.id, true).await?) {
        return Ok(refused);
    }
    on_tx!(tx, |conn| {
        sqlx::query(by_clock!(
            "INSERT INTO node (id, incarnation, state, name, address, build, zone, weight, roles, takes, url, lease_until_us)
             VALUES ($1, $2, 'alive', $3, $4, $5, $6, $7, $8, $9, $10, ", " + $11)
             ON CONFLICT (id) DO UPDATE SET incarnation = excluded.incarnation, state = excluded.state, name = excluded.name,
                 address = excluded.address, build = excluded.build, zone = excluded.zone, weight = excluded.weight,
                 roles = excluded.roles, takes = excluded.takes, url = excluded.url, lease_until_us = excluded.lease_until_us"
        ))
        .bind(node.id)
        .bind(incarnation)
        .bind(node.name)
        .bind(node.address)
        .bind(node.build)
        .bind(node.zone)
        .bind(i64::from(node.weight))
        .bind(&node.roles)
        .bind(&node.takes)
        .bind(node.url)
        .bind(micros(node.ttl))
        .execute(conn)
        .await
        .map(drop)
    })?;
    Ok(Registered::As(Fence {
        node_id: node.id,
        incarnation,
    }))
}

#[derive(FromRow)]
struct EarlierLife {
    incarnation: i64,
    state: NodeState,
    lease_left_us: i64,
}

/// The node's row; `alone`: when none of its transactions is at work any more.
async fn earlier_life(tx: &mut SystemTx, node: Uuid, alone: bool) -> Result<Option<EarlierLife>> {
    Ok(on_tx!(tx, |conn| {
        let statement = if alone {
            DB::pick(
                "SELECT incarnation, state, lease_until_us - CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS lease_left_us
                 FROM node WHERE id = $1",
                // The clock is read when the lock is there.
                "WITH own AS MATERIALIZED (SELECT incarnation, state, lease_until_us FROM node WHERE id = $1 FOR UPDATE)
                 SELECT incarnation, state, lease_until_us - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS lease_left_us
                 FROM own",
            )
        } else {
            by_clock!(
                "SELECT incarnation, state, lease_until_us - ",
                " AS lease_left_us FROM node WHERE id = $1"
            )
        };
        sqlx::query_as(statement)
            .bind(node)
            .fetch_optional(conn)
            .await
    })?)
}

fn refusal(node: &NodeStart<'_>, earlier: Option<EarlierLife>) -> Option<Registered> {
    let left = earlier.as_ref().map_or(0, |life| life.lease_left_us);
    let row = earlier.map(|life| ownership::NodeRow {
        incarnation: life.incarnation.unsigned_abs(),
        state: life.state.into(),
    });
    let may = may_register(row, left <= 0, node.process_is_gone);
    (!may).then(|| Registered::NotYet {
        lease_left: Duration::from_micros(left.try_into().unwrap_or(0)),
    })
}

/// Renews the lease to `ttl` from now; waits for nobody.
///
/// # Errors
/// `Fenced` if the node was declared dead or replaced.
pub async fn node_heartbeat(tx: &mut SystemTx, node: Fence, ttl: Duration) -> Result<()> {
    let renewed = on_tx!(tx, |conn| {
        sqlx::query(by_clock!(
            "UPDATE node SET lease_until_us = ",
            " + $3 WHERE id = $1 AND incarnation = $2 AND state <> 'dead'"
        ))
        .bind(node.node_id)
        .bind(node.incarnation)
        .bind(micros(ttl))
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    })?;
    in_service(renewed)
}

/// The node takes nothing new from now on; it goes on to write and to renew.
///
/// # Errors
/// `Fenced`.
pub async fn node_drain(tx: &mut SystemTx, node: Fence) -> Result<()> {
    let changed = on_tx!(tx, |conn| {
        sqlx::query("UPDATE node SET state = 'draining' WHERE id = $1 AND incarnation = $2 AND state <> 'dead'")
            .bind(node.node_id)
            .bind(node.incarnation)
            .execute(conn)
            .await
            .map(|done| done.rows_affected())
    })?;
    in_service(changed)
}

fn in_service(changed: u64) -> Result<()> {
    if changed == 0 {
        Err(DbError::Fenced)
    } else {
        Ok(())
    }
}

/// Marks a life dead if its lease is over. Waits for its transactions in flight. Gives whether it was marked by this call.
pub async fn node_declare_dead(tx: &mut SystemTx, node: Fence) -> Result<bool> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(by_clock!(
            "UPDATE node SET state = 'dead' WHERE id = $1 AND incarnation = $2 AND state <> 'dead' AND lease_until_us <= ",
            ""
        ))
        .bind(node.node_id)
        .bind(node.incarnation)
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })?)
}

/// Ends a life by its own wish: others need not wait for its lease. Gives whether it was in service.
pub async fn node_leave(tx: &mut SystemTx, node: Fence) -> Result<bool> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(by_clock!(
            "UPDATE node SET state = 'dead', lease_until_us = ",
            " WHERE id = $1 AND incarnation = $2 AND state <> 'dead'"
        ))
        .bind(node.node_id)
        .bind(node.incarnation)
        .execute(conn)
        .await
        .map(|done| done.rows_affected() == 1)
    })?)
}

/// Nodes in service, and those whose life ended within the last day, in the order of their ids.
pub async fn node_list(tx: &mut SystemTx) -> Result<Vec<NodeRow>> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query_as(by_clock!(
        "SELECT id, incarnation, state, name, address, build, zone, weight, roles, takes, url, lease_until_us, lease_until_us - ",
        " AS lease_left_us FROM node WHERE state <> 'dead' OR lease_until_us > ",
        " - $1 ORDER BY id"
    ))
    .bind(REMEMBERED_US)
    .fetch_all(conn)
    .await
    })?)
}

/// For how long a node that is dead is shown, and its row kept.
const REMEMBERED_US: i64 = 86_400_000_000;

/// Another node that is in service and has a lease that is not over. A node that is not part of a cluster refuses to start beside it.
pub async fn node_other(tx: &mut SystemTx, own: Uuid) -> Result<Option<NodeRow>> {
    let rows = node_list(tx).await?;
    let other = |row: &NodeRow| {
        row.id != own && row.state != NodeState::Dead && !row.lease_left().is_zero()
    };
    Ok(rows.into_iter().find(other))
}

/// Deletes the rows of nodes that have been dead for a day and own nothing any more; gives their number.
pub async fn nodes_forget(tx: &mut SystemTx) -> Result<u64> {
    Ok(on_tx!(tx, |conn| {
        sqlx::query(by_clock!(
            "DELETE FROM node WHERE state = 'dead' AND lease_until_us <= ",
            " - $1 AND NOT EXISTS (SELECT 1 FROM placement p WHERE p.node_id = node.id)"
        ))
        .bind(REMEMBERED_US)
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    })?)
}

/// Writes the node's own row as it is: whether anything can be written now is not seen by reading. Waits for nobody.
///
/// # Errors
/// `Fenced`, and whatever keeps the database from writing.
pub async fn node_touch(tx: &mut SystemTx, node: Fence) -> Result<()> {
    let touched = on_tx!(tx, |conn| {
        sqlx::query(
            "UPDATE node SET name = name WHERE id = $1 AND incarnation = $2 AND state <> 'dead'",
        )
        .bind(node.node_id)
        .bind(node.incarnation)
        .execute(conn)
        .await
        .map(|done| done.rows_affected())
    })?;
    in_service(touched)
}

/// The database's clock: leases are compared with no other.
pub async fn clock(tx: &mut SystemTx) -> Result<Timestamp> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(by_clock!(
        "SELECT ", ""
    ))
    .fetch_one(conn)
    .await)?)
}
