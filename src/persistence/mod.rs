//! The journal, the tables beside it and the two databases that hold them. Only this room names sqlx.
//!
//! A `Tx` is of one org, a `SystemTx` is the runtime's own and has a stated reason; there is no third way to a row. Every function takes
//! one of the two first, and its type says which. What must be durable of a running employee goes through `commit`, in batches. Time,
//! ids and randomness are parameters.

mod activation;
mod approvals;
pub mod backup;
mod blobs;
mod body;
mod calendars;
pub mod codec;
#[cfg(test)]
mod conformance;
mod connection_notices;
mod connections;
mod credentials;
mod db;
mod effects;
mod employees;
mod error;
mod event_waits;
mod events;
mod health;
mod inbox;
mod integrations;
mod memory;
mod memory_write;
mod migrate;
mod nodes;
mod notices;
mod oauth;
mod org_delete;
mod orgs;
mod outage;
mod owner;
mod page;
mod people;
mod placements;
mod policies;
mod poll_sources;
mod postgres;
pub mod private_postgres;
mod proxied;
mod recovery;
mod replica;
mod retention;
mod rows;
mod runs;
mod schedules;
mod snapshots;
mod sqlite;
mod storable;
mod stream;
mod triggers;
mod tx;
mod vault;
mod waits;
mod wakening;
mod words;
mod writer;

pub use activation::*;
pub use approvals::*;
pub use blobs::blob_get;
pub use calendars::*;
pub use connection_notices::*;
pub use connections::*;
pub use credentials::*;
pub use db::{Backend, Db, DbConfig};
pub use effects::*;
pub use employees::*;
pub use error::{CommitError, DbError, Result};
pub use event_waits::*;
pub use events::{OrgEventRow, org_event_insert, org_event_insert_system};
pub use health::*;
pub use inbox::*;
pub use integrations::*;
pub use memory::{
    MemoryChange, MemoryOwner, MemoryRow, memory_history, memory_list, memory_put, memory_undo_run,
    memory_view,
};
pub use migrate::{migrate, schema_version};
pub use nodes::*;
pub use notices::*;
pub use oauth::*;
pub use org_delete::*;
pub use orgs::*;
pub use owner::{committed, database_create, database_drop, stored_bytes};
pub use page::{LIMIT_DEFAULT, LIMIT_MAX, ListMark, Page, PageRequest, cursor, cursor_key};
pub use people::*;
pub use placements::*;
pub use policies::*;
pub use poll_sources::*;
pub use proxied::*;
pub use recovery::*;
pub use replica::{ReplicaLag, StaleRead};
pub use retention::*;
pub use runs::*;
pub use schedules::*;
pub use snapshots::{SnapshotRow, kind as snapshot_kind, snapshot_get};
pub use storable::{KEY_BYTES_MAX, storable, storable_key};
pub use stream::*;
pub use triggers::*;
pub use tx::{SystemTx, Tx};
pub use vault::*;
pub use waits::*;
pub use wakening::*;
pub use writer::*;
