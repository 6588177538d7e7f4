//! How links come about and end.

use crate::parent::Cluster;
use std::time::{Duration, Instant};

#[tokio::test]
async fn many_dials_at_once_end_in_one_link() {
    let cluster = Cluster::new();
    let (mut one, mut two) = (cluster.node(1).await, cluster.node(2).await);
    let (to_two, to_one) = (
        format!("dial {} {} 3", two.address, two.id),
        format!("dial {} {} 3", one.address, one.id),
    );
    tokio::join!(one.order(&to_two), two.order(&to_one));
    assert_eq!(one.answer().await, "ok");
    assert_eq!(two.answer().await, "ok");
    // The losers of the election are still ending.
    tokio::time::sleep(Duration::from_secs(1)).await;
    one.says("wait 1", "ok").await;
    two.says("wait 1", "ok").await;
    one.says("links", &format!("{}/1", two.id)).await;
    two.says("links", &format!("{}/1", one.id)).await;
    for _ in 0..20 {
        assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
        assert_eq!(two.ask(one.id, "echo", 3).await, "xxx");
    }
}

#[tokio::test]
async fn a_killed_node_is_missed_at_once_and_comes_back_as_a_new_life() {
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair().await;
    let id = two.id;
    one.order(&format!("ask {id} sleep 0 20000")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    two.kill().await;
    let lost = one.answer().await;
    assert_eq!(
        lost,
        format!("outcome on node {id} is unknown: link was lost")
    );
    one.says("wait 0", "ok").await;
    assert!(begun.elapsed() < Duration::from_secs(2));

    let mut again = cluster.start(2, 2, (1, 1), two.address.port()).await;
    again.joins(&one).await;
    one.says("wait 1", "ok").await;
    one.says("links", &format!("{id}/2")).await;
    assert_eq!(one.ask(id, "echo", 3).await, "xxx");

    let mut earlier = cluster.start(2, 1, (1, 1), 0).await;
    let refused = earlier
        .tell(&format!("dial {} {} 1", one.address, one.id))
        .await;
    assert_eq!(
        refused,
        "peer refuses us: a later life of the node is known"
    );
    one.says("links", &format!("{id}/2")).await;
}

#[tokio::test]
async fn a_new_life_takes_the_place_of_one_that_hangs() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair().await;
    two.signal("STOP").await;
    let mut again = cluster.start(2, 2, (1, 1), 0).await;
    again.joins(&one).await;
    one.says("wait 1", "ok").await;
    one.says("links", &format!("{}/2", two.id)).await;
    assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
}

/// A peer that hangs keeps its sockets open; only silence tells.
#[tokio::test]
async fn a_node_that_hangs_is_missed_and_comes_back() {
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair().await;
    let begun = Instant::now();
    two.signal("STOP").await;
    let unknown = one.tell(&format!("ask {} echo 3 500", two.id)).await;
    assert!(
        unknown.ends_with("is unknown: no answer in time"),
        "{unknown}"
    );
    one.says("wait 0", "ok").await;
    assert!(begun.elapsed() < Duration::from_secs(12));
    two.signal("CONT").await;
    two.says("wait 0", "ok").await;
    two.joins(&one).await;
    one.says("wait 1", "ok").await;
    assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
}

#[tokio::test]
async fn releases_beside_each_other_understand_one_another() {
    let cluster = Cluster::new();
    let mut old = cluster.start(1, 1, (1, 1), 0).await;
    let mut new = cluster.start(2, 1, (1, 2), 0).await;
    let newest = cluster.start(3, 1, (2, 3), 0).await;
    new.joins(&old).await;
    old.says("wait 1", "ok").await;
    assert_eq!(old.ask(new.id, "echo", 3).await, "xxx");
    assert_eq!(new.ask(old.id, "echo", 3).await, "xxx");
    let to_newest = format!("dial {} {} 1", newest.address, newest.id);
    old.says(&to_newest, "we refuse the peer: no common protocol")
        .await;
    new.says(&to_newest, "ok").await;
    new.says("wait 2", "ok").await;
}

/// The address of one node, the name of another.
#[tokio::test]
async fn a_node_at_anothers_address_is_not_taken_for_it() {
    let cluster = Cluster::new();
    let (mut one, two) = (cluster.node(1).await, cluster.node(2).await);
    let wrong = format!("dial {} {} 1", two.address, uuid::Uuid::from_u128(3));
    one.says(&wrong, "TLS handshake failed").await;
    one.says("links", "").await;
}
