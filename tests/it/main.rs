//! What can only be seen from outside: who imports whom, the real binary, HTTP, restarts and faults.

#![expect(
    clippy::print_stdout,
    reason = "seeds and figures are what a reader of the tests' output looks for"
)]

mod api;
mod cli;
mod crash;
mod database_down;
mod deploy;
mod desk;
mod door;
mod imports;
mod needs;
mod odd_texts;
mod oidc;
mod operations;
mod policy_crash;
mod polling_crash;
mod process;
mod proxy_crash;
mod refresh_crash;
mod slack_crash;
mod slack_sdk;
mod traces;
mod vault_rotation;
