//! Who is a member: nodes that start at the same moment, and two processes under one name.

use crate::{
    employees::mailer,
    load::Load,
    node::node_id,
    world::{Plan, World, alive, members, until},
};
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_with_one_name_one_is_the_member() {
    // All three start at once: `start` waits until each sees three.
    let mut world = World::start(Plan::default()).await;
    let employees = world.hire(9, mailer).await;
    let load = Load::start(&world.addresses(), &employees, 3, Duration::from_millis(60));
    for name in ["a", "b", "c"] {
        let listed = listed(&world, name).await;
        assert_eq!(listed.len(), 3, "{listed:?}");
    }
    sleep(Duration::from_secs(1)).await;

    // A second process under the name of one that lives waits for its turn: it is no member, and nobody notices it.
    let before = world.recorder.lives().await[&node_id("b")].0;
    let mut twin = world.twin("b");
    sleep(Duration::from_secs(3)).await;
    assert_eq!(twin.lives(), 0, "the name is taken");
    assert_eq!(world.recorder.lives().await[&node_id("b")].0, before);

    // The first one hangs, the second takes its place; the first comes back, sees a later life of its name, and ends.
    world.node("b").signal("STOP");
    twin.until_ready().await;
    let after = world.recorder.lives().await[&node_id("b")].0;
    assert!(after > before, "it is a later life: {after} after {before}");
    world.node("b").signal("CONT");
    let mut first = world.take("b");
    let ended = first.until_ended().await;
    println!("the first b ended with {ended}");
    let client = twin.client();
    until("the twin sees three", async || {
        alive(&client).await == Some(3)
    })
    .await;
    for name in ["a", "c"] {
        let client = world.client(name);
        until("the others see three", async || {
            alive(&client).await == Some(3)
        })
        .await;
        assert_eq!(listed(&world, name).await.len(), 3, "each once");
    }
    // Back to its usual place.
    twin.stop().await;
    world.start_node("b").await;
    world.until_members(3).await;

    // The same name again at once, after a kill: its own lease is still running.
    world.take("b").kill().await;
    world.start_node("b").await;
    world.until_members(3).await;
    sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    world.check(report).await;
}

async fn listed(world: &World, name: &'static str) -> Vec<Value> {
    let client = world.client(name);
    members(&client).await.expect("a list")
}
