//! Where an entity lives, and how a message gets there. Knows nothing of employees.
//!
//! An *entity* is anything that may be awake on one node at most (an employee, a connector). [`Placement`] says who owns it and under
//! which epoch; [`Delivery`] says how its owner is reached. One node ([`OneNode`]) owns everything at once: the same traits, with
//! nothing to wait for.
//!
//! ```text
//! ownership    who may claim, write, act, be declared dead: pure rules, and a model that explores them
//! rendezvous   which node should own what: a hint
//! leased       placement over several nodes: who has what, and whom to ask   (the rows again: `PlacementStore`)
//! membership   this node's lease, the others' rows, the self-fence   (the rows are the layer above's: `Directory`)
//! gateway      ask and tell a node; what is on its way is bounded    (the answers are the layer above's: `Handler`)
//! protocol     the bytes: hello, envelope, reply
//! transport    links: TCP, mutual TLS, hello, deadlines
//! tls          authority, certificates, names, reload
//! ```
//!
//! The database is the truth. Messages are hints: any of them may be lost, and a link that is lost says nothing about the node.

pub mod gateway;
mod leased;
pub mod membership;
mod node;
mod one_node;
pub mod ownership;
mod placement;
pub mod protocol;
pub mod rendezvous;
pub mod tls;
pub mod transport;

pub use leased::{LeasedPlacement, PlacementStore};
pub use node::{ClusterConfig, ClusterError, ClusterNode, Dialer};
pub use one_node::OneNode;
pub use placement::{Claim, Delivery, Entity, NodeIdentity, Placement, PlacementError, Route};
