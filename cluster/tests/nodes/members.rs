//! Three nodes that find each other, and what becomes of them.

use crate::{
    files::TERMS,
    parent::{Cluster, Node},
};
use std::time::{Duration, Instant};

/// Starts nodes with a common directory; each has links to all others.
async fn joined(cluster: &Cluster, dir: &tempfile::TempDir) -> Vec<Node> {
    let mut nodes = Vec::new();
    for number in 1..=3 {
        let mut node = cluster.node(number).await;
        join(&mut node, dir).await;
        nodes.push(node);
    }
    for node in &mut nodes {
        node.says("sees Acting 1/1/Alive 2/1/Alive 3/1/Alive", "ok")
            .await;
        node.says("wait 2", "ok").await;
    }
    nodes
}

async fn join(node: &mut Node, dir: &tempfile::TempDir) {
    let join = format!("join {}", dir.path().display());
    node.says(&join, "ok").await;
}

#[tokio::test]
async fn nodes_find_each_other_bury_the_dead_and_take_them_back() {
    let (cluster, dir) = (Cluster::new(), tempfile::tempdir().unwrap());
    let mut nodes = joined(&cluster, &dir).await;
    for node in &mut nodes {
        node.says("remotable", "1").await;
    }
    let mut third = nodes.pop().unwrap();
    let begun = Instant::now();
    third.kill().await;
    for node in &mut nodes {
        node.says("sees Acting 1/1/Alive 2/1/Alive 3/1/Dead", "ok")
            .await;
        node.says("wait 1", "ok").await;
    }
    let took = begun.elapsed();
    assert!(took < TERMS.ttl + Duration::from_secs(1), "{took:?}");

    let mut third = cluster.start(3, 2, (1, 1), 0).await;
    join(&mut third, &dir).await;
    nodes.push(third);
    for node in &mut nodes {
        node.says("sees Acting 1/1/Alive 2/1/Alive 3/2/Alive", "ok")
            .await;
        node.says("wait 2", "ok").await;
    }
}

/// Stopped for longer than its lease, it wakes up dead; the others have gone on.
#[tokio::test]
async fn a_node_that_wakes_up_too_late_knows_that_it_is_dead() {
    let (cluster, dir) = (Cluster::new(), tempfile::tempdir().unwrap());
    let mut nodes = joined(&cluster, &dir).await;
    nodes[2].signal("STOP").await;
    for node in &mut nodes[..2] {
        node.says("sees Acting 1/1/Alive 2/1/Alive 3/1/Dead", "ok")
            .await;
        node.says("wait 1", "ok").await;
    }
    nodes[2].signal("CONT").await;
    nodes[2].says("sees Ended", "ok").await;
    nodes[0].says("wait 1", "ok").await;
}

#[tokio::test]
async fn a_node_that_leaves_is_not_waited_for() {
    let (cluster, dir) = (Cluster::new(), tempfile::tempdir().unwrap());
    let mut nodes = joined(&cluster, &dir).await;
    let begun = Instant::now();
    nodes[2].says("leave", "Ok(())").await;
    for node in &mut nodes[..2] {
        node.says("sees Acting 1/1/Alive 2/1/Alive 3/1/Dead", "ok")
            .await;
    }
    assert!(begun.elapsed() < TERMS.ttl);
}
