//! Graphs and runs: specs, validation, compilation to a plan, expressions, and the run machine. Pure: no io, no clock, no tokio.

pub mod compile;
pub mod error;
pub mod expr;
pub mod fact;
pub mod plan;
pub mod scope;
pub mod spec;
pub mod template;
pub mod text;
