//! A node gives a thousand employees away while they are told things, and no client sees an error.

use crate::{
    employees::thinker,
    load::{Load, Report, Teller},
    node::node_id,
    world::{Plan, World, until},
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

const EMPLOYEES: usize = 1_000;
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_employees_move_and_no_request_fails() {
    let plan = Plan {
        // All of them stay awake, so that each has something to hand over.
        idle_after: Duration::from_secs(600),
        alone: true,
        ..Plan::default()
    };
    // The first node is alone at first, so that all live there.
    let mut world = World::prepare(plan).await;
    let began = Instant::now();
    world.start_node("a").await;
    let employees = world.hire(EMPLOYEES, thinker).await;
    println!("a thousand are hired after {:.1?}", began.elapsed());
    let mut report = wake_all(&world, &employees).await;
    for name in ["b", "c"] {
        world.start_node(name).await;
    }
    world.until_members(3).await;
    println!(
        "a thousand are awake and three nodes there after {:.1?}",
        began.elapsed()
    );

    let load = Load::start(&world.addresses(), &employees, CLIENTS, PAUSE);
    sleep(Duration::from_secs(2)).await;
    let before = homes(&world).await;
    println!("before the drain: {before:?}");
    let began = Instant::now();
    let path = format!("/v1/nodes/{}/drain", node_id("a"));
    let told = world.client("b").post(&path, &json!({})).await;
    assert!(matches!(told.status, 200 | 202), "{told:?}");
    until("nobody lives there any more", async || {
        !homes(&world).await.contains_key("a")
    })
    .await;
    println!(
        "drained {} employees in {:.2?}",
        before.get("a").copied().unwrap_or(0),
        began.elapsed()
    );
    // It goes on forwarding: a client that knows no other node is served.
    let only_a = crate::load::Nodes::new(vec![world.client("a")]);
    let mut through_a = Report::default();
    let mut teller = Teller::new(only_a, 0);
    for employee in employees.iter().take(20) {
        teller.tell(employee, &mut through_a).await;
    }
    report.add(through_a);
    sleep(Duration::from_secs(1)).await;
    report.add(load.stop().await);
    report.no_errors();
    println!("after the drain: {:?}", homes(&world).await);
    world.check(report).await;
}

/// Each is told something once.
async fn wake_all(world: &World, employees: &[String]) -> Report {
    let nodes = crate::load::Nodes::new(vec![world.client("a")]);
    let mut tasks = tokio::task::JoinSet::new();
    for part in employees.chunks(employees.len().div_ceil(8)) {
        let (part, mut teller) = (part.to_vec(), Teller::new(nodes.clone(), 0));
        tasks.spawn(async move {
            let mut report = Report::default();
            for employee in &part {
                teller.tell(employee, &mut report).await;
            }
            report
        });
    }
    let mut all = Report::default();
    while let Some(report) = tasks.join_next().await {
        all.add(report.expect("told"));
    }
    all
}

/// How many employees live where.
async fn homes(world: &World) -> BTreeMap<&'static str, usize> {
    let mut homes = BTreeMap::new();
    for life in world.recorder.owners().await.into_values() {
        *homes.entry(world.name_of(life)).or_default() += 1;
    }
    homes
}
