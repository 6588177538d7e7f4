//! Whoever can reach the port but has no certificate of the cluster.

use crate::parent::{Cluster, Node};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tenure_cluster::tls::{Tls, TlsFiles};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use uuid::Uuid;

/// Two honest nodes find each other within a second while the strangers are there.
async fn honest_nodes_join(cluster: &Cluster, one: &mut Node) {
    let mut two = cluster.node(2).await;
    let begun = Instant::now();
    two.joins(one).await;
    one.says("wait 1", "ok").await;
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(one.ask(two.id, "echo", 3).await, "xxx");
}

#[tokio::test]
async fn silent_connections_hold_nothing_up() {
    let cluster = Cluster::new();
    let mut one = cluster.node(1).await;
    let before = one.memory_kib().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(one.address).await.unwrap());
    }
    honest_nodes_join(&cluster, &mut one).await;
    let after = one.memory_kib().await;
    assert!(after < before + 32_768, "{before} {after}");
    // Those who were not pushed out are out of time.
    for mut stream in silent {
        let mut nothing = [0; 1];
        let end = timeout(Duration::from_secs(20), stream.read(&mut nothing)).await;
        assert!(
            matches!(end, Ok(Ok(0) | Err(_))),
            "the door was closed: {end:?}"
        );
    }
}

#[tokio::test]
async fn noise_and_half_frames_hold_nothing_up() {
    let cluster = Cluster::new();
    let mut one = cluster.node(1).await;
    let mut streams = Vec::new();
    let noise: Vec<u8> = (0..5_000_u32).map(|at| (at * 31 % 251) as u8).collect();
    // The beginning of a TLS record that says it is longer than it is.
    let half = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    for turn in 0..100 {
        let mut stream = TcpStream::connect(one.address).await.unwrap();
        let bytes = if turn % 2 == 0 { &noise[..] } else { &half[..] };
        // It may have been shut already.
        let _ = stream.write_all(bytes).await;
        streams.push(stream);
    }
    honest_nodes_join(&cluster, &mut one).await;
}

/// A certificate of ours does not make a `Hello`: cut off, or too long, or none.
#[tokio::test]
async fn a_bad_hello_behind_a_good_certificate_is_no_link() {
    let cluster = Cluster::new();
    let mut one = cluster.node(1).await;
    let tls = tls(&cluster, 9);
    for bytes in [
        &[][..],
        &[0, 0, 0, 50, 1],
        &[255, 255, 255, 255],
        &[0, 0, 0, 2, 9, 9],
    ] {
        let mut stream = connect(&tls, one.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let _ = stream.shutdown().await;
    }
    one.says("links", "").await;
    honest_nodes_join(&cluster, &mut one).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_no_use() {
    let (cluster, other) = (Cluster::new(), Cluster::new());
    let (mut one, mut stranger) = (cluster.node(1).await, other.node(9).await);
    let dial = format!("dial {} {} 1", one.address, one.id);
    stranger.says(&dial, "TLS handshake failed").await;
    let dial = format!("dial {} {} 1", stranger.address, stranger.id);
    one.says(&dial, "TLS handshake failed").await;

    // One that trusts us but shows a certificate that we do not trust, and one that shows none.
    let dir = other.certificates(Uuid::from_u128(9));
    let ours = cluster.certificates(Uuid::from_u128(1));
    std::fs::copy(ours.join("ca.pem"), dir.join("ca.pem")).unwrap();
    assert!(is_shut(connect(&tls_in(&dir, 9), one.address).await).await);
    honest_nodes_join(&cluster, &mut one).await;
}

fn tls(cluster: &Cluster, number: u128) -> Tls {
    let node_id = Uuid::from_u128(number);
    tls_in(&cluster.certificates(node_id), number)
}

fn tls_in(dir: &std::path::Path, number: u128) -> Tls {
    let name = tenure_cluster::tls::ClusterName::new("test").unwrap();
    Tls::load(&TlsFiles::in_dir(dir), &name, Uuid::from_u128(number)).unwrap()
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(tls: &Tls, address: SocketAddr) -> std::io::Result<Stream> {
    let peer = tenure_cluster::tls::PeerName {
        cluster: tls.me().cluster.clone(),
        node_id: Uuid::from_u128(1),
    };
    let name = rustls::pki_types::ServerName::try_from(peer.dns()).unwrap();
    let stream = TcpStream::connect(address).await?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls.client_config()));
    connector.connect(name, stream).await
}

/// In TLS 1.3 the client hears that its certificate is refused with the first read.
async fn is_shut(connected: std::io::Result<Stream>) -> bool {
    match connected {
        Err(_) => true,
        Ok(mut stream) => stream.read_u8().await.is_err(),
    }
}
