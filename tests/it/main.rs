//! What can only be seen from outside: who imports whom, the real binary, HTTP, restarts and faults.

mod api;
mod cli;
mod crash;
mod imports;
mod process;
mod proxy_crash;
mod slack_crash;
