//! Where an entity lives, and how a message gets there. Knows nothing of employees.
//!
//! An *entity* is anything that may be awake on one node at most (an employee, a connector). [`Placement`] says who owns it and under
//! which epoch; [`Delivery`] says how its owner is reached. One node ([`OneNode`]) owns everything at once: the same traits, with
//! nothing to wait for.

pub mod gateway;
pub mod membership;
mod node;
mod one_node;
pub mod ownership;
mod placement;
pub mod protocol;
pub mod rendezvous;
pub mod tls;
pub mod transport;

pub use node::{ClusterConfig, ClusterError, ClusterNode, Dialer};
pub use one_node::OneNode;
pub use placement::{Claim, Delivery, Entity, NodeIdentity, Placement, PlacementError, Route};
