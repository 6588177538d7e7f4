//! A node that only takes requests, one where employees live, one where connectors live: together they do what one node does.

use crate::{
    employees::mailer,
    load::Load,
    node::node_id,
    world::{NodePlan, Plan, World},
};
use std::time::Duration;
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_can_be_split() {
    let world = World::start(Plan {
        nodes: vec![
            NodePlan::with_roles("a", &["api"]),
            NodePlan::with_roles("b", &["worker"]),
            NodePlan::with_roles("c", &["connector"]),
        ],
        ..Plan::default()
    })
    .await;
    let employees = world.hire(9, mailer).await;
    let load = Load::start(&world.addresses(), &employees, 3, Duration::from_millis(30));
    sleep(Duration::from_secs(3)).await;
    let report = load.stop().await;
    report.no_errors();
    for (kind, node) in [("employee", "b"), ("connector", "c")] {
        let owners = world.recorder.owners_of(kind).await;
        println!("{} entities of kind {kind} live at {node}", owners.len());
        assert!(!owners.is_empty(), "somebody has the {kind}s");
        assert!(
            owners.iter().all(|life| life.node == node_id(node)),
            "{owners:?}"
        );
    }
    // A node that takes no requests answers its probes all the same.
    for name in ["b", "c"] {
        let client = world.client(name);
        assert_eq!(client.get("/readyz").await.status, 200);
        let asked = client.get("/v1/runs").await;
        assert!(
            matches!(asked.status, 404 | 421 | 503),
            "{name} takes no requests: {asked:?}"
        );
    }
    world.check(report).await;
}
