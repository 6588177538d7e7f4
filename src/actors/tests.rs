//! The actors together, on an embedded database and the sandbox's real HTTP.

mod accepted;
mod changes;
mod departure;
mod effects;
mod house;
mod ingest;
mod limits;
mod policies;
mod repetition;
mod results;
mod runs;
mod schedules;
mod supervision;
