//! A node is stopped for longer than its lease and goes on as if nothing had been: nothing that it still wants to write gets through, and it
//! begins a new life.

use crate::{
    employees::mailer,
    load::Load,
    node::node_id,
    world::{Plan, World, until},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const EMPLOYEES: usize = 18;
const TIMES: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_changes_nothing_and_begins_a_new_life() {
    let mut world = World::start(Plan::default()).await;
    let employees = world.hire(EMPLOYEES, mailer).await;
    // Hardly a pause: it is to be stopped in the middle of something.
    let load = Load::start(&world.addresses(), &employees, 5, Duration::from_millis(10));
    sleep(Duration::from_secs(2)).await;
    for _ in 0..TIMES {
        let (zombie, homeless) = world.busiest().await;
        let before = world.recorder.lives().await[&node_id(zombie)].0;
        let began = Instant::now();
        world.node(zombie).signal("STOP");
        until("others have its employees", async || {
            let owners = world.recorder.owners().await;
            let theirs = owners.values().filter(|life| life.node == node_id(zombie));
            theirs.count() == 0
        })
        .await;
        println!(
            "{zombie} is stopped: its employees live elsewhere after {:.1?}",
            began.elapsed()
        );
        // They are told things meanwhile, and the zombie believes that they are its own.
        sleep(Duration::from_secs(2)).await;
        world.node(zombie).signal("CONT");
        until("it has begun a new life", async || {
            let lives = world.recorder.lives().await;
            let (incarnation, state) = &lives[&node_id(zombie)];
            *incarnation > before && state == "alive"
        })
        .await;
        world.until_all_ready().await;
        world.until_members(world.plan.nodes.len()).await;
        let log = world.log_of(zombie);
        assert!(
            log.contains("this life of the node is over"),
            "it says why it began anew"
        );
        println!(
            "{zombie} was stopped beyond its lease: {} employees taken over; it is alive again, in process {} with {} lives",
            homeless.len(),
            world.node(zombie).pid(),
            world.node_mut(zombie).lives(),
        );
    }
    sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    world.check(report).await;
}
