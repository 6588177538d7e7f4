//! The HTTP API over real connections: the real router on port 0, the real engine on SQLite. A second org is in every test.

mod access;
mod addresses;
mod approvals;
mod bad_input;
mod catalog;
mod connectors;
mod effects;
mod employees;
mod events;
mod fake_slack;
mod inbound;
mod isolation;
mod memory;
mod nodes;
mod oauth;
mod policies;
mod proxy;
mod proxy_raw;
mod proxy_stream;
mod schedules;
mod slack;
mod sources;
mod triggers;
mod webhooks;
pub mod world;
