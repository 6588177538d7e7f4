//! What can only be seen from outside: who imports whom, the real binary, HTTP, restarts and faults.

mod api;
mod cli;
mod crash;
mod imports;
mod polling_crash;
mod process;
mod slack_crash;
mod slack_sdk;
