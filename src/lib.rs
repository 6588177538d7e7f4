//! Tenure: the runtime that employs digital employees. `ARCHITECTURE.md` is the map.

pub mod actors;
pub mod api;
pub mod cli;
pub mod config;
pub mod connect;
pub mod domain;
pub mod graph;
pub mod hire;
pub mod persistence;
pub mod sandbox;
pub mod telemetry;
