//! What is measured, one question a file. Each starts servers of its own on empty databases.

mod awake;
mod events;
mod parked;
mod proxy;
mod quota;
mod recovery;
mod throughput;

use super::{
    Question,
    place::{Database, Places},
    report::{Aim, Measurement},
};
use anyhow::Result;
use std::time::Duration;

/// Answers one question.
///
/// # Errors
/// What stood against it; answers that were found before stay.
pub async fn measure(question: Question, ask: &mut Ask<'_>) -> Result<()> {
    match question {
        Question::Throughput => throughput::measure(ask).await,
        Question::Parked => parked::measure(ask).await,
        Question::Awake => awake::measure(ask).await,
        Question::Recovery => recovery::measure(ask).await,
        Question::Events => events::measure(ask).await,
        Question::Proxy => proxy::measure(ask).await,
        Question::Quota => quota::measure(ask).await,
    }
}

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Of each throughput measurement.
    pub repeat: usize,
    pub time: Duration,
    pub warm_up: Duration,
    pub in_flight: Vec<usize>,
    /// Employees with a run each that waits for approval.
    pub parked: usize,
    /// Between the last employee's sleep and a look at the memory: what an allocator gives back is not back at once.
    pub settle: Duration,
    pub awake: usize,
    pub reactivated: usize,
    /// Runs at work when the server is killed.
    pub killed: usize,
    /// Connections that are used once each.
    pub connections: usize,
    /// Employees that share a provider with this quota in this window, for how long they learn it, and how long each look is.
    pub sharing: usize,
    pub quota: u64,
    pub quota_window: Duration,
    pub quota_learning: Duration,
    pub quota_time: Duration,
}

impl Sizes {
    pub fn full(repeat: usize) -> Self {
        Self {
            repeat,
            time: Duration::from_secs(5),
            warm_up: Duration::from_secs(3),
            in_flight: vec![1, 64, 256],
            parked: 10_000,
            settle: Duration::from_secs(2),
            awake: 1_000,
            reactivated: 200,
            killed: 1_000,
            connections: 1_000,
            sharing: 500,
            quota: 6_000,
            quota_window: Duration::from_secs(60),
            quota_learning: Duration::from_secs(125),
            quota_time: Duration::from_secs(60),
        }
    }

    /// Everything once and small: it shows that the bench works, its numbers say little.
    pub fn quick() -> Self {
        Self {
            repeat: 1,
            time: Duration::from_millis(500),
            warm_up: Duration::from_millis(100),
            in_flight: vec![1, 16],
            parked: 50,
            settle: Duration::from_millis(100),
            awake: 20,
            reactivated: 5,
            killed: 50,
            connections: 20,
            sharing: 5,
            quota: 20,
            quota_window: Duration::from_secs(1),
            quota_learning: Duration::from_secs(2),
            quota_time: Duration::from_secs(2),
        }
    }
}

/// One question on one database.
pub struct Ask<'a> {
    pub database: Database,
    pub places: &'a mut Places,
    pub sizes: &'a Sizes,
    /// Where answers go, so that those are kept that were found before something failed.
    pub answers: &'a mut Vec<Measurement>,
}

impl Ask<'_> {
    /// The aims are for PostgreSQL.
    pub fn aim(&self, aim: Aim) -> Option<Aim> {
        (self.database == Database::Postgres).then_some(aim)
    }

    pub fn progress(&self, what: &str) {
        eprintln!("bench: {}: {what}", self.database);
    }
}
