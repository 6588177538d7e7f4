//! Timers and schedules fire once, although the node that had them is killed before they are due.

use crate::{
    employees::{sleeper, thinker},
    load::{Report, Teller},
    world::{Plan, World, until},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const SLEEPERS: usize = 9;
/// Due while their node is dead and nobody has them, or a little later.
const REST_MS: u64 = 3_000;

fn rests(name: &str) -> Value {
    sleeper(name, REST_MS)
}

fn every_minute(name: &str) -> Value {
    let mut spec = thinker(name);
    spec["schedules"] = json!([{"name": "tick", "cron": "* * * * *", "payload": {"key": "tick"}}]);
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn timers_and_schedules_fire_once() {
    let mut world = World::start(Plan::default()).await;
    let scheduled = world.hire(3, every_minute).await;
    let sleepers = world.hire(SLEEPERS, rests).await;
    let mut report = Report::default();
    let mut teller = Teller::new(world.addresses(), 0);
    for employee in &sleepers {
        teller.tell(employee, &mut report).await;
    }
    let (victim, homeless) = world.busiest().await;
    println!("{victim} is killed with {} employees", homeless.len());
    world.take(victim).kill().await;
    until("all have slept", async || {
        world.carried_out().await.len() == SLEEPERS
    })
    .await;
    world.start_node(victim).await;
    world.until_members(3).await;
    // At the next full minute each schedule fires, whoever has the duty by then.
    until("the schedules have fired", async || {
        fires(&world).await >= scheduled.len() as i64
    })
    .await;
    sleep(Duration::from_secs(2)).await;
    let twice = "SELECT count(*) FROM (SELECT 1 FROM schedule_fire GROUP BY schedule_id, due_us HAVING count(*) > 1) t";
    assert_eq!(world.recorder.count(twice).await, 0);
    let runs = "SELECT count(*) FROM run WHERE trigger_type <> 0";
    let per_fire = "SELECT count(*) FROM schedule_fire WHERE run_id IS NOT NULL";
    let (runs, fired) = (
        world.recorder.count(runs).await,
        world.recorder.count(per_fire).await,
    );
    println!("{fired} fires, {runs} runs");
    assert_eq!(runs, fired, "one run a fire");
    report
        .tried
        .extend(world.recorder.keys_of_schedules().await);
    world.check(report).await;
}

async fn fires(world: &World) -> i64 {
    world
        .recorder
        .count("SELECT count(*) FROM schedule_fire")
        .await
}
