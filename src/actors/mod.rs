//! Actors: one a file. `engine` is the way in; every actor is below the node supervisor and can be seen in `vitals`.

mod append;
pub mod approvals;
mod cache;
pub mod catalogs;
pub mod clock;
pub mod cluster;
pub mod commits;
pub mod connector;
pub mod core;
mod effects;
pub mod employee;
pub mod engine;
pub mod evaluation;
pub mod events;
pub mod faults;
pub mod gate;
mod host;
pub mod hub;
pub mod ingest;
pub mod inspect;
mod interest;
mod journal;
mod lease;
mod load;
mod loader;
mod mailbox;
mod micro_agent;
mod offers;
pub mod policies;
pub mod proxy;
pub mod router;
pub mod schedules;
mod skill;
pub mod staff;
mod sweeper;
mod timers;
pub mod versions;
pub mod vitals;
mod wait_ends;

pub use clock::Clock;
pub use core::{Core, Settings};
pub use engine::{DecisionRequest, Engine, EngineConfig, StartError, TriggerRequest};
pub use faults::{CallPoint, FaultPoint, Faults};
pub use journal::JournalError;

#[cfg(test)]
mod tests;
