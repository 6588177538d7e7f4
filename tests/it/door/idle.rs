//! Connections that do nothing: how many there may be, what they cost, and when they end.

use super::Service;
use std::{net::IpAddr, time::Duration};
use tokio::time::sleep;

/// Which a node is to carry; fewer where this machine does not let two processes have as many sockets.
const WANTED: u64 = 10_000;
/// What an idle connection may hold in the service.
const BYTES_EACH: u64 = 16 * 1024;

/// The address of the `n`th of many clients, 500 connections each.
fn client(n: u64) -> IpAddr {
    let [.., high, low] = (n / 500).to_be_bytes();
    [127, 1, high, low].into()
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little_and_others_are_answered() {
    let limit = rlimit::increase_nofile_limit(u64::MAX).expect("a limit");
    // The service keeps a quarter of its descriptors, or 4,096, for itself.
    let count = WANTED.min(limit - (limit / 4).clamp(64, 4_096) - 100);
    let service = Service::start(&[("KEEP_ALIVE_TIMEOUT", "10m")]).await;
    service.others_are_answered().await;
    let before = service.memory();
    let mut idle = Vec::new();
    for n in 0..count {
        let mut socket = service.connect_from(client(n)).await;
        // Half of them have never asked anything.
        if n % 2 == 0 {
            let status = socket.ask("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert_eq!(status, Some(200), "connection {n}");
        }
        idle.push(socket);
        if n % 1_000 == 0 {
            service.others_are_answered().await;
        }
    }
    service.others_are_answered().await;
    // What rests gives back its buffers within moments; the allocator gives them back a moment later.
    let mut held = u64::MAX;
    for _ in 0..100 {
        sleep(Duration::from_millis(200)).await;
        held = service.memory().saturating_sub(before);
        if held <= count * BYTES_EACH / 4 {
            break;
        }
    }
    println!(
        "{count} idle connections hold {held} bytes, {} each",
        held / count
    );
    assert!(held <= count * BYTES_EACH, "{} bytes each", held / count);
    // Those that have asked before are served as if they had never rested; the others may have been ended meanwhile, as one that never says anything is.
    for socket in idle.iter_mut().step_by(98) {
        let status = socket.ask("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(status, Some(200));
    }
    service.others_are_answered().await;
}

#[tokio::test]
async fn few_descriptors_are_enough_for_many_idle_connections() {
    let wanted = [
        ("CONNECTIONS", "200"),
        ("CONNECTIONS_PER_ADDRESS", "100000"),
    ];
    let service = Service::start(&wanted).await;
    let mut idle = Vec::new();
    for n in 0..600 {
        idle.push(service.connect_from(client(n)).await);
        if n % 50 == 0 {
            service.others_are_answered().await;
        }
    }
    let mut ended = 0;
    for socket in &mut idle {
        ended += usize::from(
            socket
                .ask(&service.request("GET", "/v1/org", ""))
                .await
                .is_none(),
        );
    }
    // Those that were there last still are.
    assert!((400..600).contains(&ended), "{ended} of 600 have ended");
}

#[tokio::test]
async fn address_at_its_cap_loses_its_oldest_idle_connection_and_no_other() {
    let service = Service::start(&[("CONNECTIONS_PER_ADDRESS", "4")]).await;
    let here = |n: u8| IpAddr::from([127, 0, 0, n]);
    let request = service.request("GET", "/v1/org", "");
    let mut other = service.connect_from(here(2)).await;
    let mut stream = service.connect_from(here(1)).await;
    stream.send(&service.request("GET", "/v1/events", "")).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = service.connect_from(here(1)).await;
        assert_eq!(socket.ask(&request).await, Some(200));
        sockets.push(socket);
    }
    // The oldest is at work, so the second oldest goes.
    let mut new = service.connect_from(here(1)).await;
    assert_eq!(new.ask(&request).await, Some(200));
    assert_eq!(sockets[0].ask(&request).await, None);
    for socket in &mut sockets[1..] {
        assert_eq!(socket.ask(&request).await, Some(200));
    }
    assert_eq!(other.ask(&request).await, Some(200));
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut stream.0, &mut first)
        .await
        .expect("the stream goes on");
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn trusted_proxy_has_no_cap_and_its_clients_are_told_apart() {
    let settings = [
        ("CONNECTIONS_PER_ADDRESS", "2"),
        ("TRUSTED_PROXIES", "127.0.0.9"),
    ];
    let service = Service::start(&settings).await;
    let proxy = IpAddr::from([127, 0, 0, 9]);
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(service.connect_from(proxy).await);
    }
    for socket in &mut sockets {
        let status = socket.ask(&service.request("GET", "/v1/org", "")).await;
        assert_eq!(status, Some(200));
    }
    // One client of the proxy that tries keys is in nobody's way.
    let guess = |n: u32, client: &str| {
        format!(
            "GET /v1/org HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {client}\r\nauthorization: Bearer tnk_{n:043}\r\n\r\n"
        )
    };
    let mut last = None;
    for n in 0..2_000 {
        last = sockets[0].ask(&guess(n, "192.0.2.1")).await;
        if last == Some(429) {
            break;
        }
    }
    assert_eq!(last, Some(429));
    let other = sockets[0].ask(&guess(7_000, "192.0.2.2")).await;
    assert_eq!(other, Some(401));
}

#[tokio::test]
async fn idle_connection_ends_whether_or_not_it_was_ever_used() {
    let service = Service::start(&[("KEEP_ALIVE_TIMEOUT", "2s")]).await;
    let mut never = service.connect().await;
    let mut once = service.connect().await;
    let request = service.request("GET", "/v1/org", "");
    assert_eq!(once.ask(&request).await, Some(200));
    assert_eq!(never.until_the_end().await, "");
    assert_eq!(once.until_the_end().await, "");
}

#[tokio::test]
async fn connection_that_has_rested_goes_on_where_it_was() {
    let service = Service::start(&[]).await;
    let request = service.request("GET", "/v1/org", "");
    let mut socket = service.connect().await;
    for _ in 0..2 {
        assert_eq!(socket.ask(&request).await, Some(200));
        // Longer than a connection keeps its buffers.
        sleep(Duration::from_millis(2_500)).await;
    }
    // Half of the next request comes in one packet with the one before, the rest long after.
    let (start, rest) = request.split_at(30);
    assert_eq!(socket.ask(&format!("{request}{start}")).await, Some(200));
    sleep(Duration::from_millis(2_500)).await;
    assert_eq!(socket.ask(rest).await, Some(200));
    // Several requests at once are answered one after the other.
    assert_eq!(socket.ask(&request.repeat(3)).await, Some(200));
    assert_eq!(socket.answer().await, Some(200));
    assert_eq!(socket.answer().await, Some(200));
}
