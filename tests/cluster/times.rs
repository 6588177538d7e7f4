//! Timers and schedules fire once, although the node that had them is killed before they are due.

use crate::{
    employees::{sleeper, thinker},
    history::History,
    load::{Report, Teller},
    world::{Plan, World, until},
};
use serde_json::{Value, json};

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
    let last_minute = world.rest_schedules().await;
    report
        .tried
        .extend(world.recorder.keys_of_schedules().await);
    let history = History {
        last_minute: Some(last_minute),
        ..world.history(report).await
    };
    world.judge(&history);
    assert_eq!(history.schedules.len(), scheduled.len(), "each has fired");
}
