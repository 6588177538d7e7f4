//! Everything at once, by seed: a cluster under load while nodes are killed, frozen (also while they connect), cut off and drained, the database
//! restarts, the provider fails, its account is connected anew, employees of every kind are held and changed, runs cancelled. Afterwards the
//! whole history is checked: each trigger one run, the ledger against the provider's record, the order in conversations, results heard once,
//! schedules accounted for.
//!
//! `TORTURE_SECONDS` says how long (`make torture`: ten minutes), `TORTURE_SEED` repeats the choices of an earlier one: the seed is printed first.

mod chaos;
mod checks;
mod deck;
mod people;
mod work;

use crate::world::{Plan, World};
use chaos::Chaos;
use people::People;
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use work::Work;

/// Of the part that every run of the tests has, which makes the same choices each time: until each trouble has come, and no longer than a
/// slow machine may take for it.
const USUAL: Duration = Duration::from_secs(45);
const USUAL_SEED: u64 = 987_794;
/// In so much time each trouble must come.
const ENOUGH: Duration = Duration::from_secs(240);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
    )
}

async fn pause(rng: &mut StdRng, from_ms: u64, to_ms: u64) {
    sleep(Duration::from_millis(rng.random_range(from_ms..to_ms))).await;
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
        alone: true,
        ..Plan::default()
    };
    let mut world = World::start(plan).await;
    let work = Work::start(&world, seed).await;
    let people = People::start(&world, work.staff(), seed);
    let mut chaos = Chaos::new();
    let began = Instant::now();
    let is_over = |chaos: &Chaos| {
        let all_came = chaos.missing().is_empty() && people.have_seen_all();
        began.elapsed() >= length || (asked.is_none() && all_came)
    };
    while !is_over(&chaos) {
        chaos.one_more(&mut world, &mut rng).await;
    }
    println!("machines: {}", chaos.summary());
    let mut missing = chaos.missing();
    missing.extend(people.stop().await);
    println!("{:.0?} of load; never came: {missing:?}", began.elapsed());
    chaos.heal(&mut world).await;
    println!("healed after {:.0?}", began.elapsed());
    let told = work.stop(&world).await;
    println!("all is said and done after {:.0?}", began.elapsed());
    told.check(&world).await;
    assert!(
        missing.is_empty() || length < ENOUGH,
        "never came: {missing:?}"
    );
}
