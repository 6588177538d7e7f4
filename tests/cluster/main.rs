//! Three real processes on one PostgreSQL, with what goes wrong between them: nodes that die, hang, are cut off, are replaced.
//!
//! Each show ends with the check of its whole history (`history`): who owned what, who wrote what, what came of each trigger and of each
//! write to the outside. The figures that the shows print are measured on whatever machine runs them; what is asserted of them is only
//! what must hold on a slow one.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures and logs are what a reader of the tests' output looks for"
)]

#[path = "../it/desk.rs"]
#[expect(dead_code, reason = "the shows use its sandbox alone")]
mod desk;
#[path = "../it/process.rs"]
#[expect(dead_code, reason = "the shows use its client alone")]
mod process;

mod anywhere;
mod approvals;
mod cuts;
mod database;
mod drain;
mod employees;
mod events;
mod history;
mod kill;
mod limits;
mod load;
mod members;
mod namespaces;
mod net;
mod node;
mod recorder;
mod roles;
mod rolling;
mod times;
mod torture;
mod world;
mod zombie;
