//! What is sent and what comes back.

use crate::parent::Cluster;
use std::time::Instant;

#[tokio::test]
async fn both_sides_ask_and_are_told_what_went_wrong() {
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair().await;
    assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
    assert_eq!(two.ask(one.id, "echo", 3).await, "xxx");
    assert_eq!(one.ask(two.id, "from", 0).await, format!("{}/1", one.id));
    assert_eq!(one.ask(one.id, "from", 0).await, format!("{}/1", one.id));
    assert_eq!(one.ask(two.id, "trace", 0).await, "00-trace");

    let refused = one.ask(two.id, "else", 0).await;
    assert_eq!(
        refused,
        format!(
            "node {} refused: node does not know messages of this kind",
            two.id
        )
    );
    let crashed = one.ask(two.id, "panic", 0).await;
    assert_eq!(
        crashed,
        format!("outcome on node {} is unknown: handler crashed", two.id)
    );
    let begun = Instant::now();
    let late = one.tell(&format!("ask {} sleep 0 200", two.id)).await;
    assert!(late.contains("is unknown"), "{late}");
    assert!(begun.elapsed().as_secs() < 5);
    let nobody = one.ask(uuid::Uuid::from_u128(99), "echo", 0).await;
    assert!(nobody.contains("is not connected"), "{nobody}");
    assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
}

/// What is too long is refused before it leaves, and the link goes on.
#[tokio::test]
async fn a_body_has_a_limit() {
    const MIB: usize = 1024 * 1024;
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair().await;
    let echoed = one.ask(two.id, "echo", 16 * MIB).await;
    assert_eq!(echoed, format!("{} bytes", 16 * MIB));
    let refused = one.ask(two.id, "echo", 17 * MIB).await;
    assert_eq!(
        refused,
        "message has a part of 17825792 bytes, 16777216 are allowed"
    );
    assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
    two.says("links", &format!("{}/1", one.id)).await;
}

/// A consumer that is never done: the sender is refused, and neither side fills its memory.
#[tokio::test]
async fn a_slow_consumer_bounds_both_sides() {
    let cluster = Cluster::new();
    let (mut one, mut two) = cluster.pair().await;
    let before = (one.memory_kib().await, two.memory_kib().await);
    let flood = format!("flood {} sleep 1000 400000", two.id);
    one.says(&flood, "1024 398976").await;
    let (in_flight, after) = (
        one.tell("in_flight").await,
        (one.memory_kib().await, two.memory_kib().await),
    );
    assert!(in_flight.starts_with("1024 "), "{in_flight}");
    assert!(after.0 < before.0 + 32_768, "{before:?} {after:?}");
    assert!(after.1 < before.1 + 32_768, "{before:?} {after:?}");
    let refused = one.ask(two.id, "echo", 0).await;
    assert!(refused.contains("too much is on its way"), "{refused}");
    assert_eq!(
        two.ask(one.id, "echo", 3).await,
        "xxx",
        "the other way is free"
    );
}
