//! Everything at once, by seed: a cluster under load while nodes are killed, frozen, cut off, drained, the database restarts, the provider
//! fails, accounts are connected anew, employees are held and changed, runs cancelled. Afterwards the whole history is checked: each trigger one run, the ledger
//! against the provider's record, the order in conversations, results heard once, schedules accounted for.
//!
//! `TORTURE_SECONDS` says how long (`make torture`: ten minutes), `TORTURE_SEED` repeats the choices of an earlier one: the seed is printed first.

mod chaos;
mod checks;
mod work;

use crate::world::{Plan, World};
use chaos::Chaos;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::time::Instant;
use work::Work;

/// Of the part that every run of the tests has, which makes the same choices each time.
const USUAL: Duration = Duration::from_secs(45);
const USUAL_SEED: u64 = 987_794;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_under_torture_loses_and_doubles_nothing() {
    let asked = number("TORTURE_SECONDS").map(Duration::from_secs);
    let seed = number("TORTURE_SEED").unwrap_or_else(|| match asked {
        Some(_) => rand::rng().random_range(0..1_000_000),
        None => USUAL_SEED,
    });
    let length = asked.unwrap_or(USUAL);
    println!("TORTURE_SEED={seed} TORTURE_SECONDS={}", length.as_secs());
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = Plan {
        idle_after: Duration::from_secs(2),
        ..Plan::default()
    };
    let mut world = World::start(plan).await;
    let work = Work::start(&world, seed).await;
    let mut chaos = Chaos::new(work.everybody());
    let end = Instant::now() + length;
    while Instant::now() < end {
        chaos.one_more(&mut world, &mut rng).await;
    }
    chaos.heal(&mut world).await;
    println!("{} troubles: {}", chaos.count(), chaos.summary());
    work.stop(&world).await.check(&world).await;
}
