//! Bodies that come nearly whole and do not end.

use super::{PATIENCE, Service, Socket};
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};

const LENGTH: usize = 1_000_000;
const MIB: u64 = 1024 * 1024;

/// Sends a head and nearly all of its body; what the other side does not take in is not sent.
async fn begin(service: &Service, head: &str) -> Socket {
    let mut socket = service.connect().await;
    socket.send(head).await;
    let body = vec![b' '; LENGTH - 1];
    // Where it was answered already, the connection may be at its end.
    let _ = timeout(Duration::from_secs(2), socket.0.write_all(&body)).await;
    socket
}

#[tokio::test]
async fn stranger_without_an_address_of_ours_is_not_read_at_all() {
    let service = Service::start(&[]).await;
    for path in ["/hooks/github/unknown", "/connect/unknown"] {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: a.example\r\ncontent-length: {LENGTH}\r\n\r\n");
        let mut socket = service.connect().await;
        // Nothing of the body is sent, and the answer is there.
        assert_eq!(socket.ask(&head).await, Some(404), "{path}");
    }
    service.others_are_answered().await;
}

#[tokio::test]
async fn bodies_of_one_org_have_a_share_of_the_memory_until_they_are_over() {
    let service = Service::start(&[]).await;
    let more = format!("content-type: application/json\r\ncontent-length: {LENGTH}\r\n");
    let head = service.request("POST", "/v1/policies/check", &more);
    let whole = head.clone() + &" ".repeat(LENGTH);
    let before = service.memory();
    let mut open = Vec::new();
    for _ in 0..400 {
        open.push(begin(&service, &head).await);
    }
    let grown = service.memory().saturating_sub(before);
    assert!(grown < 250 * MIB, "{} MiB", grown / MIB);
    // Of those that came side by side, some that were refused left room for others.
    let refused = async {
        while service.connect().await.ask(&whole).await != Some(503) {
            open.push(begin(&service, &head).await);
        }
    };
    timeout(PATIENCE, refused)
        .await
        .expect("refused in the end");
    service.others_are_answered().await;
    drop(open);
    let taken = async {
        while service.connect().await.ask(&whole).await == Some(503) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, taken).await.expect("taken again");
}
