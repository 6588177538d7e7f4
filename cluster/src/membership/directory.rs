//! What membership needs of the database.

use crate::{NodeIdentity, ownership::NodeState};
use async_trait::async_trait;
use std::time::Duration;

/// A node's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub identity: NodeIdentity,
    pub state: NodeState,
    /// `host:port` of its door.
    pub address: String,
    pub build: String,
    pub zone: String,
    /// Its share of the entities, relative to the others'.
    pub weight: u32,
    /// The kinds of entities that it takes; a node that only serves requests takes none.
    pub takes: Vec<String>,
    /// How long its lease still lasts, by the database's clock at the time of the answer; zero: it is over.
    pub lease_left: Duration,
}

impl Member {
    pub fn is_in_service(&self) -> bool {
        self.state != NodeState::Dead
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// This life of the node is over: it was declared dead, or a later one has begun.
    #[error("this node has lost its lease")]
    Fenced,
    #[error("node directory is not available: {0}")]
    Unavailable(String),
}

/// The node rows in the database. Every duration is by its clock.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Renews the lease by the TTL.
    ///
    /// # Errors
    /// `Fenced`: no row in service has this incarnation.
    async fn renew(&self, me: NodeIdentity) -> Result<(), DirectoryError>;

    /// All rows, the dead ones of late included.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn list(&self) -> Result<Vec<Member>, DirectoryError>;

    /// Marks this life dead if its lease is over. Waits for its transactions. Gives whether this call did it.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn declare_dead(&self, node: NodeIdentity) -> Result<bool, DirectoryError>;

    /// Takes nothing new from now on.
    ///
    /// # Errors
    /// `Fenced`, `Unavailable`.
    async fn drain(&self, me: NodeIdentity) -> Result<(), DirectoryError>;

    /// The end of this life, by itself.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn leave(&self, me: NodeIdentity) -> Result<(), DirectoryError>;
}
