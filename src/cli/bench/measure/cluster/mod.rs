//! Several nodes as one service: what the cluster costs, how fast entities change hands, what stays when nobody works. Every node is a
//! `tenure serve` of its own, and all of them are on this machine.

pub mod call;
pub mod claims;
pub mod cost;
pub mod drain;
pub mod placed;
mod site;
pub mod takeover;

/// The nodes of a cluster here.
const NAMES: [&str; 3] = ["node-1", "node-2", "node-3"];
/// Nobody falls asleep during a measurement.
const STAY: (&str, &str) = ("TENURE_IDLE_AFTER", "600s");
const UNFINISHED: [&str; 3] = [
    "/v1/runs?status=accepted",
    "/v1/runs?status=running",
    "/v1/runs?status=waiting",
];
