//! This node as one of several: what it joins with, what it may ask of the others, what is shown of them.
//!
//! `tenure_cluster` carries messages and knows who owns what; here is what the messages say. See "The cluster" in `ARCHITECTURE.md`.

mod duties;
mod employees;
mod handler;
mod moving;
mod news;
mod standing;
mod start;
mod store;
mod view;
pub mod words;

pub use duties::duty;
pub use start::{Joined, register};
pub use store::ClusterStore;
pub use view::{ActorsOf, NodeStatus};

use crate::{actors::core::Core, domain::EmployeeId, persistence::Db};
use handler::Door;
use serde::{Deserialize, Serialize};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tenure_cluster::{
    ClusterNode, Delivery, Entity, LeasedPlacement, NodeIdentity, Placement, Route,
    gateway::Gateway,
    membership::{Membership, View},
    ownership::{FenceGate, LeaseTerms, NodeState},
    tls::{ClusterName, TlsReloader},
};
use tokio::{net::TcpListener, sync::watch};

/// The kinds of entities, as the placement rows have them.
pub mod kind {
    pub const EMPLOYEE: &str = "employee";
    pub const CONNECTOR: &str = "connector";
    /// Work that one node does for all: schedules, polling, housekeeping.
    pub const DUTY: &str = "duty";
    /// A call by proxy under a client's key, for as long as it is under way: two tries at two nodes must not both send.
    pub const PROXIED: &str = "proxied";
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Takes requests. Every node answers its own probes and introspection; only these take the rest.
    Api,
    /// Employees live here, and the work that one node does for all.
    Worker,
    /// Connectors live here.
    Connector,
}

impl NodeRole {
    pub const ALL: [Self; 3] = [Self::Api, Self::Worker, Self::Connector];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Connector => "connector",
        }
    }

    /// The kinds of entities that a node with this role takes.
    pub const fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Api => &[],
            Self::Worker => &[kind::EMPLOYEE, kind::DUTY],
            Self::Connector => &[kind::CONNECTOR],
        }
    }
}

/// What a node joins a cluster with.
pub struct ClusterSetup {
    pub cluster: ClusterName,
    /// Names the node to people.
    pub name: String,
    /// The door for other nodes.
    pub listener: TcpListener,
    /// Connections of their own for the lease: whatever else the node has to do must not keep it from renewing.
    pub lease_db: Db,
    /// `host:port` at which other nodes reach the door.
    pub address: String,
    /// Where people and load balancers reach its HTTP.
    pub url: String,
    pub tls: Arc<TlsReloader>,
    pub roles: Vec<NodeRole>,
    /// Where it runs, for example a data centre; may be empty.
    pub zone: String,
    /// Its share of the entities, relative to the others'; usually 100.
    pub weight: u32,
    pub terms: LeaseTerms,
    /// How long steps at work may take to end when the node gives its employees away.
    pub drain_grace: Duration,
}

/// Why a node could not be asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterCallError {
    #[error("node {0} is not in the cluster")]
    NoSuchNode(uuid::Uuid),
    #[error("node {node} does not answer: {why}")]
    NoAnswer { node: uuid::Uuid, why: String },
}

/// An employee as it is placed.
pub fn employee_entity(employee: EmployeeId) -> Entity {
    Entity {
        kind: kind::EMPLOYEE,
        id: employee.uuid(),
    }
}

/// This node in its cluster.
pub struct Cluster {
    me: NodeIdentity,
    name: String,
    roles: Vec<NodeRole>,
    drain_grace: Duration,
    gateway: Gateway,
    placement: Arc<LeasedPlacement>,
    gate: Arc<FenceGate>,
    view: watch::Receiver<View>,
    membership: Membership,
    door: Arc<Door>,
    /// The links; taken when the node leaves.
    node: Mutex<Option<ClusterNode>>,
    /// It gives away what it has and takes nothing more.
    draining: watch::Sender<bool>,
    /// This life is over.
    ended: watch::Sender<bool>,
}

impl Cluster {
    pub fn me(&self) -> NodeIdentity {
        self.me
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn takes_requests(&self) -> bool {
        self.roles.contains(&NodeRole::Api)
    }

    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.door.core()
    }

    /// Where an entity is, or should be: a hint.
    pub fn route(&self, entity: Entity) -> Route {
        self.placement.route(entity)
    }

    /// Whether an entity lives here, or is not known to live elsewhere and should live here.
    pub fn is_here(&self, entity: Entity) -> bool {
        self.route(entity) == Route::Here
    }

    /// Whether an entity is this node's business: it lives here, or nowhere and should live here.
    pub fn is_mine(&self, entity: Entity) -> bool {
        self.placement.owned(entity).is_some() || self.placement.home(entity) == Some(self.me)
    }

    /// Whether an entity that lives here should live on another node, which can be reached.
    pub fn lives_better_elsewhere(&self, entity: Entity) -> bool {
        let home = self.placement.home(entity);
        home.is_some_and(|home| home != self.me && self.is_linked(home))
    }

    pub fn owned_of(&self, kind: &str) -> Vec<Entity> {
        self.placement.owned_of(kind)
    }

    pub fn next_home(&self, entity: Entity) -> Option<NodeIdentity> {
        self.placement.next_home(entity)
    }

    pub fn is_linked(&self, node: NodeIdentity) -> bool {
        node == self.me || self.gateway.links().is_up(node)
    }

    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Becomes true when the node begins to give away what lives there.
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Becomes true when this life of the node is over: the process joins anew or ends.
    pub fn ended(&self) -> watch::Receiver<bool> {
        self.ended.subscribe()
    }

    /// All other nodes in service.
    fn others(&self) -> Vec<NodeIdentity> {
        let view = self.view.borrow();
        let in_service = view
            .members
            .iter()
            .filter(|member| member.is_in_service() && member.identity.node_id != self.me.node_id);
        in_service.map(|member| member.identity).collect()
    }

    /// Looks at once who is in service.
    pub fn look(&self) {
        self.membership.look();
    }
}

/// Why a life of a node is over while its process is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeEnd {
    /// It was declared dead: it may join anew.
    Rejoin,
    /// A later life of the same node is at work.
    Replaced,
}
