//! kill -9 of a node under load: its employees work elsewhere soon after its lease is over, and nothing is lost or done twice.

use crate::{
    employees::mailer,
    history::Life,
    load::Load,
    node::node_id,
    recorder::Claimed,
    world::{Plan, World, until},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tenure::domain::EmployeeId;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

const EMPLOYEES: usize = 18;
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(40);
/// On a machine with better things to do.
const GENEROUS: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_nodes_employees_work_elsewhere_with_the_usual_lease() {
    let usual = Plan {
        lease: Duration::from_secs(10),
        renew_every: Duration::from_secs(3),
        lease_margin: Duration::from_secs(2),
        ..Plan::default()
    };
    killed(usual, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_are_killed_one_after_the_other() {
    killed(Plan::default(), 2).await;
}

async fn killed(plan: Plan, times: usize) {
    let mut world = World::start(plan.clone()).await;
    let employees = world.hire(EMPLOYEES, mailer).await;
    let load = Load::start(&world.addresses(), &employees, CLIENTS, PAUSE);
    sleep(Duration::from_secs(2)).await;
    let mut kills = Vec::new();
    for _ in 0..times {
        let (victim, homeless) = world.busiest().await;
        let before = now_us();
        world.take(victim).kill().await;
        let (moved, killed) = (Instant::now(), (victim, before));
        until("all of its employees live elsewhere", async || {
            let owners = world.recorder.owners().await;
            let elsewhere = |one: &Uuid| {
                owners
                    .get(one)
                    .is_some_and(|life| life.node != node_id(victim))
            };
            homeless.iter().all(elsewhere)
        })
        .await;
        let took = moved.elapsed();
        println!(
            "killed {victim}: {} employees live elsewhere after {took:.1?}",
            homeless.len()
        );
        assert!(took < plan.lease + GENEROUS, "{took:?}");
        kills.push((killed, homeless, moved));
        world.start_node(victim).await;
        world.until_members(world.plan.nodes.len()).await;
    }
    sleep(Duration::from_secs(1)).await;
    let report = load.stop().await;
    let claims = world.recorder.claims().await;
    for ((victim, before), homeless, moved) in &kills {
        let took = takeover(&claims, homeless, *before, node_id(victim));
        // Worked: told something, and it was accepted by whoever has them now.
        let first = worked(&report.when, homeless, *moved);
        println!(
            "{victim}: claimed by others after {:.2?} to {:.2?}, the last was heard again after {first:.2?} (lease {:?})",
            took.iter().min().expect("some"),
            took.iter().max().expect("some"),
            plan.lease
        );
    }
    world.check(report).await;
}

/// How long after the kill each employee got its next owner.
fn takeover(
    claims: &[Claimed],
    homeless: &BTreeSet<Uuid>,
    killed_us: i64,
    victim: Uuid,
) -> Vec<Duration> {
    let mut first: BTreeMap<Uuid, i64> = BTreeMap::new();
    let is_next = |claim: &&Claimed| {
        claim.at_us > killed_us
            && homeless.contains(&claim.entity)
            && claim.owner.is_some_and(|Life { node, .. }| node != victim)
    };
    for claim in claims.iter().filter(is_next) {
        first.entry(claim.entity).or_insert(claim.at_us);
    }
    assert_eq!(first.len(), homeless.len(), "all of them moved");
    let after = |at: i64| Duration::from_micros((at - killed_us).unsigned_abs());
    first.into_values().map(after).collect()
}

/// When the last of them was told something with success for the first time after the kill.
fn worked(when: &[(Instant, String)], homeless: &BTreeSet<Uuid>, killed: Instant) -> Duration {
    let mut first: BTreeMap<Uuid, Duration> = BTreeMap::new();
    for (at, employee) in when {
        let id: EmployeeId = employee.parse().expect("an id");
        if *at > killed && homeless.contains(&id.uuid()) {
            let after = at.duration_since(killed);
            let known = first.entry(id.uuid()).or_insert(after);
            *known = after.min(*known);
        }
    }
    first.into_values().max().unwrap_or_default()
}

fn now_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}
