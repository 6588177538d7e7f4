//! Whichever node is asked, the cluster is one service.

use crate::{
    approvals, events, limits,
    load::Report,
    world::{Plan, World},
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_the_whole_service() {
    let plan = Plan {
        lease: Duration::from_secs(10),
        renew_every: Duration::from_secs(3),
        lease_margin: Duration::from_secs(2),
        ..Plan::default()
    };
    let world = World::start(plan).await;
    let mut report = Report::default();
    events::show(&world, &mut report).await;
    approvals::show(&world, &mut report).await;
    limits::show(&world, &mut report).await;
    report.no_errors();
    world.check(report).await;
}
