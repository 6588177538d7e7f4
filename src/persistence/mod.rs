//! Persistence.
pub mod error;
mod body;
mod db;
mod migrate;
mod orgs;
mod page;
mod postgres;
mod rows;
mod sqlite;
mod tx;
mod words;
pub use db::*;
pub use error::*;
