//! A rolling upgrade: each node in turn is told to end and is started again, under load. No client that follows `Retry-After` and goes to
//! the next node sees an error.

use crate::{
    employees::mailer,
    load::Load,
    world::{NAMES, Plan, World},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_replaced_under_load_without_an_error() {
    let mut world = World::start(Plan::default()).await;
    let employees = world.hire(30, mailer).await;
    let load = Load::start(&world.addresses(), &employees, 4, Duration::from_millis(20));
    sleep(Duration::from_secs(2)).await;
    for name in NAMES {
        let began = Instant::now();
        world.take(name).stop().await;
        let ended = began.elapsed();
        sleep(Duration::from_millis(500)).await;
        world.start_node(name).await;
        world.until_members(3).await;
        println!(
            "{name} ended in {ended:.1?} and was back after {:.1?}",
            began.elapsed()
        );
        sleep(Duration::from_secs(1)).await;
    }
    let report = load.stop().await;
    report.no_errors();
    world.check(report).await;
}
