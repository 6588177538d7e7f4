//! What nodes tell of themselves.

use crate::{domain::OrgId, persistence::EffectOwners};
use serde::{Deserialize, Serialize};

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

/// Which actors of a node are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActorsOf {
    pub org: OrgId,
    /// Of connectors of users' own accounts: whose.
    pub owners: EffectOwners,
    /// Those of the node too, which belong to no org.
    pub with_node: bool,
}

/// An answer longer than this is cut; the rest is seen at the node itself.
pub const ACTORS_MAX: usize = 10_000;
