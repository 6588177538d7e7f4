//! What is measured, one question a file. Each starts servers of its own on empty databases.

mod awake;
mod cluster;
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
use crate::cli::output::note;
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
        // All the parts of it, which are asked one by one.
        Question::Cluster => Ok(()),
        Question::ClusterCost => cluster::cost::measure(ask).await,
        Question::ClusterCall => cluster::call::measure(ask).await,
        Question::ClusterClaims => cluster::claims::measure(ask).await,
        Question::ClusterTakeover => cluster::takeover::measure(ask).await,
        Question::ClusterDrain => cluster::drain::measure(ask).await,
        Question::ClusterPlaced => cluster::placed::measure(ask).await,
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
    /// Pairs of calls to an employee, at its node and at another.
    pub calls: usize,
    /// Entities that two nodes claim.
    pub claims: usize,
    /// Nodes killed, one after the other.
    pub kills: usize,
    /// Employees with work at hand on a node that drains.
    pub drained: usize,
    /// Employees that live somewhere, how many of them are woken at once, and after how long they sleep: longer than a look at the nodes
    /// at rest takes.
    pub placed: usize,
    pub placed_at_once: usize,
    pub placed_idle: &'static str,
    pub rest: Duration,
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
            calls: 1_000,
            claims: 20_480,
            kills: 20,
            drained: 1_000,
            placed: 100_000,
            placed_at_once: 25_000,
            placed_idle: "45s",
            rest: Duration::from_secs(30),
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
            calls: 60,
            claims: 2_048,
            kills: 2,
            drained: 50,
            placed: 200,
            placed_at_once: 100,
            placed_idle: "5s",
            rest: Duration::from_secs(2),
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
        note!("bench: {}: {what}", self.database);
    }
}
