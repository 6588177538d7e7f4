//! This node as one of several: what it joins with, what it may ask of the others, what is shown of them.
//!
//! `tenure_cluster` carries messages and knows who owns what; here is what the messages say. See "The cluster" in `ARCHITECTURE.md`.

mod view;

pub use view::{NodeStatus, Rebalanced};

use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tenure_cluster::{
    ownership::LeaseTerms,
    tls::{ClusterName, TlsReloader},
};
use tokio::net::TcpListener;

/// The kinds of entities, as the placement rows have them.
pub mod kind {
    pub const EMPLOYEE: &str = "employee";
    pub const CONNECTOR: &str = "connector";
    /// Work that one node does for all: schedules, polling, housekeeping.
    pub const DUTY: &str = "duty";
    /// The inbox of one org.
    pub const INBOX: &str = "inbox";
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

    /// The kinds of entities that a node with this role takes.
    pub const fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Api => &[],
            Self::Worker => &[kind::EMPLOYEE, kind::DUTY, kind::INBOX],
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
