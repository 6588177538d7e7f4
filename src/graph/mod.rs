//! Graphs and runs: specs, validation, compilation to a plan, expressions, and the run machine. Pure: no io, no clock, no tokio.

pub mod fact;
