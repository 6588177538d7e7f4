//! What a connector tells of itself to people. Holds no secret.

use crate::domain::{EmployeeId, Timestamp};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
pub struct ConnectorView {
    /// Calls that are on their way, and how many may be.
    pub open: usize,
    pub open_max: usize,
    /// Calls that wait for their turn, and of how many employees.
    pub waiting: usize,
    pub employees_waiting: usize,
    /// Where the next call of each employee stands, in the order of their turns; a hundred at most.
    pub places: Vec<PlaceView>,
    /// `closed` (calls pass), `open` (the provider failed too often) or `half_open` (a trial is under way).
    pub breaker: &'static str,
    /// The provider has asked to stay away until then.
    pub held_back_until: Option<Timestamp>,
    /// What refusals have taught beyond the catalog.
    pub learned: Option<LearnedView>,
    /// What the provider says is left of its window.
    pub announced: Option<AnnouncedView>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PlaceView {
    pub employee: EmployeeId,
    /// How many of its calls wait.
    pub waiting: usize,
    /// How many employees have their turn before it.
    pub place: usize,
    /// About how long until its next call leaves, milliseconds.
    pub estimate_ms: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct LearnedView {
    pub limit: u64,
    pub per_seconds: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct AnnouncedView {
    pub left: u64,
    pub until: Timestamp,
}
