//! What nodes tell of themselves.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a node says when it is asked how it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Employees in memory.
    pub awake: usize,
    /// Entities that live here, asleep ones included.
    pub owned: usize,
    /// It gives away what it has, or has done so.
    pub draining: bool,
}

/// What came of a rebalancing at one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebalanced {
    pub node: Uuid,
    /// Entities that it gave to others.
    pub moved: usize,
}
