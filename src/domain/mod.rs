//! The words of the product as types: pure, no io, no clock, no randomness.

pub mod employee;
pub mod event;
pub mod filter;
pub mod hash;
pub mod ids;
pub mod mail_address;
pub mod memory;
pub mod money;
pub mod recurrence;
pub mod role;
pub mod strict_json;
pub mod time;
pub mod trigger;
pub mod yaml;

pub use employee::{
    Concurrency, ConflictPolicy, EmployeeSpec, Misfire, Overlap, ScheduleSpec, SubscriptionSpec,
};
pub use filter::EventFilter;
pub use hash::ContentHash;
pub use ids::{
    ApprovalId, ConnectionId, EffectId, EmployeeId, ExecutionId, HookId, InboxId, KeyId, LinkId,
    OauthClientId, OrgId, PolicyId, ScheduleId, SourceId,
};
pub use memory::{MemoryLayer, MemoryView, MemoryWrite};
pub use role::Role;
pub use time::Timestamp;
pub use trigger::{Trigger, TriggerType};
