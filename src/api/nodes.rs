//! `/v1/nodes`: the processes that are this service, and what an operator asks of them.
//!
//! Nodes belong to no org: they are the operator's. An API key always belongs to an org, so the configuration says which org's admins
//! are operators (`operator_org`); where it says nothing, the admins of an only org are.

use super::{
    ApiState,
    auth::Caller,
    error::{ApiError, ApiResult, Problem},
    operator,
    query::{NoQuery, Query},
    text::Path,
};
use crate::{
    actors::cluster::{Cluster, ClusterCallError, NodeStatus, kind},
    persistence::{NodeRow, NodeState, node_list},
};
use axum::{Json, extract::State};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

#[derive(Serialize)]
pub struct NodeView {
    node_id: Uuid,
    name: String,
    /// Of its latest start.
    incarnation: i64,
    /// `alive`, `draining` or `dead`.
    state: &'static str,
    /// `host:port` of its door for other nodes.
    address: String,
    /// Where its HTTP is; null: it did not say.
    url: Option<String>,
    build: String,
    zone: String,
    weight: i64,
    roles: Vec<String>,
    /// 0: its lease is over.
    lease_left_ms: u64,
    /// Whether it is the one that answers.
    this: bool,
    /// What it says of itself; null: it did not answer.
    status: Option<NodeStatus>,
}

#[derive(Serialize)]
pub struct NodeList {
    items: Vec<NodeView>,
    next: Option<String>,
    /// Somebody in service did not answer.
    partial: bool,
    /// Names of those.
    missing: Vec<String>,
}

#[derive(Serialize)]
pub struct DrainView {
    node_id: Uuid,
    name: String,
    draining: bool,
}

#[derive(Serialize)]
pub struct RebalanceView {
    items: Vec<MovedView>,
    next: Option<String>,
    partial: bool,
}

#[derive(Serialize)]
struct MovedView {
    node_id: Uuid,
    name: String,
    /// Entities that it gave to others; null with an `error`.
    moved: Option<usize>,
    error: Option<String>,
}

fn alone() -> ApiError {
    ApiError::new(
        Problem::NotClustered,
        "this node is alone, there is nobody to whom it could give its employees; `[cluster]` in the configuration makes it one of several",
    )
}

fn cluster(api: &ApiState) -> ApiResult<Arc<Cluster>> {
    api.engine().cluster().cloned().ok_or_else(alone)
}

/// The rows of the cluster, or this node's own.
async fn rows(api: &ApiState) -> ApiResult<Vec<NodeRow>> {
    let mut tx = api.db().begin_system_read("nodes are listed").await?;
    let mut rows = node_list(&mut tx).await?;
    if api.engine().cluster().is_none() {
        let this = api.engine().identity().node_id;
        rows.retain(|row| row.id == this);
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

/// Of nodes' current lives only: what an earlier one says is of no interest.
async fn statuses(api: &ApiState) -> ApiResult<HashMap<(Uuid, u64), NodeStatus>> {
    let Some(cluster) = api.engine().cluster() else {
        let me = api.engine().identity();
        let awake = api.core().vitals.of_kind("employee");
        let status = NodeStatus {
            awake,
            owned: awake,
            draining: false,
        };
        return Ok(HashMap::from([((me.node_id, me.incarnation), status)]));
    };
    let answers = api.bounded(cluster.statuses()).await?;
    let said = answers
        .into_iter()
        .filter_map(|(who, status)| Some(((who.node_id, who.incarnation), status?)));
    Ok(said.collect())
}

pub async fn list(
    State(api): State<ApiState>,
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
) -> ApiResult<Json<NodeList>> {
    operator::require(&api, &caller, "the nodes are the operator's").await?;
    let (rows, mut statuses) = (rows(&api).await?, statuses(&api).await?);
    let this = api.engine().identity().node_id;
    let items: Vec<NodeView> = rows
        .into_iter()
        .map(|row| {
            let status = statuses.remove(&(row.id, row.incarnation.unsigned_abs()));
            view(row, this, status)
        })
        .collect();
    let silent = |node: &&NodeView| node.state != NodeState::Dead.name() && node.status.is_none();
    let missing: Vec<String> = items
        .iter()
        .filter(silent)
        .map(|node| node.name.clone())
        .collect();
    Ok(Json(NodeList {
        items,
        next: None,
        partial: !missing.is_empty(),
        missing,
    }))
}

fn view(row: NodeRow, this: Uuid, status: Option<NodeStatus>) -> NodeView {
    let lease_left = row.lease_left().as_millis();
    NodeView {
        node_id: row.id,
        name: row.name,
        incarnation: row.incarnation,
        state: row.state.name(),
        address: row.address,
        url: Some(row.url).filter(|url| !url.is_empty()),
        build: row.build,
        zone: row.zone,
        weight: row.weight,
        roles: row.roles.0,
        lease_left_ms: match row.state {
            NodeState::Dead => 0,
            _ => lease_left.try_into().unwrap_or(u64::MAX),
        },
        this: row.id == this,
        status,
    }
}

pub async fn drain(
    State(api): State<ApiState>,
    caller: Caller,
    Path(node): Path<String>,
) -> ApiResult<Json<DrainView>> {
    operator::require(&api, &caller, "the nodes are the operator's").await?;
    let cluster = cluster(&api)?;
    let rows = rows(&api).await?;
    let row = find(&rows, &node)?;
    if row.state == NodeState::Dead {
        let detail = format!("node {} is dead, it has nothing to give away", row.name);
        return Err(ApiError::new(Problem::NodeGone, detail));
    }
    somebody_takes_over(&rows, row)?;
    let id = row.id;
    // It goes on whether the client waits or not.
    let drained = api
        .to_the_end(async move { cluster.drain_node(id).await })
        .await?;
    drained?;
    Ok(Json(DrainView {
        node_id: row.id,
        name: row.name.clone(),
        draining: true,
    }))
}

/// By id, or by name.
fn find<'a>(rows: &'a [NodeRow], node: &str) -> ApiResult<&'a NodeRow> {
    let id: Option<Uuid> = node.parse().ok();
    rows.iter()
        .find(|row| Some(row.id) == id || row.name == node)
        .ok_or_else(|| ApiError::not_found("node", node))
}

/// Employees that nobody takes would sleep through their work.
fn somebody_takes_over(rows: &[NodeRow], leaving: &NodeRow) -> ApiResult<()> {
    let stays = |row: &&NodeRow| {
        row.id != leaving.id && row.state == NodeState::Alive && !row.lease_left().is_zero()
    };
    for kind in [kind::EMPLOYEE, kind::CONNECTOR] {
        let takes = |row: &NodeRow| row.takes.0.iter().any(|taken| taken == kind);
        if takes(leaving) && !rows.iter().filter(stays).any(takes) {
            let detail = format!(
                "node {} is the last one that takes {kind}s: start another one first",
                leaving.name
            );
            return Err(ApiError::new(Problem::LastNode, detail));
        }
    }
    Ok(())
}

pub async fn rebalance(
    State(api): State<ApiState>,
    caller: Caller,
) -> ApiResult<Json<RebalanceView>> {
    operator::require(&api, &caller, "the nodes are the operator's").await?;
    let cluster = cluster(&api)?;
    let names: HashMap<Uuid, String> = rows(&api)
        .await?
        .into_iter()
        .map(|row| (row.id, row.name))
        .collect();
    let moved = api
        .to_the_end(async move { cluster.rebalance().await })
        .await?;
    let items: Vec<MovedView> = moved
        .into_iter()
        .map(|(node_id, result)| MovedView {
            node_id,
            name: names.get(&node_id).cloned().unwrap_or_default(),
            moved: result.as_ref().ok().copied(),
            error: result.err().map(|error| error.to_string()),
        })
        .collect();
    Ok(Json(RebalanceView {
        partial: items.iter().any(|item| item.error.is_some()),
        items,
        next: None,
    }))
}

impl From<ClusterCallError> for ApiError {
    fn from(error: ClusterCallError) -> Self {
        let text = error.to_string();
        match error {
            ClusterCallError::NoSuchNode(_) => Self::new(Problem::NodeGone, text),
            ClusterCallError::NoAnswer { .. } => {
                Self::new(Problem::Unavailable, text).retry_after(1)
            }
        }
    }
}
