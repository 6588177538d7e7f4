//! The rules of ownership, without io and without a clock.
//!
//! The database holds two kinds of rows: a node's *lease* ([`NodeRow`]) and an entity's *placement* ([`PlacementRow`]). Who may do what
//! follows from them:
//!
//! 1. **Claim** ([`claim`]): an entity may be taken if it is free, or if the node life that has it is over. Each change of hands raises
//!    the epoch; epochs never fall, rows are never deleted.
//! 2. **Fence** ([`admits`]): every durable write happens in a transaction that share-locks the row of the writing node and sees it in
//!    service under its incarnation. Whoever ends a node's life changes that row and so waits for the write, or the write fails whole.
//! 3. **Death** ([`may_declare_dead`]): only after the lease is over, by the database's clock.
//! 4. **Self-fence** ([`SelfFence`]): a node stops acting on the outside a margin before others may declare it dead, measured from when
//!    it *sent* its last renewal that succeeded, by a clock that counts suspend.
//! 5. **Register** ([`may_register`]): a new life of a node may begin only when the old one cannot act any more: its row is dead, its
//!    lease is over, or its process is known to be gone.
//!
//! The persistence room says the same in SQL. The `model` tests explore every interleaving of small worlds under these rules, and show
//! for each rule what goes wrong without it.

mod lease;
#[cfg(test)]
mod model;
mod rules;

pub use lease::{FenceGate, LeaseTerms, Moment, SelfFence};
pub use rules::{
    ClaimRefused, NodeRow, NodeState, PlacementRow, admits, claim, may_declare_dead, may_register,
};
